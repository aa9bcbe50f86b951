"""The region of a person of whom only the skeleton is known.

    joint (==========) joint     a capsule: every pixel within a radius of the line from joint to joint

Radii are shares of the person's height, so that they grow with it in the picture. Lengths of limbs as shares of the
height: D. A. Winter, Biomechanics and Motor Control of Human Movement, figure 4.1 (after Drillis and Contini, 1966).
A picture shortens a limb that points at the camera and lengthens none; so the height is taken from the limbs that show
it largest, short of the few that one wrong joint makes too long.
"""

from collections.abc import Iterator, Sequence

import cv2
import numpy as np

from stages.base import Array
from stages.poses import skeleton as joint
from stages.poses.draw import painted
from stages.region import bounding_box, dilate_mask

SEEN = 0.3  # score from which a joint counts, as for drawing (`draw.THRESHOLD`)
FARTHEST = 1e5  # pixels; a joint beyond it is no place in a picture
STROKE_RADIUS = 0.08  # of the diagonal of what is painted

_ARMS = (
    (joint.LEFT_SHOULDER, joint.LEFT_ELBOW, joint.LEFT_WRIST),
    (joint.RIGHT_SHOULDER, joint.RIGHT_ELBOW, joint.RIGHT_WRIST),
)
_LEGS = ((joint.LEFT_HIP, joint.LEFT_KNEE, joint.LEFT_ANKLE), (joint.RIGHT_HIP, joint.RIGHT_KNEE, joint.RIGHT_ANKLE))
_HANDS = (joint.LEFT_HAND, joint.RIGHT_HAND)
_FEET = (joint.LEFT_FOOT, joint.RIGHT_FOOT)
_TRUNK = (joint.LEFT_SHOULDER, joint.RIGHT_SHOULDER, joint.RIGHT_HIP, joint.LEFT_HIP)
_HEAD = (joint.NOSE, joint.LEFT_EYE, joint.RIGHT_EYE, joint.LEFT_EAR, joint.RIGHT_EAR)

# Shares of the height. Lengths: Winter.
_TRUNK_LENGTH, _UPPER_ARM, _FOREARM, _THIGH, _SHANK = 0.288, 0.186, 0.146, 0.245, 0.246
_HEIGHT_PERCENTILE = 75
# Radii of a clothed body.
_HEAD_RADIUS, _NECK_RADIUS, _TRUNK_RADIUS = 0.085, 0.06, 0.075
_UPPER_ARM_RADIUS, _FOREARM_RADIUS, _HAND_RADIUS = 0.055, 0.045, 0.04
_THIGH_RADIUS, _SHANK_RADIUS, _FOOT_RADIUS = 0.08, 0.06, 0.05
_BEYOND_WRIST = 0.6  # of the forearm: where a hand ends whose points are not known
_BARE_FOOT_RADIUS = 0.09  # around the ankle: a foot whose points are not known

Part = tuple[Array, float]  # points [n, 2], pixels; radius, as a share of the height


def silhouette(keypoints: Array, height: int, width: int) -> Array:
    """The person's region, drawn from the joints that are seen.

    Args:
        keypoints: `[133, 3]` float32, COCO-WholeBody: x, y in pixels, score 0..1.
        height, width: of the picture, pixels.

    Returns:
        `[height, width]` bool; all false where no limb is seen from joint to joint.
    """
    canvas = np.zeros((height, width), np.uint8)
    tall = standing_height(keypoints)
    if tall > 0:
        for part, radius in _parts(_places(keypoints)):
            _fill(canvas, part[np.isfinite(part[:, 0])], min(radius * tall, 2.0 * (height + width)))
    return canvas > 0


