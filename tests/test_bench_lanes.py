"""What bounds a run, from boxes whose times are known."""

from pathlib import Path

import pytest

from bench.lanes import Box, bound, busy, draw, expected, watching
from stages.base import Inputs, Output, Stage, Window
from storage.spans import Span
from stream.engine.tasks import Ready, Task

BOXES = [
    Box("decode", "decode", 0, 0.0, 1.0),
    Box("gpu", "track", 0, 1.0, 3.0),
    Box("server", "generate", 0, 3.0, 9.0),
    Box("gpu", "track", 1, 3.0, 5.0),
    Box("cpu", "blend", 0, 9.0, 10.0),
    Box("server", "generate", 1, 10.0, 16.0),
    Box("gpu", "score", 0, 10.0, 12.0),
    Box("cpu", "blend", 1, 16.0, 17.0),
    Box("gpu", "score", 1, 17.0, 20.0),
]


def test_shares_and_the_sentence() -> None:
    assert busy(BOXES) == pytest.approx({"server": 0.6, "gpu": 0.45, "cpu": 0.1, "decode": 0.05})
    assert bound(BOXES).startswith("what bounds this run, at work 60% of the time: the server (our models 45%,")
    short = [Box("gpu", "track", 0, 0.0, 1.0), Box("cpu", "blend", 0, 3.0, 4.0)]
    assert bound(short).startswith("nothing alone bounds this run: most at work, 25% of the time: our models")


def test_what_overlaps_within_a_lane_counts_once() -> None:
    boxes = [Box("server", "generate", 0, 0.0, 4.0), Box("server", "generate", 1, 1.0, 3.0)]
    assert busy(boxes) == {"server": 1.0}


def test_the_formula_of_a_run_with_a_server() -> None:
    found = expected(BOXES)
    assert (found["windows"], found["L"], found["c"], found["took"]) == (2, 6.0, 1.0, 20.0)
    assert found["first_window"] == 1 + 2 + 1 + 2
    assert found["at_most"] == pytest.approx((2 * 7 + 6) * 1.05)


def test_every_task_is_a_box_and_there_is_a_picture(tmp_path: Path) -> None:
    class Idle(Stage):
        name = "idle"

        def process(self, window: Window, inputs: Inputs) -> Output:
            return Output()

    window = Window(3, Span(0, 5), Span(0, 5), Span(0, 5), True, 5)
    with watching() as boxes:
        Ready(Task("here", window), Idle(), Inputs()).work()
    assert [(box.lane, box.stage, box.window) for box in boxes] == [("cpu", "here", 3)]
    Ready(Task("here", window), Idle(), Inputs()).work()
    assert len(boxes) == 1, "it is watched no more"
    draw(BOXES, tmp_path / "lanes.png", bound(BOXES))
    assert (tmp_path / "lanes.png").read_bytes().startswith(b"\x89PNG")
