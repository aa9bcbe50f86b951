"""The preview generator: the same picture from every window, painted inside the masks, anchored to the object."""

import json
import math
import tracemalloc

import cv2
import numpy as np
import pytest

from stages.anchor import Anchor, anchor_of
from stages.base import Array, Inputs, Window
from stages.blend import BlendConfig, BlendStage
from stages.composite import CompositeConfig, CompositeStage
from stages.paint import Palette, choose_palette, strip_between
from stages.preview import PreviewConfig, PreviewStage
from stages.region import dilate_mask
from storage.errors import UsageError
from stream.engine.windows import WindowPlan

HEIGHT, WIDTH = 72, 96
Clip = dict[str, Array]


def board(center: tuple[float, float], angle: float, length: float = 40, thick: float = 9) -> Array:
    """A rectangle's mask; angle in degrees."""
    mask = np.zeros((HEIGHT, WIDTH), dtype=np.uint8)
    corners = cv2.boxPoints((center, (length, thick), angle))
    cv2.fillPoly(mask, [np.round(corners).astype(np.int32)], 1)
    return mask > 0


def make_clip(frames: int) -> Clip:
    """A turning, travelling board that is away for a while, a person above it, and noise around them."""
    random = np.random.default_rng(5)
    pictures = random.integers(40, 200, (frames, HEIGHT, WIDTH, 3), dtype=np.uint8)
    objects = np.stack([board((20 + t, 52 + 4 * math.sin(t / 5)), 9.0 * t) for t in range(frames)])
    objects[12:16] = False
    persons = np.zeros_like(objects)
    keypoints = np.zeros((frames, 133, 3), dtype=np.float32)
    for t in range(frames):
        persons[t, 10:46, max(0, 14 + t) : 30 + t] = True
        keypoints[t, 5:17] = [(22 + t, 12 + 2.5 * j, 0.9) for j in range(12)]
    persons &= ~objects
    return {"frames": pictures, "keypoints/person": keypoints, "masks/object": objects, "masks/person": persons}


def cut(clip: Clip, window: Window) -> Inputs:
    """What the pipeline would hand over for a window."""
    return Inputs({name: values[slice(*window.read)] for name, values in clip.items()})


def pictured(stage: PreviewStage, window: Window, inputs: Inputs) -> Array:
    """What it makes of the window, composited into the source."""
    made = stage.process(window, inputs).arrays
    composite = CompositeStage(CompositeConfig(stage.config.reskin, stage.config.dilate))
    return composite.process(window, Inputs({**inputs.arrays, **made})).arrays["raw"]


def whole(clip: Clip, config: PreviewConfig) -> Array:
    """The clip in one window."""
    frames = len(clip["frames"])
    window = next(iter(WindowPlan(4 * frames + 1, 0).windows(frames)))
    return pictured(PreviewStage(config), window, cut(clip, window))


@pytest.mark.parametrize(("window", "overlap"), [(21, 8), (9, 4), (13, 0)])
def test_windows_make_the_same_pictures(window: int, overlap: int) -> None:
    """State through JSON between any two windows; a shifted last window; the blend finds nothing to fade."""
    clip, plan, config = make_clip(43), WindowPlan(window, overlap), PreviewConfig(seed=3)
    reference = whole(clip, config)
    blend = BlendStage(BlendConfig(window, overlap))
    parts, final = None, []
    before: dict[str, Array] = {}
    for step in plan.windows(43):
        stage = PreviewStage(config)
        if parts is not None:
            stage.set_state(json.loads(json.dumps(parts[0])), parts[1])
        raw = pictured(stage, step, cut(clip, step))
        parts = stage.get_state().to_parts()
        assert raw.dtype == np.uint8 and np.array_equal(raw, reference[slice(*step.read)])
        blended = blend.process(step, Inputs({**cut(clip, step).arrays, "raw": raw, **before})).arrays
        before = {"overlap": blended["overlap"]}
        final.append(blended["generated"])
    assert np.array_equal(np.concatenate(final), reference)


def test_a_clip_shorter_than_a_window_comes_back_unpadded() -> None:
    clip = make_clip(6)
    (window,) = WindowPlan(21, 8).windows(6)
    assert window.padded_frames == 9
    assert len(PreviewStage(PreviewConfig()).process(window, cut(clip, window)).arrays["made"]) == 6


@pytest.mark.parametrize("reskin", ["both", "object", "person"])
def test_it_changes_the_masks_and_hardly_anything_else(reskin: str) -> None:
    clip = make_clip(20)
    result = whole(clip, PreviewConfig(reskin=reskin, dilate=(5, 5))).astype(int)
    change = np.abs(result - clip["frames"].astype(int)).max(axis=-1)
    thing, person = clip["masks/object"], clip["masks/person"]
    inner = {"both": thing | person, "object": thing, "person": person}[reskin]
    allowed = np.stack([dilate_mask(mask, 5) for mask in inner])
    ring = allowed & ~inner
    if reskin == "both":
        ring &= ~np.stack([strip_between(one, other, 5) for one, other in zip(thing, person, strict=True)])
    assert (change[~allowed] == 0).all()
    assert change[ring].max(initial=0) <= 0.15 * 255 + 1
    assert np.percentile(change[inner], 20) > 15
    if reskin != "both":
        assert (change[(person if reskin == "object" else thing)] == 0).all()


