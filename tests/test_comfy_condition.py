"""ComfyUI stage: what the model is shown, and how its answer is taken back."""

from pathlib import Path

import numpy as np
import pytest
from fake_comfy.scene import Array, make_scene

from stages.colour import Correction
from stages.composite import anchor, look, put_back
from stages.region import chosen_mask, region
from stages.server.transport import decode_png, encode_png
from stages.vace.condition import Conditioning, Guides, condition, contours, scale_keypoints
from stages.vace.reference import read_reference, reference_png
from storage.errors import InputError

SCENE = make_scene(17)
SIZE = (64, 48)
REGION = region(SCENE.objects, SCENE.persons, "both", (4, 4))
NO_TAIL = SCENE.frames[:0]


def build(guides: Guides, tail: Array = NO_TAIL, length: int = 17, count: int = 17) -> Conditioning:
    cut = slice(0, count)
    return condition(
        SCENE.frames[cut], SCENE.keypoints[cut], SCENE.objects[cut], REGION[cut], tail, length, SIZE, guides
    )  # fmt: skip


def test_source_outside_fill_inside() -> None:
    given = build(Guides(object_guide="none", skeleton=False))
    assert np.array_equal(given.control[~REGION], SCENE.frames[~REGION])
    assert (given.control[REGION] == 128).all() and given.pose is None and given.kept == 0
    assert np.array_equal(given.mask, np.where(REGION, 255, 0))
    assert (build(Guides(fill="white", object_guide="none", skeleton=False)).control[REGION] == 255).all()


def test_skeleton_is_drawn_inside_the_region_alone() -> None:
    given = build(Guides(object_guide="none", pose_style="controlnet"))
    drawn = (given.control != 128).any(axis=3) & REGION
    assert drawn.sum(axis=(1, 2)).min() > 20
    assert np.array_equal(given.control[~REGION], SCENE.frames[~REGION])


def test_scribble_shows_dark_lines_on_white_inside_the_object_alone() -> None:
    given = build(Guides(object_guide="scribble", skeleton=False))
    rest = REGION & ~SCENE.objects
    assert (given.control[rest] == 128).all()
    inside = given.control[SCENE.objects]
    assert (inside.std(axis=1) == 0).all() and (inside < 100).any() and (inside != 128).any()


def test_contours_of_a_stripe() -> None:
    frame = np.full((20, 30, 3), 40, np.uint8)
    frame[:, 12:18] = 220
    lines = contours(frame, np.ones((20, 30), bool))
    assert (lines[5:15, 11:19] < 128).any() and (lines[5:15, 3:9] > 200).all()


def test_separate_pose_leaves_the_control_without_skeleton() -> None:
    given = build(Guides(object_guide="none", separate_pose=True))
    assert (given.control[REGION] == 128).all()
    assert given.pose is not None and given.pose.shape == (17, 48, 64, 3) and (given.pose > 0).any()
    assert (given.pose[:, 0] == 0).all()


def test_kept_frames_stand_as_they_are_with_mask_0() -> None:
    tail = np.random.default_rng(5).integers(0, 256, (5, 48, 64, 3), dtype=np.uint8)
    given = build(Guides(), tail)
    assert given.kept == 4 and np.array_equal(given.control[:4], tail[:4])
    assert (given.mask[:4] == 0).all() and given.mask[4].any()


def test_short_clips_are_padded_by_reflection() -> None:
    given = build(Guides(separate_pose=True), length=13, count=10)
    assert given.pose is not None
    for video in (given.control, given.mask, given.pose):
        assert len(video) == 13
        assert np.array_equal(video[10:], video[[8, 7, 6]])


def test_keypoints_scale_with_pixel_centres() -> None:
    points = np.zeros((1, 133, 3), np.float32)
    points[0, 0] = (0.0, 10.0, 0.5)
    moved = scale_keypoints(points, 64, 48, (128, 96))
    assert moved[0, 0].tolist() == [0.5, 20.5, 0.5] and points[0, 0, 0] == 0.0


def test_what_is_put_back_is_exact_outside_and_for_the_source_itself() -> None:
    inner = chosen_mask(SCENE.objects, SCENE.persons, "both")
    noise = np.random.default_rng(6).integers(0, 256, (17, 48, 64, 3), dtype=np.uint8)
    raw = put_back(SCENE.frames, noise, REGION, inner, Correction((1.1, 1.0, 1.0), (2.0, 0.0, 0.0)))
    assert np.array_equal(raw[~REGION], SCENE.frames[~REGION]) and (raw[REGION] != SCENE.frames[REGION]).any()
    same = put_back(SCENE.frames, SCENE.frames, REGION, inner, Correction())
    assert np.array_equal(same, SCENE.frames)
    small = put_back(SCENE.frames, noise[:, ::3, ::2], REGION, inner, Correction())
    assert np.array_equal(small[~REGION], SCENE.frames[~REGION])


def test_the_anchor_sees_the_shift_outside_the_region() -> None:
    shifted = np.clip(SCENE.frames.astype(np.int16) + 5, 0, 255).astype(np.uint8)
    fix = anchor(shifted, SCENE.frames, REGION)
    assert fix.gain == (1.0, 1.0, 1.0) and -2.5 < fix.shift[0] < -1.5
    assert anchor(SCENE.frames, SCENE.frames, REGION).is_identity
    assert anchor(shifted, SCENE.frames, np.ones_like(REGION)).is_identity


def test_too_little_overlap_uses_the_carried_correction() -> None:
    inner = chosen_mask(SCENE.objects, SCENE.persons, "both")
    carried = Correction((1.0, 1.0, 1.0), (2.0, 1.0, -1.0))
    hidden, shown = inner.copy(), SCENE.frames[:5]
    hidden[:5] = False
    found = look(SCENE.frames, SCENE.frames, REGION, hidden, shown, carried)
    assert found.overlap == carried and found.pixels == 0
    found = look(SCENE.frames, SCENE.frames, REGION, inner, shown, carried)
    assert found.overlap.is_identity and found.pixels == inner[:5].sum()


def test_reference_is_padded_with_white(tmp_path: Path) -> None:
    path = tmp_path / "r.png"
    path.write_bytes(encode_png(np.full((40, 20, 3), 10, np.uint8)))
    picture = decode_png(reference_png(read_reference(str(path)), (96, 48)), "r")
    assert picture.shape == (48, 96, 3) and (picture[:, 0] == 255).all() and (picture[:, 48] == 10).all()
    path.write_bytes(b"rubbish")
    with pytest.raises(InputError, match="no 8-bit picture"):
        read_reference(str(path))
    with pytest.raises(InputError, match="cannot be read"):
        read_reference(str(tmp_path / "none.png"))
