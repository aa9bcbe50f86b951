"""Who has been taken for whom, and where one is expected: on numbers worked out by hand."""

import math
from typing import Any

import numpy as np
import pytest

from stages.sam.mistaken import Mistaken, nearer
from stages.views.chase import Chase, Place

CHASE = Chase((320, 180), 64, {"board": "rider", "board-2": "other"})


def place(x: float, y: float, side: float = 20.0, **given: Any) -> Place:
    return Place((x, y), (side, side), side, side * side, **given)


def mistaken(**gains: dict[str, float]) -> Mistaken:
    return Mistaken(CHASE, {name.replace("_", "-"): each for name, each in gains.items()})


def test_what_is_nearer_is_counted_for_both() -> None:
    costs = {"a": {"a": 1.0, "b": 0.4}, "b": {"a": 0.5, "b": 0.7}, "c": {"a": 2.0, "c": 0.5}}
    assert [nearer(costs, "a", "b"), nearer(costs, "b", "a")] == pytest.approx([0.6 + 0.2] * 2)
    assert nearer({"c": costs["c"]}, "c", "a") == -1.5, "the other was not found"
    assert nearer(costs, "a", "c") == 0 == nearer(costs, "d", "a")


def test_a_cost_is_a_look_and_how_far_its_holder_is() -> None:
    same, half = np.array([0.5, 0.5, 0.0]), np.array([0.5, 0.0, 0.5])
    places = {"rider": place(100, 50, 40), "other": place(112, 50, 40, unseen=1)}
    looks = {"board": same, "board-2": half, "loose": same}
    # 12 px from the rider's feet, which are a quarter of the rider's side below the middle.
    costs = mistaken().costs(same, np.array([112.0, 60.0]), looks, looks, places)
    assert costs["board"] == pytest.approx(12 / 40)
    assert costs["board-2"] == pytest.approx(-2 * math.log(0.5) + 0.75), "its holder is not seen"
    assert costs["loose"] == pytest.approx(0.75), "nobody holds it"
    far = mistaken().costs(same, np.array([200.0, 60.0]), ["board"], looks, places)
    assert far == {"board": pytest.approx(0.75)}
    unlike = mistaken().costs(np.array([0.0, 0.0, 1.0]), np.array([100.0, 60.0]), ["board"], looks, places)
    assert unlike == {"board": pytest.approx(-2 * math.log(1e-3))}


def test_a_frame_is_a_quarter_of_what_is_remembered() -> None:
    found = mistaken()
    for gain in (0.8, 0.4):
        found.weigh("a", {"a": 1.0, "b": 1.0 - gain})
    assert found.gains["a"]["b"] == pytest.approx(0.25 * 0.8 * 0.75 + 0.25 * 0.4)


def test_the_surest_change_names_and_each_once() -> None:
    found = mistaken(a={"b": 0.3, "c": 0.5}, b={"a": 0.2}, c={"a": 0.4, "d": 0.2}, d={"c": 0.15})
    assert found.exchanges(["a", "b", "c", "d"], []) == [("a", "c")], "0.9; a and b 0.5, c and d 0.35"
    assert found.gains == {"b": {}, "d": {}}, "nothing is remembered of who has changed"
    found = mistaken(a={"b": 0.25, "c": 0.2}, b={"a": 0.25}, c={"d": 0.2}, d={"c": 0.15})
    assert found.exchanges(["d", "c", "b", "a"], []) == [("a", "b"), ("c", "d")]
    assert mistaken(a={"b": 0.2}, b={"a": 0.149}).exchanges(["a", "b"], []) == []
    assert mistaken(a={"b": 0.6}, b={"a": -0.3}).exchanges(["a", "b"], []) == [], "of two together"
    lost = mistaken(a={"b": 0.35}, b={"a": -9.0})
    assert lost.exchanges(["a"], []) == [] and lost.exchanges(["a"], ["b"]) == [("a", "b")]


