"""Between the source's pixels and those of a generator's picture: the whole frame, or views of it."""

from collections.abc import Sequence

import cv2
import numpy as np

from stages.affine import compose, invert, scaling
from stages.base import Array
from stages.region import Box, source_pixels
from stages.resize import Size, resize_frames, resize_region
from stages.views.look import mask_through, through
from stages.views.path import whole


class Lens:
    """The whole frame at another size.

    Args:
        source, size: (width, height) of the frames, and of the picture.
        counted: (width, height) that widths are counted in; None: the picture's.
    """

    def __init__(self, source: Size, size: Size, counted: Size | None = None) -> None:
        self.source, self.size, self.counted = source, size, counted or size

    def pictures(self, frames: Array, first: int = 0) -> Array:
        """`[n, h, w, 3]` uint8: frames `[n, H, W, 3]` of the window, from its frame `first` on, as they are seen."""
        return resize_frames(frames, self.size)

    def regions(self, masks: Array, first: int = 0) -> Array:
        """`[n, h, w]` bool: true wherever a pixel of a region `[n, H, W]` is seen."""
        return resize_region(masks, self.size)

    def back(self, picture: Array, index: int, box: Box | None = None) -> Array:
        """`[H, W, 3]` uint8: the picture `[h, w, 3]` of the window's frame `index`, in the source's pixels.

        Args:
            box: the rows and columns that are needed; elsewhere anything may stand. None: all.
        """
        return np.asarray(resize_frames(picture[None], self.source)[0])

    def widths(self, pixels: tuple[int, int], index: int) -> tuple[float, float]:
        """Widths in the picture's pixels, in the source's."""
        return source_pixels(pixels, self.source, self.counted)

    def seen(self, index: int) -> Array | None:
        """`[H, W]` bool: the source's pixels that the picture shows; None: all of them."""
        return None


class Views(Lens):
    """A view a frame.

    Args:
        views: `[n, 2, 3]` float64, of the window's frames: source pixels to those of a picture of the size `counted`.
    """

    def __init__(self, source: Size, size: Size, views: Array, counted: Size | None = None) -> None:
        super().__init__(source, size, counted)
        self.shown = views
        larger = (size[0] / self.counted[0], size[1] / self.counted[1])
        self.views = views if size == self.counted else compose(scaling(larger), views)

    def pictures(self, frames: Array, first: int = 0) -> Array:
        """As `Lens.pictures`."""
        return _stacked([through(frame, self.views[first + k], self.size) for k, frame in enumerate(frames)], self.size)

    def regions(self, masks: Array, first: int = 0) -> Array:
        """As `Lens.regions`, true where at least half of a pixel is of the region."""
        seen = [mask_through(mask, self.views[first + k], self.size) for k, mask in enumerate(masks)]
        return np.stack(seen) if seen else np.empty((0, self.size[1], self.size[0]), bool)

    def back(self, picture: Array, index: int, box: Box | None = None) -> Array:
        """As `Lens.back`, by the inverse of the view."""
        rows, columns = box or (slice(0, self.source[1]), slice(0, self.source[0]))
        width, height = (
            min(part.stop, end) - part.start for part, end in zip((columns, rows), self.source, strict=True)
        )
        view = invert(self.views[index])
        view[:, 2] -= columns.start, rows.start
        found = np.zeros((self.source[1], self.source[0], 3), np.uint8)
        found[rows, columns] = through(picture, view, (width, height))
        return found

    def widths(self, pixels: tuple[int, int], index: int) -> tuple[float, float]:
        """As `Lens.widths`, by the view's scale."""
        scale = float(np.sqrt(np.linalg.det(self.shown[index][:, :2])))
        return pixels[0] / scale, pixels[1] / scale

    def seen(self, index: int) -> Array | None:
        """As `Lens.seen`: what lies a pixel within the picture."""
        width, height = self.size
        inside = np.zeros((height, width), np.uint8)
        inside[1:-1, 1:-1] = 1
        flags = cv2.INTER_NEAREST | cv2.WARP_INVERSE_MAP
        return np.asarray(cv2.warpAffine(inside, self.views[index], self.source, flags=flags)) > 0


def lens(source: Size, size: Size, views: Array | None, counted: Size | None = None) -> Lens:
    """Of a window: the views, unless there are none or each of them shows the whole frame.

    Args:
        size: (width, height) of the picture. counted: of that which the views are of; None: this one.
    """
    if views is None or (views == whole(source, counted or size)).all():
        return Lens(source, size, counted)
    return Views(source, size, views, counted)


def _stacked(pictures: Sequence[Array], size: Size) -> Array:
    return np.stack(pictures) if pictures else np.empty((0, size[1], size[0], 3), np.uint8)
