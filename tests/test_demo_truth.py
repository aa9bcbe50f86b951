"""The renderer's truth against itself: flight, contact, motion, masks; its export."""

import json
import math
from functools import cache
from pathlib import Path

import cv2
import numpy as np
import pytest

from storage.errors import UsageError
from stream.demo import DemoConfig, Scene, Truth
from stream.demo.motion import ANKLE_ABOVE_DECK, Script, Timeline
from stream.demo.puppet import ANCHOR_JOINTS, Array, Proportions, joints_from_anchors
from stream.demo.tricks import GRAVITY, TRICKS, bail_flights, grind_flights, jump_flight
from stream.demo.truth_files import write_truth

FPS = 24
EVERY_TRICK = (*TRICKS, "bail")


def _travel(seconds: float) -> float:
    return 170.0 * seconds + 9.0 * math.sin(0.5 * seconds)


@cache
def _timeline(kind: str) -> Timeline:
    return Timeline(5, Proportions(), 640.0, script=Script(given=(kind,)), ground=_travel)


def _flights(timeline: Timeline, kind: str) -> list[tuple[float, float, bool]]:
    """Start and end of the flights of the second action, and whether the rider (else also the board) flies."""
    action = timeline.block(0)[1]
    flights = {"grind": grind_flights, "bail": bail_flights}.get(kind, lambda a: (jump_flight(a),))(action)
    return [(action.start + f.start, action.start + f.end, kind == "bail") for f in flights]


@pytest.mark.parametrize("kind", ["ollie", "kickflip", "heelflip", "shove-it", "grind", "bail"])
def test_flight_has_one_constant_gravity(kind: str) -> None:
    timeline = _timeline(kind)
    for start, end, alone in _flights(timeline, kind):
        at = np.linspace(start + 1e-3, end - 1e-3, 40)
        moments = [timeline.moment(s) for s in at]
        hips = np.array([m.anchors[[ANCHOR_JOINTS.index(11), ANCHOR_JOINTS.index(12)], 1].mean() for m in moments])
        ways = [hips] if alone else [hips, np.array([m.board.y for m in moments])]
        for way in ways:
            pull = np.diff(way, 2) / (at[1] - at[0]) ** 2
            assert np.abs(pull - GRAVITY).max() <= 0.05 * GRAVITY, kind


def test_out_of_flight_board_and_rider_are_carried() -> None:
    for kind in EVERY_TRICK:
        timeline = _timeline(kind)
        for seconds in np.arange(0.0, 6.0, 0.07):
            control = timeline.moment(seconds).controls
            carried = any(control.on_board) and control.support != "air"
            assert control.rider_airborne == (not any(control.on_ground) and not carried), (kind, seconds)


def _sole(joints: Array, foot: int, tilt: float) -> Array:
    """The point of a foot that stands on the deck: below the ankle, along the deck's normal."""
    return np.asarray(joints[15 + foot] + ANKLE_ABOVE_DECK * np.array([-math.sin(tilt), math.cos(tilt)]))


@pytest.mark.parametrize("kind", EVERY_TRICK)
def test_a_foot_in_contact_stands_on_the_deck_and_does_not_slip(kind: str) -> None:
    timeline = _timeline(kind)
    last: dict[int, float] = {}
    stood = 0
    for seconds in np.arange(0.0, 8.0, 1 / 60):
        moment = timeline.moment(seconds)
        board, joints = moment.board, joints_from_anchors(moment.anchors)
        along = np.array([math.cos(board.pitch), math.sin(board.pitch)])
        normal = np.array([-along[1], along[0]])
        for foot in (0, 1):
            if not moment.controls.on_board[foot]:
                last.pop(foot, None)
                continue
            offset = _sole(joints, foot, board.pitch) - (board.x, board.y)
            assert abs(offset @ normal) <= 1.0  # on the line of the deck
            assert abs(offset @ along) <= 61.0  # and on it
            assert abs(offset @ along - last.get(foot, offset @ along)) < 0.05
            last[foot], stood = float(offset @ along), stood + 1
    assert stood > (60 if kind == "bail" else 300)


