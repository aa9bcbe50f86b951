"""Attempts on whole runs of which no other test tells: signals, moved runs, odd pictures, what a kill leaves."""

import errno
import os
import shutil
import signal
import sys
from pathlib import Path
from typing import Any

import pytest
from _crash import Case, copied, differing, results, shared_case
from _runs import invoke, small_clip
from _zygote import Ended, shared_zygote
from test_nothing_void import tree

from storage.building import building, sweep
from storage.errors import EnvironmentFault
from storage.rundir import read_manifest, write_manifest
from stream.check.ruler import write_ruled_frame
from stream.report import export, replacing
from stream.report.export import METADATA, export_run


def skate(arguments: list[str], **given: object) -> Ended:
    ended = shared_zygote().run(arguments, **given)  # type: ignore[arg-type]
    assert "Traceback" not in ended.output and "Exception ignored" not in ended.output, ended.output
    return ended


def test_the_second_signal_ends_at_once_and_nothing_is_lost(tmp_path: Path) -> None:
    """In the midst of a commit, which the first one would have waited for."""
    case, _, wanted = shared_case()
    run, numbers = tmp_path / "run", [signal.SIGINT, signal.SIGTERM, *[signal.SIGINT] * 3]
    ended = skate(case.run(run), hook=("_hooks:signals_at_commit", {"commits": 17, "numbers": list(map(int, numbers))}))
    assert ended.code == 130 and ended.output.splitlines()[-1].startswith("skate: ended at once"), ended.output
    assert (run / "journal.jsonl").read_text().count('"kind": "commit"') == 16, "the commit in hand is not waited for"
    assert skate(["resume", str(run)]).code in (0, 1)
    assert differing(results(run), wanted) == []


def test_a_run_of_a_clip_in_its_own_folder_is_moved_and_goes_on(tmp_path: Path) -> None:
    """As a demo's, or one that was fetched: `run.json` names the place where it was."""
    case, finished, wanted = shared_case()
    run = copied(finished, tmp_path)
    written = read_manifest(run)
    config = {**written["config"], "video": str(tmp_path / "gone/input" / case.video.name)}
    write_manifest(run, {**written, "config": config})
    assert skate(["resume", str(run)]).code == 3, "it is nowhere"
    (run / "input").mkdir()
    shutil.copy(case.video, run / "input")
    (run / "run.zarr/masks/object/c.1.0.0").unlink()
    assert skate(["resume", str(run)]).code in (0, 1)
    assert differing(results(run), wanted) == []
    (run / "input").rename(tmp_path / "elsewhere")
    (run / "input").symlink_to(tmp_path / "elsewhere")
    refused = skate(["resume", str(run)])
    assert refused.code == 6 and "is a symbolic link" in refused.output


BYTES = os.fsdecode(b"\xff\x1b[2J\n")  # no UTF-8, an escape sequence, two lines


@pytest.mark.skipif(sys.platform != "linux", reason="such names cannot be made elsewhere")
def test_any_name_that_a_file_system_holds_works_to_the_end(tmp_path: Path) -> None:
    case, _, _ = shared_case()
    video, run = tmp_path / f"bad{BYTES}.mp4", str(tmp_path / f"out{BYTES}")
    shutil.copy(case.video, video)
    shown, begun = r"out\udcff\x1b[2J\n", Case(video, case.options).run(Path(run))
    others = [["resume", run], ["status", run, "--verify"], ["report", run], ["evaluate", run]]
    for command in (begun, *others, ["export", run, "--to", f"{run} to"]):
        ended = skate(command)
        assert ended.code in (0, 1) and "\x1b" not in ended.output, ended.output
        assert command[0] not in ("run", "resume") or f"{shown}/output.mp4" in ended.output
    assert ended.output.startswith(f"{tmp_path}/{shown} to: 21 frames")
    page = (Path(run) / "report" / "index.html").read_text(encoding="utf-8")
    assert "bad" in page and "\x1b" not in page
    ended = skate(["evaluate", "--metadata", f"{run} to/tracking_metadata.json", "--generated", f"{run}/output.mp4"])
    assert ended.code in (0, 1), ended.output
    (Path(f"{run} to") / "mask_skateboard" / f"frame_00003{BYTES}.png").write_bytes(b"no picture")
    given = ["--masks", f"{run} to/mask_skateboard", "--pose", f"{run} to/pose_json"]
    models = case.options[case.options.index("--sam") : case.options.index("--pose")]
    ended = skate(["generate", str(case.video), *given, *models, "--out", str(tmp_path / "given"), *case.options[-6:]])
    assert ended.code == 3 and "\x1b" not in ended.output, ended.output
    assert "cannot be read: give an 8-bit PNG" in ended.output.splitlines()[-1]


