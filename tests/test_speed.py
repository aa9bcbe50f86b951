"""Speed of motion, result against source: slow motion is found, trembling is no speed; cuts count where they lie."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from stages import measure
from stages.base import Array, Inputs, Json, NoState, Output, Stage, State, Window
from stages.fidelity.metric import View
from stages.fidelity.registry import SUBJECTS, metrics
from stages.fidelity.sight import Sight, nothing_seen, sight_of
from stages.gate import Gated, bounds_of
from stages.measure import MeasureConfig, MeasureStage
from stages.poses.skeleton import LEFT_FOOT, LEFT_HIP, LEFT_SHOULDER, RIGHT_FOOT, RIGHT_HIP, RIGHT_SHOULDER
from storage.spans import Span

FPS, FRAMES = 24.0, 40
RNG = np.random.default_rng(3)


def seen(speed: float, jitter: float = 0.0) -> list[tuple[Sight, Sight, Array, Array, Array]]:
    """Of a skater on a board of 40 px that goes so many pixels a frame: sight, the one before, masks and keypoints."""
    found, before = [], nothing_seen()
    for frame in range(FRAMES):
        left = 10 + speed * frame + RNG.uniform(-jitter, jitter)
        board, person = np.zeros((120, 400), bool), np.zeros((120, 400), bool)
        board[100:108, round(left) : round(left) + 40] = True
        person[40:100, round(left) + 12 : round(left) + 28] = True
        points = np.zeros((133, 3), np.float32)
        for joints, height in (
            ([LEFT_SHOULDER, RIGHT_SHOULDER], 45),
            ([LEFT_HIP, RIGHT_HIP], 70),
            (LEFT_FOOT, 98),
            (RIGHT_FOOT, 98),
        ):
            points[joints] = (left + 20, height, 1.0)
        sight = sight_of(before, board, points, frame / FPS, person)
        found.append((sight, before, board, person, points))
        before = sight
    return found


def test_every_joint_counts() -> None:
    """An arm that is slowed down shows, though hips and feet go on as before."""

    def waving(speed: float) -> list[View]:
        views, before = [], nothing_seen()
        for frame in range(FRAMES):
            _, _, board, person, points = still[frame]
            points = points.copy()
            for joint in (LEFT_SHOULDER, LEFT_SHOULDER + 2, LEFT_SHOULDER + 4):
                points[joint] = (100 + speed * frame, 50, 1.0)
            sight = sight_of(before, board, points, frame / FPS, person)
            views.append(View(board, person, points, sight, before))
            before = sight
        return views

    still = seen(3.0)
    ratios = [metrics()["joint_speed"].value(*pair) for pair in zip(waving(20.0), waving(2.0), strict=True)][10:]
    assert max(ratios) < 0.7


def values(name: str, source: float, result: float, jitter: float = 0.0) -> Array:
    """The metric's frames, from the tenth on."""
    views = [
        [View(board, person, points, sight, before) for sight, before, board, person, points in seen(speed, jitter)]
        for speed in (source, result)
    ]
    return np.array([metrics()[name].value(*pair) for pair in zip(*views, strict=True)])[10:]


@pytest.mark.parametrize("name", ["speed", "person_speed", "joint_speed"])
def test_slow_motion_is_measured(name: str) -> None:
    assert values(name, 6.0, 6.0) == pytest.approx(1.0)
    assert values(name, 6.0, 3.0) == pytest.approx(0.5)
    assert values(name, 6.0, 0.0) == pytest.approx(0.0)
    assert np.isnan(values(name, 0.0, 5.0)).all(), "a source that stands still says nothing"
    assert 0.9 < values(name, 6.0, 6.0, jitter=1.0).min() < values(name, 6.0, 6.0, jitter=1.0).max() < 1.12


def test_the_gate_takes_it() -> None:
    (bound,) = bounds_of((Gated("speed", 0.8),), 0.9)
    assert str(bound) == "speed above 0.8"
    assert bound.fails(values("speed", 6.0, 3.0)).all() and not bound.fails(values("speed", 6.0, 6.0)).any()
    assert not bound.fails(np.array([np.nan])).any()


def test_what_is_not_seen_has_no_speed() -> None:
    sight = seen(5.0)[-1][0]
    gone = sight_of(sight, np.zeros((120, 400), bool), np.zeros((133, 3), np.float32), 2.0)
    assert all(np.isnan(gone[name]) for name in ("object_speed", "person_speed", "joint_speed", "person_x"))


class Told(Stage):
    """In place of the pose stage: notes the cuts that it is told of, window by window."""

    def __init__(self) -> None:
        self.cuts: list[list[int]] = []

    def open(self) -> None: ...

    def process(self, window: Window, inputs: Inputs) -> Output:
        self.cuts.append(list(inputs.info["decode"]["cuts"]))
        return Output({"keypoints/person": np.zeros((window.final.frames, 133, 3), np.float32)})

    def get_state(self) -> State:
        return NoState()

    def set_state(self, values: Mapping[str, Json], arrays: Mapping[str, Array]) -> None: ...


@pytest.mark.parametrize("afresh", [False, True])
def test_cuts_that_decoding_told_ahead_count_where_they_are_measured(
    afresh: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a run that goes on from its state too."""
    made = [np.zeros((8, 9, 3), np.uint8)] * 4
    monkeypatch.setattr(measure, "read_segment", lambda path, height, width, size: iter(made))
    told, stage = Told(), MeasureStage(MeasureConfig(), lambda: told)
    stage.open()
    for index, cuts in enumerate(([3, 6], [9, 11], [], [])):
        final = Span(4 * index, 4 * index + 4)
        new = Span(final.start + 4, final.stop + 4) if index else Span(0, 8)
        arrays: dict[str, Array] = {
            f"{group}/{name}": np.zeros((4, 8, 9), bool) for group in ("masks", "found") for name in SUBJECTS
        }
        arrays |= {"frames": np.zeros((4, 8, 9, 3), np.uint8), "times": np.arange(4) / 24, "iou": np.ones(4)}
        arrays["keypoints/person"] = np.zeros((4, 133, 3), np.float32)
        given = Inputs(arrays, {"sink": {"segment": "0.mp4"}, "decode": {"cuts": cuts}}, Path())
        stage.process(Window(index, Span(final.start, new.stop), new, final, index == 3, 8), given)
        if afresh:
            parts = stage.get_state().to_parts()
            stage = MeasureStage(MeasureConfig(), lambda: told)
            stage.open()
            stage.set_state(*parts)
    assert told.cuts == [[3, 6], [6, 9, 11], [9, 11], []]
