"""Each metric of the interaction on numbers that are worked out by hand, and the table that promises their bounds."""

import math
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from stages.base import Array
from stages.fidelity.kinds.presence import second_likeness
from stages.fidelity.metric import View
from stages.fidelity.registry import metrics, names_of
from stages.fidelity.sight import COLUMNS, Sight, nothing_seen, sight_of, turned
from stages.fidelity.totals import contact_of, flights, flips, presence_of, turned_degrees
from stages.poses.skeleton import LEFT_FOOT

ROOT = Path(__file__).parent.parent
NOTHING = np.zeros((60, 90), bool)
POSED = {"contact", "gap", "offset", "relative_speed", "joint_speed", "joints"}


def seen(**columns: float) -> Sight:
    """A sight of these numbers; all others are NaN."""
    sight = nothing_seen()
    for name, value in columns.items():
        sight.row[COLUMNS.index(name)] = value
    return sight


def view(
    now: Sight,
    before: Sight | None = None,
    mask: Array = NOTHING,
    keypoints: Array | None = None,
) -> View:
    points = np.zeros((133, 3), np.float32) if keypoints is None else keypoints
    return View(mask, NOTHING, points, now, before or nothing_seen())


def value(name: str, source: View, result: View) -> float:
    return metrics()[name].value(source, result)


def pixels(count: int) -> Array:
    mask = NOTHING.copy()
    mask.ravel()[:count] = True
    return mask


def rows(**columns: Sequence[float]) -> Array:
    """[T, K] of these columns; all others are NaN."""
    found = np.full((len(next(iter(columns.values()))), len(COLUMNS)), np.nan)
    for name, values in columns.items():
        found[:, COLUMNS.index(name)] = values
    return found


def test_the_page_promises_each_metric_as_it_is() -> None:
    page = (ROOT / "docs/fidelity.md").read_text(encoding="utf-8")
    line = re.compile(r"^\| `(\w+)` \| (object|person) \| ([\w /]+) \| (high|low) \| ([\d.]+)(?:,[^|]*)? \|", re.M)
    table = {name: (of, good == "high", float(bound)) for name, of, _, good, bound in line.findall(page)}
    assert table == {name: (each.subject, each.high, each.bound) for name, each in metrics().items()}
    assert {name for name, each in metrics().items() if each.poses} == POSED


def test_contact_is_the_share_of_feet_that_are_told_in_both() -> None:
    source = view(seen(left_contact=1, right_contact=0))
    for left, right, share in ((1, 0, 1.0), (0, 0, 0.5), (0, 1, 0.0), (math.nan, 0, 1.0), (math.nan, 1, 0.0)):
        assert value("contact", source, view(seen(left_contact=left, right_contact=right))) == share
        assert value("contact", view(seen(left_contact=left, right_contact=right)), source) == share
    assert math.isnan(value("contact", source, view(seen())))


def test_gap_is_that_of_the_foot_that_differs_more() -> None:
    source = view(seen(left_gap=0.0, right_gap=0.1))
    assert value("gap", source, view(seen(left_gap=0.25, right_gap=0.05))) == pytest.approx(0.25)
    assert value("gap", source, view(seen(left_gap=0.0, right_gap=0.4))) == pytest.approx(0.3)
    assert value("gap", source, view(seen(right_gap=0.4))) == pytest.approx(0.3)
    away, farther = view(seen(left_gap=1.5, right_gap=0.9)), view(seen(left_gap=4.0, right_gap=1.2))
    assert value("gap", away, farther) == pytest.approx(0.1), "beyond an object length a foot is away, however far"
    assert math.isnan(value("gap", source, view(seen())))


def test_places_and_speeds_are_counted_from_between_the_hips() -> None:
    def at(seconds: float, x: float, y: float, hip_x: float, hip_y: float) -> Sight:
        return seen(seconds=seconds, x=x, y=y, hip_x=hip_x, hip_y=hip_y, scale=50.0)

    first, second = at(0.0, 100, 80, 90, 20), at(0.5, 110, 85, 95, 22)
    source = view(second, first)
    assert value("offset", source, view(at(0.5, 117, 81, 102, 18), first)) == pytest.approx(0), "both have moved"
    assert value("offset", source, view(at(0.5, 110, 85, 98, 26), first)) == pytest.approx(5 / 50), "the hips have"
    assert value("offset", source, view(at(0.5, 116, 93, 95, 22), first)) == pytest.approx(10 / 50), "the object has"
    # 5 and 3 px further from the hips in half a second; the other stays where it is, from them.
    still = view(at(0.5, 105, 82, 95, 22), first)
    assert value("relative_speed", source, still) == pytest.approx(math.hypot(5, 3) / 0.5 / 50)
    assert value("relative_speed", source, source) == 0
    assert value("relative_speed", source, view(second, at(0.0, 95, 80, 90, 20))) == pytest.approx(5 / 0.5 / 50)
    for before in (at(0.5, 100, 80, 95, 22), at(0.6, 100, 80, 95, 22)):
        assert math.isnan(value("relative_speed", source, view(second, before))), "no time has gone by"


