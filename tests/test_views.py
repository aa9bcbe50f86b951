"""Views: the path of a virtual camera, pictures through it and back, and tracking and scoring that look through it."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from _crash import differing, results, shared_case
from _maps import similarity
from _sam_fixture import moving_clip, plain_track, stock_logits, write_small_sam
from _zygote import Ended, shared_zygote

from stages.affine import IDENTITY, apply, compose, invert
from stages.base import Array, Inputs, Window
from stages.closer import REACH, CloserConfig, CloserStage
from stages.prompts import ObjectPrompt
from stages.sam.model import SamModel
from stages.sam.prompts import SamPrompt
from stages.sam.tracker import seen_through
from stages.subjects import OBJECTS
from stages.track import TrackStage
from stages.views.look import box_of, box_through, glimpse, logits_back, mask_through, through
from stages.views.pace import LOST, MOST, Pace
from stages.views.path import Framing, beyond, followed, held, steadied, whole, without_slips
from storage.rundir import RunReader
from storage.spans import Span
from stream.engine.windows import WindowPlan

FRAMING = Framing((64, 64), (320, 180), REACH, 0.5, 0.06)
STILL = np.repeat(IDENTITY[None], 60, 0)


def boxes_of(centres: Array, width: float = 30.0, height: float = 12.0) -> Array:
    half = np.array([width, height]) / 2
    return np.concatenate([centres - half, centres + half], 1)


def jumping(frames: int = 60, seed: int = 3) -> Array:
    """A board that rolls, jumps and shakes."""
    rng = np.random.default_rng(seed)
    t = np.arange(frames)
    jump = np.where((t > 20) & (t < 36), -60 * np.sin((t - 20) / 16 * np.pi), 0)
    return boxes_of(np.stack([60 + 3.0 * t, 120 + jump], 1) + rng.normal(0, 0.7, (frames, 2)))


def test_a_steady_camera_takes_the_shake_and_leaves_the_way() -> None:
    rng = np.random.default_rng(1)
    shake = [similarity(1.0, angle, x, y) for x, y, angle in rng.normal(0, (5, 5, 0.004), (80, 3))]
    places = [compose(shake[t], similarity(1.0, 0.0, -2.0 * t, 0.0)) for t in range(80)]  # the world in frame t
    motion = np.stack([IDENTITY] + [compose(places[t], invert(places[t - 1])) for t in range(1, 80)])
    steady = steadied(motion, 15)
    point = np.array([400.0, 100.0])
    shown = np.stack([apply(compose(steady[t], places[t]), point) for t in range(80)])[16:-16]
    raw = np.stack([apply(places[t], point) for t in range(80)])[16:-16]
    jitter = [np.abs(np.diff(path, 2, axis=0)).mean() for path in (shown, raw)]
    assert jitter[0] < 0.1 * jitter[1]
    assert np.allclose(np.diff(shown, axis=0).mean(0), [-2.0, 0.0], atol=0.2)
    assert np.array_equal(steadied(motion, 0), np.repeat(IDENTITY[None], 80, 0))


def test_a_view_holds_its_subject_and_moves_smoothly() -> None:
    boxes = jumping()
    views = followed(boxes, STILL, FRAMING)
    for box, view in zip(boxes, views, strict=True):
        corners = apply(view, np.add(box.reshape(2, 2), [[-15], [15]]))
        assert (corners >= -0.5 - 1e-9).all() and (corners <= 63.5 + 1e-9).all(), "with its margin"
    assert np.allclose(views[:, 0, 0], views[:, 1, 1]) and not views[:, 0, 1].any(), "it neither turns nor stretches"
    crop = 64 / views[:, 0, 0]
    assert (crop < 110).all(), "it looks closely"
    assert (np.abs(np.diff(crop)) < 4).all() and (np.abs(np.diff(crop, 2)) < 2).all()
    middle = np.stack([apply(invert(view), np.array([31.5, 31.5])) for view in views])
    assert np.abs(np.diff(middle, 2, axis=0)).max() < 4, "px a frame a frame"
    left_top = np.stack([apply(invert(view), np.array([-0.5, -0.5])) for view in views])
    right_bottom = np.stack([apply(invert(view), np.array([63.5, 63.5])) for view in views])
    assert (left_top > -0.6).all() and (right_bottom < (319.6, 179.6)).all(), "it does not look past the frame"


def test_a_view_of_what_stands_still_is_round_its_middle() -> None:
    """The margin on each side of the larger side; a small thing is not looked at closer than the least; what is at the
    edge is not in the middle. All to a small part of a pixel."""

    def crop(x: float, y: float, width: float, height: float, framing: Framing = FRAMING) -> list[float]:
        view = followed(boxes_of(np.full((5, 2), (x, y)), width, height), STILL[:5], framing)[2]
        ends = apply(invert(view), np.array([[-0.5, -0.5], np.array(framing.size) - 0.5]))
        return [round(float(value), 6) for value in ends.ravel()]

    assert crop(160, 90, 30, 12) == [130, 60, 190, 120]
    assert crop(160, 90, 12, 30) == [130, 60, 190, 120]
    assert crop(160, 90, 3, 2) == [154.6, 84.6, 165.4, 95.4], "0.06 of 180 px"
    assert crop(5, 174, 30, 12) == [-0.5, 119.5, 59.5, 179.5] and crop(315, 4, 30, 12) == [259.5, -0.5, 319.5, 59.5]
    assert crop(160, 90, 100, 40) == [60, -10.5, 260, 189.5], "between edges, which are as far on both sides"
    assert crop(100, 90, 12, 60, Framing((192, 64), (320, 180), REACH, 0.5)) == [-20.5, 30, 339.5, 150]
    wide = Framing((128, 64), (320, 180), REACH, 0.5, 0.06)
    assert crop(160, 90, 30, 12, wide) == [118, 69, 202, 111] and crop(160, 90, 12, 30, wide) == [100, 60, 220, 120]


def test_what_fills_the_frame_or_is_nowhere_is_seen_whole() -> None:
    nowhere = np.full((10, 4), np.nan)
    large = boxes_of(np.full((10, 2), (160.0, 90.0)), 250, 170)
    for boxes in (nowhere, large):
        assert np.allclose(followed(boxes, STILL[:10], FRAMING), whole(FRAMING.frame, FRAMING.size))


def test_a_subject_that_is_hidden_for_a_while_stays_framed() -> None:
    boxes = jumping()
    hidden = boxes.copy()
    hidden[28:33] = np.nan
    for box, view in zip(boxes, followed(hidden, STILL, FRAMING), strict=True):
        middle = apply(view, box.reshape(2, 2).mean(0))
        assert (middle > 0).all() and (middle < 63).all()


def test_a_slip_of_the_first_pass_does_not_move_the_view() -> None:
    boxes = jumping()
    slipped = boxes.copy()
    slipped[12] += 150
    slipped[40:42, 2:] += 90
    clean, mended = (followed(without_slips(found), STILL, FRAMING) for found in (boxes, slipped))
    moved = [np.linalg.norm(apply(invert(a), np.array([31.5, 31.5])) - apply(invert(b), np.array([31.5, 31.5])))
             for a, b in zip(clean, mended, strict=True)]  # fmt: skip
    assert max(moved) < 4
    assert np.isnan(without_slips(np.full((5, 4), np.nan))).all()


def test_without_slips_a_box_lies_on_its_line() -> None:
    """Where nothing slipped it stays as it is, moving and growing; one alone too, and where it is not seen."""
    t = np.arange(20.0)[:, None]
    boxes = np.concatenate([40 + 2 * t, 30 - t, 60 + 3 * t, 50 - 0.5 * t], 1)
    slipped = boxes.copy()
    slipped[7:9] += (50, 0, 90, 10)
    assert np.allclose(without_slips(slipped), boxes)
    slipped[12], slipped[15:] = np.nan, np.nan
    found = without_slips(slipped)
    assert np.allclose(found[:12], boxes[:12]) and np.isnan(found[[12, *range(15, 20)]]).all()
    alone = np.full((20, 4), np.nan)
    alone[3], alone[12, :2] = boxes[3], 1.0
    assert np.allclose(without_slips(alone)[3], boxes[3]) and np.isnan(np.delete(without_slips(alone), 3, 0)).all()


def test_there_and_back() -> None:
    """A disc in a frame, seen enlarged, reduced and turned, comes back to its place."""
    y, x = np.mgrid[0:90, 0:160]
    disc = (x - 70.0) ** 2 + (y - 40.0) ** 2 < 15**2
    frame = np.repeat(disc[..., None].astype(np.uint8) * 255, 3, 2)
    for view in (similarity(2.0, 0, -60, -10), similarity(0.4, 0, 3, 2), similarity(1.3, 0.2, 0, 0)):
        shown = through(frame, view, (200, 130))
        back = logits_back(shown[..., 0].astype(np.float32) - 127.5, view, (90, 160)) > 0
        assert (back & disc).sum() / (back | disc).sum() > 0.93
    assert np.array_equal(through(frame, IDENTITY, (160, 90)), frame)
    assert box_of(disc).tolist() == [55.5, 25.5, 84.5, 54.5]
    assert np.isnan(box_of(np.zeros((4, 4), bool))).all()


@pytest.mark.parametrize("scale", [0.995, 1.0, 1.7])
def test_a_frame_comes_back_as_sharp_as_it_was(scale: float) -> None:
    """A hand's turn and a part of a pixel, there and back: where nothing is reduced there is nothing to lose."""
    rng = np.random.default_rng(5)
    frame = cv2.GaussianBlur(rng.integers(0, 256, (90, 160, 3), np.uint8), (0, 0), 0.8)
    view = similarity(scale, 0.01, 20.3 - 40 * (scale - 1), 15.6)
    back = through(through(frame, view, (200, 130)), invert(view), (160, 90))
    there, was = back[30:60, 50:90], frame[30:60, 50:90]
    detail = [np.abs(cv2.Laplacian(picture.astype(np.float32), cv2.CV_32F)).mean() for picture in (there, was)]
    assert 0.94 < detail[0] / detail[1] < 1.04
    assert ((there.astype(float) - was) ** 2).mean() < 255**2 / 10**3.8  # 38 dB


