"""Planted faults: known damage to a result, so that what judges results can be judged itself.

A fault changes one subject on some frames, by a strength in its own unit (`UNITS`), in the pictures and alike in the
masks and joints that say where the subject now is: the true error of a faulty result is known to the pixel.

    result --cut the subject out--> plate shows through the hole --put it back changed--> faulty result

What is behind a subject comes from the result's plates, or, without them, from its surroundings (Telea 2004, OpenCV's
`inpaint`). Nothing here knows the renderer: any pictures with masks are a result.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import cv2
import numpy as np

from storage.errors import UsageError
from stream.demo.puppet import Array

#: What a fault's strength counts.
UNITS = {
    "shift": "px to the right",
    "scale": "times the size",
    "rotation": "degrees clockwise",
    "dilation": "px of rim added",
    "late": "frames, early below 0",
    "swap": "share of opacity, 0..1",
    "vanish": "share of opacity, 0..1",
    "double": "share of opacity, 0..1",
    "mirrored": "share of opacity, 0..1",
    "slide": "px by the last frame",
    "flicker": "levels, up and down by turns",
    "colour-drift": "levels by the last frame",
    "blur": "px, standard deviation",
}
_SHARES = ("swap", "vanish", "double", "mirrored")
_RIM = 2  # px around a mask that still show some of the subject
_INPAINT_RADIUS = 3
_FOOT_REACH = 0.55  # of the way from ankle to big toe: how far a foot extends around both
_FEET = ((15, 17), (16, 20))  # ankle and big toe, COCO-WholeBody


@dataclass(frozen=True)
class Fault:
    """One planted fault.

    Attributes:
        kind: one of `UNITS`; strength: in its unit.
        start, stop: frames, half-open.
        subject: the name of what is changed; other: whom it changes places with ("swap").
        foot: 0 left, 1 right ("slide").

    Raises:
        UsageError: when a value is none of these.
    """

    kind: str
    strength: float
    start: int
    stop: int
    subject: str
    other: str | None = None
    foot: int = 0

    def __post_init__(self) -> None:
        where = f"fault {self.kind!r}"
        if self.kind not in UNITS:
            raise UsageError(f"{where}: there is none of this name, give one of {', '.join(UNITS)}")
        if not 0 <= self.start < self.stop:
            raise UsageError(f"{where}: frames {self.start}:{self.stop} hold none, give start < stop")
        if self.kind in _SHARES and not 0 <= self.strength <= 1:
            raise UsageError(f"{where}: strength is {self.strength:g}, give 0 to 1 ({UNITS[self.kind]})")
        if self.kind == "scale" and self.strength <= 0:
            raise UsageError(f"{where}: strength is {self.strength:g}, give more than 0 ({UNITS[self.kind]})")
        if self.kind in ("dilation", "blur") and self.strength < 0:
            raise UsageError(f"{where}: strength is {self.strength:g}, give at least 0 ({UNITS[self.kind]})")
        if self.kind == "swap" and self.other is None:
            raise UsageError(f"{where}: it needs the name of the other subject")
        if self.foot not in (0, 1):
            raise UsageError(f"{where}: foot is {self.foot}, give 0 (left) or 1 (right)")


@dataclass(frozen=True)
class Result:
    """Pictures and where their subjects are.

    Attributes:
        frames: [T, H, W, 3] uint8 RGB.
        masks: [T, H, W] bool by name.
        plates: [T, H, W, 3] uint8 RGB without subjects, or None.
        joints: [T, 133, 2] px by name of a person; needed by "slide".
    """

    frames: Array
    masks: Mapping[str, Array]
    plates: Array | None = None
    joints: Mapping[str, Array] = field(default_factory=dict)


def plant(result: Result, fault: Fault) -> Result:
    """The result with the fault in it; what was given stays as it is.

    Raises:
        UsageError: when the result has no such subject, frame or joints.
    """
    _check(result, fault)
    faulty = replace(
        result,
        frames=result.frames.copy(),
        masks={name: mask.copy() for name, mask in result.masks.items()},
        joints={name: joints.copy() for name, joints in result.joints.items()},
    )
    change = _CHANGES[fault.kind]
    for t in range(fault.start, min(fault.stop, len(result.frames))):
        change(result, faulty, fault, t)
    return faulty


def true_iou(result: Result, faulty: Result, subject: str) -> Array:
    """[T] float64: IoU of a subject's masks before and after; both empty = 1."""
    one, two = result.masks[subject], faulty.masks[subject]
    union = (one | two).sum((1, 2))
    return np.where(union == 0, 1.0, (one & two).sum((1, 2)) / np.maximum(union, 1))


