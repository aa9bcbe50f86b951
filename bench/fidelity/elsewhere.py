"""Results made elsewhere: a video a clip, in a folder a method."""

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from bench.fidelity.clips import Clip
from stages.base import Array
from stages.video.plain import plain_frames
from storage.errors import InputError

SUFFIXES = (".mp4", ".mkv", ".mov", ".webm")


@dataclass(frozen=True)
class Elsewhere:
    """A method's videos, by name of the clip."""

    videos: dict[str, Path]

    def frames(self, clip: Clip) -> Array:
        """`[T, H, W, 3]` uint8 RGB, resampled to the clip's size.

        Raises:
            InputError: when the video has another number of frames.
        """
        path, scene = self.videos[clip.name], clip.scene
        made: list[Array] = []
        for frame in plain_frames(path):
            if len(made) == scene.frames:
                raise InputError(f"{path}: has more than {scene.frames} frames, which the clip {clip.name} has")
            smaller = frame.shape[0] > scene.height
            way = cv2.INTER_AREA if smaller else cv2.INTER_CUBIC
            fits = frame.shape[:2] == (scene.height, scene.width)
            made.append(frame if fits else cv2.resize(frame, (scene.width, scene.height), interpolation=way))
        if len(made) < scene.frames:
            raise InputError(
                f"{path}: has {len(made)} frames, the clip {clip.name} has {scene.frames}: give all of them"
            )
        return np.stack(made)


def read_results(folder: Path, wanted: list[str], taken: Collection[str]) -> dict[str, Elsewhere]:
    """The methods in a folder: itself where the clips' videos lie in it, else each folder in it.

    Args:
        wanted: names of the clips. taken: names of the benchmark's own methods.

    Raises:
        InputError: when there is none, or one lacks a clip or is called as one of the benchmark's own.
    """
    if not folder.is_dir():
        raise InputError(f"--results {folder}: is no folder: give one with a video a clip, named as the clips")
    places = [folder] if _videos(folder, wanted) else sorted(path for path in folder.iterdir() if path.is_dir())
    found = {place.name: _videos(place, wanted) for place in places}
    found = {name: videos for name, videos in found.items() if videos}
    if not found:
        raise InputError(f"--results {folder}: holds no video of a clip: name them {', '.join(wanted)} (.mp4)")
    for name, videos in found.items():
        if name in taken:
            raise InputError(f"--results {folder}: {name} is a method of the benchmark: call the folder otherwise")
        missing = [clip for clip in wanted if clip not in videos]
        if missing:
            raise InputError(f"--results {folder}: {name} lacks {', '.join(missing)}: give every clip of the set")
    return {name: Elsewhere(videos) for name, videos in found.items()}


def _videos(folder: Path, wanted: list[str]) -> dict[str, Path]:
    return {path.stem: path for path in sorted(folder.iterdir()) if path.suffix in SUFFIXES and path.stem in wanted}
