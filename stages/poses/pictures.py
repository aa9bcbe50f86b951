"""Skeletons that are known as pictures alone: a folder of PNGs, one a frame, as an annotator paints them on black."""

from collections.abc import Iterator
from pathlib import Path

import cv2

from stages.base import Array
from stages.order import frame_files
from stages.picture import decode_picture
from stages.poses.draw import painted
from stages.video.limits import DEFAULT_MAX_PIXELS
from storage.boundary import read_input
from storage.errors import InputError

SHAPE_TOLERANCE = 0.1  # annotators round both sides to multiples of 64
MOST_PAINTED = 0.5  # of a picture: a skeleton is lines


def picture_files(path: Path) -> list[Path]:
    """The PNGs of a folder in order of their numbers; none of a folder that holds JSON: then the poses are that."""
    if not path.is_dir() or frame_files(path, ".json"):
        return []
    return frame_files(path, ".png")


class SkeletonPictures:
    """The pictures of a folder, read one by one.

    Args:
        folder: of PNGs in order of their numbers, each showing the whole frame, in any size.
        max_pixels: width times height of the largest that is read.
    """

    def __init__(self, folder: Path, max_pixels: int = DEFAULT_MAX_PIXELS) -> None:
        self.files = picture_files(folder)
        self._max_pixels = max_pixels

    def each(self, size: tuple[int, int] | None = None) -> Iterator[Array]:
        """All pictures, as `read` gives them."""
        for index in range(len(self.files)):
            yield self.read(index, size)

    def read(self, index: int, size: tuple[int, int] | None = None) -> Array:
        """The picture of a frame, `[h, w, 3]` uint8 RGB, in its own size.

        Args:
            index: of the frame.
            size: (width, height) of the video; None: not compared.

        Raises:
            InputError: when it cannot be read, is no skeleton on black, or does not have the video's shape.
        """
        file = self.files[index]
        data = read_input(file, f"--pose {file}")
        decoded = decode_picture(data, cv2.IMREAD_COLOR, f"--pose {file}", self._max_pixels)
        if decoded is None:
            raise InputError(f"--pose {file}: cannot be read as a PNG")
        rows, columns = decoded.shape[:2]
        width, height = size or (columns, rows)
        if abs(columns * height / (rows * width) - 1) > SHAPE_TOLERANCE:
            raise InputError(
                f"--pose {file}: is {columns}x{rows}, the video is {width}x{height}: give pictures of the whole frame"
            )
        picture: Array = cv2.cvtColor(decoded, cv2.COLOR_BGR2RGB)
        if painted(picture).mean() > MOST_PAINTED:
            raise InputError(f"--pose {file}: is no skeleton on black: more than half of it is painted")
        return picture
