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
from storage.errors import RunDirectoryError
from storage.rundir import FORMAT_VERSION, RunDirectory, RunReader, read_log
from stream.engine.chain import Chain
from stream.engine.executor import Executor
from stream.engine.signals import InterruptShield
from stream.engine.windows import WindowPlan
from stream.options.differences import Difference
from stream.pipeline import Pipeline
from stream.progress.events import Reporter
from stream.run import repair
from stream.run.reconcile import made_void
from stream.run.repair import repair_run
from stream.run.settle import settle

FRAMES = 20
PLAN = WindowPlan(5, 2)  # the new frames of the windows are [0, 5), [5, 8), [8, 11), [11, 14), [14, 17), [17, 20)
MANIFEST = {"format": FORMAT_VERSION, "video": {"height": 8, "width": 8}}
SOURCE: Any = SimpleNamespace(read=lambda span: np.arange(*span), close=lambda: None)


@dataclass
class Sum(State):
    total: int = 0


class Numbers(Stage):
    """A clip of `FRAMES` frames, each a number."""

    name = "decode"
    writes = (Port("frames", "new", (), "int64", "until_read"),)

    def process(self, window: Window, inputs: Inputs) -> Output:
        found = np.arange(window.new.start, min(window.new.stop, FRAMES))
        return Output({"frames": found}, {"frames": len(found), "last": window.new.stop >= FRAMES})


class Tracking(Stage):
    """Adds up; from `frame` on it is corrected by so much."""

    name = "track"
    reads = (Read("frames", "new"),)
    writes = (Port("place", "new", (), "int64"),)

    def __init__(self, frame: int, by: int) -> None:
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
    """Of each window, whether its last place and the next window's first are far apart; tells if that one is odd."""

    name = "view"
    reads = (Read("place", "new"), Read("place", "new", 1, name="later"))
    writes = (Port("far", "new", (), "int64"),)

    def process(self, window: Window, inputs: Inputs) -> Output:
        both = [*inputs.arrays["place"][-1:], *inputs.arrays["later"][:1]]
        far = int(max(both) - min(both) > 50)
        return Output({"far": np.full(window.new.frames, far)}, {"odd": int(both[-1] % 2)})


class Making(GeneratorStage):
    """Goes on from what it made of the window before, and looks ahead as well."""

    name = "generate"
    reads = (Read("place", "new"), Read("far", "new", 1), Read("made", "window", -1))
    facts = ("view",)
    writes = (Port("made", "window", (), "int64", "window"),)

    def __init__(self) -> None:
        self.worked: list[int] = []

    def process(self, window: Window, inputs: Inputs, request: Request = Request()) -> Output:  # noqa: B008
        self.worked.append(window.index)
        before, ahead = inputs.arrays["made"][-1:].sum(), inputs.arrays["far"][:1].sum()
        return Output({"made": before + ahead + inputs.info["view"]["odd"] + inputs.arrays["place"]})


class Result(Stage):
    name = "result"
    reads = (Read("made", "window"), Read("far", "new"))
    writes = (Port("result", "new", (), "int64"),)

    def process(self, window: Window, inputs: Inputs) -> Output:
        return Output({"result": inputs.arrays["made"] * (1 + inputs.arrays["far"])})


class Shown(Stage):
    """Depends on what is seen alone."""

    name = "shown"
    reads = (Read("far", "new"),)
    writes = (Port("shown", "new", (), "int64"),)

    def process(self, window: Window, inputs: Inputs) -> Output:
        return Output({"shown": inputs.arrays["far"]})


