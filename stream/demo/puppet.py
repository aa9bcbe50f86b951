"""The colour-coded puppet: a figure whose 133 COCO-WholeBody joints are known and can be read back from its colours.

Seventeen joints (`ANCHOR_JOINTS`) are painted as discs, each in its own colour (`ANCHOR_RGB`) on a violet body
(`BODY_RGB`). Every other joint lies rigidly on the head, a hand or a foot, so that all 133 are one linear function of
the seventeen (`joint_matrix`): what draws the figure and what recognises it (`training/build_mini_pose.py`) share it.

The puppet faces the camera: its left is the picture's right. Lengths are in units of its standing height.
"""

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import cv2
import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]
Point = tuple[float, float]

JOINTS = 133
NOSE, LEFT_EAR, RIGHT_EAR = 0, 3, 4
#: The painted joints, in COCO-WholeBody numbers: head 3, body 5..16, big toes.
ANCHOR_JOINTS = (NOSE, LEFT_EAR, RIGHT_EAR, *range(5, 17), 17, 20)
#: RGB of each painted joint: the brightest channel is 255, so that a blend with body or background is none of them.
ANCHOR_RGB = (
    (255, 255, 160), (255, 0, 0), (0, 255, 255),  # nose, ears
    (255, 255, 0), (0, 128, 255), (0, 255, 0), (255, 0, 255),  # shoulders, elbows
    (255, 128, 0), (150, 255, 255), (150, 255, 150), (255, 150, 150),  # wrists, hips
    (0, 255, 128), (255, 0, 128), (128, 255, 0), (255, 150, 255),  # knees, ankles
    (0, 0, 255), (128, 0, 255),  # big toes
)  # fmt: skip
#: RGB of the bodies of the first, second, ... puppet of a clip.
BODY_RGBS = ((92, 40, 148), (20, 84, 20), (160, 156, 14), (12, 118, 164), (160, 14, 72))
BODY_RGB = BODY_RGBS[0]
#: Radius of each disc.
ANCHOR_RADIUS = (0.031, 0.03, 0.03, *(0.032,) * 4, *(0.030,) * 2, *(0.032,) * 4, *(0.028,) * 2, 0.025, 0.025)

# What is written beside the colours while drawing: which part a pixel belongs to.
# The parts of puppet k are `OWNERS * k` further on, board k is `OWNER_BOARD + k`.
OWNER_NONE, OWNER_BOARD, OWNER_BODY, OWNER_ANCHOR = 0, 40, 60, 70
OWNER_HEAD, OWNER_HANDS, OWNER_FEET = 90, (91, 92), (93, 94)
OWNERS = 35

_EAR_HALF = 0.13  # ears to the middle of the head
_FOREARM = 0.14
_FOOT: Point = (0.075, 0.036)  # ankle to big toe of the left foot


@dataclass(frozen=True)
class Proportions:
    """Body measures in standing heights, except `height_px` (pixels at the 640x360 reference)."""

    height_px: float = 200.0
    thigh: float = 0.19
    shin: float = 0.185
    torso: float = 0.23
    shoulder_half: float = 0.12
    hip_half: float = 0.065
    upper_arm: float = 0.15
    limb_width: float = 0.075


