"""`skate export`: masks, skeletons and metadata as files that other tools take. Streamed, in flat memory."""

import json
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from stages.base import Array
from stages.pose import cmu_frame, draw, openpose_frame
from stages.sink import VideoWriter
from storage.arrays import RunArrays, run_arrays
from storage.durable import write_atomic
from storage.errors import EnvironmentFault, RunDirectoryError
from storage.rundir import CommitLog, Manifest, read_log, read_manifest
from stream.config import RunConfig

PIECE_FRAMES = 12


def export_run(path: Path, target: Path, pose_style: str | None = None) -> str:
    """Write everything that is tracked so far; returns the line to print.

    Raises:
        RunDirectoryError: when nothing is tracked yet.
    """
    manifest, log = read_manifest(path), read_log(path)
    config = RunConfig.from_json(manifest["config"])
    tracked = log.of("track")
    if not tracked:
        raise RunDirectoryError(f"{path}: nothing is tracked yet, there is nothing to export: `skate resume {path}`")
    frames = tracked[-1]["span"][1]
    video = manifest["video"]
    arrays = RunArrays(path / "run.zarr", run_arrays(video["height"], video["width"]), config.plan.chunk_frames)
    for name in ("mask_skateboard", "pose_skater", "pose_json"):
        (target / name).mkdir(parents=True, exist_ok=True)
    _write_frames(arrays, frames, video, target, pose_style or config.pose_style)
    metadata = tracking_metadata(manifest, log, frames)
    write_atomic(target / "tracking_metadata.json", json.dumps(metadata, indent=2, sort_keys=True).encode() + b"\n")
    return f"{target}: {frames} frames of masks, skeletons and keypoints"


def _write_frames(arrays: RunArrays, frames: int, video: dict[str, Any], target: Path, style: str) -> None:
    height, width = video["height"], video["width"]
    with ExitStack() as stack:
        masks = stack.enter_context(VideoWriter(target / "mask.mp4", width, height, video))
        poses = stack.enter_context(VideoWriter(target / "pose.mp4", width, height, video))
        keypoint_file = stack.enter_context((target / "pose.json").open("w", encoding="utf-8"))
        keypoint_file.write("[")
        for t, seconds, mask, keypoints in _tracked(arrays, frames):
            grey = mask.astype(np.uint8) * 255
            skeleton = draw(keypoints, height, width, style)
            _write_png(target / "mask_skateboard" / f"frame_{t:05d}.png", grey)
            _write_png(target / "pose_skater" / f"frame_{t:05d}.png", np.ascontiguousarray(skeleton[..., ::-1]))
            masks.write(np.repeat(grey[..., None], 3, axis=2), seconds)
            poses.write(skeleton, seconds)
            cmu = json.dumps(cmu_frame(keypoints))
            (target / "pose_json" / f"frame_{t:05d}_keypoints.json").write_text(cmu, encoding="utf-8")
            keypoint_file.write((",\n" if t else "\n") + json.dumps(openpose_frame(keypoints, height, width)))
        keypoint_file.write("\n]\n")


def _tracked(arrays: RunArrays, frames: int) -> Iterator[tuple[int, float, Array, Array]]:
    """Frame number, time, object mask [H, W], keypoints [133, 3] of every frame."""
    for start in range(0, frames, PIECE_FRAMES):
        stop = min(frames, start + PIECE_FRAMES)
        pieces = [arrays.read(name, start, stop) for name in ("times", "masks/object", "keypoints")]
        for offset, (seconds, mask, keypoints) in enumerate(zip(*pieces, strict=True)):
            yield start + offset, float(seconds), mask, keypoints


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