@pytest.mark.parametrize(("apart", "dilate", "filled"), [(3, 8, True), (3, 4, True), (12, 8, False), (3, 2, False)])
def test_a_narrow_strip_between_the_two_is_not_left_as_filmed(apart: int, dilate: int, filled: bool) -> None:
    thing, person = np.zeros((2, HEIGHT, WIDTH), np.bool_)
    thing[50:60, 20:70], person[20 : 50 - apart, 40:52] = True, True
    between = np.zeros_like(thing)
    between[50 - apart : 50, 41:51] = True
    found = strip_between(thing, person, dilate)
    assert found[between].all() if filled else not found.any()
    assert not (found & (thing | person)).any() and not found[:, :36].any() and not found[: 45 - apart].any()
    clip = make_clip(1) | {"masks/object": thing[None], "masks/person": person[None]}
    config = PreviewConfig(dilate=(dilate, dilate))
    (window,) = WindowPlan(5, 0).windows(1)
    made, source = PreviewStage(config).process(window, cut(clip, window)).arrays["made"][0], clip["frames"][0]
    steel = (made[between] >= made[between][:, :1]).all(axis=1)  # the armour is bluer than red everywhere
    assert steel.mean() > 0.95 if filled else not steel.all()
    for reskin in ("object", "person"):
        stage = PreviewStage(PreviewConfig(reskin, (0, 0)))
        assert np.array_equal(stage.process(window, cut(clip, window)).arrays["made"][0][between], source[between])


def test_the_object_is_one_colour_along_its_edge() -> None:
    clip = make_clip(3)
    mask = clip["masks/object"][0]
    edge = mask & dilate_mask(~mask, 1)
    colours = whole(clip, PreviewConfig())[0][edge]
    assert (colours == colours[0]).all()
    assert not (whole(clip, PreviewConfig())[0][mask] == colours[0]).all()


def test_seed_and_repetition() -> None:
    clip = make_clip(4)
    same = whole(clip, PreviewConfig(seed=1))
    assert np.array_equal(same, whole(clip, PreviewConfig(seed=1)))
    assert not np.array_equal(same, whole(clip, PreviewConfig(seed=2)))


def test_nothing_tracked_leaves_the_source() -> None:
    clip = make_clip(5)
    clip["masks/object"][:] = clip["masks/person"][:] = False
    assert np.array_equal(whole(clip, PreviewConfig()), clip["frames"])


def test_unseen_joints_do_not_matter() -> None:
    clip = make_clip(2)
    dark = {**clip, "keypoints/person": np.zeros_like(clip["keypoints/person"])}
    odd = {**clip, "keypoints/person": np.full_like(clip["keypoints/person"], np.nan)}
    far = {**clip, "keypoints/person": np.full_like(clip["keypoints/person"], 1e9)}
    reference = whole(dark, PreviewConfig())
    assert np.array_equal(whole(odd, PreviewConfig()), reference)
    assert np.array_equal(whole(far, PreviewConfig()), reference)


def test_the_axis_follows_whole_turns() -> None:
    last: Anchor | None = None
    for t in range(60):
        last = anchor_of(board((48, 36), 13.0 * t), last)
        assert last is not None
        assert math.degrees(last.angle) == pytest.approx(13 * t, abs=3)
        assert math.dist((last.x, last.y), (48, 36)) < 1.0
    assert last is not None
    assert last.half_length == pytest.approx(20.5, abs=1.5) and last.half_width == pytest.approx(5, abs=1)


def test_a_round_object_does_not_spin() -> None:
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    random = np.random.default_rng(0)
    last: Anchor | None = None
    angles = []
    for _ in range(20):
        mask = np.hypot(x - 40, y - 30) + random.normal(0, 0.5, x.shape) < 12
        last = anchor_of(mask, last)
        assert last is not None
        angles.append(last.angle)
    assert np.ptp(angles) < 0.05


def test_a_lost_object_keeps_its_last_anchor() -> None:
    empty = np.zeros((HEIGHT, WIDTH), dtype=np.bool_)
    assert anchor_of(empty, None) is None
    seen = anchor_of(board((30, 30), 20), None)
    assert seen is not None and anchor_of(empty, seen) == seen
    assert Anchor.from_row(seen.to_row()) == seen
    assert Anchor.from_row(np.full(5, np.nan)) is None


@pytest.mark.parametrize("background", [(30, 30, 30), (225, 225, 225), (40, 200, 60), (60, 60, 220)])
def test_the_palette_stands_out(background: tuple[int, int, int]) -> None:
    frame = np.full((HEIGHT, WIDTH, 3), background, dtype=np.uint8)
    for seed in range(4):
        palette = choose_palette(frame, board((48, 36), 0), seed)
        assert np.abs(palette.base - np.array(background)).max() > 120
        again = Palette.from_array(palette.to_array())
        assert again is not None and np.array_equal(again.to_array(), palette.to_array())


def test_config_is_checked() -> None:
    with pytest.raises(UsageError, match="--reskin skin"):
        PreviewConfig(reskin="skin")


@pytest.mark.parametrize("name", ["masks/object", "masks/person"])
def test_peak_is_bounded_by_the_projection(name: str) -> None:
    height, width = 5 * HEIGHT, 5 * WIDTH
    clip = {
        "frames": make_clip(2)["frames"].repeat(5, axis=1).repeat(5, axis=2),
        "keypoints/person": make_clip(2)["keypoints/person"] * 5,
        "masks/object": np.zeros((2, height, width), dtype=np.bool_),
        "masks/person": np.zeros((2, height, width), dtype=np.bool_),
    }
    clip[name][:] = True
    (window,) = WindowPlan(9, 0).windows(2)
    given = sum(values.nbytes for values in clip.values())
    tracemalloc.start()
    PreviewStage(PreviewConfig()).process(window, cut(clip, window))
    peak = tracemalloc.get_traced_memory()[1] + given
    tracemalloc.stop()
    assert peak <= PreviewStage(PreviewConfig()).peak_bytes(height, width, 2)[0]
