"""Blending: neighbouring windows generate the overlap twice; here they become one picture.

    frame            final.start       new.start            final.stop       read.stop
    last window      -------[===========)                                                   overlap: what it made here
    this window      [......[===========|-------------------)================)
                     context   overlap    taken as it is      overlap for the next window
    written                 [===========|-------------------)
                             old >>> new                      the crossfade: where the subjects move least

Before the crossfade the overlap is the window's before, behind it this one's. The weight of this window on frame i of n
crossfaded ones is (i + 1) / (n + 1): neither window counts alone there, and each step is equally large. A shifted last
window begins before final.start: what it makes there is context, discarded.
"""

from dataclasses import dataclass

import numpy as np

from stages.base import PICTURE, Array, Inputs, Output, Port, Read, Stage, Window
from stages.fade import fade_span
from stages.metrics import own_seam
from stages.region import RESKIN_CHOICES, chosen_mask
from storage.errors import GeneratorError, RunDirectoryError, UsageError


@dataclass(frozen=True)
class BlendConfig:
    """What may change.

    Attributes:
        window, overlap: frames of a window, and those that two of them share.
        reskin: "both", "object" or "person": whose motion decides where windows are crossfaded.
    """

    window: int = 81
    overlap: int = 21
    reskin: str = "both"

    def __post_init__(self) -> None:
        if not 0 <= self.overlap <= (self.window - 1) // 2:
            raise UsageError(f"--overlap {self.overlap} is outside 0..{(self.window - 1) // 2}, half of --window")
        if self.reskin not in RESKIN_CHOICES:
            raise UsageError(f"--reskin {self.reskin} is none of {', '.join(RESKIN_CHOICES)}")


class BlendStage(Stage):
    """Crossfades each raw window with what the one before it made of the same frames."""

    name = "blend"
    reads = (
        Read("raw", "window"),
        Read("overlap", "window", -1),
        Read("masks/object", "read"),
        Read("masks/person", "read"),
    )
    writes = (
        Port("generated", "final", PICTURE, "uint8", "until_read"),
        Port("overlap", "window", PICTURE, "uint8", "window"),
    )
    scales = "pixels"

    def __init__(self, config: BlendConfig) -> None:
        self.config = config

    def process(self, window: Window, inputs: Inputs) -> Output:
        """Take `raw` `[read.frames, H, W, 3]` uint8 RGB, the `overlap` of the window before (none for the first), and
        the source's `masks/object` and `masks/person` `[read.frames, H, W]` bool.

        Returns:
            `generated` `[final.frames, H, W, 3]` uint8 RGB, and `overlap`: the raw frames after the final span, at most
            as many as windows overlap, none in a shot's last window. In `info` `crossfade`, the frames that are mixed,
            `[start, stop)`, and `own_seam`.

        Raises:
            GeneratorError: when the raw window has another number of frames than the window reads.
            RunDirectoryError: when the overlap is not that of the window before this one.
        """
        raw = inputs.arrays["raw"]
        held = inputs.arrays.get("overlap", raw[:0])
        if len(raw) != window.read.frames:
            raise GeneratorError(
                f"window {window.index}: {len(raw)} frames were generated, {window.read.frames} are needed: "
                "check the length and the outputs of the workflow"
            )
        wanted = window.new.start - window.final.start
        if len(held) != wanted or (wanted and held.shape[1:] != raw.shape[1:]):
            raise RunDirectoryError(
                f"blend: window {window.index} needs {wanted} frames from frame {window.final.start} on of the window "
                f"before it, there are {len(held)} of {held.shape[1:]}: redo from an earlier window"
            )
        final = window.final.within(window.read)
        blended = raw[final].copy()
        start, stop = fade_span(self._moving(inputs), window)
        begin, end = start - window.final.start, stop - window.final.start
        blended[:begin] = held[:begin]
        blended[begin:end] = crossfade(held[begin:end], blended[begin:end])
        after = raw[window.final.stop - window.read.start :].copy()
        subjects = inputs.arrays["masks/object"][final] | inputs.arrays["masks/person"][final]
        seam = own_seam(blended, held, raw[final], subjects, (begin, end))
        return Output({"generated": blended, "overlap": after}, {"crossfade": [start, stop], "own_seam": seam})

    def _moving(self, inputs: Inputs) -> Array:
        """`[n, H, W]` bool: what is regenerated."""
        return chosen_mask(inputs.arrays["masks/object"], inputs.arrays["masks/person"], self.config.reskin)

    def peak_bytes(self, height: int, width: int, window_frames: int) -> tuple[int, int]:
        """The raw window, its blended part, the overlap held before and after, masks, and one frame in 32 bits.

        Between windows the overlap alone.
        """
        overlap = self.config.overlap
        frames = 2 * window_frames + 2 * overlap + 4 * 3 if window_frames else overlap
        return frames * height * width * 3 + 3 * window_frames * height * width, 0


def crossfade(old: Array, new: Array) -> Array:
    """Fade from `old` to `new`: frame i of n is `(old * (n - i) + new * (i + 1)) / (n + 1)`, rounded half up.

    Computed in integers: the same on every machine, and exactly the common value where both are equal.

    Args:
        old, new: `[n, H, W, 3]` uint8.

    Returns:
        `[n, H, W, 3]` uint8.
    """
    count = len(old)
    wide = np.uint16 if 2 * 255 * (count + 1) + count + 1 < 2**16 else np.uint32  # half the width, half the time
    faded = np.empty_like(new)
    for index in range(count):
        total = np.multiply(old[index], 2 * (count - index), dtype=wide)
        total += np.multiply(new[index], 2 * (index + 1), dtype=wide)
        total += wide(count + 1)
        faded[index] = total // wide(2 * (count + 1))
    return faded
