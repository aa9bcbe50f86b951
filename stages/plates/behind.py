"""What is behind the subjects of a frame, from the plates."""

from collections.abc import Mapping, Sequence

import cv2
import numpy as np

from stages.affine import apply, compose, scaling
from stages.base import Array, Inputs
from stages.plates.keys import Key
from stages.plates.names import BEHIND, KNOWN, PART, PATH, PICTURES, PLACES
from stages.plates.samples import inpainted
from stages.region import Box, bounding_box
from stages.resize import Size, resize_region
from stages.views.lens import Views

__all__ = ["BEHIND", "behind", "keys_in", "plates_of"]


def keys_in(arrays: Mapping[str, Array], names: Sequence[str] = ("",)) -> list[Key]:
    """The plates that windows know, each as the latest of them has it.

    Args:
        names: what follows an array's name among the inputs, of successive windows.
    """
    found: dict[int, Key] = {}
    for name in names:
        pictures, known, rows = (arrays[f"{array}{name}"] for array in (PICTURES, KNOWN, PLACES))
        for picture, seen, row in zip(pictures, known, rows, strict=True):
            key = Key.of(picture, seen, row)
            found[key.number] = key
    return list(found.values())


def behind(keys: Sequence[Key], path: Array, part: int, box: Box, shape: tuple[int, int]) -> tuple[Array, Array]:
    """The background in a box of a frame.

    Args:
        path, part: of the frame: `[2, 3]` from its stretch's plane to it (or to another picture of it); the stretch.
        box: rows and columns. shape: (height, width) of the frame (of that picture).

    Returns:
        `[h, w, 3]` uint8 RGB, and `[h, w]` bool: what was ever seen; the rest is inpainted. The nearest key counts
        first.
    """
    rows, columns = (slice(*side.indices(length)) for side, length in zip(box, shape, strict=True))
    size = (columns.stop - columns.start, rows.stop - rows.start)
    picture = np.zeros((size[1], size[0], 3), np.uint8)
    known, guessed = (np.zeros((size[1], size[0]), bool) for _ in range(2))
    for matrix, key in _nearest(keys, path, part, shape):
        moved = matrix.copy()
        moved[:, 2] -= columns.start, rows.start
        seen = _moved(key.known.astype(np.uint8) * 255, moved, size, cv2.INTER_LINEAR) == 255
        inside = _moved(np.full(key.known.shape, 255, np.uint8), moved, size, cv2.INTER_NEAREST) > 0
        new, guess = seen & ~known, inside & ~known & ~guessed
        if not (new.any() or guess.any()):
            continue
        shown = _moved(key.picture, moved, size, cv2.INTER_LANCZOS4)
        for part_of in (new, guess & ~seen):
            picture[part_of] = shown[part_of]
        known |= seen
        guessed |= inside
        if known.all():
            break
    return inpainted(picture, known | guessed), known


def _nearest(keys: Sequence[Key], path: Array, part: int, shape: tuple[int, int]) -> list[tuple[Array, Key]]:
    """The keys of a stretch, and the map of each onto the frame, the nearest first."""
    middle = np.array([shape[1], shape[0]]) / 2
    maps = [(compose(path, key.place), key) for key in keys if key.part == part]

    def distance(item: tuple[Array, Key]) -> tuple[float, int]:
        matrix, key = item
        centre = np.array([key.known.shape[1], key.known.shape[0]]) / 2
        return float(np.linalg.norm(apply(matrix, centre) - middle)), key.number

    return sorted(maps, key=distance)


def _moved(picture: Array, matrix: Array, size: tuple[int, int], flags: int) -> Array:
    whole = np.round(matrix[:, 2])
    if np.array_equal(matrix[:, :2], np.eye(2)) and np.array_equal(matrix[:, 2], whole):
        flags = cv2.INTER_NEAREST
    return np.asarray(cv2.warpAffine(picture, matrix, size, flags=flags))


def plates_of(inputs: Inputs, region: Array, size: Size) -> Array | None:
    """`[n, h, w, 3]` uint8 RGB: what is behind a region of a window's frames, as a generator sees it; elsewhere
    anything; None where that is not kept.

    Args:
        inputs: of a generator, with what `BEHIND` reads; through its lens, if it looks through one.
        region: `[n, H, W]` bool. size: (width, height) of the generator's picture.
    """
    arrays, lens = inputs.arrays, inputs.lens
    if PATH not in arrays:
        return None
    source = (region.shape[2], region.shape[1]) if lens is None else lens.source
    shown = resize_region(region, size)
    found = np.zeros((*shown.shape, 3), np.uint8)
    keys = keys_in(arrays)
    for index, (path, part) in enumerate(zip(arrays[PATH], arrays[PART], strict=True)):
        box = bounding_box(shown[index])
        if box is None:
            continue
        seen = lens.views[index] if isinstance(lens, Views) else scaling((size[0] / source[0], size[1] / source[1]))
        found[index][box], _ = behind(keys, compose(seen, path), int(part), box, shown.shape[1:])
    return found
