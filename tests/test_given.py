"""Masks and poses made elsewhere: where the person's region comes from, what fits the video, what is refused."""

import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from _clips import Clip, make
from _runs import invoke, small_models
from fake_comfy import FakeComfy
from fake_comfy.interpreter import frames_of

from stages.base import Array, Inputs, Window
from stages.given import GivenMasksStage, first_prompt, has_person
from stages.poses.draw import draw, painted
from stages.poses.openpose_json import cmu_frame, pose_keypoint
from stages.poses.openpose_read import read_poses
from stages.poses.silhouette import silhouette
from stages.prompts import ObjectPrompt
from storage.errors import InputError
from storage.rundir import RunReader
from stream.demo import DemoConfig, Scene
from stream.demo.clip import write_clip
from stream.engine.source import InputGuard
from stream.engine.windows import WindowPlan
from stream.options.assembly import Models
from stream.options.config import RunConfig
from stream.run.identity import make_manifest

CLIP = DemoConfig(frames=13, width=96, height=64, seed=2)
SIZE = (CLIP.width, CLIP.height)


class Given:
    """The demo's truth as files: masks of object and person, poses in every form, a clip."""

    def __init__(self, folder: Path) -> None:
        self.clip = folder / "clip.mp4"
        write_clip(CLIP, self.clip)
        frames = list(Scene(CLIP))
        self.objects = np.stack([frame.object_mask for frame in frames])
        self.persons = np.stack([frame.person_mask for frame in frames])
        self.keypoints = np.stack(
            [np.column_stack([frame.joints, frame.joints_visible]).astype(np.float32) for frame in frames]
        )
        self.masks = pngs(folder / "masks", self.objects.astype(np.uint8) * 255)
        self.person_masks = pngs(folder / "persons", self.persons.astype(np.uint8) * 255)
        skeletons = [draw(points, 4 * CLIP.height, 4 * CLIP.width, "controlnet") for points in self.scaled(4)]
        self.pictures = pngs(folder / "skeletons", np.stack(skeletons)[..., ::-1])
        self.pose = folder / "pose.json"
        self.pose.write_text(json.dumps([pose_keypoint(points, CLIP.height, CLIP.width) for points in self.keypoints]))
        self.cmu = folder / "cmu"
        self.cmu.mkdir()
        for t, points in enumerate(self.keypoints):
            (self.cmu / f"frame_{t:05d}_keypoints.json").write_text(json.dumps(cmu_frame(points)))
        self.nobody = folder / "nobody.json"
        self.nobody.write_text(json.dumps([pose_keypoint(points * 0, 64, 96) for points in self.keypoints]))
        self.models = small_models(folder)[:4]

    def scaled(self, factor: int) -> Array:
        """The keypoints in a picture `factor` times as large."""
        scaled = self.keypoints.copy()
        scaled[..., :2] = (scaled[..., :2] + 0.5) * factor - 0.5
        return scaled

    def generate(self, out: Path, *more: str, masks: Path | None = None, pose: Path | None = None) -> Any:
        tracking = ["--masks", str(masks or self.masks), "--pose", str(pose or self.pose), *self.models]
        sizes = ["--window", "13", "--overlap", "4"]
        return invoke(["generate", str(self.clip), "--out", str(out), *tracking, *sizes, *more])


def pngs(folder: Path, pictures: Array) -> Path:
    folder.mkdir()
    for t, picture in enumerate(pictures):
        cv2.imwrite(str(folder / f"frame_{t:05d}.png"), picture)
    return folder


def video(path: Path, masks: Array) -> Path:
    """Masks as an H.264 video, padded to even sides."""
    height, width = (side + side % 2 for side in masks.shape[1:])
    padded = np.zeros((len(masks), height, width, 3), np.uint8)
    padded[:, : masks.shape[1], : masks.shape[2]] = masks[..., None] * 255
    return make(path, Clip(frames=len(masks), width=width, height=height), lambda index, *_: padded[index])


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> Given:
    return Given(tmp_path_factory.mktemp("given"))


def picture_of(path: Path, flags: int = cv2.IMREAD_COLOR) -> Array:
    picture = cv2.imread(str(path), flags)
    assert picture is not None
    return picture


def stored(run: Path, name: str) -> Array:
    return RunReader(run).arrays.read(name, 0, CLIP.frames)


def window(frames: int = CLIP.frames) -> Window:
    return next(iter(WindowPlan(13, 4).windows(frames)))