def test_of_two_at_one_place_neither_is_clear() -> None:
    rivals = {"board": ["board-2"], "board-2": ["board"], "loose": []}
    found = mistaken()
    for apart, unclear in ((4.9, {"board", "board-2"}), (5.1, set())):
        places = {"board": place(50, 50), "board-2": place(50 + apart, 50), "loose": place(50, 50)}
        assert found.unclear(places, rivals, places) == unclear, "a quarter of its side"
    # One that is not seen may be by who holds it, and for five frames where it was: half a side from there.
    near = {"board": place(50, 50), "other": place(50, 45, 20)}
    for unseen, at, unclear in ((5, 59.9, {"board"}), (5, 60.1, set()), (6, 50, set())):
        places = {**near, "board-2": place(at, 50, unseen=unseen), "other": place(200, 50, 20)}
        assert found.unclear(["board"], rivals, places) == unclear
    places = {**near, "board-2": place(300, 50, unseen=40)}
    assert found.unclear(["board"], rivals, places) == {"board"}, "its holder is here"
    places = {**near, "board-2": place(50, 50, unseen=40), "other": place(200, 50, unseen=1)}
    assert found.unclear(["board"], rivals, places) == {"board"}, "nothing but where it was is known of it"


def test_one_that_is_not_seen_goes_on_more_slowly_and_waits_at_the_edge() -> None:
    first = place(300, 90, speed=(10.0, -2.0), unseen=1)
    second = first.missed((320, 180))
    assert (
        second.middle == pytest.approx((310, 88)) and second.speed == pytest.approx((8.0, -1.6)) and second.unseen == 2
    )
    third = second.missed((320, 180)).missed((320, 180))
    assert third.middle == pytest.approx((319, 85.12)) and third.lost and not second.lost
    assert (third.size, third.side, third.area) == ((20, 20), 20, 400)
    assert place(5, 5, speed=(-9, -9)).missed((320, 180)).middle == (0, 0)


def test_its_size_and_motion_are_those_of_lately() -> None:
    box = np.array([60.0, 40.0, 70.0, 50.0])
    seen = place(60, 45, speed=(2.0, 4.0)).saw(box, 390)
    assert (*seen.middle, *seen.size, *seen.speed) == pytest.approx((65, 45, 10, 10, 3.5, 2)), "half of each"
    assert seen.side == pytest.approx(19.4) and seen.area == pytest.approx(399.8) and seen.unseen == 0
    part = place(60, 45).saw(box, 199)
    assert part.side == 20 and part.area == 400, "a part says nothing of its size"
    anew = place(60, 45, unseen=3, speed=(2.0, 4.0)).saw(box, 300)
    assert anew.side == 16 and not any(anew.speed) and anew.area == pytest.approx(398)
    assert place(60, 45, unseen=2).saw(box, 300).side == pytest.approx(19.4), "it was not lost yet"
    assert Place((0, 0), (4, 2), 4).saw(box, 77).area == 77
    assert np.allclose(place(60, 45, speed=(2.0, 4.0)).box, (52, 39, 72, 59))


def test_it_fills_a_box_of_its_length_and_area() -> None:
    assert Place((0, 0), (40, 10), 40, 200).extent == (40, 5) and Place((0, 0), (10, 40), 40, 200).extent == (5, 40)
    assert Place((0, 0), (40, 10), 40).extent == (10, 10), "nothing is known of it"
    anywhere = Place.unknown((320, 180), 9)
    assert (anywhere.middle, anywhere.size, anywhere.side, anywhere.unseen) == ((160, 90), (0, 0), 90, 9)


@pytest.mark.parametrize(("frame", "middles"), [
    ((320, 180), [(89.5, 90), (229.5, 90)]), ((180, 320), [(90, 89.5), (90, 229.5)]), ((90, 90), [(44.5, 45)]),
    ((400, 100), [(49.5, 50), (149.5, 50), (249.5, 50), (349.5, 50)]),
])  # fmt: skip
def test_the_squares_hold_the_frame(frame: tuple[int, int], middles: list[tuple[float, float]]) -> None:
    assert Chase(frame, 64)._squares() == middles


def test_it_is_expected_where_it_was_and_by_who_is_seen_to_hold_it() -> None:
    places = {"board": place(10, 20), "rider": place(100, 50, 40)}
    assert CHASE.expected("board", places).tolist() == [[10, 20], [100, 60]]
    places["rider"] = place(100, 50, 40, unseen=1)
    assert CHASE.expected("board", places).tolist() == [[10, 20]]
    assert CHASE.expected("rider", places).tolist() == [[100, 50]]
