"""Those of a chase who were lost and found again, followed back to where they were lost."""

from collections.abc import Collection
from dataclasses import replace

import numpy as np
import pytest
from _scripted import Script, Scripted, chase_of

from stages.base import Array, Inputs, Window
from stages.likeness import look_of
from stages.prompts import ObjectPrompt
from stages.sam.hindsight import BEYOND, Found, Gap, Hindsight
from stages.sam.whose import Whose
from stages.subjects import OBJECT, PERSON, Subject
from stages.track import TrackStage
from stages.views.chase import PATIENT
from storage.spans import Span

HEIGHT, WIDTH, FRAMES = 90, 160, 24
COLOURS = {"board": (200, 40, 40), "board-2": (40, 160, 40)}
SUBJECTS = tuple(Subject(name, OBJECT, ObjectPrompt(box=(0, 0, 9, 9))) for name in COLOURS)


def box(x: int, y: int = 40, width: int = 20, height: int = 10) -> Array:
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[y : y + height, max(x, 0) : max(x + width, 0)] = True
    return mask


def truth(name: str, at: int) -> Array:
    """All roll along, one below the other."""
    return box(10 + 4 * at, {"board": 20, "board-2": 60}.get(name, 40))


NONE = box(0, height=0)


def picture(painted: Script = truth) -> Array:
    """`[FRAMES, H, W, 3]`: each where it is, in its colour."""
    frames = np.full((FRAMES, HEIGHT, WIDTH, 3), 128, np.uint8)
    for name, colour in COLOURS.items():
        for at in range(FRAMES):
            frames[at][painted(name, at)] = colour
    return frames


def back(
    given: Script,
    found: Script = truth,
    painted: Script = truth,
    cuts: tuple[int, ...] = (),
    pointed: Collection[tuple[str, int]] = (),
) -> tuple[dict[str, dict[int, Found]], Scripted]:
    """What is changed of what was `given`, where going back `found` that, in frames where they are `painted`."""
    frames, whose = picture(painted), Whose.of(SUBJECTS, (WIDTH, HEIGHT), 64)
    for name in COLOURS:
        look, _ = look_of(picture()[0], truth(name, 0))
        whose.looks[name] = np.stack([look, look])
    masks = {name: np.stack([given(name, at) for at in range(FRAMES)]) for name in COLOURS}
    missing = {name: ~each.any((1, 2)) for name, each in masks.items()}
    tracker = Scripted(found, lambda index: FRAMES - 1 - index)
    changes = Hindsight(tracker, whose, masks, pointed).look_back(frames, missing, cuts)  # type: ignore[arg-type]
    return {each: {at: one for (name, at), one in changes.items() if name == each} for each in COLOURS}, tracker


def without(*frames: int, name: str = "board", instead: Script = lambda name, at: NONE) -> Script:
    """The truth, but on these frames of one."""
    return lambda each, at: instead(each, at) if each == name and at in frames else truth(each, at)


@pytest.mark.parametrize(("missing", "small", "cuts", "gaps"), [
    ("", "", (), []),
    ("3 4 5", "", (), [(3, 6, 6)]),
    ("0 1", "", (), [(0, 2, 2)]),
    ("22 23", "", (), []),
    ("3 4 5", "6 7", (), [(3, 6, 8)]),
    ("3 4 5 7", "6 8", (), [(3, 6, 6), (7, 8, 9)]),
    ("3 4 5", "", (6,), []),
    ("3 4 5", "", (5,), [(5, 6, 6)]),
    ("3 4 5", "6 7", (8,), [(3, 6, 6)]),
])  # fmt: skip
def test_a_gap_ends_where_it_is_found_again_in_the_same_shot(
    missing: str, small: str, cuts: tuple[int, ...], gaps: list[tuple[int, int, int]]
) -> None:
    """And is begun on where most of it shows."""
    areas = np.full(24, 100)
    areas[[int(at) for at in small.split()]] = 40
    gone = np.isin(np.arange(24), [int(at) for at in missing.split()])
    areas[gone] = 0
    assert Gap.all_of(gone, areas, cuts) == [Gap(*gap) for gap in gaps]


