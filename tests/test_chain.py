"""The chain as data: what it refuses, what it knows, a stage from outside, one class twice, one that reads ahead."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from _crash import differing, results, shared_case
from _zygote import Ended, shared_zygote

from stages.base import PICTURE, Array, Inputs, Output, Port, Read, Stage, Window
from stages.blend import BlendConfig, BlendStage
from stages.composite import CompositeConfig, CompositeStage
from stages.preview import PreviewConfig, PreviewStage
from storage.errors import RunDirectoryError, SkateError, UsageError
from storage.rundir import FORMAT_VERSION, RunDirectory, RunReader, read_log
from stream.demo import DemoConfig, Scene
from stream.engine.chain import Chain, Node
from stream.engine.executor import Executor
from stream.engine.windows import WindowPlan
from stream.pipeline import Pipeline
from stream.progress.events import Reporter

CLIP = DemoConfig(frames=14, width=96, height=64, seed=3)
PLAN = WindowPlan(5, 2)
HOOK: tuple[str, dict[str, Any]] = ("_brightness:install", {})
MANIFEST = {"format": FORMAT_VERSION, "video": {"height": CLIP.height, "width": CLIP.width}}


class Named(Stage):
    """A stage that only declares."""

    def __init__(self, name: str, reads: tuple[Read, ...] = (), *writes: str, facts: tuple[str, ...] = ()) -> None:
        self.name = name  # type: ignore[misc]
        self.reads, self.facts = reads, facts
        self.writes = tuple(Port(array, "new") for array in writes)

    def process(self, window: Window, inputs: Inputs) -> Output:
        raise AssertionError("it is only looked at")


def test_a_chain_that_cannot_be_is_refused_by_name() -> None:
    source = Named("decode", (), "frames")
    with pytest.raises(UsageError, match="'pose' reads 'depth', which no stage before it writes"):
        Chain([source, Named("pose", (Read("depth", "new"),))])
    with pytest.raises(UsageError, match="'early' reads 'late', which no stage before it writes"):
        Chain([source, Named("early", (Read("late", "new"),)), Named("later", (), "late")])
    with pytest.raises(UsageError, match="'decode' and 'pose' both write 'frames'"):
        Chain([source, Named("pose", (), "frames")])
    with pytest.raises(UsageError, match="one name: decode"):
        Chain([source, Named("decode")])
    with pytest.raises(UsageError, match="facts of 'track', which does not work before it"):
        Chain([source, Named("pose", facts=("track",)), Named("track")])
    Chain([source, Named("early", (Read("late", "new", -1),)), Named("later", (), "late")])


def test_what_depends_on_what() -> None:
    last = Named("e", facts=("c",))
    last.of_variation = True
    chain = Chain(
        [
            Named("decode", (), "frames"),
            Named("a", (Read("frames", "new"),), "one"),
            Named("b", (Read("frames", "new"),), "two"),
            Named("c", (Read("one", "new", 1),), "three"),
            Named("d", (Read("three", "new"), Read("two", "new", -1)), facts=("a",)),
            last,
        ]
    )
    assert chain.behind("a") == ("c", "d", "e") and chain.behind("b") == () and chain.behind("c") == ("d", "e")
    assert chain.behind("decode") == ("a", "b", "c", "d", "e")
    assert [chain.lag(name) for name in chain.names] == [0, 0, 0, 1, 1, 1]
    assert chain.tracking == ("decode", "a", "b", "c", "d"), "another variation has all but the last in common"
    assert chain.last_reader("two") == ("d", 1) and chain.last_reader("three") == ("d", 0)


def skate(arguments: list[str], **given: Any) -> Ended:
    ended = shared_zygote().run(arguments, hook=HOOK, **given)
    assert "Traceback" not in ended.output, ended.output
    return ended


def test_a_stage_from_outside_is_run_killed_resumed_repaired_dropped_and_shown(tmp_path: Path) -> None:
    case, _, plain = shared_case()
    whole, run = tmp_path / "whole", tmp_path / "run"
    assert skate(case.run(whole)).code in (0, 1)
    assert skate(case.run(run), fault="brightness.state#3").code == -9
    assert skate(["resume", str(run)]).code in (0, 1)
    wanted = results(whole)
    assert differing(results(run), wanted) == []
    assert wanted["output.mp4"] == plain["output.mp4"]

    reader = RunReader(run)
    means = reader.arrays.read("brightness/mean", 0, 21)
    assert means.shape == (21, 3) and (means[1:] != means[:-1]).any()
    with pytest.raises(RunDirectoryError):
        reader.arrays.read("dimmed", 0, 1)
    assert reader.log.dropped["dimmed"] == 21

    for key in ("brightness/mean/c.2.0", "state/brightness/0"):
        (run / "run.zarr" / key).unlink()
    assert shared_zygote().run(["status", str(run), "--verify"]).code == 6
    assert skate(["resume", str(run)]).code in (0, 1)
    assert differing(results(run), wanted) == []
    status = json.loads(shared_zygote().run(["status", str(run), "--json", "--verify"]).output)
    assert status["done"]["brightness"] == 7 and status["damaged"] == []
    assert "brightness" in (run / "report" / "index.html").read_text()


def test_a_node_that_is_there_no_more_is_void_and_nothing_before_it_is_done_again(tmp_path: Path) -> None:
    case, _, _ = shared_case()
    run = tmp_path / "run"
    assert skate(case.run(run)).code in (0, 1)
    ended = shared_zygote().run(case.run(run, "--seed", "4", "--overwrite"))
    assert ended.code in (0, 1), ended.output
    assert read_log(run).done("brightness") == 0
    assert not any(line.startswith(("decode ", "pose ", "track ")) for line in ended.output.splitlines())


class Scenery(Stage):
    """The demo's frames and true masks."""

    name = "decode"
    writes = (
        Port("times", "new", (), "float64"),
        Port("frames", "new", PICTURE, "uint8", "until_read"),
        Port("masks/object", "new", ("height", "width"), "bool"),
        Port("masks/person", "new", ("height", "width"), "bool"),
        Port("keypoints/person", "new", (133, 3), "float32"),
    )

    def __init__(self, cuts: tuple[int, ...] = ()) -> None:
        self.cuts = cuts

    def process(self, window: Window, inputs: Inputs) -> Output:
        scene = Scene(CLIP)
        end = next((cut for cut in self.cuts if cut > window.shot_start), CLIP.frames)
        span = range(window.new.start, min(window.new.stop, end))
        seen = [scene.frame(t) for t in span]
        arrays: dict[str, Array] = {
            "times": np.array(span) / 24.0,
            "frames": np.stack([frame.image for frame in seen]),
            "masks/object": np.stack([frame.object_mask for frame in seen]),
            "masks/person": np.stack([frame.person_mask for frame in seen]),
            "keypoints/person": np.zeros((len(seen), 133, 3), np.float32),
        }
        return Output(arrays, {"frames": len(seen), "last": span.stop == CLIP.frames, "cut": span.stop in self.cuts})