def _check(result: Result, fault: Fault) -> None:
    for name in (fault.subject, *([fault.other] if fault.other else [])):
        if name not in result.masks:
            raise UsageError(f"fault {fault.kind!r}: no subject {name!r}, there are {', '.join(sorted(result.masks))}")
    if fault.start >= len(result.frames):
        raise UsageError(f"fault {fault.kind!r}: frame {fault.start} asked for, the result has {len(result.frames)}")
    if fault.kind == "slide" and fault.subject not in result.joints:
        raise UsageError(f"fault 'slide': the joints of {fault.subject!r} are not given")


def _progress(fault: Fault, t: int) -> float:
    """0 before the first frame .. 1 on the last."""
    return (t - fault.start + 1) / (fault.stop - fault.start)


def _without(result: Result, picture: Array, mask: Array, t: int) -> Array:
    """The picture with what is behind `mask`."""
    rim = cv2.dilate(mask.astype(np.uint8), np.ones((2 * _RIM + 1, 2 * _RIM + 1), np.uint8))
    others = [m[t] for m in result.masks.values() if not np.array_equal(m[t], mask)]
    hole = rim.astype(bool) & ~np.any(others, 0) if others else rim.astype(bool)
    if result.plates is None:
        return np.asarray(cv2.inpaint(picture, hole.astype(np.uint8), _INPAINT_RADIUS, cv2.INPAINT_TELEA))
    return np.where(hole[..., None], result.plates[t], picture)


def _lay(picture: Array, cut: Array, cover: Array) -> Array:
    """`cut` over `picture` where `cover` [H, W] float 0..1."""
    share = cover.astype(np.float32)[..., None]
    return np.asarray(picture * (1 - share) + cut * share + 0.5).astype(np.uint8)


def _settle(faulty: Result, name: str, mask: Array, t: int) -> None:
    """`mask` is the subject's on frame `t`; it is nearer than the others."""
    for other in faulty.masks:
        if other != name:
            faulty.masks[other][t] &= ~mask
    faulty.masks[name][t] = mask


def _warp(result: Result, faulty: Result, fault: Fault, t: int, matrix: Array) -> None:
    """The subject moved by an affine map [2, 3], what is behind it shown."""
    mask, picture = result.masks[fault.subject][t], faulty.frames[t]
    size = (mask.shape[1], mask.shape[0])
    cover = cv2.warpAffine(mask.astype(np.float32), matrix, size)
    cut = cv2.warpAffine(picture, matrix, size, borderMode=cv2.BORDER_REPLICATE)
    faulty.frames[t] = _lay(_without(result, picture, mask, t), cut, cover)
    _settle(faulty, fault.subject, cover > 0.5, t)
    if fault.subject in faulty.joints:
        faulty.joints[fault.subject][t] = result.joints[fault.subject][t] @ matrix[:, :2].T + matrix[:, 2]


def _centre(mask: Array) -> tuple[float, float] | None:
    """Middle of a mask, None where it is empty."""
    y, x = np.nonzero(mask)
    return (float(x.mean()), float(y.mean())) if len(x) else None


def _shift(result: Result, faulty: Result, fault: Fault, t: int) -> None:
    _warp(result, faulty, fault, t, np.array([[1.0, 0.0, fault.strength], [0.0, 1.0, 0.0]]))


def _turned(result: Result, faulty: Result, fault: Fault, t: int) -> None:
    """Scale and rotation about the middle of the mask."""
    centre = _centre(result.masks[fault.subject][t])
    if centre is not None:
        degrees, factor = (0.0, fault.strength) if fault.kind == "scale" else (-fault.strength, 1.0)
        _warp(result, faulty, fault, t, np.asarray(cv2.getRotationMatrix2D(centre, degrees, factor)))


