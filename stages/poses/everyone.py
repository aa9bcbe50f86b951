"""Every person in a clip, from detections on some of its frames: followed within a shot, told apart and found again
behind a cut by the colours of the torso.

    detections --place, motion, colours--> traces of a shot --colours--> persons of the clip

Only boxes are known, so who crosses another is told by both speeds and both looks, as `stages.poses.assign` decides all
of a frame together. It serves to propose who may be followed (`skate analyse`); masks are the tracker's affair.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import combinations

import numpy as np

from stages.base import Array
from stages.likeness import ALIKE, GAIN, alike
from stages.poses.assign import LEAST, assign
from stages.poses.follow import (
    CLEAR_IOU,
    HORIZON,
    LEARN_VELOCITY,
    REACH,
    REACH_PER_FRAME,
    SIZE_RATIO,
    STRANGER_FRAMES,
    iou,
)
from stages.poses.likest import torso_look
from stages.prompts import Box
from stages.resize import reduced, resize_frames

THUMBNAIL = 160  # pixels of height, at most


@dataclass(frozen=True)
class Sighting:
    """A person on a frame.

    Attributes:
        frame: its number. box: pixels. overlap: the largest IoU with another person's box there.
    """

    frame: int
    box: Box
    overlap: float


@dataclass
class Trace:
    """One person without a break.

    Attributes:
        seen: ascending by frame.
        look: `[256]` float32 of the torso (`stages.likeness`); empty where it was never seen clear of others.
        thumbnail: `[h, w, 3]` uint8 RGB; the largest sight that was clear of others, else the first.
        velocity: [2] float64, pixels a frame.
    """

    seen: list[Sighting]
    look: Array
    thumbnail: Array
    clear_area: float = 0.0
    velocity: Array = field(default_factory=lambda: np.zeros(2))

    @property
    def last(self) -> Sighting:
        """Where the person was seen last."""
        return self.seen[-1]

    def expected(self, frame: int) -> Array:
        """[4] float64: the box, moved on to this frame."""
        ahead = min(frame - self.last.frame, HORIZON)
        moved: Array = np.asarray(self.last.box) + np.tile(self.velocity, 2) * ahead
        return moved

    def see(self, sighting: Sighting, image: Array) -> None:
        """Take the next sight of the person, in `[H, W, 3]` uint8 RGB."""
        before, box = self.last, np.asarray(sighting.box)
        clear = sighting.overlap <= CLEAR_IOU
        self.seen.append(sighting)
        if not clear:
            return
        if before.overlap <= CLEAR_IOU:
            step = (_centre(box) - _centre(np.asarray(before.box))) / (sighting.frame - before.frame)
            self.velocity = self.velocity + LEARN_VELOCITY * (step - self.velocity)
        look = torso_look(image, box)
        if look.size:
            self.look = (self.look + GAIN * (look - self.look)).astype(np.float32) if self.look.size else look
        area = float((box[2] - box[0]) * (box[3] - box[1]))
        if area > self.clear_area:
            self.clear_area, self.thumbnail = area, thumbnail(image, sighting.box)

    def join(self, other: "Trace") -> None:
        """Take over another trace of the same person, none of whose frames this one has."""
        weights = len(self.seen), len(other.seen)
        if self.look.size and other.look.size:
            self.look = np.average([self.look, other.look], axis=0, weights=weights).astype(np.float32)
        elif other.look.size:
            self.look = other.look
        if other.clear_area > self.clear_area:
            self.clear_area, self.thumbnail = other.clear_area, other.thumbnail
        self.seen = sorted([*self.seen, *other.seen], key=lambda sighting: sighting.frame)


class Everyone:
    """The persons of a clip, shot by shot.

    Attributes:
        persons: of the shots that have ended, in the order in which they were met.
    """

    def __init__(self) -> None:
        self.persons: list[Trace] = []
        self._shot: list[Trace] = []

    def see(self, frame: int, image: Array, boxes: Array) -> None:
        """Take the detections `[n, 4]` in a frame `[H, W, 3]` uint8 RGB of the current shot, behind those before."""
        looks = [torso_look(image, box) for box in boxes]
        open_traces = [trace for trace in self._shot if frame - trace.last.frame <= STRANGER_FRAMES]
        worth = np.zeros((len(open_traces), len(boxes)))
        for row, trace in enumerate(open_traces):
            worth[row] = _affinities(trace, frame, boxes, looks)
        owner = {column: open_traces[row] for row, column in assign(worth).items()}
        for index, box in enumerate(boxes):
            others = np.delete(iou(boxes, box), index)
            sighting = Sighting(frame, _as_box(box), float(others.max(initial=0.0)))
            if index in owner:
                owner[index].see(sighting, image)
            else:
                self._shot.append(_begun(sighting, image, looks[index]))

    def end_shot(self) -> None:
        """A hard cut, or the clip's end: who was seen is recognised among those of the shots before, or is new."""
        traces = _joined(self._shot)
        self._shot = []
        known = len(self.persons)
        worth = np.array([[likeness(person, trace) for trace in traces] for person in self.persons])
        found = assign(worth, ALIKE) if known and traces else {}
        for row, column in found.items():
            self.persons[row].join(traces[column])
        self.persons += [trace for index, trace in enumerate(traces) if index not in found.values()]


