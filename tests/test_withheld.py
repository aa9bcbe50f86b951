"""Masks of which it was not clear whose they were, given once it is."""

import numpy as np
import pytest
from _scripted import Scripted, chase_of

from stages.base import Array, Inputs, Output, Window
from stages.prompts import Correction, ObjectPrompt
from stages.sam.withheld import Withheld
from stages.subjects import OBJECT, Subject
from stages.track import TrackStage
from storage.spans import Span

MASKS = [np.full((2, 2), bool(k % 2)) for k in range(6)]


def test_who_goes_on_is_given_what_was_withheld() -> None:
    kept = Withheld()
    kept.note({}, set(), {"a", "b"})
    for at in (1, 2):
        kept.note({"a": MASKS[at], "b": MASKS[at + 2]}, set(), set())
    kept.note({"b": MASKS[5]}, set(), {"a"})
    found = kept.take()
    assert list(found) == [("a", 1), ("a", 2)] and found["a", 1] is MASKS[1] and found["a", 2] is MASKS[2]
    kept.note({}, set(), {"a", "b"})
    assert kept.take() == {}, "that window is over"
    kept.note({"b": MASKS[0]}, set(), set())
    kept.note({}, set(), {"b"})
    assert list(kept.take()) == [("b", 0)], "frames are those of the window"


@pytest.mark.parametrize("given", [False, True])
def test_who_is_lost_or_found_elsewhere_is_not(given: bool) -> None:
    """Found anew and given, or not given at all; what is withheld from there on is another matter."""
    kept = Withheld()
    kept.note({"a": MASKS[0]}, set(), set())
    kept.note({}, {"a"} if given else set(), {"a"} if given else set())
    kept.note({"a": MASKS[1]}, set(), set())
    kept.note({"a": MASKS[2]}, {"a"}, set())
    kept.note({"a": MASKS[3]}, set(), set())
    kept.note({}, set(), {"a"})
    assert list(kept.take()) == [("a", 3), ("a", 4)]


SIDE, FRAMES = 96, 8
TOGETHER = range(2, 5)  # frames on which one is right below the other
NAMES = ("board", "board-2")


def truth(name: str, at: int) -> Array:
    """Two boards of one colour, one behind the other, that pass each other."""
    mask = np.zeros((SIDE, SIDE), bool)
    if name == "board":
        mask[40:45, 40:64] = True
    else:
        left = (10, 25, 40, 40, 40, 25, 10, 10)[at]
        mask[45:50, left : left + 24] = True
    return mask


def followed(
    monkeypatch: pytest.MonkeyPatch, lost_from: int, *stops: int, cuts: tuple[int, ...] = (), corrected: int = 0
) -> list[Output]:
    """What the stage gives of windows that end at these frames; the second board is found up to one of them. Where
    `corrected`, they go on as one another from where they are together up to that frame, on which both are pointed at.
    """
    none = np.zeros((SIDE, SIDE), bool)

    def script(name: str, at: int) -> Array:
        if TOGETHER.start <= at < corrected:
            return truth(NAMES[NAMES[0] == name], at)
        return none if name == "board-2" and at >= lost_from else truth(name, at)

    tracker = Scripted(script)
    frames = np.full((FRAMES, SIDE, SIDE, 3), 128, np.uint8)
    for at in range(FRAMES):
        for name in NAMES:
            frames[at][truth(name, at)] = (200, 40, 40)
    monkeypatch.setattr(TrackStage, "_new_tracker", lambda *_: tracker)
    monkeypatch.setattr(TrackStage, "_looked_back", lambda *_: {})
    boxes = {"board": (40, 40, 64, 45), "board-2": (10, 45, 34, 50)}
    told = (Correction(corrected, box=(0, 0, 9, 9)),) if corrected else ()
    stage = chase_of(tuple(Subject(name, OBJECT, ObjectPrompt(box=boxes[name]), told) for name in NAMES))
    found = []
    for index, (start, stop) in enumerate(zip((0, *stops), stops, strict=False)):
        span = Span(start, stop)
        info = {"decode": {"clip_frames_min16": FRAMES, "cuts": [cut for cut in cuts if start <= cut < stop]}}
        window = Window(index, span, span, span, stop == FRAMES, stop - start)
        found.append(stage.process(window, Inputs({"frames": frames[start:stop]}, info)))
    return found


def given(found: list[Output]) -> dict[str, list[int]]:
    """On which frames each is; what is given is the truth."""
    masks = {name: np.concatenate([each.arrays[f"masks/{name}"] for each in found]) for name in NAMES}
    visible = {name: np.concatenate([each.arrays[f"visible/{name}"] for each in found]) for name in NAMES}
    for name in NAMES:
        assert np.array_equal(masks[name].any((1, 2)), visible[name])
        assert all(np.array_equal(masks[name][at], truth(name, int(at))) for at in np.flatnonzero(visible[name]))
    return {name: np.flatnonzero(visible[name]).tolist() for name in NAMES}


def test_the_stage_gives_it_in_the_window_in_which_it_is_clear(monkeypatch: pytest.MonkeyPatch) -> None:
    """And `lost` does not say that it was missing."""
    every = list(range(FRAMES))
    found = followed(monkeypatch, FRAMES, FRAMES)
    assert given(found) == {"board": every, "board-2": every}
    assert found[0].info["lost"] == {"board": [], "board-2": []}
    apart = [at for at in every if at not in TOGETHER]
    first, second = followed(monkeypatch, FRAMES, TOGETHER.stop, FRAMES)
    assert given([first, second]) == {"board": apart, "board-2": apart}, "the first window was over by then"


def test_the_stage_does_not_where_names_may_have_changed_hands(monkeypatch: pytest.MonkeyPatch) -> None:
    """One of them was lost where they were together; or a cut lies there."""
    found = given(followed(monkeypatch, TOGETHER.stop, FRAMES))
    assert set(found["board-2"]) == {0, 1}
    assert not set(given(followed(monkeypatch, FRAMES, FRAMES, cuts=(TOGETHER.stop,)))["board"]) & set(TOGETHER)


def test_what_is_pointed_at_tells_nothing_of_the_frames_before(monkeypatch: pytest.MonkeyPatch) -> None:
    """They went on as one another, and the user says so on the first frame on which both are clear again."""
    found = given(followed(monkeypatch, FRAMES, FRAMES, corrected=TOGETHER.stop))
    assert found == {name: [at for at in range(FRAMES) if at not in TOGETHER] for name in NAMES}
