"""A run in a bucket on a real S3 server: the bytes of the local run, killed and resumed with nothing but the bucket."""

import os
import shutil
import signal
import subprocess
import sys
import time
from itertools import count
from pathlib import Path

import pytest
from _crash import FINISH_POINTS, OTHER_POINTS, POINTS, Case, make_case
from _s3 import BUCKET, KEY_ID, SECRET, environment, shared_server
from _s3_faults import Faulty, Shelf
from _zygote import Ended, shared_zygote

from storage.address import BucketPath, run_path
from storage.backend import open_store
from storage.bucket import Bucket

NOT_COMPARED = ("report/summary.json", "report/index.html", "report/cost.png")  # they hold times
LOOK = ("--seed", "5")
LIMIT = 600.0  # of one command, on a busy machine
_names = count()


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Case:
    return make_case(tmp_path_factory.mktemp("clip"), frames=6)


@pytest.fixture(scope="module")
def local(case: Case, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run in a folder."""
    out = tmp_path_factory.mktemp("local") / "run"
    assert shared_zygote().run(case.run(out)).code in (0, 1)
    return out


@pytest.fixture(scope="module")
def wanted(local: Path) -> dict[str, bytes]:
    """The files of the local run."""
    return files_of(local)


def files_of(out: Path) -> dict[str, bytes]:
    """Those that are compared."""
    files = {str(path.relative_to(out)): path.read_bytes() for path in out.rglob("*") if path.is_file()}
    return {name: data for name, data in files.items() if name not in (".lock", "journal.jsonl", *NOT_COMPARED)}


@pytest.fixture(scope="module")
def look(local: Path) -> Path:
    """Another look of it."""
    ended = shared_zygote().run(["generate", str(local), "--out", str(local.with_name("look")), *LOOK])
    assert ended.code in (0, 1), ended.output
    return local.with_name("look")


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


def skate(
    tmp_path: Path, *arguments: str, fault: str | None = None, address: str | None = None, **times: float
) -> Ended:
    """Call `skate` in a fork, with a scratch folder of its own."""
    scratch = tmp_path / f"scratch{next(_names)}"
    given = {"variables": environment(address or shared_server()), "scratch": str(scratch), **times}
    ended = shared_zygote().run(arguments, fault=fault, hook=("_s3:use", given), limit=LIMIT)
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


def test_another_look_is_generated_into_a_bucket(local: Path, look: Path, tmp_path: Path) -> None:
    """From a folder; killed after the tracking was uploaded and before it counted."""
    address = new_run()
    command = ["generate", str(local), "--out", address, *LOOK]
    assert skate(tmp_path, *command, fault="journal.uploaded").code == -9
    assert found(address) == {}
    ended = skate(tmp_path, *command)
    assert ended.code in (0, 1), ended.output
    check(address, files_of(look))


@pytest.mark.slow
def test_another_look_of_a_run_in_the_bucket_is_copied_there(case: Case, look: Path, tmp_path: Path) -> None:
    source, address = new_run(), new_run()
    assert skate(tmp_path, *run(case, source)).code in (0, 1)
    for fault, code in (("journal.uploaded", -9), ("generate.journal", -9), (None, None)):
        ended = skate(tmp_path, "generate", source, "--out", address, *LOOK, fault=fault)
        assert ended.code == code or (fault is None and ended.code in (0, 1)), ended.output
    check(address, files_of(look))
    names = {meta.name for meta in bucket_of(address).list("run.zarr/masks/")}
    assert all("~" in name for name in names if "/c." in name), (
        "copied by the server, under names that nobody else uses"
    )
    assert skate(tmp_path, "status", address, "--verify").code == 0
    back = tmp_path / "back"
    assert skate(tmp_path, "generate", address, "--out", str(back), *LOOK).code in (0, 1)
    assert files_of(back) == files_of(look)


@pytest.mark.slow
def test_several_looks_lie_beside_each_other_in_a_bucket(local: Path, look: Path, tmp_path: Path) -> None:
    looks = tmp_path / "looks.toml"
    looks.write_text("".join(f'[[variation]]\nname = "{name}"\nseed = {seed}\n' for name, seed in (("a", 5), ("b", 6))))
    folder = new_run()
    ended = skate(tmp_path, "generate", str(local), "--variations", str(looks), "--out", folder)
    assert ended.code in (0, 1), ended.output
    assert f"page     {folder}/index.html" in ended.output
    check(f"{folder}/a", files_of(look))
    assert b'src="b/output.mp4"' in bucket_of(folder).get("index.html")


@pytest.mark.slow
def test_a_video_by_address_is_fetched_by_each_machine(case: Case, wanted: dict[str, bytes], tmp_path: Path) -> None:
    address = new_run()
    with Shelf(case.video.parent) as shelf:
        command = ["run", f"{shelf.address}/{case.video.name}", "--out", address, *case.options]
        assert skate(tmp_path, *command, fault="track.journal").code == -9
        shutil.rmtree(tmp_path)
        ended = skate(tmp_path, *command)
    assert ended.code in (0, 1), ended.output
    check(address, wanted)


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["closed", "hung"])
def test_a_run_whose_bucket_goes_away_says_so_and_goes_on_later(
    case: Case, wanted: dict[str, bytes], tmp_path: Path, fault: str
) -> None:
    address = new_run()
    with Faulty(shared_server(), always=fault, good=60) as server:
        ended = skate(tmp_path, *run(case, address), address=server.address, request=2, give_up=4)
    assert ended.code == 4, ended.output
    told = [line for line in ended.output.splitlines() if "object store" in line]
    assert len(told) == 1 and "Traceback" not in ended.output and f"`skate resume {address}`" in told[0], ended.output
    assert skate(tmp_path, "resume", address).code in (0, 1)
    check(address, wanted)


def bucket_of(address: str) -> Bucket:
    path = run_path(address)
    assert isinstance(path, BucketPath)
    return Bucket(path)


@pytest.mark.slow
def test_a_run_that_was_stopped_and_goes_on_after_another_has_finished_it_damages_nothing(
    case: Case, wanted: dict[str, bytes], tmp_path: Path
) -> None:
    address = new_run()
    begin = f"import _s3; _s3.use({environment(shared_server())!r}, {str(tmp_path / 'sleeper')!r}); "
    begin += f"from stream.cli import main; main({run(case, address)!r})"
    # As in `shared_zygote`: by another number of threads sums of floats end in other bits.
    path = {"PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
    sleeper = subprocess.Popen(
        [sys.executable, "-c", begin],
        env=os.environ | path,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        while len(bucket_of(address).list("journal/")) < 8:
            assert sleeper.poll() is None
            time.sleep(0.01)
        sleeper.send_signal(signal.SIGSTOP)
        ended = skate(tmp_path, "resume", address)
        assert ended.code in (0, 1), ended.output
        before = found(address)
        sleeper.send_signal(signal.SIGCONT)
        output, _ = sleeper.communicate(timeout=120)
        assert sleeper.returncode == 6 and "another process holds this run" in output, output
        assert found(address) == before
        check(address, wanted)
        assert skate(tmp_path, "status", address, "--verify").code == 0
    finally:
        sleeper.kill()
        sleeper.communicate()


@pytest.mark.slow
def test_damaged_and_missing_objects_are_found_and_repaired(
    case: Case, wanted: dict[str, bytes], tmp_path: Path
) -> None:
    address = new_run()
    assert skate(tmp_path, *run(case, address)).code in (0, 1)
    bucket = bucket_of(address)
    mask, segment = "run.zarr/masks/object/c.0.0.0", "segments/00001.mp4"
    bucket.put(mask, bytes(100))
    bucket.delete([segment, "output.mp4"])
    status = skate(tmp_path, "status", address, "--verify")
    assert status.code == 6
    damaged = {line.split()[1] for line in status.output.splitlines() if line.startswith("damaged")}
    assert damaged == {mask, segment, "output.mp4"}
    assert skate(tmp_path, "resume", address).code in (0, 1)
    check(address, wanted)


@pytest.mark.slow
def test_every_command_does_in_a_bucket_what_it_does_in_a_folder(case: Case, tmp_path: Path) -> None:
    """Made with --keep all: exported, evaluated, reported, a window made again, other options, a smaller window."""
    local, address = str(tmp_path / "run"), new_run()
    changes = (["--iou-threshold", "0.5"], ["--window", "9", "--overlap", "4"])
    for place in (local, address):
        begun = [*run(case, place), "--keep", "all"]
        assert skate(tmp_path, *begun).code in (0, 1)
        told = skate(tmp_path, "evaluate", place, "--quiet", "--json").output.splitlines()[-1]
        shown = skate(tmp_path, "export", place, "--to", str(tmp_path / f"export{place is local}"))
        assert shown.code == 0, shown.output
        assert skate(tmp_path, "redo", place, "--windows", "1").code in (0, 1)
        for change in changes:
            ended = skate(tmp_path, *begun, *change, "--overwrite")
            assert ended.code in (0, 1), ended.output
        assert skate(tmp_path, "report", place, "--proof").code == 0
        assert skate(tmp_path, "status", place, "--verify").code == 0
        if place is local:
            first = told
    assert told == first
    exports = [
        {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}
        for folder in (tmp_path / "exportTrue", tmp_path / "exportFalse")
    ]
    assert exports[0] == exports[1]
    check(address, files_of(Path(local)))
    shutil.rmtree(local)
