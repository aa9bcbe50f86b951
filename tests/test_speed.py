"""Speed of motion, result against source: slow motion is found, and trembling is no speed."""

import numpy as np
import pytest

from stages.base import Array
from stages.fidelity.metric import View
from stages.fidelity.registry import metrics
from stages.fidelity.sight import Sight, nothing_seen, sight_of
from stages.gate import Gated, bounds_of
from stages.poses.skeleton import LEFT_FOOT, LEFT_HIP, LEFT_SHOULDER, RIGHT_FOOT, RIGHT_HIP, RIGHT_SHOULDER

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
