"""How far a run is: counted from its commits, told as text. No clock and no terminal here."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from storage.sizes import format_size
from stream.progress.events import Event, GeneratorStep, RunBegins, WindowDone

BAR_CELLS = (10, 30)  # at least and at most; a line that has no room for the least has no bar
AHEAD = "decode"  # works beside the others, so that its time is not added to theirs
IDLE = 1e-3  # seconds, in less of which nothing is done: a speed would be that of a stage that is not asked for


def clock_text(seconds: float) -> str:
    """Seconds as "0:42", "12:05" or "3:02:10"."""
    whole = int(seconds)
    hours, minutes = whole // 3600, whole // 60 % 60
    return f"{hours}:{minutes:02d}:{whole % 60:02d}" if hours else f"{minutes}:{whole % 60:02d}"


def generates(node: str) -> bool:
    """Whether the node of this name is a generator: `generate`, or of a single subject (`--passes each`)
    `generate-NAME`."""
    return node.partition("-")[0] == "generate"


def memory_text(rss: int, vram: int | None) -> str:
    """Memory of this process, bytes, as "RSS 915.3 MB, VRAM peak 1.2 GB"."""
    return f"RSS {format_size(rss)}" + (f", VRAM peak {format_size(vram)}" if vram is not None else "")


@dataclass
class StageProgress:
    """One stage.

    Attributes:
        windows: of the whole clip, as far as its header can be trusted; None where it tells nothing.
        done: windows that are committed; here: of them, by this process.
        frames, seconds: that those of this process had and took.
        step: of the generator in the window it is at, as text.
        memory: when the last window was committed, as text.
    """

    windows: int | None
    done: int = 0
    here: int = 0
    frames: int = 0
    seconds: float = 0.0
    step: str = ""
    memory: str = ""

    def add(self, index: int, frames: int, seconds: float, memory: str) -> None:
        """A window is committed."""
        self.done = max(self.done, index + 1)  # windows made again (`skate redo`) are not counted twice
        if self.windows is not None:
            self.windows = max(self.windows, self.done)
        self.here += 1
        self.frames += frames
        self.seconds += seconds
        self.step, self.memory = "", memory

    @property
    def count(self) -> str:
        """ "3 of 5", or "3" where nobody knows how many there are."""
        return f"{self.done}" if self.windows is None else f"{self.done} of {self.windows}"

    @property
    def speed(self) -> str:
        """Frames a second, of the windows that this process did; empty before the first, and of an idle stage."""
        if not self.frames or self.seconds < IDLE:
            return ""
        rate = self.frames / self.seconds
        return f"{rate:.{2 if rate < 10 else 1 if rate < 1000 else 0}f} frames/s"

    @property
    def seconds_left(self) -> float | None:
        """That this stage will still work; None where it cannot be told."""
        if self.windows is None:
            return None
        left = max(0, self.windows - self.done)
        if not left:
            return 0.0
        return left * self.seconds / self.here if self.here else None

    @property
    def time(self) -> str:
        """ "0:42 left", or when all is done "took 1:10"; empty where it cannot be told."""
        left = self.seconds_left
        if left is None:
            return ""
        if left == 0.0 and self.done:
            return f"took {clock_text(self.seconds)}" if self.here else ""
        return f"{clock_text(left)} left"

    def line(self, name: str, columns: int, glyphs: str = "#.") -> str:
        """One line of a terminal, at most `columns` wide: what does not fit is left out, the bar first of all.

        Args:
            name: of the stage. columns: that there are. glyphs: of the bar, full and empty.
        """
        head = f"{name:<9} window {self.count:>{len(f'{self.windows} of {self.windows}') if self.windows else 0}}"
        parts = [f"{self.step or self.speed:>15}", f"{self.time:>13}", f"{self.memory:<14}"]
        while len("  ".join([head, *parts])) > columns and parts:
            parts.pop()
        room = columns - len("  ".join([head, *parts])) - 2
        if self.windows and room >= BAR_CELLS[0]:
            cells = min(room, BAR_CELLS[1])
            full = cells * min(self.done, self.windows) // self.windows
            head += "  " + glyphs[0] * full + glyphs[1] * (cells - full)
        return "  ".join([head, *parts]).rstrip()[:columns]


@dataclass
class IouSoFar:
    """The scored frames so far."""

    total: float = 0.0
    frames: int = 0
    low: float = 1.0
    low_frame: int = 0

    def add(self, start: int, values: Sequence[float | None]) -> None:
        """The IoU of frames from `start` on; None = untracked."""
        for frame, value in enumerate(values, start):
            if value is not None:
                if not self.frames or value < self.low:
                    self.low, self.low_frame = value, frame
                self.total += value
                self.frames += 1

    def __str__(self) -> str:
        return f"mean {self.total / self.frames:.3f}, min {self.low:.3f} at frame {self.low_frame}"


@dataclass
class Progress:
    """All stages of a run; `beside`: those that work while the others do."""

    stages: dict[str, StageProgress] = field(default_factory=dict)
    iou: IouSoFar = field(default_factory=IouSoFar)
    beside: tuple[str, ...] = ()

    def __call__(self, event: Event) -> None:
        """Count the event."""
        if isinstance(event, RunBegins):
            self.stages = {name: StageProgress(event.windows, event.done.get(name, 0)) for name in event.stages}
            self.beside = event.beside
        elif isinstance(event, WindowDone):
            memory = memory_text(event.rss_bytes, event.vram_peak_bytes)
            stage = self.stages.setdefault(event.stage, StageProgress(None))
            stage.add(event.index, event.span.frames, event.seconds, memory)
            if event.stage == "score":
                self.iou.add(event.span.start, event.info["iou"])
        elif isinstance(event, GeneratorStep):
            generating = [stage for name, stage in self.stages.items() if generates(name)]
            # Of several the first that has not made the window; none where it is tried again.
            for stage in ([each for each in generating if each.done <= event.window] or generating)[:1]:
                stage.step = f"step {event.step} of {event.steps}"

    @property
    def seconds_left(self) -> float | None:
        """Until the end, as far as it can be told: stages work one after the other, decode and `beside` beside them."""
        left = {name: stage.seconds_left for name, stage in self.stages.items() if name != AHEAD}
        known = {name: seconds for name, seconds in left.items() if seconds is not None}
        if not left or len(known) < len(left):
            return None
        return max(sum(s for name, s in known.items() if (name in self.beside) is side) for side in (True, False))

    def lines(self, seconds: float, memory: str, columns: int, glyphs: str = "#.", ended: bool = False) -> list[str]:
        """What a terminal shows: a line a stage, one of the whole run, and one of the IoU once there is any.

        Args:
            seconds: since the run began here. memory: now, as text. columns, glyphs: see `StageProgress.line`.
            ended: nothing more will be told; else, after the last window, segments are joined and the report written.
        """
        left = self.seconds_left
        told = "" if left is None else f", about {clock_text(left)} left" if left else ", all windows done"
        told += "; writing output and report" if left == 0 and not ended else ""
        lines = [stage.line(name, columns, glyphs) for name, stage in self.stages.items()]
        lines.append(f"run       {clock_text(seconds)} so far{told}; {memory}"[:columns])
        if self.iou.frames:
            lines.append(f"IoU       {self.iou}, over {self.iou.frames} frames of this process"[:columns])
        return lines
