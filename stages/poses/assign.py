"""Which detection is which person: by the persons' masks and their motion, all of them decided together."""

from collections.abc import Sequence

import numpy as np

from stages.base import Array
from stages.poses import skeleton as joint
from stages.poses.follow import iou
from stages.poses.models import SEEN
from stages.region import part_box

LEAST = 0.2  # affinity below which a detection is nobody's
INSIDE = 0.5  # share of a person's mask that a detection of that person covers
NOWHERE = np.full(4, np.nan)
PARTS = (slice(None), joint.FACE, joint.LEFT_HAND, joint.RIGHT_HAND, joint.LEFT_FOOT, joint.RIGHT_FOOT)


def affinities(masks: list[Array], believed: Array, boxes: Array) -> Array:
    """How well each detection fits each person.

    Args:
        masks: by person, [H, W] bool; empty: hidden, or gone.
        believed: [P, 4] where each was last and has moved to since, NaN where that is not known.
        boxes: [D, 4] detections, pixels.

    Returns:
        [P, D] float64 in 0..1: the mean IoU with the box of the mask and with where it is believed to be, with one of
        them alone where the other is not known; 0 for a detection that leaves out most of the mask.
    """
    found = np.zeros((len(masks), len(boxes)))
    for person, mask in enumerate(masks):
        known = [box for box in (part_box(mask), believed[person]) if not np.isnan(box).any()]
        if not known:
            continue
        found[person] = np.mean([iou(boxes, box) for box in known], axis=0)
        if mask.any():
            found[person] *= [_covered(mask, box) >= INSIDE for box in boxes]
    return found


def assign(affinity: Array, least: float = LEAST) -> dict[int, int]:
    """By person the detection, each given once, with the largest sum of affinities; pairs below `least` are none."""
    worth = np.where(affinity >= least, affinity, 0.0)
    return {row: column for row, column in best_pairs(worth) if worth[row, column] > 0}


def best_pairs(worth: Array) -> list[tuple[int, int]]:
    """Rows and columns of `[R, C]` float64 >= 0, each taken once, with the largest sum; exact.

    The Hungarian method (Kuhn 1955, Munkres 1957) with shortest augmenting paths and potentials (Jonker, Volgenant
    1987), O(n^3).
    """
    rows, columns = worth.shape
    if not rows or not columns:
        return []
    if rows > columns:
        return sorted((row, column) for column, row in best_pairs(worth.T))
    cost = -worth
    of_row, of_column = np.zeros(rows + 1), np.zeros(columns + 1)  # potentials; row and column 0 are no row and column
    owner, way = np.zeros(columns + 1, int), np.zeros(columns + 1, int)
    for row in range(1, rows + 1):
        owner[0], column = row, 0
        least, done = np.full(columns + 1, np.inf), np.zeros(columns + 1, bool)
        while owner[column]:
            done[column] = True
            reduced = cost[owner[column] - 1] - of_row[owner[column]] - of_column[1:]
            shorter = ~done[1:] & (reduced < least[1:])
            least[1:][shorter], way[1:][shorter] = reduced[shorter], column
            following = int(np.argmin(np.where(done, np.inf, least)[1:])) + 1
            step = least[following]
            of_row[owner[done]] += step
            of_column[done] -= step
            least[~done] -= step
            column = following
        while column:
            owner[column], column = owner[way[column]], int(way[column])
    return sorted((int(owner[column]) - 1, column - 1) for column in range(1, columns + 1) if owner[column])


def _covered(mask: Array, box: Array) -> float:
    """The share of the mask that lies in the box."""
    height, width = mask.shape
    left, top = (int(np.clip(round(float(v)), 0, most)) for v, most in zip(box[:2], (width, height), strict=True))
    right, bottom = (int(np.clip(round(float(v)), 0, most)) for v, most in zip(box[2:], (width, height), strict=True))
    return float(np.count_nonzero(mask[top:bottom, left:right]) / np.count_nonzero(mask))


def disown(keypoints: Array, masks: Sequence[Array]) -> None:
    """Take back, in place, what was found of one person and is another's: its score becomes 0.

    A crop may show two persons, and the model give the wrong one, or parts of both. A joint that lies in another's mask
    and not in its person's own is hidden by that other, or theirs. Where more of the seen joints of a skeleton lie so
    than in its own mask, or of a face, a hand or a foot, all of that is theirs: of fingers some lie in no mask.

    Args:
        keypoints: [P, 133, 3] of one frame.
        masks: [H, W] bool of each person, on that frame.
    """
    height, width = masks[0].shape
    for index, points in enumerate(keypoints):
        seen = points[:, 2] >= SEEN
        columns, rows = np.rint(points[:, :2]).astype(np.int64).T
        inside = (columns >= 0) & (columns < width) & (rows >= 0) & (rows < height)
        columns, rows = columns.clip(0, width - 1), rows.clip(0, height - 1)
        within = np.stack([mask[rows, columns] & inside for mask in masks])
        theirs = within & ~within[index]
        for part in PARTS:
            if (theirs & seen)[:, part].sum(1).max() > (within[index] & seen)[part].sum():
                points[part, 2] = 0.0
        points[theirs.any(0), 2] = 0.0
