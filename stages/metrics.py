"""What the gate and the report measure on masks and pictures. Pure functions of numpy arrays.

In all of them `source` is the object's mask in the source frame and `generated` its mask found in the generated one,
`[H, W] bool`.
"""

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from stages.base import Array, above

# DAVIS 2017 evaluation (`davis2017-evaluation/davis2017/metrics.py`): tolerance as a share of the picture's diagonal.
BOUNDARY_TOLERANCE = 0.008
CHANGE_SIDE = 256


def iou(source: Array, generated: Array) -> float:
    """Intersection over union; both empty = 1.0."""
    union = int(np.count_nonzero(source | generated))
    return 1.0 if union == 0 else int(np.count_nonzero(source & generated)) / union


def mask_boundary(mask: Array) -> Array:
    """`[H, W] bool`: pixels that differ from their right, lower or lower-right neighbour (`_seg2bmap` of DAVIS)."""
    mask = mask.astype(bool)
    right, below, diagonal = np.zeros_like(mask), np.zeros_like(mask), np.zeros_like(mask)
    right[:, :-1] = mask[:, 1:]
    below[:-1, :] = mask[1:, :]
    diagonal[:-1, :-1] = mask[1:, 1:]
    boundary: Array = (mask ^ right) | (mask ^ below) | (mask ^ diagonal)
    # The last row and column have one neighbour each, the corner none.
    boundary[-1, :] = mask[-1, :] ^ right[-1, :]
    boundary[:, -1] = mask[:, -1] ^ below[:, -1]
    boundary[-1, -1] = False
    return boundary


def boundary_f(source: Array, generated: Array) -> float:
    """Boundary F-measure of DAVIS (`f_measure`), 0..1: precision and recall of boundary pixels within a tolerance of
    0.8 % of the diagonal. No boundary in either = 1.0."""
    radius = math.ceil(BOUNDARY_TOLERANCE * math.hypot(*source.shape))
    rows, columns = _around(source | generated, radius + 1)
    true, found = mask_boundary(source)[rows, columns], mask_boundary(generated)[rows, columns]
    if not true.any() and not found.any():
        return 1.0
    if not true.any() or not found.any():
        return 0.0
    reach = _disk(radius)
    near_true = cv2.dilate(true.astype(np.uint8), reach).astype(bool)
    near_found = cv2.dilate(found.astype(np.uint8), reach).astype(bool)
    precision = float(np.count_nonzero(found & near_true) / np.count_nonzero(found))
    recall = float(np.count_nonzero(true & near_found) / np.count_nonzero(true))
    return 0.0 if precision + recall == 0 else 2 * precision * recall / (precision + recall)


def _around(mask: Array, margin: int) -> tuple[slice, slice]:
    """Rows and columns of the mask's bounding box and a margin; nothing where it is empty. Saves looking elsewhere."""
    x, y, width, height = cv2.boundingRect(mask.astype(np.uint8))
    return slice(max(0, y - margin), y + height + margin), slice(max(0, x - margin), x + width + margin)


def _disk(radius: int) -> Array:
    y, x = np.mgrid[-radius : radius + 1, -radius : radius + 1]
    disk: Array = (x * x + y * y <= radius * radius).astype(np.uint8)
    return disk


def containment(source: Array, generated: Array) -> float:
    """Share of the generated object that lies inside the source's mask; 1.0 when nothing was generated."""
    area = int(np.count_nonzero(generated))
    return 1.0 if area == 0 else int(np.count_nonzero(generated & source)) / area


def clipping(source: Array, generated: Array, person: Array) -> float:
    """Share of the generated object that lies on the person's mask where the source's object did not; 0.0 = none."""
    area = int(np.count_nonzero(generated))
    return 0.0 if area == 0 else int(np.count_nonzero(generated & person & ~source)) / area


