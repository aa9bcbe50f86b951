"""Choosing and following, on boxes alone."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.base import Array
from stages.poses.follow import (
    AGE,
    COLUMNS,
    HEIGHT,
    SLOTS,
    STRANGER_FRAMES,
    begin,
    choose,
    followed_box,
    iou,
    no_tracks,
    one_frame_on,
    update,
)

OBJECT = (100.0, 290.0, 200.0, 310.0)


def person(x: float, bottom: float = 300.0, tall: float = 200.0, wide: float = 80.0) -> list[float]:
    return [x - wide / 2, bottom - tall, x + wide / 2, bottom]


def boxes(*rows: list[float]) -> Array:
    return np.array(rows, np.float32).reshape(-1, 4)


def follow(tracks: Array, seen: Array) -> tuple[Array, int | None]:
    return update(one_frame_on(tracks), seen)


def test_the_person_who_holds_the_object_is_chosen() -> None:
    assert choose(boxes(person(400), person(150), person(20)), OBJECT, None) == 1


def test_the_nearest_is_chosen_where_nobody_holds_it() -> None:
    assert choose(boxes(person(500), person(300), person(-100)), OBJECT, None) == 1


def test_the_larger_share_of_the_object_wins() -> None:
    assert choose(boxes(person(90), person(140), person(215)), OBJECT, None) == 1


def test_a_person_box_decides_alone() -> None:
    seen = boxes(person(150), person(420))
    assert choose(seen, OBJECT, (380, 110, 470, 290)) == 1
    assert choose(seen, OBJECT, (600, 110, 640, 290)) == 1, "nearest where no box overlaps it"


@pytest.mark.parametrize("hidden", [0, 3, 6])
def test_crossing_keeps_the_person(hidden: int) -> None:
    """Two of one size cross; in the middle only the one in front is detected."""
    tracks = begin(boxes(person(100), person(500)), 0)
    for t in range(1, 41):
        ours, theirs = 100 + 10 * t, 500 - 10 * t
        rows = [person(theirs)] if abs(t - 20) <= hidden // 2 and hidden else [person(theirs), person(ours)]
        tracks, mine = follow(tracks, boxes(*rows))
        if abs(t - 20) > 6:
            assert mine == 1, t
    assert tracks[0, 0] == pytest.approx(500 - 40)


def test_a_stranger_who_passes_before_the_hidden_person_is_not_followed() -> None:
    tracks = begin(boxes(person(300)), 0)
    for t in range(1, 36):
        stranger = 640 - 18 * t
        rows = [person(stranger)] if abs(stranger - 300) < 60 else [person(stranger), person(300)]
        tracks, mine = follow(tracks, boxes(*rows))
        if abs(stranger - 300) > 100:
            assert mine == 1, t
    assert tracks[0, 0] == pytest.approx(260)


def test_absence_leaves_nobody_and_the_known_stranger_is_not_taken() -> None:
    tracks = begin(boxes(person(60), person(500)), 0)
    for _ in range(60):
        tracks, mine = follow(tracks, boxes(person(500)))
        assert mine is None
    tracks, mine = follow(tracks, boxes(person(500), person(600)))  # returns on the other side
    assert mine == 1


def test_another_size_is_another_person() -> None:
    tracks = begin(boxes(person(300)), 0)
    for _ in range(20):
        tracks, mine = follow(tracks, boxes(person(300, tall=80)))
        assert mine is None


def test_a_far_detection_is_not_taken_at_once() -> None:
    tracks = begin(boxes(person(100)), 0)
    tracks, mine = follow(tracks, boxes(person(600)))
    assert mine is None
    tracks, mine = follow(tracks, boxes(person(103), person(600)))
    assert mine == 0


def test_the_box_moves_on_and_widens_between_detections() -> None:
    tracks = begin(boxes(person(100)), 0)
    for t in range(1, 10):
        tracks, _ = follow(tracks, boxes(person(100 + 6 * t)))
    assert followed_box(tracks).tolist() == boxes(person(154))[0].tolist()
    later = followed_box(one_frame_on(one_frame_on(tracks)))
    centre = (later[:2] + later[2:]) / 2
    assert centre[0] == pytest.approx(166, abs=0.5) and later[3] - later[1] > 200


def test_strangers_are_forgotten_and_the_person_is_not() -> None:
    tracks = begin(boxes(person(100), person(500)), 0)
    for _ in range(STRANGER_FRAMES + 1):
        tracks = one_frame_on(tracks)
    assert tracks[0, AGE] == STRANGER_FRAMES + 1 and (tracks[1:, AGE] < 0).all()


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(st.tuples(st.integers(0, 600), st.integers(40, 300)), max_size=12), min_size=1, max_size=12))
def test_the_table_is_bounded_whatever_is_detected(clip: list[list[tuple[int, int]]]) -> None:
    tracks = begin(boxes(person(100)), 0)
    for rows in clip:
        seen = boxes(*(person(x, tall=float(tall)) for x, tall in rows))
        before, kept = tracks, tracks.copy()
        tracks, mine = follow(before, seen)
        assert np.array_equal(before, kept) and tracks.shape == (SLOTS, COLUMNS)
        assert np.isfinite(tracks).all() and tracks[0, HEIGHT] > 0
        assert (mine is not None) == (tracks[0, AGE] == 0)
        if mine is not None:
            assert np.array_equal(followed_box(tracks), seen[mine])


def test_nobody_chosen_is_nobody() -> None:
    tracks, mine = follow(no_tracks(), boxes(person(3)))
    assert mine is None and tracks[0, AGE] < 0


def test_iou_of_known_boxes() -> None:
    assert iou(
        boxes([0, 0, 2, 2], [1, 1, 3, 3], [5, 5, 6, 6], [1, 1, 1, 1]), np.array([0.0, 0, 2, 2])
    ) == pytest.approx([1, 1 / 7, 0, 0])
