"""A sight: the numbers that a frame comes down to, of the source and of the result alike, from masks and keypoints."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np

from stages.base import Array
from stages.fidelity.touching import Standing, touches
from stages.poses.skeleton import (
    LEFT_FOOT,
    LEFT_HIP,
    LEFT_SHOULDER,
    LIMBS,
    RIGHT_FOOT,
    RIGHT_HIP,
    RIGHT_SHOULDER,
)

FEET = {"left": LEFT_FOOT, "right": RIGHT_FOOT}
SEEN = 0.3  # of a keypoint's score
LEAST_PIXELS = 60  # of an object
SHRINK = 0.995  # a frame: how fast the object's length is forgotten while it is seen shorter
GROWTH = 1.3  # at most, from one frame to the next: what is longer is two things

BOARD = ("x", "y", "length", "width", "angle", "scale")
SKATER = ("hip_x", "hip_y", "torso")
FOOT = ("x", "y", "along", "above", "rise", "gap", "contact")
JOINTS = tuple((f"{joint}_x", f"{joint}_y") for joint in LIMBS)
SPEEDS = ("object_x", "object_y", "person_x", "person_y", "object_speed", "person_speed", "joint_speed")
_FEET = tuple(f"{foot}_{column}" for foot in FEET for column in FOOT)
COLUMNS = ("seconds", *BOARD, *SKATER, *_FEET, *sum(JOINTS, ()), *SPEEDS)
"""Names of a sight's numbers:

seconds          of the frame
x, y             the object's centre, px; of the smallest rectangle around its largest part
length, width    of that rectangle, px
angle            of its long side from the picture's x axis, degrees, y down, -90..90: it has no direction
scale            the object's length, px: the longest lately, so that it stands for it when it is seen end on
hip_x, hip_y     between the hips, px
torso            from there to between the shoulders, px
FOOT_x, _y       middle of toes and heel, px
FOOT_along       from the object's centre along its long side, in scales; to the right positive
FOOT_above       across it, in scales; down positive
FOOT_rise        change of that since the frame before, scales per 1/24 s
FOOT_gap         from the nearest of toes and heel to the object's mask, in scales
FOOT_contact     1 on the object, 0 not, NaN where foot or object are not seen
JOINT_x, _y      a joint from shoulder to ankle, px
object_x, _y     the centroid of the object's mask, px; person_x, _y of the person's
*_speed          of these, and of joints and feet, px/s: a running mean, a fifth of it the last step, so that trembling
                 is no speed
"""
_PLACE = {name: index for index, name in enumerate(COLUMNS)}
_FRAME = 1 / 24  # seconds, in which speeds are counted
_GAIN = 0.2  # of a new speed in the running mean
_MOVING = {
    "object_speed": (("object_x", "object_y"),),
    "person_speed": (("person_x", "person_y"),),
    "joint_speed": (*JOINTS, *((f"{foot}_x", f"{foot}_y") for foot in FEET)),
}


@dataclass(frozen=True)
class Sight:
    """Numbers by the names of `COLUMNS`, `row` [K] float64, NaN where something was not seen."""

    row: Array

    def __getitem__(self, name: str) -> float:
        return float(self.row[_PLACE[name]])


def nothing_seen() -> Sight:
    """Before the first frame."""
    return Sight(np.full(len(COLUMNS), np.nan))


def sight_of(
    before: Sight, object_mask: Array, keypoints: Array, seconds: float, person_mask: Array | None = None
) -> Sight:
    """One frame on.

    Args:
        before: the sight of the frame before.
        object_mask: [H, W] bool. keypoints: [133, 3] float32, x px, y px, score. seconds: the frame's time.
        person_mask: [H, W] bool; None: the person's own columns stay NaN.
    """
    sight, standing = measured(before, object_mask, keypoints, seconds)
    for subject, mask in (("object", object_mask), ("person", person_mask)):
        found = (math.nan, math.nan) if mask is None else _centroid(mask)
        sight.row[_PLACE[f"{subject}_x"]], sight.row[_PLACE[f"{subject}_y"]] = found
    for name, places in _MOVING.items():
        sight.row[_PLACE[name]] = _speed(before, sight, name, places)
    for foot, held in standing.items():
        other = standing.get("right" if foot == "left" else "left")
        sight.row[_PLACE[f"{foot}_contact"]] = float(touches(held, other))
    return sight


def measured(before: Sight, object_mask: Array, keypoints: Array, seconds: float) -> tuple[Sight, dict[str, Standing]]:
    """`sight_of` without contacts, and what these are told by: of each foot that is seen with the object."""
    found = {"seconds": seconds, **dict(_object(before, object_mask)), **dict(_skater(keypoints))}
    values, standing = _feet(before, found, object_mask, keypoints)
    row = np.full(len(COLUMNS), np.nan)
    for name, value in (found | values).items():
        row[_PLACE[name]] = value
    return Sight(row), standing


def _centroid(mask: Array) -> tuple[float, float]:
    """Mean x and y of a mask's pixels; NaN where it has none."""
    sums = cv2.moments(mask.astype(np.uint8), binaryImage=True)
    area = sums["m00"]
    return (sums["m10"] / area, sums["m01"] / area) if area else (math.nan, math.nan)


def _speed(before: Sight, sight: Sight, name: str, places: tuple[tuple[str, ...], ...]) -> float:
    """Pixels a second, the running mean over these places, of those that are seen in both frames; NaN where none is."""
    seconds = sight["seconds"] - before["seconds"]
    steps = [math.hypot(sight[x] - before[x], sight[y] - before[y]) for x, y in places]
    seen = [step / seconds for step in steps if step == step and seconds > 0]
    if not seen:
        return math.nan
    now, last = sum(seen) / len(seen), before[name]
    return now if math.isnan(last) else last + _GAIN * (now - last)


