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

Windows may also be given a place of their own (`Place`), wherever that is: which frames a window has stands in decode's
commit of it, and everybody reads it from there (`window_of`).
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from stages.base import Json, Window
from storage.errors import UsageError
from storage.log import CommitLog
from storage.spans import Span

MAX_WINDOW_FRAMES = 100_001  # an hour at 28 frames/s: far above what fits in memory, below what overflows


@dataclass(frozen=True)
class Place:
    """Where a window stands.

    Attributes:
        read: the frames that generation sees, were the clip not to end in them.
        start: the first frame that it makes final; those of `read` before it are context.
    """

    read: Span
    start: int


@dataclass(frozen=True)
class WindowPlan:
    """The windows of a clip of any length: one every stride, but for those that have a place of their own.

    Attributes:
        window: frames a window holds, step * n + 1; one with a place of its own holds at most as many.
        overlap: frames that two neighbours share, 0 <= overlap <= (window - 1) / 2.
        step: of the generator (Wan's VAE has a temporal stride of 4).
        places: of the first windows; behind the last of them they go on every stride. The clip's last window is shifted
            back where it has none, and taken as it is where it has one.
    """

    window: int = 81
    overlap: int = 21
    step: int = 4
    places: tuple[Place, ...] = ()

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
        self._check_places()

    def _check_places(self) -> None:
        """Every frame is new once and final once, and a frame stands in two windows at most, beside context."""
        places = self.places
        wrong = [0] if places and (places[0].start or places[0].read.start) else []
        wrong += [
            index
            for index, place in enumerate(places)
            if not (place.read.start <= place.start < place.read.stop and place.read.frames <= self.window)
        ]
        for index, (before, place) in enumerate(pairwise(places), start=1):
            follows = before.start < place.start <= before.read.stop < place.read.stop
            earlier = places[index - 2].read.stop if index > 1 else 0
            if not (follows and before.start <= place.read.start and earlier <= place.start):
                wrong.append(index)
        if wrong:
            raise UsageError(f"window {min(wrong)} cannot stand at {places[min(wrong)]}: {self.window} frames at most, "
                             "each begins later than the one before, at the latest where that ends")  # fmt: skip

    @property
    def stride(self) -> int:
        """Frames from the start of one window to the start of the next."""
        return self.window - self.overlap

    def place(self, index: int) -> Place:
        """Where window `index` stands if the clip does not end before."""
        if index < len(self.places):
            return self.places[index]
        start = index * self.stride
        if self.places:
            last = self.places[-1]
            least = max(last.start + 1, self.places[-2].read.stop if len(self.places) > 1 else 1)
            start = max(last.read.stop - self.overlap, least) + (index - len(self.places)) * self.stride
        return Place(Span(start, start + self.window), start)

    def new_span(self, index: int) -> Span:
        """The frames window `index` would see first if the clip never ended."""
        return Span(0 if index == 0 else self.place(index - 1).read.stop, self.place(index).read.stop)

    def count(self, frames: int) -> int:
        """How many windows a clip of `frames` >= 1 frames has."""
        within = [index for index, place in enumerate(self.places) if place.read.stop >= frames]
        if within:
            return within[0] + 1
        placed = len(self.places)
        return placed + 1 + max(0, math.ceil((frames - self.place(placed).read.stop) / self.stride))

    def wanted(self, index: int) -> Window:
        """Window `index` if the clip does not end in it."""
        return self.at(index, self.place(index).read.stop, last=False)

    def at(self, index: int, stop: int, last: bool) -> Window:
        """Window `index`, of which decoding found the frames up to `stop`, the clip's end when `last`."""
        place = self.place(index)
        shifted = last and index >= len(self.places)
        read = Span(max(0, stop - self.window) if shifted else place.read.start, stop)
        final = Span(place.start, stop if last else self.place(index + 1).start)
        padded = math.ceil((read.frames - 1) / self.step) * self.step + 1
        return Window(index, read, Span(self.new_span(index).start, stop), final, last, padded)

    def windows(self, frames: int) -> Iterator[Window]:
        """All windows of a clip whose length is known."""
        count = self.count(frames)
        for index in range(count):
            yield self.at(index, frames, True) if index == count - 1 else self.wanted(index)


def places_at(starts: Sequence[int], overlap: int, stop: int) -> tuple[Place, ...]:
    """Windows that start at these frames, each `overlap` frames into the next, the last up to frame `stop`."""
    ends = [*(start + overlap for start in starts[1:]), stop]
    return tuple(Place(Span(start, min(end, stop)), start) for start, end in zip(starts, ends, strict=True))


def window_facts(window: Window) -> dict[str, Json]:
    """What decode's commit says of a window, beside its span of new frames."""
    return {"read": list(window.read), "final": list(window.final), "padded": window.padded_frames}


def window_of(record: Mapping[str, Any]) -> Window:
    """The window that decode committed with this record."""
    info = record["info"]
    return Window(
        index=record["window"],
        read=Span(*info["read"]),
        new=Span(*record["span"]),
        final=Span(*info["final"]),
        last=bool(info["last"]),
        padded_frames=int(info["padded"]),
    )


def committed_windows(log: CommitLog, source: str = "decode") -> list[Window]:
    """The windows that are decoded; `source` is the node that does that."""
    return [window_of(record) for record in log.of(source)]
