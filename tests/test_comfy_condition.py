"""ComfyUI stage: what the model is shown, and how its answer is taken back."""

from pathlib import Path

import numpy as np
import pytest
from fake_comfy.scene import Array, make_scene

from stages.colour import ColourTransform
from stages.composite import put_back
from stages.matching import Look
from stages.region import chosen_mask, region
from stages.server.transport import encode_png
from stages.vace.condition import Drawn, Guides, condition, contours, fill_region, keep, scale_keypoints
from stages.vace.continuity import union_by_slot
from stages.vace.reference import on_canvas, read_reference
from stages.views.lens import Lens
from storage.errors import InputError

SCENE = make_scene(17)
SIZE = (64, 48)
REGION = region(SCENE.objects, SCENE.persons, "both", (4, 4))
SENT = union_by_slot(REGION)


def build(guides: Guides, length: int = 17, count: int = 17) -> Drawn:
    cut = slice(0, count)
    return condition(SCENE.frames[cut], SCENE.keypoints[cut], SCENE.objects[cut], REGION[cut], length, SIZE, guides)


def test_source_outside_fill_inside() -> None:
    given = build(Guides(object_guide="none", skeleton=False))
    assert np.array_equal(given.control[~SENT], SCENE.frames[~SENT])
    assert (given.control[SENT] == 128).all() and given.pose is None
    assert np.array_equal(given.mask, np.where(SENT, 255, 0))
    assert (build(Guides(fill="white", object_guide="none", skeleton=False)).control[SENT] == 255).all()


@pytest.mark.parametrize(
    ("guides", "value"),
    [
        (Guides(object_guide="none"), 0),
        (Guides(object_guide="scribble"), 0),
        (Guides(object_guide="scribble", skeleton=False), 255),
        (Guides(object_guide="canny", skeleton=False), 0),
        (Guides(object_guide="none", separate_pose=True), 128),
        (Guides(fill="grey"), 128),
    ],
)
def test_the_fill_is_the_background_of_the_control_picture(guides: Guides, value: int) -> None:
    """Black behind a skeleton and Canny's lines, white behind scribbles, grey where there is no control picture."""
    given = build(guides)
    ring = SENT & ~resize_grown(SCENE.objects | SCENE.persons)
    shown = given.control[ring]
    assert ring.any() and (np.median(shown, axis=0) == value).all()


def resize_grown(masks: Array) -> Array:
    """The masks and a pixel around them."""
    grown = masks.copy()
    grown[:, 1:] |= masks[:, :-1]
    grown[:, :-1] |= masks[:, 1:]
    grown[:, :, 1:] |= masks[:, :, :-1]
    grown[:, :, :-1] |= masks[:, :, 1:]
    return grown


def test_a_plate_fills_the_region_with_what_is_behind_it() -> None:
    behind = np.random.default_rng(2).integers(0, 256, (17, 48, 64, 3)).astype(np.uint8)
    shown = np.zeros_like(behind)
    filled = fill_region(shown, REGION, "plate", behind)
    assert np.array_equal(filled[REGION], behind[REGION]) and not filled[~REGION].any()


def test_canny_is_light_on_black_and_depth_is_left_to_the_server() -> None:
    lines, paper = (build(Guides(object_guide=guide, skeleton=False)).control for guide in ("canny", "scribble"))
    assert np.array_equal(255 - lines[SCENE.objects], paper[SCENE.objects])
    given = build(Guides(object_guide="depth", skeleton=False))
    assert given.source is not None and np.array_equal(given.source, SCENE.frames)
    assert given.objects is not None and np.array_equal(given.objects > 0, SCENE.objects)
    assert (given.control[SENT] == 0).all()


def test_skeleton_is_drawn_inside_the_region_alone() -> None:
    given = build(Guides(object_guide="none", pose_style="controlnet"))
    drawn = (given.control != 0).any(axis=3) & SENT
    assert drawn.sum(axis=(1, 2)).min() > 20
    assert np.array_equal(given.control[~SENT], SCENE.frames[~SENT])


def test_scribble_shows_dark_lines_on_white_inside_the_object_alone() -> None:
    given = build(Guides(fill="grey", object_guide="scribble", skeleton=False))
    rest = SENT & ~SCENE.objects
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
    assert (given.control[SENT] == 128).all()
    assert given.pose is not None and given.pose.shape == (17, 48, 64, 3) and (given.pose > 0).any()
    assert (given.pose[:, 0] == 0).all()


def test_kept_frames_stand_as_they_are_with_mask_0() -> None:
    tail = np.random.default_rng(5).integers(0, 256, (5, 48, 64, 3), dtype=np.uint8)
    given = build(Guides(object_guide="depth"))
    assert given.objects is not None and given.objects[:4].any()
    assert keep(given.control, [given.mask, given.objects], tail, SIZE) == 4
    assert np.array_equal(given.control[:4], tail[:4]) and not given.mask[:4].any() and not given.objects[:4].any()
    assert given.mask[4].any() and given.objects[4].any()


def test_short_clips_are_padded_by_reflection() -> None:
    given = build(Guides(separate_pose=True), length=13, count=10)
    assert given.pose is not None
    assert len(given.control) == len(given.mask) == len(given.pose) == 13
    assert np.array_equal(given.pose[10:], given.pose[[8, 7, 6]])
    outside = given.mask == 0
    order = [*range(10), 8, 7, 6]
    assert np.array_equal(given.control[outside], SCENE.frames[order][outside])
    assert np.array_equal(given.mask > 0, union_by_slot(REGION[order])), "of the window as the model sees it"


def test_keypoints_scale_with_pixel_centres() -> None:
    points = np.zeros((1, 133, 3), np.float32)
    points[0, 0] = (0.0, 10.0, 0.5)
    moved = scale_keypoints(points, 64, 48, (128, 96))
    assert moved[0, 0].tolist() == [0.5, 20.5, 0.5] and points[0, 0, 0] == 0.0


WHOLE = Lens((64, 48), (64, 48))
MOVED = Look(overlap=ColourTransform((1.1, 1.0, 1.0), (2.0, 0.0, 0.0)))


def test_what_is_put_back_is_exact_outside_and_for_the_source_itself() -> None:
    inner = chosen_mask(SCENE.objects, SCENE.persons, "both")
    noise = np.random.default_rng(6).integers(0, 256, (17, 48, 64, 3), dtype=np.uint8)
    raw = put_back(SCENE.frames, noise, REGION, inner, MOVED, WHOLE)
    assert np.array_equal(raw[~REGION], SCENE.frames[~REGION]) and (raw[REGION] != SCENE.frames[REGION]).any()
    same = put_back(SCENE.frames, SCENE.frames, REGION, inner, Look(), WHOLE)
    assert np.array_equal(same, SCENE.frames)
    small = put_back(SCENE.frames, noise[:, ::3, ::2], REGION, inner, Look(), Lens((64, 48), (32, 16)))
    assert np.array_equal(small[~REGION], SCENE.frames[~REGION])


def test_reference_is_padded_with_white(tmp_path: Path) -> None:
    path = tmp_path / "r.png"
    path.write_bytes(encode_png(np.full((40, 20, 3), 10, np.uint8)))
    picture = on_canvas(read_reference(str(path)), (96, 48))
    assert picture.shape == (48, 96, 3) and (picture[:, 0] == 255).all() and (picture[:, 48] == 10).all()
    path.write_bytes(b"rubbish")
    with pytest.raises(InputError, match="no 8-bit picture"):
        read_reference(str(path))
    with pytest.raises(InputError, match="cannot be read"):
        read_reference(str(tmp_path / "none.png"))
