"""Plates: against the renderer's true background, their samples, and what becomes of a frame that nothing places."""

from functools import cache

import cv2
import numpy as np
import pytest

from stages.affine import IDENTITY
from stages.base import Array, Inputs, Window
from stages.motion import MotionStage
from stages.plate import EVERY, PlateStage
from stages.plates.behind import behind, keys_in, plates_of
from stages.plates.keys import Keeper, Key, Plates
from stages.plates.names import KNOWN, PART, PATH, PICTURES, PLACES
from stages.plates.samples import SAMPLES, inpainted, median, no_samples, take
from stages.region import bounding_box, dilate_mask
from stages.views.lens import Views
from stream.demo import DemoConfig, Scene
from stream.demo.truth import Truth
from stream.engine.windows import WindowPlan

WIDTH, HEIGHT, FRAMES = 320, 180, 33
FRAME_BYTES = WIDTH * HEIGHT * 3
CAMERAS = ("steady", "handheld", "pan")


@cache
def clip(camera: str) -> tuple[list[Array], list[Array], list[Truth]]:
    """Frames, masks of the subjects, and what is true of them."""
    scene = Scene(DemoConfig(frames=FRAMES, width=WIDTH, height=HEIGHT, camera=camera))
    frames = [scene.frame(t) for t in range(FRAMES)]
    masks = [frame.object_mask | frame.person_mask for frame in frames]
    return [frame.image for frame in frames], masks, [scene.truth(t) for t in range(FRAMES)]


def kept(camera: str, plan: WindowPlan, last: int = FRAMES) -> list[tuple[Window, dict[str, Array]]]:
    """What the stage keeps of a clip, window by window, its state taken out and put back."""
    frames, masks, _ = clip(camera)
    motion, plate = MotionStage(always=True), PlateStage()
    found: list[tuple[Window, dict[str, Array]]] = []
    for window in plan.windows(last):
        new = slice(*window.new)
        shown = {"frames": np.stack(frames[new]), "masks/object": np.stack(masks[new])}
        shown["masks/person"] = shown["masks/object"]
        shown |= motion.process(window, Inputs(shown)).arrays
        fresh = PlateStage()
        fresh.set_state(*plate.get_state().to_parts())
        plate = fresh
        found.append((window, dict(plate.process(window, Inputs(shown)).arrays)))
        held = plate.get_state().to_parts()[1]
        assert sum(array.nbytes for array in held.values()) <= 8 * FRAME_BYTES
    return found


def errors(camera: str, t: int, keys: list[Key], arrays: dict[str, Array], first: int) -> tuple[Array, Array, Array]:
    """What is put behind the subjects of frame `t`, `[H, W, 3]`; where it was ever seen, and where never."""
    _, masks, _ = clip(camera)
    region = dilate_mask(masks[t], 8 * WIDTH / 640)
    box = bounding_box(region)
    assert box is not None
    shown, seen = np.zeros((HEIGHT, WIDTH, 3), np.uint8), np.zeros((HEIGHT, WIDTH), bool)
    shown[box], seen[box] = behind(keys, arrays[PATH][t - first], int(arrays[PART][t - first]), box, (HEIGHT, WIDTH))
    return shown, region & seen, region & ~seen


def psnr(parts: list[Array]) -> float:
    return float(10 * np.log10(255**2 / np.mean(np.square(np.concatenate(parts)))))


@pytest.mark.parametrize("camera", CAMERAS)
def test_the_background_is_the_true_one(camera: str) -> None:
    """By the end of a window, of the frames that are new in it: what was ever seen; and that it does not flicker."""
    truths = clip(camera)[2]
    known, flicker, before = [], [], None
    for window, arrays in kept(camera, WindowPlan(21, 5)):
        keys = keys_in(arrays)
        for t in range(*window.new):
            shown, seen, _ = errors(camera, t, keys, arrays, window.new.start)
            known.append((shown.astype(float) - truths[t].plate)[seen].ravel())
            if before is not None:
                size = (WIDTH, HEIGHT)
                moved = cv2.warpAffine(before[0], truths[t].motion, size, flags=cv2.INTER_LANCZOS4)
                there = cv2.warpAffine(before[1].astype(np.uint8), truths[t].motion, size) & seen.astype(np.uint8)
                both = cv2.erode(there, np.ones((5, 5), np.uint8)) > 0
                flicker.append((shown.astype(float) - moved)[both].ravel())
            before = shown, seen
    assert psnr(known) >= 34
    assert np.sqrt(np.mean(np.square(np.concatenate(flicker)))) < 1


@pytest.mark.parametrize("camera", CAMERAS)
def test_what_was_never_seen_is_guessed(camera: str) -> None:
    """In a first window that is too short to show it."""
    truths, holes = clip(camera)[2], []
    ((window, arrays),) = kept(camera, WindowPlan(5, 0), last=5)
    for t in range(*window.new):
        shown, _, never = errors(camera, t, keys_in(arrays), arrays, 0)
        assert never.mean() > 0.05
        holes.append((shown.astype(float) - truths[t].plate)[never].ravel())
    assert psnr(holes) >= 26


def test_a_later_window_knows_what_an_earlier_one_could_not() -> None:
    (first, early), *_, (_, late) = kept("pan", WindowPlan(9, 3))
    shares = []
    for arrays in (early, late):
        keys = keys_in(early) + keys_in(arrays)
        _, seen, never = errors("pan", first.new.start, keys, early, first.new.start)
        shares.append(never.sum() / (seen | never).sum())
    assert shares[0] > 0.3 > shares[1]