def test_what_has_no_direction_is_the_same_after_half_a_turn() -> None:
    assert [turned(degrees) for degrees in (-100, -90, 0, 89, 90, 100, 180, 270)] == [80, -90, 0, 89, -90, -80, 0, -90]

    def lying(angle: float, before: float, width: float = 10.0) -> View:
        now, last = (seen(angle=each, width=width, length=40.0) for each in (angle, before))
        return view(now, last)

    assert value("angle", lying(80, 0), lying(-80, 0)) == pytest.approx(20)
    assert value("angle", lying(30, 0, 30), lying(10, 0)) == pytest.approx(20)
    assert math.isnan(value("angle", lying(30, 0, 30.1), lying(10, 0))), "seen nearly round it has no direction"
    assert math.isnan(value("angle", lying(30, 0), lying(10, 0, 30.1)))
    # The source turns by 10 degrees, over the vertical; the result by 25 onwards, by 10 likewise, and not at all.
    source = lying(-85, 85)
    for angle, before, apart in ((45, 20, 15), (40, 30, 0), (30, 30, 10), (85, -85, 20)):
        assert value("rotation", source, lying(angle, before)) == pytest.approx(apart)


def test_lost_is_what_60_pixels_of_the_source_show_and_fewer_of_the_result() -> None:
    whole, sliver = view(seen(), mask=pixels(60)), view(seen(), mask=pixels(59))
    assert (value("lost", whole, sliver), value("lost", whole, whole)) == (1.0, 0.0)
    assert math.isnan(value("lost", sliver, sliver)) and math.isnan(value("lost", sliver, whole))


@pytest.mark.parametrize(
    ("down", "right", "level", "likeness"),
    [(0, 60, 200, 1), (0, 60, 168, 0.5), (0, -60, 184, 0.75), (12, 0, 168, 0.5), (-12, 4, 168, 0.5), (0, 120, 200, 0)],
)  # fmt: skip
def test_a_second_one_is_as_much_like_it_as_its_colours_are(down: int, right: int, level: int, likeness: float) -> None:
    mask, picture = np.zeros((90, 320), bool), np.full((90, 320, 3), 100, np.uint8)
    mask[40:50, 130:160] = True
    picture[40 + down : 50 + down, 130 + right : 160 + right] = level
    picture[mask] = 200
    assert second_likeness(picture, mask) == pytest.approx(likeness, abs=1e-4)


def test_joints_of_body_and_feet_count_and_four_are_needed() -> None:
    source, result = np.zeros((133, 3), np.float32), np.zeros((133, 3), np.float32)
    source[[5, 6, 11, 20, 30, 120], 2] = 1.0
    result[[5, 6, 11, 20, 30, 120], 2] = 1.0
    result[[5, 6, 11, 20], 0] = (10, 20, 30, 0)
    result[[30, 120], 0] = 500  # of the face and of a hand
    torso = seen(torso=30.0)
    assert value("joints", view(torso, keypoints=source), view(torso, keypoints=result)) == pytest.approx(15 / 30)
    result[20, 2] = 0.29
    assert math.isnan(value("joints", view(torso, keypoints=source), view(torso, keypoints=result)))
    result[20, 2] = 0.3
    assert value("joints", view(torso, keypoints=source), view(torso, keypoints=result)) == pytest.approx(15 / 30)


def test_of_a_foot_two_points_are_needed() -> None:
    board, keypoints = np.zeros((90, 160), bool), np.zeros((133, 3), np.float32)
    board[50:60, 30:80] = True
    keypoints[LEFT_FOOT] = (50.0, 48.0, 0.29)
    for points, told in ((1, False), (2, True), (3, True)):
        keypoints[LEFT_FOOT.start : LEFT_FOOT.start + points, 2] = 0.3
        sight = sight_of(nothing_seen(), board, keypoints, 0.0)
        assert [math.isnan(sight[f"left_{name}"]) for name in ("x", "gap", "along", "contact")] == [not told] * 4
    assert (sight["left_along"], sight["left_above"]) == pytest.approx((-4.5 / 50, -6.5 / 50)), (
        "from the board's centre"
    )
    assert sight["left_gap"] == pytest.approx(2 / 50)