def _face_layout() -> Array:
    """`[68, 2]` float64: the iBUG-68 points around the middle of the ears, x to the picture's right, y down."""
    points: list[Point] = []
    for i in range(17):  # jaw, from the picture's left over the chin
        angle = math.pi * (1 - i / 16)
        points.append((0.118 * math.cos(angle), 0.012 + 0.118 * math.sin(angle)))
    for side in (-1, 1):  # brows
        points += [(side * 0.055 + 0.016 * (i - 2), -0.062 - 0.008 * math.sin(math.pi * i / 4)) for i in range(5)]
    points += [(0.0, -0.030 + 0.015 * i) for i in range(4)]  # bridge of the nose
    points += [(0.012 * (i - 2), 0.045 + 0.004 * math.sin(math.pi * i / 4)) for i in range(5)]
    for side in (-1, 1):  # eyes: a ring of six
        ring = [math.pi - i * math.pi / 3 for i in range(6)]
        points += [(side * 0.055 + 0.02 * math.cos(a), -0.027 - 0.016 * math.sin(a)) for a in ring]
    outer = [(0.042 * math.cos(math.pi - i * math.pi / 6), -0.016 * math.sin(i * math.pi / 6)) for i in range(12)]
    points += [(x, 0.083 + y) for x, y in outer]
    inner = [(0.026 * math.cos(math.pi - i * math.pi / 4), -0.007 * math.sin(i * math.pi / 4)) for i in range(8)]
    points += [(x, 0.083 + y) for x, y in inner]
    return np.array(points)


def _hand_layout() -> Array:
    """`[21, 2]` float64: a left hand, first axis along the forearm from the wrist, second across it."""
    points: list[Point] = [(0.012, 0.0)]
    for finger in range(5):
        across = -0.032 + 0.016 * finger
        base, step = (0.020, 0.012) if finger == 0 else (0.042, 0.0145)
        points += [(base + step * j, across * (1 + 0.12 * j)) for j in range(4)]
    return np.array(points)


def _rigid_rows(matrix: Array, joint: int, origin: int, start: int, end: int, along: float, across: float) -> None:
    """joint = origin + along * d + across * perp(d), with d = end - start and perp(x, y) = (-y, x); anchor indices."""
    for axis in (0, 1):
        row = matrix[2 * joint + axis]
        row[2 * origin + axis] += 1.0
        for anchor, sign in ((end, 1.0), (start, -1.0)):
            row[2 * anchor + axis] += sign * along
            row[2 * anchor + 1 - axis] += sign * across * (-1.0 if axis == 0 else 1.0)


def joint_matrix() -> Array:
    """`[266, 34]` float64: `joints.ravel() = matrix @ anchors.ravel()`, x and y interleaved, in any unit of length.

    Head: similar to the line between the ears, features shifted with the nose (a turned head). Hands: rigid with the
    forearm. Feet: rigid with ankle and big toe.
    """
    index = {joint: i for i, joint in enumerate(ANCHOR_JOINTS)}
    matrix = np.zeros((2 * JOINTS, 2 * len(ANCHOR_JOINTS)))
    for joint, i in index.items():
        matrix[2 * joint, 2 * i] = matrix[2 * joint + 1, 2 * i + 1] = 1.0
    right, left, nose = index[RIGHT_EAR], index[LEFT_EAR], index[NOSE]
    head = [(1, (0.055, -0.027)), (2, (-0.055, -0.027))]  # the eyes
    head += [(23 + i, (float(p[0]), float(p[1]))) for i, p in enumerate(_face_layout())]
    width = 2 * _EAR_HALF
    for joint, (x, y) in head:
        _rigid_rows(matrix, joint, right, right, left, 0.5 + x / width, y / width)
        depth = 0.75 * max(0.0, 1 - (x * x + y * y) / 0.02)  # the rim of the face turns less than its middle
        neutral = np.zeros((2 * JOINTS, matrix.shape[1]))
        _rigid_rows(neutral, 0, right, right, left, 0.5, NOSE_DROP / width)
        for axis in (0, 1):
            matrix[2 * joint + axis] -= depth * neutral[axis]
            matrix[2 * joint + axis, 2 * nose + axis] += depth
    for first, elbow, wrist, side in ((91, 7, 9, 1.0), (112, 8, 10, -1.0)):
        for i, (along, across) in enumerate(_hand_layout()):
            _rigid_rows(
                matrix, first + i, index[wrist], index[elbow], index[wrist], along / _FOREARM, side * across / _FOREARM
            )
    length2 = _FOOT[0] ** 2 + _FOOT[1] ** 2
    for first, ankle, side in ((17, 15, 1.0), (20, 16, -1.0)):
        for offset, (x, y) in ((1, (0.088, 0.024)), (2, (-0.022, 0.036))):  # small toe, heel
            along = (x * _FOOT[0] + y * _FOOT[1]) / length2
            across = side * (y * _FOOT[0] - x * _FOOT[1]) / length2
            _rigid_rows(matrix, first + offset, index[ankle], index[ankle], index[first], along, across)
    return matrix


