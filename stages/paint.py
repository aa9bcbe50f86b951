"""What the preview generator paints with: colours that stand out, the object's texture, the person's tone.

Pictures are `[H, W, 3]` uint8 RGB, masks `[H, W]` bool; the paint functions change their first argument in place and
never outside the mask they are given.
"""

import math
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from stages.anchor import Anchor
from stages.region import bounding_box, dilate_mask, distance_to

Array = np.ndarray[Any, np.dtype[Any]]

# COCO-WholeBody joints 5..16: shoulders, elbows, wrists, hips, knees, ankles; limbs between them.
_JOINTS = range(5, 17)
_LIMBS = ((5, 7), (7, 9), (6, 8), (8, 10), (5, 6), (11, 12), (5, 11), (6, 12), (11, 13), (13, 15), (12, 14), (14, 16))
_SEEN = 0.3  # keypoint score from which a joint is lit

_ARMOUR = np.array([[14, 18, 30], [92, 108, 132], [222, 232, 244]], dtype=np.float32)  # dark, middle, bright
_LEVELS = 6
_WITHIN_LEVEL = 0.35  # share of the shading inside a level that is kept
_LIGHT = (255, 186, 92)

_RIM_PIXELS = 2.0  # plain base colour up to the mask's edge, so that the boundary is one strong step
_RING_SHADE = 0.15  # how far the ring is drawn away from the object's brightness at most
_LIGHTNESS_WEIGHT = 2.0  # video codecs halve the resolution of colour, not of brightness


@dataclass(frozen=True)
class Palette:
    """The object's colours (RGB 0..255, float32) and its pattern.

    Attributes:
        base: fills the object up to its edge.
        accent: chevrons.
        glow: the lit strip along the middle.
        phase: shift of the pattern, 0..1.
        bands: chevrons a half-length.
    """

    base: Array
    accent: Array
    glow: Array
    phase: float
    bands: float

    def to_array(self) -> Array:
        """`[4, 3]` float32."""
        return np.stack([self.base, self.accent, self.glow, np.array([self.phase, self.bands, 0])]).astype(np.float32)

    @classmethod
    def from_array(cls, values: Array) -> "Palette | None":
        """The inverse of `to_array`; None for an empty array."""
        if not len(values):
            return None
        return cls(values[0], values[1], values[2], float(values[3, 0]), float(values[3, 1]))