@pytest.mark.parametrize("call", ["_begin", "copy_objects"])
def test_a_copy_that_was_killed_is_swept_by_the_next_one(tmp_path: Path, call: str) -> None:
    _, finished, _ = shared_case()
    generate = ["generate", str(finished), "--out", str(tmp_path / "OUT"), "--seed", "5"]
    foreign = tmp_path / ".OUT.cccccccc.skate"
    foreign.mkdir()
    with building(tmp_path, "OUT") as alive:
        others = set(tmp_path.iterdir())
        assert skate(generate, hook=("_hooks:kill_at_call", {"name": f"stream.run.variation:{call}"})).code == -9
        (tmp_path / ".OUT.dddddddd.skate.lock").touch()  # of one that was killed before it had made its folder
        left = set(tmp_path.iterdir()) - others
        assert len(left) == 3
        assert skate(generate, hook=("_hooks:kill_at_call", {"name": "stream.run.variation:copy_tracking"})).code == -9
        assert foreign.is_dir() and alive.is_dir() and not any(path.exists() for path in left)
    assert {path.name for path in tmp_path.iterdir()} == {foreign.name}


@pytest.mark.parametrize("name", ["OUT", "a[1] *"])
def test_what_could_not_be_built_leaves_nothing_and_what_was_killed_is_swept_by_its_name(
    tmp_path: Path, name: str
) -> None:
    with pytest.raises(OSError, match="full"), building(tmp_path, name) as folder:
        (folder / "x").touch()
        raise OSError("full")
    assert list(tmp_path.iterdir()) == []
    killed = tmp_path / f".{name}.0123abcd.skate"
    killed.mkdir()
    (tmp_path / f"{killed.name}.lock").touch()
    for other in (name[:-1], f"{name}x", "?" * len(name), "a1 *"):
        sweep(tmp_path, other)
    assert len(list(tmp_path.iterdir())) == 2, "somebody else's"
    sweep(tmp_path, name)
    assert list(tmp_path.iterdir()) == []


def test_a_frame_is_written_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    case, _, _ = shared_case()
    monkeypatch.setattr("storage.durable.os.fsync", full)
    with pytest.raises(EnvironmentFault, match="No space left"):
        write_ruled_frame(case.video, 0, tmp_path / "frame.png")
    assert list(tmp_path.iterdir()) == []


def test_half_an_export_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What an older one has stays, to the byte."""
    _, finished, _ = shared_case()
    target = tmp_path / "E"
    export_run(finished, target)
    (target / "mask_skateboard" / "mine.txt").write_text("mine")
    before = tree(target)

    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    for module, name in ((export, "write_segment"), (replacing, "fault_point")):
        with monkeypatch.context() as patched, pytest.raises(EnvironmentFault, match="No space left"):
            patched.setattr(module, name, full)
            export_run(finished, target, "wan-animate")
        assert tree(target) == before
    export_run(finished, target, "wan-animate")
    after = tree(target)
    assert after.keys() == before.keys()
    changed = {name.split("/")[0] for name in before if after[name] != before[name]}
    assert changed == {"pose_skater", "pose.mp4", "tracking_metadata.json"}


@pytest.mark.parametrize("point", ["written", "switch", "switched"])
def test_an_export_that_was_killed_leaves_the_older_one_whole(tmp_path: Path, point: str) -> None:
    """Killed while it is moved, the next one makes it good before it begins, whatever becomes of that."""
    _, finished, _ = shared_case()
    target = tmp_path / "E"
    export_run(finished, target)
    before = tree(target)
    command = ["export", str(finished), "--to", str(target), "--pose-style", "wan-animate"]
    calls = {"written": "stream.report.export:_write_metadata", "switched": "storage.building:shutil.rmtree"}
    if point == "switch":
        assert skate(command, fault="export.switch").code == -9
        assert not (target / METADATA).exists()
    else:
        assert skate(command, hook=("_hooks:kill_at_call", {"name": calls[point]})).code == -9
    shown = {name: digest for name, digest in tree(target).items() if not name.startswith(".export.")}
    assert (shown == before) == (point == "written") and any(target.glob(".export.*"))
    failed = skate(command, hook=("_hooks:no_space", {"writes": 1}))
    assert failed.code == 4
    assert tree(target) == (shown if point == "switched" else before)
    assert skate(command).code == 0 and not any(target.glob(".export.*"))
    assert tree(target).keys() == before.keys()


@pytest.mark.skipif(sys.platform != "linux", reason="only there does a file system hold any name")
@pytest.mark.parametrize(
    "target", ["--write-config=-", "--write-config=new.toml", "--write-scene=new.toml", "--write-scene=new.json"]
)
def test_a_name_that_is_no_text_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, target: str) -> None:
    clip, folder = small_clip(tmp_path), tmp_path / "folder"
    folder.mkdir()
    monkeypatch.chdir(folder)
    mask = os.fsdecode(b"m\xff.png")
    Path(mask).write_bytes(b"a mask")
    told = invoke(["run", str(clip), "--out", "x", "--object-mask", mask, target])
    assert told.code == 3 and not told.out, told
    assert f"{target.replace('=', ' ')}: cannot hold '" in told.err and "which is no UTF-8" in told.err
    assert [each.name for each in Path().iterdir()] == [mask]
