"""One executor for (node, window): the state it starts from, the inputs it reads, the work, the commit.

Pipeline, repair, redo, retries, evaluation and the contract test all go through it.

    run(task)                  in the run: what it makes is handed on in memory, and counts once it is committed
    run(task, into=scratch)    beside the run: from the state before the window, whatever the stage did since; what it
                               makes is read by what is made in the same scratch afterwards, and by nothing else

`run` is `prepare`, the work, `take`. Only the work may be done in another thread: it needs nothing but its stage.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from stages.base import Array, Inputs, Json, Port, Read, Stage, Window
from stages.generator import GeneratorStage, Request
from storage.log import CommitLog
from storage.records import Record
from storage.rundir import Commit, RunDirectory, RunReader
from storage.spans import Span
from stream.engine.chain import Chain
from stream.engine.declared import check_declared, check_told
from stream.engine.recent import RecentArrays
from stream.engine.source import FrameSource
from stream.engine.tasks import Done, OpenStages, Ready, Scratch, StateParts, Task, Worked
from stream.engine.windows import beyond_shot, span_of, window_facts, window_of
from stream.progress.memory import peak_vram_bytes, rss_bytes


class Executor:
    """Carries out tasks. A context manager: every stage that was opened here is closed on the way out.

    Args:
        run: locked, or open for reading where nothing is to be committed.
        chain: its stages are closed.
        source: of frames dropped from the store.
        by_turns: whether ours and a server's models have the GPU by turns.
        opened: the chain's stages, some of them open; closed by whoever opened them.
    """

    def __init__(
        self,
        run: RunDirectory | RunReader,
        chain: Chain,
        source: FrameSource,
        by_turns: bool = False,
        opened: OpenStages | None = None,
    ) -> None:
        self._run = run
        self.chain = chain
        self._source = source
        self._opened = opened or OpenStages(chain)
        self.by_turns = by_turns
        self._turn: str | None = None  # whose models may be on the GPU; None: both may
        self._recent = RecentArrays()  # what is committed of new frames
        self._lags = {name: chain.lag(name) for name in chain.names}
        self._handed: dict[tuple[str, int], Array] = {}  # by array and window: what later nodes read as it is
        self._facts: dict[tuple[str, int], Mapping[str, Json]] = {}  # by node and window: what is not yet committed
        self._reached: dict[str, int] = {}  # by node, how many windows it is past
        self._oldest: int | None = None  # the first frame that unfinished windows read; None: one is done at a time
        self.carry_out: Callable[[Ready], Worked] = Ready.work
        self._exit = ExitStack()
        if opened is None:
            self._exit.enter_context(self._opened)

    @property
    def directory(self) -> RunDirectory:
        """The run that is worked on, locked."""
        assert isinstance(self._run, RunDirectory)  # nothing is committed to a run that is open for reading
        return self._run

    def run(self, task: Task, request: Request | None = None, into: Scratch | None = None) -> Done:
        """Do a task.

        Args:
            request: what this try at generating changes; None: nothing, or, of a window that is committed in the run,
                what was asked for then.
            into: beside the run, there.
        """
        ready = self.prepare(task, request, into)
        done = self.take(ready, self.carry_out(ready))
        if into is None:
            self._let_go(task)
        return done

    def prepare(
        self, task: Task, request: Request | None = None, into: Scratch | None = None, conditioned: object = None
    ) -> Ready:
        """The task's stage as it stands before the window, and all that its work needs; arguments as for `run`.

        Args:
            conditioned: what came of it when it was conditioned ahead.
        """
        self._make_way(self.chain[task.node].stage)
        stage = self.make_ready(task, into)
        inputs = replace(self.inputs(task, into), conditioned=conditioned)
        committed = self._run.log.get(task.node, task.window.index)
        if isinstance(stage, GeneratorStage) and request is None and into is None and committed is not None:
            request = Request.of(committed["info"])  # a repair: the same once more
        del self._opened.standing[task.node]  # until it has worked it stands nowhere
        return Ready(task, stage, inputs, request, into)

    def conditioning(self, task: Task) -> Ready:
        """The part of a generator's task that needs nothing of windows before."""
        return Ready(task, self._opened.open(task.node), self.inputs(task, before=False), conditions=True)

    def take(self, ready: Ready, worked: Worked) -> Done:
        """What came of a task, handed on in memory; to be committed where it was not done beside the run."""
        task, into = ready.task, ready.into
        self._opened.standing[task.node] = (into, task.window.index + 1)
        done = self.done(task, worked, into)
        if into is not None:
            into.put(done)
        else:
            self._facts[task.node, task.window.index] = done.commit.info
            self._hand_on(done)
        return done

    def done(self, task: Task, worked: Worked, into: Scratch | None = None) -> Done:
        """What is known about a task that was done: by `run`, or by whoever works ahead.

        Raises:
            SkateError: when these are not the arrays that its stage declares.
        """
        node = self.chain[task.node]
        spans = {array: span_of(task.window, port) for array, port in node.writes.items() if port.span != "window"}
        made = {node.bound(name): values for name, values in worked.output.arrays.items()}
        declared = {array: (self._entry(port), port.dtype) for array, port in node.writes.items()}
        check_declared(task, declared, made, spans)
        span = next(iter(spans.values()), task.window.final)
        arrays = {name: values for name, values in made.items() if name in spans}
        blocks = {name: values for name, values in made.items() if name not in spans}
        facts = worked.output.info
        if node is self.chain.source:  # which frames the window has: everybody who asks later reads it from here
            facts = {**facts, **window_facts(task.window)}
        check_told(task, facts, span.frames)
        state = worked.state if carries_state(node.stage) else None
        used = worked.seconds, rss_bytes(), peak_vram_bytes()
        return Done(task, Commit(node.name, task.window.index, span, arrays, blocks, state, facts, *used), into)

    def commit(self, done: Done) -> Record:
        """Make it durable in the run."""
        record = self.directory.commit(done.commit)
        self.chain[done.task.node].stage.committed(done.task.window)
        self._facts.pop((done.task.node, done.task.window.index), None)
        if done.into is not None:  # it takes the place of what was made here
            self._hand_on(done)
            self._opened.standing[done.task.node] = (done.into, -1)
        return record

    def make_ready(self, task: Task, into: Scratch | None = None) -> Stage:
        """Open the stage if need be, and give it the state that it carries into the window."""
        stage = self._opened.open(task.node)
        index = task.window.index
        alone = carries_state(stage) and most_at_once(stage) == 1  # else others of its windows are at work
        if alone and self._opened.standing.get(task.node) != (into, index):
            stage.set_state(*self._state_before(task.node, index, into))
        self._opened.standing[task.node] = (into, index)
        return stage

    def _state_before(self, name: str, index: int, into: Scratch | None) -> StateParts:
        if index == 0:
            return self._opened.first[name]
        beside = None if into is None else into.state(name, index - 1)
        return self._run.arrays.read_state(name, index - 1) if beside is None else beside

    def inputs(self, task: Task, into: Scratch | None = None, before: bool = True) -> Inputs:
        """What the task reads: from memory where it is there, else from what is committed; by the stage's own names.

        Args:
            before: whether what belongs to windows before is given too.
        """
        node, window = self.chain[task.node], task.window
        arrays = {
            read.key: self._value(node.bound(read.port), read, window, into)
            for read in node.stage.reads
            if before or read.window >= 0
        }
        infos = self._run.log.infos(window.index)
        infos |= {name: info for (name, index), info in self._facts.items() if index == window.index}
        infos |= {} if into is None else into.infos(window.index)
        facts = {name: infos[known] for name, known in node.facts.items() if known in infos}
        beside = None if into is None else into.folder
        return Inputs(arrays, facts, beside or self._segments(facts))

    def _segments(self, facts: Mapping[str, Mapping[str, Any]]) -> Path:
        """The folder with the segments; those that the facts name are in it."""
        for segment in (info["segment"] for info in facts.values() if "segment" in info):
            self._run.store.path(f"segments/{segment}")
        return self._run.store.path("segments")

    def holds(self, name: str, array: str, window: Window) -> bool:
        """Whether all that a node reads of an array for this window is in memory: nothing of it need be committed."""
        reads = [read for found, read in self.chain[name].reads if found == array]
        return all(self._held(array, read, window, None) is not None for read in reads)

    def _value(self, array: str, read: Read, window: Window, into: Scratch | None) -> Array:
        held = self._held(array, read, window, into)
        if held is not None:
            return held
        if self.chain.port(array).span == "window":
            return self._run.arrays.read_block(array, window.index + read.window)
        target = window if read.span == "context" else self._neighbour(window, read.window)
        assert target is not None  # else there is nothing to read, which is held
        span = span_of(target, read)
        return self._source.read(span) if self.chain.is_source(array) else self._run.arrays.read(array, *span)

    def _held(self, array: str, read: Read, window: Window, into: Scratch | None) -> Array | None:
        """What is read of an array, where it is in memory or where there is nothing to read."""
        port = self.chain.port(array)
        if port.span == "window":
            return self._whole(array, port, window, read.window, into)
        target = window if read.span == "context" else self._neighbour(window, read.window)
        if target is None:
            return self._none(port)
        span = span_of(target, read)
        beside = None if into is None else into.array(array, target.index, span)
        handed = self._handed.get((array, target.index)) if into is None else None
        if span.frames == 0:
            return self._none(port)
        if beside is not None:
            return beside
        if handed is not None and span == span_of(target, port):
            return handed
        return self._recent.get(array, span)

    def _whole(self, array: str, port: Port, window: Window, offset: int, into: Scratch | None) -> Array | None:
        """What is kept of a window as a whole, where it is in memory or there is none."""
        index = window.index + offset
        if beyond_shot(window, offset, self._decoded):
            return self._none(port)
        beside = None if into is None else into.array(array, index, Span(0, 0))
        handed = self._handed.get((array, index)) if into is None else None
        return handed if beside is None else beside

    def _neighbour(self, window: Window, offset: int) -> Window | None:
        """The window so far before or after in its shot, None where there is none."""
        if offset == 0 or beyond_shot(window, offset, self._decoded):
            return None if offset else window
        return self._decoded(window.index + offset)

    def _decoded(self, index: int) -> Window | None:
        record = self._run.log.get(self.chain.source.name, index)
        return None if record is None else window_of(record)

    def _none(self, port: Port) -> Array:
        return np.zeros((0, *self._entry(port)), port.dtype)

    def _entry(self, port: Port) -> tuple[int, ...]:
        """The shape of what stands for a frame."""
        video = self._run.manifest["video"]
        return port.frame_shape(int(video["height"]), int(video["width"]))

    def can_rewind(self, names: Sequence[str], index: int) -> bool:
        """Whether the states and what else these nodes did window `index` from are kept."""
        arrays = self._run.arrays
        before = {
            array for name in names for array, read in self.chain[name].reads
            if read.window < 0 and self.chain.port(array).span == "window"
        }  # fmt: skip
        states = {name for name in names if carries_state(self.chain[name].stage)}
        return index == 0 or all(index - 1 in arrays.kept(name) for name in before | states)

    def open_early(self, names: Sequence[str]) -> None:
        """Open those of the nodes that have windows to do."""
        for name in names:
            if has_work(self._run.log, name, self.chain.source.name):
                self._opened.open(name)

    def finish(self) -> None:
        """Tell every stage that is open that the clip has ended well."""
        self._opened.finish()

    def on_exit(self, close: Any) -> None:
        """Call `close` before the stages opened so far are closed."""
        self._exit.callback(close)

    def _make_way(self, stage: Stage) -> None:
        """The stage is about to work: under `by_turns` the other side's models leave the GPU where it needs that."""
        if not self.by_turns or stage.lane in ("cpu", self._turn):
            return
        for node in self.chain:
            if node.stage.lane not in ("cpu", stage.lane):
                node.stage.leave_gpu()
        self._turn = stage.lane

    def side_by_side(self) -> dict[str, int]:
        """From here on nodes work on several windows at a time; returns how many each has done (the source apart)."""
        done = {name: self._run.log.done(name) for name in self.chain.names[1:]}
        self._reached.update(done)
        return done

    def unfinished_from(self, window: Window) -> None:
        """Windows before this one are finished: what they alone read need not stay in memory."""
        self._oldest = window.read.start

    def _hand_on(self, done: Done) -> None:
        """Keep in memory what other nodes read; let go of what all of them have read."""
        node, window = self.chain[done.task.node], done.task.window
        for array, values in {**done.commit.arrays, **done.commit.blocks}.items():
            if self.chain.port(array).span == "new":
                keep_from = window.read.start if self._oldest is None else min(self._oldest, window.read.start)
                self._recent.add(array, window.new.start, values, keep_from)
            else:
                self._handed[array, window.index] = values
        self._reached[node.name] = max(self._reached.get(node.name, 0), window.index + 1)
        for array, index in list(self._handed):
            if all(self._reached.get(name, 0) > index + on for name, on in self.chain.waiting(array)):
                del self._handed[array, index]

    def _let_go(self, task: Task) -> None:
        """Where one task is done after the other, those that read the window after a step later: of what is read."""
        self._facts.clear()
        order, lags = self.chain.names, self._lags
        now = (task.window.index + lags[task.node], order.index(task.node))
        for array, window in list(self._handed):
            if all((window + on + lags[name], order.index(name)) <= now for name, on in self.chain.waiting(array)):
                del self._handed[array, window]

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


def most_at_once(stage: Stage) -> int:
    """How many windows a stage may be given at a time; where these are several, none is read from what it carries."""
    return stage.at_once if isinstance(stage, GeneratorStage) else 1


def has_work(log: CommitLog, node: str, source: str) -> bool:
    """Whether a node has windows to do: it has not committed every window to the end of the clip."""
    decoded = log.of(source)
    return not (decoded and decoded[-1]["info"]["last"] and log.done(node) == len(decoded))
