"""`skate redo` makes its windows beside the run: until all of them are made the result is what it was."""

import hashlib
import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from _crash import Case, differing, make_case, results
from _server_chaos import comfy_case
from _small_run import FRAMES, small_run
from _zygote import Ended, shared_zygote
from fake_comfy import FakeComfy, Faults, Paint

from storage.errors import Interrupted
from storage.rundir import read_log
from stream.engine.chain import Chain
from stream.engine.signals import Cancel
from stream.options.recorded import read_run
from stream.run.redo import redo as redo_windows


def skate(arguments: list[str], **given: object) -> Ended:
    ended = shared_zygote().run(arguments, **given)  # type: ignore[arg-type]
    assert "Traceback" not in ended.output, ended.output
    return ended


def redo(run: Path, *more: str, **given: object) -> Ended:
    return skate(["redo", str(run), "--windows", "1,2", "--seed", "9", *more], **given)


def tree(path: Path, *without: str) -> dict[str, str]:
    """Digests of every file of a run; the lock is no part of it."""
    files = [file for file in path.rglob("*") if file.is_file() and file.name not in (".lock", *without)]
    return {str(file.relative_to(path)): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


def copy(run: Path, folder: Path) -> Path:
    return Path(shutil.copytree(run, folder, ignore=shutil.ignore_patterns(".lock")))


@dataclass(frozen=True)
class Made:
    """A finished run of 4 windows on a server that is there no more, and the results of the same run redone."""

    case: Case
    run: Path
    redone: dict[str, str]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Made]:
    folder = tmp_path_factory.mktemp("redo")
    case = comfy_case(make_case(folder, frames=13))
    case = Case(case.video, (*case.options, "--keep", "all"))
    with FakeComfy() as server:
        assert skate(case.run(folder / "run", "--server", server.address)).code in (0, 1)
        run = copy(folder / "run", folder / "whole")
        rename_server(run, server.address)
        assert redo(run).code in (0, 1)
    yield Made(case, folder / "run", results(run))


def rename_server(run: Path, address: str) -> None:
    """Let the run go on with another server, as `skate run` with the same options would."""
    from storage.rundir import read_manifest, write_manifest

    manifest = read_manifest(run)
    write_manifest(run, {**manifest, "config": {**manifest["config"], "server": [address]}})


def test_without_a_server_nothing_happens(made: Made, tmp_path: Path) -> None:
    run = copy(made.run, tmp_path / "run")
    before = tree(run)
    ended = redo(run)
    assert ended.code == 5, ended.output
    assert tree(run) == before


def test_a_server_that_fails_half_way_leaves_the_result_and_the_redo_can_be_taken_back(
    made: Made, tmp_path: Path
) -> None:
    run = copy(made.run, tmp_path / "run")
    with FakeComfy(faults=Faults().on_runs(None, *["error"] * 9)) as server:
        rename_server(run, server.address)
        before = tree(run, "journal.jsonl")
        ended = redo(run)
    assert ended.code == 5, ended.output
    now = tree(run, "journal.jsonl")
    assert {name: digest for name, digest in now.items() if not name.startswith(".redo/")} == before
    status = json.loads(skate(["status", str(run), "--json", "--verify"]).output)
    assert status["state"] == "interrupted" and status["redo"] == [1, 2] and status["damaged"] == []
    ended = redo(run, "--prompt", "other")
    assert ended.code == 6 and "another redo is under way (windows 1, 2)" in ended.output, ended.output
    ended = skate(["redo", str(run), "--cancel"])
    assert ended.code == 0 and "windows 1, 2 stay as they were" in ended.output, ended.output
    assert tree(run, "journal.jsonl") == before
    assert skate(["resume", str(run)]).code in (0, 1), "finished: nothing asks for a server"
    ended = skate(["redo", str(run), "--cancel"])
    assert ended.code == 2 and "none is under way" in ended.output, ended.output


