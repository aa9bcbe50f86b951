"""What VACE is shown: the control video and its mask. Pure functions on arrays.

Outside the region the control video is the source. Inside it stands the control picture: the person's skeleton and the
object's guide on the background that such a picture has, because what lies under the mask is a control signal too
(WanVaceToVideo encodes it as the reactive half). That is VACE's own composition (vace/annotators/composition.py,
"repaint" with "control": the control's whole frame where the mask is, the source everywhere else). Frames that are
already generated stand at the start as they are, with mask 0.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np

from stages.base import Array
from stages.choices import FILL_CHOICES, FILLS, GUIDES, PLATE
from stages.poses.draw import draw, draw_as_vace, painted
from stages.region import bounding_box
from stages.resize import Size, resize_frames, resize_region
from stages.vace.continuity import kept_frames, pad_indices, union_by_slot
from storage.errors import UsageError

EDGE_SIGMA = 1.0  # pixels; smooths sensor noise away before the contours are taken


@dataclass(frozen=True)
class Guides:
    """How the region is filled.

    Attributes:
        fill: "black", "grey", "white", "plate" (the background behind), or "" for what the control picture
            has as its background: black behind a skeleton, a depth map or Canny's lines, white behind scribbles, and
            grey, VACE's sign for "make something here", where there is no control picture.
        object_guide: "none", "scribble", "canny" or "depth" (made by the server).
        skeleton: whether the person is regenerated, so that a skeleton is drawn.
        pose_style: style of the skeleton picture.
        separate_pose: the skeleton goes into a video of its own (a workflow with two contexts).
    """

    fill: str = ""
    object_guide: str = "scribble"
    skeleton: bool = True
    pose_style: str = "vace"
    separate_pose: bool = False

    def __post_init__(self) -> None:
        if self.fill and self.fill not in FILL_CHOICES:
            raise UsageError(f"--fill {self.fill} is none of {', '.join(FILL_CHOICES)}")
        if self.object_guide not in GUIDES:
            raise UsageError(f"--object-guide {self.object_guide} is none of {', '.join(GUIDES)}")

    @property
    def background(self) -> str:
        """The fill, settled."""
        if self.fill:
            return self.fill
        if self.skeleton and not self.separate_pose:
            return "black"
        return {"none": "grey", "scribble": "white"}.get(self.object_guide, "black")


@dataclass(frozen=True)
class Drawn:
    """What is uploaded for a window.

    Attributes:
        control: `[length, h, w, 3]` uint8 RGB.
        mask: `[length, h, w]` uint8, 255 = generate, 0 = keep.
        pose: `[length, h, w, 3]` uint8 RGB, skeletons on black, or None.
        source, objects: where the server is to make the object's guide, `[length, h, w, 3]` uint8 RGB and
            `[length, h, w]` uint8, 255 = there; else None.
    """

    control: Array
    mask: Array
    pose: Array | None
    source: Array | None = None
    objects: Array | None = None


def condition(
    frames: Array,
    keypoints: Array,
    objects: Array,
    region: Array,
    length: int,
    size: Size,
    guides: Guides,
    pictures: Array | None = None,
    plates: Array | None = None,
) -> Drawn:
    """Control video, mask and pose video of a window, padded by reflection to `length` frames.

    Args:
        frames: `[n, H, W, 3]` uint8 RGB source.
        keypoints: `[n, 133, 3]` float32, source pixels.
        objects: `[n, H, W]` bool, the object's undilated mask; all false where the object is not regenerated.
        region: `[n, H, W]` bool, what may change.
        length: frames of the generated window, 4n+1, >= n.
        size: `(width, height)` it is generated at.
        guides: what is drawn into the region.
        pictures: `[n, h, w, 3]` uint8 RGB at `size`: skeletons on black as they were given, in place of drawn ones.
        plates: `[n, h, w, 3]` uint8 RGB at `size`: what is behind the region, to fill it with.
    """
    order = pad_indices(len(frames), length)

    def padded(values: Array) -> Array:
        return values if len(values) == length else values[order]

    small, own = padded(resize_frames(frames, size)), padded(resize_region(region, size))
    sent = union_by_slot(own)
    control = fill_region(small, sent, guides.background, None if plates is None else padded(plates))
    things = padded(resize_region(objects, size)) & own
    if guides.object_guide in ("scribble", "canny"):
        draw_lines(control, small, things, guides.object_guide)
    pose = None
    if guides.skeleton or guides.separate_pose:
        skeletons = skeleton_video(keypoints, (frames.shape[2], frames.shape[1]), size, guides.pose_style, pictures)
        if guides.separate_pose:
            pose = padded(skeletons if guides.skeleton else np.zeros_like(skeletons))
        else:
            seen = sent & padded(painted(skeletons))
            for frame, where, index in zip(control, seen, order, strict=True):
                _lay(frame, where, skeletons[index])
    mask = np.where(sent, np.uint8(255), np.uint8(0))
    drawn = Drawn(control, mask, pose)
    if guides.object_guide != "depth":
        return drawn
    shown = np.where(things & (mask > 0), np.uint8(255), np.uint8(0))
    return replace(drawn, source=small, objects=shown)


def keep(control: Array, masks: Sequence[Array], tail: Array, size: Size) -> int:
    """Put frames that are already generated at the start of a window, as they are; there its masks become 0.

    Args:
        control: `[length, h, w, 3]` uint8 RGB, masks `[length, h, w]` uint8; written to.
        tail: `[m, H, W, 3]` uint8 RGB, what is already generated. size: (w, h).

    Returns:
        How many of them are given so.
    """
    kept = kept_frames(len(tail), len(control))
    control[:kept] = resize_frames(tail[:kept], size)
    for mask in masks:
        mask[:kept] = 0
    return kept


def skeleton_video(keypoints: Array, video: Size, size: Size, style: str, pictures: Array | None = None) -> Array:
    """`[n, h, w, 3]` uint8 RGB at `size`: a skeleton a frame on black, drawn or as given.

    Args:
        keypoints: `[n, 133, 3]`, pixels of `video` (width, height).
    """
    if pictures is not None:
        return pictures
    scaled = scale_keypoints(keypoints, video[0], video[1], size)
    drawn = np.empty((len(scaled), size[1], size[0], 3), np.uint8)
    for picture, points in zip(drawn, scaled, strict=True):
        picture[:] = skeleton_picture(points, size, style)
    return drawn


def skeleton_picture(keypoints: Array, size: Size, style: str) -> Array:
    """`[h, w, 3]` uint8 RGB: one person on black; style `vace` as thin as VACE's own annotator leaves it."""
    if style == "vace":
        return draw_as_vace(keypoints, size[1], size[0])
    return draw(keypoints, size[1], size[0], style)


