"""Windows side by side: what overlaps is proved by stages that wait for one another; the bytes are the same."""

import os
import queue
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from test_windows_anywhere import Killed, files

from stages.base import MASK, PICTURE, Array, Inputs, Json, Output, Port, Read, Stage, State, Window
from stages.generator import GeneratorStage, Request
from storage import faults
from storage.errors import GeneratorError, InputError, Interrupted
from storage.rundir import FORMAT_VERSION, RunDirectory, RunReader, read_log
from storage.spans import Span
from stream.engine.chain import Chain, Node
from stream.engine.executor import Executor, has_work
from stream.engine.lanes import Lanes
from stream.engine.signals import Cancel, InterruptShield
from stream.engine.tasks import Done, Scratch, Task
from stream.engine.windows import WindowPlan, committed_windows
from stream.pipeline import Pipeline
from stream.progress.events import Reporter

PLAN = WindowPlan(5, 2)
FRAMES, HEIGHT, WIDTH = 21, 8, 12
MANIFEST = {"format": FORMAT_VERSION, "video": {"height": HEIGHT, "width": WIDTH}}
CLIP: Array = np.random.default_rng(2).integers(0, 256, (FRAMES, HEIGHT, WIDTH, 3), dtype=np.uint8)
WINDOWS = PLAN.count(FRAMES)
PATIENCE = 60.0  # seconds after which a stage that waits for another one fails: it never comes
Act = Callable[["Board", str, int], None]


@dataclass
class Board:
    """What has begun and ended, by node and window; what is to happen inside a stage's work.

    Attributes:
        acts: called in the stage's thread when a window of it has begun.
    """

    acts: list[Act] = field(default_factory=list)
    begun: dict[tuple[str, int], threading.Event] = field(default_factory=dict)
    ended: dict[tuple[str, int], threading.Event] = field(default_factory=dict)
    threads: dict[str, set[int]] = field(default_factory=dict)
    order: list[tuple[str, int]] = field(default_factory=list)
    at_work: Counter[str] = field(default_factory=Counter)

    def event(self, of: dict[tuple[str, int], threading.Event], node: str, window: int) -> threading.Event:
        return of.setdefault((node, window), threading.Event())

    def work(self, stage: Stage, window: int, process: Callable[[], Output]) -> Output:
        lane = stage.lane
        self.at_work[lane] += 1
        assert lane != "gpu" or self.at_work[lane] == 1, "two models at work"
        self.threads.setdefault(lane, set()).add(threading.get_ident())
        self.order.append((stage.name, window))
        self.event(self.begun, stage.name, window).set()
        for act in self.acts:
            act(self, stage.name, window)
        output = process()
        self.at_work[lane] -= 1
        self.event(self.ended, stage.name, window).set()
        return output

    def until(self, of: dict[tuple[str, int], threading.Event], node: str, window: int) -> None:
        assert self.event(of, node, window).wait(PATIENCE), f"{node} of window {window} never comes"


@dataclass
class Sum(State):
    total: int = 0


class Carrying(Stage):
    """Its output depends on all that it has seen."""

    def __init__(self, board: Board) -> None:
        self.board, self.state = board, Sum()

    def add(self, *values: Array) -> int:
        self.state = Sum((self.state.total * 31 + sum(int(value.sum()) for value in values)) % 1_000_003)
        return self.state.total

    def get_state(self) -> Sum:
        return Sum(self.state.total)

    def set_state(self, values: Mapping[str, Json], arrays: Mapping[str, Array]) -> None:
        self.state = Sum.from_parts(values, arrays)


class Decode(Stage):
    name = "decode"
    writes = (Port("frames", "new", PICTURE, "uint8", "until_read"),)
    fails_at = -1

    def __init__(self, cuts: tuple[int, ...] = ()) -> None:
        self.cuts = cuts

    def process(self, window: Window, inputs: Inputs) -> Output:
        if window.index == self.fails_at:
            raise InputError("the clip ends in the middle of a frame")
        stop = min([*(cut for cut in self.cuts if window.new.start < cut), FRAMES, window.new.stop])
        frames = CLIP[window.new.start : stop]
        return Output({"frames": frames}, {"frames": len(frames), "last": stop == FRAMES, "cut": stop in self.cuts})


