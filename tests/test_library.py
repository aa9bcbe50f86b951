"""Used as a library: several models at once in one process, configs and paths as Python gives them."""

import re
import shutil
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from _small_run import FRAMES, small_config, small_sam

from stages.prompts import ObjectPrompt
from storage.errors import Interrupted, UsageError
from stream.api import sam_model
from stream.engine.signals import Cancel
from stream.options.config import RunConfig
from stream.run.lifecycle import resume, start


def together(work: Any, count: int = 4) -> None:
    """Call it in as many threads at once, to their ends."""
    threads = [threading.Thread(target=work) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def test_models_that_load_at_once_leave_the_process_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    """While one is built torch says that there is no GPU, and what is printed goes to stderr: not for ever."""
    import hydra.utils
    import torch

    build, asked, stdout = hydra.utils.instantiate, torch.cuda.is_available, sys.stdout
    built = []

    def slowly(*given: Any, **named: Any) -> Any:
        time.sleep(0.05)
        built.append(build(*given, **named))
        return built[-1]

    monkeypatch.setattr(hydra.utils, "instantiate", slowly)

    def load() -> None:
        with sam_model(*small_sam()) as model:
            model.load()

    try:
        small_sam()
        together(load)
        assert len(built) >= 4
        assert sys.stdout is stdout and torch.cuda.is_available is asked
    finally:
        sys.stdout, torch.cuda.is_available = stdout, asked


def test_a_run_that_was_begun_by_relative_paths_goes_on_from_another_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, elsewhere = tmp_path / "here", tmp_path / "elsewhere"
    for folder in (here, elsewhere):
        folder.mkdir()
    config = small_config("extract")
    for name, file in (("clip.mp4", config.video), ("sam.safetensors", config.sam), ("sam.yaml", config.sam_config)):
        shutil.copy(str(file), here / name)
    monkeypatch.chdir(here)
    relative = replace(config, video="clip.mp4", sam="sam.safetensors", sam_config="sam.yaml")
    asked = Cancel()
    asked.cancel()
    with pytest.raises(Interrupted):
        start(relative, Path("RUN"), cancel=asked)
    monkeypatch.chdir(elsewhere)
    assert resume(here / "RUN").frames == FRAMES
    monkeypatch.chdir(here)
    assert start(relative, Path("RUN")).frames == FRAMES


def test_a_config_takes_what_numpy_and_pathlib_give() -> None:
    plain = small_config()
    prompt = ObjectPrompt(frame=np.int64(0), box=np.array(plain.prompt.box))  # type: ignore[arg-type, union-attr]
    given: dict[str, Any] = {"window": np.int64(9), "seed": np.int32(0), "dilate": [np.int64(8), 8]}
    found = replace(plain, prompt=prompt, video=Path(plain.video), iou_threshold=np.float64(0.9), **given)  # type: ignore[arg-type]
    assert found == replace(plain, dilate=(8, 8)) and hash(found) == hash(replace(plain, dilate=(8, 8)))
    assert RunConfig.from_json(found.to_json()) == found


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("seed", 5.0, "--seed 5.0: expected int, got float"),
        ("server", "127.0.0.1:8188", "--server '127.0.0.1:8188': expected list, got str"),
        ("dilate", 8, "--dilate 8: expected list, got int"),
        ("iou_threshold", "0.9", "--iou-threshold '0.9': expected float, got str"),
    ],
)
def test_a_config_refuses_values_of_another_kind(name: str, value: Any, told: str) -> None:
    """A seed of 5.0 was written into a run that could then not be read; a server's address was taken for its letters."""
    config, changed = small_config(), {name: value}
    with pytest.raises(UsageError, match=f"^{re.escape(told)}$"):
        replace(config, **changed)
