"""The code of docs/python-api.md runs as it stands there, each stage in five lines."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from _documents import ROOT, blocks

from stages.generators import GENERATORS
from storage.errors import RunDirectoryError
from stream.engine.chain import Chain

PAGE = ROOT / "docs" / "python-api.md"


def test_five_lines_a_stage() -> None:
    examples = [text for language, text in blocks(PAGE) if language == "python"]
    assert len(examples) >= 10
    for text in examples:
        lines = [line for line in text.splitlines() if line and not line.startswith(("from ", "import "))]
        assert len(lines) <= 5, text


def test_examples_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setitem(GENERATORS, "mine", GENERATORS["preview"])  # the page's own is gone behind the test
    names: dict[str, Any] = {}
    for language, text in blocks(PAGE):
        if language == "python":
            exec(compile(text, str(PAGE), "exec"), names)
    assert names["clip"].frames.shape == (17, 180, 320, 3) and names["clip"].last
    assert names["poses"].arrays["keypoints/person"].shape == (17, 133, 3)
    assert (names["poses"].arrays["keypoints/person"][..., 2] > 0.3).mean() > 0.3  # the puppet is seen
    assert names["tracked"].arrays["masks/object"].shape == (17, 180, 320)
    assert names["raw"].shape == names["generated"].shape == names["clip"].frames.shape
    assert not np.array_equal(names["generated"], names["clip"].frames)
    assert (tmp_path / "segments" / "00000.mp4").is_file()
    assert names["scores"].arrays["iou"].shape == (17,)
    assert names["result"].frames == 17 and names["result"].gate in ("passed", "failed")
    assert names["result"].output == Path("LATER/output.mp4") and names["result"].output.is_file()
    assert names["masks"].shape == (9, 180, 320)
    assert names["brightness"] == pytest.approx(names["clip"].frames.mean(axis=(1, 2, 3)), rel=1e-4)
    with pytest.raises(RunDirectoryError, match="begun with the stages decode, pose, track, brightness, this"):
        names["resume"](Path("BRIGHT"))
    assert names["resume"](Path("BRIGHT"), extend=lambda chain: Chain([*chain, names["Brightness"]()])).gate is None
    assert names["mine"].plan.step == 8 and names["mine"].generator == "mine"
    again = [row.iou for row in names["rows"]]
    assert len(again) == 17 and again[:9] == pytest.approx(names["iou"].tolist(), abs=1e-5, nan_ok=True)
