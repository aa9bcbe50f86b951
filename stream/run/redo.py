"""`skate redo`: generate single windows again; what depends on them is blended, encoded and scored again.

    beside the run   generate the windows named, with a new seed or prompt, each durable when it is made; blend up to
                     the last of them in memory, for what a generator is given of the window before
    then             one record puts them in place and makes void what depends on them
    in the run       blend, encode, score: no server is needed any more

Until that record the run is what it was, and `skate redo RUN --cancel` takes the redo back. The window after keeps its
generation and is only blended anew. That needs the raw windows from there on, and states and tails of the windows
before those named. A run with `--keep all` keeps them; in any other they are made again first, from the newest kept
state, and must come out with the bytes that were recorded.
"""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from stages.base import Output, Window
from stages.choices import EACH
from stages.generator import Request
from storage.errors import RunDirectoryError, UsageError
from storage.log import Task as CommitKey
from storage.records import Record
from storage.rundir import RunDirectory, read_log
from storage.verify import Damage
from stream.engine.chain import Chain
from stream.engine.executor import Executor, carries_state
from stream.engine.signals import Cancel
from stream.engine.tasks import Done, Scratch, Task, Worked
from stream.engine.windows import committed_windows
from stream.options.config import RunConfig
from stream.options.passes import generations, reskinned
from stream.options.recorded import read_run
from stream.options.settings import check_words
from stream.progress.events import Listener, Reporter
from stream.report.result import Result
from stream.run.lifecycle import Beside, Extend, Session, resume
from stream.run.reconcile import refuse_overwrite
from stream.run.repair import Needed, bring_back


@dataclasses.dataclass(frozen=True)
class Redo:
    """What is generated again: numbers of windows, counted from 0, in order; seed and text of the new generation."""

    windows: tuple[int, ...]
    seed: int
    text: str

    @classmethod
    def of(cls, record: Record) -> "Redo":
        """What a journal record asks for."""
        return cls(tuple(record["windows"]), record["seed"], record["text"])


def redo(
    path: Path,
    windows: Sequence[int],
    seed: int | None,
    text: str | None,
    listener: Listener | None = None,
    cancel: Cancel | None = None,
    extend: Extend | None = None,
) -> Result:
    """Make these windows of the run in `path` again; returns how it ended.

    Args:
        windows: numbers of windows, counted from 0.
        seed, text: of the new generation; None: the run's seed plus one, the run's prompt.
        listener, cancel, extend: as for `start`.

    Raises:
        UsageError: when the run has no such window, or for a text that it cannot be made by.
        RunDirectoryError: when the run is not finished.
        GeneratorError: when the server cannot make again what the run did not keep.
    """
    _, config = read_run(path)
    if text is not None and config.generates:
        _check_text(path, config, text)
    seed, text = config.seed + 1 if seed is None else seed, config.text if text is None else text
    wanted = Redo(tuple(sorted(set(windows))), seed, text)
    return resume(path, listener=listener, cancel=cancel, beside=preparation(wanted), extend=extend)


def take_back(path: Path) -> tuple[int, ...]:
    """Take back a redo that has not put its windows in place; returns their numbers.

    Raises:
        UsageError: when there is none.
    """
    refuse_overwrite(path)
    manifest, _ = read_run(path)
    with RunDirectory(path, read_log(path).layout, manifest) as run:
        if run.log.redo is None:
            placed = run.log.redone_at is not None and run.log.finished is None
            why = f"its windows are in place: `skate resume {path}` needs no server" if placed else "none is under way"
            raise UsageError(f"--cancel: {path}: there is no redo to take back ({why})")
        windows = Redo.of(run.log.redo).windows
        run.note_redo((), ())
    return windows


def unfinished(record: Record) -> Beside:
    """What goes on with an interrupted redo."""
    return preparation(Redo.of(record))


def preparation(wanted: Redo) -> Beside:
    """Generates the windows beside a run that is about to go on, and puts them in place; the rest is left to do."""

    def beside(run: RunDirectory, session: Session, reporter: Reporter) -> None:
        chain = session.chain
        known = committed_windows(run.log)
        if run.log.redo is None:
            _check(run, chain, wanted.windows, known)
            reporter.note(f"generating again: windows {_listed(wanted.windows)}, counted from 0")
        elif Redo.of(run.log.redo) != wanted:
            raise RunDirectoryError(
                f"{run.path}: another redo is under way (windows {_listed(run.log.redo['windows'])}): "
                f"`skate resume {run.path}` finishes it, `skate redo {run.path} --cancel` takes it back"
            )
        else:
            reporter.note(
                f"going on with the redo of windows {_listed(wanted.windows)}; until they are made, "
                f"`skate redo {run.path} --cancel` takes it back"
            )
        depending = [name for name in chain.making if name not in chain.picturing]
        # An interrupted redo left later windows without what depends on them.
        first = min(*wanted.windows, *map(run.log.done, depending))
        gone = _not_kept(run, chain, known, wanted.windows, first)
        try:
            bring_back(run, session.executor, reporter.note, gone)
            with session.executor(run) as executor, Scratch() as scratch:
                _make(session, run, executor, scratch, known[first : max(wanted.windows) + 1], wanted)
            with session.interrupts.shield():
                run.take_over(depending, first)
        finally:
            if gone:
                run.sweep()  # of what was brought back and is not read any more

    return beside