def change_picture(frame: Array, region: Array) -> Array:
    """`[h, w, 4] uint8`: the RGB frame and its region (0 or 255), reduced to at most 256 px on the longer side."""
    height, width = frame.shape[:2]
    scale = min(1.0, CHANGE_SIDE / max(height, width))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    planes: list[Array] = [frame, region.astype(np.uint8) * 255]
    if scale < 1.0:
        planes = [cv2.resize(plane, size, interpolation=cv2.INTER_AREA) for plane in planes]
    return np.dstack(planes)


def region_change(before: Array, after: Array) -> float | None:
    """Mean absolute change of RGB, 0..255, between two `change_picture`s, where either has its region; else None."""
    region = (before[..., 3] > 0) | (after[..., 3] > 0)
    if not region.any():
        return None
    difference = np.abs(before[..., :3].astype(np.int16) - after[..., :3].astype(np.int16))
    return float(difference[region].mean())


def own_seam(blended: Array, old: Array, new: Array, subjects: Array, fade: tuple[int, int]) -> dict[str, Any]:
    """`seam_facts` of a window's final frames as if no seam were there: in the crossfade the mean of what the change is
    within the pictures of either window. With `added`, what the crossfade adds to each change: the mean difference of
    both windows' pictures of the same frames, by how many steps it is spread over.

    Args:
        blended, new: `[n, H, W, 3]` uint8 RGB: the final frames, and as this window made them.
        old: `[m, H, W, 3]` uint8 RGB: the first m of them as the window before made them.
        subjects: `[n, H, W]` bool.
        fade: frames that are crossfaded, counted from the first.
    """
    changes, (start, stop) = _changes(_pictures(blended, subjects)), fade
    if stop <= start:
        return {**seam_facts(changes, fade), "added": 0.0}
    first = max(start - 1, 0)
    sides = [_pictures(side[first : stop + 1], subjects[first : stop + 1]) for side in (old, new)]
    for place, each in enumerate(itertools.zip_longest(*map(_changes, sides))):
        known = [value for value in each if value is not None]
        if place:  # onto the first none is known
            changes[first + place] = sum(known) / len(known) if known else None
    differences = [
        region_change(*pair) or 0.0 for pair in zip(*(side[start - first :] for side in sides), strict=False)
    ]
    added = sum(differences[: stop - start]) / (stop - start) / (stop - start + 1)
    return {**seam_facts(changes, fade), "added": round(added, 6)}


def _pictures(frames: Array, subjects: Array) -> list[Array]:
    """A `change_picture` of each frame that there is."""
    return [change_picture(*pair) for pair in zip(frames, subjects, strict=False)]


def _changes(pictures: Sequence[Array]) -> list[float | None]:
    """`region_change` onto each from the one before it; None onto the first."""
    return [None, *(region_change(*pair) for pair in itertools.pairwise(pictures))][: len(pictures)]


def seam_facts(changes: Sequence[float | None], fade: tuple[int, int]) -> dict[str, Any]:
    """What `seam_ratio` needs of a window: the mean change where one window goes over into the other, and the rest.

    Args:
        changes: onto each of the window's final frames, from the one before it; None where there is none.
        fade: frames that are crossfaded, counted from the first of these; empty: a hard edge, onto the first one.
    """
    start, stop = fade
    across = range(max(start, 1), stop + 1) if stop > start else range(1)
    edge = [value for index, value in enumerate(changes) if value is not None and index in across]
    inside = [value for index, value in enumerate(changes) if value is not None and index not in across and index]
    total = {"inside_sum": round(sum(inside), 6), "inside_frames": len(inside)}
    return {"edge": round(sum(edge) / len(edge), 6) if edge else None, **total}


