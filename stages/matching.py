"""What is done to the colours of a window that was made, so that a hundred windows end as they began.

Every window decodes and encodes the overlap again, so colours drift from window to window (ali-vilab/VACE 44, 93, 99;
Wan2GP 2132).

    made --(1) the generator's transfer undone--> as it was meant --(2) mean and deviation--> as the tail is

1. The transfer is measured outside the region, where every pixel is known (`stages/transfer.py`), in every window: an
   absolute reference. Where a window shows too little for it (a grey wall says nothing of saturation; a region that
   fills the picture says nothing at all) that of the shot's first window counts. Where the two disagree the window's
   own wins: it is of the pixels that are corrected by it, and the first one's stands for them only as long as the
   generator does the same.
2. What is left in the region on the overlap, against what is already there. It comes last and wins inside the region: a
   step there is seen, and a drift of the region alone is seen nowhere else.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

import cv2
import numpy as np

from stages.base import Array, Json, State
from stages.colour import ColourTransform, Statistics, apply, match, statistics_of, to_lab
from stages.region import bounding_box
from stages.transfer import MATCH_PIXELS, Transfer, measure

SOFT = 5  # pixels a side of the mean that colours are compared by: sharpness is no colour
SHARPNESS_STEP = 8  # frames


@dataclass
class MatchState(State):
    """What is carried from window to window of a shot.

    Attributes:
        gain, shift: the last window's overlap correction in Lab, 3 numbers each; used again when the next overlap
            shows too little of the region to measure one.
        matrix, offset: the transfer of the shot's first window, 9 and 3 numbers; none before it was measured.
    """

    version: ClassVar[int] = 2
    gain: list[float] = field(default_factory=lambda: [1.0, 1.0, 1.0])
    shift: list[float] = field(default_factory=lambda: [0.0, 0.0, 0.0])
    matrix: list[float] = field(default_factory=list)
    offset: list[float] = field(default_factory=list)

    def correction(self) -> ColourTransform:
        """The carried correction."""
        return ColourTransform(
            (self.gain[0], self.gain[1], self.gain[2]), (self.shift[0], self.shift[1], self.shift[2])
        )

    def transfer(self) -> Transfer | None:
        """The first window's."""
        return Transfer(tuple(self.matrix), tuple(self.offset)) if self.matrix else None

    @classmethod
    def of(cls, found: "Look") -> "MatchState":
        """What the window leaves to the next."""
        first = found.first or Transfer((), ())
        return cls(list(found.overlap.gain), list(found.overlap.shift), list(first.matrix), list(first.offset))


@dataclass(frozen=True)
class Look:
    """A window's colour correction.

    Attributes:
        transfer: what the generator did, undone first.
        overlap: in Lab, what carries the overlap to the tail's colours.
        pixels: of the overlap that it was measured on; 0 when it was carried over from an earlier window.
        blocks: outside the region that the transfer was measured on; 0 when it is the first window's.
        first: the transfer of the shot's first window; None before it was measured.
    """

    transfer: Transfer = Transfer()
    overlap: ColourTransform = ColourTransform()
    pixels: int = 0
    blocks: int = 0
    first: Transfer | None = None

    def apply(self, frame: Array, where: Array) -> Array:
        """`[h, w, 3]` uint8 RGB with the pixels at `[h, w]` bool corrected; a new array."""
        return apply(self.overlap, frame, where, None if self.transfer.is_identity else self.transfer.undone)

    def record(self) -> dict[str, Json]:
        """As it stands in the record."""
        return {
            "transfer": {
                "matrix": [round(value, 4) for value in self.transfer.matrix],
                "offset": [round(value, 3) for value in self.transfer.offset],
                "blocks": self.blocks,
            },
            "gain": [round(value, 4) for value in self.overlap.gain],
            "shift": [round(value, 3) for value in self.overlap.shift],
            "overlap_pixels": self.pixels,
        }


