"""The demo clip: its truth is exact, repeatable, and has what the demo needs."""

import errno
import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest

from stages.video import encode
from storage.errors import UsageError
from stream.demo import TRAINING_SEED_BASE, DemoConfig, Look, Scene
from stream.demo.board import BoardLook, BoardPose, draw_board
from stream.demo.clip import write_clip
from stream.demo.motion import BLOCK_SECONDS, Timeline
from stream.demo.painter import OWNER_BOARD, Brush
from stream.demo.puppet import ANCHOR_JOINTS, ANCHOR_RGB, MATRIX, Array, Proportions, joints_from_anchors, solve

SMALL = DemoConfig(frames=201, width=160, height=90)


def _digest(scene: Scene, t: int) -> str:
    frame = scene.frame(t)
    parts = (frame.image, frame.object_mask, frame.person_mask, frame.joints, frame.joints_visible)
    return hashlib.sha256(b"".join(part.tobytes() for part in parts)).hexdigest()


@pytest.mark.parametrize(
    "wrong", [{"frames": 0}, {"width": 63}, {"height": 10}, {"fps": 0}, {"seed": -1}], ids=lambda w: next(iter(w))
)
def test_config_refuses(wrong: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=next(iter(wrong))):
        DemoConfig(**wrong)


def test_frame_outside_the_clip_is_refused() -> None:
    with pytest.raises(UsageError, match="201"):
        Scene(SMALL).frame(201)


@pytest.mark.parametrize(("width", "height"), [(64, 64), (101, 67), (90, 160), (320, 64), (64, 200)])
def test_any_size_renders(width: int, height: int) -> None:
    scene = Scene(DemoConfig(frames=40, width=width, height=height, seed=3))
    for t in (0, 17, 39):
        frame = scene.frame(t)
        assert frame.image.shape == (height, width, 3)
        assert frame.image.dtype == np.uint8
        assert frame.object_mask.shape == frame.person_mask.shape == (height, width)
        assert frame.object_mask.dtype == frame.person_mask.dtype == frame.joints_visible.dtype == np.bool_
        assert frame.joints.shape == (133, 2)
        assert frame.joints.dtype == np.float32
        assert not (frame.object_mask & frame.person_mask).any()
        assert frame.object_mask.any()


def test_frames_do_not_depend_on_order_or_instance() -> None:
    scene = Scene(SMALL)
    forward = [_digest(scene, t) for t in (0, 60, 61, 130)]
    assert [_digest(Scene(SMALL), t) for t in (130, 61, 60, 0)] == forward[::-1]
    assert _digest(Scene(replace(SMALL, frames=25_000)), 61) == forward[2]
    assert _digest(Scene(replace(SMALL, seed=2)), 61) != forward[2]


def test_long_clips_go_on_changing() -> None:
    scene = Scene(replace(SMALL, frames=1_000_001))
    assert len(scene) == 1_000_001
    for t in (20_000, 1_000_000):
        assert scene.frame(t).image.std() > 5
    timeline = Timeline(1, Proportions(), 640.0)
    plans = [tuple((a.kind, round(a.size, 6)) for a in timeline.block(k)) for k in (0, 1, 500, 100_000)]
    assert len(set(plans)) == 4
    assert len(timeline._blocks) <= 4


def test_tricks_join_without_a_jump() -> None:
    timeline = Timeline(2, Proportions(), 640.0)
    for border in [a.start for k in range(3) for a in timeline.block(k)][1:]:
        before, after = timeline.moment(border - 1e-5), timeline.moment(border + 1e-5)
        assert np.abs(before.anchors - after.anchors).max() < 0.1
        assert abs(before.board.x - after.board.x) + abs(before.board.y - after.board.y) < 0.1
    assert timeline.action(BLOCK_SECONDS * 1.0001).start == pytest.approx(BLOCK_SECONDS)