@pytest.mark.parametrize("scale", [0.3, 0.45, 0.6])
def test_what_a_picture_has_no_room_for_is_not_seen(scale: float) -> None:
    """Stripes of less than two of the picture's pixels become grey, and no wider stripes; those of four stay."""
    y, x = np.mgrid[0:120, 0:200]
    for period, least, most in ((1.5 / scale, 0.0, 12.0), (4 / scale, 60.0, 95.0)):
        stripes = (127.5 + 127 * np.sin(2 * np.pi * (x + 0.3 * y) / period / np.hypot(1, 0.3))).astype(np.uint8)
        shown = through(stripes, similarity(scale, 0.02, 0.4, 0.7), (int(200 * scale), int(120 * scale)))
        assert least < shown[4:-4, 4:-4].std() < most
        if least == 0 and scale < 0.5:
            model = glimpse(stripes, similarity(scale, 0.02, 0.4, 0.7), (int(200 * scale), int(120 * scale)))
            assert model[4:-4, 4:-4].std() < 50, "of a model's picture most of it is gone"


@pytest.mark.parametrize("scale", [0.1, 0.2, 0.3, 0.45, 0.6, 0.97, 1.0, 2.3])
def test_a_picture_shows_each_point_where_its_view_says(scale: float) -> None:
    """Of a slope, which has a value of its own at each: to a small part of a pixel."""
    y, x = np.mgrid[0:222, 0:243]
    slope = np.stack([x + 5, y + 20, 250 - x], 2).astype(np.uint8)
    view = similarity(scale, 0.03, 0.0, 0.0)
    view[:, 2] = (24.3, 15.6) - apply(view, np.array([120.0, 110.0]))
    places = apply(invert(view), np.stack(np.meshgrid(np.arange(48.0), np.arange(32.0)), 2))
    edge = max(4, 4 / scale)
    inside = ((places > edge) & (places < (242 - edge, 221 - edge))).all(2)
    assert inside.sum() > 100
    wanted = np.stack([places[..., 0] + 5, places[..., 1] + 20, 250 - places[..., 0]], 2)
    for way in (through, glimpse):
        wrong = (way(slope, view, (48, 32)).astype(float) - wanted)[inside]
        assert np.abs(wrong.mean(0)).max() < max(0.1, 0.11 / scale), "levels, and pixels of the source"