def seam_ratio(windows: Sequence[Mapping[str, Any]], own: Sequence[Mapping[str, Any]] = ()) -> float | None:
    """Change across the edges of windows against the change inside them; 1.0 = seams change no more than the rest.

    Subjects move more in some frames than in others, and what the source changes there does not tell how much a texture
    laid over it does. But both windows make all frames of a crossfade, each without a seam. Against the change of their
    own pictures in the very same frames nothing is left but what they make differently, and coding: where they make the
    same, the ratio is 1 before coding, whatever moves. A step of colour hides behind what moves (magnitudes of changes
    that have nothing to do with each other add up as squares), so what the crossfade adds to every change, which is
    known without noise, is added as it is.

    Args:
        windows: the score stage's `info["seam"]` of each window.
        own: the blend stage's `info["own_seam"]` of each window.

    Returns:
        edges / insides, both in multiples of the windows' own, and what is added; None where either is missing or
        nothing changes inside. Where there is nothing of the windows' own, as at hard edges, edges / insides alone.
    """
    known = [window["edge"] for window in own[: len(windows)]] + [None] * (len(windows) - len(own))
    edges = [window["edge"] for window in windows]
    pairs = [(edge, at) for edge, at in zip(edges, known, strict=True) if edge is not None]
    inside, frames = (sum(window[f"inside_{what}"] for window in windows) for what in ("sum", "frames"))
    if not pairs or not inside or not frames:
        return None
    usual = sum(window["inside_sum"] for window in own)
    measured = [(edge, at) for edge, at in pairs if at]
    if len(own) < len(windows) or not usual or not measured:
        return float((sum(edge for edge, _ in pairs) / len(pairs)) / (inside / frames))
    expected = sum(at for _, at in measured)
    across = sum(edge for edge, _ in measured) / expected
    return float(across / (inside / usual) + sum(window.get("added", 0.0) for window in own) / expected)


def flag_spans(flags: Array, start: int = 0) -> list[list[int]]:
    """Half-open `[first, stop]` spans of the True values of a `[n] bool` array whose first element is frame `start`."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], np.asarray(flags, dtype=np.int8), [0]])))
    return [[start + int(a), start + int(b)] for a, b in edges.reshape(-1, 2)]


def failed_spans(values: Array, threshold: float, start: int = 0) -> list[list[int]]:
    """Half-open spans of the frames whose IoU is not above the threshold. NaN (untracked) fails nothing."""
    values = np.asarray(values, dtype=np.float64)
    return flag_spans(~np.isnan(values) & ~above(values, threshold), start)


@dataclass(frozen=True)
class IouSummary:
    """The gate in numbers; None where no frame was scored.

    Attributes:
        frames: how many frames were scored.
        mean: over the scored frames.
        p5, p5_frame: the 5th percentile by nearest rank, so that it is one frame's value, and that frame.
        minimum, minimum_frame: the worst frame (the first of equals).
        failed_frames: half-open spans.
    """

    frames: int
    mean: float | None
    p5: float | None
    p5_frame: int | None
    minimum: float | None
    minimum_frame: int | None
    failed_frames: list[list[int]]

    @property
    def passed(self) -> bool | None:
        """Every scored frame above the threshold; None where none was scored."""
        return None if self.frames == 0 else not self.failed_frames


def summarise_iou(values: Array, threshold: float) -> IouSummary:
    """Summary of a `[T]` IoU array with NaN on unscored frames."""
    values = np.asarray(values, dtype=np.float64)
    scored = np.flatnonzero(~np.isnan(values))
    if scored.size == 0:
        return IouSummary(0, None, None, None, None, None, [])
    order = scored[np.argsort(values[scored], kind="stable")]
    rank = max(0, math.ceil(0.05 * order.size) - 1)
    return IouSummary(
        frames=int(scored.size),
        mean=float(values[scored].mean()),
        p5=float(values[order[rank]]),
        p5_frame=int(order[rank]),
        minimum=float(values[order[0]]),
        minimum_frame=int(order[0]),
        failed_frames=failed_spans(values, threshold),
    )


def rounded(values: Sequence[float], digits: int = 6) -> list[float | None]:
    """For JSON: rounded, NaN as None."""
    return [None if math.isnan(value) else round(float(value), digits) for value in values]
