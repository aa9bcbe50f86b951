"""What is made beside a run: from the states before its windows, read by what is made there afterwards alone."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from test_schedule import HEIGHT, MANIFEST, PLAN, WIDTH, Board, Generate, Sum, chain_of, source
from test_windows_anywhere import files

from stages.base import Array, Inputs, Json, Output, Window
from stages.generator import Request
from storage.errors import GeneratorError
from storage.rundir import RunDirectory, RunReader
from stream.engine.chain import Chain
from stream.engine.executor import Executor
from stream.engine.tasks import Done, Scratch, Task
from stream.engine.windows import committed_windows
from stream.pipeline import Pipeline
from stream.progress.events import Reporter


class Counting(Generate):
    """Goes on from its own state too; windows of `others` are another attempt's without being asked for."""

    def __init__(self, others: tuple[int, ...] = ()) -> None:
        super().__init__(Board())
        self.others, self.state, self.fails = others, Sum(1), False

    def process(self, window: Window, inputs: Inputs, request: Request = Request()) -> Output:  # noqa: B008
        raw = super().process(window, inputs, Request(1) if window.index in self.others else request).arrays["raw"]
        raw = raw + np.uint8(self.state.total % 251)
        self.state = Sum(self.state.total * 31 % 1_000_003 + int(raw.sum()) % 1_000)
        if self.fails:
            raise GeneratorError("the server is gone")
        return Output({"raw": raw})

    def set_state(self, values: Mapping[str, Json], arrays: Mapping[str, Array]) -> None:
        self.state = Sum.from_parts(values, arrays)


def kept(path: Path, nodes: Chain) -> None:
    """A finished run of the chain that keeps all."""
    with RunDirectory(path, nodes.layout(HEIGHT, WIDTH), MANIFEST) as run:
        run.keep_all()
        Pipeline(Executor(run, nodes, source()), PLAN, Reporter(), keep="all").process()


def check(done: Done, run: RunReader | RunDirectory) -> None:
    """It is what the run has of this task."""
    made, name, index = done.commit, done.task.node, done.task.window.index
    for array, values in made.arrays.items():
        assert np.array_equal(values, run.arrays.read(array, *made.span)), (name, index, array)
    for array, values in made.blocks.items():
        assert np.array_equal(values, run.arrays.read_block(array, index)), (name, index, array)
    if made.state is not None:
        assert dict(made.state[0]) == dict(run.arrays.read_state(name, index)[0]), (name, index)


def test_what_is_made_beside_a_run_follows_from_what_was_made_there_and_touches_nothing_of_the_run(
    tmp_path: Path,
) -> None:
    nodes = chain_of(Board(), Counting())
    kept(tmp_path / "run", nodes)
    kept(tmp_path / "other", chain_of(Board(), Counting(others=(1, 2))))
    before, other = files(tmp_path / "run"), RunReader(tmp_path / "other")
    assert before != files(tmp_path / "other")
    with RunDirectory(tmp_path / "run", nodes.layout(HEIGHT, WIDTH), MANIFEST) as run:
        windows = committed_windows(run.log)
        with Executor(run, nodes, source()) as executor:
            with Scratch() as scratch:
                for window in windows[1:3]:
                    for name in nodes.making:
                        asked = Request(1) if name == "generate" else None
                        check(executor.run(Task(name, window), asked, into=scratch), other)
                    check(executor.run(Task("track", windows[4])), run)
                for name in nodes.making:
                    check(executor.run(Task(name, windows[3])), run)
                    check(executor.run(Task(name, windows[3]), into=scratch), other)
            for name in nodes.names[1:]:
                check(executor.run(Task(name, windows[2])), run)
    assert files(tmp_path / "run") == before


def test_what_failed_half_way_begins_with_the_state_before_its_window_again(tmp_path: Path) -> None:
    """Its state is in between by then; an attempt is what is asked for, whatever the window was committed as."""
    counting = Counting()
    nodes = chain_of(Board(), counting)
    kept(tmp_path / "run", nodes)
    kept(tmp_path / "other", chain_of(Board(), Counting(others=(2,))))
    with RunDirectory(tmp_path / "run", nodes.layout(HEIGHT, WIDTH), MANIFEST) as run:
        task = Task("generate", committed_windows(run.log)[2])
        with Executor(run, nodes, source()) as executor, Scratch() as scratch:
            for into in (None, scratch):
                counting.fails = True
                with pytest.raises(GeneratorError):
                    executor.run(task, into=into)
                counting.fails = False
                check(executor.run(task, into=into), run)
                check(executor.run(task, Request(1), into=into), RunReader(tmp_path / "other"))


def test_behind_what_takes_the_place_of_a_window_its_state_is_gone_on_from(tmp_path: Path) -> None:
    """Also where the stage has done the run's own window once more in between."""
    nodes = chain_of(Board(), Counting())
    kept(tmp_path / "run", nodes)
    kept(tmp_path / "other", chain_of(Board(), Counting(others=(2,))))
    with RunDirectory(tmp_path / "run", nodes.layout(HEIGHT, WIDTH), MANIFEST) as run:
        windows, other = committed_windows(run.log), RunReader(tmp_path / "other")
        with Executor(run, nodes, source()) as executor, Scratch() as scratch:
            asked = {"generate": Request(1)}
            made = [executor.run(Task(name, windows[2]), asked.get(name), into=scratch) for name in nodes.making]
            check(executor.run(Task("generate", windows[2])), run)
            run.revoke(nodes.making, 2)
            for done in made:
                executor.commit(done)
            for name in nodes.making:
                done = executor.run(Task(name, windows[3]))
                check(done, other)
                executor.commit(done)


@pytest.mark.parametrize("lost", ["state/generate/1", "blocks/overlap/1", ""])
def test_a_window_is_gone_back_to_only_where_all_that_it_works_from_is_kept(tmp_path: Path, lost: str) -> None:
    """Of long runs every tenth state stays, and what is handed from window to window does not."""
    nodes = chain_of(Board(), Counting())
    kept(tmp_path / "run", nodes)
    if lost:
        (tmp_path / "run" / "run.zarr" / lost).unlink()
    with Executor(RunReader(tmp_path / "run"), nodes, source()) as executor:
        assert [executor.can_rewind(nodes.making, index) for index in (0, 1, 2, 3)] == [True, True, not lost, True]