def correct_at(path: Path, frame: int, by: int) -> list[int]:
    """Go on with the run in this folder with another correction; returns which windows were generated."""
    making = Making()
    chain = Chain([Numbers(), Tracking(frame, by), LooksAhead(), making, Result(), Shown()])

    def begin(run: RunDirectory) -> Executor:
        return Executor(run, chain, SOURCE)

    before = read_log(path) if (path / "run.json").exists() else None
    with RunDirectory(path, chain.layout(8, 8), MANIFEST) as run:
        if before is not None:
            others = [Difference("correct", "track", [], [{"frame": first}]) for first in (frame, FRAMES - 1)]
            void = made_void(others, chain, run.log)
            for window in sorted(set(void.values())):
                run.revoke([name for name in void if void[name] == window], window)
            settle(run, before, begin, chain, InterruptShield(), lambda line: None)
            repair_run(run, begin, lambda line: None, before)
        making.worked.clear()  # what was read again is no window made anew
        Pipeline(begin(run), PLAN, Reporter()).process()
    return making.worked


@pytest.mark.parametrize(
    ("frame", "by", "first"), [(14, 100, 2), (14, 1, 2), (14, 2, 3), (15, 100, 3), (17, 100, 3), (19, 0, 4), (0, 5, 0)]
)
def test_what_looks_ahead_takes_the_window_before_with_it_where_it_comes_out_other(
    tmp_path: Path, frame: int, by: int, first: int
) -> None:
    """The generator is always made again from the window before the corrected one on."""
    whole = list(range(PLAN.count(FRAMES)))
    assert correct_at(tmp_path / "run", FRAMES, 0) == correct_at(tmp_path / "fresh", frame, by) == whole
    assert correct_at(tmp_path / "run", frame, by) == whole[first:]
    found, wanted = (RunReader(tmp_path / name) for name in ("run", "fresh"))
    for name in ("place", "far", "result", "shown"):
        assert np.array_equal(found.arrays.read(name, 0, FRAMES), wanted.arrays.read(name, 0, FRAMES)), name


@pytest.mark.parametrize(
    "lost",
    ["far/c.1 far/c.5", "place/c.3 far/c.2", "state/track/4 state/track/5", "result/c.0 result/c.3", "*/c.* */*/[0-9]"],
)
def test_what_is_lost_of_it_is_made_again(tmp_path: Path, lost: str) -> None:
    correct_at(tmp_path, FRAMES, 0)
    folder = tmp_path / "run.zarr"
    whole = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    gone = {path for name in lost.split() for path in folder.glob(name)}
    for path in gone:
        path.unlink()
    notes: list[str] = []
    chain = Chain([Numbers(), Tracking(FRAMES, 0), LooksAhead(), Making(), Result(), Shown()])
    with RunDirectory(tmp_path, chain.layout(8, 8), MANIFEST) as run:
        repair_run(run, lambda run: Executor(run, chain, SOURCE), notes.append)
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == whole
    assert notes[:-1] == [f"damaged: {path.relative_to(tmp_path)}" for path in sorted(gone)]
    assert notes[-1].startswith("repairing: ") and not (tmp_path / ".repair").exists()


def test_a_long_repair_tells_how_far_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    correct_at(tmp_path, FRAMES, 0)
    for window in (1, 3):
        next((tmp_path / "run.zarr" / "far").glob(f"c.{window}*")).unlink()
    monkeypatch.setattr(repair, "NOTE_SECONDS", 0.0)
    notes: list[str] = []
    chain = Chain([Numbers(), Tracking(FRAMES, 0), LooksAhead(), Making(), Result(), Shown()])
    with RunDirectory(tmp_path, chain.layout(8, 8), MANIFEST) as run:
        repair_run(run, lambda run: Executor(run, chain, SOURCE), notes.append)
    assert notes[-2:] == ["repairing: 0 of 2 are done", "repairing: 1 of 2 are done"]


def test_other_bytes_than_recorded_are_refused(tmp_path: Path) -> None:
    correct_at(tmp_path, FRAMES, 0)
    (tmp_path / "run.zarr/place/c.2").unlink()
    whole = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    chain = Chain([Numbers(), Tracking(9, 1), LooksAhead(), Making(), Result(), Shown()])
    with RunDirectory(tmp_path, chain.layout(8, 8), MANIFEST) as run:
        with pytest.raises(RunDirectoryError, match=r"'track' done again for window 2 gives other bytes .*place/c\.2"):
            repair_run(run, lambda run: Executor(run, chain, SOURCE), lambda line: None)
        run.sweep()
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == whole