def tracked(masks: Path, persons: Path | None, pose: Path, keypoints: Array, size: tuple[int, int] = SIZE) -> Any:
    with GivenMasksStage(masks, persons, pose, first_prompt(masks), size) as stage:
        return stage.process(window(len(keypoints)), Inputs({"keypoints/person": keypoints}))


def test_the_persons_masks_are_taken_where_they_are_given(given: Given) -> None:
    output = tracked(given.masks, given.person_masks, given.pose, given.keypoints)
    assert np.array_equal(output.arrays["masks/person"], given.persons)
    assert (
        output.arrays["visible/object"].all()
        and output.arrays["visible/person"].all()
        and output.info["untracked"] == {"object": [], "person": []}
    )


def test_else_the_region_is_drawn_around_the_skeleton_without_the_object(given: Given) -> None:
    found = tracked(given.masks, None, given.pose, given.keypoints).arrays["masks/person"]
    capsules = np.stack([silhouette(points, CLIP.height, CLIP.width) for points in given.keypoints])
    assert np.array_equal(found, capsules & ~given.objects)
    assert (found & given.persons).sum() > 0.9 * given.persons.sum()


def test_or_around_its_pictures_of_any_size(given: Given) -> None:
    found = tracked(given.masks, None, given.pictures, given.keypoints * 0).arrays["masks/person"]
    assert found.shape[1:] == (CLIP.height, CLIP.width) and not (found & given.objects).any()
    assert (found & given.persons).sum() > 0.9 * given.persons.sum() and found.sum() < 3 * given.persons.sum()


def test_masks_as_videos_of_odd_size(given: Given, tmp_path: Path) -> None:
    """As `skate export` writes them: padded right and bottom to even sides."""
    odd = (slice(None), slice(0, 63), slice(0, 95))
    objects, persons = (video(tmp_path / f"{i}.mp4", m[odd]) for i, m in enumerate((given.objects, given.persons)))
    output = tracked(objects, persons, given.pose, given.keypoints, (95, 63))
    assert np.array_equal(output.arrays["masks/object"], given.objects[odd])
    assert np.array_equal(output.arrays["masks/person"], given.persons[odd])


def test_a_resumed_stage_goes_on_where_it_stood(given: Given) -> None:
    plan = list(WindowPlan(5, 1).windows(CLIP.frames))
    for persons, pose in ((given.person_masks, given.pose), (None, given.pictures)):
        whole = tracked(given.masks, persons, pose, given.keypoints).arrays["masks/person"]
        with GivenMasksStage(given.masks, persons, pose, first_prompt(given.masks), SIZE) as stage:
            stage.process(plan[0], Inputs({"keypoints/person": given.keypoints[slice(*plan[0].new)]}))
            state = stage.get_state().to_parts()
        with GivenMasksStage(given.masks, persons, pose, first_prompt(given.masks), SIZE) as stage:
            stage.set_state(*state)
            output = stage.process(plan[1], Inputs({"keypoints/person": given.keypoints[slice(*plan[1].new)]}))
        assert np.array_equal(output.arrays["masks/person"], whole[slice(*plan[1].new)])


def test_poses_of_another_canvas_are_scaled(given: Given, tmp_path: Path) -> None:
    """A DWPose node at another resolution; and one of the versions that write shares of the canvas."""
    wanted = np.stack(list(read_poses(given.pose)))
    large, shares = [], []
    for points, scaled in zip(given.keypoints, given.scaled(4), strict=True):
        large.append(pose_keypoint(scaled, 4 * CLIP.height, 4 * CLIP.width))
        relative = points.copy()
        relative[:, :2] /= SIZE
        shares.append(pose_keypoint(relative, CLIP.height, CLIP.width))
    for name, frames, within in (("large", large, 1e-2), ("shares", shares, 0.1)):
        path = tmp_path / f"{name}.json"
        path.write_text(json.dumps(frames))
        found = np.stack(list(read_poses(path, SIZE)))
        assert np.abs(found - wanted).max() <= within
    assert np.array_equal(np.stack(list(read_poses(given.pose, SIZE))), wanted)


@pytest.mark.parametrize("number", ["1" + 400 * "0", "NaN", "1e999", '"x"', "null"])
def test_numbers_that_no_picture_has(given: Given, tmp_path: Path, number: str) -> None:
    path = tmp_path / "pose.json"
    frame = pose_keypoint(given.keypoints[0], CLIP.height, CLIP.width)
    frame["people"][0]["pose_keypoints_2d"][0] = 123.25
    path.write_text(f"[{json.dumps(frame).replace('123.25', number)}]")
    with pytest.raises(InputError, match=r"--pose .*pose\.json: (an entry is neither|is no JSON|.*out of range)"):
        list(read_poses(path, SIZE))


