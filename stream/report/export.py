"""`skate export`: masks, skeletons and metadata as files that other tools take. Streamed, in flat memory."""

import dataclasses
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from stages.base import Array
from stages.order import number_digits
from stages.poses.draw import draw
from stages.poses.openpose_json import cmu_frame, pose_keypoint_chunks
from stages.sink import EncoderSettings, write_segment
from stages.views.names import view_name
from storage.durable import write_atomic
from storage.errors import EnvironmentFault, InputError, RunDirectoryError
from storage.rundir import CommitLog, Manifest, RunReader
from stream.options.assembly import encoder_settings
from stream.options.config import RunConfig
from stream.options.recorded import read_run

FORMAT = 1
_IDENTITIES = (" weights", " config")  # of models, among what decides a run's results
PIECE_FRAMES = 12  # read at a time
CRF = 10  # of the two videos: masks read back at 128 are exact, skeletons keep their colours
MASKS, POSES, CMU = "mask_skateboard", "pose_skater", "pose_json"
METADATA, PROMPT_MASK, VIEWS = "tracking_metadata.json", "prompt_mask.png", "views_object.npy"


def export_run(path: Path, target: Path, pose_style: str | None = None) -> str:
    """Write everything that is tracked so far; returns the line to print. An earlier export there is replaced.

    Raises:
        RunDirectoryError: when nothing is tracked yet, or the folder holds something that is no export.
        InputError: when the mask that the object was given by is gone.
        EnvironmentFault: when it cannot be written.
    """
    _, config = read_run(path)
    run = RunReader(path)
    tracked = run.log.of("track")
    if not tracked:
        raise RunDirectoryError(f"{path}: nothing is tracked yet, there is nothing to export: `skate resume {path}`")
    frames = int(tracked[-1]["span"][1])
    mask = config.prompt.mask_png
    if mask is not None and not Path(mask).is_file():
        raise InputError(f"--object-mask {mask} of {path} is not there any more: put it back, it belongs to an export")
    try:
        _make_room(target)
        _write_all(run, config, frames, pose_style, target)
    except OSError as error:
        raise EnvironmentFault(
            f"{error.filename or target}: {error.strerror or error}: free space or choose another --to"
        ) from error
    return f"{target}: {frames} frames of masks, skeletons and keypoints"


def _make_room(target: Path) -> None:
    """Make the folders, empty of an earlier export's frames: a loader takes every file it finds.

    Raises:
        RunDirectoryError: when there is something that was not exported by this program.
    """
    folders = [target / name for name in (MASKS, POSES, CMU)]
    if target.exists() and any(target.iterdir()) and not all(folder.is_dir() for folder in folders):
        raise RunDirectoryError(f"{target} is not empty and holds no export: choose another --to")
    for folder, pattern in zip(folders, ("frame_*.png", "frame_*.png", "frame_*_keypoints.json"), strict=True):
        folder.mkdir(parents=True, exist_ok=True)
        for stale in folder.glob(pattern):
            stale.unlink()


def _write_all(run: RunReader, config: RunConfig, frames: int, pose_style: str | None, target: Path) -> None:
    video = run.manifest["video"]
    style = pose_style or config.pose_style
    times = run.arrays.read("times", 0, frames)
    settings = video_settings(video, config.fps)
    write_segment(target / "mask.mp4", _masks(run, frames, target / MASKS), times, settings)
    write_segment(target / "pose.mp4", _skeletons(run, frames, style, target), times, settings)
    with (target / "pose.json").open("w", encoding="utf-8") as file:
        file.writelines(pose_keypoint_chunks(_each(run, "keypoints/person", frames), video["height"], video["width"]))
    metadata = tracking_metadata(run.manifest, run.log, frames, style)
    for name in (PROMPT_MASK, VIEWS):
        (target / name).unlink(missing_ok=True)  # of an earlier export
    if config.track_view == "follow":  # a score looks through the same views
        np.save(target / VIEWS, run.arrays.read(view_name("object"), 0, frames), allow_pickle=False)
    if config.prompt.mask_png is not None:
        shutil.copyfile(config.prompt.mask_png, target / PROMPT_MASK)
    write_atomic(target / METADATA, json.dumps(metadata, indent=2, sort_keys=True).encode() + b"\n")