def look(made: Array, source: Array, region: Array, inner: Array, tail: Array, state: MatchState) -> Look:
    """The correction of a window.

    Args:
        made, source: `[n, h, w, 3]` uint8 RGB at the generated size.
        region, inner: `[n, h, w]` bool: what may change, and the undilated masks within it.
        tail: `[m, h, w, 3]` uint8 RGB at the generated size, m <= n.
        state: what the windows before left.
    """
    first = state.transfer()
    measured, blocks = measure(made, source, region, first)
    transfer = measured or first or Transfer()
    first, count = first or measured, len(tail)
    if count == 0:
        return Look(transfer, ColourTransform(), 0, blocks, first)
    core = certain(inner[:count] & region[:count])
    found, wanted = soft_statistics(made[:count], core, transfer), soft_statistics(tail, core, Transfer())
    if found is None or wanted is None or found.pixels < MATCH_PIXELS:
        return Look(transfer, state.correction(), 0, blocks, first)
    return Look(transfer, match(found, wanted), found.pixels, blocks, first)


def certain(core: Array) -> Array:
    """`[n, h, w]` bool: pixels well inside. A model that is less sharp mixes what is around the region into its edge,
    in frames made anew more than in those it was given: matching would take that for a drift."""
    square = np.ones((SOFT, SOFT), np.uint8)
    inside = [cv2.erode(mask.astype(np.uint8), square, borderType=cv2.BORDER_CONSTANT, borderValue=0) for mask in core]
    eroded = np.stack(inside) > 0
    return eroded if np.count_nonzero(eroded) >= MATCH_PIXELS else core


def soft_statistics(frames: Array, where: Array, transfer: Transfer) -> Statistics | None:
    """Lab statistics over the pixels of `[n, h, w, 3]` uint8 RGB at which `[n, h, w]` bool is true, each the mean of
    those around it, a transfer undone; None without any."""
    pairs = ((frame, mask) for frame, mask in zip(frames, where, strict=True) if mask.any())
    return statistics_of(_soft_lab(frame, mask, transfer) for frame, mask in pairs)


def _soft_lab(frame: Array, mask: Array, transfer: Transfer) -> Array:
    """`[k, 3]` float64: of one frame."""
    box = bounding_box(mask)
    assert box is not None, "empty masks are left out"
    frame, mask = frame[box], mask[box]  # what is not in the mask counts for nothing
    at = np.flatnonzero(mask)
    counted = _boxes(mask.astype(np.uint8)).take(at)
    means = _boxes(frame * mask[..., None]).reshape(-1, 3).take(at, axis=0) / counted[:, None]
    return to_lab(means if transfer.is_identity else transfer.undone(means))


def _boxes(picture: Array) -> Array:
    """Sums over squares of `SOFT` pixels: integers, so the same wherever the array lies."""
    found: Array = cv2.boxFilter(picture, cv2.CV_32S, (SOFT, SOFT), normalize=False, borderType=cv2.BORDER_CONSTANT)
    return found


def sharpness(frames: Array, source: Array, where: Array) -> float | None:
    """How much of the source's detail `[n, h, w, 3]` uint8 RGB has at the pixels `[n, h, w]` bool: the mean magnitude
    of the Laplacian of grey, against the source's. None where there is none."""
    totals = [0, 0]
    for index in range(0, len(frames), SHARPNESS_STEP):
        for side, picture in enumerate((frames[index], source[index])):
            grey = cv2.cvtColor(np.ascontiguousarray(picture), cv2.COLOR_RGB2GRAY)
            totals[side] += int(np.abs(cv2.Laplacian(grey, cv2.CV_16S)[where[index]]).sum(dtype=np.int64))
    return None if totals[1] == 0 else totals[0] / totals[1]


def sharpness_facts(made: Array, source: Array, region: Array, inner: Array) -> Mapping[str, Json]:
    """Sharpness of what was to be kept and of what was made anew, each against the source's at the same pixels."""
    found = {"kept": sharpness(made, source, ~region), "made": sharpness(made, source, inner)}
    return {name: None if value is None else round(value, 4) for name, value in found.items()}
