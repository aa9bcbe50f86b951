"""What tracking finds behind a cut: believed where it looks like the subject, and nothing wrong kept for long."""

import dataclasses
import itertools

import numpy as np
import pytest

from stages.base import Array
from stages.likeness import TRIAL, Likeness

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
