"""What is measured of the interaction: sights, contact, metrics, on pictures whose truth the renderer knows."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pytest

from stages.base import Array
from stages.fidelity import totals
from stages.fidelity.metric import View
from stages.fidelity.registry import array_of, metrics, names_of
from stages.fidelity.sight import COLUMNS, Sight, nothing_seen, sight_of, turned
from stages.fidelity.totals import changes, column, contact_of, flips, interaction
from stages.poses.smooth import no_filter, one_euro
from stream.demo import DemoConfig, Scene
from stream.demo.truth import Truth

CLIP = DemoConfig(frames=220, width=320, height=180, seed=3, tricks=("ollie", "kickflip", "push", "bail"))


@dataclass(frozen=True)
class Seen:
    """A clip's truth, and the sights of what a tracker would have found."""

    truths: Sequence[Truth]
    sights: Sequence[Sight]


def keypoints_of(truth: Truth) -> Array:
    skater = truth.skaters[0]
    return np.column_stack([skater.joints, skater.joints_visible]).astype(np.float32) * skater.joints_visible[:, None]


@pytest.fixture(scope="module")
def seen() -> Seen:
    scene = Scene(CLIP)
    truths = [scene.truth(frame) for frame in range(CLIP.frames)]
    rng, moving, sights = np.random.default_rng(0), no_filter(133), [nothing_seen()]
    for truth in truths:
        keypoints = keypoints_of(truth)
        keypoints[:, :2] += rng.normal(0, 0.4, (133, 2)) * (keypoints[:, 2:] > 0)
        moving, keypoints = one_euro(moving, keypoints, truth.frame / CLIP.fps, 100.0)
        masks = truth.boards[0].visible, truth.skaters[0].visible
        sights.append(sight_of(sights[-1], masks[0], keypoints, truth.frame / CLIP.fps, masks[1]))
    return Seen(truths, sights[1:])


def test_a_sight_is_where_the_renderer_has_it(seen: Seen) -> None:
    away = []
    for truth, sight in zip(seen.truths, seen.sights, strict=True):
        board = truth.boards[0]
        if np.count_nonzero(board.visible) > 250 and abs(math.cos(board.yaw)) > 0.9:
            away.append(
                (
                    math.hypot(sight["x"] - board.x, sight["y"] - board.y),
                    turned(sight["angle"] - math.degrees(board.angle)),
                )
            )
    assert len(away) > 100
    assert np.median([distance for distance, _ in away]) < 2.0, "pixels"
    assert np.median(np.abs([angle for _, angle in away])) < 3.0, "degrees"
    assert len(COLUMNS) == len(seen.sights[0].row)


def test_contact_of_foot_and_board_is_the_renderers(seen: Seen) -> None:
    """F1 of contact at least 0.95 and of no contact at least 0.85."""
    wanted, found = [], []
    for truth, sight in zip(seen.truths, seen.sights, strict=True):
        for index, foot in enumerate(("left", "right")):
            if not math.isnan(sight[f"{foot}_contact"]):
                wanted.append(truth.skaters[0].on_board[index])
                found.append(bool(sight[f"{foot}_contact"]))
    on, off = np.array(wanted), ~np.array(wanted)
    assert on.sum() > 100 and off.sum() > 60
    assert _f1(on, np.array(found)) >= 0.95
    assert _f1(off, ~np.array(found)) >= 0.85


def _f1(wanted: Array, found: Array) -> float:
    return float(2 * (wanted & found).sum() / (wanted.sum() + found.sum()))


def view_of(truth: Truth, before: Sight, moved: tuple[int, int] = (0, 0), board: Array | None = None) -> View:
    """A frame whose board is moved by so many pixels."""
    mask = truth.boards[0].visible if board is None else board
    mask = np.roll(mask, moved, axis=(1, 0))
    sight = sight_of(before, mask, keypoints_of(truth), truth.frame / CLIP.fps, truth.skaters[0].visible)
    picture = np.where(mask[..., None], np.array([200, 90, 30], np.uint8), truth.plate)
    return View(mask, truth.skaters[0].visible, keypoints_of(truth), sight, before, picture)