@pytest.mark.parametrize("scale", [0.3, 0.6, 1.0, 2.0])
def test_what_lies_beyond_a_picture_is_seen_at_its_edge(scale: float) -> None:
    """A picture is the middle of a larger one: its edge shows what the frame goes on with."""
    frame = np.random.default_rng(3).integers(0, 256, (300, 400, 3), np.uint8)
    view, larger = similarity(scale, 0.05, 12.4 - 150 * scale, 9.7 - 120 * scale), 25
    around = compose(similarity(1.0, 0.0, larger, larger), view)
    for way in (through, glimpse) if scale >= 1 else (through,):
        shown, whole_of_it = (way(frame, at, (n + 40, n + 30)) for at, n in ((view, 0), (around, 2 * larger)))
        assert np.abs(shown.astype(int) - whole_of_it[larger:-larger, larger:-larger]).max() <= 2


def test_beside_a_frame_its_edge_is_seen() -> None:
    frame = np.random.default_rng(3).integers(0, 256, (30, 40, 3), np.uint8)
    for x, y, corner in ((100, 90, (0, 0)), (-900, -90, (29, 39)), (-900, 90, (0, 39))):
        for way in (through, glimpse):
            assert (way(frame, similarity(1.0, 0.0, x, y), (16, 8)) == frame[corner]).all()


