"""A tracker that finds what a test tells it to, and a chase over it without a model."""

from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import Any

import numpy as np

from stages.base import Array
from stages.sam.session import Tracked
from stages.sam.tracker import Seen
from stages.subjects import Subject
from stages.track import TrackConfig, TrackStage

Script = Callable[[str, int], Array]  # name, frame of the clip: `[H, W]` bool


class Scripted:
    """A tracker that finds what it is told to, by name and frame of the clip, and nothing it was not begun with."""

    def __init__(self, script: Script, frame_of: Callable[[int], int] = lambda index: index) -> None:
        self.script, self.frame_of = script, frame_of
        self.names = set[str]()
        self.shown: list[tuple[int, tuple[str, ...]]] = []

    def __contains__(self, name: str) -> bool:
        return name in self.names

    def see(
        self, index: int, frame: Array, image: Any, views: Mapping[str, Array], prompts: Mapping[str, Any], least: int
    ) -> dict[str, Seen]:
        self.names |= set(prompts)
        at, found = self.frame_of(index), {}
        self.shown.append((at, tuple(sorted(self.names))))
        for name in self.names:
            prompt = prompts.get(name)
            mask = self.script(name, at) if prompt is None or prompt.mask is None else prompt.mask
            found[name] = Seen(mask, Tracked(None, mask.any()), np.where(mask, np.float32(5), np.float32(-5)))
        return found

    def drop(self, name: str) -> None:
        self.names.discard(name)


def chase_of(subjects: tuple[Subject, ...]) -> TrackStage:
    """A stage that chases these; its trackers are the test's to give."""
    model: Any = SimpleNamespace(image_size=64, config=SimpleNamespace(device="cpu"), to_device=lambda: None)
    return TrackStage(TrackConfig(subjects, look="chase", chosen=None), model)