def test_an_interrupted_redo_makes_what_is_left(made: Made, tmp_path: Path) -> None:
    run = copy(made.run, tmp_path / "run")
    with FakeComfy(faults=Faults().on_runs(None, *["error"] * 9)) as server:
        rename_server(run, server.address)
        assert redo(run).code == 5
    assert set(read_log(run).made) == {("generate", 1), ("composite", 1)}
    with FakeComfy() as server:
        rename_server(run, server.address)
        ended = skate(["resume", str(run)])
        assert ended.code in (0, 1), ended.output
        assert len(server.prompts) == 1, "window 1 is made"
    assert differing(results(run), made.redone) == []


def test_windows_apart_from_each_other_are_made_as_if_one_after_the_other(tmp_path: Path) -> None:
    """The last window is shifted back to a frame on which window 2, which stays, is blended with window 1."""
    case = comfy_case(make_case(tmp_path, frames=12))
    with FakeComfy() as server:
        together = tmp_path / "together"
        assert skate(case.run(together, "--keep", "all", "--server", server.address)).code in (0, 1)
        singly = copy(together, tmp_path / "singly")
        for run, calls in ((together, ("1,3",)), (singly, ("1", "3"))):
            for windows in calls:
                ended = skate(["redo", str(run), "--windows", windows, "--seed", "9"])
                assert ended.code in (0, 1), ended.output
        assert len(server.prompts) == 8
    assert differing(results(together), results(singly)) == []


def test_who_calls_it_from_python_can_cancel_it_and_puts_the_same_stages_in(tmp_path: Path) -> None:
    """What is not asked for is the run's: its prompt, and its seed plus one."""
    run, chains, cancel = copy(small_run(), tmp_path / "run"), list[Chain](), Cancel()

    def extend(chain: Chain) -> Chain:
        chains.append(chain)
        return chain

    cancel.cancel()
    with pytest.raises(Interrupted):
        redo_windows(run, [1], None, None, cancel=cancel)
    assert read_log(run).redone_at is None
    config = read_run(run)[1]
    assert redo_windows(run, [1], None, None, extend=extend).frames == FRAMES and len(chains) == 1
    asked = read_log(run).commits["generate", 1]["info"]["request"]
    assert asked == {"number": 0, "seed": config.seed + 1, "text": config.text}


@pytest.mark.parametrize("point", ["generate.state#2", "redo.journal", "redo.placed", "blend.arrays", "score.journal"])
def test_killed_anywhere_the_rest_needs_no_server(made: Made, tmp_path: Path, point: str) -> None:
    run = copy(made.run, tmp_path / "run")
    with FakeComfy() as server:
        rename_server(run, server.address)
        assert redo(run, fault=point).code == -9
        if point.startswith("generate"):
            assert skate(["resume", str(run)], fault="redo.journal").code == -9
    assert skate(["status", str(run), "--verify"]).code == 0, "what only has to be placed is no damage"
    assert skate(["redo", str(run), "--cancel"]).code == 2
    ended = skate(["resume", str(run)])
    assert ended.code in (0, 1), ended.output
    assert differing(results(run), made.redone) == []
    assert skate(["status", str(run), "--verify"]).code == 0
    assert not (run / ".redo").exists()


@pytest.mark.parametrize("point", ["generate.journal#2", "redo.journal"])
def test_killed_on_the_way_it_goes_into_what_other_options_make_of_the_run(
    made: Made, tmp_path: Path, point: str
) -> None:
    """What it has made is neither damage there nor made once more."""
    run = copy(made.run, tmp_path / "run")
    with FakeComfy() as server:
        rename_server(run, server.address)
        assert redo(run, fault=point).code == -9
        other = made.case.run(run, "--server", server.address, "--iou-threshold", "0.4", "--overwrite")
        ended = skate(other)
        assert ended.code in (0, 1) and "damaged" not in ended.output, ended.output
        assert len(server.prompts) == 2
    assert skate(["status", str(run), "--verify"]).code == 0
    assert differing(results(run), made.redone) == []
    assert skate(["resume", str(run)]).code in (0, 1) and not (run / ".redo").exists()