NOSE_DROP = 0.03  # the nose below the line of the ears when the head looks straight
MATRIX = joint_matrix()


def joints_from_anchors(anchors: Array) -> Array:
    """`[17, 2]` positions of the painted joints -> `[133, 2]` float64 of all, same unit."""
    return (MATRIX @ anchors.reshape(-1)).reshape(JOINTS, 2)


@dataclass(frozen=True)
class RiderPose:
    """Where the rider's free ends are, in reference pixels (y down) and radians; bones follow by inverse kinematics.

    Attributes:
        ankles: left, right ankle.
        foot_angle: rotation of both feet.
        hip: middle of the hips (lowered where a leg would not reach).
        lean: of the torso from upright, positive to the picture's right.
        wrists: left, right wrist relative to the shoulder (shortened where the arm does not reach).
        head_tilt: rotation of the head.
        head_turn: shift of the nose in standing heights.
    """

    ankles: tuple[Point, Point]
    foot_angle: float
    hip: Point
    lean: float
    wrists: tuple[Point, Point]
    head_tilt: float
    head_turn: float


def _middle_joint(start: Array, end: Array, first: float, second: float, bend: float) -> Array:
    """The knee or elbow between two ends of a chain of two bones; `bend` +-1 chooses the side."""
    line = end - start
    distance = max(float(np.hypot(*line)), 1e-6)
    reach = min(max(distance, abs(first - second) + 1e-6), first + second)
    along = (first**2 - second**2 + reach**2) / (2 * reach)
    across = math.sqrt(max(first**2 - along**2, 0.0))
    unit = line / distance
    return np.asarray(start + along * unit + bend * across * np.array([-unit[1], unit[0]]))


def _rotation(angle: float) -> Array:
    c, s = math.cos(angle), math.sin(angle)
    return np.array([[c, -s], [s, c]])


def solve(pose: RiderPose, body: Proportions) -> Array:
    """`[17, 2]` float64 reference pixels of the painted joints."""
    height = body.height_px
    leg = (body.thigh + body.shin) * height * 0.999
    hip = np.array(pose.hip)
    half = body.hip_half * height
    for (x, y), side in zip(pose.ankles, (1, -1), strict=True):
        reach = math.sqrt(max(leg**2 - (x - hip[0] - side * half) ** 2, 0.0))
        hip[1] = max(hip[1], y - reach)
    up = _rotation(pose.lean)
    shoulders = hip + up @ np.array([0.0, -body.torso * height])
    found: dict[int, Array] = {}
    for k, side in enumerate((1, -1)):
        found[11 + k] = hip + up @ np.array([side * half, 0.0])
        found[15 + k] = np.array(pose.ankles[k])
        found[13 + k] = _middle_joint(found[11 + k], found[15 + k], body.thigh * height, body.shin * height, -side)
        toe = np.array([side * _FOOT[0], _FOOT[1]]) * height
        found[17 + 3 * k] = found[15 + k] + _rotation(pose.foot_angle) @ toe
        found[5 + k] = shoulders + up @ np.array([side * body.shoulder_half * height, 0.0])
        reach = (body.upper_arm + _FOREARM) * height * 0.985
        wrist = np.array(pose.wrists[k])
        wrist = wrist * min(1.0, reach / max(float(np.hypot(*wrist)), 1e-6))
        elbow = _middle_joint(np.zeros(2), wrist, body.upper_arm * height, _FOREARM * height, float(side))
        found[7 + k] = found[5 + k] + elbow
        # Exactly one forearm from the elbow, so that the hand stays rigid even where the wrist was out of reach.
        fore = wrist - elbow
        found[9 + k] = found[7 + k] + fore * (_FOREARM * height / max(float(np.hypot(*fore)), 1e-6))
    turn = _rotation(pose.head_tilt)
    head = shoulders + _rotation(0.5 * pose.lean) @ np.array([0.0, -0.2 * height])
    found[LEFT_EAR] = head + turn @ np.array([_EAR_HALF * height, 0.0])
    found[RIGHT_EAR] = head + turn @ np.array([-_EAR_HALF * height, 0.0])
    found[NOSE] = head + turn @ np.array([pose.head_turn * height, NOSE_DROP * height])
    return np.array([found[joint] for joint in ANCHOR_JOINTS])


