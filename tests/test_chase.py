"""A chase: views round where each subject was on the frame before, and who of several is who."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from _crash import differing, results, shared_case
from _sam_fixture import moving_clip, stock_logits, write_small_sam
from _zygote import shared_zygote

from stages.affine import apply, invert
from stages.base import Array, Inputs, Window
from stages.prompts import ObjectPrompt
from stages.sam.mistaken import DOUBT
from stages.sam.model import SamModel
from stages.sam.prompts import SamPrompt
from stages.sam.session import Tracked
from stages.sam.tracker import Seen, seen_through
from stages.sam.whose import Whose
from stages.subjects import OBJECT, PERSON, Subject
from stages.track import TrackConfig, TrackStage
from stages.views.chase import PATIENT, Chase, Place
from stages.views.look import glimpse
from storage.spans import Span

CHASE = Chase((320, 180), 64, {"board": "rider"})
PROMPT = ObjectPrompt(box=(0, 0, 9, 9))
SUBJECTS = [Subject(name, kind, PROMPT, held_by=holder) for name, kind, holder in (
    ("board", OBJECT, "rider"), ("board-2", OBJECT, None), ("rider", PERSON, None), ("other", PERSON, None),
)]  # fmt: skip
COLOURS = {"board": (20, 20, 20), "board-2": (20, 20, 20), "rider": (200, 40, 40), "other": (40, 160, 40)}


def shown(view: Array) -> Array:
    """`[4]`: what a view shows, x1, y1, x2, y2, edges."""
    return apply(invert(view), np.array([[-0.5, -0.5], [63.5, 63.5]])).ravel() + 0.5


def place(x: float, y: float, side: float = 20.0, **given: Any) -> Place:
    return Place((x, y), (side, side), side, side * side, **given)


def test_a_view_is_round_where_it_was_and_within_the_frame() -> None:
    assert np.allclose(shown(CHASE.view("board", {"board": place(99.5, 79.5, 30)})), (70, 50, 130, 110))
    assert np.allclose(shown(CHASE.view("board", {"board": place(0, 0, 30)})), (0, 0, 60, 60))
    assert np.allclose(shown(CHASE.view("board", {"board": place(99.5, 79.5, 2)})), (77.5, 57.5, 122.5, 102.5))
    large = shown(CHASE.view("board", {"board": place(160, 90, 300)}))
    assert np.allclose(large, (0, -70, 320, 250)), "all of it, between edges"
    moving = place(99.5, 79.5, 30).saw(np.array([94.5, 64.5, 124.5, 94.5]), 900)
    assert moving.speed == (5.0, 0.0) and np.allclose(
        shown(CHASE.view("board", {"board": moving})), (82.5, 50, 142.5, 110)
    )


def test_one_that_is_lost_is_looked_for_everywhere() -> None:
    """Where it should be, in the squares of the frame, where its colours are, and by the feet of who holds it; with who
    is lost as well."""
    lost, rider = [place(300, 90, unseen=PATIENT + k) for k in range(13)], place(100, 90, 60)
    assert not lost[0].lost and lost[1].lost
    views = [shown(CHASE.view("board", {"board": each, "rider": rider}, lambda: (200.0, 60.0))) for each in lost]
    assert views[0][2] - views[0][0] == pytest.approx(45), "something passes before it: not yet"
    assert [(view[0] <= 290 and view[2] >= 310) for view in views[1::6]] == [True, True]
    assert np.allclose(views[4], (0, 0, 180, 180)) and np.allclose(views[10], (140, 0, 320, 180))
    for view in views[2::3]:
        assert np.allclose(view, (177.5, 37.5, 222.5, 82.5), atol=1)
    for view in views[3::3]:
        assert view[0] < 100 < view[2] and view[2] - view[0] == pytest.approx(90)
    both = shown(CHASE.view("board", {"board": lost[1], "rider": place(20, 90, 60, unseen=PATIENT + 1)}))
    assert both[0] == pytest.approx(0) and both[2] == pytest.approx(180)


def test_it_waits_at_the_edge_where_it_left() -> None:
    gone = place(310, 90, speed=(20.0, -1.0))
    for _ in range(5):
        gone = gone.missed((320, 180))
    assert gone.middle[0] == 319 and gone.unseen == 5 and gone.speed[0] < 7
    back = gone.saw(np.array([299.5, 80, 319.5, 100]), 300.0)
    assert (back.unseen, back.speed) == (0, (0.0, 0.0)) and back.area == 400 + 0.02 * (300 - 400)


class Clip:
    """Boxes of one colour each on grey, and what is found of them."""

    def __init__(self) -> None:
        self.whose = Whose.of(SUBJECTS, (320, 180), 64)

    def see(
        self,
        there: dict[str, tuple[int, int, int, int]],
        found: dict[str, list[tuple[int, int, int, int]]],
        **point: bool,
    ) -> dict[str, Array]:
        """The masks that are left of what was `found` on a frame on which these are `there`."""
        frame = np.full((180, 320, 3), 128, np.uint8)
        for name, (x1, y1, x2, y2) in there.items():
            frame[y1:y2, x1:x2] = COLOURS[name]
        seen = {}
        for name, boxes in found.items():
            logits = np.full((180, 320), -5.0, np.float32)
            for x1, y1, x2, y2 in boxes:
                logits[y1:y2, x1:x2] = 5.0
            seen[name] = Seen(logits > 0, Tracked(None, None), logits)
        settled = self.whose.settle(frame, seen, there if point else ())
        return {name: each.mask for name, each in settled.items()}


BOARD, OTHER_BOARD = (40, 140, 80, 152), (240, 140, 280, 152)
RIDER, OTHER = (44, 60, 76, 138), (200, 60, 232, 138)
ALL = {"board": BOARD, "board-2": OTHER_BOARD, "rider": RIDER, "other": OTHER}


@pytest.fixture
def clip() -> Clip:
    found = Clip()
    for _ in range(3):
        masks = found.see(ALL, {name: [box] for name, box in ALL.items()}, prompted=True)
    assert [int(mask.sum()) for mask in masks.values()] == [480, 480, 2496, 2496]
    return found


def test_one_that_is_lost_is_looked_for_where_its_colours_are(clip: Clip) -> None:
    """Not where another is that has them too."""
    frame = np.full((180, 320, 3), 128, np.uint8)
    frame[140:152, 240:280], frame[160:172, 100:140] = COLOURS["board"], COLOURS["board"]
    for _ in range(PATIENT + 2):
        clip.see(ALL, {name: [box] if name != "board" else [] for name, box in ALL.items()})
    view = shown(clip.whose.view("board", None, frame))
    assert np.allclose(view, (80, 100, 160, 180), atol=3), "round the one, as far as the frame goes"


def test_one_that_is_lost_before_its_look_is_known_is_looked_for(clip: Clip) -> None:
    """It is too small for one; what is found of it is believed."""
    clip.whose.forget()
    speck = (100, 90, 103, 94)
    clip.whose.looks.pop("board")
    clip.whose.places.pop("board")
    clip.see({"board": speck}, {"board": [speck]}, prompted=True)
    for _ in range(PATIENT + 2):
        clip.see({}, {"board": []})
        assert np.isfinite(clip.whose.view("board", None, np.zeros((180, 320, 3), np.uint8))).all()
    masks = clip.see({"board": speck, "rider": RIDER}, {"board": [speck], "rider": [RIDER]})
    assert masks["board"].sum() == 12 and masks["rider"].sum() == 2496 and "board" not in clip.whose.looks


def test_colours_say_whose_a_pixel_is(clip: Clip) -> None:
    """Two persons' masks both hold both, the surer of them in vain."""
    masks = clip.see(ALL, {"rider": [RIDER, OTHER], "other": [RIDER, OTHER]})
    assert masks["rider"][60:138, 44:76].all() and not masks["rider"][:, 100:].any()
    assert masks["other"][60:138, 200:232].all() and not masks["other"][:, :100].any()


