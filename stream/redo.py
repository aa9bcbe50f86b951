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
from storage.rundir import RunDirectory
from stream.events import Reporter
from stream.recorded import read_run
from stream.repair import committed_windows
from stream.session import Session, resume
from stream.steps import Steps


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
    changed = dataclasses.replace(
        config, seed=config.seed + 1 if seed is None else seed, text=config.text if text is None else text
    )

    def prepare(run: RunDirectory, session: Session, reporter: Reporter) -> None:
        plan = config.plan
        known = committed_windows(run.log, plan)
        _check(run, path, windows, len(known))
        first = min(windows)
        run.revoke(("blend", "sink", "score"), first)
        with Steps(run, session.stages(reporter, changed), session.source(run)) as steps:
            for window in known[first : max(windows) + 1]:
                fresh: dict[str, Array] = {}
                if window.index in windows:
                    _generate(run, steps, window, changed.seed, changed.text, fresh)
                blend = steps.stages["blend"]
                done = steps.work(blend, window, fresh)
                run.commit(steps.commit_of(blend, window.index, done, blend.get_state()))

    return resume(path, as_json, prepare=prepare)


def _check(run: RunDirectory, path: Path, windows: Sequence[int], count: int) -> None:
    missing = [index for index in windows if not 0 <= index < count]
    if missing:
        raise UsageError(f"--windows {missing[0]}: {path} has windows 0 to {count - 1}")
    if run.log.done("score") != count:
        raise RunDirectoryError(f"{path} is not finished: `skate resume {path}` first")
    kept = set(run.arrays.blocks("raw"))
    lacking = [index for index in range(min(windows), count) if index not in kept]
    if not run.log.keeps_all or lacking:
        raise RunDirectoryError(
            f"{path} did not keep its raw windows: run with --keep all where windows may have to be made again"
        )


def _generate(run: RunDirectory, steps: Steps, window: Window, seed: int, text: str, fresh: dict[str, Array]) -> None:
    """Generate one window from the state before it, and commit it in place of what stood."""
    generator = steps.stages["generate"]
    steps.rewind(generator, window.index)
    done = steps.work(generator, window, fresh)
    info = {**done.output.info, "redo": {"seed": seed, "text": text}}
    done = dataclasses.replace(done, output=Output(done.output.arrays, info))
    run.commit(steps.commit_of(generator, window.index, done, generator.get_state()))
