"""What the executor carries out, what comes of it, and where: plain data, open stages, places beside the run."""

import time
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from stages.base import Array, Inputs, Json, Output, Stage, Window
from stages.generator import GeneratorStage, Request
from storage.closing import Closing
from storage.rundir import Commit
from storage.spans import Span
from stream.engine.chain import Node
from stream.engine.threads import computing_with

StateParts = tuple[Mapping[str, Json], Mapping[str, Array]]


@dataclass(frozen=True)
class Task:
    """One node's work on one window. Plain data."""

    node: str
    window: Window


@dataclass(frozen=True)
class Worked:
    """What a stage made of a window, by its own names; its state behind the window; seconds of wall clock; of a task
    that is only conditioned, what came of that."""

    output: Output
    state: StateParts
    seconds: float
    conditioned: object = None


@dataclass(frozen=True)
class Ready:
    """A task that waits for nothing.

    Attributes:
        task: what is to be done. stage: open, standing before the window. inputs: all that it reads.
        request: what this try at generating changes. into: where it is made, None: in the run.
        conditions: whether only `condition` is done, ahead of the task itself.
    """

    task: Task
    stage: Stage
    inputs: Inputs
    request: Request | None = None
    into: "Scratch | None" = None
    conditions: bool = False

    @property
    def lane(self) -> str:
        """What it occupies."""
        return "cpu" if self.conditions else self.stage.lane

    def work(self) -> Worked:
        """Let the stage do the window; in whichever thread, as long as nobody else has the stage meanwhile (who has it
        may condition beside)."""
        started = time.perf_counter()
        if self.conditions and isinstance(self.stage, GeneratorStage):
            found = self.stage.condition(self.task.window, self.inputs)
            return Worked(Output(), ({}, {}), time.perf_counter() - started, found)
        if self.request is None or not isinstance(self.stage, GeneratorStage):
            output = self.stage.process(self.task.window, self.inputs)
        else:
            output = self.stage.process(self.task.window, self.inputs, self.request)
            output = Output(output.arrays, {**output.info, **self.request.to_info()})
        seconds = time.perf_counter() - started
        return Worked(output, self.stage.get_state().to_parts(), seconds)


@dataclass(frozen=True)
class Done:
    """What a stage made of a window, not yet committed.

    Attributes:
        task: what was done. commit: what would record it; its arrays by the chain's names.
        into: where it was made, None: in the run.
    """

    task: Task
    commit: Commit
    into: "Scratch | None" = None


class OpenStages(Closing):
    """The stages of nodes, each opened when it is first needed. A context manager.

    Args:
        threads: with how many torch computes, from its first model on; None: with as many as it takes by itself.

    Attributes:
        stages: by the node's name, in order.
        first: of each that is open, the state that it has before the first window.
        standing: where its state stands: in which scratch (None: the run), before which window.
    """

    def __init__(self, nodes: Iterable[Node], threads: int | None = None) -> None:
        self._threads = threads
        self.stages = {node.name: node.stage for node in nodes}
        self.first: dict[str, StateParts] = {}
        self.standing: dict[str, tuple[Scratch | None, int]] = {}
        self._exit = ExitStack()

    def open(self, name: str) -> Stage:
        """The stage, opened if need be."""
        stage = self.stages[name]
        if name not in self.first:
            if stage.weights == "sam" and self._threads is not None:  # torch loads with it: a finished run needs none
                self._exit.enter_context(computing_with(self._threads))
                self._threads = None
            self._exit.callback(stage.close)
            stage.open()
            self.first[name] = stage.get_state().to_parts()
            self.standing[name] = (None, 0)
        return stage

    def finish(self) -> None:
        """Tell every stage that is open that the clip has ended well."""
        for name in self.first:
            self.stages[name].finish()

    def close(self) -> None:
        """Close every stage that was opened, the last one first, and then what they share."""
        self._exit.close()
        for name in self.first:
            self.stages[name].release()


class Scratch:
    """A place beside the run. A context manager.

    Args:
        folder: for files that stages write and read; None: the run's.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder
        self._done: dict[tuple[str, int], Done] = {}

    def put(self, done: Done) -> None:
        """Have it count here."""
        self._done[done.task.node, done.task.window.index] = done

    def forget(self, before: int) -> None:
        """Let go of windows before this one."""
        for key in [key for key in self._done if key[1] < before]:
            del self._done[key]

    def state(self, stage: str, window: int) -> StateParts | None:
        """The stage's state after this window, None where it was not done here."""
        done = self._done.get((stage, window))
        return None if done is None else done.commit.state

    def array(self, name: str, window: int, span: Span) -> Array | None:
        """Frames of an array, or what was made of this window as a whole; None where they were not made here."""
        for done in self._done.values():
            made, held = done.commit, done.commit.span
            if name in made.blocks and made.window == window:
                return made.blocks[name]
            if name in made.arrays and held.start <= span.start and span.stop <= held.stop:
                return made.arrays[name][span.within(held)]
        return None

    def infos(self, window: int) -> dict[str, Mapping[str, Json]]:
        """The facts about this window, by stage."""
        return {stage: done.commit.info for (stage, index), done in self._done.items() if index == window}

    def __enter__(self) -> "Scratch":
        return self

    def __exit__(self, *error: object) -> None:
        self._done.clear()
