"""The chain, window by window. Read this file first: it shows the whole flow, top-down.

    VIDEO -> decode -> pose -> track -> generate -> blend -> sink -> score

Per window every stage reads what earlier ones committed, works, and is committed: arrays, state, one journal record.
A stage that has already committed a window is passed over, which is all there is to resuming.
"""

from collections.abc import Iterator, Sequence

from stages.base import Array, Stage, State, Window
from storage.rundir import RunDirectory
from storage.spans import Span
from stream.ahead import DecodeAhead
from stream.events import Reporter
from stream.signals import InterruptShield
from stream.source import FrameSource, InputGuard
from stream.steps import Done, Steps, span_of
from stream.windows import WindowPlan

__all__ = ["DROPPABLE", "Pipeline", "span_of"]

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
        interrupts: holds an interruption back while something is committed.
        guard: tells when the input is no longer what it was; None: nobody looks.
    """

    def __init__(
        self,
        run: RunDirectory,
        stages: Sequence[Stage],
        plan: WindowPlan,
        source: FrameSource,
        reporter: Reporter,
        keep: str = "none",
        interrupts: InterruptShield | None = None,
        guard: InputGuard | None = None,
    ) -> None:
        self.run = run
        self.decode, *self.rest = stages
        self.plan = plan
        self.steps = Steps(run, stages, source)
        self.reporter = reporter
        self.droppable = DROPPABLE[keep]
        self.interrupts = interrupts or InterruptShield()
        self.guard = guard

    def process(self) -> int:
        """Work through the clip; returns its length in frames."""
        with self.steps:
            self.run.delete_stale_blocks()
            window = None
            for window in self._decoded_windows():
                fresh: dict[str, Array] = {}  # what this window's stages handed on without a place in the arrays
                for stage in self.rest:
                    if self.run.log.get(stage.name, window.index) is None:
                        done = self.steps.work(stage, window, fresh)
                        self._commit(stage, window.index, done, stage.get_state())
                self._release(window)
            assert window is not None  # decode refuses a clip without frames
            self.steps.finish()
            return window.read.stop

    def _decoded_windows(self) -> Iterator[Window]:
        """Every window of the clip: those decoded before from the journal, the others as decoding goes on."""
        ahead = None
        index, last = 0, False
        while not last:
            record = self.run.log.get("decode", index)
            if record is None:
                if ahead is None:
                    self.steps.make_ready(self.decode, index)
                    ahead = DecodeAhead(self.decode, self.plan, index)
                    self.steps.on_exit(ahead.close)
                decoded = ahead.take()
                if self.guard is not None:
                    self.guard.check()
                start = self.plan.new_span(index).start
                span = Span(start, start + int(decoded.output.info["frames"]))
                self._commit(self.decode, index, Done(span, decoded.output, decoded.seconds), decoded.state)
                record = self.run.log.commits["decode", index]
            last = bool(record["info"]["last"])
            yield self.plan.at(index, record["span"][1], last)
            index += 1

    def _commit(self, stage: Stage, index: int, done: Done, state: State) -> None:
        with self.interrupts.shield():
            record = self.run.commit(self.steps.commit_of(stage, index, done, state))
            if stage.name == "blend":
                self.run.delete_stale_blocks()
        self.reporter.window(stage.name, index, done.span, done.seconds, record["info"])

    def _release(self, window: Window) -> None:
        """Drop frames that no later step reads; a shifted last window looks back as far as the window does."""
        if not self.droppable:
            return
        chunk = self.plan.chunk_frames
        stop = -(-window.read.stop // chunk) * chunk if window.last else window.final.start
        with self.interrupts.shield():
            self.run.drop(self.droppable, stop)
