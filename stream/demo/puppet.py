"""The colour-coded puppet: a figure whose 133 COCO-WholeBody joints are known and can be read back from its colours.

Seventeen joints (`ANCHOR_JOINTS`) are painted as discs, each in its own colour (`ANCHOR_RGB`) on a violet body
(`BODY_RGB`). Every other joint lies rigidly on the head, a hand or a foot, so that all 133 are one linear function of
the seventeen (`joint_matrix`): what draws the figure and what recognises it (`training/build_mini_pose.py`) share it.

The puppet faces the camera: its left is the picture's right. Lengths are in units of its standing height.
"""

import math
from dataclasses import dataclass
from typing import Any

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
