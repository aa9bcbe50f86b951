"""Blending: neighbouring windows generate the overlap twice; here they become one picture.

    frame            final.start       new.start            final.stop       read.stop
    last window      -------[===========)                                                   held: what it made here
    this window      [......[===========|-------------------)================)
                     context  crossfade   taken as it is      held for the next window
    written                 [===========|-------------------)

The weight of this window on frame i of n crossfaded ones is (i + 1) / (n + 1): neither window counts alone there, and
each step is equally large. A shifted last window begins before final.start: what it makes there is context, discarded.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from stages.base import Array, Inputs, Json, Output, Stage, State, Window
from storage.errors import GeneratorError, RunDirectoryError, UsageError


@dataclass(frozen=True)
class BlendConfig:
    """Window length and overlap, in frames."""

    window: int = 81
    overlap: int = 21

    def __post_init__(self) -> None:
        if not 0 <= self.overlap <= (self.window - 1) // 2:
            raise UsageError(f"--overlap {self.overlap} is outside 0..{(self.window - 1) // 2}, half of --window")


@dataclass
class BlendState(State):
    """The raw frames after the last final span.

    Attributes:
        held: `[m, H, W, 3]` uint8 RGB, m at most `overlap`; no frames after the clip's last window.
        start: absolute index of the first of them.
    """

    version: ClassVar[int] = 1
    held: Array = field(default_factory=lambda: np.zeros((0, 0, 0, 3), dtype=np.uint8))
    start: int = 0


class BlendStage(Stage):
    """Crossfades each raw window with what the one before it made of the same frames."""

    name = "blend"
    reads: ClassVar[Mapping[str, str]] = {"raw": "read"}
    writes: ClassVar[Mapping[str, str]] = {"generated": "final"}

    def __init__(self, config: BlendConfig) -> None:
        self.config = config
        self._state = BlendState()

    @property
    def held(self) -> Array:
        """`[m, H, W, 3]` uint8 RGB: the last raw window's frames after its final span (not to be written to)."""
        return self._state.held

    def process(self, window: Window, inputs: Inputs) -> Output:
        """Take `raw` `[read.frames, H, W, 3]` uint8 RGB, return `generated` `[final.frames, H, W, 3]` uint8 RGB.

        Raises:
            GeneratorError: when the raw window has another number of frames than the window reads.
            RunDirectoryError: when the carried state is not that of the window before this one.
        """
        raw = inputs.arrays["raw"]
        if len(raw) != window.read.frames:
            raise GeneratorError(
                f"window {window.index}: {len(raw)} frames were generated, {window.read.frames} are needed: "
                "check the length and the outputs of the workflow"
            )
        blended = raw[window.final.within(window.read)].copy()
        held = self._held_for(window, raw.shape[1:])
        blended[: len(held)] = crossfade(held, blended[: len(held)])
        after = raw[window.final.stop - window.read.start :].copy()
        self._state = BlendState(held=after, start=window.final.stop)
        return Output(arrays={"generated": blended})

    def _held_for(self, window: Window, frame_shape: tuple[int, ...]) -> Array:
        """The held frames that this window crossfades, `[new.start - final.start, H, W, 3]`."""
        wanted = window.new.start - window.final.start
        state = self._state
        if wanted == 0:
            return np.zeros((0, *frame_shape), dtype=np.uint8)
        if len(state.held) != wanted or state.start != window.final.start or state.held.shape[1:] != frame_shape:
            raise RunDirectoryError(
                f"blend: window {window.index} needs {wanted} frames from frame {window.final.start} on of the window "
                f"before it, its state holds {len(state.held)} from {state.start} on: redo from an earlier window"
            )
        return state.held

    def get_state(self) -> BlendState:
        """The state after the last window; later windows replace its array and never write into it."""
        return BlendState(held=self._state.held, start=self._state.start)

    def set_state(self, values: Mapping[str, Json], arrays: Mapping[str, Array]) -> None:
        """Take back what `get_state().to_parts()` gave."""
        self._state = BlendState.from_parts(values, arrays)

    def peak_bytes(self, height: int, width: int, window_frames: int) -> tuple[int, int]:
        """The raw window, its blended part, the overlap held before and after, and one frame in 32 bits.

        Between windows the overlap alone.
        """
        overlap = self.config.overlap
        frames = 2 * window_frames + 2 * overlap + 4 * 3 if window_frames else overlap
        return frames * height * width * 3, 0


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