@pytest.mark.parametrize("kind", ["push", "bail", "run"])
def test_a_foot_on_the_ground_keeps_its_spot(kind: str) -> None:
    script = Script(rides=False) if kind == "run" else Script(given=(kind,))
    timeline = Timeline(5, Proportions(), 640.0, script=script, ground=_travel)
    last: dict[int, Array] = {}
    stood = 0
    for seconds in np.arange(0.0, 8.0, 1 / 60):
        moment = timeline.moment(seconds)
        joints = joints_from_anchors(moment.anchors)
        for foot in (0, 1):
            if not moment.controls.on_ground[foot]:
                last.pop(foot, None)
                continue
            spot = joints[15 + foot] + [_travel(seconds), 0.0]
            assert abs(spot[1] - 307.0) < 1e-6
            assert np.abs(spot - last.get(foot, spot)).max() < 0.1
            last[foot], stood = spot, stood + 1
    assert stood > 40


def test_flight_and_contact_hold_in_the_truth_of_a_shaken_picture() -> None:
    scene = Scene(DemoConfig(60, 320, 180, FPS, 5, "handheld", 2, 2, tricks=("ollie",)))
    flown: list[float] = []
    stood = 0
    for t in range(60):
        truth = scene.truth(t)
        skater, board = truth.skaters[1], truth.boards[1]
        for foot in (0, 1):
            if skater.on_board[foot]:
                tall = ANKLE_ABOVE_DECK * skater.scale
                sole = skater.joints[15 + foot] + tall * np.array([-math.sin(board.angle), math.cos(board.angle)])
                off = sole - (board.x, board.y)
                assert abs(off @ [-math.sin(board.angle), math.cos(board.angle)]) <= 1.0
                assert abs(off @ [math.cos(board.angle), math.sin(board.angle)]) <= board.length / 2
                stood += 1
        assert skater.airborne == (board.support == "air")
        if skater.airborne:
            linear = np.linalg.inv(truth.camera[:, :2])
            size = skater.scale / math.hypot(*truth.camera[:, 0])
            flown.append(float((linear @ (np.array([board.x, board.y]) - truth.camera[:, 2]))[1] / size))
        elif len(flown) > 5:
            break
        else:
            flown = []
    pull = np.diff(flown, 2) * FPS**2
    assert stood > 20 and len(pull) >= 6
    assert np.abs(pull - GRAVITY).max() <= 0.05 * GRAVITY


@cache
def _scene(camera: str, skaters: int = 1, boards: int = 1, frames: int = 160, seed: int = 3) -> Scene:
    return Scene(DemoConfig(frames, 640, 360, FPS, seed, camera, skaters, boards))


def _shown(scene: Scene, t: int) -> tuple[Array, Truth, Array]:
    """The picture, its truth, and where neither subjects nor their shadows are, a border left out."""
    truth, image = scene.truth(t), scene.frame(t).image
    free = np.abs(image.astype(int) - truth.plate).max(2) < 12
    for subject in truth.subjects:
        free &= ~subject.visible
    inner = np.zeros_like(free)
    inner[16:-16, 16:-16] = True
    return image, truth, free & inner


@pytest.mark.parametrize("t", [31, 77])
@pytest.mark.parametrize("camera", ["steady", "handheld", "pan", "far", "cuts"])
def test_the_true_motion_carries_the_background_on(camera: str, t: int) -> None:
    scene = _scene(camera)
    before, truth, free = scene.frame(t - 1).image, *_shown(scene, t)[1:]
    image, earlier = scene.frame(t).image, scene.truth(t - 1)
    hidden = (np.abs(before.astype(int) - earlier.plate).max(2) >= 12).astype(np.uint8)
    for subject in earlier.subjects:
        hidden |= cv2.dilate(subject.visible.astype(np.uint8), np.ones((5, 5)))

    def far_off(motion: Array) -> float:
        size = free.shape[::-1]
        seen = free & (cv2.warpAffine(hidden, motion, size, borderValue=1) == 0)
        # The mean over 3 x 3 pixels takes most of the grain away, which is another on every frame.
        one, two = (
            cv2.blur(picture, (3, 3)).astype(float) for picture in (cv2.warpAffine(before, motion, size), image)
        )
        plate = cv2.warpAffine(earlier.plate, motion, size).astype(float)
        return float(max(np.abs(one - two)[seen].mean(), np.abs(plate - truth.plate)[16:-16, 16:-16].mean()))

    assert far_off(truth.motion) <= 2.0
    assert far_off(truth.motion + np.array([[0, 0, 0.5], [0, 0, 0.5]])) > far_off(truth.motion)


def test_the_plate_is_the_picture_without_anybody() -> None:
    scene = _scene("handheld")
    image, truth, free = _shown(scene, 50)
    assert free.mean() > 0.6
    assert np.abs(image.astype(float) - truth.plate)[free].mean() <= 2.0
    assert np.abs(image.astype(float) - truth.plate)[truth.skaters[0].visible].mean() > 30


