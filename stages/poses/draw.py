"""Skeleton pictures, pixel for pixel what the annotators draw that the control models were trained on.

- `controlnet`: IDEA-Research/DWPose, `ControlNet-v1-1-nightly/annotator/dwpose` (`draw_pose`), RGB.
- `vace`: ali-vilab/VACE, `vace/annotators/pose.py` (`PoseBodyFaceVideoAnnotator`): the same drawing without hands, red
  and blue swapped.
- `wan-animate`: Wan-Video/Wan2.2, `wan/modules/animate/preprocess` (`draw_aapose_by_meta_new`): thinner, with toes,
  without face points.

Two things make this fast and leave every pixel as it is. Limbs are painted in their dimmed colour, where the annotator
dims the whole canvas after painting them. Coordinates are truncated as they are, where the annotators divide them by
the frame's size and multiply again before (which can move a coordinate that is a whole number by one pixel).
"""

import colorsys
import math
from collections.abc import Callable, Iterable, Sequence

import cv2
import numpy as np

from stages.base import Array
from stages.poses.skeleton import FACE, LEFT_HAND, RIGHT_HAND, openpose_body
from storage.errors import UsageError

Colour = tuple[float, float, float]

THRESHOLD = {"controlnet": 0.3, "vace": 0.3, "wan-animate": 0.5}
"""Scores below it are not drawn; body joints of the first two must lie above it."""

# Pairs of OpenPose body joints, 0-based, in painting order; the last two (toes) are Wan's.
LIMBS = (
    (1, 2), (1, 5), (2, 3), (3, 4), (5, 6), (6, 7), (1, 8), (8, 9), (9, 10), (1, 11), (11, 12), (12, 13),
    (1, 0), (0, 14), (14, 16), (0, 15), (15, 17), (13, 18), (10, 19),
)  # fmt: skip
# RGB of joint i; limb i has the same, dimmed.
COLOURS = (
    (255, 0, 0), (255, 85, 0), (255, 170, 0), (255, 255, 0), (170, 255, 0), (85, 255, 0), (0, 255, 0),
    (0, 255, 85), (0, 255, 170), (0, 255, 255), (0, 170, 255), (0, 85, 255), (0, 0, 255), (85, 0, 255),
    (170, 0, 255), (255, 0, 255), (255, 0, 170), (255, 0, 85), (200, 200, 0), (100, 100, 0),
)  # fmt: skip
DIM = 0.6
STICK, JOINT_RADIUS, FACE_RADIUS, HAND_LINE = 4, 4, 3, 2  # pixels, whatever the frame's size
HAND_EDGES = tuple((0 if joint % 4 == 1 else joint - 1, joint) for joint in range(1, 21))
HAND_COLOURS = tuple(
    tuple(255 * value for value in colorsys.hsv_to_rgb(edge / len(HAND_EDGES), 1.0, 1.0))
    for edge in range(len(HAND_EDGES))
)
INK = 32  # pixels of a picture darker than this are the soft edge of a line on black
HAND_DOT: Colour = (0, 0, 255)
FACE_DOT: Colour = (255, 255, 255)

# Wan's body: means of two rows each, scores too: nose, neck, arms, legs, eyes, ears, toes (big and small).
WAN_FIRST = (0, 6, 6, 8, 10, 5, 7, 9, 12, 14, 16, 11, 13, 15, 2, 1, 4, 3, 17, 20)
WAN_SECOND = (0, 5, 6, 8, 10, 5, 7, 9, 12, 14, 16, 11, 13, 15, 2, 1, 4, 3, 18, 21)


def draw(keypoints: Array, height: int, width: int, style: str) -> Array:
    """Draw persons on black.

    Args:
        keypoints: [133, 3] COCO-WholeBody: x, y in pixels of the picture, score 0..1 (0 = not seen); or [P, 133, 3] of
            several, each drawn over the ones before: nearest last.
        height, width: of the picture. Line widths of `controlnet` and `vace` are fixed in pixels.
        style: "controlnet", "vace" or "wan-animate".

    Returns:
        [height, width, 3] uint8, RGB as the annotator returns it (`vace` has red and blue swapped).

    Raises:
        UsageError: for another style.
    """
    if style not in STYLES:
        raise UsageError(f"--pose-style {style}: choose one of {', '.join(STYLES)}")
    canvas = np.zeros((height, width, 3), np.uint8)
    for person in np.asarray(keypoints, np.float64).reshape(-1, *keypoints.shape[-2:]):
        STYLES[style](canvas, person)
    return canvas


def draw_as_vace(keypoints: Array, height: int, width: int, short_side: int = 1024) -> Array:
    """The `vace` picture the way its annotator gets it: painted with the frame's short side at 1024, then reduced.

    VACE resizes a frame before annotating it (`resize_image`: sides rounded to multiples of 64) and its picture back
    afterwards, so that lines in a 480p frame are about half as wide as `draw` paints them.

    Args:
        keypoints, height, width: as for `draw`, in the frame's pixels.
        short_side: VACE's RESIZE_SIZE.

    Returns:
        [height, width, 3] uint8, colours as `draw(..., "vace")`.
    """
    scale = short_side / min(height, width)
    tall, wide = (round(side * scale / 64) * 64 for side in (height, width))
    moved = np.array(keypoints, np.float64)
    moved[..., :2] *= (wide / width, tall / height)
    large = draw(moved, tall, wide, "vace")
    if tall >= height and wide >= width:
        return _reduced(large, (width, height))
    enlarging = height * width > tall * wide
    method = cv2.INTER_LANCZOS4 if enlarging else cv2.INTER_AREA
    return np.asarray(cv2.resize(large, (width, height), interpolation=method))