def carried_out(path: Path, chain: Chain) -> RunReader:
    """The run of a chain over the scene, everything kept."""
    source: Any = SimpleNamespace(close=lambda: None)
    with RunDirectory(path, chain.layout(CLIP.height, CLIP.width), MANIFEST) as run:
        source.read = lambda span: run.arrays.read("frames", *span)
        Pipeline(Executor(run, chain, source), PLAN, Reporter(), keep="all").process()
    return RunReader(path)


def preview(reskin: str) -> PreviewStage:
    return PreviewStage(PreviewConfig(reskin))


def composite(reskin: str) -> CompositeStage:
    return CompositeStage(CompositeConfig(reskin))


class Bent(Stage):
    """A stage from outside that does not keep to what it declares."""

    name = "bent"
    reads = (Read("times", "new"),)
    writes = (Port("bent/means", "new", (), "float32"),)

    def __init__(self, arrays: dict[str, Array], info: dict[str, Any] | None = None) -> None:
        self.arrays, self.info = arrays, info or {}

    def process(self, window: Window, inputs: Inputs) -> Output:
        return Output(self.arrays, self.info)


@pytest.mark.parametrize(
    ("arrays", "told"),
    [
        ({}, "'bent/means' is missing"),
        ({"bent/means": np.zeros(5, np.float32), "more": np.zeros(5)}, "'more' is none of its ports"),
        ({"bent/means": np.zeros(4, np.float32)}, "'bent/means' has 4 frames, not 5"),
        ({"bent/means": np.zeros(5)}, r"'bent/means' has entries of \(\) float64, not \(\) float32"),
        ({"bent/means": np.zeros((5, 2), np.float32)}, r"'bent/means' has entries of \(2,\) float32, not \(\) float32"),
        ({"bent/means": [0.0] * 5}, "'bent/means' is a list, not an array"),
    ],
)
def test_a_stage_that_returns_something_else_is_named(tmp_path: Path, arrays: dict[str, Array], told: str) -> None:
    with pytest.raises(SkateError, match=f"stage 'bent' does not return what it declares for window 0: {told}"):
        carried_out(tmp_path / "run", Chain([Scenery(), Bent(arrays)]))
    assert read_log(tmp_path / "run").done("bent") == 0, "nothing of it counts"


