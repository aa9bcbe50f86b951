"""`skate export`: masks, skeletons and metadata as files that other tools take. Streamed, in flat memory."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from stages._pose.draw import draw
from stages._pose.openpose_json import cmu_frame, pose_keypoint_chunks
from stages.base import Array
from stages.sink import ColourTags, EncoderSettings, write_segment
from storage.durable import write_atomic
from storage.errors import EnvironmentFault, RunDirectoryError
from storage.rundir import CommitLog, Manifest, RunReader
from stream.config import RunConfig

PIECE_FRAMES = 12  # read at a time


def export_run(path: Path, target: Path, pose_style: str | None = None) -> str:
    """Write everything that is tracked so far; returns the line to print.

    Raises:
        RunDirectoryError: when nothing is tracked yet.
    """
    run = RunReader(path)
    tracked = run.log.of("track")
    if not tracked:
        raise RunDirectoryError(f"{path}: nothing is tracked yet, there is nothing to export: `skate resume {path}`")
    frames = int(tracked[-1]["span"][1])
    style = pose_style or RunConfig.from_json(run.manifest["config"]).pose_style
    for name in ("mask_skateboard", "pose_skater", "pose_json"):
        (target / name).mkdir(parents=True, exist_ok=True)
    video = run.manifest["video"]
    settings = EncoderSettings(
        video["width"], video["height"], ColourTags(), float(video["claimed_fps"]), crf=10, preset="fast"
    )
    times = run.arrays.read("times", 0, frames)
    write_segment(target / "mask.mp4", _masks(run, frames, target / "mask_skateboard"), times, settings)
    write_segment(target / "pose.mp4", _skeletons(run, frames, style, target), times, settings)
    with (target / "pose.json").open("w", encoding="utf-8") as file:
        file.writelines(pose_keypoint_chunks(_each(run, "keypoints", frames), video["height"], video["width"]))
    metadata = tracking_metadata(run.manifest, run.log, frames)
    write_atomic(target / "tracking_metadata.json", json.dumps(metadata, indent=2, sort_keys=True).encode() + b"\n")
    return f"{target}: {frames} frames of masks, skeletons and keypoints"


def _each(run: RunReader, name: str, frames: int) -> Iterator[Array]:
    """The array's frames one at a time."""
    for start in range(0, frames, PIECE_FRAMES):
        yield from run.arrays.read(name, start, min(frames, start + PIECE_FRAMES))


def _masks(run: RunReader, frames: int, folder: Path) -> Iterator[Array]:
    """Write each mask as a grey PNG and pass it on as `[H, W, 3]` uint8."""
    for t, mask in enumerate(_each(run, "masks/object", frames)):
        grey = mask.astype(np.uint8) * 255
        _write_png(folder / f"frame_{t:05d}.png", grey)
        yield np.repeat(grey[..., None], 3, axis=2)


def _skeletons(run: RunReader, frames: int, style: str, target: Path) -> Iterator[Array]:
    """Draw each skeleton, write it as PNG and CMU JSON, and pass it on as `[H, W, 3]` uint8 RGB."""
    height, width = run.manifest["video"]["height"], run.manifest["video"]["width"]
    for t, keypoints in enumerate(_each(run, "keypoints", frames)):
        skeleton = draw(keypoints, height, width, style)
        _write_png(target / "pose_skater" / f"frame_{t:05d}.png", np.ascontiguousarray(skeleton[..., ::-1]))
        cmu = json.dumps(cmu_frame(keypoints))
        (target / "pose_json" / f"frame_{t:05d}_keypoints.json").write_text(cmu, encoding="utf-8")
        yield skeleton


def _write_png(path: Path, picture: Array) -> None:
    if not cv2.imwrite(str(path), picture):
        raise EnvironmentFault(f"{path}: cannot be written: free space or choose another --to")


def tracking_metadata(manifest: Manifest, log: CommitLog, frames: int) -> dict[str, Any]:
    """Video properties, prompts, models and versions: enough, with the masks, for `skate evaluate`."""
    untracked: dict[str, list[list[int]]] = {"object": [], "person": []}
    for record in log.of("track"):
        for name, spans in record["info"]["untracked"].items():
            untracked[name] += spans
    return {
        "format": 1,
        "video": {**manifest["video"], "frames": frames},
        "config": manifest["config"],
        "config_digest": manifest["config_digest"],
        "models": {key: value[1] for key, value in manifest["decisive"].items() if key.endswith(("weights", "config"))},
        "versions": manifest["versions"],
        "untracked": untracked,
        "files": {
            "masks": "mask_skateboard/frame_%05d.png",
            "poses": "pose_skater/frame_%05d.png",
            "keypoints": "pose.json",
        },
    }