def turned(degrees: float) -> float:
    """The smallest turn that leads there, -90 (included) to 90: what has no direction is the same after half a turn."""
    return (degrees + 90.0) % 180.0 - 90.0


def _object(before: Sight, mask: Array) -> Iterator[tuple[str, float]]:
    yield "scale", before["scale"]
    count, labels, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    largest = 1 + int(np.argmax(stats[1:, cv2.CC_STAT_AREA])) if count > 1 else 0
    if not largest or stats[largest, cv2.CC_STAT_AREA] < LEAST_PIXELS:
        return
    x, y, width, height = (int(value) for value in stats[largest, :4])
    part = (labels[y : y + height, x : x + width] == largest).astype(np.uint8)
    outlines, _ = cv2.findContours(part, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    centre, sides, angle = cv2.minAreaRect(np.concatenate(outlines))
    # Outlines run through pixel centres: the sides are one pixel longer.
    long, short, angle = (*sides, angle) if sides[0] >= sides[1] else (*sides[::-1], angle + 90.0)
    yield from {"x": centre[0] + x, "y": centre[1] + y, "length": long + 1, "width": short + 1}.items()
    yield "angle", turned(angle)
    known = before["scale"]
    grown = long + 1 if long + 1 <= GROWTH * known or math.isnan(known) else known
    yield "scale", max(grown, SHRINK * known) if known == known else grown


def _middle(points: Array, least: int) -> Array:
    seen = points[points[:, 2] >= SEEN, :2].astype(np.float64)
    return np.full(2, np.nan) if len(seen) < least else np.asarray(seen.mean(axis=0))


def _skater(keypoints: Array) -> Iterator[tuple[str, float]]:
    hips = _middle(keypoints[[LEFT_HIP, RIGHT_HIP]], 2)
    shoulders = _middle(keypoints[[LEFT_SHOULDER, RIGHT_SHOULDER]], 2)
    yield from zip(("hip_x", "hip_y"), hips.tolist(), strict=True)
    yield "torso", float(np.linalg.norm(shoulders - hips))
    for names, joint in zip(JOINTS, LIMBS.values(), strict=True):
        yield from zip(names, _middle(keypoints[[joint]], 1).tolist(), strict=True)


def _feet(
    before: Sight, found: dict[str, float], mask: Array, keypoints: Array
) -> tuple[dict[str, float], dict[str, Standing]]:
    values: dict[str, float] = {}
    places = {foot: _middle(keypoints[joints], 2) for foot, joints in FEET.items()}
    for foot, place in places.items():
        values[f"{foot}_x"], values[f"{foot}_y"] = place.tolist()
    standing: dict[str, Standing] = {}
    if "angle" not in found:
        return values, standing
    angle, scale = math.radians(found["angle"]), found["scale"]
    along, across = np.array([math.cos(angle), math.sin(angle)]), np.array([-math.sin(angle), math.cos(angle)])
    centre = np.array([found["x"], found["y"]])
    shape = (found["length"] / scale, found["width"] / scale, angle)
    lapse = (found["seconds"] - before["seconds"]) / _FRAME
    step = 1 / lapse if lapse > 0 else math.nan
    for foot, joints in FEET.items():
        points = keypoints[joints]
        seen = points[points[:, 2] >= SEEN, :2].astype(np.float64)
        if len(seen) < 2:
            continue
        above = (seen - centre) @ across / scale
        gaps = _gaps(mask, seen) / scale
        values[f"{foot}_along"] = float((places[foot] - centre) @ along / scale)
        values[f"{foot}_above"] = float(above.mean())
        values[f"{foot}_rise"] = (values[f"{foot}_above"] - before[f"{foot}_above"]) * step
        values[f"{foot}_gap"] = float(gaps.min())
        standing[foot] = Standing(
            along=values[f"{foot}_along"],
            above=(float(above.min()), float(above.mean()), float(above.max())),
            gap=(float(gaps.min()), float(gaps.mean())),
            slide=(values[f"{foot}_along"] - before[f"{foot}_along"]) * step,
            rise=(before[f"{foot}_rise"], values[f"{foot}_rise"]),
            falls=(values[f"{foot}_y"] - before[f"{foot}_y"]) / scale * step,
            object_falls=(found["y"] - before["y"]) / scale * step,
            shape=shape,
        )
    return values, standing


def _gaps(mask: Array, points: Array) -> Array:
    """[n] float64: from each point to the nearest pixel of the mask, 0 inside, pixels; of one that is farther outside
    the picture than that is large, as if it were that far: poses made elsewhere may say anything."""
    sides = np.array(mask.shape[::-1])
    points = np.clip(points, -sides, 2 * sides)
    x, y, width, height = cv2.boundingRect(mask.astype(np.uint8))
    left, top = np.minimum(np.floor(points.min(axis=0)).astype(int), (x, y)) - 1
    right, bottom = np.maximum(np.ceil(points.max(axis=0)).astype(int), (x + width, y + height)) + 2
    room = np.ones((bottom - top, right - left), np.uint8)
    room[y - top : y - top + height, x - left : x - left + width] = ~mask[y : y + height, x : x + width]
    distance = cv2.distanceTransform(room, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    columns, rows = np.round(points - (left, top)).astype(int).T
    return np.asarray(distance[rows, columns], np.float64)