def test_what_agrees_with_where_it_was_lost_is_given() -> None:
    changes, tracker = back(without(8, 9, 10))
    assert {name: sorted(each) for name, each in changes.items()} == {"board": [8, 9, 10], "board-2": []}
    for at, found in changes["board"].items():
        assert np.array_equal(found.mask, truth("board", at))
        rows, columns = np.nonzero(found.mask)
        inside = found.view @ np.array([columns.mean(), rows.mean(), 1.0])
        assert ((inside > 8) & (inside < 56)).all(), "the view shows it"
    assert tracker.shown == [(at, ("board",)) for at in (11, 10, 9, 8, 7)], "no more is looked at"


def test_nobody_lost_nothing_looked_at() -> None:
    changes, tracker = back(truth)
    assert not any(changes.values()) and tracker.shown == []


def test_what_does_not_agree_is_given_where_it_looks_like_itself() -> None:
    """It was lost at the window's beginning; on frame 2 the other's colours are where it is said to be."""
    given = without(0, 1, 2, 3)
    painted = without(2, instead=lambda name, at: NONE)

    def swapped(name: str, at: int) -> Array:
        return truth("board", at) if name == "board-2" and at == 2 else painted(name, at)

    changes, _ = back(given, painted=swapped)
    assert sorted(changes["board"]) == [0, 1, 3]


def test_what_does_not_agree_and_is_nearer_to_another_is_not_given() -> None:
    """On frame 1 half of it has its colour, and a little more the colour of one who is away."""
    given: Script = lambda name, at: NONE if name == "board-2" else without(0, 1, 2, 3)(name, at)  # noqa: E731
    half = box(10 + 4, 20, 20, 4) | box(10 + 4, 24, 19, 1)

    def painted(name: str, at: int) -> Array:
        if name == "board-2":
            return truth("board", 1) & ~half if at == 1 else NONE
        return truth(name, at)

    assert sorted(back(given, painted=painted)[0]["board"]) == [0, 2, 3]


def test_who_was_taken_for_it_before_it_was_lost_is_no_longer_given() -> None:
    """On frames 6 and 7 its mask was on a third one, which nobody follows."""
    astray = without(6, 7, instead=lambda name, at: box(100, 75, 20, 8))
    changes, _ = back(lambda name, at: NONE if name == "board" and at in (8, 9) else astray(name, at))
    assert sorted(changes["board"]) == [6, 7, 8, 9]
    assert all(np.array_equal(found.mask, truth("board", at)) for at, found in changes["board"].items())