def test_logits_and_prompts_lie_where_the_view_says() -> None:
    view = similarity(0.4, 0.1, 5.2, -3.1)
    y, x = np.mgrid[0:40, 0:50].astype(np.float32)
    back = logits_back(x + 2 * y, view, (90, 120))
    shown = apply(view, np.stack(np.meshgrid(np.arange(120.0), np.arange(90.0)), 2))
    inside = ((shown >= 0) & (shown <= (49, 39))).all(2)
    beyond_it = ((shown < -2) | (shown > (51, 41))).any(2)
    assert np.abs(back - (shown[..., 0] + 2 * shown[..., 1]))[inside].max() < 0.1 and (back[beyond_it] < -500).all()
    frame = whole((320, 180), (64, 64))
    assert box_through((0, 0, 320, 180), frame) == pytest.approx((0, 0, 64, 64))
    assert box_through((100, 45, 150, 90), frame) == pytest.approx((20, 16, 30, 32))
    points = seen_through(SamPrompt(points=((0, 0, 1), (320, 180, 0), (240, 45, 1))), frame, 64).points
    assert np.allclose(points, [(0, 0, 1), (64, 64, 0), (48, 16, 1)])
    mask = np.zeros((180, 320), bool)
    mask[45:90, 100:150] = True
    seen = seen_through(SamPrompt(mask=mask), frame, 64).mask
    assert seen is not None and seen.sum() == 10 * 16 and seen[16:32, 20:30].all()
    assert mask_through(mask, view, (80, 40)).sum() == pytest.approx(0.16 * mask.sum(), rel=0.05)
    assert not mask_through(mask & False, view, (50, 40)).any()


def test_a_masks_part_is_seen_as_the_whole() -> None:
    """Of a mask only what is set is warped; what touches the frame's edge goes on beyond it."""
    for view in (similarity(1.4, 0.2, -30.2, 8.1), similarity(1.0, 0.0, 12.0, 9.0), similarity(0.5, -0.1, 20.5, 11.2)):
        for place, sides in (((0, 0), (30, 9)), ((60, 30), (12, 25)), ((130, 70), (5, 40)), ((158, 88), (20, 20))):
            mask = np.zeros((90, 160), np.uint8)
            cv2.ellipse(mask, (place, sides, 30.0), (1.0,), -1)
            seen = mask_through(mask > 0, view, (120, 80))
            wanted = np.asarray(through(mask * 255, view, (120, 80))) >= 128
            assert np.count_nonzero(seen ^ wanted) <= 0.03 * max(100.0, float(np.count_nonzero(wanted)))


