"""Which task runs when: nodes side by side where they occupy different things, each node's windows in order.

    server   generate k ................  generate k+1 .............
    gpu         pose, track k+1 .           score k  pose, track k+2
    cpu      condition k+1          comp.,    sink k                  composite and blend of k, then generate k+1

A task may start once all that it reads is made, its node has done the window before, and its lane is free: the one of
the earliest window first, then the one that stands first in the chain. What of a generator's work needs nothing of the
windows before is done ahead, where nothing else is to be done. Work that ends is handed on in memory, what
waited for it is started, and only then is it committed, so that the store works beside the next task; commits are
made in one thread, in the order in which work ended. A window is finished once all nodes have committed it. No task
is more than `ahead` windows beyond the first one that is not.

Nothing here changes a byte: what a task is given depends on its window alone. The journal's order may differ.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

from stages.base import Read, Window
from stages.generator import GeneratorStage
from stream.engine.ahead import DecodedWindows
from stream.engine.chain import Node
from stream.engine.executor import Executor, most_at_once
from stream.engine.lanes import Ended, Lanes
from stream.engine.tasks import Done, Task, Worked
from stream.engine.windows import beyond_shot

Retry = Callable[[Window, Callable[[Done], None]], None]


@dataclass
class Course:
    """How far a node is.

    Attributes:
        started, taken: how many windows, from the first, are begun, and are done and handed on.
        held: by window, what is done and waits for its turn.
        conditioned: by window that is not begun, what came of conditioning it; None: that is under way.
    """

    started: int
    taken: int
    held: dict[int, Ended] = field(default_factory=dict)
    conditioned: dict[int, Worked | None] = field(default_factory=dict)


class Schedule:
    """Carries a chain through a clip.

    Args:
        executor: of the chain; opened. lanes: where its work is done.
        decoded: the clip's windows. done: by node, how many windows it has done already.
        commit: makes what was done durable. finish: called with each window that all nodes have committed, in order.
        ahead: how many windows beyond the first unfinished one are worked on.
        gate: called before `finish` where a window may be made again: nothing behind is generated before it.
    """

    def __init__(
        self,
        executor: Executor,
        lanes: Lanes,
        decoded: DecodedWindows,
        commit: Callable[[Done], None],
        finish: Callable[[Window], None],
        ahead: int,
        gate: Retry | None = None,
    ) -> None:
        chain = executor.chain
        self._executor, self._lanes, self._decoded = executor, lanes, decoded
        self._commit, self._finish, self._gate, self._ahead = commit, finish, gate, ahead
        self._chain = chain
        self._nodes = list(chain)[1:]
        self._courses = {name: Course(count, count) for name, count in executor.side_by_side().items()}
        self._making = frozenset(chain.making)
        self._lags = {name: chain.lag(name) for name in chain.names}
        self._most = max(self._lags.values())
        self._windows: dict[int, Window] = {}  # decoded and not finished
        self._met = 0  # how many windows are decoded
        self._finished = 0
        self._last: Window | None = None
        self._draining = False  # nothing is started: a window may be made again
        self._committing: str | None = None  # the node whose work is handed on, and not yet durable

    def run(self) -> Window:
        """Work until the clip has ended; returns its last window."""
        while self._last is None or self._finished <= self._last.index:
            self._meet()
            self._start()
            if not self._pass():
                self._await()
        return self._last

    def _meet(self) -> None:
        """Take the windows that are decoded, as far as they may be worked on."""
        while self._may_meet() and (not self._lanes.side_by_side or self._decoded.is_ready):
            window = self._decoded.take()
            if window is None:
                return
            self._windows[window.index] = window
            self._note_oldest()
            self._met = window.index + 1
            if window.last:
                self._last = window

    def _note_oldest(self) -> None:
        if self._ahead and self._finished in self._windows:
            self._executor.unfinished_from(self._windows[self._finished])

    def _may_meet(self) -> bool:
        within = self._met <= self._finished + self._ahead + self._most
        return within and self._last is None and self._decoded.broken is None

    def _start(self) -> None:
        """Give every free lane the next task that may start."""
        while not self._draining:
            able = [(index, place, node) for place, node in enumerate(self._nodes)
                    if self._lanes.is_free(node.stage.lane)
                    and self._may_start(node, index := self._courses[node.name].started)]  # fmt: skip
            if not able:
                self._condition()
                return
            index, _, node = min(able, key=lambda item: item[:2])
            course = self._courses[node.name]
            conditioned = course.conditioned.pop(index, None)
            task = Task(node.name, self._windows[index])
            ready = self._executor.prepare(task, conditioned=conditioned and conditioned.conditioned)
            course.started += 1
            self._lanes.start(ready)

    def _condition(self) -> None:
        """Let generators that wait for windows before do ahead what needs nothing of these."""
        for node in self._nodes:
            if not isinstance(node.stage, GeneratorStage) or not node.stage.conditions or not self._lanes.side_by_side:
                continue
            course = self._courses[node.name]
            for index in range(course.started, course.started + node.stage.at_once):
                window = self._windows.get(index)
                if window is None or index in course.conditioned or not self._lanes.is_free("cpu"):
                    continue
                able = self._has_all(node, window, before=False) and not self._may_be_void(node, window, before=False)
                if able and self._is_near(node, index):
                    course.conditioned[index] = None
                    self._lanes.start(self._executor.conditioning(Task(node.name, window)))

    def _may_start(self, node: Node, index: int) -> bool:
        window, course = self._windows.get(index), self._courses[node.name]
        at_once = most_at_once(node.stage)
        if window is None or course.started - course.taken >= at_once or not self._is_near(node, index):
            return False
        if self._may_be_void(node, window) or (at_once == 1 and self._is_gated(node.name, index)):
            return False  # only a server that has others of its windows beside works ahead of the gate
        if course.conditioned.get(index, True) is None:  # that is still under way
            return False
        return self._has_all(node, window)

    def _is_near(self, node: Node, index: int) -> bool:
        """Whether the window is no further ahead than the node may be."""
        return index <= self._finished + self._ahead + self._most - self._lags[node.name]

    def _has_all(self, node: Node, window: Window, before: bool = True) -> bool:
        """Whether all that a node reads for a window is there, with or without what is of windows before."""
        reads = [(array, read) for array, read in node.reads if before or read.window >= 0]
        made = all(self._is_made(node, array, read, window) for array, read in reads)
        return made and all(self._taken(name) > window.index for name in node.facts.values() if name in self._chain)

    def _is_gated(self, name: str, index: int) -> bool:
        return self._gate is not None and name in self._making and index > self._finished

    def _may_be_void(self, node: Node, window: Window, before: bool = True) -> bool:
        """Whether a gated window is worked on from what may be made again: an earlier process has made that already."""
        if not self._is_gated(node.name, window.index):
            return False
        made: set[str | None] = set(node.facts.values())
        for array, read in node.reads:
            if (before or read.window >= 0) and not beyond_shot(window, read.window, self._windows.get):
                made.add(self._chain.writer(array))
        return not made.isdisjoint(self._making)

    def _is_made(self, node: Node, array: str, read: Read, window: Window) -> bool:
        """Whether what a task reads of an array is there: durable, or all of it in memory."""
        writer, of = self._chain.writer(array), window.index + read.window
        if writer is None or beyond_shot(window, read.window, self._windows.get):
            return True
        if self._taken(writer) <= of:
            return False
        return writer != self._committing or self._executor.holds(node.name, array, window)

    def _taken(self, name: str) -> int:
        return self._met if name == self._chain.source.name else self._courses[name].taken

    def _await(self) -> None:
        """Wait for work that ends, or for a window that is decoded."""
        if not self._lanes.busy.total() and not self._may_meet():
            raise self._decoded.broken or RuntimeError("no task can start, and the clip has not ended")
        ended = self._lanes.ended()
        if ended is None:
            return
        if ended.error is not None:
            self._fail(ended.error)
        node = ended.ready.task.node
        self._note(ended)
        del ended
        self._take(node)

    def _note(self, ended: Ended) -> None:
        """Keep what came of a task until it is its turn."""
        task = ended.ready.task
        course = self._courses[task.node]
        if ended.ready.conditions:
            course.conditioned[task.window.index] = ended.worked
        else:
            course.held[task.window.index] = ended

    def _take(self, name: str, start: bool = True) -> None:
        """Hand on and commit what the node has done, as far as it is its turn."""
        course = self._courses[name]
        while course.taken in course.held and not self._is_gated(name, course.taken):
            ended = course.held.pop(course.taken)
            assert ended.worked is not None
            done = self._executor.take(ended.ready, ended.worked)
            course.taken += 1
            del ended
            if start and self._lanes.side_by_side:
                self._committing = name
                self._start()  # what waited for it begins while it is committed
                self._committing = None
            self._commit(done)

    def _fail(self, error: BaseException) -> None:
        """Wait for what else is under way and commit it: it may have cost minutes; then raise.

        An interruption waits for nothing.
        """
        while isinstance(error, Exception) and self._lanes.busy.total():
            other = self._lanes.ended()
            if other is not None and other.error is None:
                self._note(other)
                self._take(other.ready.task.node, start=False)
        raise error

    def _go_back(self) -> None:
        """Of a run that was there, windows behind one that was made again are void: their nodes stand before them."""
        for name, done in self._executor.side_by_side().items():
            course = self._courses[name]
            if done < course.taken:
                course.started = course.taken = done

    def _pass(self) -> bool:
        """Finish the windows that all nodes have committed; returns whether there were any."""
        before = self._finished
        while self._finished in self._windows and all(c.taken > self._finished for c in self._courses.values()):
            window = self._windows[self._finished]
            if self._gate is not None and self._making:
                self._draining = any(self._lanes.busy[lane] for lane in ("cpu", "gpu"))
                if self._draining:  # an attempt needs our models for itself
                    break
                self._gate(window, self._commit)
                self._go_back()
            self._finish(window)
            del self._windows[window.index]
            self._finished += 1
            self._note_oldest()
            for node in self._nodes:
                self._take(node.name)
        return self._finished > before
