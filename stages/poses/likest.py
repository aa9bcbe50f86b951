"""Which of several persons is the one that was followed before a hard cut: by the colours of the torso."""

import numpy as np

from stages.base import Array
from stages.likeness import ALIKE, alike, look_of
from stages.poses.follow import largest

ACROSS, DOWN = (0.4, 0.6), (0.2, 0.55)  # of a person's box: the torso
NEAR = 0.1  # below the likest one: as like as that


def torso_look(image: Array, box: Array) -> Array:
    """Histogram `[256]` float32 of the torso in a box (x1, y1, x2, y2 px) of `[H, W, 3]` uint8; empty if too small."""
    x1, y1, x2, y2 = (float(value) for value in box)
    torso = np.zeros(image.shape[:2], bool)
    rows, columns = (
        slice(max(0, round(low + part[0] * (high - low))), max(0, round(low + part[1] * (high - low))))
        for low, high, part in ((y1, y2, DOWN), (x1, x2, ACROSS))
    )
    torso[rows, columns] = True
    return look_of(image, torso)[0]


def likest(image: Array, boxes: Array, look: Array) -> int:
    """Index of the person among `boxes` `[n, 4]`, n >= 1: the largest of those that look as like `look` as any, and
    like it at all; of all where none does, or nothing is known."""
    looks = [torso_look(image, box) for box in boxes]
    likeness = np.array([alike(each, look) if each.size and look.size else 0.0 for each in looks])
    best = float(likeness.max())
    candidates = np.flatnonzero(likeness >= best - NEAR) if best >= ALIKE else np.arange(len(boxes))
    return int(candidates[largest(boxes[candidates])])
