"""`--reskin remove`: the subjects vanish, nothing is gated, and what contradicts it is refused."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from _crash import differing, results, shared_case
from _runs import invoke
from _small_run import FRAMES, small_config, small_run
from _zygote import shared_zygote

from stages.plates.names import PICTURES
from stages.region import dilate_mask
from storage.errors import UsageError
from storage.rundir import RunReader
from stream.options.config import RunConfig
from stream.report.evaluate import evaluate_run
from stream.run.lifecycle import start


def removing(**changes: object) -> RunConfig:
    return replace(small_config(), reskin="remove", generator="plate", **changes)  # type: ignore[arg-type]


def test_what_is_removed_is_not_gated_and_nothing_else_changes(tmp_path: Path) -> None:
    result = start(removing(keep="all", comparison=True), tmp_path / "run")
    assert (result.gate, result.iou_mean, result.failed_frames) == (None, None, [])
    assert result.output is not None and result.output.is_file()
    reader = RunReader(tmp_path / "run")
    assert "score" not in reader.manifest["nodes"] and "iou" not in reader.arrays.layout.arrays
    frames, made = (reader.arrays.read(name, 0, FRAMES) for name in ("frames", "generated"))
    masks = reader.arrays.read("masks/object", 0, FRAMES) | reader.arrays.read("masks/person", 0, FRAMES)
    for t in range(FRAMES):
        outside = ~dilate_mask(masks[t], 8)
        assert np.array_equal(made[t][outside], frames[t][outside])
        assert not masks[t].any() or (made[t] != frames[t])[masks[t]].any()
    assert "the subjects are removed" in (tmp_path / "run" / "report" / "index.html").read_text()
    with pytest.raises(UsageError, match="never gated"):
        list(evaluate_run(tmp_path / "run"))
    # A tracked run is emptied, and filled again: the generator is the one for it, whichever made the run.
    empty, filled = tmp_path / "empty", tmp_path / "filled"
    again = invoke(["generate", str(small_run()), "--reskin", "remove", "--out", str(empty), "--keep", "all"])
    assert again.code == 0, again.err
    assert np.array_equal(RunReader(empty).arrays.read("generated", 0, FRAMES), made)
    back = invoke(["generate", str(empty), "--reskin", "both", "--out", str(filled)])
    assert back.code in (0, 1), back.err
    assert RunReader(filled).manifest["config"]["generator"] == "preview"


@pytest.mark.slow
def test_a_run_that_removes_goes_on_after_a_kill(tmp_path: Path) -> None:
    case, _, _ = shared_case()
    more = ("--reskin", "remove", "--json")
    ended = shared_zygote().run(case.run(tmp_path / "whole", *more))
    assert ended.code == 0, ended.output
    assert '"gate": null' in ended.output
    for point in ("plate.state#3", "generate.begin#2"):
        run = tmp_path / point
        assert shared_zygote().run(case.run(run, *more), fault=point).code == -9
        assert shared_zygote().run(["resume", str(run)]).code == 0
        assert differing(results(run), results(tmp_path / "whole")) == []
    assert RunReader(tmp_path / "whole").arrays.kept(PICTURES) == [], "plates go when they are read"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"generator": "preview"}, "cannot remove"),
        ({"reskin": "both"}, "--reskin remove"),
        ({"generator": "comfyui", "server": ("127.0.0.1:1",)}, "needs no server"),
        ({"baselines": True}, "never gated"),
        ({"view": "follow"}, "whole frame"),
        ({"stabilise": 10}, "whole frame"),
    ],
)
def test_what_contradicts_it_is_refused(changes: dict[str, object], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        replace(removing(), **changes)  # type: ignore[arg-type]
