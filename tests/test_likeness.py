"""What tracking finds behind a cut: believed where it looks like the subject, and nothing wrong kept for long."""

import dataclasses
import itertools

import numpy as np
import pytest

from stages.base import Array
from stages.likeness import TRIAL, Likeness, likeliest, look_of

CUT, FRAMES = 20, 60
OURS, OTHERS = (200, 60, 40), (30, 90, 190)


def clip(*behind: tuple[int, int, int], side: int = 10) -> tuple[Array, Array, Array]:
    """Frames, masks and presence: a red patch; from the cut on one of this colour and side, in turn, elsewhere."""
    noise = np.random.default_rng(2).integers(-12, 13, (FRAMES, 40, 60, 3))
    frames, masks = np.full((FRAMES, 40, 60, 3), 120) + noise, np.zeros((FRAMES, 40, 60), bool)
    for t in range(FRAMES):
        colour = OURS if t < CUT else behind[t % len(behind)]
        place = (5, 5, 10) if t < CUT else (20, 25, side)
        rows, columns = slice(place[0], place[0] + place[2]), slice(place[1], place[1] + place[2])
        masks[t, rows, columns], frames[t, rows, columns] = True, np.array(colour) + noise[t, rows, columns]
    return frames.clip(0, 255).astype(np.uint8), masks, np.ones(FRAMES, bool)


def refused(
    frames: Array, masks: Array, visible: Array, edges: tuple[int, ...] = (), prompts: tuple[int, ...] = ()
) -> list[int]:
    """Frames that are not believed; in windows that begin at `edges`, the state saved and read between them."""
    known, found = Likeness(), list[int]()
    for a, b in itertools.pairwise([0, *edges, FRAMES]):
        flags = known.unlike(frames[a:b], masks[a:b], visible[a:b], a, [CUT] if a <= CUT < b else [], prompts)
        found += (np.flatnonzero(flags) + a).tolist()
        known = Likeness(known.look.copy(), **known.values())
    return found


def test_the_same_elsewhere_is_believed() -> None:
    assert refused(*clip(OURS)) == [] and refused(*clip(OURS, side=18), edges=(CUT,)) == []
    assert refused(*clip(OURS, OURS, OTHERS)) == [], "on most of the frames"


@pytest.mark.parametrize("edges", [(), (CUT,), (CUT, CUT + 17), (7, CUT, CUT + 10, 50)])
def test_something_else_is_not_and_from_the_cut_on(edges: tuple[int, ...]) -> None:
    assert refused(*clip(OTHERS), edges=edges) == list(range(CUT, FRAMES))


def test_a_speck_of_its_colour_is_not() -> None:
    assert refused(*clip(OURS, side=2)) == list(range(CUT, FRAMES))


@pytest.mark.parametrize("edges", [(CUT, CUT + 5), (CUT + 1,), (CUT, CUT + 3, CUT + 9)])
def test_a_trial_that_windows_interrupt_ends(edges: tuple[int, ...]) -> None:
    found = refused(*clip(OTHERS), edges=edges)
    assert set(range(CUT + TRIAL, FRAMES)) <= set(found), "nothing wrong is kept for more than the trial"
    assert refused(*clip(OURS), edges=edges) == []


def test_absent_frames_wait_and_a_prompt_ends_it() -> None:
    frames, masks, visible = clip(OTHERS)
    visible[CUT : CUT + 12] = False
    assert refused(frames, masks, visible) == list(range(CUT + 12, FRAMES))
    assert refused(frames, masks, visible, prompts=(40,)) == list(range(CUT + 12, 40))


def test_nothing_is_known_before_it_was_seen() -> None:
    frames, masks, visible = clip(OTHERS)
    visible[:CUT] = False
    assert refused(frames, masks, visible) == []
    assert dataclasses.asdict(Likeness())["seen"] == -1


def patches(*areas: tuple[int, int]) -> tuple[Array, Array, Array]:
    """Frames with a red patch of these heights and widths, one a frame."""
    frames, masks = np.full((len(areas), 60, 80, 3), 120, np.uint8), np.zeros((len(areas), 60, 80), bool)
    for frame, mask, (height, width) in zip(frames, masks, areas, strict=True):
        mask[5 : 5 + height, 5 : 5 + width] = True
        frame[mask] = OURS
    return frames, masks, np.ones(len(areas), bool)


@pytest.mark.parametrize(
    ("before", "behind", "believed"),
    [((30, 30), (8, 8), True), ((30, 30), (7, 8), False), ((10, 10), (40, 40), True), ((10, 10), (40, 41), False)],
)
def test_it_may_be_16_times_as_large_or_small(before: tuple[int, int], behind: tuple[int, int], believed: bool) -> None:
    known = Likeness()
    assert not known.unlike(*patches(*[before] * 4), 0, (), ()).any()
    assert known.unlike(*patches(*[behind] * TRIAL), 4, (4,), ()).tolist() == [not believed] * TRIAL
    assert known.refused is not believed


def test_half_of_a_trial_will_do() -> None:
    for unlike in (5, 6):
        known = Likeness()
        known.unlike(*patches((30, 30)), 0, (), ())
        found = known.unlike(*patches(*[(30, 30)] * (TRIAL - unlike), *[(2, 8)] * unlike), 1, (1,), ())
        assert found.tolist() == [unlike > 5] * TRIAL


def test_a_quarter_of_every_fourth_frame_is_remembered() -> None:
    frames, masks, visible = patches(*[(10, 10 + t) for t in range(9)])
    frames[4][masks[4]] = OTHERS
    known = Likeness()
    known.unlike(frames, masks, visible, 0, (), ())
    assert known.area == pytest.approx((100 * 0.75 + 140 * 0.25) * 0.75 + 180 * 0.25)
    assert sorted(known.look[known.look > 0].tolist()) == pytest.approx([0.25 * 0.75, 0.75 * 0.75 + 0.25])
    assert known.look.sum() == pytest.approx(1)
    before = known.look.copy()
    known.unlike(*patches((3, 5)), 12, (), ())
    assert np.array_equal(known.look, before), "too few pixels have no look"


def test_it_is_likeliest_where_its_colours_are_and_nothing_else_is() -> None:
    frame = np.full((200, 640, 3), 120, np.uint8)
    frame[20:40, 500:540], frame[130:150, 100:140], frame[0:4, 0:4] = OURS, OURS, OURS
    mask, taken = np.zeros((200, 640), bool), np.zeros((200, 640), bool)
    mask[20:40, 500:540] = True
    look, area = look_of(frame, mask)
    assert area == 800 and look.max() == 1
    assert likeliest(frame, look, (40, 20), taken) == pytest.approx((520, 30), abs=4), "the first of equals"
    taken[0:100] = True
    assert likeliest(frame, look, (40, 20), taken) == pytest.approx((120, 140), abs=4)
    elsewhere = look_of(np.full_like(frame, 120), mask)[0]
    x, y = likeliest(frame, elsewhere, (40, 20), taken)
    assert y >= 100 and not 90 < x < 150, "where the frame is grey"