def test_metrics_are_nothing_where_nothing_differs_and_as_large_as_what_does(seen: Seen) -> None:
    truth, before = seen.truths[5], seen.sights[4]
    same, riding = view_of(truth, before), view_of(seen.truths[30], seen.sights[29])
    for metric in metrics().values():
        values = [value for view in (same, riding) if not math.isnan(value := metric.value(view, view))]
        assert values and values == pytest.approx([1.0 if metric.high else 0.0] * len(values)), metric.name
    moved = view_of(truth, before, (12, 0))
    scale = same.sight["scale"]
    assert metrics()["offset"].value(same, moved) == pytest.approx(12 / scale, rel=0.05)
    assert metrics()["relative_speed"].value(same, moved) == pytest.approx(12 * CLIP.fps / scale, rel=0.05)
    assert metrics()["angle"].value(same, moved) == pytest.approx(0.0, abs=0.5)
    gone = view_of(truth, before, board=np.zeros_like(same.object_mask))
    assert metrics()["lost"].value(same, gone) == 1.0
    assert math.isnan(metrics()["offset"].value(same, gone)), "what is not there is nowhere"
    shoved = replace(same, keypoints=same.keypoints + np.array([0.2 * same.sight["torso"], 0, 0], np.float32))
    assert metrics()["joints"].value(same, shoved) == pytest.approx(0.2, rel=0.02)


def test_a_second_board_is_found(seen: Seen) -> None:
    truth, before = seen.truths[5], seen.sights[4]
    same = view_of(truth, before)
    x = np.flatnonzero(same.object_mask.any(axis=0))
    step = int(x[-1] - x[0] + 4) * (1 if x.mean() < CLIP.width / 2 else -1)
    other = np.roll(same.object_mask, step, axis=1)
    assert same.picture is not None
    two = replace(same, picture=np.where(other[..., None], np.roll(same.picture, step, axis=1), same.picture))
    assert metrics()["double"].value(same, two) > metrics()["double"].bound
    assert metrics()["double"].value(same, same) == 0.0


def test_every_metric_has_a_name_a_bound_and_a_place() -> None:
    for name, metric in metrics().items():
        assert name in names_of(metric.subject) and array_of(name) == f"metrics/{metric.subject}"
        assert metric.text and math.isfinite(metric.bound)


def test_a_foot_that_comes_off_three_frames_early_is_found_with_its_timing(seen: Seen) -> None:
    """The rider, not the board, is three frames ahead around a take-off: timing right to one frame."""
    sights = [nothing_seen()]
    offs = [
        frame for frame in range(1, CLIP.frames)
        if all(seen.truths[frame - 1].skaters[0].on_board) and not any(seen.truths[frame].skaters[0].on_board)
    ]  # fmt: skip
    take_off = offs[0]
    moving = no_filter(133)
    for frame, truth in enumerate(seen.truths):
        ahead = min(frame + 3, take_off + 3) if take_off - 12 <= frame <= take_off + 3 else frame
        keypoints = keypoints_of(seen.truths[ahead])
        moving, keypoints = one_euro(moving, keypoints, frame / CLIP.fps, 100.0)
        sights.append(sight_of(sights[-1], truth.boards[0].visible, keypoints, frame / CLIP.fps))
    source, result = (np.array([sight.row for sight in each]) for each in (seen.sights, sights[1:]))
    for foot in ("left", "right"):
        on, early = (changes(column(rows, f"{foot}_contact")) for rows in (source, result))
        was = min((frame for frame, on_now in on if not on_now), key=lambda frame: abs(frame - take_off))
        now = min((frame for frame, on_now in early if not on_now), key=lambda frame: abs(frame - take_off + 3))
        assert abs(was - take_off) <= 1 and abs((was - now) - 3) <= 1, (foot, take_off, was, now)