class Track(Carrying):
    name = "track"
    lane = "gpu"
    reads = (Read("frames", "new"),)
    writes = (Port("masks/object", "new", MASK, "bool"),)

    def process(self, window: Window, inputs: Inputs) -> Output:
        def work() -> Output:
            total = self.add(inputs.arrays["frames"])
            return Output({"masks/object": inputs.arrays["frames"][..., 0] > total % 256}, {"total": total})

        return self.board.work(self, window.index, work)


class Generate(GeneratorStage):
    """Paints from source, masks and what was made before; with `servers` each window alone, if not by `tail`."""

    name = "generate"
    lane = "server"
    facts = ("track",)

    def __init__(self, board: Board, servers: int = 0, tail: bool = False) -> None:
        self.board, self.servers = board, servers
        self.reads = (Read("frames", "read"), Read("masks/object", "read"))
        if tail or not servers:
            self.reads = (*self.reads, Read("generated", "context", -1), Read("overlap", "window", -1))
        self.writes = (Port("raw", "window", PICTURE, "uint8", "window"),)
        self.interrupted = threading.Event()
        self.state = Sum()

    @property
    def at_once(self) -> int:
        return max(1, self.servers)

    def interrupt(self) -> bool:
        self.interrupted.set()
        return True

    def get_state(self) -> Sum:
        return Sum(self.state.total)

    def set_state(self, values: Mapping[str, Json], arrays: Mapping[str, Array]) -> None:
        assert self.servers <= 1, "others of its windows are at work"
        self.state = Sum.from_parts(values, arrays)

    def process(self, window: Window, inputs: Inputs, request: Request = Request()) -> Output:  # noqa: B008
        def work() -> Output:
            before = sum(int(inputs.arrays[name].sum()) for name in ("generated", "overlap") if name in inputs.arrays)
            shift = (before + inputs.info["track"]["total"] + 7 * request.number) % 251
            frames, masks = inputs.arrays["frames"], inputs.arrays["masks/object"]
            return Output({"raw": np.where(masks[..., None], (frames + np.uint8(shift)), frames)})

        return self.board.work(self, window.index, work)


class Drawing(Generate):
    """Draws ahead what needs nothing of the window before: the sum of frames and masks."""

    conditions = True

    def condition(self, window: Window, inputs: Inputs) -> object:
        assert not {"generated", "overlap"} & set(inputs.arrays) and inputs.info["track"]
        self.board.event(self.board.begun, "condition", window.index).set()
        for act in self.board.acts:
            act(self.board, "condition", window.index)
        self.board.event(self.board.ended, "condition", window.index).set()
        return self.sums(inputs)

    def sums(self, inputs: Inputs) -> tuple[int, ...]:
        return tuple(int(inputs.arrays[name].sum()) for name in ("frames", "masks/object"))

    def process(self, window: Window, inputs: Inputs, request: Request = Request()) -> Output:  # noqa: B008
        assert inputs.conditioned in (None, self.sums(inputs))
        self.board.order.append(("drawn", window.index) if inputs.conditioned else ("undrawn", window.index))
        return super().process(window, inputs, request)


class Blend(Stage):
    """The mean of what two windows made of the same frames."""

    name = "blend"
    reads = (Read("raw", "window"), Read("overlap", "window", -1))
    writes = (
        Port("generated", "final", PICTURE, "uint8", "until_read"),
        Port("overlap", "window", PICTURE, "uint8", "window"),
    )

    def process(self, window: Window, inputs: Inputs) -> Output:
        raw, held = inputs.arrays["raw"], inputs.arrays["overlap"]
        blended = raw[window.final.within(window.read)].copy()
        blended[: len(held)] = held // 2 + blended[: len(held)] // 2
        return Output({"generated": blended, "overlap": raw[window.final.stop - window.read.start :].copy()})


class Sink(Carrying):
    name = "sink"
    reads = (Read("generated", "final"),)
    writes = (Port("result", "final", PICTURE),)

    def process(self, window: Window, inputs: Inputs) -> Output:
        def work() -> Output:
            return Output({"result": inputs.arrays["generated"]}, {"sum": self.add(inputs.arrays["generated"])})

        return self.board.work(self, window.index, work)


