"""The path of a virtual camera: steady against the background, and round a subject, smoothly.

All of it is a function of what is known in a stretch of frames around the one asked for: motions and boxes, some frames
back and some ahead. A view is a similarity without mirroring.
"""

import itertools
from dataclasses import dataclass

import numpy as np

from stages.affine import IDENTITY, compose, invert, scaling
from stages.base import Array

MARGIN = 0.15  # of the box's larger side, on each side
FILLS = 0.75  # a subject whose crop takes this much of the frame's width and height gets the whole frame
LEAST_CROP = 0.125  # of the frame's height: a crop is not smaller, or the picture is only blur enlarged
SLIP = 4  # frames to each side of a line


def steadied(motions: Array, reach: int) -> Array:
    """For every frame the map to where a steady camera would have shown it: the mean, over the frames at most `reach`
    away, of where the background of this one lies there.

    Args:
        motions: [T, 2, 3] float64, background of the frame before -> frame; the first is not read.

    Returns:
        [T, 2, 3] float64 similarities: scale by the mean of its logarithm, angle by its mean, the picture's origin by
        the mean of its places.
    """
    frames = len(motions)
    if not frames or reach < 1:
        return np.repeat(IDENTITY[None], frames, 0)
    found = np.empty((frames, 2, 3))
    for t in range(frames):
        maps = [IDENTITY]
        for s in range(t + 1, min(frames, t + reach + 1)):
            maps.append(compose(motions[s], maps[-1]))
        back = IDENTITY
        for s in range(t, max(0, t - reach), -1):
            back = compose(invert(motions[s]), back)
            maps.append(back)
        found[t] = mean_similarity(np.stack(maps))
    return found


def mean_similarity(maps: Array) -> Array:
    """`[N, 2, 3]` similarities near each other -> `[2, 3]`."""
    scale = np.exp(np.log(np.hypot(maps[:, 0, 0], maps[:, 1, 0])).mean())
    angle = np.arctan2(maps[:, 1, 0], maps[:, 0, 0]).mean()
    cos, sin = scale * np.cos(angle), scale * np.sin(angle)
    place = maps[:, :, 2].mean(0)
    return np.array([[cos, -sin, place[0]], [sin, cos, place[1]]])


@dataclass(frozen=True)
class Framing:
    """How a view frames what it follows.

    Attributes:
        size: (width, height) of the view's picture, pixels.
        frame: (width, height) of the source's frames.
        reach: frames to each side over which its place, and twice its size, are averaged.
        margin: around the box, of its larger side.
        least: of the crop's height, of the frame's.
        turned: whether the picture lies the other way than the frame: it shows the whole of it between edges, not
            stretched.
    """

    size: tuple[int, int]
    frame: tuple[int, int]
    reach: int
    margin: float = MARGIN
    least: float = LEAST_CROP
    turned: bool = False

    @property
    def base(self) -> Array:
        """`[2, 3]`: the view of the whole frame."""
        return (between_edges if self.turned else whole)(self.frame, self.size)


def whole(frame: tuple[int, int], size: tuple[int, int]) -> Array:
    """`[2, 3]`: the view that shows the whole of a frame in a picture, both (width, height)."""
    return scaling((size[0] / frame[0], size[1] / frame[1]))


def between_edges(frame: tuple[int, int], size: tuple[int, int]) -> Array:
    """`[2, 3]`: the view that shows the whole of a frame in the middle of a picture, its shape kept."""
    scale = min(size[0] / frame[0], size[1] / frame[1])
    view = scaling((scale, scale))
    view[:, 2] += (np.array(size) - scale * np.array(frame)) / 2
    return view


def followed(boxes: Array, steady: Array, framing: Framing, lost: Array | None = None) -> Array:
    """The views that frame a subject.

    Args:
        boxes: [T, 4] float64 x1, y1, x2, y2 in source pixels; NaN where it is not seen.
        steady: [T, 2, 3] of the same frames, by `steadied`.
        lost: [T] bool, frames on which nobody knows where it is: the margin is twice as wide. None: there are none.

    Returns:
        [T, 2, 3] float64, source pixels to the view's. The crop holds the box of each frame with its margin; its place
        is the mean of the boxes' over 2 * `reach` + 1 frames, its size the mean of the largest that each of these
        frames and their neighbours need, so it neither jumps nor cuts anything off. Where nothing is seen in the whole
        stretch, and where the subject fills the frame, the view is the whole frame, steadied.
    """
    frames = len(boxes)
    seen = ~np.asarray(np.isnan(boxes).any(1))
    base = compose(np.repeat(framing.base[None], frames, 0), steady)
    if not seen.any():
        return base
    there = _moved(boxes, steady)
    there = np.stack([np.interp(np.arange(frames), np.nonzero(seen)[0], side[seen]) for side in there.T], 1)
    middle = _mean((there[:, :2] + there[:, 2:]) / 2, framing.reach)
    width, height = framing.size
    # Half the crop's height that holds the box and its margin from the middle that it is seen from.
    border = framing.margin * (there[:, 2:] - there[:, :2]).max(1, keepdims=True)
    border = border if lost is None else np.where(lost[:, None], 2 * border, border)
    reach = np.maximum(middle - (there[:, :2] - border), there[:, 2:] + border - middle)
    need = np.maximum(reach[:, 1], reach[:, 0] * height / width)
    need = np.maximum(need, framing.least * framing.frame[1] / 2)
    half = _mean(_largest(need, framing.reach)[:, None], framing.reach)[:, 0]
    most = max(framing.frame[1], framing.frame[0] * height / width) / 2
    half = np.minimum(half, most)
    extent = np.stack([half * width / height, half], 1)
    last = np.array(framing.frame, float) - 0.5
    low, high = extent - 0.5, last - extent
    middle = np.where(low <= high, np.clip(middle, low, high), (np.array(framing.frame) - 1) / 2)
    scale = height / (2 * half)
    views = np.zeros((frames, 2, 3))
    views[:, 0, 0] = views[:, 1, 1] = scale
    # The crop's first pixel edge falls on the picture's.
    views[:, :, 2] = -0.5 - scale[:, None] * (middle - extent)
    fills = half >= (1.0 if framing.turned else FILLS) * most
    return np.where(fills[:, None, None], base, compose(views, steady))


