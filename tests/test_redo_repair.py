"""A run with a redone window is as repairable as any: its files are damaged one at a time, also those around it."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from _crash import Case, differing, make_case, results
from _server_chaos import comfy_case, start
from _zygote import shared_zygote
from fake_comfy.process import ServerProcess

NAMES = ("state/generate", "blocks/raw", "blocks/overlap", "state/score")
BLOCKS = [f"run.zarr/{name}/{window}" for window in (0, 1, 2) for name in NAMES]
SEGMENTS = [f"segments/{window:05d}.mp4" for window in (1, 2)]


@pytest.fixture(scope="module")
def redone(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    """A run whose window 1 was made again with another seed, and its results."""
    folder = tmp_path_factory.mktemp("redone")
    case = make_case(folder, frames=15)
    run = folder / "run"
    assert shared_zygote().run(case.run(run, "--keep", "all")).code in (0, 1)
    ended = shared_zygote().run(["redo", str(run), "--windows", "1", "--seed", "9"])
    assert ended.code in (0, 1), ended.output
    return run, results(run)


@pytest.mark.parametrize("name", [*BLOCKS, *SEGMENTS])
def test_damage_around_a_redone_window_is_repaired(
    redone: tuple[Path, dict[str, str]], tmp_path: Path, name: str
) -> None:
    finished, wanted = redone
    run = Path(shutil.copytree(finished, tmp_path / "run", ignore=shutil.ignore_patterns(".lock")))
    if (run / name).is_dir():
        shutil.rmtree(run / name)
    else:
        (run / name).unlink()
    assert shared_zygote().run(["status", str(run), "--verify"]).code == 6
    ended = shared_zygote().run(["resume", str(run)])
    assert ended.code in (0, 1), ended.output
    assert differing(results(run), wanted) == []


class Comfy:
    """A run on a server, with window 0 redone: the others' colours are matched to what is before them."""

    def __init__(self, folder: Path, server: ServerProcess) -> None:
        self.case: Case = comfy_case(make_case(folder, frames=15))
        self.run, self.server = folder / "run", server
        self.case = Case(self.case.video, (*self.case.options, "--keep", "all"))
        assert start(shared_zygote(), self.case, self.run, [server.address]).code in (0, 1)
        ended = shared_zygote().run(["redo", str(self.run), "--windows", "0", "--seed", "9"])
        assert ended.code in (0, 1), ended.output
        self.wanted = results(self.run)


@pytest.fixture(scope="module")
def comfy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Comfy]:
    with ServerProcess() as server:
        yield Comfy(tmp_path_factory.mktemp("comfy"), server)


@pytest.mark.parametrize("window", [0, 1, 2])
def test_a_generated_window_is_repaired_or_refused_by_name(comfy: Comfy, tmp_path: Path, window: int) -> None:
    run = Path(shutil.copytree(comfy.run, tmp_path / "run", ignore=shutil.ignore_patterns(".lock")))
    (run / "run.zarr" / "blocks" / "raw" / str(window)).unlink()
    ended = shared_zygote().run(["resume", str(run)])
    assert "Traceback" not in ended.output
    if window == 1:  # it went on from the window 0 that is there no more
        assert ended.code == 6 and "window 0 that `skate redo` has replaced" in ended.output
        return
    assert ended.code in (0, 1), ended.output
    assert differing(results(run), comfy.wanted) == []
