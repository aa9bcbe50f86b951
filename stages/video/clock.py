"""Times of frames: relative to the first one, always rising, whatever the stamps in the file say."""

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from storage.errors import InputError

MIN_STEP_SECONDS = 1e-4
JUMP_BACK_SECONDS = 1.0


@dataclass
class Clock:
    """Turns presentation stamps into seconds since the first frame.

    Rules: a missing stamp follows its predecessor by one frame of the claimed rate. A stamp that does not rise is
    repaired by half a frame after its predecessor; one that falls back by more than a second begins a new count,
    and all later ones are shifted with it.

    Attributes:
        time_base: seconds a tick.
        step_seconds: one frame at the claimed rate.
        max_gap_seconds: the longest step accepted.
        repaired: how many times were not taken as they stand in the file (missing, or not rising).
    """

    path: Path
    time_base: Fraction
    step_seconds: float
    max_gap_seconds: float
    first_pts: int | None = None
    last_seconds: float | None = None
    shift_seconds: float = 0.0
    repaired: int = 0

    def seconds(self, pts: int | None) -> float:
        """The time of the next frame in order of presentation.

        Raises:
            InputError: when it comes later than `max_gap_seconds` after the one before.
        """
        last = self.last_seconds
        expected = 0.0 if last is None else last + self.step_seconds
        if pts is None:
            self.repaired += 1
            found = expected
        else:
            if self.first_pts is None:
                self.first_pts = pts - round(expected / float(self.time_base))
            found = self.plain_seconds(pts) + self.shift_seconds
        if last is None:
            self.last_seconds = found
            return found
        if found < last + MIN_STEP_SECONDS:
            self.repaired += 1
            jumped = found < last - JUMP_BACK_SECONDS
            mended = last + (self.step_seconds if jumped else max(self.step_seconds / 2, MIN_STEP_SECONDS))
            self.shift_seconds += mended - found if jumped else 0.0
            found = mended
        if found - last > self.max_gap_seconds:
            raise InputError(
                f"{self.path}: {found - last:.0f} seconds without a frame after {last:.3f} s, the limit is "
                f"{self.max_gap_seconds:.0f}: cut the video there, its time stamps may be damaged"
            )
        self.last_seconds = found
        return found

    def plain_seconds(self, pts: int) -> float:
        """The time a stamp stands for, unrepaired; needs the first frame's stamp."""
        ticks = pts - (self.first_pts or 0)
        return ticks * self.time_base.numerator / self.time_base.denominator

    def pts_of(self, seconds: float) -> int:
        """The stamp nearest to a time, unrepaired."""
        return (self.first_pts or 0) + round(seconds * self.time_base.denominator / self.time_base.numerator)
