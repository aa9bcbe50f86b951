"""Keypoints as JSON: ComfyUI's POSE_KEYPOINT (a clip), CMU OpenPose's (a frame), and the raw 133.

All functions are pure; whoever writes files calls them. Sources of the formats: Fannovel16/comfyui_controlnet_aux
(`encode_poses_as_dict`, `decode_json_as_poses`) and CMU-Perceptual-Computing-Lab/openpose (`doc/02_output.md`, 1.3).
"""

import json
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from stages.base import Array
from stages.poses.skeleton import BODY_25, FACE, LEFT_EYE, LEFT_HAND, RIGHT_EYE, RIGHT_HAND, openpose_body

Json = Any

SEEN = 0.3  # DWPose's threshold: points scored lower are missing
DECIMALS = 3  # of a pixel and of a score
PARTS = ("pose", "face", "hand_left", "hand_right")


def pose_keypoint(keypoints: Array, height: int, width: int) -> Json:
    """One frame of a POSE_KEYPOINT list.

    The reader drops every point whose confidence lies below 1.0, so a seen point is written with 1.0 and its true score
    under `*_scores`, which readers pass over. A missing point is 0, 0, 0; a part without any point is null; a frame
    without the person has no people.

    Args:
        keypoints: [133, 3] COCO-WholeBody: x, y in pixels, score 0..1.
        height, width: of the frame.
    """
    parts = {name: _with_threshold(points) for name, points in _parts(keypoints, body_25=False).items()}
    person: dict[str, Json] = {}
    for name, points in parts.items():
        flat = np.column_stack([points[:, :2], points[:, 2] > 0]) if points.any() else None
        person[f"{name}_keypoints_2d"] = None if flat is None else _numbers(flat)
    for name, points in parts.items():
        person[f"{name}_scores"] = None if not points.any() else _numbers(points[:, 2])
    people = [person] if any(points.any() for points in parts.values()) else []
    return {"people": people, "canvas_height": int(height), "canvas_width": int(width)}


def pose_keypoint_chunks(frames: Iterable[Array], height: int, width: int) -> Iterator[str]:
    """A clip's POSE_KEYPOINT file in pieces, a frame a line: write each as it comes, and nothing grows with the clip.

    Args:
        frames: [133, 3] keypoints of each frame, in order.
        height, width: of the frames.
    """
    before = "[\n"
    for keypoints in frames:
        yield before + json.dumps(pose_keypoint(keypoints, height, width), separators=(",", ":"))
        before = ",\n"
    yield "[]\n" if before == "[\n" else "\n]\n"


def cmu_frame(keypoints: Array) -> Json:
    """One frame as CMU OpenPose's `*_keypoints.json`: BODY_25, face 70, hands 21, true confidences; missing = 0."""
    parts = _parts(keypoints, body_25=True)
    if not any((points[:, 2] > 0).any() for points in parts.values()):
        return {"version": 1.3, "people": []}
    person: dict[str, Json] = {"person_id": [-1]}
    for name in PARTS:
        points = parts[name]
        person[f"{name}_keypoints_2d"] = _numbers(np.where(points[:, 2:] > 0, points, 0.0))
    for name in PARTS:
        person[f"{name}_keypoints_3d"] = []
    return {"version": 1.3, "people": [person]}


def _parts(keypoints: Array, body_25: bool) -> dict[str, Array]:
    """The four parts in OpenPose's order, [n, 3] each: body 18 or 25, face 68 and the two eyes, hands 21."""
    points = np.asarray(keypoints, np.float64)
    return {
        "pose": openpose_body(points, BODY_25) if body_25 else openpose_body(points),
        "face": np.concatenate([points[FACE], points[[RIGHT_EYE, LEFT_EYE]]]),
        "hand_left": points[LEFT_HAND],
        "hand_right": points[RIGHT_HAND],
    }


def _with_threshold(points: Array) -> Array:
    kept: Array = np.where(points[:, 2:] >= SEEN, points, 0.0)
    return kept


def _numbers(values: Array) -> list[float]:
    return [round(float(value), DECIMALS) for value in np.asarray(values).ravel()]