def test_first_frame_shows_all_unblurred() -> None:
    for seed in range(1, 6):
        scene = Scene(DemoConfig(seed=seed))
        frame = scene.frame(0)
        assert frame.joints_visible.all()
        assert frame.object_mask.sum() > 1500
        for mask in (frame.object_mask, frame.person_mask):
            assert not (mask[0].any() or mask[-1].any() or mask[:, 0].any() or mask[:, -1].any())
        columns = np.flatnonzero(frame.object_mask.any(0))
        rows = np.flatnonzero(frame.person_mask.any(1))
        assert 95 <= columns[-1] - columns[0] + 1 <= 145
        assert 165 <= rows[-1] - rows[0] + 1 <= 235


def test_painted_joints_show_their_colours() -> None:
    frame = Scene(DemoConfig()).frame(0)
    for joint, rgb in zip(ANCHOR_JOINTS, ANCHOR_RGB, strict=True):
        x, y = np.round(frame.joints[joint]).astype(int)
        assert np.abs(frame.image[y, x].astype(int) - rgb).max() < 16, joint
        assert frame.person_mask[y, x]


def test_a_painted_joint_is_the_middle_of_its_disc() -> None:
    frame = Scene(DemoConfig(seed=2)).frame(0)
    for joint in (5, 7, 13):
        rgb = ANCHOR_RGB[ANCHOR_JOINTS.index(joint)]
        like = (np.abs(frame.image.astype(int) - rgb).max(2) < 40) & frame.person_mask
        y, x = np.nonzero(like)
        assert np.abs(np.array([x.mean(), y.mean()]) - frame.joints[joint]).max() < 0.3


def test_board_and_person_are_present_as_the_demo_needs() -> None:
    for seed in (1, 5):
        scene = Scene(DemoConfig(frames=201, width=320, height=180, seed=seed))
        pixels = np.array([scene.frame(t).object_mask.sum() for t in range(0, 201, 2)])
        assert (pixels >= 100).mean() >= 0.80  # 400 at 640x360
        assert 0.05 <= (pixels == 0).mean() <= 0.105
        assert ((pixels > 0) & (pixels < 100)).mean() <= 0.03


def test_the_board_leaves_with_and_without_the_rider() -> None:
    kinds = {a.kind for seed in range(1, 6) for a in Timeline(seed, Proportions(), 640.0).block(0)}
    assert {"leave", "bail", "ollie"} <= kinds
    assert kinds & {"kickflip", "heelflip"}


def _drawn(roll: float) -> Array:
    canvas = np.zeros((200, 360, 4), np.uint8)
    draw_board(Brush(canvas), BoardLook(), BoardPose(0, 0, 0.0, roll), np.array([180.0, 100.0]), 2.0)
    return canvas


def test_board_thins_when_seen_edge_on_and_has_two_faces() -> None:
    thickness = {}
    for name, roll in (("top", 0.0), ("edge", np.pi / 2), ("bottom", np.pi)):
        owned = _drawn(roll)[..., 3] == OWNER_BOARD
        thickness[name] = owned.sum() / owned.any(0).sum() / 2
    assert 7 <= thickness["edge"] <= 11
    assert thickness["top"] > 24
    assert thickness["bottom"] > 24
    top, bottom = (_drawn(roll)[100, 170, :3].astype(int) for roll in (0.0, np.pi))
    assert np.abs(top - bottom).max() > 60


def test_joint_matrix_keeps_hands_feet_and_ears_rigid() -> None:
    timeline = Timeline(4, Proportions(), 640.0)
    poses = [joints_from_anchors(timeline.moment(s).anchors) for s in (0.1, 0.9, 2.2, 4.0)]
    for part in ((91, 95, 111), (112, 116, 132), (15, 18, 19), (16, 21, 22), (3, 4, 4)):
        sizes = [[np.linalg.norm(p[a] - p[b]) for a in part for b in part] for p in poses]
        assert np.ptp(np.array(sizes), axis=0).max() < 1e-6
    # A shift of all painted joints shifts every joint as much.
    assert np.allclose(MATRIX[0::2, 0::2].sum(1), 1)
    assert np.allclose(MATRIX[0::2, 1::2].sum(1), 0)