def test_a_model_sees_what_the_view_shows() -> None:
    """A glimpse, which reduces nothing but what is shown, and the whole way round: the same but for a few levels."""
    rng = np.random.default_rng(5)
    frame = cv2.GaussianBlur(rng.integers(0, 256, (180, 320, 3), np.uint8), (0, 0), 3) // 2 + 40
    for view in (similarity(0.4, 0, 3, 2), similarity(0.7, 0, -150.3, -60.1), similarity(2.0, 0, -60, -10)):
        shown, wanted = (np.asarray(way(frame, view, (64, 64)), float) for way in (glimpse, through))
        assert np.abs(shown - wanted).mean() < 1.0


def test_the_frames_edge_comes_back_from_a_reduced_view() -> None:
    view = whole((320, 180), (64, 64))
    assert (logits_back(np.ones((64, 64), np.float32), view, (180, 320)) > 0).all()


def test_how_soon_the_first_pass_looks_again() -> None:
    def due(*looks: tuple[int, float]) -> int:
        """After looks at a box 40 px wide, each a frame and its left edge, NaN where it was not seen."""
        pace = Pace()
        for frame, left in looks:
            pace.saw(frame, {"object": np.array([left, 50.0, left + 40, 60.0])})
        return pace.due - looks[-1][0]

    nowhere = float("nan")
    assert due((0, 10)) == 1, "how fast it is nobody knows"
    assert due((0, 10), (1, 11)) == MOST
    assert due((0, 10), (1, 15)) == 4, "half of its size at 5 px a frame"
    assert due((0, 10), (1, 60), (2, 10), (3, 10)) == 1, "a slip is watched"
    assert due((0, 10), (1, 60), (2, 10), (3, 10), (4, 10), (5, 10), (6, 10)) == MOST
    assert due((0, 10), (1, 11), (9, nowhere)) == LOST
    assert due((0, 10), (1, 11), (9, nowhere), (11, 200)) == 1
    both = Pace()
    for frame, left in ((0, 10.0), (1, 15.0)):
        still = np.array([100.0, 50.0, 140.0, 60.0])
        both.saw(frame, {"slow": still, "fast": np.array([left, 50.0, left + 40, 60.0])})
    assert (both.due, both.looks) == (5, 2)
    both.forget()
    both.saw(5, {"slow": still})
    assert both.due == 6, "behind a cut"


def test_what_comes_or_goes_is_held_where_it_was_seen() -> None:
    looked = np.array([1, 0, 0, 1, 0, 1, 0, 1, 0, 1], bool)
    boxes = np.full((10, 4), np.nan)
    boxes[[0, 3, 9]] = np.array([[0.0], [3.0], [9.0]])
    found, lost = held(boxes, looked)
    assert np.array_equal(found[:, 0], [0, np.nan, np.nan, 3, 3, np.nan, np.nan, np.nan, 9, 9], equal_nan=True)
    assert np.nonzero(lost)[0].tolist() == [4, 5, 6, 7, 8]
    shown = 1 / followed(boxes_of(np.full((40, 2), (160.0, 90.0))), STILL[:40], FRAMING, np.arange(40) == 20)[:, 0, 0]
    assert shown[20] > 1.3 * shown[0] and shown[39] == pytest.approx(shown[0]), "who is lost is looked for around"


def test_a_subject_that_leaves_the_picture_does_not_shrink() -> None:
    boxes = boxes_of(np.stack([-20 + 6.0 * np.arange(60), np.full(60, 90.0)], 1))
    cut = np.clip(boxes, -0.5, [319.5, 179.5, 319.5, 179.5])
    cut[(cut[:, 0] >= 319) | (cut[:, 2] <= 0)] = np.nan
    found = beyond(cut, (320, 180))
    seen = ~np.isnan(cut[:, 0])
    assert np.allclose(found[seen], boxes[seen]) and (np.isnan(found) == np.isnan(cut)).all()
    assert np.isnan(beyond(np.full((5, 4), np.nan), (320, 180))).all()


