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

__all__ = ["BEHIND", "behind", "come_in", "keys_before", "keys_in", "plates_of"]

FADE = 8  # frames: over so many comes in what a window has learnt


def come_in(at: int, frames: int) -> float:
    """How far that has come in, 0 to 1, on new frame `at` of the window's `frames`; not at all on those before."""
    return min(1.0, max(0, at + 1) / max(1, min(FADE, frames)))


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
            if not key.past:
                found[key.number] = key
    return list(found.values())


def keys_before(arrays: Mapping[str, Array]) -> list[Key]:
    """The plates of a window as the one before it had them; none where nothing has changed, or there is none before."""
    keys = [Key.of(*found) for found in zip(arrays[PICTURES], arrays[KNOWN], arrays[PLACES], strict=True)]
    past = next((key for key in keys if key.past), None)
    return [] if past is None else [past, *(key for key in keys if key.number < past.number)]


def behind(
    keys: Sequence[Key],
    path: Array,
    part: int,
    box: Box,
    shape: tuple[int, int],
    before: Sequence[Key] = (),
    share: float = 1.0,
) -> tuple[Array, Array]:
    """The background in a box of a frame.

    Args:
        path, part: of the frame: `[2, 3]` from its stretch's plane to it (or to another picture of it); the stretch.
        box: rows and columns. shape: (height, width) of the frame (of that picture).
        before: the keys as the window before had them. share: of `keys` in the picture, beside those (`come_in`).

    Returns:
        `[h, w, 3]` uint8 RGB, and `[h, w]` bool: what was ever seen; the rest is inpainted, if only in part. The
        nearest key counts first.
    """
    picture, known, _ = _laid(keys, path, part, box, shape)
    if before and share < 1:
        earlier, seen, inside = _laid(before, path, part, box, shape)
        picture[inside] = cv2.addWeighted(picture, share, earlier, 1 - share, 0.0)[inside]
        known &= seen | ~inside
    return picture, known


def _laid(keys: Sequence[Key], path: Array, part: int, box: Box, shape: tuple[int, int]) -> tuple[Array, Array, Array]:
    """The picture of keys, what of it was ever seen, and what lies inside any of them (`[h, w]` bool)."""
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
    return inpainted(picture, known | guessed), known, known | guessed


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


def plates_of(inputs: Inputs, region: Array, size: Size, first: int) -> Array | None:
    """`[n, h, w, 3]` uint8 RGB: what is behind a region of a window's frames, as a generator sees it; elsewhere
    anything; None where that is not kept.

    Args:
        inputs: of a generator, with what `BEHIND` reads; through its lens, if it looks through one.
        region: `[n, H, W]` bool. size: (width, height) of the generator's picture. first: place of the window's first
            new frame.
    """
    arrays, lens = inputs.arrays, inputs.lens
    if PATH not in arrays:
        return None
    source = (region.shape[2], region.shape[1]) if lens is None else lens.source
    shown = resize_region(region, size)
    found = np.zeros((*shown.shape, 3), np.uint8)
    keys, before = keys_in(arrays), keys_before(arrays)
    for index, (path, part) in enumerate(zip(arrays[PATH], arrays[PART], strict=True)):
        box = bounding_box(shown[index])
        if box is None:
            continue
        seen = lens.views[index] if isinstance(lens, Views) else scaling((size[0] / source[0], size[1] / source[1]))
        share = come_in(index - first, len(shown) - first)
        found[index][box], _ = behind(keys, compose(seen, path), int(part), box, shown.shape[1:], before, share)
    return found
