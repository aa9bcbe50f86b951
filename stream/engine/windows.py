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

Each shot (what lies between two hard cuts) has windows as if it were a clip of its own: the first begins with it, the
last is shifted back within it. Where cuts are is found out while the clip is decoded; so every window follows from the
one before it, which frames it has stands in decode's commit of it, and everybody reads it from there (`window_of`).
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

from stages.base import Json, Port, Read, Window
from storage.errors import UsageError
from storage.log import CommitLog
from storage.spans import Span

MAX_WINDOW_FRAMES = 100_001  # an hour at 28 frames/s: far above what fits in memory, below what overflows


@dataclass(frozen=True)
class WindowPlan:
    """The windows of a clip of any length, with cuts anywhere: one every stride of a shot.

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
        """Frames from the start of one window of a shot to the start of the next."""
        return self.window - self.overlap

    def after(self, before: Window | None) -> Window:
        """The window behind this one, or the first, if its shot does not end in it."""
        if before is None:
            return self._at(0, 0, 0, 0, 0)
        if before.ends_shot:
            start = before.read.stop
            return self._at(before.index + 1, start, start, before.shot + 1, start)
        return self._at(before.index + 1, before.final.stop, before.read.stop, before.shot, before.shot_start)

    def _at(self, index: int, start: int, new: int, shot: int, shot_start: int) -> Window:
        stop = start + self.window
        read, final = Span(start, stop), Span(start, start + self.stride)
        return Window(index, read, Span(new, stop), final, False, self.window, shot, shot_start)

    def ended(self, wanted: Window, stop: int, last: bool) -> Window:
        """`wanted` as the last window of its shot, which ends before frame `stop`; `last`: and the clip with it."""
        read = Span(max(wanted.shot_start, stop - self.window), stop)
        return replace(
            wanted,
            read=read,
            new=Span(wanted.new.start, stop),
            final=Span(wanted.final.start, stop),
            last=last,
            cut=not last,
            padded_frames=math.ceil((read.frames - 1) / self.step) * self.step + 1,
        )

    def decoded(self, wanted: Window, facts: Mapping[str, Json]) -> Window:
        """What became of `wanted`, by the facts of its decoding: `frames`, `last`, and `cut` where a cut follows."""
        if not facts["last"] and not facts.get("cut", False):
            return wanted
        return self.ended(wanted, wanted.new.start + int(facts["frames"]), bool(facts["last"]))

    def windows(self, frames: int, cuts: Sequence[int] = ()) -> Iterator[Window]:
        """All windows of a clip of `frames` >= 1 frames whose shots after the first begin at `cuts`, ascending."""
        ends = iter([*(cut for cut in cuts if cut < frames), frames])
        end = next(ends)
        window = None
        while window is None or not window.last:
            window = self.after(window)
            if window.read.stop >= end:
                window = self.ended(window, end, end == frames)
                end = next(ends, frames)
            yield window

    def left(self, last: Sequence[Window], frames: int) -> int:
        """How many windows come behind the last one (none: there is no window yet), if no cut is left."""
        if not last:
            return self.count(frames)
        rest = frames - last[0].read.stop
        return 0 if rest <= 0 else self.count(rest) if last[0].ends_shot else math.ceil(rest / self.stride)

    def count(self, frames: int, cuts: Sequence[int] = ()) -> int:
        """How many windows these are."""
        ends = [*(cut for cut in cuts if cut < frames), frames]
        shots = (stop - start for start, stop in pairwise([0, *ends]))
        return sum(1 + max(0, math.ceil((shot - self.window) / self.stride)) for shot in shots)


def shots_of(windows: Sequence[Window]) -> list[tuple[int, int]]:
    """The shots that these windows from the first on belong to, half-open; the last one as far as they go."""
    stops = {window.shot: window.read.stop for window in windows}
    starts = {window.shot: window.shot_start for window in windows}
    return [(starts[shot], stops[shot]) for shot in starts]


def window_facts(window: Window) -> dict[str, Json]:
    """What decode's commit says of a window, beside its span of new frames."""
    return {
        "read": list(window.read),
        "final": list(window.final),
        "padded": window.padded_frames,
        "shot": [window.shot, window.shot_start],
    }


def window_of(record: Mapping[str, Any]) -> Window:
    """The window that decode committed with this record."""
    info = record["info"]
    shot, shot_start = info.get("shot", (0, 0))
    return Window(
        index=record["window"],
        read=Span(*info["read"]),
        new=Span(*record["span"]),
        final=Span(*info["final"]),
        last=bool(info["last"]),
        padded_frames=int(info["padded"]),
        shot=int(shot),
        shot_start=int(shot_start),
        cut=bool(info.get("cut", False)),
    )


def beyond_shot(window: Window, offset: int, at: Callable[[int], Window | None]) -> bool:
    """Whether the window `offset` behind this one (below 0: before it) is of another shot, or none: nothing is read
    across a cut.

    Args:
        at: the decoded windows by index. As long as it is not known where the shot ends, the answer is no.
    """
    if offset < 0:
        return window.begins_shot
    found: Window | None = window
    for _ in range(offset):
        if found is None or found.ends_shot:
            return found is not None
        found = at(found.index + 1)
    return False


def committed_windows(log: CommitLog, source: str = "decode") -> list[Window]:
    """The windows that are decoded; `source` is the node that does that."""
    return [window_of(record) for record in log.of(source)]


def span_of(window: Window, kind: Port | Read) -> Span:
    """The window's frames that a port covers, or that are read."""
    spans = {
        "new": window.new,
        "read": window.read,
        "final": window.final,
        "context": Span(window.read.start, max(window.read.start, window.final.start)),
    }
    return spans[kind.span]
