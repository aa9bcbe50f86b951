"""Holding a foot where it stands: how far it has slipped against another, and the lower leg bent back.

weight   0 at the knee ----> 1 at the ankle and along the foot; it falls to 0 away from the leg
"""

from dataclasses import dataclass, replace

import cv2
import numpy as np

from stages.base import Array
from stages.poses.contact import SEEN
from stages.poses.skeleton import LEFT_ANKLE, LEFT_FOOT, LEFT_KNEE, RIGHT_ANKLE, RIGHT_FOOT, RIGHT_KNEE

KNEES, ANKLES = (LEFT_KNEE, RIGHT_KNEE), (LEFT_ANKLE, RIGHT_ANKLE)
FEET = (LEFT_FOOT, RIGHT_FOOT)  # big toe, small toe, heel
RAMP = 3  # frames in which the hold begins, and ends, inside the contact
SETTLE = 0.5  # weight of a new offset against those before: what finds the joints trembles
MOST = 0.1  # of the person's height: a foot that seems farther off is not bent farther
INNER, OUTER = 0.6, 1.2  # foot lengths from the leg's line: up to where all moves along, and from where nothing does
LEAST_FOOT = 0.04  # of the person's height: a foot seen from the front has a length nevertheless


@dataclass(frozen=True)
class Hold:
    """Of one foot.

    Attributes:
        age: frames of this contact so far; 0: none.
        anchor: [2] float64, the offset at its begin, pixels. offset: [2], the offset now, smoothed.
    """

    age: int = 0
    anchor: tuple[float, float] = (0.0, 0.0)
    offset: tuple[float, float] = (0.0, 0.0)

    def further(self, found: Array | None) -> "Hold":
        """One frame on in contact.

        Args:
            found: [2] px, how far the result's foot lies from the source's; None where either is not seen.
        """
        age = self.age + 1
        if found is None:
            return replace(self, age=age)
        old, now = np.array(self.offset), np.asarray(found, np.float64)
        now = now if age == 1 else old + SETTLE * (now - old)
        anchor = now if age <= RAMP else np.array(self.anchor)
        return Hold(age, (float(anchor[0]), float(anchor[1])), (float(now[0]), float(now[1])))

    def correction(self, left: int | None, height: float) -> Array:
        """[2] px by which the foot is moved back.

        Args:
            left: frames up to the contact's end, this one counted; None: it is not in sight.
            height: of the person, pixels.
        """
        slip = np.array(self.anchor) - np.array(self.offset)
        length = float(np.hypot(*slip))
        slip *= min(1.0, MOST * height / length) if length > 0 else 0.0
        ramps = [self.age / (RAMP + 1), *([] if left is None else [left / (RAMP + 1)])]
        return np.asarray(slip * min(1.0, *ramps))


def offset_of(source: Array, result: Array, foot: int) -> Array | None:
    """[2] px: how far a foot of `result` (`[133, 3]`) lies from that of `source`: the mean over ankle, toes and heel;
    None where no two of them are seen in both."""
    points = [ANKLES[foot], *range(FEET[foot].start, FEET[foot].stop)]
    seen = (source[points, 2] >= SEEN) & (result[points, 2] >= SEEN)
    if seen.sum() < 2:
        return None
    return np.asarray((result[points, :2] - source[points, :2])[seen].astype(np.float64).mean(0))


def seen_box(keypoints: Array) -> Array | None:
    """[4] float32 x1, y1, x2, y2 around the joints that are seen, a little wider; None without any."""
    points = keypoints[keypoints[:, 2] >= SEEN, :2]
    if len(points) < 3:
        return None
    low, high = points.min(0), points.max(0)
    margin = 0.05 * (high - low).max()
    return np.concatenate([low - margin, high + margin]).astype(np.float32)


def bent(picture: Array, keypoints: Array, foot: int, move: Array, height: float) -> tuple[Array, tuple[slice, slice]]:
    """A picture `[H, W, 3]` uint8 with a foot moved by `move` (px), the shank bent along.

    Args:
        keypoints: `[133, 3]` of the picture. height: of the person, pixels.

    Returns:
        the rows and columns that may differ: their content, and which they are.
    """
    knee, ankle = keypoints[KNEES[foot], :2], keypoints[ANKLES[foot], :2]
    toe, heel = keypoints[FEET[foot].start, :2], keypoints[FEET[foot].stop - 1, :2]
    length = max(float(np.linalg.norm(toe - heel)), LEAST_FOOT * height)
    shown = keypoints[KNEES[foot], 2] >= SEEN
    # Where the leg lies afterwards: what is shown there comes from where it was.
    lines = [(ankle + move, toe + move, 1.0, 1.0), (ankle + move, heel + move, 1.0, 1.0)]
    lines += [(knee, ankle + move, 0.0, 1.0)] if shown else []
    corners = np.concatenate([np.stack(line[:2]) for line in lines])
    reach = OUTER * length
    limit = np.array([picture.shape[1], picture.shape[0]])
    low = np.clip(np.floor(corners.min(0) - reach), 0, limit).astype(int)
    high = np.clip(np.ceil(corners.max(0) + reach) + 1, 0, limit).astype(int)
    box = (slice(int(low[1]), int(high[1])), slice(int(low[0]), int(high[0])))
    y, x = np.mgrid[box].astype(np.float32)
    if not x.size:
        return picture[box], box
    weight = np.zeros(x.shape, np.float32)
    for first, second, start, stop in lines:
        weight = np.maximum(weight, _along(x, y, first, second, start, stop, length))
    map_x, map_y = x - weight * np.float32(move[0]), y - weight * np.float32(move[1])
    moved = cv2.remap(picture, map_x, map_y, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    return np.where((weight > 0)[..., None], moved, picture[box]), box


def _along(x: Array, y: Array, first: Array, second: Array, start: float, stop: float, length: float) -> Array:
    """Float32 weights: from `start` to `stop` along a line, falling off away from it."""
    way = (second - first).astype(np.float32)
    square = float(way @ way)
    dx, dy = x - np.float32(first[0]), y - np.float32(first[1])
    t = np.clip((dx * way[0] + dy * way[1]) / max(square, 1e-6), 0.0, 1.0)
    distance = np.hypot(dx - t * way[0], dy - t * way[1]) / length
    fall = np.clip((OUTER - distance) / (OUTER - INNER), 0.0, 1.0)
    return np.asarray((start + (stop - start) * t) * fall * fall * (3 - 2 * fall), np.float32)
