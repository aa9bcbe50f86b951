"""A run that is looked at: its masks, its worst frames, and what a correction has it do again."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from stages.base import Array
from stages.subjects import Subject
from storage.errors import InputError, UsageError
from storage.rundir import RunReader
from stream.engine.windows import committed_windows, shots_of
from stream.options.recorded import read_run
from stream.report.of_run import subject_scores_in

MOST_WORST = 40
APART = 8  # frames: of neighbours the worst stands for all


@dataclass(frozen=True)
class Worst:
    """A frame to look at; the IoU of source and result there, None where the subject was lost; and whose."""

    frame: int
    iou: float | None
    name: str


class Tracked:
    """A run, as far as it has come when it is opened.

    Args:
        path: of the run.

    Attributes:
        video: its clip. subjects: who is followed. frames: tracked. cuts: first frames of the shots behind the first,
            None as long as the clip is not decoded to its end.

    Raises:
        RunDirectoryError: when there is no run. InputError: when its frames are not the clip's.
    """

    def __init__(self, path: Path) -> None:
        manifest, self.config = read_run(path)
        if self.config.fps is not None:
            raise InputError(f"{path}: was resampled with --fps, so that its frames are not the clip's: pick in a run "
                             "without --fps")  # fmt: skip
        self.path, self.video = path, Path(self.config.video)
        if not self.video.is_file():
            raise InputError(f"{path}: its clip {self.video} is no longer there: bring it back")
        self.subjects: tuple[Subject, ...] = self.config.subjects
        self._run = RunReader(path)
        self._windows = committed_windows(self._run.log)
        tracked = self._run.log.of("track")
        self.frames = int(tracked[-1]["span"][1]) if tracked else 0
        self.size = int(manifest["video"]["width"]), int(manifest["video"]["height"])
        whole = bool(self._windows) and self._windows[-1].last
        self.cuts = tuple(start for start, _ in shots_of(self._windows))[1:] if whole else None

    @property
    def names(self) -> list[str]:
        """Of the subjects."""
        return [subject.name for subject in self.subjects]

    def mask(self, name: str, frame: int) -> Array:
        """`[H, W]` bool.

        Raises:
            UsageError: when nobody has that name, or the frame is not tracked.
        """
        if name not in self.names or not 0 <= frame < self.frames:
            raise UsageError(f"{name[:40]!r} is not tracked on frame {frame}")
        found: Array = self._run.arrays.read(f"masks/{name}", frame, frame + 1)[0]
        return found

    def worst(self) -> list[Worst]:
        """Frames to look at, those first on which somebody was lost, then by IoU; of neighbours one."""
        found: list[Worst] = []
        values = subject_scores_in(self._run, tuple(self.names), self.frames)
        for subject in self.subjects:
            if subject.prompt is None:
                continue  # whom the pose stage chooses cannot be corrected
            name = subject.name
            lost = self._lost(name)
            found += [Worst(int(frame), None, name) for frame in np.flatnonzero(lost)]
            scores = values.get(name, np.zeros(0))
            # Of a frame on which both are empty nothing is to be mended.
            found += [Worst(int(at), float(scores[at]), name) for at in np.flatnonzero(scores < 1.0)]
        found.sort(key=lambda each: (each.iou is not None, each.iou or 0.0, each.frame))
        kept: list[Worst] = []
        for each in found:
            if all(abs(each.frame - other.frame) >= APART or each.name != other.name for other in kept):
                kept.append(each)
            if len(kept) == MOST_WORST:
                break
        return kept

    def _lost(self, name: str) -> Array:
        """`[T]` bool: where it was followed and not found."""
        lost = np.zeros(self.frames, bool)
        for record in self._run.log.of("track"):
            for start, stop in record["info"].get("lost", {}).get(name, ()):
                lost[start:stop] = True
        return lost

    def redone(self, frame: int) -> tuple[int, int, int, int]:
        """What a correction on this frame has done again: the first window, how many there are, and the frames from the
        first that is tracked again to the last."""
        first = next((window for window in self._windows if frame < window.new.stop), None)
        if first is None:
            return len(self._windows), len(self._windows), frame, frame
        return first.index, len(self._windows), first.new.start, self._windows[-1].new.stop