def test_what_has_to_be_placed_and_is_altered_is_damage(made: Made, tmp_path: Path) -> None:
    run = copy(made.run, tmp_path / "run")
    with FakeComfy() as server:
        rename_server(run, server.address)
        assert redo(run, fault="redo.journal").code == -9
    waiting = run / ".redo" / "blocks" / "raw" / "1"
    waiting.write_bytes(waiting.read_bytes()[:-1])
    ended = skate(["status", str(run), "--verify", "--json"])
    assert ended.code == 6 and json.loads(ended.output)["damaged"] == ["run.zarr/blocks/raw/1"]


def test_what_was_made_and_is_damaged_is_made_again(made: Made, tmp_path: Path) -> None:
    run = copy(made.run, tmp_path / "run")
    with FakeComfy() as server:
        rename_server(run, server.address)
        assert redo(run, fault="generate.arrays#2").code == -9
        (run / ".redo" / "blocks" / "raw" / "1").unlink()
        assert skate(["resume", str(run)]).code in (0, 1)
    assert differing(results(run), made.redone) == []


@pytest.mark.parametrize("point", ["generate.begin#2", "blend.begin#2"])
def test_a_run_that_is_not_finished_is_refused(tmp_path: Path, point: str) -> None:
    """Also where all that was decoded so far is generated, which does not say how many windows the clip has."""
    case, run = make_case(tmp_path, frames=13), tmp_path / "run"
    assert skate(case.run(run, "--view", "full"), fault=point).code == -9
    before = tree(run)
    for windows in ("0", "3"):
        ended = skate(["redo", str(run), "--windows", windows])
        assert ended.code == 6 and "is not finished: `skate resume" in ended.output, ended.output
    assert tree(run) == before


@pytest.fixture(scope="module")
def bare(made: Made, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same run, with nothing kept."""
    run, options = tmp_path_factory.mktemp("bare") / "run", made.case.options[: made.case.options.index("--keep")]
    with FakeComfy() as server:
        assert skate(Case(made.case.video, options).run(run, "--server", server.address)).code in (0, 1)
    return run


class Darker(Paint):
    """Another server: half as bright."""

    def __call__(self, positive: Any, seed: int, graph: Any) -> Any:
        """What `Paint` gives, darker."""
        return super().__call__(positive, seed, graph) * np.float32(0.5)


def test_what_was_not_kept_is_made_again(made: Made, bare: Path, tmp_path: Path) -> None:
    run = copy(bare, tmp_path / "run")
    with FakeComfy() as server:
        rename_server(run, server.address)
        before = tree(run)
        assert redo(run, fault="repair.window#4").code == -9
        assert {name: digest for name, digest in tree(run).items() if name in before} == before
        assert skate(["status", str(run), "--verify"]).code == 0
        assert redo(run, fault="generate.journal").code == -9
        ended = skate(["resume", str(run)])
    assert ended.code in (0, 1), ended.output
    found, wanted = results(run, everything=False), {name: made.redone[name] for name in results(run, everything=False)}
    assert differing(found, wanted) == ["frames", "generated"], "which are not kept"
    assert skate(["status", str(run), "--verify"]).code == 0
    assert not list((run / "run.zarr" / "blocks" / "raw").glob("*"))


def test_a_server_that_gives_other_pictures_than_then(bare: Path, tmp_path: Path) -> None:
    run = copy(bare, tmp_path / "run")
    with FakeComfy(Darker()) as server:
        rename_server(run, server.address)
        before = tree(run)
        ended = redo(run)
    assert ended.code == 5 and "the server gives other pictures than then (blocks/made/0)" in ended.output, ended.output
    assert tree(run) == before and skate(["status", str(run), "--verify"]).code == 0


@pytest.mark.slow
def test_a_second_redo_of_what_was_not_kept_says_why_it_cannot(bare: Path, tmp_path: Path) -> None:
    run = copy(bare, tmp_path / "run")
    with FakeComfy() as server:
        rename_server(run, server.address)
        assert skate(["redo", str(run), "--windows", "1", "--seed", "9"]).code in (0, 1)
        before = tree(run)
        ended = skate(["redo", str(run), "--windows", "2", "--seed", "9"])
    assert ended.code == 5 and "a window 1 that `skate redo` has replaced since" in ended.output, ended.output
    assert tree(run) == before
