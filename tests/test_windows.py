"""Window arithmetic: every frame new once, final once, whatever the length."""

import itertools

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from storage.errors import UsageError
from storage.spans import Span
from stream.engine.windows import WindowPlan


@st.composite
def plans(draw: st.DrawFn) -> WindowPlan:
    window = 4 * draw(st.integers(1, 30)) + 1
    return WindowPlan(window, draw(st.integers(0, (window - 1) // 2)))


@settings(max_examples=400, deadline=None)
@given(plan=plans(), frames=st.integers(1, 2000))
@example(plan=WindowPlan(), frames=81)
@example(plan=WindowPlan(), frames=82)
@example(plan=WindowPlan(5, 2), frames=2000)
def test_every_frame_is_new_once_and_final_once(plan: WindowPlan, frames: int) -> None:
    windows = list(plan.windows(frames))
    assert len(windows) == plan.count(frames)
    for kind in ("new", "final"):
        spans = [getattr(window, kind) for window in windows]
        assert spans[0].start == 0 and spans[-1].stop == frames
        assert all(a.stop == b.start and a.frames > 0 for a, b in itertools.pairwise([*spans, Span(frames, frames)]))


@settings(max_examples=400, deadline=None)
@given(plan=plans(), frames=st.integers(1, 2000))
def test_windows_are_full(plan: WindowPlan, frames: int) -> None:
    windows = list(plan.windows(frames))
    for window in windows:
        assert window.read.start <= window.final.start <= window.new.start <= window.read.stop
        assert window.read.start <= window.final.stop <= window.read.stop
        assert window.padded_frames % 4 == 1 and window.padded_frames >= window.read.frames
        if frames >= plan.window:
            assert window.read.frames == plan.window == window.padded_frames
    assert [window.last for window in windows] == [False] * (len(windows) - 1) + [True]


@settings(max_examples=200, deadline=None)
@given(plan=plans(), frames=st.integers(1, 2000))
def test_a_last_window_finds_what_it_needs_in_what_is_kept(plan: WindowPlan, frames: int) -> None:
    for before, window in itertools.pairwise(plan.windows(frames)):
        # after a window everything before its final span is dropped
        assert window.read.start >= before.final.start
        assert window.new.start - window.final.start == plan.overlap


@settings(max_examples=300, deadline=None)
@given(plan=plans(), lengths=st.lists(st.integers(1, 300), min_size=1, max_size=6))
def test_a_shot_has_the_windows_of_a_clip_of_its_own(plan: WindowPlan, lengths: list[int]) -> None:
    starts = list(itertools.accumulate(lengths, initial=0))
    cuts, frames = starts[1:-1], starts[-1]
    windows = list(plan.windows(frames, cuts))
    assert [window.index for window in windows] == list(range(plan.count(frames, cuts)))
    for shot, (start, length) in enumerate(zip(starts, lengths, strict=False)):
        alone = list(plan.windows(length))
        mine = [window for window in windows if window.shot == shot]
        for kind in ("read", "new", "final"):
            spans = [getattr(window, kind) for window in alone]
            assert [getattr(w, kind) for w in mine] == [Span(a + start, b + start) for a, b in spans]
        assert [w.padded_frames for w in mine] == [w.padded_frames for w in alone]
        assert {w.shot_start for w in mine} == {start}
        assert [w.begins_shot for w in mine] == [True] + [False] * (len(mine) - 1)
        assert [w.ends_shot for w in mine] == [False] * (len(mine) - 1) + [True]
        assert mine[-1].cut == (shot < len(lengths) - 1) and mine[-1].last == (shot == len(lengths) - 1)


def test_how_many_windows_are_left_is_known_behind_the_last_cut() -> None:
    plan = WindowPlan(9, 3)
    windows = list(plan.windows(50, [12]))
    assert plan.left([], 50) == len(list(plan.windows(50)))
    for window in windows:
        if window.shot == 1 or window.ends_shot:
            assert plan.left([window], 50) == len(windows) - 1 - window.index, window


def test_the_picture_in_the_docstring() -> None:
    first, second, third = WindowPlan().windows(201)
    assert (first.read, first.new, first.final) == (Span(0, 81), Span(0, 81), Span(0, 60))
    assert (second.read, second.new, second.final) == (Span(60, 141), Span(81, 141), Span(60, 120))
    assert (third.read, third.new, third.final) == (Span(120, 201), Span(141, 201), Span(120, 201))
    shifted = list(WindowPlan().windows(150))[-1]
    assert (shifted.read, shifted.new, shifted.final) == (Span(69, 150), Span(141, 150), Span(120, 150))


@pytest.mark.parametrize(("window", "overlap"), [(80, 20), (1, 0), (81, 41), (81, -1), (3, 0)])
def test_illegal_windows_are_refused(window: int, overlap: int) -> None:
    with pytest.raises(UsageError, match=r"--(window|overlap) "):
        WindowPlan(window, overlap)
