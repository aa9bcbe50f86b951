"""A small moving scene, its masks and keypoints, and windows over it."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from stages.base import Inputs, Output, Window
from stages.comfyui import ComfyConfig, ComfyStage
from stages.composite import CompositeConfig, MatchingCompositeStage
from stages.generator import Request
from stream.engine.windows import WindowPlan

Array = np.ndarray[Any, np.dtype[Any]]
QUICK: dict[str, Any] = {
    "patience_s": 3.0, "failover_s": 0.6, "connect_s": 2.0, "request_s": 5.0, "poll_s": 0.05, "timeout_s": 20.0,
}  # fmt: skip


@dataclass(frozen=True)
class Scene:
    """A textured background, a board that slides, a person above it.

    Attributes:
        frames: `[T, H, W, 3]` uint8; objects, persons: `[T, H, W]` bool; keypoints: `[T, 133, 3]` float32.
    """

    frames: Array
    objects: Array
    persons: Array
    keypoints: Array

    def inputs(self, window: Window, tail: Array | None = None) -> Inputs:
        """What the stage reads for a window."""
        span = slice(*window.read)
        given = {
            "frames": self.frames[span],
            "keypoints/person": self.keypoints[span],
            "masks/object": self.objects[span],
            "masks/person": self.persons[span],
            "generated": self.frames[:0],
            "overlap": self.frames[:0] if tail is None else tail,
        }
        return Inputs(arrays=given)


def make_scene(count: int, height: int = 48, width: int = 64, seed: int = 0) -> Scene:
    """A scene of `count` frames."""
    rng = np.random.default_rng(seed)
    background = rng.integers(60, 190, (height, width, 3), dtype=np.uint8)
    frames = np.repeat(background[None], count, axis=0)
    objects, persons = np.zeros((count, height, width), bool), np.zeros((count, height, width), bool)
    keypoints = np.zeros((count, 133, 3), np.float32)
    for index in range(count):
        there = index % (2 * (width - 30))
        left = 6 + min(there, 2 * (width - 30) - there)
        objects[index, height - 14 : height - 8, left : left + 18] = True
        persons[index, 8 : height - 14, left + 5 : left + 13] = True
        frames[index, persons[index].nonzero()[0], persons[index].nonzero()[1]] = (180, 60, 40)
        frames[index][objects[index]] = (30, 40, 120)
        frames[index, height - 12, left : left + 18] = 230
        keypoints[index, :, 0] = left + 9
        keypoints[index, :, 1] = np.linspace(9, height - 16, 133)
        keypoints[index, :, 2] = 0.9
    return Scene(frames, objects, persons, keypoints)


def windows(count: int, window: int = 17, overlap: int = 5) -> list[Window]:
    """The windows of a clip of `count` frames."""
    return list(WindowPlan(window, overlap).windows(count))


def config(*servers: str, **given: Any) -> ComfyConfig:
    """A config for a 64x48 scene with short waits."""
    return ComfyConfig(**{"servers": servers, "size": (64, 48), "steps": 2, **QUICK, **given})


class Picturing:
    """The ComfyUI stage and its composite one behind the other, as the chain runs them; a context manager."""

    def __init__(self, config: ComfyConfig) -> None:
        self.generator = ComfyStage(config)
        self.composite = MatchingCompositeStage(
            CompositeConfig(config.reskin, config.dilate, config.region, counted=config.size)
        )

    def process(self, window: Window, inputs: Inputs, request: Request = Request()) -> Output:  # noqa: B008 - frozen
        """`raw`, and the facts of both."""
        made = self.generator.process(window, inputs, request)
        facts = {**made.info, **request.to_info()}
        raw = self.composite.process(window, Inputs({**inputs.arrays, **made.arrays}, {"generate": facts}))
        return Output(raw.arrays, {**facts, **raw.info})

    def __enter__(self) -> "Picturing":
        self.generator.open()
        return self

    def __exit__(self, *error: object) -> None:
        self.generator.close()