def choose_palette(frame: Array, mask: Array, seed: int) -> Palette:
    """Colours for the object that differ most from what surrounds it, from the whole picture, and from the armour.

    Of 24 candidates (12 hues, bright and deep) the three best are kept; the seed takes one, and turns the hues.

    Args:
        frame: `[H, W, 3]` uint8 RGB where the object is first seen.
        mask: `[H, W]` bool, the object there.
        seed: any integer.
    """
    random = np.random.default_rng(abs(seed))
    hues = (np.arange(12) * 30 + random.uniform(0, 30)) % 360
    tones = np.array([(hue, s, v) for s, v in ((0.85, 1.0), (1.0, 0.42)) for hue in hues], dtype=np.float32)
    candidates = _to_rgb(tones)
    ring = dilate_mask(mask, 16) & ~mask
    step = max(1, math.isqrt(mask.size // 4096))
    groups = [frame[::step, ::step].reshape(-1, 3), np.concatenate([_ARMOUR, np.array([_LIGHT], np.float32)])]
    if ring.any():
        groups.append(frame[ring][:: max(1, int(ring.sum()) // 4096)])
    # The 20th percentile: most of what surrounds the object must differ, a patch of the same colour may not decide.
    scores = np.min([np.percentile(_difference(candidates, group), 20, axis=1) for group in groups], axis=0)
    best = np.argsort(-scores, kind="stable")[:3]
    hue, saturation, value = (float(number) for number in tones[best[int(random.integers(3))]])
    turned = (hue + 28) % 360
    accent, glow = ((turned, 0.95, 0.55), (hue, 0.2, 1.0)) if value > 0.7 else ((turned, 0.95, 0.8), (hue, 0.5, 1.0))
    colours = _to_rgb(np.array([(hue, saturation, value), accent, glow], dtype=np.float32))
    return Palette(colours[0], colours[1], colours[2], float(random.uniform()), float(random.uniform(2.2, 3.2)))


def paint_object(picture: Array, mask: Array, anchor: Anchor, palette: Palette) -> None:
    """Fill the mask with chevrons and a lit strip, laid out along the anchor's axes."""
    box = bounding_box(mask)
    if box is None:
        return
    inside = mask[box]
    y, x = np.mgrid[box[0], box[1]].astype(np.float32)
    dx, dy = x - np.float32(anchor.x), y - np.float32(anchor.y)
    cos, sin = np.float32(math.cos(anchor.angle)), np.float32(math.sin(anchor.angle))
    u = (dx * cos + dy * sin) / np.float32(anchor.half_length)
    v = np.abs(dy * cos - dx * sin) / np.float32(anchor.half_width)
    # A border of zeros: where the object leaves the picture its edge is the picture's, and the rim closes there too.
    depth = distance_to(~np.pad(inside, 1))[1:-1, 1:-1]
    core = np.clip((depth - np.float32(_RIM_PIXELS)) / 1.5, 0, 1)
    wave = (u * palette.bands - v * np.float32(0.55) + palette.phase) % 1
    chevron = np.clip(4 * np.abs(wave - np.float32(0.5)) - np.float32(0.6), 0, 1) * core * np.float32(0.8)
    strip = np.clip(2 - v / np.float32(0.16), 0, 1) * np.clip((np.float32(0.86) - np.abs(u)) / 0.05, 0, 1) * core
    colour = _mix(_mix(palette.base, palette.accent, chevron), palette.glow, strip)
    picture[box][inside] = _to_uint8(colour[inside])


def shade_ring(picture: Array, mask: Array, painted: Array, dilate: float, palette: Palette) -> None:
    """Darken the ring around a bright object and lighten it around a dark one, slightly: the boundary does not move.

    Args:
        picture: changed within `dilate` pixels of `mask`, and not in `mask` or `painted`.
        mask, painted: `[H, W]` bool.
        dilate: pixels.
        palette: the object's colours.
    """
    ring = dilate_mask(mask, dilate) & ~mask & ~painted
    target = np.float32(0 if palette.base.max() > 180 else 255)
    around = picture[ring].astype(np.float32)
    picture[ring] = _to_uint8(around + (target - around) * np.float32(_RING_SHADE))


def strip_between(thing: Array, person: Array, width: float) -> Array:
    """The narrow strip between two masks: what closing both together by a disc fills near both, and is in neither.

    A tracker leaves a pixel or two of shoe and board to nobody. Where both are painted anew they would stay as filmed.

    Args:
        thing, person: `[H, W]` bool.
        width: diameter of the disc, pixels; a wider strip stays open.

    Returns:
        `[H, W]` bool.
    """
    near = dilate_mask(thing, width) & dilate_mask(person, width)
    box = bounding_box(near, margin=math.ceil(width))
    if box is None:
        return near
    both, radius = (thing | person)[box], width / 2 + 1e-3
    grown = distance_to(both) <= radius
    closed = distance_to(~grown) > radius
    near[box] &= closed & ~both
    return near


def paint_person(picture: Array, source: Array, mask: Array, keypoints: Array) -> None:
    """Posterise the person's own brightness into steel-blue levels with inked edges; light joints and limbs.

    Args:
        picture: changed inside `mask`.
        source: `[H, W, 3]` uint8 RGB.
        mask: `[H, W]` bool.
        keypoints: `[133, 3]` float32, x px, y px, score (COCO-WholeBody); or `[P, 133, 3]` of several, nearest last.
    """
    box = bounding_box(mask, margin=3)
    if box is None:
        return
    grey = cv2.medianBlur(cv2.cvtColor(np.ascontiguousarray(source[box]), cv2.COLOR_RGB2GRAY), 5)
    toned: Array = _armour_table()[grey]
    edges = cv2.morphologyEx(grey, cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8)) // 2
    toned = cv2.subtract(toned, cv2.merge([edges, edges, edges]))
    offset = (box[1].start, box[0].start)
    for person in keypoints.reshape(-1, *keypoints.shape[-2:]):
        _draw_lights(toned, person, offset)
    inside = mask[box]
    picture[box][inside] = toned[inside]


def _draw_lights(picture: Array, keypoints: Array, offset: tuple[int, int]) -> None:
    """Thin limbs and round joints where they were seen, on a crop whose top left corner is at `offset` (x, y)."""
    places: dict[int, tuple[int, int]] = {}
    for joint in _JOINTS:
        x, y, score = (float(value) for value in keypoints[joint])
        if score >= _SEEN and abs(x) < 1e5 and abs(y) < 1e5:  # false for NaN too
            places[joint] = (round((x - offset[0]) * 16), round((y - offset[1]) * 16))
    size = max(1, round(picture.shape[0] / 100))
    for first, second in _LIMBS:
        if first in places and second in places:
            cv2.line(picture, places[first], places[second], _LIGHT, size, cv2.LINE_AA, shift=4)
    for place in places.values():
        cv2.circle(picture, place, (size + 1) * 16, _LIGHT, -1, cv2.LINE_AA, shift=4)


def _armour_table() -> Array:
    """`[256, 3]` uint8: brightness to steel blue, in levels."""
    brightness = np.arange(256) / 255
    level = np.minimum(np.floor(brightness * _LEVELS), _LEVELS - 1) / (_LEVELS - 1)
    shade = level * (1 - _WITHIN_LEVEL) + brightness * _WITHIN_LEVEL
    channels = [np.interp(shade, [0, 0.5, 1], _ARMOUR[:, channel]) for channel in range(3)]
    return _to_uint8(np.stack(channels, axis=1))


def _to_rgb(hsv: Array) -> Array:
    """`[n, 3]` float32 hue (degrees), saturation, value (0..1) to RGB 0..255."""
    rgb: Array = cv2.cvtColor(hsv[None], cv2.COLOR_HSV2RGB)[0] * 255
    return rgb


def _difference(candidates: Array, colours: Array) -> Array:
    """`[candidates, colours]`: distances in CIE L*a*b* (CIE76), lightness weighted."""
    pairs = [
        cv2.cvtColor(values.astype(np.float32)[None] / 255, cv2.COLOR_RGB2Lab)[0] for values in (candidates, colours)
    ]
    weights = np.array([_LIGHTNESS_WEIGHT, 1, 1], dtype=np.float32)
    between = (pairs[0][:, None] - pairs[1][None]) * weights
    distance: Array = np.sqrt((between**2).sum(axis=-1))
    return distance


def _mix(below: Array, above: Array, weight: Array) -> Array:
    mixed: Array = below + (above - below) * weight[..., None]
    return mixed


def _to_uint8(values: Array) -> Array:
    return np.floor(np.clip(values, 0, 255) + 0.5).astype(np.uint8)