@pytest.mark.parametrize(("x", "y"), [(160, 60), (0, 0), (256, 102)])
def test_colours_tell_more_than_who_had_a_pixel(x: int, y: int) -> None:
    """The rider moves on before the other, whose mask still holds what is hidden now; at the frame's edges as well."""
    rider, other, clip = (x, y, x + 32, y + 78), (x + 32, y, x + 64, y + 78), Clip()
    clip.see({"rider": rider, "other": other}, {"rider": [rider], "other": [other]}, prompted=True)
    rider = (x + 8, y, x + 40, y + 78)
    masks = clip.see({"other": other, "rider": rider}, {"rider": [rider], "other": [other]})
    assert masks["rider"][y : y + 78, x + 8 : x + 38].all() and not (masks["rider"] & masks["other"]).any()
    assert masks["other"][y : y + 78, x + 40 : x + 64].all()


def test_colours_that_are_not_known_win_no_pixel(clip: Clip) -> None:
    """Of one in a shadow, which one whose look is not known reaches over."""
    clip.whose.looks.pop("board-2")
    reaches = (44, 60, 52, 90)
    masks = clip.see({"board": RIDER}, {"rider": [RIDER], "board-2": [OTHER_BOARD, reaches]})
    assert masks["rider"].sum() == 2496 and masks["board-2"].sum() == 480
    masks = clip.see(ALL, {"rider": [RIDER, (240, 140, 250, 152)], "board-2": [OTHER_BOARD]})
    assert masks["rider"].sum() == 2496 and masks["board-2"].sum() == 480, "nor do they lose one"


def test_colours_of_one_who_claims_nothing_leave_a_pixel_to_who_does(clip: Clip) -> None:
    between = (110, 60, 114, 80)
    found = {"board": [BOARD], "rider": [RIDER, between], "other": [OTHER, between]}
    masks = clip.see({**ALL, "board": between}, found)
    assert (masks["rider"] ^ masks["other"])[60:80, 110:114].all()