def fill_region(frames: Array, region: Array, fill: str, plates: Array | None = None) -> Array:
    """`[n, h, w, 3]` uint8: the frames with the region `[n, h, w]` bool filled; a new array.

    Args:
        fill: one of `FILL_CHOICES`.
        plates: `[n, h, w, 3]` uint8, for "plate": what is behind the region.
    """
    filled = frames.copy()
    for index, frame in enumerate(filled):
        if fill != PLATE:
            _lay(frame, region[index], FILLS[fill])
        else:
            assert plates is not None, "whoever asks for plates keeps them"
            _lay(frame, region[index], plates[index])
    return filled


def _lay(frame: Array, where: Array, what: Array | int) -> None:
    """Put a picture `[h, w, 3]` uint8, or one grey, into the frame where `[h, w]` bool is true."""
    at = np.flatnonzero(where)  # several times as fast as by the mask
    frame.reshape(-1, 3)[at] = what if isinstance(what, int) else what.reshape(-1, 3).take(at, axis=0)


def scale_keypoints(keypoints: Array, width: int, height: int, size: Size) -> Array:
    """`[n, 133, 3]` keypoints of a `width` x `height` picture in pixels of `size`; pixel centres stay pixel centres."""
    scaled = keypoints.astype(np.float32).copy()
    for axis, (old, new) in enumerate(((width, size[0]), (height, size[1]))):
        if new != old:
            scaled[..., axis] = (scaled[..., axis] + 0.5) * (new / old) - 0.5
    return scaled


def draw_lines(control: Array, frames: Array, objects: Array, guide: str) -> None:
    """Draw the object's contours into `control` `[n, h, w, 3]` where `objects` `[n, h, w]` is true.

    Args:
        guide: "scribble", dark on white, or "canny", light on black as its annotator draws them.
    """
    for target, frame, mask in zip(control, frames, objects, strict=True):
        box = bounding_box(mask)
        if box is not None:
            inside = mask[box]
            lines = contours(frame[box], inside)
            target[box][inside] = (lines if guide == "scribble" else 255 - lines)[inside][:, None]


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
