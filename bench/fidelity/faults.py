"""The benchmark's faults: which, how strong, and which metrics each must and must not fire."""

from dataclasses import dataclass

import numpy as np

from bench.fidelity.clips import BOARD, SKATER
from stages.base import Array
from stream.demo.faults import UNITS, Fault, Result, plant

FREE = 8  # first frames that stay as they are: the prompt's, and some to be known by
_RAMPS = ("slide", "colour-drift")  # grow from frame to frame by themselves


@dataclass(frozen=True)
class Planted:
    """One fault of the benchmark.

    Attributes:
        name: of the method in the record. kind, subject: as in `stream.demo.faults`.
        strengths: rising (in size), in the unit of the kind.
        stated: the size above which it fires what it must.
        must: metrics that fire on at least 95 % of its frames. must_not: on at most 2 %; all others may.
    """

    name: str
    kind: str
    subject: str
    strengths: tuple[float, ...]
    stated: float
    must: tuple[str, ...]
    must_not: tuple[str, ...]

    @property
    def unit(self) -> str:
        """Of its strengths."""
        return UNITS[self.kind]

    def graded(self, result: Result) -> tuple[Result, Array]:
        """The result with all strengths, one after the other, and `[T]` float64 the size of the fault on each frame:
        0 without it."""
        frames = len(result.frames)
        if self.kind in _RAMPS:
            return self._ramp(result, self.strengths[-1])
        edges = np.linspace(min(FREE, frames - 1), frames, len(self.strengths) + 1).round().astype(int).tolist()
        spans = [(a, b, s) for a, b, s in zip(edges, edges[1:], self.strengths, strict=False) if a < b]
        return self._planted(result, spans)

    def full(self, result: Result) -> tuple[Result, Array]:
        """The result with the stated size throughout; of what grows, from there on to the strongest."""
        if self.kind in _RAMPS:
            return self._ramp(result, self.strengths[-1])
        return self._planted(result, [(FREE, len(result.frames), self.stated)])

    def _ramp(self, result: Result, strength: float) -> tuple[Result, Array]:
        frames = len(result.frames)
        size = np.zeros(frames)
        size[FREE:] = strength * np.arange(1, frames - FREE + 1) / (frames - FREE)
        return plant(result, self._fault(strength, FREE, frames)), size

    def _planted(self, result: Result, spans: list[tuple[int, int, float]]) -> tuple[Result, Array]:
        """Each strength is planted on the result as it was, so that none rests on another."""
        frames, size = result.frames.copy(), np.zeros(len(result.frames))
        masks = {name: mask.copy() for name, mask in result.masks.items()}
        for start, stop, strength in spans:
            faulty = plant(result, self._fault(strength, start, stop))
            frames[start:stop] = faulty.frames[start:stop]
            for name, mask in masks.items():
                mask[start:stop] = faulty.masks[name][start:stop]
            size[start:stop] = abs(strength)
        return Result(frames, masks, result.plates, result.joints), size

    def _fault(self, strength: float, start: int, stop: int) -> Fault:
        other = SKATER if self.kind == "swap" else None
        return Fault(self.kind, strength, start, stop, self.subject, other)


FAULTS = (
    Planted("shift", "shift", BOARD, (2, 4, 8, 16), 8, ("iou", "containment", "offset"), ("joints", "lost")),
    Planted("scale", "scale", BOARD, (1.05, 1.1, 1.2, 1.4), 1.2, ("iou", "containment"), ("joints", "lost")),
    Planted("rotation", "rotation", BOARD, (3, 6, 12, 24), 12, ("iou", "containment"), ("joints", "lost")),
    Planted("dilation", "dilation", BOARD, (1, 2, 3, 5), 3, ("iou", "containment"), ("joints", "lost")),
    Planted("late", "late", BOARD, (1, 2, 3, 5), 3, ("iou", "containment"), ("lost",)),
    Planted("early-skater", "late", SKATER, (-1, -2, -3, -5), -3, ("person_iou",), ()),
    Planted("swap", "swap", BOARD, (0.25, 0.5, 0.75, 1), 1, ("iou", "person_iou"), ()),
    Planted("vanish", "vanish", BOARD, (0.25, 0.5, 0.75, 1), 1, ("iou",), ("joints",)),
    Planted("double", "double", BOARD, (0.25, 0.5, 0.75, 1), 1, ("iou", "containment"), ("joints", "lost")),
    Planted("mirrored", "mirrored", SKATER, (0.25, 0.5, 0.75, 1), 1, ("joints", "person_iou"), ("lost",)),
    Planted("slide", "slide", SKATER, (5, 10, 20, 40), 20, ("person_iou",), ("lost",)),
    Planted("flicker", "flicker", BOARD, (8, 16, 32, 64), 64, ("iou",), ("joints", "lost")),
    Planted("colour-drift", "colour-drift", BOARD, (16, 32, 64, 128), 64, ("containment",), ("joints", "lost")),
    Planted("blur-board", "blur", BOARD, (1, 2, 4, 8), 8, ("iou",), ("joints",)),
)
"""By the names of the methods in the record."""
