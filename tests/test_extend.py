"""What is added from outside: stages of a caller's own, put into the chain with `extend`, and another metric."""

import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from _small_run import small_config

from stages.base import PICTURE, Inputs, Output, Port, Read, Stage, Window
from stages.fidelity import kinds
from stages.fidelity.registry import metrics, names_of
from stages.gate import Gated
from stages.preview import PreviewConfig, PreviewStage
from storage.errors import RunDirectoryError, SkateError, UsageError
from stream.engine.chain import Chain, Node
from stream.report.of_run import report_run
from stream.run.lifecycle import resume, start


class Mirror(Stage):
    """The frames as in a mirror, for the generator alone."""

    name = "mirror"
    reads = (Read("frames", "new"),)
    writes = (Port("mirrored", "new", PICTURE, "uint8", "until_read"),)

    def process(self, window: Window, inputs: Inputs) -> Output:
        return Output({"mirrored": np.ascontiguousarray(inputs.arrays["frames"][:, :, ::-1])})


def with_mirror(chain: Chain) -> Chain:
    """The chain whose generator sees the mirrored frames."""
    nodes = [Node(node.stage, bind={"frames": "mirrored"}) if node.name == "generate" else node for node in chain]
    return Chain([*nodes[: chain.names.index("generate")], Mirror(), *nodes[chain.names.index("generate") :]])


def test_frames_made_for_the_generator_and_let_go_of_are_made_again_for_another_one(tmp_path: Path) -> None:
    """`--overwrite` voided the generator alone, and ended in an error: they had been let go of."""
    config, run, other = replace(small_config(), view="full"), tmp_path / "run", tmp_path / "other"
    start(config, run, extend=with_mirror)
    start(replace(config, seed=1), run, overwrite=True, extend=with_mirror)
    start(replace(config, seed=1), other, extend=with_mirror)
    assert (run / "output.mp4").read_bytes() == (other / "output.mp4").read_bytes()


class Own(PreviewStage):
    """A caller's own generator, which paints as ours does."""


class Small(Own):
    """One that works at a size of its own."""

    def size_for(self, width: int, height: int) -> tuple[int, int]:
        return width // 2, height // 2


def test_an_own_generator_in_place_of_ours_looks_through_the_views_too(tmp_path: Path) -> None:
    """It was given whole frames, and what it made of them was taken for pictures of the view."""
    config = replace(small_config(), view=(32.0, 10.0, 144.0, 88.0))

    def extend(own: type[Own]) -> Callable[[Chain], Chain]:
        stage = own(PreviewConfig(dilate=config.dilate))
        return lambda chain: Chain([stage if node.name == "generate" else node for node in chain])

    with pytest.raises(
        UsageError, match=r"'generate' works at \(80, 45\), the run's views are of .*: give --view full"
    ):
        start(config, tmp_path / "own", extend=extend(Small))
    start(config, tmp_path / "ours")
    start(config, tmp_path / "own", extend=extend(Own))
    results = [(tmp_path / name / "output.mp4").read_bytes() for name in ("own", "ours")]
    assert results[0] == results[1]
    with pytest.raises(RunDirectoryError, match="own stage as generate, this chain has one as none"):
        resume(tmp_path / "own")


class Declared(Stage):
    """A stage that only declares."""

    def __init__(self, name: str, reads: tuple[Read, ...] = (), *writes: Port) -> None:
        self.name = name  # type: ignore[misc]
        self.reads, self.writes = reads, writes

    def process(self, window: Window, inputs: Inputs) -> Output:
        raise AssertionError("it is only looked at")


SOURCE = Declared("decode", (), Port("frames", "new", PICTURE))


@pytest.mark.parametrize(
    ("port", "told"),
    [
        (Port("x", "new", (), "float16"), r"stage 'own' writes 'x': dtype: .* \(it is 'float16'\)"),
        (Port("x", "new", (1, 1, 1, 1, 1)), "stage 'own' writes 'x': shape: expected array of length <= 4"),
        (Port("x", "new", (1 << 16, 1 << 15)), "stage 'own' writes 'x': .* is over"),
        (Port("x", "all"), "stage 'own', Port 'x': span 'all' is none of new, final, window"),  # type: ignore[arg-type]
        (Port("x", "new", life="keep"), "Port 'x': life 'keep' is none of kept,"),  # type: ignore[arg-type]
        (Port("own/x", "window"), "'own/x' is no name for an array of a window's own: small letters"),
    ],
)
def test_an_array_that_no_run_can_hold_is_refused_before_anything_is_written(port: Port, told: str) -> None:
    """A dtype that is not stored ended in an error of a library, and left a journal that was called damaged."""
    with pytest.raises(SkateError, match=told):
        Chain([SOURCE, Declared("own", (), port)]).layout(64, 96)


@pytest.mark.parametrize(
    ("read", "told"),
    [
        (Read("frames", "now"), "Read 'frames': span 'now' is none of new, read,"),  # type: ignore[arg-type]
        (Read("frames", "new", -2), "reads 'frames' of window -2: of those before, only the last one"),
        (Read("frames", "window"), "reads 'frames' as 'window', and it is written as 'new'"),
        (Read("blended", "new"), "reads 'blended' as 'new', and it is written as 'final'"),
    ],
)
def test_a_stage_that_reads_other_frames_than_are_written_is_refused(read: Read, told: str) -> None:
    blend = Declared("blend", (), Port("blended", "final", PICTURE))
    with pytest.raises(UsageError, match=f"stage 'own'.*{told}"):
        Chain([SOURCE, blend, Declared("own", (read,))])


def test_a_stage_whose_name_no_journal_takes_is_refused() -> None:
    """Its first commit left a journal that was called damaged, behind all the work before it."""
    with pytest.raises(UsageError, match="'Own' is no name for a stage: small letters"):
        Chain([SOURCE, Declared("Own")])


@pytest.fixture
def folder_of_metrics(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder whose modules have metrics too, once what is known is forgotten."""
    folder = tmp_path / "kinds"
    folder.mkdir()
    monkeypatch.setattr(kinds, "__path__", [*kinds.__path__, str(folder)])
    yield folder
    sys.modules.pop(f"{kinds.__name__}.added", None)
    metrics.cache_clear()


def test_a_run_is_reported_the_same_when_there_is_another_metric(tmp_path: Path, folder_of_metrics: Path) -> None:
    """Its own were taken by their places among those of now: `skate report` ended in an IndexError."""
    run = tmp_path / "run"
    start(replace(small_config(), gate=(Gated("clipping", 0.001),)), run)
    summary, picture = run / "report" / "summary.json", run / "report" / "moment.png"
    before = json.loads(summary.read_text()), picture.is_file()
    (folder_of_metrics / "added.py").write_text(
        "from stages.fidelity.metric import Metric\n"
        'METRICS = (Metric("added", "object", "", "nothing", 0.5, True, lambda source, result: 0.0),)\n'
    )
    metrics.cache_clear()
    assert names_of("object")[0] == "added", "the others have other places now"
    report_run(run)
    assert (json.loads(summary.read_text()), picture.is_file()) == before