def test_errors_do_not_add_up_along_a_pan() -> None:
    """The motion from frame to frame is off by a tenth of a pixel each time; the frames lie where they do."""
    frames, masks, truths = clip("pan")
    keeper, plane = Keeper(Plates()), IDENTITY
    for t in range(FRAMES):
        wrong = truths[t].motion + np.array([[0.0, 0.0, 0.1], [0.0, 0.0, -0.1]])
        keeper.follow(wrong if t else IDENTITY)
        plane = np.vstack([truths[t].motion, [0, 0, 1]]) @ np.vstack([plane, [0, 0, 1]]) if t else np.eye(3)
        plane = plane[:2]
        if t % EVERY == 0:
            keeper.look(frames[t], masks[t])
            middle = np.array([WIDTH / 2, HEIGHT / 2, 1.0])
            assert np.abs((keeper.state.path - plane) @ middle).max() < 0.25, t


def test_a_frame_that_nothing_places_begins_anew() -> None:
    frames, masks, _ = clip("steady")
    keeper = Keeper(Plates())
    keeper.look(frames[0], masks[0])
    other = np.asarray(np.random.default_rng(0).integers(0, 255, frames[0].shape), np.uint8)
    keeper.look(other, masks[0])
    held = keeper.keys()
    assert keeper.state.part == 1 and [key.part for key in held] == [0, 1]
    path, box = keeper.state.path, (slice(0, HEIGHT), slice(0, WIDTH))
    shown, seen = behind(held, path, 1, box, (HEIGHT, WIDTH))
    assert np.array_equal(shown[seen], other[seen]) and not np.array_equal(shown, frames[0])


def test_a_plain_wall_is_taken_as_it_lies() -> None:
    """Nothing to follow, and nothing that speaks against it having stayed."""
    wall: Array = np.full((HEIGHT, WIDTH, 3), 120, np.uint8)
    nobody = np.zeros((HEIGHT, WIDTH), bool)
    keeper = Keeper(Plates())
    for _ in range(3):
        keeper.look(wall, nobody)
    assert (keeper.state.part, keeper.state.number, keeper.state.offers) == (0, 0, 3)


def test_another_shot_has_plates_of_its_own() -> None:
    frames = clip("steady")[0]
    stage, nobody = PlateStage(), np.zeros((5, HEIGHT, WIDTH), bool)
    windows = list(WindowPlan(5, 0).windows(10, cuts=(5,)))
    for window, picture in zip(windows, (frames[0], 255 - frames[0]), strict=True):
        given = {"frames": np.stack([picture] * 5), "masks/object": nobody, "masks/person": nobody}
        found = stage.process(window, Inputs(given | {"motion": np.stack([IDENTITY] * 5)})).arrays
        assert [len(found[name]) for name in (PICTURES, KNOWN, PLACES)] == [1, 1, 1]
        assert np.array_equal(found[PICTURES][0], picture)


def test_samples_are_bounded_and_spread() -> None:
    samples, count = no_samples(2, 2)
    seen = np.array([[255, 255], [255, 0]], np.uint8)
    for offer in range(60):
        take(samples, count, np.full((2, 2, 3), offer, np.uint8), seen, offer)
    assert count.tolist() == [[SAMPLES, SAMPLES], [SAMPLES, 0]] and samples.shape == (SAMPLES, 2, 2, 3)
    held = sorted(samples[:, 0, 0, 0].tolist())
    assert max(np.diff(held)) <= 20 and held[-1] > 40, held


@pytest.mark.parametrize(("values", "expected"), [([7], 7), ([9, 3, 5], 5), ([1, 250, 2, 3, 251], 3)])
def test_the_median_leaves_out_what_was_there_once(values: list[int], expected: int) -> None:
    samples, count = no_samples(1, 1)
    for offer, value in enumerate(values):
        take(samples, count, np.full((1, 1, 3), value, np.uint8), np.full((1, 1), 255, np.uint8), offer)
    assert median(samples, count).tolist() == [[[expected] * 3]]


def test_a_hole_takes_its_surroundings_and_nothing_else_changes() -> None:
    picture = np.full((90, 160, 3), 60, np.uint8)
    picture[:, 80:] = 200
    known = np.ones((90, 160), bool)
    known[30:60, 100:130] = False
    filled = inpainted(np.where(known[..., None], picture, 0).astype(np.uint8), known)
    assert np.array_equal(filled[known], picture[known]) and np.abs(filled[~known].astype(int) - 200).max() <= 8
    assert (inpainted(picture, known & False) == 128).all()


def test_a_generator_that_looks_through_a_view_is_shown_the_plate_through_it() -> None:
    _, masks, truths = clip("pan")
    ((window, arrays),) = kept("pan", WindowPlan(21, 0), last=21)
    size = (208, 160)
    view = np.array([[1.3, 0.02, -60.0], [-0.02, 1.3, -40.0]])
    through = Views((WIDTH, HEIGHT), size, np.repeat(view[None], 21, 0))
    region = through.regions(np.stack(masks[:21]))
    found = plates_of(Inputs(arrays, lens=through), region, size)
    assert found is not None
    wanted = through.pictures(np.stack([truth.plate for truth in truths[: window.new.stop]]))
    assert np.abs(found[region].astype(float) - wanted[region]).mean() < 2
    assert plates_of(Inputs({}), region, size) is None
