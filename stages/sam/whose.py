"""Who of several is who, from frame to frame: by colours, by where each was, and by who holds it.

SAM 2.1 follows each subject as if it were alone, so one that is hidden or has left is found in another that looks like
it. What is found of all of them on a frame is settled here, after tracking; nothing is told to the memories.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Self

import cv2
import numpy as np

from stages.base import Array, Json
from stages.likeness import ALIKE, RARE, alike, cells_of, likeliest, look_of
from stages.sam.apart import award
from stages.sam.mistaken import DOUBT, LATELY, OTHERWISE, Costs, Mistaken, nearer
from stages.sam.prompts import SamPrompt
from stages.sam.tracker import Seen
from stages.sam.withheld import Withheld
from stages.subjects import Subject
from stages.views.chase import Chase, Place
from stages.views.look import box_of

CLEAR = 1.0  # of two log-likelihoods of a colour: a difference above it says whose a pixel is
BLUR = 7  # pixels to each side together over which they are averaged: a colour that a subject has nowhere is a speck
GAIN = 0.02  # of a new look in what is remembered beside the first
CLEAN = 0.9  # of a mask that nobody else claims: its colours are its own
PART = 0.35  # of a part of a mask that is left to it, or the part is another's
CRUMBS = 0.2  # of a whole mask: where less is left, all of it is another's
SPECK = 0.25  # of the largest part of a mask: smaller ones are nothing that was found
SMALLER, LARGER = 0.4, 2.5  # areas at which something is found again, in its last ones
OVERGROWN = 1.7  # of its last areas: a larger mask has taken in something else


@dataclass
class Whose:
    """What is known of every subject.

    Attributes:
        chase: the frames, and who holds what.
        kinds: of the subjects, by name.
        places: by name. masks: `[H, W]` bool, on the last frame.
        looks: `[2, 256]` float32, histograms as `stages.likeness` makes them: the first, and the mean of that and of
            later ones.
        mistaken: who has been taken for whom. withheld: what was not given in the window.
    """

    chase: Chase
    kinds: Mapping[str, str]
    places: dict[str, Place] = field(default_factory=dict)
    masks: dict[str, Array] = field(default_factory=dict)
    looks: dict[str, Array] = field(default_factory=dict)
    mistaken: Mistaken = field(init=False)
    withheld: Withheld = field(default_factory=Withheld)

    def __post_init__(self) -> None:
        self.mistaken = Mistaken(self.chase)

    @classmethod
    def of(cls, subjects: Iterable[Subject], frame: tuple[int, int], side: int) -> Self:
        """Of subjects who were not seen yet, in frames of (width, height), shown in squares of `side` pixels."""
        held = {each.name: each.held_by for each in subjects if each.held_by is not None}
        return cls(Chase(frame, side, held), {each.name: each.kind for each in subjects})

    def view(self, name: str, prompt: SamPrompt | None, frame: Array) -> Array:
        """`[2, 3]` float64: where a subject is looked at on the next frame, by `Chase` or as is pointed at it there.

        Args:
            frame: that frame, `[H, W, 3]` uint8 RGB.
        """
        if prompt is None:
            return self.chase.view(name, self.places, lambda: self._likeliest(name, frame))
        if prompt.points:  # of which one at least lies on it
            x, y = (float(value) for value in np.mean([point for point in prompt.points if point[2] == 1], 0)[:2])
            return self.chase.square((x - 0.5, y - 0.5), min(self.chase.frame))
        box = np.array(prompt.box) - 0.5 if prompt.mask is None else box_of(prompt.mask)
        return self.chase.view(name, {name: Place.of(box)})

    def _likeliest(self, name: str, frame: Array) -> tuple[float, float] | None:
        """Where its colours are and no other was on the frame before; None while they are not known."""
        if name not in self.looks:
            return None
        taken = np.zeros(frame.shape[:2], bool)
        for other, mask in self.masks.items():
            taken |= mask if other != name else False
        return likeliest(frame, self.looks[name][1], self.places[name].extent, taken)

    def forget(self) -> None:
        """Behind a cut nobody is where it was, nor as large; all look as they did."""
        self.places = {name: Place.unknown(self.chase.frame, LATELY + 1) for name in self.looks}
        self.masks = {}
        self.mistaken = Mistaken(self.chase)

    def parts(self) -> tuple[dict[str, Json], dict[str, Array]]:
        """JSON of places, gains and doubts, and arrays by `NAME.look` and `NAME.mask` (8 pixels of a row a byte)."""
        arrays = {f"{name}.look": each for name, each in self.looks.items()}
        arrays |= {f"{name}.mask": np.packbits(each, axis=1) for name, each in self.masks.items()}
        places = {name: asdict(place) for name, place in self.places.items()}
        gains: dict[str, Json] = {name: {**each} for name, each in self.mistaken.gains.items()}
        doubted: list[Json] = [*sorted(self.mistaken.doubted)]
        return {"places": places, "gains": gains, "doubted": doubted}, arrays

    def restore(self, values: Mapping[str, Any], arrays: Mapping[str, Array]) -> None:
        """Take back what `parts()` gave, on a new one."""
        self.places = {name: Place(**value) for name, value in values.get("places", {}).items()}
        self.mistaken.gains = {name: dict(value) for name, value in values.get("gains", {}).items()}
        self.mistaken.doubted = set(values.get("doubted", ()))
        for key, array in arrays.items():
            name, _, which = key.rpartition(".")
            if which == "look":
                self.looks[name] = array
            else:
                self.masks[name] = np.unpackbits(array, axis=1, count=self.chase.frame[0]).astype(bool)

    def settle(self, frame: Array, seen: Mapping[str, Seen], prompted: Collection[str]) -> dict[str, Seen]:
        """What of a frame's masks is whose.

        Each pixel of several masks goes to the one whose colours it has. Where these do not tell, it goes to one whose
        mask is not so large that it has taken in something else; then to one that was seen on the frame before and goes
        on from there, rather than to one that is found anew; then as in `apart`, but to who had it on the frame before.
        What is found anew is believed part by part: where nobody else has it, where it looks like the subject and is
        about as large, and where no other that is lost is expected nearer by. Those who have been taken for one another
        exchange names, and who looks as if it were another is not given (`stages.sam.mistaken`).

        Args:
            frame: `[H, W, 3]` uint8 RGB. seen: by name, as tracked. prompted: who was pointed at on it.
        """
        found = {name: seen[name] for name in sorted(seen)}
        anew = {name for name, each in found.items() if name not in prompted and self._is_anew(name, each.mask)}
        settled = self._shared_out(frame, found, anew)
        for name in anew:
            settled[name] = self._believed(frame, name, found[name], settled[name], anew)
        for name in found.keys() - anew - set(prompted):
            if np.count_nonzero(settled[name].mask) < CRUMBS * np.count_nonzero(found[name].mask):
                settled[name] = _none_of(settled[name])
        judged = {name: each.mask for name, each in settled.items() if name not in prompted}
        costs = self.costs(frame, judged, self.places)
        self.mistaken.doubted = doubted = self._doubted(settled, costs, anew)
        for name in anew & doubted:
            settled[name] = _none_of(settled[name])
        for name in prompted:  # they are who the user says, whatever told otherwise before
            self.mistaken.forget(name)
        exchanged = self._exchange(settled, costs, anew, prompted)
        for name, each in settled.items():
            self._note(frame, name, each, found[name], name in anew | exchanged, name in prompted)
        silent = doubted - exchanged
        given = {name for name, each in settled.items() if each.mask.any()} - silent
        rivals = {name: self._rivals(name, costs) for name in given - set(prompted)}
        unclear = self.mistaken.unclear(given, rivals, self.places)
        broken = anew | exchanged | set(prompted)  # who is pointed at may have been another until then
        self.withheld.note({name: settled[name].mask for name in unclear}, broken, given - unclear)
        return {name: _none_of(each) if name in silent | unclear else each for name, each in settled.items()}

    def costs(
        self, frame: Array, masks: Mapping[str, Array], places: Mapping[str, Place]
    ) -> dict[str, dict[str, float]]:
        """By who was found: by name of its kind, how far it is from being that, with who holds it at these `places`."""
        found: dict[str, dict[str, float]] = {}
        means = {name: looks[1] for name, looks in self.looks.items()}
        for name, mask in masks.items():
            look, _ = look_of(frame, mask)
            if name in self.looks and name in places and look.size:
                names = [other for other in self.looks if self.kinds.get(other) == self.kinds.get(name)]
                found[name] = self.mistaken.costs(look, _middle(box_of(mask)), names, means, places)
        return found

    def _doubted(self, settled: Mapping[str, Seen], costs: Costs, anew: Collection[str]) -> set[str]:
        """Who is found where it looks as if it were another."""
        found = set[str]()
        for name, own in costs.items():
            middle = _middle(box_of(settled[name].mask))
            if name in anew and own[name] > OTHERWISE:
                found.add(name)
            for other in own.keys() - {name}:
                gain, there = nearer(costs, name, other), self.places.get(other)
                if name in anew:
                    gain, least = own[name] - own[other], DOUBT
                elif other in costs:
                    least = self.mistaken.least(name)
                elif there is not None and there.unseen and _is_in(middle, there.box):
                    least = 0.0
                elif there is not None and there.lost:
                    least = self.mistaken.least(name)
                else:
                    continue
                if gain > least:
                    found.add(name)
        return found

    def _exchange(
        self, settled: dict[str, Seen], costs: Costs, anew: Collection[str], prompted: Collection[str]
    ) -> set[str]:
        """Give those their names back who have gone on as one another; who they are."""
        seen = {name for name in costs if settled[name].mask.any()}
        for name in sorted(seen):
            if name in anew:
                self.mistaken.gains.pop(name, None)
            self.mistaken.weigh(name, costs[name])
        found = set[str]()
        lost = [name for name in settled if name not in prompted and name in self.places and self.places[name].lost]
        for name, other in self.mistaken.exchanges(seen, lost):
            settled[name], settled[other] = settled[other], settled[name]
            self.places[name], self.places[other] = self.places[other], self.places[name]
            found |= {name, other}
        return found

    def _is_anew(self, name: str, mask: Array) -> bool:
        """Whether what was found does not go on from where the subject was."""
        place = self.places.get(name)
        if place is None or place.unseen:
            return True
        x1, y1, x2, y2 = np.maximum(np.round(place.box + 0.5), 0).astype(int)
        return not bool(mask[y1:y2, x1:x2].any())

    def _shared_out(self, frame: Array, found: Mapping[str, Seen], anew: Collection[str]) -> dict[str, Seen]:
        """Each pixel given to one."""
        contested = np.sum([each.mask for each in found.values()], axis=0, dtype=np.uint8) > 1 if found else np.zeros(0)
        if not contested.any():
            return dict(found)
        rows, columns = np.nonzero(contested)
        claims = np.stack([each.mask[rows, columns] for each in found.values()])
        known = np.array([[name in self.looks] for name in found])
        likely = np.where(claims & known, self._likely(frame, list(found), rows, columns), -np.inf)
        claims &= ~known | (likely >= likely.max(axis=0) - CLEAR)
        ranks = np.array([[self._rank(name, each.mask) if name in anew else -1.0] for name, each in found.items()])
        grown = np.array([[name not in anew and self._is_overgrown(name, each.mask)] for name, each in found.items()])
        claims &= ~grown | ~(claims & ~grown).any(axis=0)
        claims &= ranks <= np.where(claims, ranks, np.inf).min(axis=0)
        expected = {name: self._expected(name, each.mask.shape) for name, each in found.items()}
        had = np.stack([each[rows, columns] for each in expected.values()])
        return award(found, claims, rows, columns, had)

    def _rank(self, name: str, mask: Array) -> float:
        """Of those that are found anew: the nearer it is to where it may come back, the sooner it is believed."""
        return self._distance(name, mask) if name in self.places and mask.any() else np.inf

    def _is_overgrown(self, name: str, mask: Array) -> bool:
        place = self.places.get(name)
        return place is not None and int(np.count_nonzero(mask)) > OVERGROWN * place.area

    def _likely(self, frame: Array, names: Sequence[str], rows: Array, columns: Array) -> Array:
        """`[n, p]` float32: the log-likelihood of the colours at and around pixels, of each subject; 0 for one whose
        look is not known."""
        top, left = max(0, int(rows.min()) - BLUR), max(0, int(columns.min()) - BLUR)
        part = frame[top : int(rows.max()) + BLUR + 1, left : int(columns.max()) + BLUR + 1]
        cells = cells_of(part)
        found = np.zeros((len(names), len(rows)), np.float32)
        for index, name in enumerate(names):
            if name in self.looks:
                values = np.log(self.looks[name][1] + np.float32(RARE))[cells]
                found[index] = cv2.blur(values, (BLUR, BLUR))[rows - top, columns - left]
        return found

    def _expected(self, name: str, shape: tuple[int, ...]) -> Array:
        """`[H, W]` bool: its last mask, moved as it moved."""
        mask, place = self.masks.get(name), self.places.get(name)
        if mask is None or place is None or place.unseen:
            return np.zeros(shape, bool)
        x, y = place.speed
        height, width = shape
        moved = np.array([[1.0, 0.0, round(x)], [0.0, 1.0, round(y)]])
        return cv2.warpAffine(mask.view(np.uint8), moved, (width, height), flags=cv2.INTER_NEAREST) > 0

    def _believed(self, frame: Array, name: str, whole: Seen, left: Seen, anew: Collection[str]) -> Seen:
        """What is believed of one that was found anew as `whole`, of which `left` is left to it."""
        count, parts = cv2.connectedComponents(whole.mask.view(np.uint8))
        sizes = np.bincount(parts.ravel(), minlength=count)
        kept = np.bincount(parts[left.mask], minlength=count)
        good = kept >= PART * sizes
        good[0] = False
        good &= kept >= SPECK * (kept * good).max()
        mask = left.mask & good[parts]
        if mask.any() and not self._is_like(frame, name, mask, anew):
            mask[:] = False
        return replace(left, mask=mask)

    def _is_like(self, frame: Array, name: str, mask: Array, anew: Collection[str]) -> bool:
        """Whether something may be the subject that was lost."""
        if name not in self.looks:
            return True
        look, area = look_of(frame, mask)
        if not look.size or alike(look, self.looks[name][1]) < ALIKE:
            return False
        place = self.places.get(name)
        if place is None:
            return True
        box = box_of(mask)
        cut_off = bool((box[:2] < 0.5).any() or (box[2:] > np.array(self.chase.frame) - 1.5).any())
        if place.area and (area > LARGER * place.area or (area < SMALLER * place.area and not cut_off)):
            return False
        middle = _middle(box)
        for other, there in self.places.items():
            if other != name and not there.unseen and self._are_alike(name, other) and _is_in(middle, there.box):
                return False
        rivals = [other for other in anew if other != name and self._are_alike(name, other)]
        holder = self.chase.held_by.get(name, "")
        if rivals and holder in self.places and self.places[holder].unseen:
            return False
        return all(self._distance(name, mask) <= self._distance(other, mask) for other in rivals)

    def _rivals(self, name: str, costs: Costs) -> list[str]:
        """Those it could be taken for on this frame."""
        others = [other for other in self.looks if name in self.looks and other != name]
        return [other for other in others if self._are_alike(name, other) and nearer(costs, name, other) > -DOUBT]

    def _are_alike(self, name: str, other: str) -> bool:
        """Whether two could be taken for each other, as far as is known."""
        known = other in self.places and other in self.looks and self.kinds.get(name) == self.kinds.get(other)
        return known and alike(self.looks[name][1], self.looks[other][1]) >= ALIKE

    def _distance(self, name: str, mask: Array) -> float:
        """Pixels from where it may come back to something that was found."""
        box = box_of(mask)
        return float(np.hypot(*(self.chase.expected(name, self.places) - _middle(box)).T).min())

    def _note(self, frame: Array, name: str, settled: Seen, found: Seen, anew: bool, prompted: bool) -> None:
        """Remember where it is, and how it looks."""
        place, box, area = self.places.get(name), box_of(settled.mask), float(np.count_nonzero(settled.mask))
        self.masks[name] = settled.mask
        if not area:
            if place is not None:
                self.places[name] = place.missed(self.chase.frame)
            return
        before = Place.of(box) if place is None or prompted else place
        self.places[name] = before.saw(box, area)
        if (anew and name in self.looks) or area <= CLEAN * np.count_nonzero(found.mask):
            return
        look, _ = look_of(frame, settled.mask)
        if look.size:
            first, mean = self.looks.get(name, (look, look))
            self.looks[name] = np.stack([first, mean + np.float32(GAIN) * (look + first - 2 * mean)])


def _middle(box: Array) -> Array:
    found: Array = (box[:2] + box[2:]) / 2
    return found


def _is_in(point: Array, box: Array) -> bool:
    return bool((box[:2] <= point).all() and (point <= box[2:]).all())


def _none_of(seen: Seen) -> Seen:
    return replace(seen, mask=np.zeros_like(seen.mask))
