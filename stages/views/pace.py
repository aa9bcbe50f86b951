"""Which frames the first pass of tracking looks at: it tells where a subject is, so it need not see each of them."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from stages.base import Array

MOST = 12  # frames from look to look
LOST = 2  # while a subject is not seen: it comes back anywhere
SHARE = 0.5  # of its larger side: no subject moves farther from look to look, or the next one comes sooner
REMEMBERED = 5  # looks: what moved fast is watched for as long


@dataclass
class Pace:
    """When the first pass looks again.

    Attributes:
        looks: how many there were; the tracker counts them as frames, one after the other.
        due: the frame of the next one, unless something asks for one before it.
        last: by subject, its last looks, `[n, 5]` float64: frame, x1, y1, x2, y2; NaN where it was not seen; n at most
            `REMEMBERED`.
    """

    looks: int = 0
    due: int = 0
    last: dict[str, Array] = field(default_factory=dict)

    def saw(self, frame: int, boxes: Mapping[str, Array]) -> None:
        """Note a look: by subject that is tracked, `[4]` float64, NaN where it was not seen."""
        rows = {name: np.array([[frame, *box]]) for name, box in boxes.items()}
        self.last = {
            name: np.concatenate([self.last.get(name, row[:0]), row])[-REMEMBERED:] for name, row in rows.items()
        }
        self.looks += 1
        self.due = frame + min(map(step, self.last.values()))

    def forget(self) -> None:
        """Behind a cut nothing is where it was."""
        self.last = {}


def step(looks: Array) -> int:
    """Frames to the next look at a subject, by its last looks `[n, 5]`, as in `Pace`: as many as it takes, at the most
    that it moved in a frame, to move a share of its size."""
    seen = ~np.asarray(np.isnan(looks).any(1))
    if not seen[-1]:
        return LOST
    if not seen[-2:-1].any():
        return 1
    both = seen[1:] & seen[:-1]
    moved = np.abs(np.diff(looks, axis=0))[both]
    fastest = float((moved[:, 1:].max(1) / moved[:, 0]).max())
    side = float((looks[-1, 3:] - looks[-1, 1:3]).max())
    return MOST if fastest * MOST <= SHARE * side else max(1, int(SHARE * side / fastest))
