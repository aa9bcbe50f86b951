"""One executor for (node, window): the state it starts from, the inputs it reads, the work, the commit.

Pipeline, repair, redo, retries, evaluation and the contract test all go through it.

    run(task)                  in the run: what it makes is handed on in memory, and counts once it is committed
    run(task, into=scratch)    beside the run: from the state before the window, whatever the stage did since; what it
                               makes is read by what is made in the same scratch afterwards, and by nothing else
"""

import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from typing import Any

import numpy as np

from stages.base import Array, GeneratorStage, Inputs, Output, Request, Stage, Window
from storage.errors import RunDirectoryError
from storage.log import CommitLog
from storage.records import Record
from storage.rundir import Commit, RunDirectory, RunReader
from storage.spans import Span
from stream.engine.recent import RecentArrays
from stream.engine.source import FrameSource
from stream.engine.tasks import Done, OpenStages, Scratch, StateParts, Task
from stream.progress.memory import peak_vram_bytes, rss_bytes


class Executor:
    """Carries out tasks. A context manager: every stage that was opened here is closed on the way out.

    Args:
        run: locked, or open for reading where nothing is to be committed.
        stages: in order, closed.
        source: of frames dropped from the store.
        courtesy: whether ours and a server's models have the GPU by turns.
        opened: the same stages, some of them open; closed by whoever opened them.
    """

    def __init__(
        self,
        run: RunDirectory | RunReader,
        stages: Sequence[Stage],
        source: FrameSource,
        courtesy: bool = False,
        opened: OpenStages | None = None,
    ) -> None:
        self._run = run
        self._opened = opened or OpenStages(stages)
        self.stages = self._opened.stages
        self._source = source
        self._courtesy = courtesy
        self._turn: str | None = None  # whose models may be on the GPU; None: both may
        self._recent = RecentArrays()  # what is committed of new frames
        self._handed: dict[str, tuple[int, Array]] = {}  # what the rest of the window reads as it is: window, values
        self._exit = ExitStack()
        if opened is None:
            self._exit.enter_context(self._opened)

    def run(self, task: Task, request: Request | None = None, into: Scratch | None = None) -> Done:
        """Do a task.

        Args:
            request: what this try at generating changes; None: nothing, or, of a window that is committed in the run,
                what was asked for then.
            into: beside the run, there.
        """
        owner, stage = self._stage(task.stage, into)
        self._make_way(stage)
        self.make_ready(task, into)
        inputs = self.inputs(task, into)
        del owner.standing[task.stage]  # until it has worked it stands nowhere
        started = time.perf_counter()
        output = self._process(stage, task, inputs, request, into)
        seconds = time.perf_counter() - started
        owner.standing[task.stage] = (into, task.window.index + 1)
        done = self.done(task, output, stage.get_state().to_parts(), seconds, into)
        if into is not None:
            into.put(done)
        else:
            self._hand_on(done)
        return done

    def done(self, task: Task, output: Output, state: StateParts, seconds: float, into: Scratch | None = None) -> Done:
        """What is known about a task that was done: by `run`, or by whoever works ahead or has it from elsewhere."""
        stage = self.stages[task.stage]
        spans = {name: span_of(task.window, kind) for name, kind in stage.writes.items()}
        span = next(iter(spans.values()), task.window.final)
        return Done(task, span, output, spans, state if carries_state(stage) else None, seconds, into)

    def _process(
        self, stage: Stage, task: Task, inputs: Inputs, request: Request | None, into: Scratch | None
    ) -> Output:
        if not isinstance(stage, GeneratorStage):
            return stage.process(task.window, inputs)
        committed = self._run.log.get(task.stage, task.window.index)
        if request is None and into is None and committed is not None:
            request = Request.of(committed["info"])  # a repair: the same once more
        output = stage.process(task.window, inputs, request or Request())
        return output if request is None else Output(output.arrays, {**output.info, **request.to_info()})

    def commit(self, done: Done) -> Record:
        """Make it durable in the run, and hand its new frames on in memory."""
        assert isinstance(self._run, RunDirectory)  # nothing is committed to a run that is open for reading
        record = self._run.commit(self.commit_of(done))
        window = done.task.window
        for name, kind in self.stages[done.task.stage].writes.items():
            if kind == "new":
                self._recent.add(name, window.new.start, done.output.arrays[name], window.read.start)
        if done.into is not None:  # the stage itself did something else
            self._opened.standing[done.task.stage] = (done.into, -1)
        return record

    def commit_of(self, done: Done) -> Commit:
        """The commit that records what was done."""
        specs = self._run.arrays.specs
        arrays = done.output.arrays
        return Commit(
            stage=done.task.stage,
            window=done.task.window.index,
            span=done.span,
            arrays={name: values for name, values in arrays.items() if name in specs},
            blocks={name: values for name, values in arrays.items() if name not in specs},
            state=done.state,
            info=done.output.info,
            seconds=done.seconds,
            rss_bytes=rss_bytes(),
            vram_bytes=peak_vram_bytes(),
        )

    def make_ready(self, task: Task, into: Scratch | None = None) -> Stage:
        """Open the stage if need be, and give it the state that it carries into the window."""
        owner, stage = self._stage(task.stage, into)
        owner.open(task.stage)
        index = task.window.index
        if carries_state(stage) and owner.standing.get(task.stage) != (into, index):
            stage.set_state(*self._state_before(owner, task.stage, index, into))
        owner.standing[task.stage] = (into, index)
        return stage

    def _state_before(self, owner: OpenStages, name: str, index: int, into: Scratch | None) -> StateParts:
        if index == 0:
            return owner.first[name]
        beside = None if into is None else into.state(name, index - 1)
        return self._run.arrays.read_state(name, index - 1) if beside is None else beside

    def inputs(self, task: Task, into: Scratch | None = None, without: Sequence[str] = ()) -> Inputs:
        """What the task reads: from memory where it is there, else from what is committed.

        Args:
            without: arrays that are left out.
        """
        arrays = dict(self._read(self._stage(task.stage, into)[1], task.window, into, without))
        infos = self._run.log.infos(task.window.index)
        return Inputs(arrays, infos if into is None else {**infos, **into.infos(task.window.index)})

    def can_rewind(self, names: Sequence[str], index: int) -> bool:
        """Whether the states from which these stages did window `index` are kept."""
        return index == 0 or all(
            index - 1 in self._run.arrays.kept(name) for name in names if carries_state(self.stages[name])
        )

    def open_early(self, names: Sequence[str]) -> None:
        """Open those of the stages that have windows to do."""
        for name in names:
            if has_work(self._run.log, name):
                self._opened.open(name)

    def prefetch(self, task: Task) -> None:
        """Let a generator begin the window early, without what is generated before it."""
        stage = self._opened.open(task.stage)
        assert isinstance(stage, GeneratorStage)
        stage.prefetch(task.window, self.inputs(task, without=("tail",)))

    def finish(self) -> None:
        """Tell every stage that is open that the clip has ended well."""
        self._opened.finish()

    def on_exit(self, close: Any) -> None:
        """Call `close` before the stages opened so far are closed."""
        self._exit.callback(close)

    def _stage(self, name: str, into: Scratch | None) -> tuple[OpenStages, Stage]:
        owner = into.own if into is not None and name in into.own.stages else self._opened
        return owner, owner.stages[name]

    def _make_way(self, stage: Stage) -> None:
        """The stage is about to work: under `courtesy` the other side's models leave the GPU where it needs that."""
        if not self._courtesy or stage.gpu in (None, self._turn):
            return
        for other in self.stages.values():
            if other.gpu not in (None, stage.gpu):
                other.leave_gpu()
        self._turn = stage.gpu

    def _hand_on(self, done: Done) -> None:
        """Keep in memory what the rest of the window reads as it is; let go of what nothing reads any more."""
        for name, values in done.output.arrays.items():
            if self.stages[done.task.stage].writes.get(name) != "new":
                self._handed[name] = (done.task.window.index, values)
        order = list(self.stages)
        behind = order[order.index(done.task.stage) + 1 :]
        read = {name for stage in behind for name in self.stages[stage].reads}
        for name in [name for name in self._handed if name not in read]:
            del self._handed[name]

    def _read(
        self, stage: Stage, window: Window, into: Scratch | None, without: Sequence[str]
    ) -> Iterator[tuple[str, Array]]:
        for name, kind in stage.reads.items():
            if name in without:
                continue
            span = span_of(window, kind)
            beside = None if into is None else into.array(name, window.index, span)
            handed = self._handed.get(name) if into is None else None
            if beside is not None:
                yield name, beside
            elif handed is not None and handed[0] == window.index:
                yield name, handed[1]
            elif name == "tail":
                yield name, self._tail(window, into)
            elif (held := self._recent.get(name, span)) is not None:
                yield name, held
            elif name == "frames":
                yield name, self._source.read(span)
            elif name in self._run.arrays.specs:
                yield name, self._run.arrays.read(name, *span)
            else:
                yield name, self._run.arrays.read_block(name, window.index)

    def _tail(self, window: Window, into: Scratch | None) -> Array:
        """What is already generated at the window's start: blended frames, then the overlap the blend stage holds."""
        if window.index == 0:
            return np.zeros((0, *self._run.arrays.specs["frames"].frame_shape), np.uint8)
        blend = self.make_ready(Task("blend", window), into)
        held: Array = blend.held  # type: ignore[attr-defined]
        before = Span(window.read.start, window.final.start)
        if before.frames == 0:
            return held
        blended = None if into is None else into.array("generated", window.index, before)
        return np.concatenate([self._run.arrays.read("generated", *before) if blended is None else blended, held])

    def __enter__(self) -> "Executor":
        return self

    def __exit__(self, *error: object) -> None:
        self._recent.clear()
        self._handed.clear()
        self._exit.close()
        self._source.close()


def carries_state(stage: Stage) -> bool:
    """Whether the stage carries anything from window to window; if not, it can start at any window."""
    return type(stage).get_state is not Stage.get_state


def has_work(log: CommitLog, stage: str) -> bool:
    """Whether a stage has windows to do: it has not committed every window to the end of the clip."""
    decoded = log.of("decode")
    return not (decoded and decoded[-1]["info"]["last"] and log.done(stage) == len(decoded))


def span_of(window: Window, kind: str) -> Span:
    """The window's span of this kind.

    Raises:
        RunDirectoryError: never for a stage of this program; it guards stages written elsewhere.
    """
    spans: dict[str, Any] = {"new": window.new, "read": window.read, "final": window.final}
    if kind not in spans:
        raise RunDirectoryError(f"a stage declares the span '{kind}': it must be one of {', '.join(spans)}")
    span: Span = spans[kind]
    return span