def test_masks_hold_each_other_and_never_overlap() -> None:
    scene = _scene("steady", 3, 3)
    hidden = 0
    for t in range(0, 160, 12):
        truth = scene.truth(t)
        subjects = truth.subjects
        assert np.sum([s.visible for s in subjects], axis=0).max() <= 1
        for subject in subjects:
            assert not (subject.visible & ~subject.amodal).any()
            hidden += int(subject.amodal.sum() > 1.3 * max(1, subject.visible.sum()))
        masks = scene.masks(t)
        assert all(np.array_equal(masks[s.name], s.visible) for s in subjects)
        assert sorted(truth.order) == sorted(s.name for s in subjects)
    assert hidden >= 3


def test_what_is_nearer_hides_what_is_farther() -> None:
    scene = _scene("steady", 3, 3)
    found = 0
    for t in range(0, 160, 6):
        truth = scene.truth(t)
        by_name = {s.name: s for s in truth.subjects}
        for i, far in enumerate(truth.order):
            for near in truth.order[i + 1 :]:
                both = by_name[far].amodal & by_name[near].amodal
                assert not (both & by_name[far].visible).any() or both.sum() < 40
                found += int(both.sum() > 200 and not by_name[far].visible[both].any())
    assert found > 3


def test_the_board_turns_as_its_truth_says() -> None:
    scene = Scene(DemoConfig(200, 320, 180, FPS, 2, tricks=("kickflip", "shove-it", "grind", "ride")))
    faces, supports, yaws = set(), set(), []
    for t in range(150):
        board = scene._board_truth(scene._render(t), next(f for f in scene._render(t).middle), t / FPS)
        faces.add(board.face)
        supports.add(board.support)
        yaws.append(board.yaw)
    assert faces == {"top", "bottom", "edge"} and supports == {"ground", "air", "rail"}
    assert max(abs(y) for y in yaws) > 6


def test_the_truth_is_exported_whole(tmp_path: Path) -> None:
    scene = Scene(DemoConfig(6, 160, 90, FPS, 2, "handheld", 2, 2))
    write_truth(scene, tmp_path / "truth")
    about = json.loads((tmp_path / "truth" / "truth.json").read_text())
    assert [s["name"] for s in about["subjects"]] == ["skater", "skater-2", "board", "board-2"]
    assert about["clip"]["camera"] == "handheld" and len(about["frames"]) == 6
    arrays = np.load(tmp_path / "truth" / "truth.npz", allow_pickle=False)
    truth = scene.truth(4)
    assert np.array_equal(arrays["motion"][4], truth.motion) and arrays["motion"].shape == (6, 2, 3)
    assert np.array_equal(arrays["joints/skater-2"][4], truth.skaters[1].joints)
    assert np.array_equal(arrays["seen/skater"][4], truth.skaters[0].joints_visible)
    for folder, wanted in (("mask_board-2", truth.boards[1].visible), ("amodal_skater", truth.skaters[0].amodal)):
        found = cv2.imread(str(tmp_path / "truth" / folder / "frame_00004.png"), cv2.IMREAD_GRAYSCALE)
        assert found is not None and np.array_equal(found > 127, wanted)
    plate = cv2.imread(str(tmp_path / "truth" / "plate" / "frame_00004.png"))
    assert plate is not None and np.array_equal(plate[..., ::-1], truth.plate)
    record = about["frames"][4]
    assert record["skaters"]["skater"]["on_board"] == list(truth.skaters[0].on_board)
    assert record["boards"]["board"]["angle"] == pytest.approx(truth.boards[0].angle)
    assert record["order"] == list(truth.order)
    with pytest.raises(UsageError, match="not empty"):
        write_truth(scene, tmp_path / "truth")


def test_a_rail_stands_under_the_grinding_board_and_is_part_of_the_plate() -> None:
    scene = Scene(DemoConfig(60, 640, 360, FPS, 2, tricks=("grind",)))
    sliding = [t for t in range(50) if scene.truth(t).boards[0].support == "rail"]
    assert len(sliding) >= 5
    board = scene.truth(sliding[2]).boards[0]
    y = round(board.y + 7.0)  # just below the board's middle
    bare = Scene(DemoConfig(60, 640, 360, FPS, 2, tricks=("ride",))).truth(sliding[2]).plate
    plate = scene.truth(sliding[2]).plate
    assert np.abs(plate[y, round(board.x)].astype(int) - bare[y, round(board.x)]).max() > 3
    assert (np.abs(plate.astype(int) - bare).max(2) > 3).sum() > 300