class Brush:
    """Draws with subpixel positions into `[h, w, 4]` uint8: RGB and the owner of each pixel, `first` added to it."""

    SHIFT = 4

    def __init__(self, canvas: Array, first: int = 0) -> None:
        self.canvas = canvas
        self.first = first

    def _fixed(self, points: Array) -> Array:
        return np.asarray(np.round(points * (1 << self.SHIFT)), np.int32)

    def line(self, start: Array, end: Array, width: float, rgb: tuple[int, ...], owner: int) -> None:
        """A thick line with round ends."""
        ends = self._fixed(np.stack([start, end]))
        pixels = max(1, round(width))
        cv2.line(
            self.canvas, ends[0].tolist(), ends[1].tolist(), (*rgb, self.first + owner), pixels, cv2.LINE_8, self.SHIFT
        )

    def disc(self, centre: Array, radius: float, rgb: tuple[int, ...], owner: int) -> None:
        """A filled circle."""
        at = self._fixed(centre).tolist()
        size = max(1, round(radius * (1 << self.SHIFT)))
        cv2.circle(self.canvas, at, size, (*rgb, self.first + owner), -1, cv2.LINE_8, self.SHIFT)

    def polygon(self, points: Array, rgb: tuple[int, ...], owner: int, grow: float = 0.0) -> None:
        """A filled convex hull, grown by `grow` pixels."""
        hull = cv2.convexHull(self._fixed(points))
        cv2.fillConvexPoly(self.canvas, hull, (*rgb, self.first + owner), cv2.LINE_8, self.SHIFT)
        if grow > 0:
            wide = max(1, round(2 * grow))
            cv2.polylines(self.canvas, [hull], True, (*rgb, self.first + owner), wide, cv2.LINE_8, self.SHIFT)


def _shade(rgb: tuple[int, ...], gain: float) -> tuple[int, ...]:
    return tuple(min(255, round(v * gain)) for v in rgb)


