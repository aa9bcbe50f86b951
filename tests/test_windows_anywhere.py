"""Shots: windows start at any frame and never span a cut; killed, resumed or repaired gives the same bytes."""

import hashlib
import os
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from stages.base import MASK, PICTURE, Array, Inputs, Output, Port, Read, Stage, Window
from stages.blend import BlendConfig, BlendStage
from stages.composite import CompositeConfig, MatchingCompositeStage
from stages.preview import PreviewConfig, PreviewStage
from storage import faults
from storage.rundir import FORMAT_VERSION, RunDirectory, RunReader, read_log
from storage.spans import Span
from stream.engine.chain import Chain
from stream.engine.executor import Executor
from stream.engine.recent import RecentArrays
from stream.engine.tasks import Task
from stream.engine.windows import WindowPlan, committed_windows
from stream.pipeline import Pipeline
from stream.progress.events import Reporter
from stream.run.repair import repair_run

FRAMES, HEIGHT, WIDTH = 216, 24, 32
CUTS = (121, 200)
PLAN = WindowPlan(65, 8)
MANIFEST = {"format": FORMAT_VERSION, "video": {"height": HEIGHT, "width": WIDTH}}
CLIP: Array = np.random.default_rng(1).integers(0, 256, (FRAMES, HEIGHT, WIDTH, 3), dtype=np.uint8)


PICTURES = Port("result", "final", PICTURE)


class Killed(BaseException):
    """In place of SIGKILL."""


