"""Times of frames: what is right is kept exactly, what is wrong still rises."""

from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.video.clock import MIN_STEP_SECONDS, Clock
from storage.errors import InputError

STAMPS = st.lists(st.one_of(st.none(), st.integers(-(2**40), 2**40)), min_size=1, max_size=60)


def clock(gap: float = 1e12) -> Clock:
    return Clock(Path("clip.mp4"), Fraction(1, 90000), 1 / 24, gap)


@given(STAMPS)
def test_times_rise_from_zero_whatever_the_stamps(stamps: list[int | None]) -> None:
    one = clock()
    times = [one.seconds(pts) for pts in stamps]
    assert times[0] == 0.0
    assert all(later - earlier > MIN_STEP_SECONDS / 2 for earlier, later in pairwise(times))
    again = clock()
    assert times == [again.seconds(pts) for pts in stamps]


@given(st.integers(-(2**40), 2**40), st.lists(st.integers(10, 10**6), max_size=60))
def test_rising_stamps_are_kept_exactly(first: int, steps: list[int]) -> None:
    stamps = [int(pts) for pts in np.cumsum([first, *steps])]
    one = clock()
    assert [one.seconds(pts) for pts in stamps] == [(pts - first) / 90000 for pts in stamps]
    assert one.repaired == 0
    assert [one.pts_of(one.plain_seconds(pts)) for pts in stamps] == stamps


def test_a_new_count_shifts_what_follows() -> None:
    one = clock()
    times = [one.seconds(pts) for pts in (0, 3750, 900_000, 0, 3750, 7500)]
    np.testing.assert_allclose(times, [0, 1 / 24, 10, 10 + 1 / 24, 10 + 2 / 24, 10 + 3 / 24])
    assert one.repaired == 1


def test_equal_stamps_are_spread_by_half_a_frame() -> None:
    one = clock()
    times = [one.seconds(pts) for pts in (0, 3750, 3750, 7500)]
    np.testing.assert_allclose(times, [0, 1 / 24, 1.5 / 24, 2 / 24])
    assert one.repaired == 1


def test_a_long_gap_is_refused() -> None:
    one = clock(gap=3600)
    one.seconds(0)
    assert one.seconds(3600 * 90000) == 3600
    with pytest.raises(InputError, match="without a frame"):
        one.seconds(7201 * 90000)
