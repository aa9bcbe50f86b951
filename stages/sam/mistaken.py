"""Whether subjects that are followed have been taken for one another, by how each looks and by who holds it.

Two that look alike may each go on in the other's place once they have crossed. What speaks for another name is
remembered over frames, and names change hands only where it has spoken for some.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np

from stages.base import Array
from stages.likeness import alike
from stages.views.chase import Chase, Place

GAIN = 0.25  # of a frame in what is remembered: a mean over about the last four
LOOKS = 2.0  # worth of a nat of Bhattacharyya's distance, in sides of a holder
FARTHEST = 0.75  # sides of a holder: what is farther from it tells as little as one who is not seen
SURE = 0.35  # remembered, of two together, from which on they have changed places
DOUBT = 0.25  # by which another name is nearer on a single frame: this one is not given; or its own: that is clear
OTHERWISE = 1.3  # distance from being it, beyond which nothing found anew is: far from its holder only its colours do
SAME, HIDDEN = 0.25, 0.5  # of its side: so near to another, or to where one that is not seen may be, it may be either
LATELY = 5  # frames for which one that is not seen may still be where it was

Costs = Mapping[str, Mapping[str, float]]  # by name of what was found, as `Mistaken.costs` gives them


@dataclass
class Mistaken:
    """What speaks for other names.

    Attributes:
        chase: who holds what.
        gains: by the name that a mask has and another: by how much the other was nearer, a mean.
        doubted: who looked as if it were another on the last frame: less will do for it to do so again.
    """

    chase: Chase
    gains: dict[str, dict[str, float]] = field(default_factory=dict)
    doubted: set[str] = field(default_factory=set)

    def least(self, name: str) -> float:
        """By how much another name has to be nearer on a frame for this one to be doubted."""
        return 0.0 if name in self.doubted else DOUBT

    def costs(
        self, look: Array, middle: Array, names: Iterable[str], looks: Mapping[str, Array], places: Mapping[str, Place]
    ) -> dict[str, float]:
        """How far something with this look and this middle (x, y) is from being each of some subjects; lower is nearer.

        Args:
            names: of one kind, all with looks. looks: histograms by name. places: the last ones.
        """
        holders = {name: places.get(self.chase.held_by.get(name, "")) for name in names}
        return {
            name: LOOKS * _apart(look, looks[name]) + self._from_holder(middle, holder)
            for name, holder in holders.items()
        }

    def _from_holder(self, middle: Array, holder: Place | None) -> float:
        """In its sides, at most `FARTHEST`."""
        if holder is None or holder.unseen:
            return FARTHEST
        return min(FARTHEST, float(np.hypot(*np.subtract(self.chase.feet(holder), middle))) / holder.side)

    def weigh(self, name: str, costs: Mapping[str, float]) -> None:
        """Remember what a frame says of who bears this name."""
        gains = self.gains.setdefault(name, {})
        for other, cost in costs.items():
            if other != name:
                before = gains.get(other, 0.0)
                gains[other] = before + GAIN * (costs[name] - cost - before)

    def exchanges(self, seen: Collection[str], lost: Collection[str]) -> list[tuple[str, str]]:
        """Pairs that have to change names, each name in one at most, the surest first.

        Args:
            seen: who is seen. lost: who is lost: what bears another's name may be it.
        """
        sums: dict[tuple[str, str], float] = {}
        for name in seen:
            for other, gain in self.gains.get(name, {}).items():
                if other in seen:
                    sums[min(name, other), max(name, other)] = gain + self.gains.get(other, {}).get(name, 0.0)
                elif other in lost:
                    sums[name, other] = gain
        found: list[tuple[str, str]] = []
        for pair in sorted(sums, key=lambda pair: (-sums[pair], pair)):
            if sums[pair] >= SURE and not any(set(pair) & set(other) for other in found):
                found.append(pair)
        for name in {name for pair in found for name in pair}:
            self.forget(name)
        return found

    def forget(self, name: str) -> None:
        """What was remembered of who bears this name, and of who bears another's and may be it."""
        self.gains.pop(name, None)
        for gains in self.gains.values():
            gains.pop(name, None)

    def unclear(
        self, given: Collection[str], rivals: Mapping[str, Iterable[str]], places: Mapping[str, Place]
    ) -> set[str]:
        """Who lies where another one is, or may be: whose of two such masks is, its place does not tell.

        Args:
            given: who is seen. rivals: of these, those they could be taken for. places: of this frame.
        """
        found = set[str]()
        for name in given:
            own = places[name]
            for other in rivals.get(name, ()):
                near, reach = [places[other].middle], SAME
                if other not in given:
                    near, reach = self._haunts(other, places), HIDDEN
                if any(np.hypot(*np.subtract(own.middle, at)) < reach * own.side for at in near):
                    found.add(name)
        return found

    def _haunts(self, name: str, places: Mapping[str, Place]) -> list[tuple[float, float]]:
        """Where one that is not seen may be: with who holds it, and where it was, unless that was long ago or before a
        cut."""
        place, holder = places[name], places.get(self.chase.held_by.get(name, ""))
        held = [self.chase.feet(holder)] if holder is not None and not holder.unseen else []
        return [*held, place.middle] if place.area and (place.unseen <= LATELY or not held) else held


def nearer(costs: Costs, name: str, other: str) -> float:
    """By how much what bears a name, and what bears the other if that was found, are nearer to being one another.

    Args:
        costs: by name of what was found, as `Mistaken.costs` gives them; 0 is told of who is not among these.
    """
    if other not in costs.get(name, ()):
        return 0.0
    gain = costs[name][name] - costs[name][other]
    return gain + costs[other][other] - costs[other][name] if other in costs else gain


def _apart(one: Array, other: Array) -> float:
    """Bhattacharyya's distance of two histograms, nats."""
    return -float(np.log(max(alike(one, other), 1e-3)))
