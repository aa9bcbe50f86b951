"""A run in a bucket on a real S3 server: the bytes of the local run, killed and resumed with nothing but the bucket."""

from itertools import count
from pathlib import Path

import pytest
from _crash import FINISH_POINTS, OTHER_POINTS, POINTS, Case, make_case
from _s3 import BUCKET, KEY_ID, SECRET, environment, shared_server
from _zygote import Ended, shared_zygote

from storage.address import run_path
from storage.backend import open_store

NOT_COMPARED = ("report/summary.json", "report/index.html", "report/cost.png")  # they hold times
_names = count()


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Case:
    return make_case(tmp_path_factory.mktemp("clip"), frames=6)


@pytest.fixture(scope="module")
def wanted(case: Case, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The files of the local run."""
    out = tmp_path_factory.mktemp("local") / "run"
    assert shared_zygote().run(case.run(out)).code in (0, 1)
    files = {str(path.relative_to(out)): path.read_bytes() for path in out.rglob("*") if path.is_file()}
    return {name: data for name, data in files.items() if name not in (".lock", "journal.jsonl", *NOT_COMPARED)}


@pytest.fixture(autouse=True)
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    """A server for this process too, which reads the results."""
    for name, value in environment(shared_server()).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("storage.nearby._place", [tmp_path / "reader"])
    return shared_server()


def new_run() -> str:
    """The address of a run that is not there yet."""
    return f"s3://{BUCKET}/tests/run{next(_names)}"


def skate(tmp_path: Path, *arguments: str, fault: str | None = None, address: str | None = None) -> Ended:
    """Call `skate` in a fork, with a scratch folder of its own."""
    scratch = tmp_path / f"scratch{next(_names)}"
    given = {"variables": environment(address or shared_server()), "scratch": str(scratch)}
    ended = shared_zygote().run(arguments, fault=fault, hook=("_s3:use", given))
    assert SECRET not in ended.output and KEY_ID not in ended.output
    return ended


def run(case: Case, address: str) -> list[str]:
    return ["run", str(case.video), "--out", address, *case.options]


def found(address: str) -> dict[str, bytes]:
    """The objects of a run by key, read by who comes after."""
    store = open_store(run_path(address))
    return {key: store.read(key, 1 << 30) for key in store.keys("") if not key.startswith(NOT_COMPARED)}


def check(address: str, wanted: dict[str, bytes]) -> None:
    stored = {key: data for key, data in found(address).items() if key != "journal.jsonl"}
    assert sorted(stored) == sorted(wanted)
    assert [key for key in wanted if stored[key] != wanted[key] and key != "run.json"] == []


def test_a_run_in_a_bucket_has_the_bytes_of_the_local_one(case: Case, wanted: dict[str, bytes], tmp_path: Path) -> None:
    address = new_run()
    ended = skate(tmp_path, *run(case, address))
    assert ended.code in (0, 1), ended.output
    assert f"output   {address}/output.mp4" in ended.output
    check(address, wanted)
    assert all(SECRET.encode() not in data and KEY_ID.encode() not in data for data in found(address).values())
    status = skate(tmp_path, "status", address, "--verify")
    assert status.code == 0 and "state     done" in status.output, status.output


def killed_and_resumed(case: Case, wanted: dict[str, bytes], tmp_path: Path, fault: str) -> None:
    address = new_run()
    ended = skate(tmp_path, *run(case, address), fault=fault)
    assert ended.code == -9, (fault, ended.output)
    ended = skate(tmp_path, *run(case, address))
    assert ended.code in (0, 1), (fault, ended.output)
    check(address, wanted)


@pytest.mark.parametrize("fault", ["journal.uploaded#9"])
def test_a_killed_run_is_resumed_elsewhere(case: Case, wanted: dict[str, bytes], tmp_path: Path, fault: str) -> None:
    killed_and_resumed(case, wanted, tmp_path, fault)


@pytest.mark.slow
@pytest.mark.parametrize("fault", [*POINTS, *OTHER_POINTS, *FINISH_POINTS, "journal.uploaded", "journal.uploaded#20"])
def test_a_run_killed_at_every_point_is_resumed_elsewhere(
    case: Case, wanted: dict[str, bytes], tmp_path: Path, fault: str
) -> None:
    killed_and_resumed(case, wanted, tmp_path, fault)
