"""Masks that were not given because it was not clear whose they were, given once that is clear.

Where two that look alike lie at one place, names may be changing hands, and a mask under the wrong name is worse than
none. Whoever goes on from there without a break, and is given again, is taken to have been itself all the way.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from stages.base import Array

Masks = dict[tuple[str, int], Array]  # by name and frame of the window, `[H, W]` bool


@dataclass
class Withheld:
    """What was not given in a window.

    Attributes:
        frames: of the window, that were seen. pending: of whom it is not clear yet. cleared: of whom it is.
    """

    frames: int = 0
    pending: dict[str, dict[int, Array]] = field(default_factory=dict)
    cleared: Masks = field(default_factory=dict)

    def note(self, unclear: Mapping[str, Array], broken: Collection[str], given: Collection[str]) -> None:
        """Go on by a frame.

        Args:
            unclear: masks that are withheld on it, by name. broken: who does not go on from the frame before, or was
                pointed at. given: who is given on it.
        """
        for name in self.pending.keys() - unclear.keys() | set(broken):
            run = self.pending.pop(name, {})
            if name in given and name not in broken:
                self.cleared |= {(name, at): mask for at, mask in run.items()}
        for name, mask in unclear.items():
            self.pending.setdefault(name, {})[self.frames] = mask
        self.frames += 1

    def take(self) -> Masks:
        """What is given after all. With this the window is over: what is not clear by now never is."""
        cleared = self.cleared
        self.frames, self.pending, self.cleared = 0, {}, {}
        return cleared
