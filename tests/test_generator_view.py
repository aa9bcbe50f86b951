"""The generator behind a view: what it sees, that it comes back exactly, and that nothing else changes."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from _crash import differing, results, shared_case
from _maps import similarity
from _runs import invoke
from _zygote import Ended, shared_zygote
from fake_comfy import FakeComfy, Paint
from test_comfy_runs import CLIP, Given

from stages.affine import IDENTITY, apply, compose, invert
from stages.base import Array, Inputs
from stages.composite import seen_again
from stages.matching import Look
from stages.region import region
from stages.through import keypoints_through
from stages.view import ViewConfig, ViewStage
from stages.views.lens import Lens, Views, lens
from stages.views.path import whole
from storage.rundir import RunReader
from stream.engine.windows import WindowPlan

SOURCE, SIZE = (160, 90), (96, 54)


def disc(x: float, y: float, radius: float = 9.0) -> Array:
    across, down = np.meshgrid(np.arange(SOURCE[0]), np.arange(SOURCE[1]))
    return np.asarray((across - x) ** 2 + (down - y) ** 2 < radius**2)


def centre(picture: Array) -> Array:
    weight = picture.astype(float)
    across, down = np.meshgrid(np.arange(picture.shape[1]), np.arange(picture.shape[0]))
    return np.array([(across * weight).sum(), (down * weight).sum()] / weight.sum())


def views_of(config: ViewConfig, masks: Array, motion: Array | None, plan: WindowPlan) -> Array:
    """The views of a clip, window by window with the state taken out and put back."""
    stage, found = ViewStage(config), []
    windows = list(plan.windows(len(masks)))
    nobody = np.zeros_like(masks)
    for window in windows:
        later = slice(*windows[window.index + 1].new) if not window.last else slice(0, 0)
        arrays: dict[str, Array] = {}
        for name, values in (("masks/object", masks), ("masks/person", nobody), ("motion", motion)):
            if values is not None:
                arrays |= {name: values[slice(*window.new)], f"{name}/later": values[later]}
        found.append(stage.process(window, Inputs(arrays)).arrays["views/generate"])
        state = stage.get_state().to_parts()
        stage = ViewStage(config)
        stage.set_state(*state)
    return np.concatenate(found)


def shaken(frames: int = 90) -> tuple[Array, Array, Array]:
    """A disc that drifts through a shaken picture: masks, motion, and where the world lies in each frame."""
    rng = np.random.default_rng(4)
    world = np.stack([similarity(1.0, a, x, y) for x, y, a in rng.normal(0, (3, 3, 0.004), (frames, 3))])
    motion = np.stack([IDENTITY] + [compose(world[t], invert(world[t - 1])) for t in range(1, frames)])
    places = [apply(world[t], np.array([40.0 + 0.8 * t, 50.0])) for t in range(frames)]
    return np.stack([disc(*place) for place in places]), motion, world


def test_follow_takes_the_shake_out_and_what_comes_back_has_it_again() -> None:
    masks, motion, _ = shaken()
    views = views_of(ViewConfig("follow", 30, SIZE), masks, motion, WindowPlan(81, 21))
    through = Views(SOURCE, SIZE, views)
    seen = np.stack([centre(mask) for mask in through.regions(masks)])
    source = np.stack([centre(mask) for mask in masks])
    scale = views[:, 0, 0]
    jitter = np.abs(np.diff(seen, 2, axis=0)).mean() / scale.mean()
    assert jitter < 0.35 * np.abs(np.diff(source, 2, axis=0)).mean()
    assert (scale > 1.2).all(), "it looks closely: the frame at this size would be 0.6"
    pictures = through.pictures(np.repeat(masks[..., None].astype(np.uint8) * 255, 3, 3))
    back = np.stack([centre(through.back(picture, t)[..., 0]) for t, picture in enumerate(pictures)])
    assert np.abs(back - source).max() < 0.3  # px


def test_windows_do_not_show_in_a_view_that_looks_far_enough_ahead() -> None:
    masks, motion, _ = shaken()
    for look, steady in (("follow", 8), ("full", 20)):
        config = ViewConfig(look, steady, SIZE)
        long, short = (views_of(config, masks, motion, plan) for plan in (WindowPlan(101, 5), WindowPlan(61, 5)))
        assert np.allclose(long, short)


def test_auto_follows_what_is_small_and_shows_the_whole_of_what_is_large() -> None:
    small = np.stack([disc(60 + t, 45) for t in range(30)])
    large = np.stack([disc(80, 45, 60.0) for _ in range(30)])
    plan, config = WindowPlan(17, 5), ViewConfig("auto", 0, SIZE)
    frame = whole(SOURCE, SIZE)
    assert (views_of(config, small, None, plan)[:, 0, 0] > 1.5 * frame[0, 0]).all()
    assert np.array_equal(views_of(config, large, None, plan), np.repeat(frame[None], 30, 0))
    nothing = np.zeros_like(small)
    assert np.array_equal(views_of(config, nothing, None, plan), np.repeat(frame[None], 30, 0))


def test_a_box_is_what_is_seen() -> None:
    masks = np.zeros((5, 90, 160), bool)
    views = views_of(ViewConfig((40.0, 18.0, 88.0, 45.0), 0, SIZE), masks, None, WindowPlan(5, 2))
    corners = apply(views[3], np.array([[39.5, 17.5], [87.5, 44.5]]))
    assert np.allclose(corners, [[-0.5, -0.5], [95.5, 53.5]])


def test_a_view_of_the_whole_frame_costs_nothing() -> None:
    frame = np.repeat(whole(SOURCE, SIZE)[None], 4, 0)
    assert type(lens(SOURCE, SIZE, frame)) is Lens and type(lens(SOURCE, SIZE, None)) is Lens
    frame[2, 0, 2] += 1
    assert isinstance(lens(SOURCE, SIZE, frame), Views)


def test_keypoints_are_seen_where_they_are() -> None:
    points = np.array([[[10.0, 20.0, 0.9], [0.0, 0.0, 0.0]]], np.float32)
    moved = keypoints_through(points, similarity(2.0, 0.0, -5.0, 1.0)[None])
    assert moved[0].tolist() == [[15.0, 41.0, np.float32(0.9)], [0.0, 0.0, 0.0]]


def test_what_the_next_window_sees_again_is_not_resampled() -> None:
    """In the view's pixels the masks' inside is what was made, to the bit; around it the source as it is seen."""
    rng = np.random.default_rng(8)
    frames = rng.integers(0, 256, (3, 90, 160, 3), dtype=np.uint8)
    made = rng.integers(0, 256, (3, 54, 96, 3), dtype=np.uint8)
    masks = np.stack([disc(70 + t, 45) for t in range(3)])
    through = Views(SOURCE, SIZE, np.stack([similarity(1.2, 0.02, -40 - t, -20) for t in range(3)]))
    allowed = region(masks, np.zeros_like(masks), "object", (5.0, 5.0))
    kept = seen_again(frames, made, allowed, masks, Look(), through, 1)
    inside, outside = through.regions(masks[1:], 1), ~through.regions(allowed[1:], 1)
    assert inside.any() and np.array_equal(kept[inside], made[1:][inside])
    assert np.array_equal(kept[outside], through.pictures(frames[1:], 1)[outside])


def skate(arguments: list[str], **given: Any) -> Ended:
    ended = shared_zygote().run(arguments, **given)
    assert "Traceback" not in ended.output, ended.output
    return ended


VIEW = ("--view", "follow", "--stabilise", "6")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    case, _, _ = shared_case()
    run = tmp_path_factory.mktemp("view") / "run"
    ended = skate(case.run(run, *VIEW))
    assert ended.code in (0, 1), ended.output
    return run


@pytest.mark.parametrize(
    "fault", ["motion.state#2", "view.begin#2", "view.journal#4", "generate.state#3", "composite.journal#3"]
)
def test_killed_and_resumed_the_bytes_are_the_same(tmp_path: Path, finished: Path, fault: str) -> None:
    case, _, _ = shared_case()
    run = tmp_path / "run"
    assert skate(case.run(run, *VIEW), fault=fault).code == -9
    assert skate(["resume", str(run)]).code in (0, 1)
    assert differing(results(run), results(finished)) == []


def test_another_view_does_again_what_depends_on_it_and_none_is_the_plain_run(tmp_path: Path, finished: Path) -> None:
    case, _, plain = shared_case()
    run = tmp_path / "run"
    assert skate(case.run(run, *VIEW)).code in (0, 1)
    ended = skate(case.run(run, "--view", "0,0,64,64", "--overwrite"))
    assert ended.code in (0, 1), ended.output
    assert not any(line.startswith(("decode ", "pose ", "track ")) for line in ended.output.splitlines())
    assert differing(results(run), results(finished)) != []
    ended = skate(case.run(run, "--overwrite"))
    assert ended.code in (0, 1), ended.output
    found, wanted = results(run, everything=False), {name: plain[name] for name in results(run, everything=False)}
    assert differing(found, wanted) == []


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> Given:
    return Given(tmp_path_factory.mktemp("given"))


@pytest.mark.parametrize("continuity", ["tail", "blend"])
def test_outside_the_region_every_pixel_is_the_sources(given: Given, tmp_path: Path, continuity: str) -> None:
    run = tmp_path / "run"
    with FakeComfy(Paint()) as server:
        ended = given.run(run, server, more=("--view", "follow", "--continuity", continuity, "--dilate", "4"))
    assert ended.code in (0, 1), ended.err
    arrays = RunReader(run).arrays
    frames, made = (arrays.read(name, 0, CLIP.frames) for name in ("frames", "generated"))
    views, masks = arrays.read("views/generate", 0, CLIP.frames), arrays.read("masks/object", 0, CLIP.frames)
    assert (views[:, 0, 0] > 1.05).all(), "it looks closer than the frame"
    widest = 4 / views[:, 0, 0].min()
    allowed = region(masks, np.zeros_like(masks), "object", (widest, widest))
    assert np.array_equal(made[~allowed], frames[~allowed])
    assert (made != frames)[allowed].any()


def test_what_goes_through_no_view_is_refused(given: Given, tmp_path: Path) -> None:
    ended = invoke(
        ["generate", str(given.clip), "--out", str(tmp_path / "run"), *given.options, "--view", "10,10,500,60"]
    )
    assert ended.code == 3 and "--view 10,10,500,60 reaches outside the 96x64 frame" in ended.err
