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
from _small_run import FRAMES, small_clip, small_config, small_run, small_sam

from stages.base import Inputs, Output, Read, Window
from stages.decode import DecodeConfig, DecodeStage
from stages.generator import GeneratorStage, Request
from stages.prompts import ObjectPrompt
from storage.errors import Interrupted, RunDirectoryError, UsageError
from storage.rundir import RunReader
from storage.spans import Span
from stream.api import sam_model
from stream.engine.chain import Chain, Node
from stream.engine.signals import Cancel
from stream.options.config import RunConfig
from stream.progress.events import Event, WindowDone
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
    """A seed of 5.0 was written into a run that could then not be read; a server was taken for its letters."""
    config, changed = small_config(), {name: value}
    with pytest.raises(UsageError, match=f"^{re.escape(told)}$"):
        replace(config, **changed)


class Grey(GeneratorStage):
    """A caller's own generator, under the name of the one that it stands for."""

    name = "generate"
    reads = (Read("frames", "read"),)

    def process(self, window: Window, inputs: Inputs, request: Request = Request()) -> Output:  # noqa: B008 - frozen
        return Output({"made": np.full_like(inputs.arrays["frames"], 128)})


def with_grey(chain: Chain) -> Chain:
    return Chain([Node(Grey()) if node.name == "generate" else node for node in chain])


def test_a_run_with_an_own_stage_in_place_of_ours_is_not_gone_on_with_by_ours(tmp_path: Path) -> None:
    """Both are called `generate`: the windows that were left would have been made by another generator."""
    asked, out = Cancel(), tmp_path / "run"

    def until_made(event: Event) -> None:
        if isinstance(event, WindowDone) and event.stage == "generate":
            asked.cancel()

    with pytest.raises(Interrupted):
        start(small_config(), out, listener=until_made, cancel=asked, extend=with_grey)
    with pytest.raises(RunDirectoryError, match="own stage as generate, this chain has one as none"):
        resume(out)
    with pytest.raises(RunDirectoryError, match="begun with a caller's own stage as generate"):
        start(small_config(), out)
    assert resume(out, extend=with_grey).frames == FRAMES
    with pytest.raises(RunDirectoryError, match="own stage as none, this chain has one as generate"):
        resume(small_run(), extend=with_grey)
    assert start(small_config(), out, overwrite=True).frames == FRAMES
    assert (out / "output.mp4").read_bytes() == (small_run() / "output.mp4").read_bytes()


def test_a_decode_stage_that_is_closed_tells_of_no_clip() -> None:
    """It gave no frames, and said that the clip ended there."""
    stage = DecodeStage(DecodeConfig(small_clip()))
    with stage:
        assert not stage.next(Span(0, 9)).last
    with pytest.raises(RunDirectoryError, match="is not open"):
        stage.next(Span(9, 18))


def test_frames_that_were_let_go_of_are_not_called_missing() -> None:
    """Nothing is damaged, and `skate resume` brings nothing of them back."""
    arrays = RunReader(small_run()).arrays
    with pytest.raises(RunDirectoryError, match="frames 0 to 8 were let go of once no stage needed them any more"):
        arrays.read("frames", 0, 3)
    with pytest.raises(RunDirectoryError, match="--keep all keeps them"):
        arrays.read("generated", 0, 3)
    assert arrays.read("masks/object", 0, 3).shape[0] == 3


@pytest.mark.parametrize("given", [Path("s3://bucket/run"), "s3://bucket/run", "run"])
def test_what_is_no_address_is_refused(given: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first one was a run in a folder called `s3:`, the others ended in an error about operands."""
    monkeypatch.chdir(tmp_path)
    told = re.escape(f"give storage.address.run_path('{str(given).replace(':/b', '://b')}')")
    for use in (lambda: start(small_config("extract"), given), lambda: RunReader(given)):
        with pytest.raises(UsageError, match=told):
            use()
    assert not list(tmp_path.iterdir())