def _reduced(large: Array, size: tuple[int, int]) -> Array:
    """`[h, w, 3]` uint8: a picture on black by area averaging at `size` (width, height), each pixel as of the whole:
    only the part that holds what is painted is averaged, from and to where pixels of both sizes begin together."""
    small = np.zeros((size[1], size[0], 3), np.uint8)
    rows = large.shape[0]
    from_rows, to_rows = _cells(large.reshape(rows, -1).max(axis=1) > 0, size[1])
    from_columns, to_columns = _cells(large[from_rows].max(axis=0, initial=0).any(axis=1), size[0])
    target = small[to_rows, to_columns]
    if target.size:
        target[:] = cv2.resize(large[from_rows, from_columns], target.shape[1::-1], interpolation=cv2.INTER_AREA)
    return small


def _cells(painted: Array, size: int) -> tuple[slice, slice]:
    """The span of `[n]` bool that holds what is true and begins and ends where a pixel of `size` does, and the span of
    those pixels."""
    shared = math.gcd(len(painted), size)
    step, found = len(painted) // shared, np.flatnonzero(painted)
    first, last = (int(found[0]) // step, int(found[-1]) // step + 1) if found.size else (0, 0)
    times = size // shared
    return slice(first * step, last * step), slice(first * times, last * times)


def painted(pictures: Array) -> Array:
    """`[...]` bool: what is painted on the black of skeleton pictures `[..., 3]` uint8."""
    rows = np.ascontiguousarray(pictures).reshape(-1, *pictures.shape[-2:])
    dark = cv2.inRange(rows, (0, 0, 0), (INK - 1,) * 3)
    return np.asarray(dark == 0).reshape(pictures.shape[:-1])


def _controlnet(canvas: Array, keypoints: Array) -> None:
    _body(canvas, openpose_body(keypoints), COLOURS)
    for hand in (keypoints[LEFT_HAND], keypoints[RIGHT_HAND]):
        _hand(canvas, hand, THRESHOLD["controlnet"], HAND_LINE, JOINT_RADIUS)
    _face(canvas, keypoints[FACE])


def _vace(canvas: Array, keypoints: Array) -> None:
    _body(canvas, openpose_body(keypoints), tuple((blue, green, red) for red, green, blue in COLOURS))
    _face(canvas, keypoints[FACE])


def _wan_animate(canvas: Array, keypoints: Array) -> None:
    threshold = THRESHOLD["wan-animate"]
    single = keypoints.astype(np.float32)  # Wan averages scores in single precision, then compares
    body = ((single[list(WAN_FIRST)] + single[list(WAN_SECOND)]) / 2).astype(np.float64)
    seen = body[:, 2] >= threshold
    stick = max(min(canvas.shape[:2]) // 200 - 1, 1)
    _limbs(canvas, body, seen, COLOURS, stick)
    _joints(canvas, body, seen, COLOURS, stick)
    thin = max(stick // 2, 1)
    for hand in (keypoints[LEFT_HAND], keypoints[RIGHT_HAND]):
        _hand(canvas, hand, threshold, thin, thin)


STYLES: dict[str, Callable[[Array, Array], None]] = {
    "controlnet": _controlnet,
    "vace": _vace,
    "wan-animate": _wan_animate,
}


def _body(canvas: Array, body: Array, colours: Sequence[Colour]) -> None:
    """DWPose's 18 joints and 17 limbs."""
    seen = body[:, 2] > THRESHOLD["controlnet"]
    _limbs(canvas, body, seen, colours, STICK)
    _joints(canvas, body, seen, colours, JOINT_RADIUS)


def _limbs(canvas: Array, body: Array, seen: Array, colours: Sequence[Colour], stick: int) -> None:
    """Filled ellipses of half-width `stick` from joint to joint, in dimmed colours."""
    for (first, second), colour in zip(LIMBS, colours, strict=False):  # fewer limbs than colours, or fewer joints
        if max(first, second) >= len(body) or not (seen[first] and seen[second]):
            continue
        (x1, y1), (x2, y2) = body[first, :2], body[second, :2]
        half = int(math.hypot(x1 - x2, y1 - y2) / 2)
        angle = int(math.degrees(math.atan2(y1 - y2, x1 - x2)))
        outline = cv2.ellipse2Poly((int((x1 + x2) / 2), int((y1 + y2) / 2)), (half, stick), angle, 0, 360, 1)
        cv2.fillConvexPoly(canvas, np.asarray(outline), [int(value * DIM) for value in colour])


def _joints(canvas: Array, body: Array, seen: Array, colours: Sequence[Colour], radius: int) -> None:
    for (x, y, _), colour in zip(body[seen], (c for c, s in zip(colours, seen, strict=False) if s), strict=True):
        cv2.circle(canvas, (int(x), int(y)), radius, colour, thickness=-1)


def _hand(canvas: Array, hand: Array, threshold: float, line: int, radius: int) -> None:
    """A hand's 20 edges around the colour wheel, its 21 dots blue; points in the first column or row are left out."""
    places = [(int(x), int(y)) if score >= threshold else (-1, -1) for x, y, score in hand]
    for (first, second), colour in zip(HAND_EDGES, HAND_COLOURS, strict=True):
        if min(*places[first], *places[second]) > 0:
            cv2.line(canvas, places[first], places[second], colour, thickness=line)
    _dots(canvas, places, radius, HAND_DOT)


def _face(canvas: Array, face: Array) -> None:
    places = [(int(x), int(y)) for x, y, score in face if score >= THRESHOLD["controlnet"]]
    _dots(canvas, places, FACE_RADIUS, FACE_DOT)


def _dots(canvas: Array, places: Iterable[tuple[int, int]], radius: int, colour: Colour) -> None:
    for place in places:
        if min(place) > 0:
            cv2.circle(canvas, place, radius, colour, thickness=-1)