@pytest.mark.parametrize(
    "info", [{"mean": float("nan")}, {"mean": np.float32(1)}, {"iou": "high"}, {"iou": [0.5]}, {"segment": "../x.mp4"}]
)
def test_facts_that_could_not_be_read_again_are_refused(tmp_path: Path, info: dict[str, Any]) -> None:
    bent = Bent({"bent/means": np.zeros(5, np.float32)}, info)
    with pytest.raises(SkateError, match="stage 'bent': its facts about window 0: "):
        carried_out(tmp_path / "run", Chain([Scenery(), bent]))
    assert read_log(tmp_path / "run").done("bent") == 0


def test_a_stage_is_told_of_a_window_when_it_is_durable(tmp_path: Path) -> None:
    told: list[tuple[int, bool]] = []

    class Told(Bent):
        def process(self, window: Window, inputs: Inputs) -> Output:
            return Output({"bent/means": np.zeros(window.new.frames, np.float32)})

        def committed(self, window: Window) -> None:
            log = read_log(tmp_path / "run")
            told.append((window.index, log.done("bent") > window.index))

    carried_out(tmp_path / "run", Chain([Scenery(), Told({})]))
    assert told == [(window.index, True) for window in PLAN.windows(CLIP.frames)]


def test_a_commit_has_one_span_of_frames() -> None:
    both = Named("both")
    both.writes = (Port("a", "new"), Port("b", "final"))
    with pytest.raises(UsageError, match="writes both new and final frames"):
        Chain([both])


def test_what_is_dropped_and_how_long_what_is_kept_by_window_stays() -> None:
    """By array: the node after whose commit it goes, of how many windows later, and whether `--keep` leaves it."""
    maker, blend = preview("both"), BlendStage(BlendConfig(PLAN.window, PLAN.overlap))
    chain = Chain([Scenery(), maker, composite("both"), blend])
    assert chain.droppable("none") == ("frames", "generated") and chain.droppable("frames") == ("generated",)
    assert chain.droppable("all") == ()

    def kept() -> dict[str, tuple[str | None, int, bool]]:
        blocks = chain.layout(CLIP.height, CLIP.width).blocks
        return {name: (block.until, block.after, block.passing) for name, block in blocks.items()}

    assert kept() == {"made": ("composite", 0, True), "raw": ("blend", 0, False), "overlap": ("blend", 2, False)}
    maker.reads = (*maker.reads, Read("raw", "window", -1))  # type: ignore[assignment]
    assert kept()["raw"] == ("blend", 2, False), "a window made again is blended anew"