def test_an_object_keeps_its_longest_length_and_two_are_not_one() -> None:
    def long(length: int, before: Sight) -> Sight:
        mask = np.zeros((60, 320), bool)
        mask[20:30, 10 : 10 + length] = True
        return sight_of(before, mask, np.zeros((133, 3), np.float32), 0.0)

    first = long(100, nothing_seen())
    assert (first["scale"], first["length"], first["width"], first["angle"]) == pytest.approx((100, 100, 10, 0))
    assert long(130, first)["scale"] == pytest.approx(130), "it comes nearer"
    assert long(131, first)["scale"] == pytest.approx(100), "two things"
    assert long(40, first)["scale"] == pytest.approx(99.5), "seen end on"
    assert sight_of(first, np.zeros((60, 320), bool), np.zeros((133, 3), np.float32), 0.0)["scale"] == 100


def test_contact_is_agreed_on_by_precision_and_recall() -> None:
    none = math.nan
    source = rows(left_contact=[1, 1, 1, 1, 0, 0, none, 1], right_contact=[none] * 8)
    result = rows(left_contact=[1, 1, none, 0, 0, 1, 1, 0], right_contact=[1] * 8)
    found = contact_of(source, result)
    # Told in both: 0, 1, 3, 4, 5, 7. On: of the source 0, 1, 3, 7, of the result 0, 1, 5.
    assert (found.precision, found.recall, found.f1) == pytest.approx((2 / 3, 2 / 4, 4 / 7))
    assert (found.off_precision, found.off_recall, found.off_f1) == pytest.approx((1 / 3, 1 / 2, 2 / 5))
    nobody = contact_of(source, rows(left_contact=[none] * 8, right_contact=[none] * 8))
    assert nobody.precision is nobody.recall is nobody.f1 is nobody.timing_frames is None
    assert (nobody.changes, nobody.missed) == (0, 0), "what the result does not tell is not missed"


@pytest.mark.parametrize(("told", "missed"), [((19, 20), 1), ((19,), 0), ((20,), 0)])
def test_a_change_is_missed_where_the_result_is_told_on_both_frames(told: tuple[int, ...], missed: int) -> None:
    off = [math.nan] * 40
    source = rows(left_contact=[0.0] * 20 + [1.0] * 20, right_contact=off)
    result = rows(left_contact=off, right_contact=off)
    result[list(told), COLUMNS.index("left_contact")] = 0.0
    found = contact_of(source, result)
    assert (found.missed, found.changes) == (missed, missed)


def test_timing_is_mean_bias_and_worst() -> None:
    source = rows(left_contact=[0] * 20 + [1] * 20 + [0] * 20, right_contact=[math.nan] * 60)
    result = rows(left_contact=[0] * 17 + [1] * 28 + [0] * 15, right_contact=[math.nan] * 60)
    found = contact_of(source, result)
    assert (found.timing_frames, found.timing_bias_frames, found.timing_worst_frames) == (4.0, 1.0, 5)
    found = contact_of(result, source)
    assert (found.timing_frames, found.timing_bias_frames, found.timing_worst_frames) == (4.0, -1.0, -5)


def test_presence_is_counted_by_the_metrics_own_bounds() -> None:
    values = np.full((5, len(names_of("object"))), np.nan)
    for name, each in {
        "lost": [0, 1, 1, math.nan, 1],
        "double": [0.35, 0.36, 0.9, 1.0, math.nan],
        "clipping": [0.0, 0.1, math.nan, 0.2, math.nan],
    }.items():
        values[:, names_of("object").index(name)] = each
    found = presence_of(values)
    assert (found.lost_frames, found.double_frames) == (3, 3)
    assert (found.clipping_mean, found.clipping_worst) == pytest.approx((0.1, 0.2))
    nothing = presence_of(np.full_like(values, np.nan))
    assert (nothing.lost_frames, nothing.clipping_mean, nothing.clipping_worst) == (0, None, None)


