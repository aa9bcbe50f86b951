"""Cameras, shots, several skaters and boards of the demo's clips; the command that renders them."""

import json
import math
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from _runs import invoke

from stages.affine import apply
from storage.errors import UsageError
from stream.demo import DemoConfig, Scene
from stream.demo.job import clip_name

FPS = 24


@cache
def _scene(camera: str, skaters: int = 1, boards: int = 1, frames: int = 160, seed: int = 3) -> Scene:
    return Scene(DemoConfig(frames, 640, 360, FPS, seed, camera, skaters, boards))


def test_handheld_shakes_by_up_to_12_px_and_turns() -> None:
    scene, steady = _scene("handheld"), _scene("steady")
    middle = np.array([320.0, 180.0])
    moved, turned = [], []
    for t in range(0, 160, 2):
        one, two = (s._camera.matrix(s.shot(t), t / FPS) for s in (scene, steady))
        at = np.linalg.inv(two[:, :2]) @ (middle - two[:, 2])
        moved.append(np.linalg.norm(apply(one, at) - middle))
        turned.append(abs(math.degrees(math.atan2(one[1, 0], one[0, 0]))))
    assert 4 < max(moved) <= 12 and 0.2 < max(turned) <= 0.8


def test_far_shows_a_small_board_in_a_large_picture() -> None:
    for seed in (1, 2, 3):
        scene = Scene(DemoConfig(200, 1280, 720, FPS, seed, "far"))
        boards = [scene.truth(t).boards[0] for t in (0, 66)]
        assert all(60 <= board.length <= 80 for board in boards)
        columns = np.flatnonzero(boards[0].visible.any(0))
        assert 55 <= columns[-1] - columns[0] + 1 <= 84


def test_cuts_makes_five_shots_with_a_flash_and_a_pan() -> None:
    scene = _scene("cuts", frames=201)
    assert len(scene.shots) == 5 and scene.shots[0].start == 0 and scene.shots[-1].stop == 201
    assert all(shot.stop - shot.start >= 30 for shot in scene.shots)
    assert all(a.stop == b.start for a, b in zip(scene.shots, scene.shots[1:], strict=False))
    assert {"pan", "handheld", "steady"} == {shot.kind for shot in scene.shots}
    (lit,) = [shot for shot in scene.shots if shot.flash is not None]
    assert lit.flash is not None and lit.start < lit.flash < lit.stop - 2
    means = [float(scene.frame(t).image.mean()) for t in (lit.flash - 1, lit.flash, lit.flash + 2)]
    assert means[1] > means[0] + 50 and abs(means[2] - means[0]) < 12
    assert scene.truth(lit.flash).flash and not scene.truth(lit.flash).cut
    border = scene.shots[2].start
    assert scene.truth(border).cut and np.array_equal(scene.truth(border).motion, np.eye(2, 3))
    change = np.abs(scene.frame(border).image.astype(int) - scene.frame(border - 1).image).mean()
    assert change > 3 * np.abs(scene.frame(border + 1).image.astype(int) - scene.frame(border).image).mean()


def test_fewer_shots_where_the_clip_is_short_and_more_on_demand() -> None:
    assert len(Scene(DemoConfig(70, 160, 90, camera="cuts")).shots) == 2
    assert len(Scene(DemoConfig(10, 160, 90, camera="cuts")).shots) == 1
    assert len(Scene(DemoConfig(300, 160, 90, camera="cuts", shots=8)).shots) == 8


def test_skaters_cross_and_one_leaves_for_two_seconds() -> None:
    scene = Scene(DemoConfig(402, 160, 90, FPS, 1, skaters=3, boards=3))
    places = np.array([[s.joints[0, 0] for s in (scene.truth(t)).skaters] for t in range(0, 402, 6)])
    crossings = sum(
        int((np.diff(np.sign(places[:, a] - places[:, b])) != 0).sum()) for a, b in ((0, 1), (0, 2), (1, 2))
    )
    assert crossings >= 3
    gone = np.array([not scene.masks(t)["skater-2"].any() for t in range(0, 402, 2)])
    edges = np.flatnonzero(np.diff(np.concatenate([[0], gone.astype(int), [0]])))
    lengths = (edges[1::2] - edges[::2]) * 2 / FPS
    assert len(lengths) and 1.5 <= lengths.max() <= 3.0
    assert not gone[0] and not gone[-1]


