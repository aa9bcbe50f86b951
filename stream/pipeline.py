"""The chain, window by window. Read this file first: it shows the whole flow, top-down.

    VIDEO -> decode -> pose -> track -> generate -> blend -> sink -> score

Per window every stage reads what earlier ones committed, works, and is committed: arrays, state, one journal record.
A stage that has already committed a window is passed over, which is all there is to resuming.
"""

import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from typing import Any

import numpy as np

from stages.base import Array, Inputs, Output, Stage, State, Window
from storage.errors import RunDirectoryError
from storage.rundir import Commit, RunDirectory
from storage.spans import Span
from stream.ahead import DecodeAhead
from stream.events import Reporter
from stream.signals import InterruptShield
from stream.source import FrameSource
from stream.windows import WindowPlan

DROPPABLE = {"none": ("frames", "generated"), "frames": ("generated",), "all": ()}


class Pipeline:
    """Runs a chain of stages over a run directory until the clip ends.

    Args:
        run: the locked run directory.
        stages: decode first, then in order; each is opened only when it has something to do.
        plan: the clip's windows.
        source: gives frames again that were dropped from the store.
        reporter: told about every committed window.
        keep: "none", "frames" or "all": what is not dropped from the store.
    """

    def __init__(
        self,
        run: RunDirectory,
        stages: Sequence[Stage],
        plan: WindowPlan,
        source: FrameSource,
        reporter: Reporter,
        keep: str = "none",
    ) -> None:
        self.run = run
        self.decode, *self.rest = stages
        self.plan = plan
        self.source = source
        self.reporter = reporter
        self.droppable = DROPPABLE[keep]
        self.interrupts = InterruptShield()
        self._ready: dict[str, int] = {}  # stage name -> the window its state stands before
        self._exit = ExitStack()

    def process(self) -> int:
        """Work through the clip; returns its length in frames."""
        with self.interrupts.installed(), self._exit:
            self.run.delete_stale_blocks()
            window = None
            for window in self._decoded_windows():
                fresh: dict[str, Array] = {}  # what this window's stages handed on without a place in the arrays
                for stage in self.rest:
                    if self.run.log.get(stage.name, window.index) is None:
                        self._step(stage, window, fresh)
                self._release(window)
            assert window is not None  # decode refuses a clip without frames
            for stage in (self.decode, *self.rest):
                if stage.name in self._ready:
                    stage.finish()
            return window.read.stop

    def _decoded_windows(self) -> Iterator[Window]:
        """Every window of the clip: those decoded before from the journal, the others as decoding goes on."""
        ahead = None
        index, last = 0, False
        while not last:
            record = self.run.log.get("decode", index)
            if record is None:
                if ahead is None:
                    self._make_ready(self.decode, index)
                    ahead = DecodeAhead(self.decode, self.plan, index)
                    self._exit.callback(ahead.close)
                decoded = ahead.take()
                span = Span(self.plan.new_span(index).start, 0)
                span = Span(span.start, span.start + int(decoded.output.info["frames"]))
                self._commit(self.decode, index, span, decoded.output, decoded.state, decoded.seconds)
                record = self.run.log.commits["decode", index]
            last = bool(record["info"]["last"])
            yield self.plan.at(index, record["span"][1], last)
            index += 1

    def _step(self, stage: Stage, window: Window, fresh: dict[str, Array]) -> None:
        """One stage, one window: read, work, commit."""
        self._make_ready(stage, window.index)
        inputs = self._inputs(stage, window, fresh)
        started = time.perf_counter()
        output = stage.process(window, inputs)
        seconds = time.perf_counter() - started
        span = span_of(window, next(iter(stage.writes.values()), "final"))
        self._commit(stage, window.index, span, output, stage.get_state(), seconds)
        self._ready[stage.name] = window.index + 1
        fresh.update({name: values for name, values in output.arrays.items() if name not in self.run.arrays.specs})

    def _make_ready(self, stage: Stage, index: int) -> None:
        """Open the stage if need be, and give it the state it carried into window `index`."""
        if stage.name not in self._ready:
            self._exit.callback(stage.close)
            stage.open()
            self._ready[stage.name] = 0
        if self._ready[stage.name] != index:
            stage.set_state(*self.run.arrays.read_state(stage.name, index - 1))
            self._ready[stage.name] = index

    def _inputs(self, stage: Stage, window: Window, fresh: dict[str, Array]) -> Inputs:
        arrays: dict[str, Array] = {}
        for name, kind in stage.reads.items():
            span = span_of(window, kind)
            if name == "tail":
                arrays[name] = self._tail(window)
            elif name == "frames":
                arrays[name] = self.source.read(span)
            elif name in self.run.arrays.specs:
                arrays[name] = self.run.arrays.read(name, *span)
            else:
                arrays[name] = fresh[name] if name in fresh else self.run.arrays.read_block(name, window.index)
        records = {earlier.name: self.run.log.get(earlier.name, window.index) for earlier in (self.decode, *self.rest)}
        return Inputs(arrays=arrays, info={name: record["info"] for name, record in records.items() if record})

    def _tail(self, window: Window) -> Array:
        """What is already generated at the window's start: blended frames, then the overlap the blend stage holds."""
        if window.index == 0:
            return np.zeros((0, *self.run.arrays.specs["frames"].frame_shape), np.uint8)
        blend = next(stage for stage in self.rest if stage.name == "blend")
        self._make_ready(blend, window.index)
        held: Array = blend.held  # type: ignore[attr-defined]
        if window.read.start == window.final.start:
            return held
        return np.concatenate([self.run.arrays.read("generated", window.read.start, window.final.start), held])

    def _commit(
        self, stage: Stage, index: int, span: Span, output: Output, state: State, seconds: float
    ) -> None:
        specs = self.run.arrays.specs
        with self.interrupts.shield():
            record = self.run.commit(
                Commit(
                    stage=stage.name,
                    window=index,
                    span=span,
                    arrays={name: values for name, values in output.arrays.items() if name in specs},
                    blocks={name: values for name, values in output.arrays.items() if name not in specs},
                    state=state.to_parts(),
                    info=output.info,
                    seconds=seconds,
                )
            )
            if stage.name == "blend":
                self.run.delete_stale_blocks()
        self.reporter.window(stage.name, index, span, seconds, record["info"])

    def _release(self, window: Window) -> None:
        """Drop frames that no later step reads: all but the last window's (a shifted last window looks back that far)."""
        if not self.droppable:
            return
        chunk = self.plan.chunk_frames
        stop = -(-window.read.stop // chunk) * chunk if window.last else window.final.start
        with self.interrupts.shield():
            self.run.drop(self.droppable, stop)


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