def standing_height(keypoints: Array) -> float:
    """The person's height in pixels were it standing upright; 0 where no limb is seen from joint to joint."""
    places = _places(keypoints)
    trunk = _middle(places, *_TRUNK[:2]) - _middle(places, *_TRUNK[2:])
    found = [np.hypot(*trunk) / _TRUNK_LENGTH]
    for limbs, upper, lower in ((_ARMS, _UPPER_ARM, _FOREARM), (_LEGS, _THIGH, _SHANK)):
        for first, second, third in limbs:
            found.append(np.hypot(*(places[first] - places[second])) / upper)
            found.append(np.hypot(*(places[second] - places[third])) / lower)
    known = [value for value in found if np.isfinite(value)]
    return float(np.percentile(known, _HEIGHT_PERCENTILE)) if known else 0.0


def _places(keypoints: Array) -> Array:
    """`[133, 2]` float64: the joints' places, NaN where they are not seen."""
    points = np.asarray(keypoints, np.float64)
    seen = (points[:, 2] >= SEEN) & (np.abs(points[:, :2]) < FARTHEST).all(axis=1)
    places: Array = np.where(seen[:, None], points[:, :2], np.nan)
    return places


def _parts(places: Array) -> Iterator[Part]:
    """Hulls of points and the radii that they grow by; points that are not seen are NaN."""
    yield places[list(_TRUNK)], _TRUNK_RADIUS
    head = np.concatenate([places[list(_HEAD)], places[joint.FACE]])
    yield head, _HEAD_RADIUS
    if np.isfinite(head).any():
        yield from _limb((_middle(places, *_TRUNK[:2]), np.nanmean(head, axis=0)), _NECK_RADIUS)
    for (shoulder, elbow, wrist), hand in zip(_ARMS, _HANDS, strict=True):
        yield from _limb((places[shoulder], places[elbow]), _UPPER_ARM_RADIUS)
        yield from _limb((places[elbow], places[wrist]), _FOREARM_RADIUS)
        fingers = places[hand]
        if not np.isfinite(fingers).any():
            fingers = (places[wrist] + _BEYOND_WRIST * (places[wrist] - places[elbow]))[None]
        yield np.concatenate([places[wrist][None], fingers]), _HAND_RADIUS
    for (hip, knee, ankle), foot in zip(_LEGS, _FEET, strict=True):
        yield from _limb((places[hip], places[knee]), _THIGH_RADIUS)
        yield from _limb((places[knee], places[ankle]), _SHANK_RADIUS)
        known = np.isfinite(places[foot]).any()
        yield np.concatenate([places[ankle][None], places[foot]]), _FOOT_RADIUS if known else _BARE_FOOT_RADIUS


def _limb(ends: Sequence[Array], radius: float) -> Iterator[Part]:
    """A capsule, where both its ends are seen."""
    if np.isfinite(ends).all():
        yield np.stack(ends), radius


def _middle(places: Array, first: int, second: int) -> Array:
    """Half-way between two joints; the one that is seen where only one is."""
    pair = places[[first, second]]
    pair = pair[np.isfinite(pair[:, 0])]
    middle: Array = pair.mean(axis=0) if len(pair) else np.full(2, np.nan)
    return middle


def _fill(canvas: Array, points: Array, radius: float) -> None:
    """Fill the convex hull of the points `[n, 2]`, grown by `radius` pixels, with 1 in `canvas` `[H, W]` uint8."""
    if not len(points):
        return
    hull = cv2.convexHull(np.round(points * 16).astype(np.int32))  # 1/16 pixel: `shift=4` below
    cv2.fillConvexPoly(canvas, hull, 1, shift=4)
    cv2.polylines(canvas, [hull], True, 1, max(1, round(2 * radius)), shift=4)  # ends and corners are round


def stroke_silhouette(picture: Array) -> Array:
    """The person's region from a skeleton that is known as a picture alone: what is painted, thickened.

    Args:
        picture: `[h, w, 3]` uint8, one person's skeleton on black.

    Returns:
        `[h, w]` bool: every pixel within `STROKE_RADIUS` of the painted figure's diagonal from a stroke.
    """
    strokes = painted(picture)
    box = bounding_box(strokes)
    if box is None:
        return strokes
    diagonal = np.hypot(box[0].stop - box[0].start, box[1].stop - box[1].start)
    return dilate_mask(strokes, float(diagonal) * STROKE_RADIUS)
