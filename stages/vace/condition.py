"""What the model is shown: the control video and its mask. Pure functions on arrays.

Outside the region the control video is the source. Inside it is grey (or white), which VACE reads as "make something
here"; onto that come the skeleton of the person and the contours of the object, because what lies under the mask is a
control signal too (WanVaceToVideo encodes it as the reactive half). Frames that are already generated stand at the
start as they are, with mask 0.

VACE's own composition (vace/annotators/composition.py, "repaint" with "control") also puts the control signal where the
mask is and the source everywhere else.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from stages.base import Array
from stages.poses.draw import draw, draw_as_vace, painted
from stages.region import bounding_box
from stages.resize import Size, resize_frames, resize_region
from stages.vace.continuity import kept_frames, pad_indices
from storage.errors import UsageError

FILLS = {"grey": 128, "white": 255}  # grey: WanVaceToVideo pads with 0.5
GUIDES = ("none", "scribble")
EDGE_SIGMA = 1.0  # pixels; smooths sensor noise away before the contours are taken


@dataclass(frozen=True)
class Guides:
    """How the region is filled.

    Attributes:
        fill: "grey" or "white".
        object_guide: "none" or "scribble".
        skeleton: whether the person is regenerated, so that a skeleton is drawn.
        pose_style: style of the skeleton picture.
        separate_pose: the skeleton goes into a video of its own (a workflow with two contexts).
    """

    fill: str = "grey"
    object_guide: str = "scribble"
    skeleton: bool = True
    pose_style: str = "vace"
    separate_pose: bool = False

    def __post_init__(self) -> None:
        if self.fill not in FILLS:
            raise UsageError(f"--fill {self.fill} is none of {', '.join(FILLS)}")
        if self.object_guide not in GUIDES:
            raise UsageError(f"--object-guide {self.object_guide} is none of {', '.join(GUIDES)}")


@dataclass(frozen=True)
class Conditioning:
    """What is uploaded for a window.

    Attributes:
        control: `[length, h, w, 3]` uint8 RGB.
        mask: `[length, h, w]` uint8, 255 = generate, 0 = keep.
        pose: `[length, h, w, 3]` uint8 RGB, skeletons on black, or None.
        kept: how many frames at the start are given as already generated.
    """

    control: Array
    mask: Array
    pose: Array | None
    kept: int


def condition(
    frames: Array,
    keypoints: Array,
    objects: Array,
    region: Array,
    tail: Array,
    length: int,
    size: Size,
    guides: Guides,
    pictures: Array | None = None,
) -> Conditioning:
    """Control video, mask and pose video of a window, padded by reflection to `length` frames.

    Args:
        frames: `[n, H, W, 3]` uint8 RGB source.
        keypoints: `[n, 133, 3]` float32, source pixels.
        objects: `[n, H, W]` bool, the object's undilated mask; all false where the object is not regenerated.
        region: `[n, H, W]` bool, what may change.
        tail: `[m, H, W, 3]` uint8 RGB, what is already generated at the window's start.
        length: frames of the generated window, 4n+1, >= n.
        size: `(width, height)` it is generated at.
        guides: what is drawn into the region.
        pictures: `[n, h, w, 3]` uint8 RGB at `size`: skeletons on black as they were given, in place of drawn ones.
    """
    count = len(frames)
    small, region_small = resize_frames(frames, size), resize_region(region, size)
    control = fill_region(small, region_small, FILLS[guides.fill])
    if guides.object_guide == "scribble":
        draw_scribble(control, small, resize_region(objects, size) & region_small)
    pose = None
    if guides.skeleton or guides.separate_pose:
        skeletons = pictures
        if skeletons is None:
            scaled = scale_keypoints(keypoints, frames.shape[2], frames.shape[1], size)
            skeletons = np.stack([skeleton_picture(points, size, guides.pose_style) for points in scaled])
        if guides.separate_pose:
            pose = skeletons if guides.skeleton else np.zeros_like(skeletons)
        else:
            drawn = region_small & painted(skeletons)
            control[drawn] = skeletons[drawn]
    mask = np.where(region_small, np.uint8(255), np.uint8(0))
    kept = kept_frames(len(tail), length)
    control[:kept] = resize_frames(tail[:kept], size)
    mask[:kept] = 0
    if length == count:
        return Conditioning(control, mask, pose, kept)
    order = pad_indices(count, length)
    return Conditioning(control[order], mask[order], None if pose is None else pose[order], kept)


def skeleton_picture(keypoints: Array, size: Size, style: str) -> Array:
    """`[h, w, 3]` uint8 RGB: one person on black; style `vace` as thin as VACE's own annotator leaves it."""
    if style == "vace":
        return draw_as_vace(keypoints, size[1], size[0])
    return draw(keypoints, size[1], size[0], style)


def fill_region(frames: Array, region: Array, value: int) -> Array:
    """`[n, h, w, 3]` uint8: the frames with one grey value in the region `[n, h, w]` bool; a new array."""
    filled = frames.copy()
    filled[region] = value
    return filled


def scale_keypoints(keypoints: Array, width: int, height: int, size: Size) -> Array:
    """`[n, 133, 3]` keypoints of a `width` x `height` picture in pixels of `size`; pixel centres stay pixel centres."""
    scaled = keypoints.astype(np.float32).copy()
    for axis, (old, new) in enumerate(((width, size[0]), (height, size[1]))):
        if new != old:
            scaled[..., axis] = (scaled[..., axis] + 0.5) * (new / old) - 0.5
    return scaled


def draw_scribble(control: Array, frames: Array, objects: Array) -> None:
    """Draw the object's contours, dark on white, into `control` `[n, h, w, 3]` where `objects` `[n, h, w]` is true."""
    for target, frame, mask in zip(control, frames, objects, strict=True):
        box = bounding_box(mask)
        if box is not None:
            inside = mask[box]
            target[box][inside] = contours(frame[box], inside)[inside][:, None]


def contours(frame: Array, mask: Array) -> Array:
    """`[h, w]` uint8: dark lines on white paper, as VACE's scribble annotator gives them (vace/annotators/scribble.py).

    That one is a network; here the lines are Canny's, with thresholds from the object's own gradients, and the
    outline of the mask, softened by a pixel.

    Args:
        frame: `[h, w, 3]` uint8 RGB.
        mask: `[h, w]` bool, the object.
    """
    grey = cv2.GaussianBlur(cv2.cvtColor(np.ascontiguousarray(frame), cv2.COLOR_RGB2GRAY), (0, 0), EDGE_SIGMA)
    slope_x, slope_y = cv2.Sobel(grey, cv2.CV_16S, 1, 0), cv2.Sobel(grey, cv2.CV_16S, 0, 1)
    strength = np.abs(slope_x.astype(np.int32)) + np.abs(slope_y)
    high = max(40.0, 0.5 * float(np.percentile(strength[mask], 95))) if mask.any() else 40.0
    lines = cv2.Canny(slope_x, slope_y, 0.4 * high, high)
    solid = mask.astype(np.uint8)
    outline = solid - cv2.erode(solid, np.ones((3, 3), np.uint8), borderType=cv2.BORDER_CONSTANT, borderValue=0)
    paper: Array = np.where((lines > 0) | (outline > 0), np.uint8(0), np.uint8(255))
    softened: Array = cv2.GaussianBlur(paper, (3, 3), 0)
    return np.minimum(softened, np.where(paper == 0, np.uint8(64), np.uint8(255)))
