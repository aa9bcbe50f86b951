"""Draws the colour-coded puppet, and writes beside every pixel which part of whom it belongs to."""

from itertools import pairwise

import cv2
import numpy as np

from stream.demo.puppet import ANCHOR_JOINTS, ANCHOR_RGB, JOINTS, LEFT_EAR, NOSE, RIGHT_EAR, Array, joints_from_anchors

#: Radius of each disc.
ANCHOR_RADIUS = (0.031, 0.03, 0.03, *(0.032,) * 4, *(0.030,) * 2, *(0.032,) * 4, *(0.028,) * 2, 0.025, 0.025)

# What is written beside the colours while drawing: which part a pixel belongs to.
# The parts of puppet k are `OWNERS * k` further on, board k is `OWNER_BOARD + k`.
OWNER_BOARD, OWNER_BODY, OWNER_ANCHOR = 40, 60, 70
OWNER_HEAD, OWNER_HANDS, OWNER_FEET = 90, (91, 92), (93, 94)
OWNERS = 35


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
