"""Whatever refuses a run before its first new window leaves what was there byte for byte as it was."""

import hashlib
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from _crash import Case, copied, differing, results, shared_case
from _zygote import Ended, shared_zygote
from fake_comfy import FakeComfy, Faults

from storage.rundir import read_log

NEW = ("--seed", "11", "--prompt", "brushed steel")


def tree(path: Path) -> dict[str, str]:
    """Digests of every file below a folder, and the folders' names; lock and `next/` are no part of what was there."""
    return {
        str(item.relative_to(path)): hashlib.sha256(item.read_bytes()).hexdigest() if item.is_file() else "folder"
        for item in path.rglob("*")
        if item.name != ".lock" and (path / "next") not in (item, *item.parents)
    }


def skate(arguments: list[str], **given: object) -> Ended:
    ended = shared_zygote().run(arguments, **given)  # type: ignore[arg-type]
    assert "Traceback" not in ended.output, ended.output
    return ended


def overwritten(run: Path, *more: str, case: Case | None = None, **given: object) -> Ended:
    """How `skate run --overwrite` with other options ends on this run."""
    return skate([*(case or shared_case()[0]).run(run), *more, "--overwrite"], **given)


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Path]:
    """A finished run; at the end of the test it is byte for byte what it was."""
    path = copied(shared_case()[1], tmp_path)
    before = tree(path)
    yield path
    after = tree(path)
    assert sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name)) == []


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """A folder with files that are none of what they are given for."""
    folder = tmp_path / "files"
    folder.mkdir()
    (folder / "none.json").write_text("{}")
    (folder / "weights.onnx").write_bytes(b"no model")
    return folder


@pytest.mark.parametrize(
    ("code", "options"),
    [
        (4, "--fps 12 --ram 1MB"),  # the plan, where nothing of the run would stay
        (4, "--seed 5 --ram 1MB"),
        (4, "--iou-threshold 0.5 --sam {files}/missing.pt"),
        (4, "--pose {files}/weights.onnx"),  # found to be none when it is loaded
        (5, "--server 127.0.0.1:9 --prompt x --fps 12"),
        (5, "--server 127.0.0.1:9 --prompt x"),
        (2, "--server 127.0.0.1:9"),  # nothing said of what to make
        (3, "--server 127.0.0.1:9 --prompt x --workflow {files}/none.json"),
        (3, "--reference {files}/missing.png"),
        (3, "--person-box 1,1,900,900"),
        (3, "--correct 3:1,1,900,900"),
        (3, "--prompt-frame 700"),  # the run knows how long its clip is
        (3, "--correct 700:1,1,9,9"),
        (2, "--window 6"),
        (2, "--server 127.0.0.1:9 --prompt x --seed -1"),
    ],
)
def test_a_refusal(run: Path, files: Path, code: int, options: str) -> None:
    ended = overwritten(run, *options.format(files=files).split())
    assert ended.code == code, ended.output


@pytest.mark.parametrize("path", ["/object_info", "/prompt"])
def test_a_server_that_answers_500(run: Path, path: str) -> None:
    with FakeComfy(faults=Faults().on_requests(path, [500] * 40)) as server:
        ended = overwritten(run, "--server", server.address, "--prompt", "x", "--timeout", "20")
    assert ended.code == 5, ended.output


@pytest.mark.parametrize("options", [NEW, ("--fps", "12")], ids=["void", "anew"])
@pytest.mark.parametrize("writes", [1, 4, 9, 14])
def test_a_disk_that_is_full(run: Path, writes: int, options: tuple[str, ...]) -> None:
    ended = overwritten(run, *options, hook=("_hooks:no_space", {"writes": writes}))
    assert ended.code == 4 and "No space left on device" in ended.output, ended.output


def test_a_disk_too_small_for_the_plan(run: Path) -> None:
    ended = overwritten(run, *NEW, hook=("_hooks:small_disk", {"free": 1000}))
    assert ended.code == 4 and "are free: free space" in ended.output, ended.output


def test_another_process_at_work(run: Path) -> None:
    from storage.backend import open_store

    with open_store(run).lock():
        assert overwritten(run, *NEW).code == 6


def test_a_demo_is_not_made_of_somebody_elses_run(run: Path) -> None:
    ended = skate(["demo", "--out", str(run), "--frames", "5", "--clip-size", "160x96"])
    assert ended.code == 6 and "which is no demo's clip" in ended.output, ended.output


def test_a_demo_replaces_a_demo_and_with_overwrite_anything(tmp_path: Path) -> None:
    demo = ["demo", "--out", str(tmp_path / "demo"), "--clip-size", "96x64", "--window", "5", "--overlap", "0"]
    for frames in ("5", "4"):
        assert skate([*demo, "--frames", frames]).code in (0, 1)
    assert read_log(tmp_path / "demo").of("decode")[-1]["span"][1] == 4
    run = copied(shared_case()[1], tmp_path)
    demo[2] = str(run)
    assert skate([*demo, "--frames", "4", "--overwrite"]).code in (0, 1)
    assert read_log(run).of("decode")[-1]["span"][1] == 4


def test_extract_makes_no_comparison(run: Path) -> None:
    case, _, _ = shared_case()
    ended = skate([*["extract", *case.run(run)[1:]], "--comparison"])
    assert ended.code == 2 and "No such option" in ended.output, ended.output


def test_a_run_json_of_another_config_is_refused(tmp_path: Path) -> None:
    case, finished, _ = shared_case()
    run, other = tmp_path / "run", tmp_path / "other"
    assert skate(case.run(run, *NEW), fault="blend.journal").code == -9
    shutil.copy(finished / "run.json", run / "run.json")
    for arguments in (["resume", str(run)], ["status", str(run), "--verify"], case.run(run)):
        ended = skate(arguments)
        assert ended.code == 6 and "than the journal was begun with" in ended.output, ended.output
    assert skate(case.run(run, "--overwrite")).code in (0, 1)
    assert skate(case.run(other)).code in (0, 1)
    assert differing(results(run), results(other)) == []


def test_a_damaged_journal_is_begun_anew_with_overwrite_alone(tmp_path: Path) -> None:
    case, finished, wanted = shared_case()
    run = copied(finished, tmp_path)
    lines = (run / "journal.jsonl").read_bytes().splitlines(keepends=True)
    (run / "journal.jsonl").write_bytes(b"".join([*lines[:3], b"x" + lines[3], *lines[4:]]))
    assert skate(case.run(run)).code == 6
    assert overwritten(run).code in (0, 1)
    assert differing(results(run), wanted) == []
