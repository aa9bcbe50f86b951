"""What decoding a window gives, and what it carries to the next."""

from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from stages.base import Array, Json, State


@dataclass
class DecodeState(State):
    """Where decoding stands after a window.

    Attributes:
        next_frame: index of the clip's next frame.
        known: the last frames of the file that were shown, at most `KNOWN_FRAMES`: `[pts, seconds, digest,
            position]`, the fields of `KnownFrame`.
        seekable: whether stamps and pictures were sound so far, so that seeking can be exact.
        careful: whether damage was met.
        pictures: [k, h, w, 3] uint8, at most `stages.cuts.REMEMBERED`: the last pictures, very small, for cuts.
    """

    version: ClassVar[int] = 2

    next_frame: int = 0
    known: list[list[Json]] = field(default_factory=list)
    seekable: bool = True
    careful: bool = False
    pictures: Array = field(default_factory=lambda: np.empty((0, 0, 0, 3), np.uint8))


@dataclass(frozen=True)
class Decoded:
    """What one window gave.

    Attributes:
        frames: `[n, H, W, 3]` uint8 RGB, upright.
        times: `[n]` float64, seconds since the first frame of the clip.
        last: whether the clip ends with these frames (exact).
        cut: whether a shot ends with them, and the clip does not (with `split`).
        cuts: frames among them before which a cut lies.
        clip_frames_min16: the clip's length, or 16 where it is longer (exact from the first window on).
        bad_frames: indices (in the clip) of frames that are the last good one in place of a damaged or missing one.
        digests: of each frame.
    """

    frames: Array
    times: Array
    last: bool
    cut: bool
    cuts: list[int]
    clip_frames_min16: int
    bad_frames: list[int]
    digests: list[str]