def test_one_that_is_hidden_is_not_found_in_another(clip: Clip) -> None:
    """It looks alike, and is surer; who was there a frame before keeps the pixels."""
    for _ in range(PATIENT + 3):
        masks = clip.see(ALL, {"board": [BOARD], "board-2": [BOARD]})
        assert masks["board"].sum() == 480 and not masks["board-2"].any()
    assert clip.whose.places["board-2"].lost and not clip.whose.places["board"].unseen
    masks = clip.see(ALL, {"board": [BOARD], "board-2": [BOARD, OTHER_BOARD]})
    assert masks["board"].sum() == 480 and masks["board-2"].sum() == 480, "the part that nobody has is believed"
    assert masks["board-2"][140:152, 240:280].all()


def test_what_is_found_anew_is_believed_part_by_part(clip: Clip) -> None:
    """Not a part most of which is another's, nor a speck beside a large one; nor what another has of a good part."""
    for _ in range(2):
        clip.see(ALL, {"board": [], "board-2": [OTHER_BOARD]})
    most_of_another, speck, edge = (230, 140, 280, 152), (100, 20, 104, 24), (40, 140, 44, 152)
    masks = clip.see(ALL, {"board": [BOARD, most_of_another, speck], "board-2": [OTHER_BOARD, edge]})
    assert masks["board"].sum() == 480 - 48 and masks["board"][140:152, 44:80].all()
    assert masks["board-2"].sum() == 480 + 48


def test_of_two_that_hold_both_each_keeps_its_own(clip: Clip) -> None:
    masks = clip.see(ALL, {"board": [BOARD, OTHER_BOARD], "board-2": [BOARD, OTHER_BOARD], "rider": [RIDER]})
    assert masks["board"][140:152, 40:80].all() and masks["board-2"][140:152, 240:280].all()
    assert masks["board"].sum() == masks["board-2"].sum() == 480


def test_a_mask_that_has_taken_in_another_gives_it_back(clip: Clip) -> None:
    """The far one, partly hidden, reaches over the near one, and has got some of it already."""
    part = (40, 140, 72, 152)
    clip.whose.masks["board"] = clip.whose.masks["board-2"].copy()
    masks = clip.see(ALL, {"board": [part, OTHER_BOARD], "board-2": [OTHER_BOARD]})
    assert masks["board-2"].sum() == 480 and masks["board"].sum() == 384
    near = (236, 140, 284, 152)
    for _ in range(PATIENT + 2):
        masks = clip.see(ALL, {"board": [], "board-2": [BOARD, near]})
    assert clip.whose.places["board"].lost and masks["board-2"].sum() == 480 + 576, "nobody else is seen there"
    masks = clip.see(ALL, {"board": [BOARD], "board-2": [BOARD, near]})
    assert masks["board"].sum() == 480 and masks["board-2"].sum() == 576


def test_who_had_part_of_anothers_place_does_not_take_the_rest(clip: Clip) -> None:
    """It passes behind the other and is found in it: what it had before is all that it keeps of that."""
    left, right = (240, 140, 252, 152), (252, 140, 280, 152)
    clip.whose.masks["board"], clip.whose.masks["board-2"] = np.zeros((180, 320), bool), np.zeros((180, 320), bool)
    for name, (x1, y1, x2, y2) in (("board", left), ("board-2", right)):
        clip.whose.masks[name][y1:y2, x1:x2] = True
    clip.whose.places["board"] = place(245.5, 145.5, 40)
    masks = clip.see(ALL, {"board": [OTHER_BOARD], "board-2": [OTHER_BOARD], "rider": [RIDER], "other": [OTHER]})
    assert clip.whose.masks["board"][140:152, 240:252].all() and not clip.whose.masks["board"][:, 252:].any()
    assert clip.whose.masks["board-2"][140:152, 252:280].all() and not (masks["board"] & masks["board-2"]).any()


def test_who_is_hidden_is_not_found_where_another_was_a_frame_ago(clip: Clip) -> None:
    """Nor is it remembered to be there."""
    for _ in range(PATIENT + 2):
        clip.see(ALL, {"board": [BOARD], "board-2": []})
    assert not clip.see(ALL, {"board": [], "board-2": [BOARD]})["board-2"].any()
    assert clip.whose.places["board-2"].lost