def test_two_boards_look_alike_and_who_rides_which_is_known() -> None:
    scene = _scene("steady", 3, 2)
    assert scene._cast[0].look.board == scene._cast[1].look.board
    truth = scene.truth(0)
    assert [s.board for s in truth.skaters] == ["board", "board-2", None]
    assert [b.rider for b in truth.boards] == ["skater", "skater-2"]
    assert not any(any(scene.truth(t).skaters[2].on_board) for t in (0, 40, 90))
    alone = _scene("steady", 1, 3).truth(0)
    assert [b.rider for b in alone.boards] == ["skater", None, None]
    assert all(b.visible.any() for b in alone.boards)


def test_everybody_is_there_on_the_first_frame() -> None:
    for group in (2, 3, 5):
        for seed in (1, 2):
            masks = Scene(DemoConfig(5, 320, 180, FPS, seed, skaters=group, boards=group)).masks(0)
            assert len(masks) == 2 * group
            assert all(mask.sum() > 40 for mask in masks.values()), {k: int(v.sum()) for k, v in masks.items()}


def test_every_frame_of_every_camera_is_a_function_of_its_number() -> None:
    config = DemoConfig(90, 160, 90, FPS, 4, "cuts", 2, 2)
    forward = Scene(config)
    pictures = [forward.frame(t).image for t in (0, 20, 45, 80)]
    backward = Scene(config)
    for t, picture in zip((80, 45, 20, 0), pictures[::-1], strict=True):
        assert np.array_equal(backward.frame(t).image, picture)
    longer = Scene(replace(config, camera="handheld", frames=500)).frame(20).image
    assert np.array_equal(longer, Scene(replace(config, camera="handheld")).frame(20).image)


@pytest.mark.parametrize(
    "wrong",
    [{"skaters": 6}, {"boards": 0}, {"camera": "drone"}, {"shots": 3}, {"camera": "cuts", "shots": 0}, {"size": 0.0}],
    ids=lambda w: "-".join(w),
)
def test_a_clip_that_cannot_be_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(UsageError, match=list(wrong)[-1]):
        DemoConfig(**wrong)  # type: ignore[arg-type]


def test_a_clip_of_another_config_or_renderer_has_another_name() -> None:
    plain = DemoConfig()
    others = [
        replace(plain, seed=2), replace(plain, camera="cuts"), replace(plain, camera="cuts", shots=3),
        replace(plain, skaters=2), replace(plain, boards=2), replace(plain, frames=5), replace(plain, width=320),
    ]  # fmt: skip
    assert len({clip_name(config) for config in (plain, *others)}) == len(others) + 1


def test_the_command_knows_the_cameras() -> None:
    from stream.cli import demo
    from stream.demo import camera

    assert demo.CAMERAS == camera.CAMERAS


def test_the_command_renders_what_it_is_told_and_writes_the_truth(tmp_path: Path) -> None:
    clip = ["--frames", "5", "--clip-size", "160x90", "--camera", "handheld", "--skaters", "2", "--boards", "2"]
    options = ["--window", "5", "--overlap", "0", "--out", str(tmp_path / "run"), "--truth", str(tmp_path / "truth")]
    ended = invoke(["demo", *clip, *options])
    assert ended.code in (0, 1), ended.err  # the bounds are for the default clip
    config = DemoConfig(5, 160, 90, camera="handheld", skaters=2, boards=2)
    assert (tmp_path / "run" / "input" / clip_name(config)).is_file()
    about = json.loads((tmp_path / "truth" / "truth.json").read_text())
    assert (about["clip"]["camera"], about["clip"]["skaters"], len(about["frames"])) == ("handheld", 2, 5)
    again = invoke(["demo", *clip, *options])
    assert again.code == 2 and "not empty" in again.err
    wrong = invoke(["demo", "--shots", "3", "--out", str(tmp_path / "other")])
    assert wrong.code == 2 and "--camera cuts" in wrong.err and not (tmp_path / "other").exists()
