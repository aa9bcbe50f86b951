"""The closed loop: a window whose frames fail the gate is generated again, and the best attempt is kept.

    attempt 0   as configured
    attempt 1   another seed
    attempt n   another seed, and a region wider by 4 (n - 1) pixels (as --dilate), a strength higher by 0.25 (n - 1)

An attempt is judged on the window's final span from the states that stood before the window: tracker, tail and colour.
It is made beside the run, in its scratch folder; a rejected one leaves no trace but its record. The best one by worst
frame is committed in place of the first, and what is later depends on it alone.
"""

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from stages.base import Array, Inputs, Output, Stage, State, Window
from storage.durable import fsync_folder
from storage.log import CommitLog
from storage.records import Record
from storage.rundir import SCRATCH, RunDirectory
from stream.engine.steps import Done, Steps, written_span

WIDER_PIXELS = 4
STRONGER = 0.25

Retried = Callable[[int, int, float], None]  # window, attempt, worst IoU


class Generator(Protocol):
    """A generate stage that can make another attempt at a window."""

    def generate(
        self,
        window: Window,
        inputs: Inputs,
        attempt: int = 0,
        dilate: tuple[int, int] | None = None,
        strength: float | None = None,
    ) -> Output:
        """One attempt; see `ComfyStage.generate`."""


@dataclass(frozen=True)
class Settings:
    """What one attempt changes: its number, `--dilate`, VACE's strength (None: the workflow's)."""

    attempt: int
    dilate: tuple[int, int]
    strength: float | None


def settings_of(attempt: int, dilate: tuple[int, int], strength: float | None) -> Settings:
    """The settings of an attempt, from those of the run."""
    more = max(0, attempt - 1)
    return Settings(
        attempt,
        (dilate[0] + WIDER_PIXELS * more, dilate[1] + WIDER_PIXELS * more),
        strength if more == 0 else (1.0 if strength is None else strength) + STRONGER * more,
    )


def worst_iou(iou: Sequence[float | None]) -> float:
    """The lowest IoU of the scored frames; 1.0 where none is scored."""
    return min((value for value in iou if value is not None), default=1.0)


@dataclass(frozen=True)
class Trial:
    """One attempt, made but not committed: what each stage returned, and the state it was left in."""

    settings: Settings
    done: dict[str, Done]
    states: dict[str, State]

    @property
    def worst(self) -> float:
        """Its worst frame's IoU."""
        return worst_iou(self.done["score"].output.info["iou"])


class ClosedLoop:
    """Makes attempts at windows that fail.

    Args:
        run: the locked run directory.
        steps: the pipeline's own; its generator makes the attempts.
        judges: makes fresh blend, sink and score stages that write segments into a folder.
        retries: attempts after the first.
        threshold: of the gate.
        dilate, strength: of the run.
        told: is told about every attempt.
        note: takes a line for the person who watches.
    """

    def __init__(
        self,
        run: RunDirectory,
        steps: Steps,
        judges: Callable[[Path], Sequence[Stage]],
        retries: int,
        threshold: float,
        dilate: tuple[int, int],
        strength: float | None,
        told: Retried,
        note: Callable[[str], None],
    ) -> None:
        self._run = run
        self._steps = steps
        self._judges = judges
        self._retries = retries
        self._threshold = threshold
        self._dilate = dilate
        self._strength = strength
        self._told = told
        self._note = note

    def improve(self, window: Window, commit: Callable[[Stage, int, Done, State], None]) -> None:
        """Try again where the committed window fails; commit the best attempt when it is not the one that stands.

        Args:
            window: generated and scored.
            commit: the pipeline's.
        """
        index = window.index
        generated, scored = self._run.log.commits["generate", index], self._run.log.commits["score", index]
        redone_at = self._run.log.redone_at
        if redone_at is not None and generated["n"] < redone_at:
            return  # somebody looked at the result and chose what to make again; that needs no server any more
        if not self._steps.can_rewind(index):
            if not self._passes(worst_iou(scored["info"]["iou"])):
                self._note(
                    f"window {index} (counted from 0) fails the gate and is not tried again: the states before it are "
                    "gone (run with --keep all to retry later, or --overwrite)"
                )
            return
        standing = int(generated["info"].get("attempt", 0))
        tried = {record["attempt"]: record["iou_min"] for record in self._run.log.attempts.get(index, [])}
        tried[standing] = worst_iou(scored["info"]["iou"])
        trial = None
        if not lost_before(self._run.log, index):
            for attempt in range(1, self._retries + 1):
                if attempt in tried or self._passes(max(tried.values())):
                    continue
                trial = self._try(window, attempt)
                tried[attempt] = trial.worst
                self._run.note_attempt(index, attempt, trial.worst)
                self._told(index, attempt, trial.worst)
        best = max(tried, key=lambda attempt: (tried[attempt], -attempt))
        if best != standing:
            if trial is None or trial.settings.attempt != best:
                trial = self._try(window, best)
            self._replace(window.index, trial, commit)
        if trial is not None:
            for name in ("generate", "blend", "score"):
                self._steps.forget_standing(name)
            shutil.rmtree(self._run.path / SCRATCH, ignore_errors=True)

    def _passes(self, iou: float) -> bool:
        return iou > self._threshold

    def _replace(self, index: int, trial: Trial, commit: Callable[[Stage, int, Done, State], None]) -> None:
        """Commit the trial in place of what stands."""
        self._run.revoke(tuple(trial.done), index)
        for name, done in trial.done.items():
            if name == "sink":
                segment = str(done.output.info["segment"])
                (self._run.path / SCRATCH / "attempt" / segment).replace(self._run.segments / segment)
                fsync_folder(self._run.segments)
            commit(self._steps.stages[name], index, done, trial.states[name])

    def _try(self, window: Window, attempt: int) -> Trial:
        """Make an attempt and judge it, beside the run."""
        settings = settings_of(attempt, self._dilate, self._strength)
        folder = self._run.path / SCRATCH / "attempt"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        generator: Any = self._steps.stages["generate"]
        self._steps.rewind(generator, window.index)
        fresh: dict[str, Array] = {}
        inputs = self._steps.inputs(generator, window, fresh)
        self._steps.make_way(generator)
        output = generator.generate(window, inputs, settings.attempt, settings.dilate, settings.strength)
        info = {**output.info, **vars(settings)}
        done = {"generate": Done(written_span(generator, window), Output(output.arrays, info), 0.0)}
        states = {"generate": generator.get_state()}
        fresh.update(output.arrays)
        infos = {"generate": info}
        for stage in self._judges(folder):
            self._steps.make_way(stage)
            with stage:
                self._steps.restore(stage, window.index)
                given = self._steps.inputs(stage, window, fresh, infos)
                output = stage.process(window, given)
                done[stage.name] = Done(written_span(stage, window), output, 0.0)
                states[stage.name] = stage.get_state()
                infos[stage.name] = dict(output.info)
                fresh.update(output.arrays)
        return Trial(settings, done, states)


def lost_before(log: CommitLog, index: int) -> bool:
    """Whether the reverse tracker entered the window with the object lost that the source still shows.

    Then the window is not to blame, and no attempt at it can help.
    """
    if index == 0:
        return False
    before: Record = log.commits["score", index - 1]
    iou, seen = before["info"]["iou"], before["info"]["visible"]
    return bool(iou) and iou[-1] == 0.0 and not seen[-1]