@pytest.mark.parametrize("same", [False, True])
def test_what_was_lost_is_found_in_the_hands_of_who_holds_it(same: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of whatever colour it is: a person is none of those it could be taken for."""
    if same:
        monkeypatch.setitem(COLOURS, "board", COLOURS["rider"])
    clip, above, below, held = Clip(), (44, 60, 76, 90), (44, 102, 76, 138), (50, 90, 74, 102)
    clip.see(ALL, {"board": [BOARD], "rider": [RIDER]}, prompted=True)
    for _ in range(2):
        clip.see({"rider": RIDER}, {"board": [], "rider": [RIDER]})
    there = {"rider": RIDER, "board": held}
    assert clip.see(there, {"board": [held], "rider": [above, below]})["board"].sum() == 24 * 12


def test_one_comes_back_without_its_holder_where_none_like_it_is_lost(clip: Clip) -> None:
    """A person who is lost there is none; while another board is lost, the nearer to where it may come back has it."""
    gone: dict[str, list[tuple[int, int, int, int]]] = {name: [] for name in ALL}
    for _ in range(PATIENT + 2):
        clip.see(ALL, {**gone, "board-2": [OTHER_BOARD]})
    there = (196, 100, 236, 112)  # where the other person was
    now = {"board": there, "board-2": OTHER_BOARD}
    assert clip.see(now, {**gone, "board": [there], "board-2": [OTHER_BOARD]})["board"].sum() == 480


def test_one_comes_back_by_who_holds_it_wherever_it_was_lost(clip: Clip) -> None:
    """The other board was lost nearer by."""
    rider, there = (180, 60, 212, 138), (176, 140, 216, 152)
    for box in (RIDER, RIDER, RIDER, rider, rider):
        clip.see({"rider": box}, {"board": [], "board-2": [], "rider": [box]})
    masks = clip.see({"rider": rider, "board": there}, {"board": [there], "board-2": [there], "rider": [rider]})
    assert masks["board"].sum() == 480 and not masks["board-2"].any()


def test_what_looks_otherwise_is_not_believed(clip: Clip) -> None:
    """Nor what is far too small, or too large."""
    for _ in range(2):
        clip.see(ALL, {"rider": [], "other": [OTHER]})
    for box in (OTHER_BOARD, (44, 60, 50, 70), (44, 60, 47, 64), (100, 100, 140, 110)):
        assert not clip.see(ALL, {"rider": [box]})["rider"].any()
    assert clip.see(ALL, {"rider": [RIDER]})["rider"].any()


def test_one_that_was_pointed_at_and_not_found_may_be_found_later() -> None:
    clip = Clip()
    clip.see({"rider": RIDER}, {"rider": [], "other": [OTHER]}, prompted=True)
    for _ in range(2):
        clip.see({}, {"rider": [], "other": [OTHER]})
        view = clip.whose.view("rider", None, np.zeros((180, 320, 3), np.uint8))
        assert np.allclose(shown(view), (70, 0, 250, 180), atol=1), "as much of the frame as fits in"
    masks = clip.see({"rider": RIDER}, {"rider": [RIDER], "other": [OTHER, (44, 60, 50, 70)]})
    assert masks["rider"].sum() == 2496 - 60, "what goes on where it was comes first"


def test_what_is_pointed_at_first_may_reach_over_another() -> None:
    masks = Clip().see(ALL, {"board": [BOARD], "rider": [RIDER, BOARD]}, prompted=True)
    assert masks["board"].sum() == 480 and masks["rider"].sum() == 2496


def test_one_of_two_that_are_lost_comes_back_where_it_left(clip: Clip) -> None:
    riders = {"rider": [RIDER], "other": [OTHER]}
    for _ in range(4):
        clip.see(ALL, riders | {"board": [], "board-2": []})
    there = (270, 140, 310, 152)
    masks = clip.see(ALL | {"board-2": there}, riders | {"board": [there], "board-2": []})
    assert not masks["board"].any(), "that is the other's"
    masks = clip.see(ALL | {"board-2": there}, riders | {"board": [there], "board-2": [there]})
    assert not masks["board"].any() and masks["board-2"].sum() == 480


def test_two_that_go_on_as_each_other_get_their_names_back(clip: Clip) -> None:
    """Neither is said to be there while the holder says otherwise; what was remembered is saved."""
    places = clip.whose.places
    places["board"], places["board-2"] = places["board-2"], places["board"]
    swapped = {"rider": [RIDER], "other": [OTHER], "board": [OTHER_BOARD], "board-2": [BOARD]}
    silent = 0
    while not (masks := clip.see(ALL, swapped))["board"].any():
        assert not masks["board-2"].any()
        silent += 1
        assert silent < 30
        again = Clip()
        again.whose.restore(*clip.whose.parts())
        clip = again
    assert silent > 1, "a glance does not do"
    assert masks["board"][140:152, 40:80].all() and masks["board-2"][140:152, 240:280].all()
    assert not any(clip.whose.places["board"].speed), "it stood still all the time"
    masks = clip.see(ALL, {"rider": [RIDER], "other": [OTHER], "board": [BOARD], "board-2": [OTHER_BOARD]})
    assert masks["board"].sum() == masks["board-2"].sum() == 480 and masks["board"][146, 60]


def test_what_is_far_from_its_holder_and_looks_otherwise_is_not_found(clip: Clip) -> None:
    """Half of it has its colour: with its holder that does, on a wall it does not."""
    for _ in range(PATIENT + 2):
        clip.see(ALL, {"board": [], "rider": [RIDER]})
    half = (60, 140, 80, 152)
    there = {"rider": RIDER, "board": half}
    for _ in range(3):
        found: dict[str, list[tuple[int, int, int, int]]] = {"board": [(220, 20, 260, 32)], "rider": [RIDER]}
        assert not clip.see({**there, "board": (240, 20, 260, 32)}, found)["board"].any(), "nor goes on from there"
    third: dict[str, tuple[int, int, int, int]] = {**there, "board": (66, 140, 80, 152)}
    assert not clip.see(third, {"board": [BOARD], "rider": [RIDER]})["board"].any(), "a third does not"
    assert clip.see(there, {"board": [BOARD], "rider": [RIDER]})["board"].sum() == 480


@pytest.mark.parametrize(("box", "believed"), [
    ((0, 60, 8, 138), True), ((312, 60, 320, 138), True), ((100, 0, 132, 20), True), ((100, 160, 132, 180), True),
    ((1, 60, 9, 138), False), ((100, 159, 132, 179), False), ((100, 60, 132, 80), False),
    ((60, 20, 100, 160), True), ((60, 20, 140, 170), False),
])  # fmt: skip
def test_who_comes_back_is_about_as_large_but_at_the_frames_edge(
    box: tuple[int, int, int, int], believed: bool, clip: Clip
) -> None:
    """There a quarter of it will do."""
    for _ in range(2):
        clip.see({}, {"rider": []})
    assert clip.see({"rider": box}, {"rider": [box]})["rider"].any() == believed


def test_who_was_doubted_is_so_until_nothing_speaks_for_it(clip: Clip) -> None:
    """Two that pass each other are not given for a frame between two on which they are not."""
    mistaken = clip.whose.mistaken
    assert mistaken.least("board") == DOUBT
    swapped = {"rider": [RIDER], "other": [OTHER], "board": [OTHER_BOARD], "board-2": [BOARD]}
    places = clip.whose.places
    places["board"], places["board-2"] = places["board-2"], places["board"]
    clip.see(ALL, swapped)
    assert mistaken.least("board") == mistaken.least("board-2") == 0
    again = Clip()
    again.whose.restore(*clip.whose.parts())
    assert again.whose.mistaken.doubted == {"board", "board-2"}
    clip.see(ALL, {name: [box] for name, box in ALL.items()}, prompted=True)
    assert mistaken.least("board") == DOUBT


def test_what_spoke_for_another_name_before_it_was_lost_says_nothing(clip: Clip) -> None:
    """Else who is found again right would be given the name that it once seemed to need."""
    clip.whose.mistaken.gains = {"board": {"board-2": 0.9}, "board-2": {"board": 0.9}}
    for _ in range(PATIENT + 2):
        clip.see(ALL, {"board": [], "board-2": [], "rider": [RIDER], "other": [OTHER]})
    masks = clip.see(ALL, {name: [box] for name, box in ALL.items()})
    assert masks["board"][140:152, 40:80].all() and masks["board-2"][140:152, 240:280].all()


def test_what_spoke_for_another_name_before_it_was_pointed_at_says_nothing(clip: Clip) -> None:
    clip.whose.mistaken.gains = {"board": {"board-2": 0.9}, "board-2": {"board": 0.9}}
    clip.see(ALL, {name: [box] for name, box in ALL.items()}, prompted=True)
    masks = clip.see(ALL, {name: [box] for name, box in ALL.items()})
    assert masks["board"][140:152, 40:80].all() and masks["board-2"][140:152, 240:280].all()


@pytest.mark.parametrize(("missed", "here", "doubted"), [
    (1, True, True), (1, False, False), (PATIENT + 1, False, True)
])  # fmt: skip
def test_who_looks_as_one_that_is_hidden_is_doubted_where_that_may_be(
    missed: int, here: bool, doubted: bool, clip: Clip
) -> None:
    """Where it is expected from the first frame on, anywhere once it is lost."""
    clip.whose.places["other"] = clip.whose.places["rider"]
    hidden = clip.whose.places["rider"] if here else place(250, 40, 60)
    for _ in range(missed):
        hidden = hidden.missed((320, 180))
    clip.whose.places["rider"] = hidden
    there = {"other": RIDER, "rider": (44, 60, 76, 107)}  # three fifths of it look like the rider
    masks = clip.see(there, {"rider": [], "other": [RIDER]})
    assert masks["other"].any() != doubted and not masks["rider"].any(), "a glance does not do for another name"
    masks = clip.see({"rider": RIDER}, {"rider": [], "other": [RIDER]})
    assert masks["rider"].any() == (missed > PATIENT), "nor does any, while it may be hidden"


def test_one_that_goes_on_where_it_was_may_look_otherwise(clip: Clip) -> None:
    """As in a shadow: only what is found anew is asked for its look."""
    for _ in range(3):
        assert clip.see({"board": RIDER}, {"rider": [RIDER]})["rider"].sum() == 2496


def test_an_object_is_not_taken_for_a_person(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever their colours: the rider is nearer to where the board is held than to any holder of its own."""
    monkeypatch.setitem(COLOURS, "board", COLOURS["rider"])
    clip, found = Clip(), {name: [box] for name, box in ALL.items()}
    clip.see(ALL, found, prompted=True)
    for _ in range(PATIENT + 3):
        assert clip.see(ALL, found | {"board": []})["rider"].any()


def test_what_is_found_anew_teaches_nothing_of_how_it_looks(clip: Clip) -> None:
    """From the next frame on, on which it goes on, it does."""
    for _ in range(2):
        clip.see(ALL, {"board": [], "rider": [RIDER]})
    known, half = clip.whose.looks["board"].copy(), (60, 140, 80, 152)
    there, found = {"rider": RIDER, "board": half}, {"board": [BOARD], "rider": [RIDER]}
    assert clip.see(there, found)["board"].any() and np.array_equal(clip.whose.looks["board"], known)
    assert clip.see(there, found)["board"].any() and not np.array_equal(clip.whose.looks["board"][1], known[1])
    assert np.array_equal(clip.whose.looks["board"][0], known[0]), "the first look stays"


def test_half_of_a_look_is_the_first_and_half_what_nobody_else_claims(clip: Clip) -> None:
    first = clip.whose.looks["rider"][0].copy()
    claimed = (44, 60, 76, 80)
    for _ in range(5):
        clip.see({"board": RIDER, "other": claimed}, {"rider": [RIDER], "other": [OTHER, claimed]})
    assert np.array_equal(clip.whose.looks["rider"], [first, first]), "a quarter of it was another's"
    for _ in range(200):
        clip.see({"board": RIDER}, {"rider": [RIDER]})
    mean = (first + clip.whose.looks["board"][0]) / 2
    assert np.allclose(clip.whose.looks["rider"], [first, mean], atol=0.01)


def test_who_is_lost_beside_another_is_not_given_there() -> None:
    """It moved away as it was lost: what was withheld of it is not made clear by that."""
    clip, above, below = Clip(), (40, 140, 80, 148), (40, 148, 80, 156)
    clip.see({"board": above, "board-2": below}, {"board": [above], "board-2": [below]}, prompted=True)
    below = (44, 148, 84, 156)
    masks = clip.see({"board": above, "board-2": below}, {"board": [above], "board-2": [below]})
    assert not masks["board"].any() and not masks["board-2"].any()
    clip.see({"board": above}, {"board": [above], "board-2": []})
    assert clip.whose.withheld.take() == {}


def test_what_was_withheld_is_not_given_to_who_gets_another_name() -> None:
    clip, above, below = Clip(), (40, 140, 80, 148), (40, 148, 80, 156)
    there, found = {"board": above, "board-2": below}, {"board": [above], "board-2": [below]}
    clip.see(there, found, prompted=True)
    clip.see(there, found)
    assert set(clip.whose.withheld.pending) == {"board", "board-2"}
    clip.whose.mistaken.gains = {"board": {"board-2": 0.9}, "board-2": {"board": 0.9}}
    below = (60, 148, 100, 156)
    masks = clip.see({"board": above, "board-2": below}, {"board": [above], "board-2": [below]})
    assert masks["board-2"][140:148, 40:80].all() and masks["board"][148:156, 60:100].all()
    assert clip.whose.withheld.take() == {}


def test_one_that_goes_on_as_another_who_is_lost_gets_that_name(clip: Clip) -> None:
    """The look tells: the rider's, with the other's name."""
    clip.whose.places["other"] = clip.whose.places["rider"]
    for _ in range(PATIENT + 1):
        clip.whose.places["rider"] = clip.whose.places["rider"].missed((320, 180))
    there = {name: ALL[name] for name in ("board", "board-2", "rider")}
    masks = [clip.see(there, {"rider": [], "other": [RIDER]}) for _ in range(20)]
    assert not any(each["other"].any() for each in masks), "that is not how the other looks"
    assert sum(each["rider"].any() for each in masks) == 1, "from then on its own session has to find it there"
    assert clip.whose.places["other"].lost


def test_of_two_at_one_place_only_their_looks_tell_whose_is_whose() -> None:
    """Two boards one above the other, alike, and then one of them with a mark."""
    found = {"board": [(40, 140, 80, 148)], "board-2": [(40, 148, 80, 156)], "rider": [RIDER]}
    there = {name: boxes[0] for name, boxes in found.items()}
    for marked in (False, True):
        clip = Clip()
        there |= {"other": (40, 148, 60, 156)} if marked else {}
        assert clip.see(there, found, prompted=True)["board"].any()
        masks = clip.see(there, found)
        assert [masks["board"].any(), masks["board-2"].any()] == [marked, marked] and masks["rider"].any()


def test_pointed_at_it_is_who_the_user_says(clip: Clip) -> None:
    masks = clip.see(ALL, {"board": [OTHER_BOARD], "board-2": [BOARD], "rider": [RIDER]}, prompted=True)
    assert masks["board"][140:152, 240:280].all() and masks["board-2"][140:152, 40:80].all()
    assert not any(clip.whose.places["board"].speed), "it has not moved there"


def test_pointed_at_who_is_lost_is_no_candidate_for_anothers_name() -> None:
    """On the very frame on which else the other's mask would have got the rider's name, and on those around it."""
    there, pointed = {name: ALL[name] for name in ("board", "board-2", "rider")}, (120, 60, 152, 138)
    ends = []
    for before in range(20):
        clip = Clip()
        for _ in range(3):
            clip.see(ALL, {name: [box] for name, box in ALL.items()}, prompted=True)
        clip.whose.places["other"] = clip.whose.places["rider"]
        for _ in range(PATIENT + 1):
            clip.whose.places["rider"] = clip.whose.places["rider"].missed((320, 180))
        given = [clip.see(there, {"rider": [], "other": [RIDER]})["rider"].any() for _ in range(before)]
        if any(given):
            break
        masks = clip.see({"rider": RIDER}, {"rider": [pointed], "other": [RIDER]}, prompted=True)
        ends.append(np.flatnonzero(masks["rider"].any(axis=0))[[0, -1]].tolist())
    assert 0 < len(ends) < 20 and ends == [[120, 151]] * len(ends)


def test_a_view_is_round_what_is_pointed_at() -> None:
    """A box, a mask, or a point on it, to the half of a pixel."""
    whose, frame = Whose.of(SUBJECTS, (320, 180), 64), np.zeros((180, 320, 3), np.uint8)
    box, mask = (100.0, 70.0, 130.0, 90.0), np.zeros((180, 320), bool)
    mask[70:90, 100:130] = True
    for prompt in (SamPrompt(box=box), SamPrompt(mask=mask)):
        assert np.allclose(shown(whose.view("board", prompt, frame)), (85, 50, 145, 110))
    tall = Whose.of(SUBJECTS, (180, 320), 64)
    at = SamPrompt(points=((90.0, 200.0, 1),))
    assert np.allclose(shown(tall.view("board", at, frame.swapaxes(0, 1))), (0, 110, 180, 290))
    assert np.allclose(shown(whose.view("board", SamPrompt(points=((200.0, 90.0, 1),)), frame)), (110, 0, 290, 180))


def test_points_that_are_not_on_a_subject_do_not_move_its_view() -> None:
    """Nor do they speak where the view does not show them."""
    whose, frame = Whose.of(SUBJECTS, (320, 180), 64), np.zeros((180, 320, 3), np.uint8)
    near, far, on_it = (60.0, 90.0, 0), (310.0, 90.0, 0), (100.0, 90.0, 1)
    alone = whose.view("board", SamPrompt(points=(on_it,)), frame)
    view = whose.view("board", SamPrompt(points=(on_it, near, far)), frame)
    assert np.allclose(view, alone) and np.allclose(shown(view), (10, 0, 190, 180))
    told = seen_through(SamPrompt(points=(on_it, near, far)), view, 64)
    assert [label for *_, label in told.points] == [1, 0] and told.points[0][0] == pytest.approx(32)


def test_what_is_left_of_a_mask_that_is_anothers_is_nothing(clip: Clip) -> None:
    """A few pixels beside it; the place waits where it was."""
    masks = clip.see(ALL, {"board": [OTHER_BOARD, (40, 140, 44, 142)], "board-2": [OTHER_BOARD]})
    assert masks["board-2"].sum() == 480 and not masks["board"].any()
    assert clip.whose.places["board"].unseen == 1 and abs(clip.whose.places["board"].middle[0] - 59.5) < 1


def test_a_part_of_a_subject_says_nothing_of_its_size() -> None:
    """Else the view shrinks with the mask, and the mask with the view."""
    seen = place(100, 90, 60)
    for _ in range(40):
        seen = seen.saw(np.array([95.0, 85.0, 105.0, 95.0]), 100.0)
    assert (seen.side, seen.area) == (60, 3600)
    for _ in range(40):
        seen = seen.saw(np.array([80.0, 70.0, 120.0, 110.0]), 2000.0)
    assert seen.side < 45


def test_who_had_a_pixel_is_saved() -> None:
    """Both masks are of both boards, which lie end to end."""
    left, right = (80, 140, 120, 152), (120, 140, 160, 152)
    clip, there = Clip(), {"board": left, "board-2": right}
    clip.see(there, {"board": [left], "board-2": [right]}, prompted=True)
    again = Clip()
    again.whose.restore(*clip.whose.parts())
    again.see(there, {"board": [left, right], "board-2": [left, right]})
    for name, (x1, y1, x2, y2) in there.items():
        mask = again.whose.masks[name]
        assert mask.sum() == 480 and mask[y1:y2, x1:x2].all()


def test_it_goes_on_from_what_was_saved(clip: Clip) -> None:
    again = Clip()
    again.whose.restore(*clip.whose.parts())
    for each in (clip, again):
        each.see(ALL, {"board": [BOARD, OTHER_BOARD], "board-2": [BOARD], "rider": [RIDER, OTHER], "other": []})
    (values, arrays), (wanted, expected) = again.whose.parts(), clip.whose.parts()
    assert values == wanted and arrays.keys() == expected.keys()
    assert all(np.array_equal(arrays[name], expected[name]) for name in arrays)


def test_behind_a_cut_nobody_is_where_it_was(clip: Clip) -> None:
    clip.whose.forget()
    assert all(each.lost and not each.area for each in clip.whose.places.values())
    assert set(clip.whose.looks) == set(clip.whose.places) == set(ALL)
    frame = np.full((180, 320, 3), 128, np.uint8)
    frame[60:138, 200:232] = COLOURS["rider"]
    assert shown(clip.whose.view("rider", None, frame))[0] > 100, "nor is the place of another taken"
    masks = clip.see(ALL, {"rider": [OTHER], "other": [OTHER]})
    assert masks["other"].any() and not masks["rider"].any()


def test_behind_a_cut_one_is_looked_for_where_its_colours_are(clip: Clip) -> None:
    """And believed at any size: who was at the left is twice as large, at the frame's right edge."""
    there = (256, 22, 320, 178)
    frame = np.full((180, 320, 3), 128, np.uint8)
    frame[there[1] : there[3], there[0] : there[2]] = COLOURS["rider"]
    clip.whose.forget()
    assert np.allclose(shown(clip.whose.view("rider", None, frame)), (140, 0, 320, 180), atol=1)
    masks = clip.see({"rider": there}, {name: [there] if name == "rider" else [] for name in ALL})
    found = clip.whose.places["rider"]
    assert masks["rider"].sum() == found.area == 64 * 156 and found.side == 156


@pytest.mark.parametrize("middle", [(160, 90), (80, 90)])
def test_behind_a_cut_one_that_is_away_is_no_rival_anywhere(middle: tuple[int, int], clip: Clip) -> None:
    """Not in the middle of the frame either: where it was has no meaning there."""
    x, y = middle
    there = (x - 20, y - 6, x + 20, y + 6)
    clip.whose.forget()
    masks = clip.see({"board": there}, {name: [there] if name == "board" else [] for name in ALL})
    assert not masks["board"].any(), "whose it is its holder would tell"
    clip.whose.chase = replace(clip.whose.chase, held_by={})
    clip.whose.forget()
    for _ in range(3):
        masks = clip.see({"board": there}, {name: [there] if name == "board" else [] for name in ALL})
        assert masks["board"].sum() == 480 and not masks["board-2"].any()


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> SamModel:
    handle = SamModel(write_small_sam(tmp_path_factory.mktemp("sam")))
    handle.load()
    return handle


def test_a_chase_is_stock_sam_on_its_pictures(model: SamModel, monkeypatch: pytest.MonkeyPatch) -> None:
    """In windows, each by a fresh stage: every logit of the way forwards, which going back does not change."""
    ahead: dict[str, list[Array]] = {}
    view = Whose.view

    def noted(self: Whose, name: str, prompt: SamPrompt | None, frame: Array) -> Array:
        found = view(self, name, prompt, frame)
        ahead.setdefault(name, []).append(found)
        return found

    monkeypatch.setattr(Whose, "view", noted)
    clip, side = moving_clip(24), model.image_size
    prompts = {"board": (38.0, 30.0, 58.0, 42.0), "rider": (10.0, 10.0, 30.0, 60.0)}
    subjects = tuple(Subject(name, OBJECT, ObjectPrompt(box=box)) for name, box in prompts.items())
    found: dict[tuple[str, int], Any] = {}
    stage = TrackStage(TrackConfig(subjects, look="chase", chosen=None), model,
                       lambda frame, name, tracked: found.update({(name, frame): tracked.logits.clone()}))  # fmt: skip
    views: dict[str, list[Array]] = {name: [] for name in prompts}
    masks: dict[str, list[Array]] = {name: [] for name in prompts}
    for index, (start, stop) in enumerate([(0, 10), (10, 17), (17, 24)]):
        new = Span(start, stop)
        output = stage.process(
            Window(index, new, new, new, stop == 24, new.frames), Inputs({"frames": clip[start:stop]})
        )
        for name in prompts:
            views[name].append(output.arrays[f"views/track-{name}"])
            masks[name].append(output.arrays[f"masks/{name}"])
        state = stage.get_state().to_parts()
        stage = TrackStage(stage.config, model, stage._observer)
        stage.set_state(*state)
    assert not (np.concatenate(masks["board"]) & np.concatenate(masks["rider"])).any()
    for name, box in prompts.items():
        own, written = np.stack(ahead[name]), np.concatenate(views[name])
        assert len(np.unique(own[:, 0], axis=0)) > 3, "it moves"
        same = (own == written).all((1, 2))
        assert same.any() and np.concatenate(masks[name])[~same].any((1, 2)).all(), "another where going back found it"
        pictures = np.stack([glimpse(frame, view, (side, side)) for frame, view in zip(clip, own, strict=True)])
        wanted, _ = stock_logits(model.predictor, pictures, {0: seen_through(SamPrompt(box=box), own[0], side)})
        assert all(torch.equal(found[name, t], wanted[t]) for t in range(24))


@pytest.mark.slow
def test_killed_and_resumed_the_bytes_are_the_same(tmp_path: Path) -> None:
    """And the score looks through the views of the chase."""
    case, _, _ = shared_case()
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert shared_zygote().run(case.run(whole, "--track-view", "chase")).code in (0, 1)
    assert shared_zygote().run(case.run(killed, "--track-view", "chase"), fault="track.state#2").code == -9
    assert shared_zygote().run(["resume", str(killed)]).code in (0, 1)
    assert differing(results(killed), results(whole)) == []
    assert (whole / "run.zarr" / "views" / "track-object").is_dir() and "closer" not in (
        whole / "journal.jsonl"
    ).read_text()
