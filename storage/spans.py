"""Half-open spans of frames."""

from typing import NamedTuple


class Span(NamedTuple):
    """Frames `start <= t < stop`, counted from the first frame of the clip."""

    start: int
    stop: int

    @property
    def frames(self) -> int:
        """How many frames the span holds (0 when it is empty)."""
        return max(0, self.stop - self.start)

    def within(self, outer: "Span") -> slice:
        """The slice that cuts this span out of an array that starts at `outer.start`.

        Raises:
            ValueError: when the span does not lie inside `outer`.
        """
        if not outer.start <= self.start <= self.stop <= outer.stop:
            raise ValueError(f"span {tuple(self)} does not lie inside {tuple(outer)}")
        return slice(self.start - outer.start, self.stop - outer.start)