def test_a_foot_that_is_said_to_be_miles_away_takes_no_memory_for_it() -> None:
    board, keypoints = np.zeros((90, 160), bool), np.zeros((133, 3), np.float32)
    board[50:60, 30:80] = True
    keypoints[17:20], keypoints[20:23] = (1e9, -1e9, 1.0), (50.0, 52.0, 1.0)
    sight = sight_of(nothing_seen(), board, keypoints, 0.0)
    assert sight["left_gap"] > 1.0 and sight["left_contact"] == 0.0 and sight["right_gap"] == 0.0


def test_contact_of_a_long_clip_is_looked_through_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """An hour has thousands of changes: each is not looked for among all of the other picture's anew."""
    looked: list[int] = []

    def counted(contact: Array) -> list[tuple[int, bool]]:
        looked.append(len(contact))
        return changes(contact)

    monkeypatch.setattr(totals, "changes", counted)
    source = np.zeros((200, len(COLUMNS)))
    for foot in ("left", "right"):
        source[:, COLUMNS.index(f"{foot}_contact")] = np.arange(200) // 20 % 2
    late = np.concatenate([source[:8], source[:-8]])
    assert contact_of(source, late).timing_frames == 8.0 and looked == [200] * 4
    late = np.concatenate([source[:9], source[:-9]])
    assert contact_of(source, late).missed == 18


def test_what_lies_on_either_side_of_a_cut_is_no_change_turn_or_flight() -> None:
    source, nothing = np.full((24, len(COLUMNS)), np.nan), np.full((24, len(names_of("object"))), np.nan)
    source[:, COLUMNS.index("seconds")] = np.arange(24) / 24
    for name in ("x", "y", "hip_x", "hip_y"):
        source[:, COLUMNS.index(name)] = np.where(np.arange(24) < 12, 10.0, 300.0)
    source[:, COLUMNS.index("angle")] = np.where(np.arange(24) < 12, 0.0, 60.0)
    source[:, COLUMNS.index("scale")] = 100.0
    source[:, COLUMNS.index("width")] = np.where(np.arange(24) < 12, 30.0, 10.0)
    source[:, COLUMNS.index("left_contact")] = source[:, COLUMNS.index("right_contact")] = 0.0
    one, two = (interaction(source, source, nothing, shots=shots) for shots in ((), ((0, 12), (12, 24))))
    assert one.source_turned_degrees == 60 and one.source_flips == 0.5 and [each.stop for each in one.flights] == [24]
    assert two.source_turned_degrees == two.result_turned_degrees == two.source_flips == two.result_flips == 0
    assert [(each.start, each.stop) for each in two.flights] == [(0, 12), (12, 24)]
    assert all((each.source_object_px or 0.0) < 1e-6 for each in two.flights)
    for foot in ("left", "right"):
        source[12:, COLUMNS.index(f"{foot}_contact")] = 1.0
    one, two = (interaction(source, source, nothing, shots=shots) for shots in ((), ((0, 12), (12, 24))))
    assert one.contact.changes == 2 and two.contact.changes == 0


def test_totals_say_what_was_done_to_them(seen: Seen) -> None:
    source = np.array([sight.row for sight in seen.sights])
    same = contact_of(source, source)
    assert same.f1 == same.off_f1 == 1.0 and same.missed == 0 and same.timing_frames == 0.0 and same.changes > 6
    late = source.copy()
    for foot in ("left", "right"):
        late[2:, COLUMNS.index(f"{foot}_contact")] = source[:-2, COLUMNS.index(f"{foot}_contact")]
    assert contact_of(source, late).timing_bias_frames == pytest.approx(2.0, abs=0.5)
    kicks = sum(truth.skaters[0].action == "kickflip" for truth in seen.truths)
    assert kicks and flips(source) >= 1.0
    straight, nothing = source.copy(), np.full((len(source), len(names_of("object"))), np.nan)
    straight[:, COLUMNS.index("x")], straight[:, COLUMNS.index("y")] = 7 * source[:, 0], 400 * (source[:, 0] - 1) ** 2
    assert all(
        item.source_object_px == pytest.approx(0.0, abs=1e-6)
        for item in interaction(straight, straight, nothing).flights
    )
    assert interaction(straight, straight, nothing, np.ones(len(straight), bool)).flights == []
