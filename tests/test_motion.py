"""The background's motion: against the renderer's truth, where it cannot be found, and through windows."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from _maps import similarity

from stages.affine import IDENTITY, apply, compose, invert, resized, scaling
from stages.base import Array, Inputs, Output
from stages.motion import MotionStage
from stages.views.motion import NOWHERE, fitted, small_grey, step
from stream.demo import DemoConfig, Scene
from stream.engine.windows import WindowPlan


def test_maps_compose_and_invert() -> None:
    first, second = similarity(1.2, 0.3, 5, -7), similarity(0.7, -0.1, 2, 9)
    points = np.array([[0.0, 0.0], [10.0, 3.0], [-4.0, 8.0]])
    assert np.allclose(apply(compose(second, first), points), apply(second, apply(first, points)))
    assert np.allclose(compose(invert(first), first), IDENTITY)
    stack = np.stack([first, second])
    assert np.array_equal(compose(stack, stack)[1], compose(second, second))


def test_a_resized_picture_keeps_its_pixel_centres() -> None:
    """The middle of a picture stays its middle, and a motion of 3 px is one of 6 in a picture twice as large."""
    assert np.allclose(apply(scaling((2.0, 4.0)), np.array([9.5, 4.5])), [19.5, 19.5])  # 20x10 -> 40x40
    moved = resized(similarity(1.0, 0.0, 3.0, -1.0), (2.0, 2.0))
    assert np.allclose(moved, similarity(1.0, 0.0, 6.0, -2.0))


def test_the_best_similarity_through_points() -> None:
    rng = np.random.default_rng(5)
    points = rng.uniform(0, 300, (40, 2))
    truth = similarity(1.03, 0.05, 4.0, -2.5)
    assert np.allclose(fitted(points, apply(truth, points)), truth)


def frames_of(config: DemoConfig) -> Iterator[tuple[Array, Array, Array, Array]]:
    """Frame, masks of object and person, true motion."""
    scene = Scene(config)
    for t in range(config.frames):
        frame = scene.frame(t)
        yield frame.image, frame.object_mask, frame.person_mask, scene.truth(t).motion


def steadied(arrays: dict[str, Array]) -> Inputs:
    """As where the view is steadied, else the motion is not looked for."""
    return Inputs(arrays, info={"aim": {"follows": True, "turned": False, "steady": 30, "whole": False}})


def run(config: DemoConfig, plan: WindowPlan) -> tuple[Output, Array]:
    """What the stage makes of a clip, window by window with its state taken out and put back, and the true motion."""
    images, boards, persons, truth = (np.stack(part) for part in zip(*frames_of(config), strict=True))
    stage, outputs = MotionStage(), []
    for window in plan.windows(config.frames):
        new = slice(*window.new)
        inputs = steadied({"frames": images[new], "masks/object": boards[new], "masks/person": persons[new]})
        outputs.append(stage.process(window, inputs))
        state = stage.get_state().to_parts()
        stage = MotionStage()
        stage.set_state(*state)
    arrays = {name: np.concatenate([out.arrays[name] for out in outputs]) for name in outputs[0].arrays}
    return Output(arrays, {"unfollowed": sum(out.info["unfollowed"] for out in outputs)}), truth


@pytest.mark.parametrize("config", [
    DemoConfig(40, camera="handheld", seed=1), DemoConfig(24, seed=2), DemoConfig(24, camera="pan", seed=3),
    DemoConfig(6, 1280, 720, camera="far", seed=4),
], ids=lambda config: config.camera)  # fmt: skip
def test_motion_is_the_cameras(config: DemoConfig) -> None:
    output, truth = run(config, WindowPlan(21, 5))
    across, down = np.meshgrid(np.arange(0, config.width, 40.0), np.arange(0, config.height, 40.0))
    points = np.stack([across, down], -1)
    motion = output.arrays["motion"]
    pairs = zip(motion[1:], truth[1:], strict=True)
    errors = [np.linalg.norm(apply(found, points) - apply(true, points), axis=-1).mean() for found, true in pairs]
    assert np.mean(errors) <= 0.05 and np.max(errors) <= 0.3  # px
    inliers = output.arrays["motion_inliers"]
    assert np.isnan(inliers[0]) and np.array_equal(motion[0], IDENTITY) and (inliers[1:] > 0.9).all()
    assert output.info["unfollowed"] == 0


def test_windows_change_nothing() -> None:
    config = DemoConfig(24, 320, 192, camera="handheld", seed=6)
    whole, small = (run(config, plan)[0].arrays for plan in (WindowPlan(25, 5), WindowPlan(5, 2)))
    assert all(np.array_equal(whole[name], small[name], equal_nan=True) for name in whole)


@pytest.mark.parametrize("other", ["plain", "noise", "covered"])
def test_what_cannot_be_followed_stands_still_and_says_so(other: str) -> None:
    first, board, person, _ = next(frames_of(DemoConfig(1, 320, 192)))
    rng: Any = np.random.default_rng(3)
    second = {"plain": np.full_like(first, 90), "noise": rng.integers(0, 256, first.shape, np.uint8)}.get(other, first)
    taken = np.ones_like(board) if other == "covered" else board
    window = next(WindowPlan(5, 2).windows(2))
    inputs = {
        "frames": np.stack([first, second]),
        "masks/object": np.stack([taken, taken]),
        "masks/person": np.stack([person] * 2),
    }
    found = MotionStage().process(window, steadied(inputs))
    assert np.array_equal(found.arrays["motion"][1], IDENTITY)
    assert found.arrays["motion_inliers"][1] == 0 and found.info["unfollowed"] == 1


def test_a_picture_smaller_than_what_corners_need() -> None:
    grey = small_grey(np.zeros((8, 8, 3), np.uint8))
    assert step(grey, grey, np.full_like(grey, 255), np.full_like(grey, 255), (8, 8)) == NOWHERE
