"""`skate redo`: generate single windows again; what depends on them is blended, encoded and scored again.

The windows named get a new seed or prompt; the window after keeps its generation and is only blended anew. That needs
the raw windows and the states of every window, which a run with `--keep all` keeps.
"""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from stages.base import Array, Output, Window
from storage.errors import RunDirectoryError, UsageError
from storage.log import CommitLog
from storage.rundir import RunDirectory
from stream.engine.steps import Steps
from stream.options.recorded import read_run
from stream.progress.events import Reporter
from stream.run.lifecycle import Prepare, Session, resume
from stream.run.repair import committed_windows


def redo(
    path: Path, windows: Sequence[int], seed: int | None, text: str | None, as_json: bool = False
) -> dict[str, Any]:
    """Make these windows of the run in `path` again; returns the summary.

    Args:
        windows: numbers of windows, counted from 0.
        seed, text: of the new generation; None: the run's seed plus one, the run's prompt.

    Raises:
        UsageError: when the run has no such window.
        RunDirectoryError: when the run is not finished, or did not keep what this needs.
    """
    _, config = read_run(path)
    seed, text = config.seed + 1 if seed is None else seed, config.text if text is None else text
    return resume(path, as_json, prepare=preparation(windows, seed, text))


def unfinished(log: CommitLog) -> Prepare | None:
    """What an interrupted redo has left to do, or None."""
    record = log.redo
    if record is None:
        return None
    wanted = {"seed": record["seed"], "text": record["text"]}
    generated = {index: log.get("generate", index) for index in record["windows"]}
    left = [index for index, commit in generated.items() if commit and commit["info"].get("redo") != wanted]
    return preparation(left, record["seed"], record["text"]) if left else None


def preparation(windows: Sequence[int], seed: int, text: str) -> Prepare:
    """Generates the windows again in a run that is about to go on; what depends on them is left to do."""

    def prepare(run: RunDirectory, session: Session, reporter: Reporter) -> None:
        known = committed_windows(run.log, session.config.plan)
        _check(run, windows, len(known))
        first = min(*windows, run.log.done("blend"))  # an interrupted redo left later windows unblended
        run.note_redo(windows, seed, text)
        run.revoke(("blend", "sink", "score"), first)
        with Steps(run, *session.parts(run, reporter), session.config.shares_gpu) as steps:
            for window in known[first : max(windows) + 1]:
                fresh: dict[str, Array] = {}
                if window.index in windows:
                    _generate(session, run, steps, window, {"seed": seed, "text": text}, fresh)
                blend = steps.stages["blend"]
                done = steps.work(blend, window, fresh)
                with session.interrupts.shield():
                    run.commit(steps.commit_of(blend, window.index, done, blend.get_state()))

    return prepare


def _check(run: RunDirectory, windows: Sequence[int], count: int) -> None:
    path = run.path
    missing = [index for index in windows if not 0 <= index < count]
    if missing:
        raise UsageError(f"--windows {missing[0]}: {path} has windows 0 to {count - 1}")
    if run.log.done("generate") == 0:
        raise RunDirectoryError(f"{path}: nothing was generated in it: `skate generate {path} --out RUN2` first")
    if run.log.done("generate") != count:
        raise RunDirectoryError(f"{path} is not finished: `skate resume {path}` first")
    kept = set(run.arrays.blocks("raw"))
    lacking = [index for index in range(min(windows), count) if index not in kept]
    if run.log.kept_since is None or lacking:
        raise RunDirectoryError(
            f"{path} did not keep its raw windows: `skate generate {path} --out RUN2 --keep all` makes a run "
            "whose windows can be made again"
        )


def _generate(
    session: Session, run: RunDirectory, steps: Steps, window: Window, given: dict[str, Any], fresh: dict[str, Array]
) -> None:
    """Generate one window from the state before it, and commit it in place of what stood."""
    generator = steps.stages["generate"]
    steps.rewind(generator, window.index)
    generator.repeat({"redo": given})  # as a repair will do it: a stage of the run's config, told what this window gets
    done = steps.work(generator, window, fresh, anew=True)
    info = {**done.output.info, "redo": given}
    done = dataclasses.replace(done, output=Output(done.output.arrays, info))
    with session.interrupts.shield():
        run.commit(steps.commit_of(generator, window.index, done, generator.get_state()))
