"""One stage on one window: the state it starts from, the inputs it reads, the work. Pipeline and repair share it."""

import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import numpy as np

from stages.base import Array, Inputs, Output, Stage, State, Window
from storage.arrays import RunArrays
from storage.errors import RunDirectoryError
from storage.log import CommitLog
from storage.rundir import Commit, RunDirectory
from storage.spans import Span
from stream.engine.recent import RecentArrays
from stream.engine.source import FrameSource
from stream.progress.events import peak_vram_bytes, rss_bytes


@dataclass(frozen=True)
class Done:
    """What a stage made of a window, not yet committed."""

    span: Span
    output: Output
    seconds: float


class OpenStages:
    """Stages by name, each opened when it is first needed; `close` closes those that are. A context manager.

    Attributes:
        stages: by name, in order.
        first: of each that is open, the state it stands in before the first window.
    """

    def __init__(self, stages: Sequence[Stage]) -> None:
        self.stages = {stage.name: stage for stage in stages}
        self.first: dict[str, tuple[dict[str, Any], dict[str, Array]]] = {}
        self._exit = ExitStack()

    def open(self, stage: Stage) -> None:
        """Open the stage if need be."""
        if stage.name not in self.first:
            self._exit.callback(stage.close)
            stage.open()
            self.first[stage.name] = stage.get_state().to_parts()

    def close(self) -> None:
        """Close every stage that was opened, the last one first."""
        self._exit.close()

    def __enter__(self) -> "OpenStages":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