class Source(Stage):
    """The clip, with a board that moves."""

    name = "decode"
    writes = (
        Port("frames", "new", PICTURE, "uint8", "until_read"),
        Port("masks/object", "new", MASK, "bool"),
        Port("masks/person", "new", MASK, "bool"),
        Port("keypoints/person", "new", (133, 3), "float32"),
    )

    def process(self, window: Window, inputs: Inputs) -> Output:
        stop = min([*(cut for cut in CUTS if window.new.start < cut), FRAMES, window.new.stop])
        frames = CLIP[window.new.start : stop]
        objects, persons = (np.zeros(frames.shape[:3], bool) for _ in range(2))
        for row, index in enumerate(range(window.new.start, window.new.start + len(frames))):
            objects[row, 16:20, 2 + index // 12 : 12 + index // 12] = True
            persons[row, 4:16, 5 + index // 12 : 9 + index // 12] = True
        keypoints = np.zeros((len(frames), 133, 3), np.float32)
        arrays: dict[str, Array] = {"frames": frames, "masks/object": objects, "masks/person": persons}
        info = {"frames": len(frames), "last": stop == FRAMES, "cut": stop in CUTS}
        return Output({**arrays, "keypoints/person": keypoints}, info)


class Neighbours(Stage):
    """Reads the windows before and after."""

    name = "neighbours"
    reads = (
        Read("result", "final", -1, name="before"),
        Read("result", "final", 1, name="after"),
        Read("result", "context", -1, name="context"),
    )

    def process(self, window: Window, inputs: Inputs) -> Output:
        raise NotImplementedError


class Result(Stage):
    """Keeps what is blended."""

    name = "result"
    reads = (Read("generated", "final"),)
    writes = (Port("result", "final", PICTURE),)

    def process(self, window: Window, inputs: Inputs) -> Output:
        return Output({"result": inputs.arrays["generated"]})


def chain() -> Chain:
    preview, composite = PreviewStage(PreviewConfig()), MatchingCompositeStage(CompositeConfig(dilate=(2, 2)))
    return Chain([Source(), preview, composite, BlendStage(BlendConfig(PLAN.window, PLAN.overlap)), Result()])


def source() -> Any:
    return SimpleNamespace(read=lambda span: CLIP[slice(*span)], close=lambda: None)


def carry_out(path: Path) -> None:
    """Begin the run, or go on with it."""
    nodes = chain()
    with RunDirectory(path, nodes.layout(HEIGHT, WIDTH), MANIFEST) as run:
        Pipeline(Executor(run, nodes, source()), PLAN, Reporter()).process()


def files(path: Path) -> dict[str, str]:
    """The digest of every object."""
    found = sorted(file for file in (path / "run.zarr").rglob("*") if file.is_file() and file.name != "zarr.json")
    return {str(file.relative_to(path)): hashlib.sha256(file.read_bytes()).hexdigest() for file in found}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    path = tmp_path_factory.mktemp("anywhere") / "run"
    carry_out(path)
    return path, files(path)


def test_the_journal_says_which_frames_each_window_has(whole: tuple[Path, dict[str, str]]) -> None:
    log = read_log(whole[0])
    found = committed_windows(log)
    assert found == list(PLAN.windows(FRAMES, CUTS))
    assert [tuple(window.read) for window in found] == [(0, 65), (56, 121), (121, 186), (135, 200), (200, 216)]
    finals = [(0, 57), (57, 121), (121, 178), (178, 200), (200, 216)]
    assert [tuple(span) for _, span in sorted(log.spans("result").items())] == finals
    assert [(window.shot, window.shot_start) for window in found] == [(0, 0), (0, 0), (1, 121), (1, 121), (2, 200)]
    result = RunReader(whole[0]).arrays.read("result", 0, FRAMES)
    changed = (result != CLIP).any(axis=-1)
    assert changed.any(axis=(1, 2)).all(), "every frame is made"
    assert not changed[:, :2].any(), "and nothing far from the masks"


def test_nothing_is_read_across_a_cut(whole: tuple[Path, dict[str, str]]) -> None:
    """Neither colours nor frames: a node is given nothing of the windows of another shot."""
    colours = [record["info"]["colour"] for record in read_log(whole[0]).of("composite")]
    assert [colour["overlap_pixels"] > 0 for colour in colours] == [False, True, False, True, False]
    assert colours[2]["gain"] == [1.0, 1.0, 1.0]
    known = list(PLAN.windows(FRAMES, CUTS))
    nodes = Chain([Source(), Neighbours()], given=[PICTURES])
    with Executor(RunReader(whole[0]), nodes, source()) as executor:
        for index, window in enumerate(known):
            found = executor.inputs(Task("neighbours", window)).arrays
            before = 0 if window.begins_shot else known[index - 1].final.frames
            after = 0 if window.ends_shot else known[index + 1].final.frames
            assert (len(found["before"]), len(found["after"])) == (before, after)
            done = RunReader(whole[0]).arrays.read("result", window.read.start, window.final.start)
            assert np.array_equal(found["context"], done), "what a shifted last window sees of what is blended"


def points() -> list[str]:
    nodes = chain().names
    each = [f"{name}.{point}" for name in nodes for point in ("begin", "arrays", "state", "journal")]
    return [
        *(f"{point}#2" for point in each),
        "journal.before#9",
        "journal.written#7",
        "journal.after#8",
        "drop.journal",
    ]


def test_killed_anywhere_and_resumed_it_is_the_same(
    tmp_path: Path, whole: tuple[Path, dict[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def kill(*_: int) -> None:
        raise Killed

    monkeypatch.setattr(faults, "os", SimpleNamespace(environ=os.environ, getpid=os.getpid, kill=kill))
    for point in points():
        monkeypatch.setattr(faults, "_passed", Counter())
        path = tmp_path / point.replace("#", "-")
        monkeypatch.setenv("SKATE_FAULT", point)
        with pytest.raises(Killed):
            carry_out(path)
        monkeypatch.delenv("SKATE_FAULT")
        carry_out(path)
        assert files(path) == whole[1], point


def test_repaired_it_is_the_same(tmp_path: Path, whole: tuple[Path, dict[str, str]]) -> None:
    """All that was dropped is made again: frames, what was made, composited and blended."""
    path = tmp_path / "run"
    carry_out(path)
    lost = [file for file in whole[1] if file.startswith(("run.zarr/result/c.1", "run.zarr/masks/object/c.2"))]
    for file in lost:
        (path / file).unlink()
    nodes = chain()
    with RunDirectory(path, nodes.layout(HEIGHT, WIDTH), MANIFEST) as run:
        damage = repair_run(run, lambda run: Executor(run, nodes, source()), lambda line: None)
    assert len(damage.keys) == len(lost) == 2
    assert files(path) == whole[1]


def test_what_is_in_memory_is_given_only_where_it_is_whole() -> None:
    """A repair does single windows again: what lies between two of them is not there."""
    clip, held = np.arange(20), RecentArrays()
    steps = [(5, 9, 5, 5), (9, 12, 3, 5), (12, 14, 8, 8), (16, 18, 10, 16), (18, 20, 18, 18)]
    for start, stop, keep_from, first in steps:
        held.add("frames", start, clip[start:stop], keep_from)
        for span in (Span(a, b) for b in range(21) for a in range(b)):
            found = held.get("frames", span)
            assert (found is not None) == (first <= span.start and span.stop <= stop), span
            if found is not None:
                assert np.array_equal(found, clip[slice(*span)]) and not found.flags.writeable
    assert held.get("masks", Span(18, 20)) is None
