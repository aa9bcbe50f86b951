"""A window's pictures, put together: the whole of it as it was made, its region as it was enlarged."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from stages.affine import compose, scaling
from stages.base import Array
from stages.resize import Size, resize_frames
from stages.server.inject import Crop
from stages.server.pictures import Put
from stages.views.look import through
from storage.errors import GeneratorError

AROUND = 32  # pixels; what enlarging models see around a pixel that matters
MOST_TIMES = 8  # that a model enlarges: there are none of more


@dataclass(frozen=True)
class Enlarged:
    """What the server enlarges.

    Attributes:
        node: that gives it. crop: of the picture as it is generated.
        size: (width, height) that the window's pictures are brought to.
    """

    node: str
    crop: Crop
    size: Size


def crop_around(where: Array, size: Size) -> Crop:
    """What is enlarged of a picture of `size` (width, height): a box around `[H, W]` bool, true somewhere, which may
    be of another size; with room for what its model sees around it."""
    rows, columns = (np.flatnonzero(where.any(axis=axis)) for axis in (1, 0))
    scales = size[1] / where.shape[0], size[0] / where.shape[1]
    spans = []
    for found, scale, side in zip((rows, columns), scales, (size[1], size[0]), strict=True):
        first, last = int(found[0] * scale) - AROUND, int(np.ceil((found[-1] + 1) * scale)) + AROUND
        spans.append((max(0, first), min(side, last)))
    (top, bottom), (left, right) = spans
    return Crop(left, top, right - left, bottom - top)


class Frames:
    """Takes the pictures of a window as they come.

    Args:
        node: that gives the whole pictures. length: how many. size: (width, height) of each.
        enlarged: what else is given; None: nothing.
        host: of the server, for messages.
    """

    def __init__(self, node: str, length: int, size: Size, enlarged: Enlarged | None, host: str) -> None:
        self._size, self._enlarged, self._host = size, enlarged, host
        self._frames = np.empty((length, size[1], size[0], 3), np.uint8)
        self.puts: Mapping[str, Put] = {node: self._whole}
        if enlarged is not None:
            self._scale = enlarged.size[0] / size[0], enlarged.size[1] / size[1]
            edges = [value * self._scale[axis % 2] for axis, value in enumerate(enlarged.crop.edges)]
            left, top, right, bottom = (*np.ceil(edges[:2]).astype(int), *np.floor(edges[2:]).astype(int))
            self._box = slice(top, bottom), slice(left, right)
            self._region = np.empty((length, bottom - top, right - left, 3), np.uint8)
            self.puts = {**self.puts, enlarged.node: self._part}

    @property
    def largest(self) -> int:
        """Pixels of the largest picture that it takes."""
        crop = 0 if self._enlarged is None else self._enlarged.crop.width * self._enlarged.crop.height
        return max(self._size[0] * self._size[1], MOST_TIMES**2 * crop)

    def _whole(self, index: int, picture: Array) -> None:
        self._check(picture, self._size, "remove what scales the output in the workflow")
        self._frames[index] = picture

    def _part(self, index: int, picture: Array) -> None:
        assert self._enlarged is not None
        crop = self._enlarged.crop
        times = max(1, round(picture.shape[1] / crop.width))
        self._check(picture, (times * crop.width, times * crop.height), "give an upscale model of a whole factor")
        rows, columns = self._box
        view = scaling((1 / times, 1 / times))
        view[:, 2] += crop.left, crop.top  # where its pixels lie in the picture that was generated
        view = compose(scaling(self._scale), view)
        view[:, 2] -= columns.start, rows.start
        self._region[index] = through(picture, view, (columns.stop - columns.start, rows.stop - rows.start))

    def _check(self, picture: Array, size: Size, remedy: str) -> None:
        if picture.shape[1::-1] != size:
            found = f"{picture.shape[1]}x{picture.shape[0]}"
            raise GeneratorError(f"ComfyUI at {self._host}: a picture is {found}, {size[0]}x{size[1]} needed: {remedy}")

    def result(self) -> Array:
        """`[length, h, w, 3]` uint8 RGB, of the size that they are brought to."""
        if self._enlarged is None:
            return self._frames
        rows, columns = self._box
        whole = resize_frames(self._frames, self._enlarged.size)
        whole[:, rows, columns] = self._region
        return whole