class Steps:
    """Opens stages when they are first needed, and gives each the state and the inputs it works from.

    Used as a context manager: every stage that was opened here is closed on the way out.
    """

    def __init__(
        self,
        run: RunDirectory,
        stages: Sequence[Stage],
        source: FrameSource,
        courtesy: bool = False,
        opened: OpenStages | None = None,
    ) -> None:
        """
        Args:
            run: the locked run directory. stages: in order, closed. source: of frames dropped from the store.
            courtesy: whether ours and a server's models have the GPU by turns.
            opened: the same stages, some of them open; closed by whoever opened them.
        """
        self.run = run
        self._opened = opened or OpenStages(stages)
        self.stages = self._opened.stages
        self.source = source
        self._courtesy = courtesy
        self._turn: str | None = None  # whose models may be on the GPU; None: both may
        self._recent = RecentArrays()
        self._standing: dict[str, int] = {}  # stage name -> the window its state stands before
        self._exit = ExitStack()
        if opened is None:
            self._exit.enter_context(self._opened)

    def make_ready(self, stage: Stage, index: int) -> None:
        """Open the stage if need be, and give it the state it carried into window `index`."""
        self.open(stage)
        if self._standing[stage.name] != index and carries_state(stage):
            stage.set_state(*self.run.arrays.read_state(stage.name, index - 1))
        self._standing[stage.name] = index

    def work(self, stage: Stage, window: Window, fresh: dict[str, Array], anew: bool = False) -> Done:
        """Let the stage process the window; afterwards it stands before the next.

        Args:
            stage: one of the stages.
            window: to be worked on.
            fresh: what this window's stages hand on in memory; the stage's own is added: what has no place in the
                arrays, and what is final.
            anew: do it as configured, even where it was committed otherwise.
        """
        self.make_way(stage)
        self.make_ready(stage, window.index)
        committed = self.run.log.get(stage.name, window.index)
        if committed is not None and not anew:  # a repair: the same once more
            stage.repeat(committed["info"])
        inputs = self.inputs(stage, window, fresh)
        started = time.perf_counter()
        output = stage.process(window, inputs)
        seconds = time.perf_counter() - started
        self._standing[stage.name] = window.index + 1
        for name, values in output.arrays.items():
            if name not in self.run.arrays.specs or stage.writes.get(name) == "final":
                fresh[name] = values
        return Done(written_span(stage, window), output, seconds)

    def make_way(self, stage: Stage) -> None:
        """The stage is about to work: under `courtesy` the other side's models leave the GPU where it needs that."""
        if not self._courtesy or stage.gpu in (None, self._turn):
            return
        for other in self.stages.values():
            if other.gpu not in (None, stage.gpu):
                other.leave_gpu()
        self._turn = stage.gpu

    def hold(self, stage: Stage, window: Window, output: Output) -> None:
        """Keep what the stage wrote and committed of the window's new frames in memory, for the stages behind it."""
        for name, values in output.arrays.items():
            if stage.writes.get(name) == "new":
                self._recent.add(name, window.new.start, values, window.read.start)

    def commit_of(self, stage: Stage, index: int, done: Done, state: State) -> Commit:
        """The commit that records this work."""
        specs = self.run.arrays.specs
        return Commit(
            stage=stage.name,
            window=index,
            span=done.span,
            arrays={name: values for name, values in done.output.arrays.items() if name in specs},
            blocks={name: values for name, values in done.output.arrays.items() if name not in specs},
            state=state.to_parts() if carries_state(stage) else None,
            info=done.output.info,
            seconds=done.seconds,
            rss_bytes=rss_bytes(),
            vram_bytes=peak_vram_bytes(),
        )

    def remember(self, name: str, span: Span, values: Array, window: Window) -> None:
        """Hand frames on in memory that are not committed, to what works on this window and the next."""
        self._recent.add(name, span.start, values, window.final.start)

    def prefetch(self, stage: Stage, window: Window) -> None:
        """Let the stage begin the window early, without what is generated before it."""
        self.open(stage)
        stage.prefetch(window, self.inputs(stage, window, {}, without=("tail",)))

    def finish(self) -> None:
        """Tell every stage that worked that the clip has ended well."""
        for name in self._standing:
            self.stages[name].finish()

    def on_exit(self, close: Any) -> None:
        """Call `close` before the stages opened so far are closed."""
        self._exit.callback(close)

    def inputs(
        self,
        stage: Stage,
        window: Window,
        fresh: Mapping[str, Array],
        infos: Mapping[str, Mapping[str, Any]] | None = None,
        without: tuple[str, ...] = (),
    ) -> Inputs:
        """What the stage reads in this window: from memory where it is there, else from what is committed.

        Args:
            infos: instead of the committed facts, by stage name.
            without: arrays that are left out.
        """
        arrays: dict[str, Array] = {}
        for name, kind in stage.reads.items():
            span = span_of(window, kind)
            if name in without:
                continue
            if name in fresh:
                arrays[name] = fresh[name]
            elif name == "tail":
                arrays[name] = self._tail(window)
            elif (held := self._recent.get(name, span)) is not None:
                arrays[name] = held
            elif name == "frames":
                arrays[name] = self.source.read(span)
            elif name in self.run.arrays.specs:
                arrays[name] = self.run.arrays.read(name, *span)
            else:
                arrays[name] = self.run.arrays.read_block(name, window.index)
        records = {name: self.run.log.get(name, window.index) for name in self.stages}
        info = {name: record["info"] for name, record in records.items() if record}
        return Inputs(arrays=arrays, info={**info, **(infos or {})})

    def open(self, stage: Stage) -> None:
        """Open the stage if need be; it stands where it stood."""
        self._opened.open(stage)
        self._standing.setdefault(stage.name, 0)

    def restore(self, stage: Stage, index: int) -> None:
        """Give any stage of this kind (it need not be one of ours) the state that stood before window `index`."""
        if not carries_state(stage):
            return
        if index == 0:
            stage.set_state(*stage.get_state().to_parts())
        else:
            stage.set_state(*self.run.arrays.read_state(stage.name, index - 1))

    def can_rewind(self, index: int) -> bool:
        """Whether the states from which window `index` was generated, blended and scored are kept."""
        return index == 0 or all(
            index - 1 in self.run.arrays.blocks(name)
            for name in ("generate", "blend", "score")
            if carries_state(self.stages[name])
        )

    def rewind(self, stage: Stage, index: int, states: RunArrays | None = None) -> None:
        """Put one of our stages back before window `index`, whatever it did since.

        Args:
            states: where its state after the window before lies; None: in the run.
        """
        self.open(stage)
        if carries_state(stage):
            read = (states or self.run.arrays).read_state
            stage.set_state(*(self._opened.first[stage.name] if index == 0 else read(stage.name, index - 1)))
        self._standing[stage.name] = index

    def left(self, stage: Stage) -> bool:
        """Whether the stage has windows to do: all that are not known to be committed, to the end of the clip."""
        return has_work(self.run.log, stage.name)

    def forget_standing(self, name: str) -> None:
        """Have the stage take its state from the store again before its next window: it stands elsewhere now."""
        if name in self._standing:
            self._standing[name] = -1

    def _tail(self, window: Window) -> Array:
        """What is already generated at the window's start: blended frames, then the overlap the blend stage holds."""
        if window.index == 0:
            return np.zeros((0, *self.run.arrays.specs["frames"].frame_shape), np.uint8)
        self.make_ready(self.stages["blend"], window.index)
        held: Array = self.stages["blend"].held  # type: ignore[attr-defined]
        before = Span(window.read.start, window.final.start)
        if before.frames == 0:
            return held
        blended = self._recent.get("generated", before)
        return np.concatenate([self.run.arrays.read("generated", *before) if blended is None else blended, held])

    def __enter__(self) -> "Steps":
        return self

    def __exit__(self, *error: object) -> None:
        self._recent.clear()
        self._exit.close()
        self.source.close()


def carries_state(stage: Stage) -> bool:
    """Whether the stage carries anything from window to window; if not, it can start at any window."""
    return type(stage).get_state is not Stage.get_state


def has_work(log: CommitLog, stage: str) -> bool:
    """Whether a stage has windows to do: it has not committed every window to the end of the clip."""
    decoded = log.of("decode")
    return not (decoded and decoded[-1]["info"]["last"] and log.done(stage) == len(decoded))


def written_span(stage: Stage, window: Window) -> Span:
    """The frames that the stage writes in this window."""
    return span_of(window, next(iter(stage.writes.values()), "final"))


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
