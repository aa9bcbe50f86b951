"""Those of a chase who were lost and found again, followed back from there.

What hid a subject, or was taken for it, has often let go of it by the time it is found again. So it is followed through
the frames of a window backwards too, from one on which it is seen well. Where that arrives at what was given before it
was lost, all that it found on the way is given, as tracks that agree both ways are believed in "Forward-Backward Error"
(Kalal, Mikolajczyk, Matas: ICPR 2010); where it does not, what is nearer to being the subject than another.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from stages.base import Array
from stages.likeness import ALIKE, alike, look_of
from stages.metrics import flag_spans, iou
from stages.sam.apart import apart
from stages.sam.mistaken import DOUBT, nearer
from stages.sam.prompts import SamPrompt
from stages.sam.tracker import Tracker
from stages.sam.whose import Whose
from stages.views.chase import Place
from stages.views.look import box_of

AHEAD = 6  # frames from where it is found again, of which the first that shows most of it is begun on
MOST = 0.6  # of the largest of its areas there
PART = 0.35  # of what is found: where others were given the rest, it has gone over to them
AGREES = 0.3  # IoU with what was given: the same
OTHERS = 0.15  # IoU with what was given as another: that may be it
BEYOND = 5  # frames before it was lost, on which it may have been taken for another already
LONG = 16  # frames of a clip, from which on SAM 2 need not know how many there are


@dataclass(frozen=True)
class Gap:
    """Frames of a window on which a subject is missing, `[first, stop)`; it is followed back from frame `begin` on."""

    first: int
    stop: int
    begin: int

    @classmethod
    def all_of(cls, missing: Array, areas: Array, cuts: Collection[int]) -> "list[Gap]":
        """Those that end with the subject found again in the same shot.

        Args:
            missing: [n] bool. areas: [n] pixels of what was given. cuts: frames before which one lies.
        """
        found = []
        for first, stop in flag_spans(missing):
            start = max([first, *(cut for cut in cuts if cut < stop)])
            end = min([stop + AHEAD, *(cut for cut in cuts if cut >= stop)])
            run = areas[stop:end] * np.logical_and.accumulate(areas[stop:end] > 0)
            if run.any():
                found.append(cls(start, stop, stop + int(np.argmax(run >= MOST * run.max()))))
        return found


@dataclass(frozen=True)
class Found:
    """A subject on a frame.

    Attributes:
        mask: `[H, W]` bool. view: `[2, 3]`, shows it.
        gain: by how much it is nearer to being another; 0 where nothing tells. like: whether it looks like itself.
    """

    mask: Array
    view: Array
    gain: float
    like: bool


Changes = dict[tuple[str, int], Found]  # by name and frame of the window


@dataclass
class _Way:
    """Back from a gap: where it is next, and what was found in the gap and before."""

    gap: Gap
    place: Place
    found: dict[int, Found] = field(default_factory=dict)


class Hindsight:
    """Looks back through a window.

    Args:
        tracker: a new one, of views.
        whose: of the way forwards: how all look by now, and who holds what.
        masks: by name `[n, H, W]` bool, as given; no two overlap.
        pointed: name and frame of what the user pointed at, which stays.
    """

    def __init__(
        self, tracker: Tracker, whose: Whose, masks: Mapping[str, Array], pointed: Collection[tuple[str, int]] = ()
    ) -> None:
        self._tracker = tracker
        self._whose = whose
        self._masks = masks
        self._pointed = pointed
        self._ways: dict[str, _Way] = {}
        self._changes: Changes = {}

    def look_back(self, frames: Array, missing: Mapping[str, Array], cuts: Collection[int]) -> Changes:
        """By name and frame, what is to be given instead; an empty mask where what was given is another.

        Args:
            frames: `[n, H, W, 3]` uint8 RGB. missing: by name, `[n]` bool. cuts: frames before which one lies.
        """
        gaps = {
            name: Gap.all_of(missing[name], np.count_nonzero(self._masks[name], axis=(1, 2)), cuts)
            for name in sorted(self._masks)
            if missing[name].any()
        }
        for shown, at in enumerate(reversed(range(len(frames)))):
            prompts = {}
            for name, gap in [(name, gap) for name, every in gaps.items() for gap in every if gap.begin == at]:
                self._end(name, False)
                mask = self._masks[name][at]
                self._ways[name], prompts[name] = _Way(gap, Place.of(box_of(mask))), SamPrompt(mask=mask)
            if self._ways:
                self._go(shown, at, frames[at], prompts)
            if at in cuts:
                self._end_all()
        self._end_all()
        return {(name, at): self._beside_others(name, at, found) for (name, at), found in self._changes.items()}

    def _beside_others(self, name: str, at: int, found: Found) -> Found:
        """Without what others were given there, and keep."""
        kept = {other: masks[at] for other, masks in self._masks.items() if (other, at) not in self._changes}
        return replace(found, mask=_without(found.mask, name, kept))

    def _go(self, shown: int, at: int, frame: Array, prompts: Mapping[str, SamPrompt]) -> None:
        """A frame further back."""
        chase = self._whose.chase
        views = {name: chase.view(name, {name: way.place}) for name, way in self._ways.items()}
        seen = apart(self._tracker.see(shown, frame, lambda: None, views, prompts, LONG))
        given = {name: masks[at] for name, masks in self._masks.items()}
        asked = {name for name, way in self._ways.items() if at < way.gap.first}
        sure = {name: mask for name, mask in given.items() if name not in asked}
        back = {name: _without(seen[name].mask, name, sure) for name, way in self._ways.items() if at < way.gap.stop}
        gains = self._gains(frame, given | back)
        before = self._gains(frame, given) if asked else {}
        for name, way in sorted(self._ways.items()):
            whole, mask = seen[name].mask, back.get(name, given[name])
            arrived = name in asked and self._agrees(name, whole, given)
            stays = name in asked and (
                (name, at) in self._pointed
                or (before.get(name, 0.0) < -DOUBT and self._is_like(name, frame, given[name]))
            )
            gone = np.count_nonzero(mask) < PART * np.count_nonzero(whole)
            if arrived or stays or (gone and name in asked) or at < way.gap.first - BEYOND:
                self._end(name, arrived)
                continue
            if gone:  # it may come back from there: it is missed, and lost if it is for long
                mask = np.zeros_like(mask)
            if name in back:
                like = self._is_like(name, frame, mask)
                way.found[at] = Found(mask, views[name], gains.get(name, 0.0), like)
            area = float(np.count_nonzero(mask))
            way.place = way.place.saw(box_of(mask), area) if area else way.place.missed(chase.frame)
            if way.place.lost:
                self._end(name, False)

    def _gains(self, frame: Array, masks: Mapping[str, Array]) -> dict[str, float]:
        """`gain` of a `Found`, of those who are of one kind with one that goes back, where it can be told."""
        kinds = {self._whose.kinds.get(name) for name in self._ways}
        places = {name: Place.of(box_of(mask)) for name, mask in masks.items() if mask.any()}
        judged = {name: mask for name, mask in masks.items() if self._whose.kinds.get(name) in kinds}
        costs = self._whose.costs(frame, judged, places)
        return {
            name: max((nearer(costs, name, other) for other in own.keys() - {name}), default=-np.inf)
            for name, own in costs.items()
        }

    def _is_like(self, name: str, frame: Array, mask: Array) -> bool:
        """Whether it looks like itself."""
        look, _ = look_of(frame, mask)
        looks = self._whose.looks.get(name)
        return looks is not None and look.size > 0 and alike(look, looks[1]) >= ALIKE

    def _agrees(self, name: str, mask: Array, given: Mapping[str, Array]) -> bool:
        """Whether what was found is what was given, and nothing that was given as another."""
        if not mask.any() or iou(mask, given[name]) < AGREES:
            return False
        return all(iou(mask, other) < OTHERS for each, other in given.items() if each != name)

    def _end(self, name: str, arrived: bool) -> None:
        """Keep what a way back has found, if there is one."""
        way = self._ways.pop(name, None)
        if way is None:
            return
        self._tracker.drop(name)
        for at, found in way.found.items():
            believed = found.gain <= DOUBT if arrived else found.like and found.gain <= 0
            if not believed:
                found = replace(found, mask=np.zeros_like(found.mask))
            if arrived if at < way.gap.first else found.mask.any():
                self._changes[name, at] = found

    def _end_all(self) -> None:
        for name in list(self._ways):
            self._end(name, False)


def _without(mask: Array, name: str, others: Mapping[str, Array]) -> Array:
    """What of a mask lies in no other's than `name`'s own."""
    left = mask.copy()
    for other, theirs in others.items():
        if other != name:
            left &= ~theirs
    return left