def test_flips_are_told_by_the_edge_and_turns_by_the_angle() -> None:
    # The widest it lately had falls by 1 % a frame. On edge at 70 (below 70.57), not at 80.5 (above 79.88), at 66.5.
    widths = [100, 72, 70, 81, 70, 80.5, 68.5, 66.5, math.nan, 60]
    assert flips(rows(width=widths, scale=[100.0] * 10)) == 1.0
    assert flips(rows(width=[100, 73] * 5, scale=[100.0] * 10)) == 0
    assert turned_degrees(rows(angle=[80, -80, math.nan, 10, 30, 25])) == pytest.approx(20 + 20 + 5)


@pytest.mark.parametrize(
    ("name", "column", "length"),
    [
        ("speed", "object_speed", "scale"),
        ("person_speed", "person_speed", "torso"),
        ("joint_speed", "joint_speed", "torso"),
    ],
)
def test_a_speed_is_compared_where_the_source_goes_half_its_length_a_second(
    name: str, column: str, length: str
) -> None:
    source, result = view(seen(**{column: 25.0, length: 50.0})), view(seen(**{column: 20.0, length: 80.0}))
    assert value(name, source, result) == pytest.approx(0.8)
    assert math.isnan(value(name, view(seen(**{column: 24.9, length: 50.0})), result))
    assert math.isnan(value(name, source, view(seen()))) and math.isnan(value(name, view(seen()), result))


def test_flights_are_judged_in_the_picture_that_the_camera_does_not_move() -> None:
    """A parabola of the park, by a camera that pans and shakes: none in the picture, one where `motion` is known."""
    rng, frames = np.random.default_rng(5), 30
    camera = [np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])]
    motion = np.zeros((frames, 2, 3))
    motion[0] = camera[0]
    for frame in range(1, frames):
        turn = rng.uniform(-0.02, 0.02)
        motion[frame] = [[math.cos(turn), -math.sin(turn), rng.uniform(-6, 6)],
                         [math.sin(turn), math.cos(turn), rng.uniform(-6, 6)]]  # fmt: skip
        rest = motion[frame][:, :2] @ camera[-1]
        rest[:, 2] += motion[frame][:, 2]
        camera.append(rest)
    seconds = np.arange(frames) / 24 + 7.5
    park = np.stack([40 + 90 * seconds, 300 - 200 * seconds + 400 * (seconds - 8) ** 2, np.ones(frames)])
    shown = np.array([camera[frame] @ park[:, frame] for frame in range(frames)])
    on = np.where((np.arange(frames) >= 5) & (np.arange(frames) < 25), 0.0, 1.0).tolist()
    where = {
        "x": shown[:, 0].tolist(),
        "y": shown[:, 1].tolist(),
        "hip_x": shown[:, 0].tolist(),
        "hip_y": shown[:, 1].tolist(),
    }
    source = rows(seconds=seconds.tolist(), left_contact=on, right_contact=on, **where)
    result = source.copy()
    result[15, COLUMNS.index("y")] += 20.0
    (flight,) = flights(source, result, None, motion, [(0, frames)])
    assert (flight.start, flight.stop) == (5, 25)
    assert max(flight.source_object_px or 1, flight.source_person_px or 1, flight.result_person_px or 1) < 1e-6
    assert flight.result_object_px is not None and 3 < flight.result_object_px < 5, "20 px on one frame of 20"
    (filmed,) = flights(source, source, None, None, [(0, frames)])
    assert filmed.source_object_px is not None and filmed.source_object_px > 2
    source[10:25, COLUMNS.index("x")] = math.nan
    (flight,) = flights(source, source, None, motion, [(0, frames)])
    assert flight.source_object_px is None and flight.source_person_px is not None, "seen on 5 frames"
    short = flights(source, source, np.arange(frames) >= 10, motion, [(0, frames)])
    assert short == [] and flights(source, source, np.arange(frames) >= 11, motion, [(0, frames)])[0].stop == 11


def test_a_flight_is_straight_along_and_bends_once_down() -> None:
    """What bends more than that is no flight under gravity."""
    seconds = np.arange(24) / 24
    on = [0.0] * 24

    def residual(x: Array, y: Array) -> float:
        sights = rows(seconds=seconds.tolist(), x=x.tolist(), y=y.tolist(), left_contact=on, right_contact=on)
        (flight,) = flights(sights, sights, None, None, [(0, 24)])
        assert flight.source_object_px is not None
        return flight.source_object_px

    assert residual(100 * seconds, 400 * seconds**2) < 1e-6
    assert residual(400 * seconds**2, 100 * seconds) > 10
    assert residual(100 * seconds, 400 * seconds**3) > 5
