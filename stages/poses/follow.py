"""Which of the detected persons is ours: chosen once at the object, then followed by overlap and size.

A small table of tracks is carried: slot 0 is the chosen person, the others are strangers that were seen beside them, so
that a stranger walking through is recognised as one and not taken for the person who is hidden just then. Each track
moves on at constant velocity (as in SORT, Bewley et al. 2016, without its Kalman filter).
"""

import numpy as np

from stages.base import Array
from stages.prompts import Box

SLOTS = 8  # the chosen person and up to seven strangers
BOX, VELOCITY, HEIGHT, AGE = slice(0, 4), slice(4, 6), 6, 7
COLUMNS = 8
EMPTY = -1.0  # in AGE: a free slot, and, in slot 0, nobody chosen yet

HORIZON = 12  # frames for which a lost track is still believed to move on
STRANGER_FRAMES = 48  # frames after which a stranger out of sight is forgotten
REACH = 0.35  # how far from its predicted place a person may be found again, in heights ...
REACH_PER_FRAME = 0.06  # ... and how much farther with every frame out of sight
GONE_FRAMES = 8  # out of sight for longer, a person may have left, and can come back anywhere
SIZE_RATIO = 0.5  # smaller over larger height, below which it is another person
CLEAR_IOU = 0.05  # boxes that overlap more may hide parts of each other: neither size nor velocity is learnt from them
WHOLE_RATIO = 0.8  # a box lower than this share of the height is cut off, and its middle says nothing of the velocity
LEARN_VELOCITY, LEARN_HEIGHT = 0.5, 0.1  # weight of a new observation
GROW_PER_FRAME = 0.04  # box margin between detections, in heights per frame since the last


def no_tracks() -> Array:
    """[SLOTS, COLUMNS] float64 table with nobody in it: x1, y1, x2, y2, vx, vy (px/frame), height, frames unseen."""
    tracks = np.zeros((SLOTS, COLUMNS))
    tracks[:, AGE] = EMPTY
    return tracks


def choose(boxes: Array, prompt: Box, person: Box | None) -> int:
    """Index of the person who holds or is nearest to the object, or who is nearest to the person's box.

    Args:
        boxes: [n, 4] detections, n >= 1.
        prompt: the object's box.
        person: a box given for the person; it decides alone.
    """
    target = np.array(person or prompt, np.float64)
    distance = np.linalg.norm(_centres(boxes) - _centres(target[None]), axis=1)
    if person is not None:
        order = np.lexsort((distance, -iou(boxes, target)))
    else:
        gap = np.maximum(0, np.maximum(boxes[:, :2] - target[2:], target[:2] - boxes[:, 2:]))
        order = np.lexsort((distance, -_shared_area(boxes, target), np.linalg.norm(gap, axis=1)))
    return int(order[0])


def largest(boxes: Array) -> int:
    """Index of the largest of `boxes` [n, 4], n >= 1."""
    return int(np.argmax(_areas(boxes)))


def begin(boxes: Array, chosen: int) -> Array:
    """The table after the choice: the chosen person in slot 0, the others as strangers."""
    tracks = no_tracks()
    _enter(tracks, 0, boxes[chosen])
    for slot, index in enumerate([i for i in range(len(boxes)) if i != chosen][: SLOTS - 1], start=1):
        _enter(tracks, slot, boxes[index])
    return tracks


def one_frame_on(tracks: Array) -> Array:
    """The table one frame later, before that frame's detections: everybody unseen for one frame more."""
    later = tracks.copy()
    later[later[:, AGE] >= 0, AGE] += 1
    later[1:][later[1:, AGE] > STRANGER_FRAMES, AGE] = EMPTY
    return later


def update(tracks: Array, boxes: Array) -> tuple[Array, int | None]:
    """Give the detections of a frame to the tracks.

    Args:
        tracks: the table after `one_frame_on`.
        boxes: [n, 4] detections.

    Returns:
        the new table, and the index of the chosen person's detection or None.
    """
    updated = tracks.copy()
    owner = _assign(tracks, boxes)
    for index, slot in owner.items():
        alone = bool((np.delete(iou(boxes, boxes[index]), index) <= CLEAR_IOU).all())
        _observe(updated, slot, boxes[index], alone)
    mine = next((index for index, slot in owner.items() if slot == 0), None)
    if mine is not None:  # a newcomer is a stranger only if ours is in sight at the same time
        free = [int(slot) for slot in np.flatnonzero(updated[:, AGE] == EMPTY)]
        for slot, index in zip(free, (i for i in range(len(boxes)) if i not in owner), strict=False):
            _enter(updated, slot, boxes[index])
    return updated, mine