@pytest.mark.parametrize("same", [False, True])
def test_who_was_taken_for_another_that_was_missing_gives_it_back(same: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Even where both look alike, so that nothing says that it was not there."""
    if same:
        monkeypatch.setitem(COLOURS, "board-2", COLOURS["board"])

    def given(name: str, at: int) -> Array:
        lost = at in (8, 9) or (name == "board-2" and at in (6, 7))
        return NONE if lost else truth("board-2" if at in (6, 7) else name, at)

    changes, _ = back(given)
    assert {name: sorted(each) for name, each in changes.items()} == {name: [6, 7, 8, 9] for name in COLOURS}
    assert all(np.array_equal(found.mask, truth(name, at)) for name in COLOURS for at, found in changes[name].items())


def test_on_its_way_it_is_not_given_where_both_look_as_one_another() -> None:
    """On frame 9 each has the other's colour. On frame 8 most of it has, but the other is there and is itself."""

    def painted(name: str, at: int) -> Array:
        own, other = truth(name, at), truth("board-2" if name == "board" else "board", at)
        if at != 8:
            return other if at == 9 else own
        part = box(10 + 4 * 8 + 8, 20, 12)
        return own & ~part if name == "board" else own | part

    changes, _ = back(without(8, 9, 10), painted=painted)
    assert sorted(changes["board"]) == [8, 10] and not changes["board-2"]


def test_on_its_way_it_is_not_given_where_it_looks_as_one_that_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    """Though it is far from looking as the one who is there."""
    monkeypatch.setitem(COLOURS, "board-3", (40, 40, 200))
    monkeypatch.setitem(globals(), "SUBJECTS", (*SUBJECTS, replace(SUBJECTS[0], name="board-3")))
    given: Script = lambda name, at: NONE if name == "board-3" else without(8, 9, 10)(name, at)  # noqa: E731

    def painted(name: str, at: int) -> Array:
        return (truth("board", 9) if at == 9 else NONE) if name == "board-3" else truth(name, at)

    assert sorted(back(given, painted=painted)[0]["board"]) == [8, 10]


def test_one_alone_of_its_kind_is_given_whatever_it_looks_like(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(globals(), "SUBJECTS", (SUBJECTS[0], replace(SUBJECTS[1], kind=PERSON)))
    painted = without(9, instead=lambda name, at: NONE)
    assert sorted(back(without(8, 9, 10), painted=painted)[0]["board"]) == [8, 9, 10]


def test_what_was_pointed_at_stays() -> None:
    astray = without(6, 7, instead=lambda name, at: box(100, 75, 20, 8))
    given: Script = lambda name, at: NONE if name == "board" and at in (8, 9) else astray(name, at)  # noqa: E731
    changes, _ = back(given, pointed={("board", 6), ("board-2", 7)})
    assert sorted(changes["board"]) == [8, 9] and not changes["board-2"]


def test_what_is_clearly_itself_is_not_taken_back() -> None:
    """Going back went astray: before it was lost it looks like itself."""
    found = without(*range(8), instead=lambda name, at: box(100, 75, 20, 8))
    changes, tracker = back(without(8, 9), found)
    assert sorted(changes["board"]) == [8, 9], "there it looked like itself"
    assert tracker.shown[-1][0] == 7


def test_going_back_ends_soon_where_nothing_agrees() -> None:
    """In frames on which nothing looks like anybody, none of it is given."""
    grey: Script = lambda name, at: NONE  # noqa: E731
    found = without(*range(12), instead=lambda name, at: box(100, 75, 20, 8))
    changes, tracker = back(without(12, 13), found, grey)
    assert tracker.shown[-1][0] == 12 - BEYOND - 1
    assert not any(changes.values())


def test_what_others_were_given_stays_theirs() -> None:
    """Of what reaches over another the rest is given; where little is left of it, it has gone over to that one. From
    there it may come back, but not once it was given again."""
    reaching: Script = lambda name, at: truth(name, at) | (truth("board-2", at) if at == 9 else NONE)  # noqa: E731
    changes, _ = back(without(8, 9), reaching)
    assert np.array_equal(changes["board"][9].mask, truth("board", 9))
    astray: Script = lambda name, at: truth("board-2" if at <= 9 else name, at)  # noqa: E731
    changes, tracker = back(without(8, 9, 10), astray)
    assert sorted(changes["board"]) == [10] and tracker.shown[-1][0] == 7
    changes, tracker = back(without(8, 9, 10), lambda name, at: truth("board-2" if at == 9 else name, at))
    assert sorted(changes["board"]) == [8, 10] and tracker.shown[-1][0] == 7
    left = box(10 + 4 * 9, 20, 4)
    changes, _ = back(without(8, 9, 10), without(9, instead=lambda name, at: truth("board-2", at) | left))
    assert sorted(changes["board"]) == [8, 10], "what is left of it there is no more than its edge"


def test_who_goes_over_to_another_before_it_was_lost_takes_nothing_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """It would agree further on."""
    monkeypatch.setitem(COLOURS, "board-2", COLOURS["board"])
    changes, tracker = back(without(8, 9), without(7, instead=lambda name, at: truth("board-2", at)))
    assert sorted(changes["board"]) == [8, 9] and tracker.shown[-1][0] == 7


def test_lost_twice_it_is_followed_back_twice() -> None:
    """What was found of the later time is given where the way back from the earlier one begins before it arrives."""
    astray = without(*range(10, 14), instead=lambda name, at: box(100, 75, 20, 8))
    changes, tracker = back(lambda name, at: NONE if name == "board" and at in (8, 9, 14, 15) else astray(name, at))
    assert sorted(changes["board"]) == [8, 9, 14, 15] and tracker.shown[-1][0] == 7


def test_two_that_go_back_at_once_share_no_pixel() -> None:
    def both(name: str, at: int) -> Array:
        reaches = name == "board" and at in (8, 9)
        return truth(name, at) | (box(4 * at, 50, 40, 30) if reaches else NONE)

    given: Script = lambda name, at: NONE if at in (8, 9) else truth(name, at)  # noqa: E731
    changes, _ = back(given, both)
    for at in (8, 9):
        assert not (changes["board"][at].mask & changes["board-2"][at].mask).any()
        assert np.array_equal(changes["board-2"][at].mask, truth("board-2", at))


def test_it_goes_past_no_cut() -> None:
    changes, tracker = back(without(*range(5, 12)), cuts=(9,))
    assert sorted(changes["board"]) == [9, 10, 11] and tracker.shown[-1][0] == 9


def test_it_ends_where_it_is_hidden() -> None:
    """But passes a few frames on which it finds nothing."""
    changes, tracker = back(without(*range(5, 14)), without(10))
    assert sorted(changes["board"]) == [5, 6, 7, 8, 9, 11, 12, 13]
    changes, tracker = back(without(*range(5, 14)), without(*range(4, 11)))
    assert sorted(changes["board"]) == [11, 12, 13] and tracker.shown[-1][0] == 10 - PATIENT


def test_the_stage_gives_what_was_found_going_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """In the window in which it is found again: masks, `visible`, views and `lost` say so, and the next window is
    followed as if nothing had been."""
    made: list[Scripted] = []

    def new(self: TrackStage, height: int, width: int) -> Scripted:
        stop = starts[-1] + 12
        forwards = without(4, 5, 11, 12, 13)
        made.append(Scripted(truth, lambda index: stop - 1 - index) if made else Scripted(forwards))
        return made[-1]

    frames, starts = picture(), [0]
    monkeypatch.setattr(TrackStage, "_new_tracker", new)
    prompted = tuple(
        Subject(name, OBJECT, ObjectPrompt(box=(10, y, 30, y + 10))) for name, y in (("board", 20), ("board-2", 60))
    )
    stage = chase_of(prompted)
    outputs = []
    for index, start in enumerate((0, 12)):
        starts.append(start)
        new_frames = Span(start, start + 12)
        window = Window(index, new_frames, new_frames, new_frames, start == 12, 12)
        outputs.append(stage.process(window, Inputs({"frames": frames[start : start + 12]})))
    first, second = outputs
    assert first.info["lost"] == {"board": [[11, 12]], "board-2": []}, "behind it nothing is known yet"
    assert second.info["lost"] == {"board": [], "board-2": []}
    for at in (4, 5):
        assert np.array_equal(first.arrays["masks/board"][at], truth("board", at)) and first.arrays["visible/board"][at]
    for at in (12, 13):
        assert np.array_equal(second.arrays["masks/board"][at - 12], truth("board", at))
    assert made[0].names == set(COLOURS) and all(not each.names for each in made[1:])
    own = first.arrays["views/track-board"]
    assert np.linalg.norm(own[4, :, 2] - own[3, :, 2]) < 20