class PuppetPainter:
    """Draws one puppet; `height` is its standing height in canvas pixels."""

    def __init__(
        self,
        brush: Brush,
        anchors: Array,
        height: float,
        body_rgb: tuple[int, ...],
        limb_width: float,
        coded: bool = True,
    ) -> None:
        self.brush = brush
        self.at = dict(zip(ANCHOR_JOINTS, anchors, strict=True))
        self.joints = joints_from_anchors(anchors)
        self.height = height
        self.rgb = body_rgb
        self.dark = _shade(body_rgb, 0.62)
        self.light = _shade(body_rgb, 1.22)
        self.width = limb_width * height
        self.coded = coded

    def _discs(self, *joints: int) -> None:
        for joint in joints:
            i = ANCHOR_JOINTS.index(joint)
            rgb = ANCHOR_RGB[i] if self.coded else self.light
            self.brush.disc(self.at[joint], ANCHOR_RADIUS[i] * self.height, rgb, OWNER_ANCHOR + i)

    def _bones(self, *joints: int) -> None:
        """Outline, body colour, and a lighter line towards the light (up and left)."""
        pairs = list(pairwise(joints))
        off = np.array([-0.14, -0.14]) * self.width
        for grow, rgb, shift in ((1.22, self.dark, 0.0), (1.0, self.rgb, 0.0), (0.35, self.light, 1.0)):
            for a, b in pairs:
                start, end = self.at[a] + shift * off, self.at[b] + shift * off
                self.brush.line(start, end, self.width * grow, rgb, OWNER_BODY)

    def _leg(self, k: int) -> None:
        self._bones(11 + k, 13 + k, 15 + k)
        foot = self.joints[[15 + k, 17 + 3 * k, 18 + 3 * k, 19 + 3 * k]]
        self.brush.polygon(foot, self.dark, OWNER_FEET[k], 0.026 * self.height)
        self.brush.polygon(foot, self.rgb, OWNER_FEET[k], 0.018 * self.height)
        self._discs(13 + k, 15 + k, 17 + 3 * k)

    def _arm(self, k: int) -> None:
        self._bones(5 + k, 7 + k, 9 + k)
        first, owner = (91, 112)[k], OWNER_HANDS[k]
        hand = self.joints[first : first + 21]
        self.brush.polygon(hand[[0, 5, 9, 13, 17]], self.rgb, owner, 0.012 * self.height)
        for finger in range(5):
            chain = np.vstack([hand[:1], hand[1 + 4 * finger : 5 + 4 * finger]])
            for a, b in pairwise(chain):
                self.brush.line(a, b, 0.017 * self.height, self.rgb, owner)
        self._discs(5 + k, 7 + k, 9 + k)

    def _head(self) -> None:
        face = self.joints[23:91]
        middle = (self.at[LEFT_EAR] + self.at[RIGHT_EAR]) / 2
        jaw = face[:17]
        skull = 2 * middle - jaw  # the jaw's arc mirrored through the middle closes the head
        outline = np.vstack([jaw, skull])
        size = self.height
        for joint in (LEFT_EAR, RIGHT_EAR):
            self.brush.disc(self.at[joint], 0.038 * size, self.dark, OWNER_HEAD)
        self.brush.polygon(outline, self.dark, OWNER_HEAD, 0.016 * size)
        self.brush.polygon(outline, self.rgb, OWNER_HEAD, 0.008 * size)
        for start in (36, 42):
            self.brush.polygon(face[start : start + 6], (235, 235, 240), OWNER_HEAD, 0.004 * size)
            self.brush.disc(face[start : start + 6].mean(0), 0.011 * size, (25, 25, 30), OWNER_HEAD)
        for start in (17, 22):
            self.brush.line(face[start], face[start + 4], 0.012 * size, self.dark, OWNER_HEAD)
        self.brush.polygon(face[48:60], (30, 22, 40), OWNER_HEAD)
        self._discs(LEFT_EAR, RIGHT_EAR, NOSE)

    def draw(self) -> None:
        """Legs, torso, head, arms, in this order from back to front."""
        self._leg(1)
        self._leg(0)
        trunk = np.array([self.at[j] for j in (5, 6, 12, 11)])
        neck = (self.at[5] + self.at[6]) / 2
        middle = (self.at[LEFT_EAR] + self.at[RIGHT_EAR]) / 2
        self.brush.line(neck, middle, self.width * 0.9, self.dark, OWNER_BODY)
        self.brush.polygon(trunk, self.dark, OWNER_BODY, 0.6 * self.width)
        self.brush.polygon(trunk, self.rgb, OWNER_BODY, 0.5 * self.width)
        self._discs(12, 11)
        self._head()
        self._arm(1)
        self._arm(0)


def part_owners() -> Array:
    """`[133]` uint8: the owner a joint's own pixel has while nothing covers it (anchors: their disc)."""
    owners = np.full(JOINTS, OWNER_HEAD, np.uint8)
    owners[91:112], owners[112:133] = OWNER_HANDS
    owners[[18, 19]], owners[[21, 22]] = OWNER_FEET
    for i, joint in enumerate(ANCHOR_JOINTS):
        owners[joint] = OWNER_ANCHOR + i
    return owners