def _not_kept(
    run: RunDirectory, chain: Chain, known: Sequence[Window], windows: Sequence[int], first: int
) -> set[CommitKey]:
    """Who wrote what the redo of these windows reads, and what is blended anew from `first` on, and is not kept."""
    picturing, needed = chain.picturing, Needed(run.log, chain, known, Damage())
    found = {
        (name, index)
        for name in picturing
        for array, port in chain[name].writes.items()
        if port.life == "window"
        for index in set(range(first, len(known))) - set(run.arrays.kept(array))
    }
    for name in picturing:
        found |= {task for index in windows for task in needed.before(name, index)}
    depending = [name for name in chain.making if name not in picturing]
    for name in depending:
        found |= needed.before(name, first)
    again = {(name, index) for name in picturing for index in windows}
    again |= {(name, index) for name in depending for index in range(first, len(known))}
    return found - again


def _make(
    session: Session,
    run: RunDirectory,
    executor: Executor,
    scratch: Scratch,
    windows: Sequence[Window],
    wanted: Redo,
) -> None:
    """Generate what is not made yet, beside the run; what is blended on the way stays in memory."""
    chain, made = executor.chain, run.made_intact()
    generators = [node.name for node in chain.generators]
    if not made.issuperset((name, index) for name in chain.picturing for index in wanted.windows):
        wanting = next(window for window in windows if window.index in wanted.windows)
        for name in generators:  # a server that is not there: nothing is noted then
            executor.make_ready(Task(name, wanting), scratch)
    if run.log.redo is None:
        with session.interrupts.shield():
            run.note_redo(chain.picturing, wanted.windows, wanted.seed, wanted.text)
    config = dataclasses.replace(session.config, text=wanted.text)
    asked = generations(config)  # a generator that a caller has put into the chain is asked for what the run is
    requests = {name: Request(seed=wanted.seed, text=asked.get(name, config).text) for name in generators}
    for window in windows:
        scratch.forget(window.index - 1)
        for name in chain.picturing:
            task = Task(name, window)
            if (name, window.index) in made:
                scratch.put(_made(run, executor, task, scratch))
            elif window.index in wanted.windows:
                done = executor.run(task, requests.get(name), into=scratch)
                with session.interrupts.shield():
                    run.commit_beside(done.commit)
        if window.index < windows[-1].index:
            for name in _read_later(chain):
                executor.run(Task(name, window), into=scratch)


def _read_later(chain: Chain) -> list[str]:
    """The nodes behind those that make a window's picture, as far as these read of the window before what they made."""
    behind = [name for name in chain.making if name not in chain.picturing]
    reads = [(array, read) for name in chain.picturing for array, read in chain[name].reads]
    writers = {chain.writer(array) for array, read in reads if read.window < 0}
    last = max((place for place, name in enumerate(behind) if name in writers), default=-1)
    return behind[: last + 1]


def _made(run: RunDirectory, executor: Executor, task: Task, scratch: Scratch) -> Done:
    """What an earlier process made of this window."""
    index, record = task.window.index, run.log.made[task.node, task.window.index]
    stage = executor.chain[task.node].stage
    arrays = {
        port.name: run.beside.read_block(executor.chain[task.node].bound(port.name), index) for port in stage.writes
    }
    state = run.beside.read_state(task.node, index) if carries_state(stage) else ({}, {})
    return executor.done(task, Worked(Output(arrays, record["info"]), state, record["seconds"]), scratch)


def _check_text(path: Path, config: RunConfig, text: str) -> None:
    """Refuse a prompt that says nothing, names somebody of whom nothing is said, or is another one for nobody."""
    other = dataclasses.replace(config, text=text)
    check_words(other)
    if config.passes != EACH or text == config.text or not reskinned(config):
        return
    before, made_by = ([asked.text for asked in generations(each).values()] for each in (config, other))
    if made_by == before:
        raise UsageError(
            f"--prompt: in {path} every subject is made by words of its own (--passes each): "
            f"`skate generate {path} --out RUN2 --swap NAME=TEXT` gives one others"
        )


def _listed(windows: Sequence[int]) -> str:
    return ", ".join(map(str, windows))


def _check(run: RunDirectory, chain: Chain, windows: Sequence[int], known: Sequence[Window]) -> None:
    path = run.path
    generated = [run.log.done(node.name) for node in chain.generators]
    if not any(generated):
        raise RunDirectoryError(f"{path}: nothing was generated in it: `skate generate {path} --out RUN2` first")
    if set(generated) != {len(known)} or not known[-1].last:
        raise RunDirectoryError(f"{path} is not finished: `skate resume {path}` first")
    missing = [index for index in windows if not 0 <= index < len(known)]
    if missing:
        raise UsageError(f"--windows {missing[0]}: {path} has windows 0 to {len(known) - 1}")