def test_joint_order_is_coco_wholebody() -> None:
    joints = Scene(DemoConfig()).frame(0).joints
    left_of = [(1, 2), (3, 4), (5, 6), (7, 8), (9, 10), (11, 12), (13, 14), (15, 16), (17, 20), (91, 112)]
    for left, right in left_of:  # the puppet faces the camera
        assert joints[left, 0] > joints[right, 0]
    assert joints[0, 1] < joints[5, 1] < joints[11, 1] < joints[13, 1] < joints[15, 1] < joints[17, 1]
    assert joints[31, 1] == joints[23:91, 1].max()  # the chin
    assert joints[23, 0] == joints[23:91, 0].min()  # the jaw begins at the puppet's right
    assert joints[65:71, 0].mean() > joints[59:65, 0].mean()  # the left eye after the right
    assert np.linalg.norm(joints[91] - joints[9]) < np.linalg.norm(joints[103] - joints[9])


def test_knees_and_elbows_keep_their_bones() -> None:
    body = Proportions()
    timeline = Timeline(7, body, 640.0)
    for seconds in np.arange(0, 8, 0.37):
        anchors = solve(timeline._rider(timeline.controls(seconds), 320.0, seconds), body)
        at = dict(zip(ANCHOR_JOINTS, anchors, strict=True))
        for a, b, length in ((5, 7, body.upper_arm), (7, 9, 0.14), (11, 13, body.thigh), (13, 15, body.shin)):
            assert np.linalg.norm(at[a] - at[b]) == pytest.approx(length * body.height_px, rel=0.02)


def test_training_seeds_are_wider_and_apart() -> None:
    plain = Look.from_seed(7)
    assert plain == Scene(replace(SMALL, seed=7)).look
    wide = [Scene(replace(SMALL, seed=TRAINING_SEED_BASE + k)).look for k in range(8)]
    assert len({look.body_rgb for look in wide}) > 2
    assert max(look.background_tint for look in wide) > 20


def test_clip_is_a_repeatable_mp4_with_the_right_colours(tmp_path: Path) -> None:
    config = DemoConfig(frames=5, width=160, height=90)
    paths = [tmp_path / "a.mp4", tmp_path / "b.mp4"]
    for path in paths:
        write_clip(config, path)
    assert paths[0].read_bytes() == paths[1].read_bytes()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.mp4", "b.mp4"]
    with av.open(str(paths[0])) as container:
        frames = [(float(f.time), f.to_ndarray(format="rgb24")) for f in container.decode(video=0)]
    assert [t for t, _ in frames] == pytest.approx([i / 24 for i in range(5)], abs=1e-4)
    for t, (_, found) in enumerate(frames):
        truth = Scene(config).frame(t).image
        assert np.abs(cv2.blur(found, (9, 9)).astype(float) - cv2.blur(truth, (9, 9))).mean() < 2.5


def test_clip_of_odd_size(tmp_path: Path) -> None:
    write_clip(DemoConfig(frames=2, width=101, height=65), tmp_path / "odd.mp4")
    with av.open(str(tmp_path / "odd.mp4")) as container:
        assert [f.to_ndarray(format="rgb24").shape for f in container.decode(video=0)] == [(65, 101, 3)] * 2


def test_a_clip_that_finds_no_room_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config, part = DemoConfig(frames=61, width=96, height=64), list[int]()

    def full(array: Array, **given: Any) -> av.VideoFrame:
        part[:] = [file.stat().st_size for file in tmp_path.iterdir()]
        if part and part[0]:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(array, **given)

    real = av.VideoFrame.from_ndarray
    with monkeypatch.context() as patched, pytest.raises(OSError, match="No space left"):
        patched.setattr(av.VideoFrame, "from_ndarray", full)
        write_clip(config, tmp_path / "clip.mp4")
    assert part[0] > 0 and list(tmp_path.iterdir()) == []
    flushed: list[Path] = []
    monkeypatch.setattr(encode, "fsync_file", flushed.append)
    write_clip(config, tmp_path / "clip.mp4")
    assert len(flushed) == 1, "whole on the disk before it has its name"
    assert [path.name for path in tmp_path.iterdir()] == ["clip.mp4"]
