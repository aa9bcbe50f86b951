"""A pixel of several masks belongs to one: by the logits, by who reaches over whom, and by who had it before."""

import numpy as np

from stages.base import Array
from stages.sam.apart import apart, award
from stages.sam.session import Tracked
from stages.sam.tracker import Seen


def seen(mask: Array, logits: Array) -> Seen:
    return Seen(mask, Tracked(None, None), logits)


def test_a_pixel_of_two_belongs_to_one() -> None:
    """By the logits; where these are close, to who stands lower."""
    far, near, board = (np.full((12, 10), -5.0, np.float32) for _ in range(3))
    far[1:8, 1:6], near[3:10, 4:9], board[9:12, 4:9] = 3.0, 5.0, 4.5
    far[4, 4] = 9.0
    masks = {"far": far > 0, "near": near > 0, "board": board > 0}
    given = {name: seen(masks[name], logits) for name, logits in (("far", far), ("near", near), ("board", board))}
    found = {name: each.mask for name, each in apart(given).items()}
    assert not np.any(np.sum(list(found.values()), axis=0) > 1)
    assert np.array_equal(found["far"], masks["far"] & (~masks["near"] | (far > 8)))
    assert np.array_equal(found["board"], masks["board"]), "as good as the skater's, and nearer"
    assert np.array_equal(np.any(list(found.values()), axis=0), np.any(list(masks.values()), axis=0))
    backwards = apart({name: given[name] for name in reversed(given)})
    assert all(np.array_equal(backwards[name].mask, mask) for name, mask in found.items())
    assert given["far"].mask is masks["far"] and masks["far"][5, 5], "what was tracked stays"
    alone = {"far": given["far"]}
    assert apart(alone) == alone and apart({}) == {}


def test_a_mask_that_reaches_over_another_loses_it() -> None:
    """As long as that other has little else; a mask within one that is within it is a matter of the logits."""
    one, both, board = (np.full((12, 10), -5.0, np.float32) for _ in range(3))
    one[2:8, 1:4], both[2:9, 1:10], board[8:10, 1:4] = 1.0, 9.0, 2.0
    given = {name: seen(logits > 0, logits) for name, logits in (("one", one), ("both", both), ("board", board))}
    found = {name: each.mask for name, each in apart(given).items()}
    assert np.array_equal(found["one"], one > 0) and np.array_equal(found["board"], board > 0)
    assert np.array_equal(found["both"], (both > 0) & ~(one > 0) & ~(board > 0))
    one[2:9, 1:9] = 1.0
    found = {name: each.mask for name, each in apart({**given, "one": seen(one > 0, one)}).items()}
    assert not found["one"].any(), "both cover the same: the surer one has it"
    assert np.array_equal(found["board"], board > 0)


def test_a_pixel_stays_with_who_had_it_on_the_frame_before() -> None:
    """However sure another is of it; where nobody who claims it had it, the logits decide."""
    one, two = (np.full((12, 10), -5.0, np.float32) for _ in range(2))
    one[2:8, 1:6], two[2:8, 3:9] = 2.0, 9.0
    given = {"one": seen(one > 0, one), "two": seen(two > 0, two)}
    rows, columns = np.nonzero((one > 0) & (two > 0))
    claims = np.ones((2, len(rows)), bool)
    had = np.array([rows < 4, (rows >= 3) & (rows < 6)])  # row 3 both, rows 6 and 7 nobody
    found = {name: each.mask for name, each in award(given, claims, rows, columns, had).items()}
    shared = np.zeros((12, 10), bool)
    shared[rows, columns] = True
    below = np.arange(12)[:, None] >= 3
    assert np.array_equal(found["one"], (one > 0) & ~(shared & below))
    assert np.array_equal(found["two"], (two > 0) & ~(shared & ~below))
