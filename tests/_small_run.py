"""A finished run that takes seconds: a tiny synthetic clip, the packaged pose models, a SAM 2.1 with random weights.

What is tracked is meaningless; that every part meets every other is what such a run can show.
"""

import atexit
import shutil
from functools import cache
from pathlib import Path
from tempfile import mkdtemp

import cv2
import numpy as np
from _sam_fixture import write_small_sam

from stages.prompts import Correction, ObjectPrompt
from stream.demo import DemoConfig, Scene
from stream.demo.clip import write_clip
from stream.options.config import RunConfig
from stream.run.lifecycle import start

WIDTH, HEIGHT, FRAMES = 160, 90, 21


@cache
def folder() -> Path:
    """A temporary folder that lives as long as the test process."""
    made = Path(mkdtemp(prefix="skate-small-run-"))
    atexit.register(shutil.rmtree, made, ignore_errors=True)
    return made


@cache
def small_sam() -> tuple[str, str]:
    """Weights and config of a SAM 2.1 with random weights."""
    made = write_small_sam(folder())
    return str(made.checkpoint), str(made.config_yaml)


@cache
def small_clip() -> Path:
    """The clip: 21 frames, 160x90."""
    path = folder() / "clip.mp4"
    write_clip(DemoConfig(frames=FRAMES, width=WIDTH, height=HEIGHT), path)
    return path


@cache
def small_mask() -> Path:
    """The board on frame 0 as a mask PNG."""
    path = folder() / "board.png"
    mask = Scene(DemoConfig(frames=1, width=WIDTH, height=HEIGHT)).frame(0).object_mask
    assert cv2.imwrite(str(path), mask.astype(np.uint8) * 255)
    return path


def small_config(chain: str = "run", with_mask: bool = False) -> RunConfig:
    """Windows of 9 frames that overlap by 3; the object is given by its box, or by masks on two frames."""
    sam, sam_config = small_sam()
    prompt = ObjectPrompt(mask_png=str(small_mask())) if with_mask else ObjectPrompt(box=(60.0, 70.0, 100.0, 82.0))
    correct = (Correction(12, mask_png=str(small_mask())),) if with_mask else ()
    return RunConfig(
        prompt, correct=correct, video=str(small_clip()), chain=chain, window=9, overlap=3, sam=sam,
        sam_config=sam_config, pose="mini", detector="mini",
    )  # fmt: skip


@cache
def small_run(chain: str = "run", with_mask: bool = False) -> Path:
    """The run directory of a finished run."""
    path = folder() / f"{chain}-{'mask' if with_mask else 'box'}"
    start(small_config(chain, with_mask), path)
    return path
