"""OpenPose JSON back into COCO-WholeBody keypoints: what `skate export` or another tool wrote."""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from msgspec import Meta, Struct

from stages.base import Array
from stages.order import frame_files
from stages.poses.pictures import picture_files
from stages.poses.skeleton import BODY_25, FACE, JOINTS, LEFT_HAND, OPENPOSE_18, RIGHT_HAND
from storage.boundary import convert, parse, read_input
from storage.errors import InputError

SHARES = 2.0  # coordinates that are all below it are shares of the canvas: no skeleton fits into two pixels
MOST_BYTES = 2**31  # of one file: an hour at 60 frames/s is about half of it
_PARTS = (("face", FACE), ("hand_left", LEFT_HAND), ("hand_right", RIGHT_HAND))


Number = Annotated[float, Meta(ge=-1e9, le=1e9)]
Numbers = Annotated[list[Number], Meta(max_length=1000)] | None
"""Points of a part as x, y, score in a row, or their scores; null where the part is not seen."""


class Person(Struct, frozen=True):
    """A person as CMU OpenPose writes one; `scores` are ours: where the format's own mean something else."""

    pose_keypoints_2d: Numbers = None
    face_keypoints_2d: Numbers = None
    hand_left_keypoints_2d: Numbers = None
    hand_right_keypoints_2d: Numbers = None
    pose_scores: Numbers = None
    face_scores: Numbers = None
    hand_left_scores: Numbers = None
    hand_right_scores: Numbers = None


class Entry(Struct, frozen=True):
    """A frame's entry, in either format; the canvas is in pixels."""

    people: list[Person]
    canvas_width: Number | None = None
    canvas_height: Number | None = None


def read_poses(path: Path, size: tuple[int, int] | None = None) -> Iterator[Array]:
    """Keypoints `[133, 3]` float32 of every frame: from a folder of CMU files, or one POSE_KEYPOINT file.

    The first person of a frame is taken. Points that the format does not hold have score 0; so do all where the folder
    holds skeleton pictures: nothing is known of them but how they look.

    Args:
        path: the folder or file.
        size: (width, height) of the video. An entry that names a canvas of another size, or gives shares of it (both
            are about, by version of comfyui_controlnet_aux), is scaled to it.

    Raises:
        InputError: when there is nothing readable.
    """
    if path.is_dir():
        for _ in picture_files(path):
            yield np.zeros((JOINTS, 3), np.float32)
        if picture_files(path):
            return
        files = frame_files(path, ".json")
        if not files:
            raise InputError(f"--pose {path}: has neither JSON files nor PNGs in it")
        for file in files:
            yield frame_keypoints(_load(file), file, size)
        return
    frames = _load(path)
    if not isinstance(frames, list):
        raise InputError(f"--pose {path}: is not a POSE_KEYPOINT file (a list with an entry a frame)")
    for frame in frames:
        yield frame_keypoints(frame, path, size)


def _load(path: Path) -> Any:
    text = read_input(path, f"--pose {path}", most_bytes=MOST_BYTES)
    return parse(text, object, f"--pose {path}", InputError, most_bytes=MOST_BYTES)


def frame_keypoints(frame: Any, origin: Path, size: tuple[int, int] | None = None) -> Array:
    """One frame's `[133, 3]` float32: x, y in pixels, score 0..1; zeros where nobody is.

    Args:
        frame: the entry. origin: its file, for messages. size: as for `read_poses`.

    Raises:
        InputError: when the entry is not of either format, or a number is none that a picture can have.
    """
    what = f"--pose {origin}: an entry is neither CMU OpenPose nor POSE_KEYPOINT"
    entry = convert(frame, Entry, what, InputError)
    keypoints = np.zeros((JOINTS, 3), np.float32)
    if not entry.people:
        return keypoints
    person = entry.people[0]
    try:
        body = _points(person.pose_keypoints_2d, person.pose_scores)
        order = BODY_25 if len(body) == len(BODY_25) else OPENPOSE_18
        for point, index in zip(body, order, strict=len(body) > 0):
            if index is not None:
                keypoints[index] = point
        for name, span in _PARTS:
            flat = getattr(person, f"{name}_keypoints_2d")
            points = _points(flat, getattr(person, f"{name}_scores"))
            keypoints[span][: len(points)] = points[: span.stop - span.start]
    except ValueError as error:  # so many numbers make no points of such a part
        raise InputError(f"{what}: {error}") from error
    canvas = (float(entry.canvas_width or 0), float(entry.canvas_height or 0))
    if size is not None and min(canvas) > 0:
        _scale(keypoints, canvas, size)
    keypoints[:, 2] = keypoints[:, 2].clip(0, 1)
    return keypoints


def _scale(keypoints: Array, canvas: tuple[float, float], size: tuple[int, int]) -> None:
    """Seen points from pixels or shares of the canvas to pixels of a picture of `size`, in place; edges stay edges."""
    seen = keypoints[:, 2] > 0
    places = keypoints[seen, :2]
    if len(places) and np.abs(places).max() < SHARES < min(canvas):
        keypoints[seen, :2] = places * size
    elif canvas != size:
        keypoints[seen, :2] = (places + 0.5) * np.divide(size, canvas) - 0.5


def _points(flat: list[float] | None, scores: list[float] | None) -> Array:
    """`[n, 3]` of one part; where true scores are written beside it (as `skate export` does), with those."""
    points = np.asarray(flat or [], np.float32).reshape(-1, 3)
    if scores:
        points[:, 2] = np.asarray(scores, np.float32)
    return points
