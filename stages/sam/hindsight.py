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
from stages.sam.apart import apart
from stages.sam.mistaken import DOUBT, Mistaken, nearer
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
LONG = 16  # frames: these are no clip whose length SAM 2 has to know
BEYOND = 5  # frames before it was lost, on which it may have been taken for another already


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
        steps = np.flatnonzero(np.diff(np.concatenate([[False], missing, [False]])))
        for first, stop in steps.reshape(-1, 2).tolist():
            end = min([stop + AHEAD, len(missing), *(cut for cut in cuts if cut >= stop)])
            run = areas[stop:end]
            run = run[: int(np.argmin(run > 0))] if (run == 0).any() else run
            if run.size:
                start = max([first, *(cut for cut in cuts if cut < stop)])
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
    gain: float = 0.0
    like: bool = False


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
        self._mistaken = Mistaken(whose.chase)
        self._looks = {name: looks[1] for name, looks in whose.looks.items()}
        self._kinds = whose.kinds
        self._masks = masks
        self._pointed = pointed
        self._ways: dict[str, _Way] = {}
        self._changes: dict[str, dict[int, Found]] = {name: {} for name in masks}

    def look_back(
        self, frames: Array, missing: Mapping[str, Array], cuts: Collection[int]
    ) -> dict[str, dict[int, Found]]:
        """By name and frame, what is to be given instead; an empty mask where what was given is another.

        Args:
            frames: `[n, H, W, 3]` uint8 RGB. missing: by name, `[n]` bool. cuts: frames before which one lies.
        """
        gaps = {
            name: Gap.all_of(missing[name], np.count_nonzero(each, axis=(1, 2)), cuts)
            for name, each in self._masks.items()
        }
        for shown, at in enumerate(reversed(range(len(frames)))):
            begun = {name: gap for name in sorted(gaps) for gap in gaps[name] if gap.begin == at}
            prompts = {name: SamPrompt(mask=self._masks[name][at]) for name in begun}
            for name, gap in begun.items():
                self._end(name, False)
                self._ways[name] = _Way(gap, Place.of(box_of(self._masks[name][at])))
            if self._ways:
                self._go(shown, at, frames[at], prompts)
            if at in cuts:
                self._end_all()
        self._end_all()
        return {
            name: {at: self._apart(name, at, each) for at, each in own.items()} for name, own in self._changes.items()
        }

    def _apart(self, name: str, at: int, found: Found) -> Found:
        """Without what others were given there, and keep."""
        kept = [masks[at] for other, masks in self._masks.items() if other != name and at not in self._changes[other]]
        return replace(found, mask=found.mask & ~np.logical_or.reduce(kept)) if kept else found

    def _go(self, shown: int, at: int, frame: Array, prompts: Mapping[str, SamPrompt]) -> None:
        """A frame further back."""
        chase = self._mistaken.chase
        views = {name: chase.view(name, {name: way.place}) for name, way in self._ways.items()}
        seen = apart(self._tracker.see(shown, frame, lambda: None, views, prompts, LONG))
        given = {name: masks[at] for name, masks in self._masks.items()}
        left, asked = dict(given), {name for name, way in self._ways.items() if at < way.gap.first}
        for name, way in self._ways.items():
            if at < way.gap.stop:
                others = [mask for other, mask in given.items() if other not in {name, *asked}]
                left[name] = seen[name].mask & ~np.logical_or.reduce(others) if others else seen[name].mask
        found = self._told(frame, left)
        before = self._told(frame, given) if asked else {}
        for name, way in sorted(self._ways.items()):
            whole, mask = seen[name].mask, left[name]
            if name in asked and self._agrees(name, whole, given):
                self._end(name, True)
                continue
            gain, like = before.get(name, (0.0, False))
            clear = name in asked and ((like and gain < -DOUBT) or (name, at) in self._pointed)
            gone = np.count_nonzero(mask) < PART * np.count_nonzero(whole)
            if clear or gone or at < way.gap.first - BEYOND:
                self._end(name, False)
                continue
            if at < way.gap.stop:
                way.found[at] = Found(mask, views[name], *found.get(name, ()))
            area = float(np.count_nonzero(mask))
            way.place = way.place.saw(box_of(mask), area) if area else way.place.missed(chase.frame)
            if way.place.lost:
                self._end(name, False)

    def _told(self, frame: Array, masks: Mapping[str, Array]) -> dict[str, tuple[float, bool]]:
        """`gain` and `like` of a `Found`, of those of whom that can be told."""
        places = {name: Place.of(box_of(mask)) for name, mask in masks.items() if mask.any()}
        costs: dict[str, dict[str, float]] = {}
        told = {}
        for name in self._looks.keys() & places.keys():
            look, _ = look_of(frame, masks[name])
            if look.size:
                kin = [other for other in self._looks if self._kinds.get(other) == self._kinds.get(name)]
                costs[name] = self._mistaken.costs(look, np.array(places[name].middle), kin, self._looks, places)
                told[name] = alike(look, self._looks[name]) >= ALIKE
        return {
            name: (max((nearer(costs, name, other) for other in each.keys() - {name}), default=-np.inf), told[name])
            for name, each in costs.items()
        }

    def _agrees(self, name: str, mask: Array, given: Mapping[str, Array]) -> bool:
        shares = {other: _iou(mask, each) for other, each in given.items()}
        return shares.pop(name) >= AGREES and all(share < OTHERS for share in shares.values())

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
                self._changes[name][at] = found

    def _end_all(self) -> None:
        for name in list(self._ways):
            self._end(name, False)


def _iou(one: Array, other: Array) -> float:
    """Of two masks; 0 where both are empty."""
    either = np.count_nonzero(one | other)
    return float(np.count_nonzero(one & other) / either) if either else 0.0