def test_the_same_generator_stands_twice_under_two_names(tmp_path: Path) -> None:
    blend = BlendStage(BlendConfig(PLAN.window, PLAN.overlap))
    first = {"generate": "generate-person", "made": "made-person", "raw": "raw-person"}
    then = {"generate": "generate-board", "made": "made-board", "frames": "raw-person"}
    person = [Node(preview("person"), "generate-person", first), Node(composite("person"), "composite-person", first)]
    board = [Node(preview("object"), "generate-board", then), Node(composite("object"), "composite-board", then)]
    chain = Chain([Scenery(), *person, *board, blend])
    assert chain.making == (*chain.picturing, "blend")
    assert chain.picturing == ("generate-person", "composite-person", "generate-board", "composite-board")
    twice = carried_out(tmp_path / "twice", chain).arrays.read("generated", 0, CLIP.frames)
    alone = carried_out(tmp_path / "person", Chain([Scenery(), preview("person"), composite("person"), blend]))
    frames, persons, objects = (
        alone.arrays.read(name, 0, CLIP.frames) for name in ("frames", "masks/person", "masks/object")
    )
    before = alone.arrays.read("generated", 0, CLIP.frames)
    assert (twice != before).any() and (twice[objects] != frames[objects]).any()
    only_person = persons & ~objects
    assert (before[only_person] != frames[only_person]).any()
    changed = (twice != before).any(axis=-1)
    assert not (changed & ~objects)[:, : CLIP.height // 3].any(), "the second only changes what is around the board"


class Ahead(Stage):
    """Of each window, a pixel of the next one's first frame; 255 behind the last."""

    name = "ahead"
    reads = (Read("frames", "new"), Read("frames", "new", 1, name="later"))
    writes = (Port("next", "new", (), "uint8"),)

    def process(self, window: Window, inputs: Inputs) -> Output:
        later = inputs.arrays["later"]
        assert len(inputs.arrays["frames"]) == window.new.frames
        return Output({"next": np.full(window.new.frames, later[0, 0, 0, 0] if len(later) else 255, np.uint8)})


def test_a_node_that_reads_the_window_after_works_one_behind(tmp_path: Path) -> None:
    blend = BlendStage(BlendConfig(PLAN.window, PLAN.overlap))
    chain = Chain([Scenery(), Ahead(), preview("both"), composite("both"), blend])
    assert [chain.lag(name) for name in chain.names] == [0, 1, 0, 0, 0]
    reader = carried_out(tmp_path / "run", chain)
    found, frames = reader.arrays.read("next", 0, CLIP.frames), reader.arrays.read("frames", 0, CLIP.frames)
    for window in PLAN.windows(CLIP.frames):
        wanted = 255 if window.last else frames[window.new.stop, 0, 0, 0]
        assert (found[slice(*window.new)] == wanted).all(), window.index
    order = [
        (record["stage"], record["window"]) for record in sorted(reader.log.commits.values(), key=lambda r: r["n"])
    ]
    assert order.index(("decode", 1)) < order.index(("ahead", 0)) < order.index(("generate", 0))


class FarAhead(Stage):
    """Of each window, how many frames it is shown of each of the next three."""

    name = "far"
    reads = tuple(Read("frames", "new", later, name=f"frames/{later}") for later in (1, 2, 3))
    writes = (Port("shown", "new", (3,), "uint8"),)

    def process(self, window: Window, inputs: Inputs) -> Output:
        shown = [len(inputs.arrays[f"frames/{later}"]) for later in (1, 2, 3)]
        return Output({"shown": np.repeat(np.array([shown], np.uint8), window.new.frames, 0)})


@pytest.mark.parametrize("cuts", [(), (9,)])
def test_a_node_that_reads_several_windows_ahead_sees_its_shot_to_its_end(
    tmp_path: Path, cuts: tuple[int, ...]
) -> None:
    blend = BlendStage(BlendConfig(PLAN.window, PLAN.overlap))
    chain = Chain([Scenery(cuts), FarAhead(), preview("both"), composite("both"), blend])
    assert chain.lag("far") == 3
    found = carried_out(tmp_path / "run", chain).arrays.read("shown", 0, CLIP.frames)
    windows = list(PLAN.windows(CLIP.frames, cuts))
    for window in windows:
        later = [windows[window.index + n : window.index + n + 1] for n in (1, 2, 3)]
        wanted = [w[0].new.frames if w and w[0].shot == window.shot else 0 for w in later]
        assert (found[slice(*window.new)] == wanted).all(), (window.index, found[window.new.start], wanted)