def test_a_run_regenerates_the_person_and_nothing_outside(given: Given, tmp_path: Path) -> None:
    assert given.generate(tmp_path / "run", "--keep", "all", "--dilate", "0").code in (0, 1)
    changed = (stored(tmp_path / "run", "generated") != stored(tmp_path / "run", "frames")).any(axis=3)
    person = stored(tmp_path / "run", "masks/person")
    assert changed[person].mean() > 0.9 and not changed[~person & ~given.objects].any()
    assert invoke(["export", str(tmp_path / "run"), "--to", str(tmp_path / "export")]).code == 0
    summary = json.loads((tmp_path / "run" / "report" / "summary.json").read_text())
    assert summary["clipping"] is not None and "person_visible" in (tmp_path / "run/report/iou.csv").read_text()


@pytest.mark.parametrize("reskin", ["person", "both"])
def test_skeleton_pictures_are_what_the_model_is_shown(given: Given, tmp_path: Path, reskin: str) -> None:
    with FakeComfy() as server:
        more = ["--server", server.address, "--size", "192x128", "--reskin", reskin, "--prompt", "x", "--keep", "all"]
        more += ["--view", "full"]
        result = given.generate(tmp_path / "run", *more, pose=given.pictures)
        assert result.code in (0, 1), result.err
        shown = frames_of(server.executor.files.sent[server.prompts[0]["1"]["inputs"]["file"]])
    control = np.round(shown * 255).astype(np.uint8)[: CLIP.frames]
    pictures = np.stack([picture_of(path)[..., ::-1] for path in sorted(given.pictures.iterdir())])
    small = np.stack([cv2.resize(picture, (192, 128), interpolation=cv2.INTER_AREA) for picture in pictures])
    skeleton = painted(small)
    assert skeleton.any() and (control[skeleton] == small[skeleton]).all(axis=-1).mean() > 0.95
    changed = (stored(tmp_path / "run", "generated") != stored(tmp_path / "run", "frames")).any(axis=3)
    assert changed[given.persons & ~given.objects].mean() > 0.9


def test_nothing_left_to_regenerate_is_said(given: Given, tmp_path: Path) -> None:
    result = given.generate(tmp_path / "a", "--reskin", "person", pose=given.nobody)
    assert result.code == 2 and "--reskin person: nobody is to be seen in --pose" in result.err
    black = pngs(tmp_path / "black", np.zeros((CLIP.frames, 64, 96), np.uint8))
    result = given.generate(tmp_path / "a", "--reskin", "person", "--person-masks", str(black))
    assert result.code == 2 and "nobody is to be seen in --person-masks" in result.err
    result = given.generate(tmp_path / "a", "--reskin", "person", pose=black)
    assert result.code == 2 and not (tmp_path / "a").exists()
    result = given.generate(tmp_path / "b", pose=given.nobody)  # the object is left
    assert result.code in (0, 1) and "nobody is to be seen in nobody.json: the object alone" in result.err
    assert "person   was never found, so that only the object could be regenerated: give --person-masks" in result.out
    again = invoke(["generate", str(tmp_path / "b"), "--out", str(tmp_path / "c"), "--reskin", "person"])
    assert again.code == 2 and "the person was not found on any frame" in again.err and not (tmp_path / "c").exists()


def test_whether_there_is_a_person(given: Given) -> None:
    for pose in (given.pose, given.cmu, given.pictures):
        assert has_person(pose, None)
    assert has_person(given.nobody, given.person_masks) and not has_person(given.nobody, None)


def replaced(given: Given, folder: Path, kind: str, picture: Array) -> Path:
    """A copy of masks or skeletons in which frame 5 is another picture."""
    source = {"masks": given.masks, "persons": given.person_masks, "skeletons": given.pictures}[kind]
    pictures = [picture_of(path, cv2.IMREAD_UNCHANGED) for path in sorted(source.iterdir())]
    pictures[5] = picture
    folder.mkdir()
    for t, one in enumerate(pictures):
        cv2.imwrite(str(folder / f"{t:03d}.png"), one)
    return folder


ODD: dict[str, tuple[str, Callable[[], Array], str]] = {
    "mask": ("masks", lambda: np.zeros((32, 96), np.uint8), "--masks .*: frame 5 is 96x32, the video is 96x64"),
    "person": ("persons", lambda: np.zeros((64, 64), np.uint8), "--person-masks .*: frame 5 is 64x64, the video"),
    "shape": ("skeletons", lambda: np.zeros((64, 64, 3), np.uint8), "005.png: is 64x64, the video is 96x64: give"),
    "paper": ("skeletons", lambda: np.full((64, 96, 3), 255, np.uint8), "005.png: is no skeleton on black"),
}


