"""`--device cpu` keeps off the GPU: a CUDA that fails when touched, and libraries that look when they are loaded."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from _runs import invoke
from _sam_fixture import moving_clip, plain_track, write_small_sam
from _small_run import small_clip, small_run, small_sam

from stages.base import Array, Inputs, Window
from stages.prompts import ObjectPrompt
from stages.sam.model import SamConfig, SamModel
from stages.track import TrackStage
from storage.spans import Span
from stream.demo import DemoConfig
from stream.demo.clip import write_clip

BOX = ["--box", "60,70,100,82"]
HIDDEN, SEEN = 77, 78  # how a process ends that has loaded the library
LIBRARY = f"""
import os
os._exit({HIDDEN} if os.environ.get("CUDA_VISIBLE_DEVICES") == "-1" else {SEEN})
"""


def models() -> list[str]:
    """A SAM of random weights, and the small pose models."""
    sam, sam_config = small_sam()
    return ["--sam", sam, "--sam-config", sam_config, "--pose", "mini", "--detector", "mini"]


def ends(folder: Path, library: str, arguments: list[str]) -> int:
    """The exit code of a command in a process of its own, on a machine where this library only looks for the GPU."""
    (folder / f"{library}.py").write_text(LIBRARY)
    environment = {name: value for name, value in os.environ.items() if name != "CUDA_VISIBLE_DEVICES"}
    environment["PYTHONPATH"] = str(folder)
    done = subprocess.run([sys.executable, "-m", "stream.cli", *arguments], env=environment, capture_output=True)
    return done.returncode


@pytest.mark.parametrize("library", ["torch", "onnxruntime"])
def test_run_hides_the_gpu_before_the_library_loads(tmp_path: Path, library: str) -> None:
    options = [*BOX, *models(), "--out", str(tmp_path / "run")]
    assert ends(tmp_path, library, ["run", str(small_clip()), *options, "--device", "cpu"]) == HIDDEN


def test_auto_looks_for_a_gpu(tmp_path: Path) -> None:
    """So the libraries of these tests do tell one from the other."""
    options = [*BOX, *models(), "--out", str(tmp_path / "run")]
    assert ends(tmp_path, "torch", ["run", str(small_clip()), *options]) == SEEN


def test_a_run_that_was_begun_on_the_cpu_goes_on_there(tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(small_run(), run)
    assert ends(tmp_path, "torch", ["evaluate", str(run)]) == HIDDEN
    assert ends(tmp_path, "torch", ["generate", str(run), "--out", str(tmp_path / "other"), "--seed", "3"]) == HIDDEN
    assert ends(tmp_path, "torch", ["report", str(run)]) == 0, "it needs no torch"
    shutil.rmtree(run / "run.zarr" / "masks")
    assert ends(tmp_path, "torch", ["resume", str(run)]) == HIDDEN


@pytest.mark.parametrize("command", ["check", "demo", "bench", "evaluate"])
def test_every_command_with_a_device_hides_the_gpu(tmp_path: Path, command: str) -> None:
    out = ["--out", str(tmp_path / "out")]
    masks = ["--original", str(small_clip()), "--generated", str(small_clip())]
    arguments = {
        "check": [],
        "demo": [*out, "--frames", "5", "--clip-size", "160x90"],
        "bench": ["demo", *out, "--frames", "5", "--clip-size", "160x90"],
        "evaluate": [*masks, *BOX, *models()[:4]],
    }
    assert ends(tmp_path, "torch", [command, *arguments[command], "--device", "cpu"]) == HIDDEN


def test_a_run_on_the_cpu_touches_no_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    clip = tmp_path / "clip.mp4"
    write_clip(DemoConfig(frames=3, width=160, height=90), clip)
    options = [*BOX, *models(), "--window", "5", "--overlap", "0", "--out", str(tmp_path / "run")]

    def asked() -> bool:
        assert os.environ.get("CUDA_VISIBLE_DEVICES") == "-1", "the GPU was touched"
        return False

    monkeypatch.setattr(torch.cuda, "is_available", asked)
    assert invoke(["run", str(clip), *options, "--device", "cpu"]).code in (0, 1)


def tracked(config: SamConfig) -> Array:
    """Masks of a small clip by a model on the CPU."""
    model = SamModel(config)
    clip, span = moving_clip(8), Span(0, 8)
    with TrackStage(plain_track(ObjectPrompt(box=(38.0, 30.0, 58.0, 42.0))), model) as stage:
        window = Window(0, span, span, span, True, 8)
        output = stage.process(window, Inputs({"frames": clip}, {"decode": {"clip_frames_min16": 8}}))
    return output.arrays["masks/object"]


def test_a_gpu_that_torch_has_opened_already_is_not_used_by_a_model_on_the_cpu(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Then it is too late to hide it. sam2 would compute its positions there: without a GPU it would fail."""
    import torch

    config = write_small_sam(tmp_path)
    without = tracked(config)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert without.any() and np.array_equal(without, tracked(config))
    assert torch.cuda.is_available(), "only while the model is made"
