"""What a run tells while it works, as data. Whoever wants to know is a function that takes an event."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from storage.spans import Span
from stream.progress.memory import peak_vram_bytes, rss_bytes


@dataclass(frozen=True)
class Event:
    """Something that happened.

    Attributes:
        record: number of the journal's newest record when it happened, counted from 0; None before a journal is open.
            Of a committed window it is the number of the commit itself, so that a listener that was away can go on
            from the journal.
    """

    record: int | None


@dataclass(frozen=True)
class RunBegins(Event):
    """The chain is about to work.

    Attributes:
        windows: of the clip, as far as its header can be trusted; None where it tells nothing.
        stages: in order.
        done: windows by stage that are committed already.
        beside: those that work while the others do.
    """

    windows: int | None
    stages: tuple[str, ...]
    done: Mapping[str, int]
    beside: tuple[str, ...] = ()


@dataclass(frozen=True)
class WindowDone(Event):
    """A stage has committed a window.

    Attributes:
        stage: that worked. index: of the window. span: of the frames it wrote. seconds: that it took.
        info: the facts in its commit record. rss_bytes, vram_peak_bytes: this process's, when it was committed.
    """

    stage: str
    index: int
    span: Span
    seconds: float
    info: Mapping[str, Any]
    rss_bytes: int = field(default_factory=rss_bytes)
    vram_peak_bytes: int | None = field(default_factory=peak_vram_bytes)


@dataclass(frozen=True)
class GeneratorStep(Event):
    """A generator's server is at this sampling step, of so many, of this window. Told from a thread of its own."""

    window: int
    step: int
    steps: int


@dataclass(frozen=True)
class Note(Event):
    """One line for the person who watches."""

    text: str


Listener = Callable[[Event], None]


class Reporter:
    """Makes events of what happens, each with the number of the newest journal record, and tells them to a listener.

    Args:
        listener: told every event, from the thread in which it happens; None: nobody listens.
    """

    def __init__(self, listener: Listener | None = None) -> None:
        self._listener = listener
        self.record: int | None = None

    def begins(
        self, windows: int | None, stages: tuple[str, ...], done: Mapping[str, int], beside: tuple[str, ...] = ()
    ) -> None:
        """See `RunBegins`."""
        self._tell(RunBegins(self.record, windows, stages, done, beside))

    def window(self, record: int, stage: str, index: int, span: Span, seconds: float, info: Mapping[str, Any]) -> None:
        """See `WindowDone`."""
        self.record = record
        self._tell(WindowDone(record, stage, index, span, seconds, info))

    def step(self, window: int, step: int, steps: int) -> None:
        """See `GeneratorStep`."""
        self._tell(GeneratorStep(self.record, window, step, steps))

    def note(self, text: str) -> None:
        """See `Note`."""
        self._tell(Note(self.record, text))

    def _tell(self, event: Event) -> None:
        if self._listener is not None:
            self._listener(event)