def frame_name(t: int, frames: int) -> str:
    """Frame t of so many, with as many digits as they all need: ComfyUI's loaders take files in order of the text."""
    return f"frame_{t:0{number_digits(frames)}d}"


def video_settings(video: dict[str, Any], fps: float | None) -> EncoderSettings:
    """How `mask.mp4` and `pose.mp4` are coded: as the output is, a little finer."""
    return dataclasses.replace(encoder_settings(video, fps), crf=CRF)


def _each(run: RunReader, name: str, frames: int) -> Iterator[Array]:
    """The array's frames one at a time."""
    for start in range(0, frames, PIECE_FRAMES):
        yield from run.arrays.read(name, start, min(frames, start + PIECE_FRAMES))


def _masks(run: RunReader, frames: int, folder: Path) -> Iterator[Array]:
    """Write each mask as an 8-bit grey PNG (255 = object) and pass it on as `[H, W, 3]` uint8."""
    for t, mask in enumerate(_each(run, "masks/object", frames)):
        grey = mask.astype(np.uint8) * 255
        _write_png(folder / f"{frame_name(t, frames)}.png", grey)
        yield np.repeat(grey[..., None], 3, axis=2)


def _skeletons(run: RunReader, frames: int, style: str, target: Path) -> Iterator[Array]:
    """Draw each skeleton, write it as PNG and CMU JSON, and pass it on as `[H, W, 3]` uint8 RGB."""
    height, width = run.manifest["video"]["height"], run.manifest["video"]["width"]
    for t, keypoints in enumerate(_each(run, "keypoints/person", frames)):
        skeleton = draw(keypoints, height, width, style)
        name = frame_name(t, frames)
        _write_png(target / POSES / f"{name}.png", np.ascontiguousarray(skeleton[..., ::-1]))
        cmu = json.dumps(cmu_frame(keypoints))
        (target / CMU / f"{name}_keypoints.json").write_text(cmu, encoding="utf-8")
        yield skeleton


def _write_png(path: Path, picture: Array) -> None:
    """`[H, W]` grey or `[H, W, 3]` BGR, uint8. Encoded here: cv2.imwrite tells no reason when it fails."""
    path.write_bytes(cv2.imencode(".png", picture)[1].tobytes())


def portable_config(config: dict[str, Any]) -> dict[str, Any]:
    """A run's config without what is of this machine: files by name, the prompt mask as it lies in the export."""
    prompt = dict(config["prompt"])
    if prompt["mask_png"] is not None:
        prompt["mask_png"] = PROMPT_MASK
    names = ("video", "masks", "person_masks", "pose_file", "reference", "workflow")
    files = {name: Path(config[name]).name for name in names if config.get(name)}
    return {**config, **files, "prompt": prompt, "server": []}


def tracking_metadata(manifest: Manifest, log: CommitLog, frames: int, pose_style: str) -> dict[str, Any]:
    """Video properties, prompts, models and versions: enough, with the masks, for `skate evaluate`."""
    untracked: dict[str, list[list[int]]] = {"object": [], "person": []}
    for record in log.of("track"):
        for name, spans in record["info"]["untracked"].items():
            untracked[name] += spans
    config = portable_config(manifest["config"])
    name = f"frame_%0{number_digits(frames)}d"
    return {
        "format": FORMAT,
        "video": {**manifest["video"], "frames": frames},
        "config": config,
        "config_digest": manifest["config_digest"],
        "models": {name: value for name, (_, value) in manifest["decisive"].items() if name.endswith(_IDENTITIES)},
        "versions": manifest["versions"],
        "untracked": untracked,
        "pose_style": pose_style,
        "files": {
            "masks": f"{MASKS}/{name}.png",
            "poses": f"{POSES}/{name}.png",
            "cmu": f"{CMU}/{name}_keypoints.json",
            "keypoints": "pose.json",
            "mask_video": "mask.mp4",
            "pose_video": "pose.mp4",
            **({"views": VIEWS} if config["track_view"] == "follow" else {}),
        },
    }
