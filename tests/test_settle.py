"""A node that looks ahead into what is done anew: windows before it are made again only where it comes out other."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from stages.base import Array, Inputs, Json, Output, Port, Read, Stage, State, Window
from stages.generator import GeneratorStage, Request
from storage.rundir import FORMAT_VERSION, RunDirectory, RunReader, read_log
from stream.engine.chain import Chain
from stream.engine.executor import Executor
from stream.engine.signals import InterruptShield
from stream.engine.windows import WindowPlan
from stream.options.differences import Difference
from stream.pipeline import Pipeline
from stream.progress.events import Reporter
from stream.run.reconcile import made_void
from stream.run.repair import repair_run
from stream.run.settle import settle


@dataclass
class Sum(State):
    total: int = 0


class Numbers(Stage):
    """A clip of 14 frames, each a number."""

    name = "decode"
    writes = (Port("frames", "new", (), "int64", "until_read"),)

    def process(self, window: Window, inputs: Inputs) -> Output:
        found = np.arange(window.new.start, min(window.new.stop, 14))
        return Output({"frames": found}, {"frames": len(found), "last": window.new.stop >= 14})


class Tracking(Stage):
    """Adds up; from `frame` on it is corrected by so much."""

    name = "track"
    reads = (Read("frames", "new"),)
    writes = (Port("place", "new", (), "int64"),)

    def __init__(self, frame: int = 14, by: int = 0) -> None:
        self.frame, self.by, self.state = frame, by, Sum()

    def process(self, window: Window, inputs: Inputs) -> Output:
        frames = inputs.arrays["frames"] + self.by * (np.arange(*window.new) == self.frame)
        found = self.state.total + np.cumsum(frames)
        self.state = Sum(int(found[-1]))
        return Output({"place": found})

    def get_state(self) -> Sum:
        return Sum(self.state.total)

    def set_state(self, values: Mapping[str, Json], arrays: Mapping[str, Array]) -> None:
        self.state = Sum.from_parts(values, arrays)


class LooksAhead(Stage):
    """Of each window, whether its last frame's place and the next window's first one are more than 50 apart."""

    name = "view"
    reads = (Read("place", "new"), Read("place", "new", 1, name="later"))
    writes = (Port("far", "new", (), "int64"),)

    def process(self, window: Window, inputs: Inputs) -> Output:
        both = [*inputs.arrays["place"][-1:], *inputs.arrays["later"][:1]]
        return Output({"far": np.full(window.new.frames, int(max(both) - min(both) > 50))}, {"looked": len(both)})


class Making(GeneratorStage):
    """Goes on from what it made of the window before."""

    name = "generate"
    reads = (Read("place", "new"), Read("far", "new"), Read("made", "window", -1))
    writes = (Port("made", "window", (), "int64", "window"),)

    def __init__(self) -> None:
        self.worked: list[int] = []

    def process(self, window: Window, inputs: Inputs, request: Request = Request()) -> Output:  # noqa: B008
        self.worked.append(window.index)
        before = inputs.arrays["made"][-1:].sum()
        return Output({"made": before + inputs.arrays["place"] * (1 + inputs.arrays["far"])})


class Result(Stage):
    name = "result"
    reads = (Read("made", "window"),)
    writes = (Port("result", "new", (), "int64"),)

    def process(self, window: Window, inputs: Inputs) -> Output:
        return Output({"result": inputs.arrays["made"]})


def correct_at(path: Path, frame: int, by: int) -> list[int]:
    """Go on with the run in this folder with another correction; returns which windows were generated."""
    plan, making = WindowPlan(5, 2), Making()
    chain = Chain([Numbers(), Tracking(frame, by), LooksAhead(), making, Result()])
    source: Any = SimpleNamespace(read=lambda span: np.arange(*span), close=lambda: None)
    manifest = {"format": FORMAT_VERSION, "video": {"height": 8, "width": 8}}

    def begin(run: RunDirectory) -> Executor:
        return Executor(run, chain, source)

    before = read_log(path) if path.exists() else None
    with RunDirectory(path, chain.layout(8, 8), manifest) as run:
        if before is not None:
            void = made_void([Difference("correct", "track", [], [{"frame": frame}])], chain, run.log)
            for window in sorted(set(void.values())):
                run.revoke([name for name in void if void[name] == window], window)
            settle(run, before, begin, chain, InterruptShield(), lambda line: None)
            repair_run(run, begin, lambda line: None, before)
        making.worked.clear()  # what was read again is no window made anew
        Pipeline(begin(run), plan, Reporter()).process()
    return making.worked


@pytest.mark.parametrize(
    ("frame", "by", "made"),
    [(8, 100, [1, 2, 3]), (8, 1, [2, 3]), (9, 100, [2, 3]), (13, 0, [3]), (11, 100, [2, 3]), (0, 5, [0, 1, 2, 3])],
)
def test_what_looks_ahead_takes_the_window_before_with_it_where_it_comes_out_other(
    tmp_path: Path, frame: int, by: int, made: list[int]
) -> None:
    """The new frames of its windows are [0, 5), [5, 8), [8, 11), [11, 14)."""
    assert correct_at(tmp_path / "run", 14, 0) == [0, 1, 2, 3]
    assert correct_at(tmp_path / "fresh", frame, by) == [0, 1, 2, 3]
    assert correct_at(tmp_path / "run", frame, by) == made
    found, wanted = (RunReader(tmp_path / name) for name in ("run", "fresh"))
    for name in ("place", "far", "result"):
        assert np.array_equal(found.arrays.read(name, 0, 14), wanted.arrays.read(name, 0, 14)), name
