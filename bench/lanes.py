"""What worked when: a box a task, a row a lane; what bounds a run, in one sentence; a picture."""

import statistics
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from bench.clocks import Clock, compute_seconds, difference
from stream.engine.tasks import Ready, Worked

DECODE = "decode"  # has a thread of its own beside the lanes
CONDITION = "condition"  # the part of a generator's work that is done ahead
ROWS = {"server": "the server", "gpu": "our models", "cpu": "compositing, blending and encoding", DECODE: "decoding"}
LITTLE = 0.5  # a lane that is busy for less of the time bounds nothing by itself


@dataclass(frozen=True)
class Box:
    """A task at work. Seconds are of `time.perf_counter`; `compute`: those in which its models were at work."""

    lane: str
    stage: str
    window: int
    begun: float
    ended: float
    compute: float = 0.0

    @property
    def seconds(self) -> float:
        """That it took."""
        return self.ended - self.begun


@contextmanager
def watching(clock: Clock | None = None) -> Iterator[list[Box]]:
    """The boxes of every task that works until the end of the `with`; in the order in which they end.

    Args:
        clock: watching; without it nothing is known of `compute`.
    """
    boxes: list[Box] = []
    work = Ready.work

    def timed(ready: Ready) -> Worked:
        lane = DECODE if threading.current_thread().name == DECODE else ready.lane
        before = clock.of_this_thread() if clock else {}
        begun = time.perf_counter()
        worked = work(ready)
        ended = time.perf_counter()
        compute = compute_seconds(difference(clock.of_this_thread(), before)) if clock else 0.0
        stage = CONDITION if ready.conditions else ready.task.node
        boxes.append(Box(lane, stage, ready.task.window.index, begun, ended, compute))
        return worked

    Ready.work = timed  # type: ignore[method-assign, assignment]
    try:
        yield boxes
    finally:
        Ready.work = work  # type: ignore[method-assign]


def busy(boxes: Sequence[Box]) -> dict[str, float]:
    """By lane, the share of the time from the first task to the last in which it was at work."""
    whole = span(boxes)
    found = {}
    for lane in ROWS:
        spans = sorted((box.begun, box.ended) for box in boxes if box.lane == lane)
        covered, reached = 0.0, float("-inf")
        for begun, ended in spans:
            covered += max(0.0, ended - max(begun, reached))
            reached = max(reached, ended)
        if spans:
            found[lane] = covered / whole if whole else 0.0
    return found


def span(boxes: Sequence[Box]) -> float:
    """Seconds from the first task's begin to the last one's end."""
    return max(box.ended for box in boxes) - min(box.begun for box in boxes)


def bound(boxes: Sequence[Box]) -> str:
    """What bounds the run, in one sentence."""
    shares = busy(boxes)
    lane = max(shares, key=lambda name: shares[name])
    others = ", ".join(f"{ROWS[name]} {share:.0%}" for name, share in shares.items() if name != lane)
    beside = f" ({others})" if others else ""
    if shares[lane] < LITTLE:
        return f"nothing alone bounds this run: most at work, {shares[lane]:.0%} of the time: {ROWS[lane]}{beside}"
    return f"what bounds this run, at work {shares[lane]:.0%} of the time: {ROWS[lane]}{beside}"


def expected(boxes: Sequence[Box]) -> dict[str, float]:
    """What a run with a server may take: windows x (L + c) + our work on the first window + 5 %, seconds.

    L is what the server takes for a window, c what lies between two generations (medians).
    """
    made = sorted((box for box in boxes if box.lane == "server"), key=lambda box: box.window)
    took = statistics.median(box.seconds for box in made)
    between = [later.begun - before.ended for before, later in pairwise(made)]
    gap = statistics.median(between) if between else 0.0
    first = sum(box.seconds for box in boxes if box.window == made[0].window and box.lane != "server")
    return {
        "windows": len(made), "L": took, "c": gap, "first_window": first, "took": span(boxes),
        "at_most": (len(made) * (took + gap) + first) * 1.05,
    }  # fmt: skip


def draw(boxes: Sequence[Box], path: Path, title: str) -> None:
    """A picture: a row a lane, a box a task, coloured by window."""
    import matplotlib.pyplot as plt

    from bench.plots import COLOURS

    colours = COLOURS[:-1]  # a label on black is not seen

    start = min(box.begun for box in boxes)
    rows = [lane for lane in ROWS if any(box.lane == lane for box in boxes)]
    figure, axes = plt.subplots(figsize=(12, 0.7 + 0.5 * len(rows)), layout="constrained")
    for box in boxes:
        row, colour = rows.index(box.lane), colours[box.window % len(colours)]
        axes.broken_barh([(box.begun - start, box.seconds)], (row - 0.4, 0.8), color=colour, edgecolor="white", lw=0.4)
        if box.seconds > 0.03 * span(boxes):
            middle = box.begun - start + box.seconds / 2
            axes.text(middle, row, f"{box.stage} {box.window}", ha="center", va="center", fontsize=6)
    axes.set_yticks(range(len(rows)), rows)
    axes.invert_yaxis()
    axes.set_xlabel("seconds")
    axes.set_title(title, fontsize=8)
    figure.savefig(path, dpi=110)
    plt.close(figure)