def closer(boxes: Array, looked: Array, plan: WindowPlan) -> Array:
    """The views of a clip's board, window by window with the state taken out and put back."""
    config, found = CloserConfig(("object",), 64, (320, 180)), []
    stage, windows = CloserStage(config), list(plan.windows(len(boxes)))
    for window in windows:
        later = slice(0, 0) if window.last else slice(*windows[window.index + 1].new)
        arrays = {"first/object": boxes, "looked": looked}
        given = {name: array[slice(*window.new)] for name, array in arrays.items()}
        given |= {f"{name}/later": array[later] for name, array in arrays.items()}
        found.append(stage.process(window, Inputs(given)).arrays["views/track-object"])
        state = stage.get_state().to_parts()
        stage = CloserStage(config)
        stage.set_state(*state)
    return np.concatenate(found)


def test_windows_do_not_show_in_the_views() -> None:
    """A window that looks far enough ahead fixes what a longer one would."""
    looked = np.arange(140) % 8 == 0
    boxes = np.where(looked[:, None], jumping(140), np.nan)
    whole_clip, windows = closer(boxes, looked, WindowPlan(201, 21)), closer(boxes, looked, WindowPlan(41, 9))
    assert np.allclose(whole_clip, windows)
    assert np.isfinite(closer(boxes, looked, WindowPlan(5, 2))).all()


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> SamModel:
    handle = SamModel(write_small_sam(tmp_path_factory.mktemp("sam")))
    handle.load()
    return handle


def test_tracking_through_a_view_is_stock_sam_on_its_pictures(model: SamModel) -> None:
    clip = moving_clip(24)
    box = (38.0, 30.0, 58.0, 42.0)
    rng = np.random.default_rng(2)
    views = np.stack([similarity(1.1 + 0.2 * r, 0.0, -20 + 3 * r, -8 - r) for r in rng.random(24)])
    side = model.image_size
    pictures = np.stack([glimpse(frame, view, (side, side)) for frame, view in zip(clip, views, strict=True)])
    wanted, _ = stock_logits(model.predictor, pictures, {0: seen_through(SamPrompt(box=box), views[0], side)})
    found: dict[int, Any] = {}
    stage = TrackStage(plain_track(ObjectPrompt(box=box), look="views"), model,
                       lambda frame, name, tracked: found.update({frame: tracked.logits.clone()}))  # fmt: skip
    masks = []
    for index, (start, stop) in enumerate([(0, 10), (10, 17), (17, 24)]):
        new = Span(start, stop)
        window = Window(index, new, new, new, stop == 24, new.frames)
        own = {f"views/track-{name}": views[start:stop] for name in OBJECTS}
        output = stage.process(window, Inputs({"frames": clip[start:stop], **own}))
        masks.append(output.arrays["masks/object"])
        state = stage.get_state().to_parts()
        stage = TrackStage(stage.config, model, stage._observer)
        stage.set_state(*state)
    assert sorted(found) == list(range(24))
    assert all(torch.equal(found[t], wanted[t]) for t in range(24))
    tracked = np.concatenate(masks)
    for t in range(24):
        assert np.array_equal(tracked[t], logits_back(wanted[t].numpy(), views[t], clip.shape[1:3]) > 0)


