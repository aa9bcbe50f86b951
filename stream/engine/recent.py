"""What was written last, still in memory, so that the next stage need not read it back from the disk."""

from dataclasses import dataclass

import numpy as np

from stages.base import Array
from storage.spans import Span


@dataclass(frozen=True)
class _Held:
    start: int
    values: Array


class RecentArrays:
    """The last frames of each array, as far back as the present window reads. They are what the store holds, exactly.

    Stages share them: they are not to be written to.
    """

    def __init__(self) -> None:
        self._held: dict[str, _Held] = {}

    def add(self, name: str, start: int, values: Array, keep_from: int) -> None:
        """Note frames `[start, start + len(values))`; of those before them, the ones from `keep_from` on are kept."""
        held = self._held.get(name)
        if held is not None and held.start + len(held.values) == start and keep_from < start:
            first = max(keep_from, held.start)
            values = np.concatenate([held.values[first - held.start :], values])
            start = first
        values = values.view()
        values.flags.writeable = False
        self._held[name] = _Held(start, values)

    def get(self, name: str, span: Span) -> Array | None:
        """The frames of the span, or None when not all of them are held."""
        held = self._held.get(name)
        if held is None or span.start < held.start or span.stop > held.start + len(held.values):
            return None
        return held.values[span.start - held.start : span.stop - held.start]

    def clear(self) -> None:
        """Let go of everything."""
        self._held.clear()