def _dilate(result: Result, faulty: Result, fault: Fault, t: int) -> None:
    """A rim of the colours that are nearest to it inside."""
    mask = result.masks[fault.subject][t]
    if not mask.any():
        return
    # The outermost pixels are mixed with the background: the rim takes the colours of those behind them.
    inner = cv2.erode(mask.astype(np.uint8), np.ones((3, 3), np.uint8)) if mask.sum() > 60 else mask.astype(np.uint8)
    outside = (inner == 0).astype(np.uint8)
    far = cv2.distanceTransform((~mask).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    _, nearest = cv2.distanceTransformWithLabels(
        outside, cv2.DIST_L2, cv2.DIST_MASK_PRECISE, labelType=cv2.DIST_LABEL_PIXEL
    )
    colours = np.zeros((int(nearest.max()) + 1, 3), np.uint8)
    inside = outside == 0
    colours[nearest[inside]] = faulty.frames[t][inside]
    grown = far <= fault.strength
    rim = grown & ~mask
    faulty.frames[t][rim] = colours[nearest[rim]]
    _settle(faulty, fault.subject, grown, t)


def _late(result: Result, faulty: Result, fault: Fault, t: int) -> None:
    """The subject as it was some frames before, or will be, also where that is outside the fault."""
    then = min(max(0, t - round(fault.strength)), len(result.frames) - 1)
    clean = _without(result, faulty.frames[t], result.masks[fault.subject][t], t)
    mask = result.masks[fault.subject][then]
    faulty.frames[t] = _lay(clean, result.frames[then], mask)
    _settle(faulty, fault.subject, mask.copy(), t)
    if fault.subject in faulty.joints:
        faulty.joints[fault.subject][t] = result.joints[fault.subject][then]


def _swap(result: Result, faulty: Result, fault: Fault, t: int) -> None:
    """Both subjects, each in the place of the other; seen through at less than 1."""
    assert fault.other is not None
    names = (fault.subject, fault.other)
    masks = [result.masks[name][t] for name in names]
    centres = [_centre(mask) for mask in masks]
    if centres[0] is None or centres[1] is None:
        return
    way = np.subtract(centres[1], centres[0])
    picture = faulty.frames[t].copy()
    swapped = _without(result, _without(result, picture, masks[0], t), masks[1], t)
    for name, mask, step in zip(names, masks, (way, -way), strict=True):
        matrix = np.column_stack([np.eye(2), step])
        size = (mask.shape[1], mask.shape[0])
        cover = cv2.warpAffine(mask.astype(np.float32), matrix, size)
        swapped = _lay(swapped, cv2.warpAffine(picture, matrix, size, borderMode=cv2.BORDER_REPLICATE), cover)
        if fault.strength > 0.5:
            _settle(faulty, name, cover > 0.5, t)
        if fault.strength > 0.5 and name in faulty.joints:
            faulty.joints[name][t] = result.joints[name][t] + step
    faulty.frames[t] = np.asarray(cv2.addWeighted(swapped, fault.strength, picture, 1 - fault.strength, 0.0))


def _vanish(result: Result, faulty: Result, fault: Fault, t: int) -> None:
    mask, picture = result.masks[fault.subject][t], faulty.frames[t]
    clean = _without(result, picture, mask, t)
    faulty.frames[t] = np.asarray(cv2.addWeighted(clean, fault.strength, picture, 1 - fault.strength, 0.0))
    if fault.strength > 0.5:
        faulty.masks[fault.subject][t] = False


def _double(result: Result, faulty: Result, fault: Fault, t: int) -> None:
    """A second one beside it, its own width away, towards the side with more room."""
    mask = result.masks[fault.subject][t]
    columns = np.flatnonzero(mask.any(0))
    if not len(columns):
        return
    width = float(columns[-1] - columns[0] + 1)
    side = 1.0 if columns[0] + columns[-1] < mask.shape[1] else -1.0
    matrix = np.array([[1.0, 0.0, side * width], [0.0, 1.0, 0.0]])
    size = (mask.shape[1], mask.shape[0])
    cover = cv2.warpAffine(mask.astype(np.float32), matrix, size)
    cut = cv2.warpAffine(faulty.frames[t], matrix, size, borderMode=cv2.BORDER_REPLICATE)
    faulty.frames[t] = _lay(faulty.frames[t], cut, cover * fault.strength)
    if fault.strength > 0.5:
        _settle(faulty, fault.subject, mask | (cover > 0.5), t)


def _mirror(result: Result, faulty: Result, fault: Fault, t: int) -> None:
    """Left and right exchanged about the middle of the mask; every joint keeps its name."""
    centre = _centre(result.masks[fault.subject][t])
    if centre is None:
        return
    before = {name: mask[t].copy() for name, mask in faulty.masks.items()}
    picture = faulty.frames[t].copy()
    _warp(result, faulty, fault, t, np.array([[-1.0, 0.0, 2 * centre[0]], [0.0, 1.0, 0.0]]))
    faulty.frames[t] = cv2.addWeighted(faulty.frames[t], fault.strength, picture, 1 - fault.strength, 0.0)
    if fault.strength <= 0.5:
        for name, mask in before.items():
            faulty.masks[name][t] = mask
        if fault.subject in faulty.joints:
            faulty.joints[fault.subject][t] = result.joints[fault.subject][t]


def _slide(result: Result, faulty: Result, fault: Fault, t: int) -> None:
    """One foot glides away along the ground, farther with every frame."""
    joints, mask = result.joints[fault.subject][t], result.masks[fault.subject][t]
    ankle, toe = (joints[j] for j in _FEET[fault.foot])
    reach = _FOOT_REACH * float(np.linalg.norm(toe - ankle))
    foot = np.zeros(mask.shape, np.uint8)
    ends = [tuple(int(v) for v in np.round(16 * point)) for point in (ankle, toe)]
    cv2.line(foot, ends[0], ends[1], 1, max(1, round(2 * reach)), cv2.LINE_8, 4)
    part = foot.astype(bool) & mask
    matrix = np.array([[1.0, 0.0, fault.strength * _progress(fault, t)], [0.0, 1.0, 0.0]])
    size = (mask.shape[1], mask.shape[0])
    cover = cv2.warpAffine(part.astype(np.float32), matrix, size)
    cut = cv2.warpAffine(faulty.frames[t], matrix, size, borderMode=cv2.BORDER_REPLICATE)
    clean = _without(replace(result, masks={fault.subject: part[None].repeat(t + 1, 0)}), faulty.frames[t], part, t)
    kept = mask & ~part
    clean[kept] = faulty.frames[t][kept]
    faulty.frames[t] = _lay(clean, cut, cover)
    _settle(faulty, fault.subject, kept | (cover > 0.5), t)
    first = _FEET[fault.foot][1]
    for joint in (_FEET[fault.foot][0], first, first + 1, first + 2):
        faulty.joints[fault.subject][t, joint, 0] += fault.strength * _progress(fault, t)


def _tint(result: Result, faulty: Result, fault: Fault, t: int) -> None:
    """Flicker: brighter and darker by turns. Colour drift: redder and less blue from frame to frame."""
    mask = result.masks[fault.subject][t]
    if fault.kind == "flicker":
        change = np.full(3, fault.strength * (1 if (t - fault.start) % 2 == 0 else -1))
    else:
        change = fault.strength * _progress(fault, t) * np.array([1.0, 0.0, -1.0])
    faulty.frames[t][mask] = np.clip(np.round(faulty.frames[t][mask] + change), 0, 255).astype(np.uint8)


def _blur(result: Result, faulty: Result, fault: Fault, t: int) -> None:
    if fault.strength > 0:
        soft = cv2.GaussianBlur(faulty.frames[t], (0, 0), fault.strength)
        mask = result.masks[fault.subject][t]
        faulty.frames[t][mask] = soft[mask]


_CHANGES: dict[str, Callable[[Result, Result, Fault, int], None]] = {
    "shift": _shift, "scale": _turned, "rotation": _turned, "dilation": _dilate, "late": _late, "swap": _swap,
    "vanish": _vanish, "double": _double, "mirrored": _mirror, "slide": _slide, "flicker": _tint,
    "colour-drift": _tint, "blur": _blur,
}  # fmt: skip
