"""The chain, window by window. Read this file first: it shows the whole flow, top-down.

    VIDEO -> decode -> pose -> track -> generate -> composite -> blend -> sink -> score

Per window every node reads what earlier ones made, works, and is committed: arrays, state, one journal record.
A node that has already committed a window is passed over, which is all there is to resuming. Which task runs when is
`engine/schedule.py`'s affair: with `ahead` several windows are under way.
"""

from contextlib import closing

from stages.base import Window
from stream.engine.ahead import DecodedWindows
from stream.engine.arenas import give_back_free_memory
from stream.engine.executor import Executor, most_at_once
from stream.engine.lanes import Lanes
from stream.engine.schedule import Retry, Schedule
from stream.engine.signals import InterruptShield
from stream.engine.source import InputGuard
from stream.engine.tasks import Done
from stream.engine.windows import WindowPlan
from stream.progress.events import Reporter

GIVE_BACK_EVERY = 10  # windows: pages given back are touched anew, which each window would cost 1 to 2 % on a slow host


class Pipeline:
    """Runs a chain over a run directory until the clip ends.

    Args:
        executor: of the chain in the locked run directory.
        plan: the clip's windows.
        reporter: told about every committed window.
        keep: "none", "frames" or "all": what is not dropped from the store.
        interrupts: holds an interruption back while something is committed.
        guard: tells when the input is no longer what it was; None: nobody looks.
        ahead: how many windows beyond the first unfinished one are worked on; 0: everything one after the other.
    """

    def __init__(
        self,
        executor: Executor,
        plan: WindowPlan,
        reporter: Reporter,
        keep: str = "none",
        interrupts: InterruptShield | None = None,
        guard: InputGuard | None = None,
        ahead: int = 0,
    ) -> None:
        self.run = executor.directory
        self.chain = executor.chain
        self.plan = plan
        self.executor = executor
        self.reporter = reporter
        self.droppable = executor.chain.droppable(keep)
        self.interrupts = interrupts or InterruptShield()
        self.guard = guard
        self.ahead = 0 if executor.by_turns else ahead
        self.retry: Retry | None = None

    def process(self) -> int:
        """Work through the clip; returns its length in frames."""
        slots = {"cpu": 1, "gpu": 1, "server": max((most_at_once(node.stage) for node in self.chain), default=1)}
        with self.executor:
            # A generator that cannot work, or a server that lacks something, says so before anything is tracked.
            made = self.chain.generators
            asked = [node for node in self.chain if node.stage.lane == "server" and node not in made]
            self.executor.open_early([node.name for node in (*asked, *made[:1])])
            with closing(Lanes(slots if self.ahead else None)) as lanes:
                self.executor.carry_out = lanes.carry_out
                decoded = DecodedWindows(self.run.log, self.plan, self.executor, self._commit, self.guard, lanes.wake)
                window = Schedule(
                    self.executor, lanes, decoded, self._commit, self._finish, self.ahead, self.retry
                ).run()
            self.executor.finish()
            return window.read.stop

    def _finish(self, window: Window) -> None:
        self._release(window)
        if (window.index + 1) % GIVE_BACK_EVERY == 0:
            give_back_free_memory()

    def _commit(self, done: Done) -> None:
        made, record = done.commit, None
        try:
            with self.interrupts.shield():
                record = self.executor.commit(done)
        finally:
            if record is not None:  # told where the run ends at this commit too: nobody tells it later
                self.reporter.window(record["n"], made.stage, made.window, made.span, made.seconds, record["info"])

    def _release(self, window: Window) -> None:
        """Drop frames that no later step reads; a shifted last window looks back as far as the window does."""
        if self.droppable:
            with self.interrupts.shield():
                self.run.drop(self.droppable, window.read.stop if window.last else window.final.start)