class Score(Carrying):
    name = "score"
    lane = "gpu"
    reads = (Read("masks/object", "final"),)
    facts = ("sink",)
    writes = (Port("iou", "final", (), "float32", fill=float("nan")),)

    def process(self, window: Window, inputs: Inputs) -> Output:
        def work() -> Output:
            masks = inputs.arrays["masks/object"]
            value = self.add(masks) + inputs.info["sink"]["sum"]
            return Output({"iou": np.full(len(masks), value % 97, np.float32)})

        return self.board.work(self, window.index, work)


def chain(board: Board, servers: int = 0) -> Chain:
    return chain_of(board, Generate(board, servers))


def chain_of(board: Board, generate: Generate) -> Chain:
    return Chain([Decode(), Track(board), generate, Blend(), Sink(board), Score(board)])


def source() -> Any:
    return SimpleNamespace(read=lambda span: CLIP[slice(*span)], close=lambda: None)


def carry_out(path: Path, ahead: int, board: Board | None = None, servers: int = 0, **more: Any) -> Chain:
    """Begin the run, or go on with it."""
    nodes = more.pop("nodes", None) or chain(board or Board(), servers)
    retry = more.pop("retry", None)
    with RunDirectory(path, nodes.layout(HEIGHT, WIDTH), MANIFEST) as run:
        pipeline = Pipeline(Executor(run, nodes, source()), PLAN, Reporter(), ahead=ahead, **more)
        pipeline.retry = retry
        assert pipeline.process() == FRAMES
    return nodes


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What comes out where everything is done one after the other."""
    path = tmp_path_factory.mktemp("schedule") / "run"
    carry_out(path, 0)
    return files(path)


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The same where no window depends on the one before."""
    path = tmp_path_factory.mktemp("schedule") / "run"
    carry_out(path, 0, servers=1)
    return files(path)


@pytest.mark.parametrize("ahead", [1, 2, 100])
def test_the_bytes_are_the_same_however_many_windows_are_under_way(
    tmp_path: Path, whole: dict[str, str], ahead: int
) -> None:
    board = Board()
    carry_out(tmp_path / "run", ahead, board)
    assert files(tmp_path / "run") == whole
    assert len(board.threads["gpu"]) == 1, "all models work in one thread"


def test_the_lane_of_our_models_has_as_many_threads_as_the_process(tmp_path: Path) -> None:
    """Sums are split among threads, and last bits with them: their number must not depend on the lane."""
    import torch

    found, before = set(), torch.get_num_threads()

    def count(board: Board, node: str, window: int) -> None:
        if node in ("track", "score"):
            found.add((threading.get_ident() == main, torch.get_num_threads()))

    main = threading.get_ident()
    try:
        for threads in (before + 1, before + 2):
            torch.set_num_threads(threads)
            carry_out(tmp_path / str(threads), 1, Board([count]))
            assert found == {(False, threads)}
            found.clear()
    finally:
        torch.set_num_threads(before)


def test_one_after_the_other_is_the_order_of_the_chain(tmp_path: Path) -> None:
    board = Board()
    carry_out(tmp_path / "run", 0, board)
    names = ("track", "generate", "sink", "score")
    assert board.order == [(name, index) for index in range(WINDOWS) for name in names]
    assert set.union(*board.threads.values()) == {threading.get_ident()}


def waiting(board: Board, node: str, window: int) -> None:
    """The server works as long as the next window is not tracked; scoring waits for the generation behind."""
    if window == WINDOWS - 1:
        return
    if node == "generate":
        board.until(board.ended, "track", window + 1)
    if node in ("sink", "score"):
        board.until(board.begun, "generate", window + 1)


def test_tracking_scoring_and_generation_overlap(tmp_path: Path, whole: dict[str, str]) -> None:
    carry_out(tmp_path / "run", 1, Board([waiting]))
    assert files(tmp_path / "run") == whole