def without_slips(boxes: Array, reach: int = SLIP) -> Array:
    """`[T, 4]`: boxes whose middle and size lie on the line through those at most `reach` frames away that most of them
    agree on (Theil and Sen: the median slope of all pairs, then the median offset): a frame or two on which a tracker
    took something else do not count, however the others lie around them. NaN stays."""
    parts = np.concatenate([(boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2]], 1)
    places = np.nonzero(~np.isnan(parts).any(1))[0]
    found = np.full_like(parts, np.nan)
    for place in places:
        near = places[np.abs(places - place) <= reach]
        away, values = (near - place)[:, None], parts[near]
        one, other = np.triu_indices(len(near), 1)
        slope = np.median((values[other] - values[one]) / (away[other] - away[one]), 0) if len(one) else 0.0
        found[place] = np.median(values - slope * away, 0)
    return np.concatenate([found[:, :2] - found[:, 2:] / 2, found[:, :2] + found[:, 2:] / 2], 1)


def beyond(boxes: Array, frame: tuple[int, int]) -> Array:
    """`[T, 4]`: boxes that go on beyond the frame's edge: a subject that leaves the picture does not shrink.

    Args:
        boxes: [T, 4] float64, NaN where it is not seen.
        frame: (width, height). A box that touches an edge is as large across it as the nearest one that does not.
    """
    found = boxes.copy()
    for low, high, side in ((0, 2, frame[0]), (1, 3, frame[1])):
        before, after = boxes[:, low] < 0.5, boxes[:, high] > side - 1.5
        clear = np.nonzero(~np.isnan(boxes[:, low]) & ~before & ~after)[0]
        for place in np.nonzero(before ^ after)[0] if len(clear) else ():
            nearest = clear[np.abs(clear - place).argmin()]
            size = max(boxes[nearest, high] - boxes[nearest, low], boxes[place, high] - boxes[place, low])
            if before[place]:
                found[place, low] = boxes[place, high] - size
            else:
                found[place, high] = boxes[place, low] + size
    return found


def held(boxes: Array, looked: Array) -> tuple[Array, Array]:
    """Boxes that stand still where a subject comes or goes.

    Args:
        boxes: [T, 4] float64, NaN where it was not looked at or not seen.
        looked: [T] bool.

    Returns:
        `[T, 4]`: between a look that saw it and one that did not, it lies where it was seen. `[T]` bool: where it is
        lost, from the frame behind a look that saw it to the one before the next that does.
    """
    found, lost, places = boxes.copy(), np.zeros(len(boxes), np.bool_), np.nonzero(looked)[0]
    seen = ~np.asarray(np.isnan(boxes).any(1))
    for before, after in itertools.pairwise(places):
        if seen[before] != seen[after]:
            found[before + 1 : after] = boxes[before if seen[before] else after]
        lost[before + seen[before] : after + 1 - seen[after]] |= not (seen[before] and seen[after])
    return found, lost


def _moved(boxes: Array, maps: Array) -> Array:
    """`[T, 4]`: the boxes round the moved corners of boxes."""
    corners = boxes[:, [[0, 1], [2, 1], [0, 3], [2, 3]]]
    points = np.einsum("tij,tkj->tki", maps[:, :, :2], corners) + maps[:, None, :, 2]
    return np.concatenate([points.min(1), points.max(1)], 1)


def _mean(values: Array, reach: int) -> Array:
    """`[T, N]`: the mean over the frames at most `reach` away."""
    total = np.concatenate([np.zeros((1, values.shape[1])), np.cumsum(values, 0)])
    t = np.arange(len(values))
    start, stop = np.maximum(0, t - reach), np.minimum(len(values), t + reach + 1)
    return np.asarray((total[stop] - total[start]) / (stop - start)[:, None])


def _largest(values: Array, reach: int) -> Array:
    """`[T]`: the largest of the frames at most `reach` away."""
    padded = np.pad(values, reach, constant_values=-np.inf)
    return np.asarray(np.lib.stride_tricks.sliding_window_view(padded, 2 * reach + 1).max(1))
