"""Window arithmetic: which frames each window sees, writes, and makes final.

At the defaults (window 81, overlap 21, stride 60); spans are half-open:

    frame      0        60  81      120 141     180 201
    window 0   [---------------)
    window 1            [===---------------)          === is the overlap: generated twice, crossfaded once
    window 2                        [===---------------)
    new        [0,81)   [81,141)    [141,201)         decode, pose and track see every frame once
    final      [0,60)   [60,120)    [120,201)         final once the next window can no longer change them

A last window that would run past the end is shifted back to end on the last frame, so that generation sees a full
window; a clip shorter than a window is padded to 4n+1 frames for generation alone.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

from stages.base import Window
from storage.errors import UsageError
from storage.log import CommitLog
from storage.spans import Span

MAX_WINDOW_FRAMES = 100_001  # an hour at 28 frames/s: far above what fits in memory, below what overflows


@dataclass(frozen=True)
class WindowPlan:
    """The windows of a clip of any length.

    Attributes:
        window: frames a window holds, step * n + 1.
        overlap: frames that two neighbours share, 0 <= overlap <= (window - 1) / 2.
        step: of the generator (Wan's VAE has a temporal stride of 4).
    """

    window: int = 81
    overlap: int = 21
    step: int = 4

    def __post_init__(self) -> None:
        step = self.step
        if self.window <= step or (self.window - 1) % step:
            legal = max(step + 1, (self.window - 1) // step * step + 1)
            raise UsageError(
                f"--window {self.window} is not {step}n+1 ({step + 1}, {2 * step + 1}, ... {20 * step + 1}): "
                f"the nearest below is {legal}"
            )
        if self.window > MAX_WINDOW_FRAMES:
            raise UsageError(f"--window {self.window} is above {MAX_WINDOW_FRAMES} frames: 81 is the usual one")
        if not 0 <= self.overlap <= (self.window - 1) // 2:
            raise UsageError(
                f"--overlap {self.overlap} is outside 0..{(self.window - 1) // 2}, half of --window {self.window}"
            )

    @property
    def stride(self) -> int:
        """Frames from the start of one window to the start of the next."""
        return self.window - self.overlap

    def new_span(self, index: int) -> Span:
        """The frames window `index` would see first if the clip never ended."""
        stop = self.window + index * self.stride
        return Span(0 if index == 0 else stop - self.stride, stop)

    def count(self, frames: int) -> int:
        """How many windows a clip of `frames` >= 1 frames has."""
        return 1 + max(0, math.ceil((frames - self.window) / self.stride))

    def at(self, index: int, stop: int, last: bool) -> Window:
        """Window `index`, of which decoding found the frames up to `stop`, the clip's end when `last`."""
        new = Span(self.new_span(index).start, stop)
        read = Span(max(0, stop - self.window), stop) if last else Span(index * self.stride, stop)
        final = Span(index * self.stride, stop if last else (index + 1) * self.stride)
        padded = max(self.window if stop > self.window else 0, math.ceil((read.frames - 1) / self.step) * self.step + 1)
        return Window(index=index, read=read, new=new, final=final, last=last, padded_frames=padded)

    def windows(self, frames: int) -> Iterator[Window]:
        """All windows of a clip whose length is known."""
        count = self.count(frames)
        for index in range(count):
            last = index == count - 1
            yield self.at(index, frames if last else self.new_span(index).stop, last)


def committed_windows(log: CommitLog, plan: WindowPlan) -> list[Window]:
    """The windows that are decoded."""
    return [plan.at(record["window"], record["span"][1], bool(record["info"]["last"])) for record in log.of("decode")]
