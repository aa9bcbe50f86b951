"""Used as a library: several models at once in one process, configs and paths as Python gives them."""

import shutil
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from _small_run import FRAMES, small_config, small_sam

from storage.errors import Interrupted
from stream.api import sam_model
from stream.engine.signals import Cancel
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