@pytest.mark.parametrize("ahead", [1, 2])
def test_nothing_is_further_ahead_than_was_asked_for(tmp_path: Path, ahead: int) -> None:
    board = Board()
    finished: list[int] = []

    def looking(board: Board, node: str, window: int) -> None:
        assert window <= len(finished) + ahead

    board.acts.append(looking)
    nodes = chain(board)
    with RunDirectory(tmp_path / "run", nodes.layout(HEIGHT, WIDTH), MANIFEST) as run:
        pipeline = Pipeline(Executor(run, nodes, source()), PLAN, Reporter(), ahead=ahead)
        pipeline.retry = lambda window, commit: finished.append(window.index)
        pipeline.process()
    assert finished == list(range(WINDOWS))


def test_the_next_task_works_while_the_one_before_is_committed(
    tmp_path: Path, whole: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    board, commit = Board(), RunDirectory.commit

    def slow(self: RunDirectory, work: Any) -> Any:
        if work.stage == "blend":
            board.until(board.begun, "sink", work.window)
        return commit(self, work)

    monkeypatch.setattr(RunDirectory, "commit", slow)
    carry_out(tmp_path / "run", 1, board)
    assert files(tmp_path / "run") == whole


def test_what_could_not_be_committed_voids_what_was_made_of_it(
    tmp_path: Path, whole: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    board, commit = Board(), RunDirectory.commit

    def full(self: RunDirectory, work: Any) -> Any:
        if (work.stage, work.window) == ("blend", 2):
            board.until(board.ended, "sink", 2)
            raise OSError("no space left")
        return commit(self, work)

    monkeypatch.setattr(RunDirectory, "commit", full)
    with pytest.raises(OSError, match="no space"):
        carry_out(tmp_path / "run", 1, board)
    monkeypatch.undo()
    log = read_log(tmp_path / "run")
    assert log.done("blend") == log.done("sink") == 2
    carry_out(tmp_path / "run", 1)
    assert files(tmp_path / "run") == whole


def points(servers: int) -> Iterator[str]:
    each = ("journal",) if servers else ("begin", "arrays", "state", "journal")
    for name in chain(Board()).names:
        yield from (f"{name}.{point}#3" for point in each)
    yield from ("journal.before#9", "journal.written#12", "journal.after#17", "drop.journal#2")


@pytest.mark.parametrize("servers", [0, 3])
def test_killed_anywhere_and_resumed_it_is_the_same(
    tmp_path: Path, whole: dict[str, str], alone: dict[str, str], monkeypatch: pytest.MonkeyPatch, servers: int
) -> None:
    def kill(*_: int) -> None:
        raise Killed

    monkeypatch.setattr(faults, "os", SimpleNamespace(environ=os.environ, getpid=os.getpid, kill=kill))
    for point in points(servers):
        monkeypatch.setattr(faults, "_passed", Counter())
        path = tmp_path / point.replace("#", "-")
        monkeypatch.setenv("SKATE_FAULT", point)
        with pytest.raises(Killed):
            carry_out(path, 2, servers=servers)
        monkeypatch.delenv("SKATE_FAULT")
        carry_out(path, 2, servers=servers)
        assert files(path) == (alone if servers else whole), point


def test_what_fails_waits_for_what_is_under_way_and_keeps_it(tmp_path: Path, whole: dict[str, str]) -> None:
    def failing(board: Board, node: str, window: int) -> None:
        if (node, window) == ("generate", 1):
            board.until(board.begun, "track", 2)
        if (node, window) == ("track", 2):
            raise GeneratorError("no more")

    with pytest.raises(GeneratorError, match="no more"):
        carry_out(tmp_path / "run", 1, Board([failing]))
    log = read_log(tmp_path / "run")
    assert log.done("track") == 2 and log.done("generate") == 2, "what the server made is not lost"
    carry_out(tmp_path / "run", 1)
    assert files(tmp_path / "run") == whole


@pytest.mark.parametrize("ahead", [0, 1, 2])
def test_a_clip_that_breaks_off_is_carried_through_as_far_as_it_goes(tmp_path: Path, ahead: int) -> None:
    nodes = chain(Board())
    decode: Any = nodes["decode"].stage
    decode.fails_at = 3
    with pytest.raises(InputError, match="in the middle"):
        carry_out(tmp_path / "run", ahead, nodes=nodes)
    log = read_log(tmp_path / "run")
    assert {log.done(name) for name in nodes.names} == {3}


def test_an_interruption_ends_what_is_under_way(tmp_path: Path, whole: dict[str, str]) -> None:
    """The server's job is told, and our own work ends before its next line; nothing hangs."""
    board = Board()
    nodes = chain(board)
    generate: Any = nodes["generate"].stage

    def endless(board: Board, node: str, window: int) -> None:
        if (node, window) == ("generate", 2):
            board.until(board.begun, "track", 3)
            os.kill(os.getpid(), signal.SIGINT)
            assert generate.interrupted.wait(PATIENCE)
            raise Interrupted("told")
        while (node, window) == ("track", 3):
            threading.Event().wait(0.001)

    board.acts.append(endless)
    with pytest.raises(KeyboardInterrupt), InterruptShield().installed() as interrupts:
        carry_out(tmp_path / "run", 2, nodes=nodes, interrupts=interrupts)
    assert generate.interrupted.is_set()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("lane-")]
    carry_out(tmp_path / "run", 2)
    assert files(tmp_path / "run") == whole


def test_what_a_thread_takes_while_all_is_closed_is_neither_begun_nor_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A task has been handed to a thread that gets to it only behind a look at what waits."""

    class Watched(queue.SimpleQueue[Any]):
        def empty(self) -> bool:
            found = super().empty()
            time.sleep(0.01)
            return found

    monkeypatch.setattr(queue, "SimpleQueue", Watched)
    begun: list[int] = []
    task: Any = SimpleNamespace(lane="cpu", conditions=False, work=lambda: begun.append(1))
    task.stage = SimpleNamespace(interrupt=lambda: False)
    lanes = Lanes({"cpu": 1})

    def begin_and_close() -> None:
        lanes.start(task)
        lanes.close()

    before = sys.getswitchinterval()
    sys.setswitchinterval(PATIENCE)  # no thread is interrupted by another
    try:
        closing = threading.Thread(target=begin_and_close, daemon=True)
        closing.start()
        closing.join(PATIENCE)
    finally:
        sys.setswitchinterval(before)
    assert not closing.is_alive() and not begun


def test_a_cancelled_run_goes_on_later(tmp_path: Path, whole: dict[str, str]) -> None:
    cancel = Cancel()

    def cancelling(board: Board, node: str, window: int) -> None:
        if (node, window) == ("generate", 2):
            cancel.cancel()

    with pytest.raises(Interrupted):
        carry_out(tmp_path / "run", 1, Board([cancelling]), interrupts=InterruptShield(cancel))
    carry_out(tmp_path / "run", 1)
    assert files(tmp_path / "run") == whole


def test_several_servers_work_at_once_and_are_committed_in_order(tmp_path: Path, alone: dict[str, str]) -> None:
    """Window 0 ends only when 1 and 2 have been made."""

    def backwards(board: Board, node: str, window: int) -> None:
        if node == "generate" and window % 3 < 2 and window < WINDOWS - 1:
            board.until(board.ended, "generate", window + 1)

    carry_out(tmp_path / "run", 3, Board([backwards]), servers=3)
    assert files(tmp_path / "run") == alone
    assert [record["window"] for record in read_log(tmp_path / "run").of("generate")] == list(range(WINDOWS))


def test_where_windows_may_be_made_again_servers_work_ahead_but_nothing_counts(tmp_path: Path) -> None:
    board = Board()
    seen: list[tuple[int, int]] = []

    def looking(window: Window, commit: Any) -> None:
        log = read_log(tmp_path / "run")
        seen.append((window.index, log.done("generate")))
        assert not any(board.at_work[lane] for lane in ("cpu", "gpu")), "an attempt has our models for itself"

    def ahead(board: Board, node: str, window: int) -> None:
        if node == "score" and window < WINDOWS - 1:
            board.until(board.ended, "generate", window + 1)

    board.acts.append(ahead)
    carry_out(tmp_path / "run", 3, board, servers=3, retry=looking)
    assert seen == [(index, index + 1) for index in range(WINDOWS)]


SHOTS = (5, 10)  # cuts: windows 0 and 1 are shots of their own, 2 to 5 are the third


def of_shots(board: Board, servers: int) -> Chain:
    return Chain([Decode(SHOTS), Track(board), Generate(board, servers, True), Blend(), Sink(board), Score(board)])


@pytest.mark.parametrize("retry", [None, lambda window, commit: None])
def test_with_tail_several_servers_work_on_several_shots(tmp_path: Path, retry: Any) -> None:
    """Window 0 ends only when 1 and 2, which begin shots, have been made; 3 and 4 wait for those before them."""
    carry_out(tmp_path / "alone", 0, nodes=of_shots(Board(), 1))
    shots = {window.index for window in PLAN.windows(FRAMES, SHOTS) if window.begins_shot}
    assert shots == {0, 1, 2}

    def together(board: Board, node: str, window: int) -> None:
        if (node, window) == ("generate", 0):
            board.until(board.ended, "generate", 1)
            board.until(board.ended, "generate", 2)
        elif node == "generate" and window not in shots:
            assert board.event(board.ended, "generate", window - 1).is_set()
            assert retry is None or board.event(board.ended, "score", window - 1).is_set()

    carry_out(tmp_path / "run", 3, nodes=of_shots(Board([together]), 3), retry=retry)
    assert files(tmp_path / "run") == files(tmp_path / "alone")


@pytest.mark.parametrize("retried", [True, False])
def test_what_is_kept_in_memory_is_let_go(tmp_path: Path, retried: bool) -> None:
    nodes = chain(Board())
    most: list[int] = []
    with RunDirectory(tmp_path / "run", nodes.layout(HEIGHT, WIDTH), MANIFEST) as run:
        pipeline: Any = Pipeline(Executor(run, nodes, source()), PLAN, Reporter(), ahead=2)
        executor = pipeline.executor

        def count(window: Window, commit: Any = None) -> None:
            held = executor._recent._held["frames"]
            most.append(len(held.values))
            assert len(executor._handed) <= 6 and not executor._facts

        if retried:
            pipeline.retry = count
        else:
            pipeline._finish = count
        pipeline.process()
    assert len(most) == WINDOWS and max(most) <= PLAN.window + 2 * PLAN.stride
    assert RunReader(tmp_path / "run").log.done("score") == WINDOWS


@pytest.mark.parametrize("servers", [0, 3])
def test_the_next_window_is_conditioned_while_the_server_makes_one(
    tmp_path: Path, whole: dict[str, str], alone: dict[str, str], servers: int
) -> None:
    """A window that others are made before ends only once the next one that waits for a server is conditioned."""
    board = Board()

    def waiting(board: Board, node: str, window: int) -> None:
        behind = window + max(1, servers)
        if node == "generate" and behind < WINDOWS:
            board.until(board.ended, "condition", behind)

    board.acts.append(waiting)
    nodes = chain_of(board, Drawing(board, servers))
    carry_out(tmp_path / "run", 3, board, nodes=nodes)
    assert files(tmp_path / "run") == (alone if servers else whole)
    drawn = [window for what, window in board.order if what == "drawn"]
    assert sorted(drawn) == list(range(max(1, servers), WINDOWS)), "what was conditioned is what is generated from"


def test_where_windows_may_be_made_again_the_next_one_is_conditioned_ahead_as_well(
    tmp_path: Path, whole: dict[str, str]
) -> None:
    """What needs nothing of the window before stays as it is, whatever becomes of that."""
    board = Board()

    def waiting(board: Board, node: str, window: int) -> None:
        if node == "generate" and window < WINDOWS - 1:
            board.until(board.ended, "condition", window + 1)

    board.acts.append(waiting)
    carry_out(tmp_path / "run", 3, board, nodes=chain_of(board, Drawing(board)), retry=lambda window, commit: None)
    assert files(tmp_path / "run") == whole


def test_one_after_the_other_nothing_is_conditioned_ahead(tmp_path: Path, whole: dict[str, str]) -> None:
    board = Board()
    carry_out(tmp_path / "run", 0, board, nodes=chain_of(board, Drawing(board)))
    assert ("undrawn", 1) in board.order and not [window for what, window in board.order if what == "drawn"]
    assert files(tmp_path / "run") == whole


def test_a_window_that_cannot_be_conditioned_fails_the_run_and_what_the_server_made_is_kept(
    tmp_path: Path, whole: dict[str, str]
) -> None:
    board = Board()

    def failing(board: Board, node: str, window: int) -> None:
        if (node, window) == ("condition", 2):
            raise InputError("a picture of a skeleton is missing")
        if (node, window) == ("generate", 1):
            board.until(board.begun, "condition", 2)

    board.acts.append(failing)
    with pytest.raises(InputError, match="skeleton"):
        carry_out(tmp_path / "run", 1, board, nodes=chain_of(board, Drawing(board)))
    assert read_log(tmp_path / "run").done("generate") == 2
    carry_out(tmp_path / "run", 1, nodes=chain_of(Board(), Drawing(Board())))
    assert files(tmp_path / "run") == whole


def test_what_is_conditioned_ends_with_an_interruption(tmp_path: Path, whole: dict[str, str]) -> None:
    board = Board()

    def endless(board: Board, node: str, window: int) -> None:
        if (node, window) == ("generate", 1):
            board.until(board.begun, "condition", 2)
            os.kill(os.getpid(), signal.SIGINT)
            assert generate.interrupted.wait(PATIENCE)
            raise Interrupted("told")
        while (node, window) == ("condition", 2):
            threading.Event().wait(0.001)

    generate = Drawing(board)
    board.acts.append(endless)
    with pytest.raises(KeyboardInterrupt), InterruptShield().installed() as interrupts:
        carry_out(tmp_path / "run", 1, nodes=chain_of(board, generate), interrupts=interrupts)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("lane-")]
    carry_out(tmp_path / "run", 1)
    assert files(tmp_path / "run") == whole


def two_passes(path: Path, ahead: int, servers: int, retried: bool = True) -> None:
    """The second generator's source is what the first one made of the window; window 1 is made again when judged."""
    board = Board()
    first, second = Generate(board), Drawing(board, servers)
    second.name = "second"  # type: ignore[misc]
    second.reads = (Read("frames", "window"), Read("masks/object", "read"))
    passes = [Node(first, "first", {"raw": "raw-first"}), Node(second, "second", {"frames": "raw-first"})]
    nodes = Chain([Decode(), Track(board), *passes, Blend(), Sink(board), Score(board)])

    def again(window: Window, commit: Callable[[Done], None]) -> None:
        if window.index != 1:
            return
        with Scratch() as beside:
            asked = dict.fromkeys(("first", "second"), Request(1))
            trial = [executor.run(Task(name, window), asked.get(name), into=beside) for name in nodes.making]
        run.revoke(nodes.making, 1)
        for done in trial:
            commit(done)

    with RunDirectory(path, nodes.layout(HEIGHT, WIDTH), MANIFEST) as run:
        run.keep_all()
        pipeline = Pipeline(Executor(run, nodes, source()), PLAN, Reporter(), keep="all", ahead=ahead)
        executor = pipeline.executor
        pipeline.retry = again if retried else None
        pipeline.process()


@pytest.mark.parametrize("servers", [0, 3])
def test_nothing_is_worked_from_what_a_window_that_is_made_again_makes_void(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, servers: int
) -> None:
    """A run was killed between the two passes of window 2; what goes on with it tries window 1 again."""

    def kill(*_: int) -> None:
        raise Killed

    monkeypatch.setattr(faults, "os", SimpleNamespace(environ=os.environ, getpid=os.getpid, kill=kill))
    for ahead in (0, 2):
        monkeypatch.setattr(faults, "_passed", Counter())
        monkeypatch.setenv("SKATE_FAULT", "second.begin#3")
        with pytest.raises(Killed):
            two_passes(tmp_path / str(ahead), 0, servers, retried=False)
        monkeypatch.delenv("SKATE_FAULT")
        log = read_log(tmp_path / str(ahead))
        assert (log.done("first"), log.done("second")) == (3, 2)
        two_passes(tmp_path / str(ahead), ahead, servers)
    assert files(tmp_path / "2") == files(tmp_path / "0")


class Peek(Stage):
    """Looks at masks of its window in two ways and at the window after's, and at facts of its own window."""

    name = "peek"
    reads = (
        Read("masks/object", "new"),
        Read("masks/object", "read", name="all"),
        Read("masks/object", "new", 1, name="later"),
    )
    facts = ("track",)
    writes = (Port("peeked", "new", (), "int64"),)

    def __init__(self, board: Board) -> None:
        self.board = board

    def process(self, window: Window, inputs: Inputs) -> Output:
        self.board.event(self.board.begun, self.name, window.index).set()
        seen = [int(inputs.arrays[read.key].sum()) for read in self.reads]
        value = inputs.info["track"]["total"] * 31 + seen[0] * 7 + seen[1] * 3 + seen[2]
        return Output({"peeked": np.full(window.new.frames, value)})


class Behind(Stage):
    """Looks at what was blended before its window's final frames."""

    name = "behind"
    reads = (Read("generated", "final"), Read("generated", "context", name="before"))
    writes = (Port("behind", "final", (), "int64"),)

    def process(self, window: Window, inputs: Inputs) -> Output:
        count, total = window.final.frames, int(inputs.arrays["before"].sum())
        assert len(inputs.arrays["generated"]) == count
        return Output({"behind": np.full(count, total)})


def test_what_is_in_memory_is_of_the_frames_and_the_window_that_are_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also while the window after is committed, and when a run goes on: what is before is on the disk alone."""

    def waiting(board: Board, node: str, window: int) -> None:
        if node == "generate" and window < WINDOWS - 1:
            board.until(board.begun, "peek", window)  # with nothing else to do it begins once the next one is tracked

    def nodes(*acts: Act) -> Chain:
        board = Board([*acts])
        first = [Decode(), Track(board), Peek(board), Generate(board), Blend()]
        return Chain([*first, Behind(), Sink(board), Score(board)])

    def kill(*_: int) -> None:
        raise Killed

    carry_out(tmp_path / "0", 0, nodes=nodes(), keep="all")
    monkeypatch.setattr(faults, "os", SimpleNamespace(environ=os.environ, getpid=os.getpid, kill=kill))
    monkeypatch.setattr(faults, "_passed", Counter())
    monkeypatch.setenv("SKATE_FAULT", "track.journal#3")
    with pytest.raises(Killed):
        carry_out(tmp_path / "2", 2, nodes=nodes(waiting), keep="all")
    monkeypatch.delenv("SKATE_FAULT")
    carry_out(tmp_path / "2", 2, nodes=nodes(waiting), keep="all")
    assert files(tmp_path / "2") == files(tmp_path / "0")
    run = RunReader(tmp_path / "2")
    for window in committed_windows(run.log):
        before = int(run.arrays.read("generated", window.read.start, window.final.start).sum())
        assert (run.arrays.read("behind", *window.final) == before).all(), window.index
        total = run.log.infos(window.index)["track"]["total"]
        after = Span(window.new.stop, min(FRAMES, window.new.stop + PLAN.stride))
        seen = [int(run.arrays.read("masks/object", *span).sum()) for span in (window.new, window.read, after)]
        peeked = run.arrays.read("peeked", *window.new)
        assert (peeked == total * 31 + seen[0] * 7 + seen[1] * 3 + seen[2]).all(), window.index


@pytest.mark.parametrize(
    ("point", "wanted"),
    [("blend.begin#2", {"track", "generate", "blend"}), (f"blend.begin#{WINDOWS}", {"blend"}), ("", set())],
)
def test_a_node_has_work_until_it_has_done_the_last_window_of_the_clip(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, point: str, wanted: set[str]
) -> None:
    """All that is decoded may be done and more of the clip to come."""

    def kill(*_: int) -> None:
        raise Killed

    monkeypatch.setattr(faults, "os", SimpleNamespace(environ=os.environ, getpid=os.getpid, kill=kill))
    monkeypatch.setattr(faults, "_passed", Counter())
    monkeypatch.setenv("SKATE_FAULT", point)
    with pytest.raises(Killed) if point else nullcontext():
        carry_out(tmp_path / "run", 0)
    log = read_log(tmp_path / "run")
    assert {name for name in ("track", "generate", "blend") if has_work(log, name, "decode")} == wanted