def followed_box(tracks: Array) -> Array:
    """[4] float32: the chosen person's box now; between detections moved on and widened by what may have happened."""
    person = tracks[0]
    if person[AGE] == 0:
        seen: Array = person[BOX].astype(np.float32)
        return seen
    margin = GROW_PER_FRAME * person[AGE] * person[HEIGHT]
    moved: Array = (predicted(person) + margin * np.array([-1, -1, 1, 1])).astype(np.float32)
    return moved


def predicted(track: Array) -> Array:
    """[4]: the track's box moved on to now."""
    moved: Array = track[BOX] + np.tile(track[VELOCITY], 2) * min(track[AGE], HORIZON)
    return moved


def iou(boxes: Array, box: Array) -> Array:
    """[n]: intersection over union of each of `boxes` [n, 4] with `box` [4]."""
    shared = _shared_area(boxes, box)
    union = _areas(boxes) + _areas(box[None]) - shared
    ratio: Array = np.divide(shared, union, out=np.zeros(len(boxes)), where=union > 0)
    return ratio


def _assign(tracks: Array, boxes: Array) -> dict[int, int]:
    """Detection -> slot, the best pairs first."""
    pairs: list[tuple[float, int, int]] = []
    for slot in np.flatnonzero(tracks[:, AGE] >= 0).tolist():
        track = tracks[slot]
        place = predicted(track)
        overlap = iou(boxes, place)
        heights = boxes[:, 3] - boxes[:, 1]
        ratio = np.minimum(heights, track[HEIGHT]) / np.maximum(heights, track[HEIGHT])
        distance = np.linalg.norm(_centres(boxes) - _centres(place[None]), axis=1) / track[HEIGHT]
        gone = slot == 0 and track[AGE] > GONE_FRAMES
        reach = np.inf if gone else REACH + REACH_PER_FRAME * track[AGE]
        likely = (ratio >= SIZE_RATIO) & (distance <= reach)
        affinity = overlap + 0.5 * ratio - distance
        pairs += [(-float(affinity[index]), slot, int(index)) for index in np.flatnonzero(likely)]
    owner: dict[int, int] = {}
    taken: set[int] = set()
    for _, slot, index in sorted(pairs):
        if slot not in taken and index not in owner:
            owner[index] = slot
            taken.add(slot)
    return owner


def _enter(tracks: Array, slot: int, box: Array) -> None:
    tracks[slot] = (*box, 0.0, 0.0, box[3] - box[1], 0.0)


def _observe(tracks: Array, slot: int, box: Array, alone: bool) -> None:
    """Move the track to where it was seen; learn its velocity and height where nothing hid parts of it."""
    track = tracks[slot]
    if track[AGE] > HORIZON:
        track[VELOCITY] = 0.0
        track[HEIGHT] = box[3] - box[1]
    elif alone:
        step = (_centres(box[None]) - _centres(track[None, BOX]))[0] / max(1.0, track[AGE])
        if box[3] - box[1] >= WHOLE_RATIO * track[HEIGHT]:
            track[VELOCITY] += LEARN_VELOCITY * (step - track[VELOCITY])
        track[HEIGHT] += LEARN_HEIGHT * (box[3] - box[1] - track[HEIGHT])
    track[BOX] = box
    track[AGE] = 0.0


def _centres(boxes: Array) -> Array:
    middle: Array = (boxes[:, :2] + boxes[:, 2:]) / 2
    return middle


def _areas(boxes: Array) -> Array:
    area: Array = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    return area


def _shared_area(boxes: Array, box: Array) -> Array:
    sides = np.minimum(boxes[:, 2:], box[2:]) - np.maximum(boxes[:, :2], box[:2])
    area: Array = np.maximum(0, sides).prod(axis=1)
    return area