@pytest.mark.parametrize("what", sorted(ODD))
def test_one_picture_of_another_size_is_one_line(given: Given, tmp_path: Path, what: str) -> None:
    kind, picture, message = ODD[what]
    folder = replaced(given, tmp_path / kind, kind, picture())
    more = ("--person-masks", str(folder)) if kind == "persons" else ()
    masks, pose = (folder if kind == "masks" else None), (folder if kind == "skeletons" else None)
    result = given.generate(tmp_path / "run", *more, masks=masks, pose=pose)
    last = result.err.strip().splitlines()[-1]
    assert result.code == 3 and "Traceback" not in result.err
    assert re.search(message, last), last


def test_options_that_do_not_belong_together(given: Given, tmp_path: Path) -> None:
    persons = ["--person-masks", str(given.person_masks)]
    result = invoke(["generate", str(given.clip), "--out", str(tmp_path / "x"), *persons])
    assert result.code == 2 and "--person-masks: belongs to a VIDEO with --masks and --pose" in result.err
    result = given.generate(tmp_path / "x", "--person-masks", str(tmp_path / "none"))
    assert result.code == 3 and "--person-masks" in result.err and "no such folder or video" in result.err


def test_masks_of_another_size_are_told_before_anything_is_begun(given: Given, tmp_path: Path) -> None:
    large = pngs(tmp_path / "large", given.objects.repeat(4, axis=1).repeat(4, axis=2).astype(np.uint8) * 255)
    result = given.generate(tmp_path / "run", masks=large)
    assert result.code == 3 and "--masks" in result.err and "frame 0 is 384x256, the video is 96x64" in result.err
    assert not (tmp_path / "run").exists()


def test_one_file_less_than_frames(given: Given, tmp_path: Path) -> None:
    """A hint before the hours that a run takes; where the run knows its clip, nothing of it is lost."""
    short = pngs(tmp_path / "short", given.objects[:-1].astype(np.uint8) * 255)
    result = given.generate(tmp_path / "run", masks=short)
    assert result.code == 3 and "ends after 12 frames, the video goes on" in result.err
    assert "hint     --masks has 12 files, the header claims 13 frames" in result.err
    assert given.generate(tmp_path / "done").code in (0, 1)
    before = (tmp_path / "done" / "journal.jsonl").read_bytes()
    result = given.generate(tmp_path / "done", "--overwrite", masks=short)
    assert result.code == 3 and "--masks: has 12 files, the clip has 13 frames" in result.err
    assert (tmp_path / "done" / "journal.jsonl").read_bytes() == before


@pytest.mark.parametrize("kind", ["mask", "skeleton", "pose"])
def test_pipes_and_devices_do_not_hold_it_up(given: Given, tmp_path: Path, kind: str) -> None:
    pipe = replaced(given, tmp_path / "folder", {"skeleton": "skeletons"}.get(kind, "masks"), given.objects[5] * 255)
    pipe = pipe / "000.png"
    pipe.unlink()
    os.mkfifo(pipe)
    named = {"mask": {"masks": pipe.parent}, "skeleton": {"pose": pipe.parent}, "pose": {"pose": pipe}}[kind]
    result = given.generate(tmp_path / "run", "--reskin", "person", **named)
    assert result.code == 3 and "000.png" in result.err and "is no regular file" in result.err, result.err
    assert not (tmp_path / "run").exists()


def test_given_files_are_known_by_names_and_bytes(given: Given, tmp_path: Path) -> None:
    """A folder's files are read in the order of their names: another order is another run."""
    masks = Path(shutil.copytree(given.masks, tmp_path / "masks"))

    def known() -> Any:
        config = RunConfig(
            ObjectPrompt(box=(0, 0, 1, 1)),
            video=str(given.clip),
            chain="given",
            masks=str(masks),
            person_masks=str(given.person_masks),
            pose_file=str(given.pose),
        )
        decisive = make_manifest(config, Models(), InputGuard(given.clip))["decisive"]
        return [decisive[name][1] for name in ("given masks", "given person masks", "given pose")]

    first = known()
    assert len(set(first)) == 3
    (masks / "folder").mkdir()
    files = sorted(path for path in masks.iterdir() if path.is_file())
    for path in reversed(files):
        shutil.copy(path, tmp_path / "copy.png")
        path.unlink()
        (tmp_path / "copy.png").rename(path)
    assert known() == first, "neither when each was written nor what is no file"
    files[3].rename(masks / "x.png")
    assert known() != first
