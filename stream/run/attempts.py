"""The closed loop: a window whose frames fail the gate is generated again, and the best attempt is kept.

    attempt 0   as configured
    attempt 1   another seed
    attempt n   another seed, and a region wider by 4 (n - 1) pixels (as --dilate), a strength higher by 0.25 (n - 1)

An attempt is judged on the window's final span from the states that stood before the window: tracker, tail and colour.
It is made beside the run, in its scratch folder; a rejected one leaves no trace but its record. The best one by worst
frame is committed in place of the first, and what is later depends on it alone.
"""

from collections.abc import Callable, Sequence

import numpy as np

from stages.base import Array, Window, above
from stages.gate import IOU
from stages.generator import Request
from stages.measure import METRICS, failing
from stages.region import REMOVE
from stages.subjects import Subject
from storage.log import CommitLog
from storage.records import Record
from storage.rundir import SCRATCH
from stream.engine.executor import Executor
from stream.engine.tasks import Done, Scratch, Task
from stream.options.config import RunConfig
from stream.options.pairs import pairs_of
from stream.options.passes import generations

ATTEMPT = f"{SCRATCH}/attempt"  # its segments
JUDGE = "score"
WIDER_PIXELS = 4
STRONGER = 0.25

Trial = list[Done]  # of the stages that make an attempt, in order


def request_of(attempt: int, dilate: tuple[int, int], strength: float | None) -> Request:
    """What an attempt changes, from the region's width and the strength of the run."""
    more = max(0, attempt - 1)
    return Request(
        attempt,
        dilate=(dilate[0] + WIDER_PIXELS * more, dilate[1] + WIDER_PIXELS * more),
        strength=strength if more == 0 else (1.0 if strength is None else strength) + STRONGER * more,
    )


def worst_iou(iou: Sequence[float | None]) -> float:
    """The lowest IoU of the scored frames; 1.0 where none is scored."""
    return min((value for value in iou if value is not None), default=1.0)


class ClosedLoop:
    """Makes attempts at windows that fail.

    Args:
        executor: the pipeline's own; its stages make and judge the attempts.
        config: the run's.
        note: takes a line for the person who watches.
    """

    def __init__(self, executor: Executor, config: RunConfig, note: Callable[[str], None]) -> None:
        self._run = executor.directory
        self._executor = executor
        self._again = executor.chain.making  # the generators and all that depends on them
        self._config = config
        self._asked = generations(config)
        self._note = note

    def improve(self, window: Window, commit: Callable[[Done], None]) -> None:
        """Try again where the committed window fails; commit the best attempt when it is not the one that stands.

        Args:
            window: generated and scored.
            commit: the pipeline's.
        """
        index, log = window.index, self._run.log
        generated = log.commits[self._again[0], index]
        if log.redone_at is not None and generated["n"] < log.redone_at:
            return  # somebody looked at the result and chose what to make again; that needs no server any more
        scored = log.commits[JUDGE, index]["info"]["iou"]
        worst = self._worst(scored, lambda name: self._run.arrays.read(name, *window.final))
        if not self._executor.can_rewind(self._again, index):
            if not self._passes(worst):
                self._note(
                    f"window {index} (counted from 0) fails the gate and is not tried again: the states before it are "
                    "gone (run with --keep all to retry later, or --overwrite)"
                )
            return
        standing = Request.of(generated["info"]).number
        tried = {record["attempt"]: record["iou_min"] for record in log.attempts.get(index, [])}
        tried[standing] = worst
        last, trial = standing, None
        if not lost_before(log, JUDGE, window, self._config.subjects):
            for attempt in range(1, self._config.retries + 1):
                if attempt in tried or self._passes(max(tried.values())):
                    continue
                last, trial = attempt, self._try(window, attempt)
                tried[attempt] = self._worst_of(trial)
                self._run.note_attempt(index, attempt, tried[attempt])
                self._note(
                    f"window {index} (counted from 0): attempt {attempt}: worst frame's IoU {tried[attempt]:.4f}"
                )
        best = max(tried, key=lambda attempt: (tried[attempt], -attempt))
        if best != standing:
            self._replace(index, trial if trial is not None and last == best else self._try(window, best), commit)
        self._run.store.delete_all(SCRATCH)

    def _worst_of(self, trial: Trial) -> float:
        """`_worst` of an attempt."""
        scored = next(done.commit.info["iou"] for done in trial if done.task.node == JUDGE)
        made = {name: values for done in trial for name, values in done.commit.arrays.items()}
        return self._worst(scored, made.__getitem__)

    def _worst(self, scored: Sequence[float | None], measured: Callable[[str], Array]) -> float:
        """The worst IoU of a window; held at the threshold where it is above it and another metric of the gate fails:
        a little below for every frame that does.

        Args:
            scored: IoU of its final frames. measured: gives an array of theirs by name; the gate that they were
                measured for may have been another one.
        """
        bounds, bound = self._config.bounds, self._config.iou_bound
        worst = worst_iou(scored) if any(asked.metric == IOU for asked in bounds) else 1.0
        wrong = np.zeros(len(scored), bool)
        for pair in pairs_of(self._config) if self._config.measures else ():
            wrong |= failing(bounds, {subject: measured(pair.arrays[name]) for subject, name in METRICS.items()})
        count = int(np.count_nonzero(wrong))
        return min(worst, bound * (1 - count / (len(scored) + 1))) if count else worst

    def _passes(self, iou: float) -> bool:
        return bool(above(iou, self._config.iou_bound))

    def _replace(self, index: int, trial: Trial, commit: Callable[[Done], None]) -> None:
        """Commit the trial in place of what stands."""
        self._run.revoke(self._again, index)
        for done in trial:
            if "segment" in done.commit.info:
                segment = str(done.commit.info["segment"])
                self._run.store.move(f"{ATTEMPT}/{segment}", f"segments/{segment}")
                self._run.store.flush()
            commit(done)

    def _try(self, window: Window, attempt: int) -> Trial:
        """Make an attempt and judge it, beside the run."""
        self._run.store.delete_all(ATTEMPT)
        folder = self._run.store.folder(ATTEMPT)
        asked = {node.name: self._request(node.name, attempt) for node in self._executor.chain.generators}
        with Scratch(folder) as beside:
            return [self._executor.run(Task(name, window), asked.get(name), into=beside) for name in self._again]

    def _request(self, generator: str, attempt: int) -> Request | None:
        """What a generator of the chain is asked for: each of several has a width of its own; what only removes does it
        as before."""
        own = self._asked.get(generator, self._config)
        return None if own.reskin == REMOVE else request_of(attempt, own.dilate, self._config.strength)


def lost_before(log: CommitLog, judge: str, window: Window, subjects: Sequence[Subject]) -> bool:
    """Whether the reverse tracker entered the window with the object lost that the source still shows.

    Then the window is not to blame, and no attempt at it can help. Behind a cut what was lost is looked for anew, and
    on a correction's frame the tracker is told where it is: there a window stands for itself.

    Args:
        subjects: with their corrections.
    """
    first = window.final.start
    told = any(correction.frame == first for subject in subjects for correction in subject.corrections)
    if window.begins_shot or told:
        return False
    before: Record = log.commits[judge, window.index - 1]
    iou, seen = before["info"]["iou"], before["info"]["visible"]
    return bool(iou) and iou[-1] == 0.0 and not seen[-1]
