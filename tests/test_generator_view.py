"""The generator behind a view: what it sees, that it comes back exactly, and that nothing else changes."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from _crash import differing, results, shared_case
from _maps import similarity
from _runs import invoke
from _zygote import Ended, shared_zygote
from fake_comfy import FakeComfy, Paint
from fake_comfy.scene import config, make_scene, windows
from test_comfy_runs import CLIP, Given

from stages.affine import IDENTITY, apply, compose, invert
from stages.aim import AimConfig, AimStage
from stages.base import Array, Inputs, Window
from stages.comfyui import ComfyStage
from stages.composite import seen_again
from stages.matching import Look
from stages.recipes.conditioner import Conditioner
from stages.region import region
from stages.through import ThroughStage, keypoints_through
from stages.video.plain import plain_frames
from stages.view import ViewConfig, ViewStage
from stages.views.lens import Lens, Views, lens
from stages.views.path import Framing, followed, whole
from storage.rundir import RunReader
from storage.spans import Span
from stream.engine.windows import WindowPlan

SOURCE, SIZE = (160, 90), (96, 54)


def disc(x: float, y: float, radius: float = 9.0) -> Array:
    across, down = np.meshgrid(np.arange(SOURCE[0]), np.arange(SOURCE[1]))
    return np.asarray((across - x) ** 2 + (down - y) ** 2 < radius**2)


def centre(picture: Array) -> Array:
    weight = picture.astype(float)
    across, down = np.meshgrid(np.arange(picture.shape[1]), np.arange(picture.shape[0]))
    return np.array([(across * weight).sum(), (down * weight).sum()] / weight.sum())


def views_of(aim: AimConfig, masks: Array, motion: Array | None, plan: WindowPlan) -> Array:
    """The views of a clip, window by window with the states taken out and put back."""
    box = None if isinstance(aim.look, str) else aim.look
    config = ViewConfig(box, motion is not None, aim.size, aim.reskin)
    stage, deciding, found = ViewStage(config), AimStage(aim), []
    windows = list(plan.windows(len(masks)))
    nobody = np.zeros_like(masks)
    for window in windows:
        later = slice(*windows[window.index + 1].new) if not window.last else slice(0, 0)
        arrays: dict[str, Array] = {}
        for name, values in (("masks/object", masks), ("masks/person", nobody), ("motion", motion)):
            if values is not None:
                arrays |= {name: values[slice(*window.new)], f"{name}/later": values[later]}
        said = {"aim": deciding.process(window, Inputs(arrays)).info}
        found.append(stage.process(window, Inputs(arrays, said)).arrays["views/generate"])
        states = deciding.get_state().to_parts(), stage.get_state().to_parts()
        stage, deciding = ViewStage(config), AimStage(aim)
        deciding.set_state(*states[0])
        stage.set_state(*states[1])
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
    views = views_of(AimConfig("follow", 30, SIZE), masks, motion, WindowPlan(81, 21))
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
        config = AimConfig(look, steady, SIZE)
        long, short = (views_of(config, masks, motion, plan) for plan in (WindowPlan(101, 5), WindowPlan(61, 5)))
        assert np.allclose(long, short)


def test_auto_follows_what_is_small_and_shows_the_whole_of_what_is_large() -> None:
    small = np.stack([disc(60 + t, 45) for t in range(30)])
    large = np.stack([disc(80, 45, 60.0) for _ in range(30)])
    plan, config = WindowPlan(17, 5), AimConfig("auto", None, SIZE)
    frame = whole(SOURCE, SIZE)
    assert (views_of(config, small, None, plan)[:, 0, 0] > 1.5 * frame[0, 0]).all()
    assert np.array_equal(views_of(config, large, None, plan), np.repeat(frame[None], 30, 0))
    nothing = np.zeros_like(small)
    assert np.array_equal(views_of(config, nothing, None, plan), np.repeat(frame[None], 30, 0))


def bar(x: float, y: float, width: float, height: float) -> Array:
    across, down = np.meshgrid(np.arange(SOURCE[0]), np.arange(SOURCE[1]))
    return np.asarray((abs(across - x) < width / 2) & (abs(down - y) < height / 2))


def aimed(config: AimConfig, masks: Array, shots: tuple[int, ...] = (0,)) -> list[dict[str, Any]]:
    """Facts of windows of five frames; a shot begins with each of these windows."""
    stage, found = AimStage(config), []
    for index in range(len(masks) // 5):
        new = Span(index * 5, index * 5 + 5)
        first = max(shot for shot in shots if shot <= index)
        window = Window(index, new, new, new, False, 5, shot=shots.index(first), shot_start=first * 5)
        own = masks[slice(*new)]
        found.append(dict(stage.process(window, Inputs({"masks/object": own, "masks/person": own & False})).info))
    return found


def test_a_tall_subject_turns_the_picture_for_good_and_a_given_size_stays() -> None:
    tall = np.stack([bar(70 + t, 45, 12, 55) for t in range(10)])
    wide = np.stack([bar(70 + t, 45, 60, 12) for t in range(10)])
    nothing = np.zeros_like(tall[:5])
    config = AimConfig("auto", None, SIZE, turns=True)
    turned = {"follows": True, "turned": True, "steady": 30, "whole": False}
    assert aimed(config, tall) == [turned] * 2
    assert [said["turned"] for said in aimed(config, np.concatenate([tall, wide]), (0, 2))] == [True] * 4
    assert aimed(config, wide)[0] == {**turned, "turned": False}
    late = aimed(config, np.concatenate([nothing, tall]))
    assert late[0] == {"follows": False, "turned": False, "steady": 0, "whole": True} and late[1:] == [turned] * 2
    assert not aimed(replace(config, turns=False), tall)[0]["turned"]
    assert aimed(AimConfig((20.0, 10.0, 50.0, 80.0), 0, SIZE, turns=True), tall)[0]["turned"]


def test_a_turned_view_shows_the_subject_and_a_large_one_between_edges() -> None:
    tall = np.stack([bar(60 + t, 45, 12, 55) for t in range(15)])
    views = views_of(AimConfig("follow", 0, SIZE, turns=True), tall, None, WindowPlan(5, 2))
    turned = Views(SOURCE, (SIZE[1], SIZE[0]), views)
    assert (turned.regions(tall).sum((1, 2)) > 0.9 * tall.sum((1, 2)) * views[:, 0, 0] ** 2).all(), "nothing is cut off"
    assert (views[:, 0, 0] > 1.0).all() and np.allclose(views[:, 0, 0], views[:, 1, 1])
    large = Framing((SIZE[1], SIZE[0]), SOURCE, 15, 0.15, 0.2, turned=True)
    view = followed(np.array([[-0.5, -0.5, 159.5, 89.5]]), IDENTITY[None], large)[0]
    corners = apply(view, np.array([[-0.5, -0.5], [159.5, 89.5]]))
    assert np.allclose(corners, [[-0.5, 32.8125 - 0.5], [53.5, 63.1875 - 0.5]])


def test_a_box_is_what_is_seen() -> None:
    masks = np.zeros((5, 90, 160), bool)
    views = views_of(AimConfig((40.0, 18.0, 88.0, 45.0), 0, SIZE), masks, None, WindowPlan(5, 2))
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


VIEW = ("--view", "follow", "--stabilise", "6", "--track-view", "follow", "--match-grain")


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
    ended = skate(case.run(run, "--view", "0,0,64,64", "--track-view", "follow", "--overwrite"))
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


def test_a_turned_run_goes_on_after_a_kill_and_keeps_the_source_outside(given: Given, tmp_path: Path) -> None:
    masks = tmp_path / "tall"
    masks.mkdir()
    tall = np.zeros((CLIP.frames, CLIP.height, CLIP.width), bool)
    for t, mask in enumerate(tall):
        mask[12:50, 30 + t // 2 : 37 + t // 2] = True
        cv2.imwrite(str(masks / f"frame_{t:05d}.png"), mask.astype(np.uint8) * 255)
    options = [*given.options, "--view", "auto", "--masks", str(masks)]
    place = options.index("--size")
    del options[place : place + 2]
    generate = ["generate", str(given.clip), *options, "--out"]
    assert skate([*generate, str(tmp_path / "run")]).code in (0, 1)
    assert skate([*generate, str(tmp_path / "killed")], fault="composite.journal#1").code == -9
    assert skate(["resume", str(tmp_path / "killed")]).code in (0, 1)
    assert differing(results(tmp_path / "killed"), results(tmp_path / "run")) == []
    run = RunReader(tmp_path / "run")
    assert {record["info"]["turned"] for record in run.log.of("aim")} == {True}
    frames, made = (run.arrays.read(name, 0, CLIP.frames) for name in ("frames", "generated"))
    views = run.arrays.read("views/generate", 0, CLIP.frames)
    assert (tmp_path / "run/report/views.png").is_file()
    exported = tmp_path / "exported"
    assert "41 of what the generator saw" in skate(["export", str(run.path), "--to", str(exported), "--view"]).output
    shown = Views((96, 64), (64, 96), views).pictures(frames)
    pictures = [np.asarray(cv2.imread(str(path))) for path in sorted((exported / "view").iterdir())]
    assert np.array_equal(np.stack(pictures)[..., ::-1], shown)
    assert np.array_equal(np.load(exported / "views_generate.npy"), views)
    assert next(plain_frames(exported / "view.mp4")).shape == (96, 64, 3)
    assert skate(["export", str(run.path), "--to", str(exported)]).code == 0 and not (exported / "view").exists()
    allowed = region(tall, tall & False, "object", (8 / views[:, 0, 0].min(),) * 2)
    assert np.array_equal(made[~allowed], frames[~allowed]) and (made != frames)[tall].mean() > 0.5


def test_another_variation_of_what_was_tracked_has_views_of_its_own(tmp_path: Path, finished: Path) -> None:
    out = tmp_path / "other"
    ended = skate(["generate", str(finished), "--out", str(out), "--view", "8,8,56,40"])
    assert ended.code in (0, 1), ended.output
    assert "track" not in {line.split()[0] for line in ended.output.splitlines() if " window " in line}
    views = [RunReader(run).arrays.read("views/generate", 0, 9) for run in (finished, out)]
    assert not np.array_equal(views[0], views[1])


def test_skeletons_that_were_given_as_pictures_are_seen_through_the_view_and_what_is_made_is_enlarged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    skeletons: list[Any] = []
    read = Conditioner._skeletons

    def telling(*given: Any) -> Any:
        skeletons.append(read(*given))
        return skeletons[-1]

    monkeypatch.setattr(Conditioner, "_skeletons", telling)
    scene, window = make_scene(17, 128, 128), windows(17)[0]
    for t in range(17):
        picture = np.zeros((256, 256, 3), np.uint8)
        picture[100:110, 100:140] = 255
        cv2.imwrite(str(tmp_path / f"{t:03d}.png"), picture)
    views = np.repeat(similarity(1.5, 0.0, -40.0, -30.0)[None], 17, 0)
    given = scene.inputs(window)
    inputs = Inputs({**given.arrays, "views/generate": views, "kept": np.empty((0, 64, 64, 3), np.uint8)}, given.info)
    size = (64, 64)
    made = {}
    for upscale in (None, "RealESRGAN_x2plus.pth"):
        with FakeComfy() as server:
            inner = ComfyStage(config(server.address, size=size, steps=1, upscale=upscale, pose_pictures=str(tmp_path)))
            with ThroughStage(inner) as stage:
                made[upscale] = stage.process(window, inputs).arrays["made"]
                ahead = replace(inputs, conditioned=stage.condition(window, inputs))
                assert np.array_equal(stage.process(window, ahead).arrays["made"], made[upscale])
        assert made[upscale].shape[1:3] == ((64, 64) if upscale is None else (128, 128))
        shown = np.asarray(skeletons.pop())[0, ..., 0] > 127
        ys, xs = np.nonzero(shown)
        assert abs(xs.mean() - (59.5 * 1.5 - 40)) < 1 and abs(ys.mean() - (52 * 1.5 - 30)) < 1.2
    large = made["RealESRGAN_x2plus.pth"]
    where = lens((128, 128), (128, 128), views, size).regions(scene.objects | scene.persons).any(axis=0)
    assert where.any() and np.array_equal(large[:, where], made[None].repeat(2, axis=1).repeat(2, axis=2)[:, where])
    allowed = region(scene.objects, scene.persons, "both", (4.0, 4.0))
    for upscale, picture in made.items():
        through = lens((128, 128), picture.shape[2:0:-1], views, size)
        assert through.widths((3, 3), 0) == (2.0, 2.0), upscale
        kept = seen_again(scene.frames, picture, allowed, allowed, Look(), through, 12)
        assert kept.shape == (5, 64, 64, 3)
        inside = through.regions(allowed[:1])[0]
        seen = through.seen(0)
        assert seen is not None
        back = through.back(np.repeat(inside[..., None].astype(np.uint8) * 255, 3, 2), 0)[..., 0] > 127
        assert (back ^ (allowed[0] & seen)).mean() < 0.02, upscale