def test_the_first_pass_is_stock_sam_on_the_frames_it_looks_at(model: SamModel) -> None:
    clip = np.repeat(moving_clip(30), 4, 0)
    box = (38.0, 30.0, 58.0, 42.0)
    found: dict[int, Any] = {}
    stage = TrackStage(plain_track(ObjectPrompt(box=box), look="first"), model,
                       lambda frame, name, tracked: found.update({frame: tracked.logits.clone()}))  # fmt: skip
    boxes, looked = [], []
    for index, (start, stop) in enumerate([(0, 50), (50, 57), (57, 120)]):
        new = Span(start, stop)
        window = Window(index, new, new, new, stop == 120, new.frames)
        output = stage.process(window, Inputs({"frames": clip[start:stop]}))
        boxes.append(output.arrays["first/object"])
        looked.append(output.arrays["looked"])
        state = stage.get_state().to_parts()
        stage = TrackStage(stage.config, model, stage._observer)
        stage.set_state(*state)
    shown = np.nonzero(np.concatenate(looked))[0].tolist()
    assert 16 <= len(shown) < 120 and shown[0] == 0 and shown[-1] == 119 and sorted(found) == shown
    wanted, _ = stock_logits(model.predictor, clip[shown], {0: SamPrompt(box=box)})
    assert all(torch.equal(found[t], wanted[k]) for k, t in enumerate(shown))
    for t, own in enumerate(np.concatenate(boxes)):
        there = box_of(found[t].numpy() > 0) if t in found else np.full(4, np.nan)
        assert np.array_equal(own, there, equal_nan=True)


def skate(arguments: list[str], **given: Any) -> Ended:
    ended = shared_zygote().run(arguments, **given)
    assert "Traceback" not in ended.output, ended.output
    return ended


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A run that tracked through views, and what it ended with."""
    case, _, _ = shared_case()
    run = tmp_path_factory.mktemp("views") / "run"
    ended = skate(case.run(run, "--track-view", "follow"))
    assert ended.code in (0, 1), ended.output
    return run, ended.output


@pytest.mark.parametrize(
    "fault", ["look.state#2", "closer.begin#1", "closer.arrays#3", "closer.journal#2", "track.state#2", "score.begin#2"]
)
def test_killed_and_resumed_the_bytes_are_the_same(tmp_path: Path, finished: tuple[Path, str], fault: str) -> None:
    case, _, _ = shared_case()
    run = tmp_path / "run"
    assert skate(case.run(run, "--track-view", "follow"), fault=fault).code == -9
    assert skate(["resume", str(run)]).code in (0, 1)
    assert differing(results(run), results(finished[0])) == []


def test_a_lost_view_is_made_again(tmp_path: Path, finished: tuple[Path, str]) -> None:
    case, _, _ = shared_case()
    run = tmp_path / "run"
    assert skate(case.run(run, "--track-view", "follow")).code in (0, 1)
    (run / "run.zarr" / "views" / "track-object" / "c.1.0.0").unlink()
    assert skate(["status", str(run), "--verify"]).code == 6
    assert skate(["resume", str(run)]).code in (0, 1)
    assert differing(results(run), results(finished[0])) == []


def test_every_verdict_looks_through_the_same_views(tmp_path: Path, finished: tuple[Path, str]) -> None:
    run, _ = finished
    iou: list[float] = RunReader(run).arrays.read("iou", 0, 21).tolist()
    lines = [line for line in skate(["evaluate", str(run)]).output.splitlines() if line.startswith("Frame ")]
    assert [line.split()[4] for line in lines] == [f"{value:.4f}" for value in iou]
    assert skate(["export", str(run), "--to", str(tmp_path / "to")]).code == 0
    metadata = tmp_path / "to" / "tracking_metadata.json"
    elsewhere = ["evaluate", "--metadata", str(metadata), "--generated", str(run / "output.mp4")]
    found = [line for line in skate(elsewhere).output.splitlines() if line.startswith("Frame ")]
    assert found == [line.partition(" by the ")[0] for line in lines], "without the source no baselines"
    (tmp_path / "to" / "views_object.npy").write_bytes(b"\x93NUMPY no")
    ended = skate(elsewhere)
    assert ended.code == 3 and "views_object.npy: is no array of views" in ended.output


def test_the_first_pass_is_not_kept(finished: tuple[Path, str]) -> None:
    reader = RunReader(finished[0])
    assert reader.log.dropped["first/object"] == 21
    assert {name for name in reader.arrays.layout.arrays if name.startswith("views/track")} == {
        "views/track-object", "views/track-person",
    }  # fmt: skip