def likeness(one: Trace, other: Trace) -> float:
    """Bhattacharyya's coefficient of both looks; 0 where one of them is not known."""
    return alike(one.look, other.look) if one.look.size and other.look.size else 0.0


def _joined(traces: Sequence[Trace]) -> list[Trace]:
    """The traces of a shot, those of one person joined: the likest first, if no frame shows both."""
    left: dict[int, Trace] = dict(enumerate(traces))
    frames = [{sight.frame for sight in trace.seen} for trace in traces]
    worth = np.zeros((len(left), len(left)))  # of each pair once: [i, j] where i < j

    def judge(i: int, j: int) -> None:
        worth[i, j] = likeness(left[i], left[j]) if frames[i].isdisjoint(frames[j]) else 0.0

    for i, j in combinations(left, 2):
        judge(i, j)
    while (best := worth.max(initial=0.0)) >= ALIKE:
        into, gone = (int(at) for at in np.argwhere(worth == best)[-1])
        left[into].join(left.pop(gone))
        frames[into] |= frames[gone]
        worth[gone], worth[:, gone] = 0.0, 0.0
        for other in left:  # all other pairs are as they were
            if other != into:
                judge(min(into, other), max(into, other))
    return list(left.values())


def _affinities(trace: Trace, frame: int, boxes: Array, looks: Sequence[Array]) -> Array:
    """`[n]` float64 in 0..1: how well each detection continues a trace; below `LEAST`: not at all."""
    place = trace.expected(frame)
    height = float(place[3] - place[1])
    heights = boxes[:, 3] - boxes[:, 1]
    ratio = np.minimum(heights, height) / np.maximum(heights, height)
    distance = np.linalg.norm((boxes[:, :2] + boxes[:, 2:]) / 2 - _centre(place), axis=1) / height
    reach = REACH + REACH_PER_FRAME * (frame - trace.last.frame)
    near = np.clip(1 - distance / reach, 0.0, 1.0)
    look = np.array([np.sqrt(trace.look * each).sum() if trace.look.size and each.size else 0.5 for each in looks])
    fits: Array = LEAST + (1 - LEAST) * (iou(boxes, place) + near + look) / 3
    return np.where((ratio >= SIZE_RATIO) & (distance <= reach), fits, 0.0)


def _begun(sighting: Sighting, image: Array, look: Array) -> Trace:
    """A trace that begins."""
    x1, y1, x2, y2 = sighting.box
    clear = sighting.overlap <= CLEAR_IOU
    area = (x2 - x1) * (y2 - y1) if clear else 0.0
    known = look if clear else np.empty(0, np.float32)
    return Trace([sighting], known, thumbnail(image, sighting.box), area)


def thumbnail(image: Array, box: Box) -> Array:
    """`[h, w, 3]` uint8 RGB: what lies in the box, at most `THUMBNAIL` pixels high."""
    left, top = (max(0, int(value)) for value in box[:2])
    right, bottom = (int(np.ceil(value)) for value in box[2:])
    crop = image[top : max(bottom, top + 1), left : max(right, left + 1)]
    return np.asarray(resize_frames(crop[None].copy(), reduced((crop.shape[1], crop.shape[0]), THUMBNAIL))[0])


def _centre(box: Array) -> Array:
    middle: Array = (box[:2] + box[2:]) / 2
    return middle


def _as_box(values: Array) -> Box:
    x1, y1, x2, y2 = (float(value) for value in values)
    return x1, y1, x2, y2
