"""Disk full, read-only, input that vanishes or changes, memory that runs out: one clear line, the right exit code, and
after the remedy the run goes on to the same bytes."""

import errno
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from _crash import Case, copied, differing, results, shared_case
from _zygote import Ended, shared_zygote

from storage.durable import file_sha256
from storage.errors import InputError
from storage.local import LocalBackend
from stream.engine.source import InputGuard
from stream.run.trouble import machine_fault


def skate(arguments: list[str], **given: object) -> Ended:
    ended = shared_zygote().run(arguments, **given)  # type: ignore[arg-type]
    assert "Traceback" not in ended.output, ended.output
    return ended


def last_line(ended: Ended) -> str:
    """The error: one line, the last one."""
    line = ended.output.splitlines()[-1]
    assert line.startswith("skate: "), ended.output
    return line


class Disk:
    """A real file system of its own, of a given size."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def mount(self, options: str) -> bool:
        """Mount or remount it; whether that is allowed."""
        command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(self.path)]
        return subprocess.run(command, capture_output=True, check=False).returncode == 0


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    path = tmp_path / "disk"
    path.mkdir()
    found = Disk(path)
    if os.name != "posix" or shutil.which("mount") is None or not found.mount("size=600k"):
        pytest.skip("mounting a small tmpfs is not allowed here: the injected faults below stand in for it")
    yield found
    subprocess.run(["umount", str(path)], check=True)


def test_a_full_disk(disk: Disk) -> None:
    case, _, wanted = shared_case()
    run = disk.path / "run"
    for size in ("600k", "700k", "900k"):
        assert disk.mount(f"remount,size={size}")
        planned = skate(case.run(run))
        assert planned.code == 4 and "are free: free space" in last_line(planned), planned.output
        ended = skate(case.run(run), hook=("_hooks:unplanned", {}))
        assert ended.code == 4, ended.output
        assert "No space left on device" in last_line(ended) and "free space" in last_line(ended)
    assert disk.mount("remount,size=64m")
    ended = skate(["resume", str(run)])
    assert ended.code in (0, 1), ended.output
    assert differing(results(run), wanted) == []


def test_a_read_only_file_system(disk: Disk) -> None:
    case, _, wanted = shared_case()
    run = disk.path / "run"
    assert disk.mount("remount,size=64m")
    assert skate(case.run(run), fault="sink.arrays#2").code == -9
    assert disk.mount("remount,ro")
    helps, elsewhere = "make it writable, or copy it", "choose another --out"
    begun = (["resume", str(run)], helps), (case.run(run), helps), (case.run(disk.path / "new"), elsewhere)
    for arguments, remedy in begun:
        ended = skate(arguments)
        assert ended.code == 4, ended.output
        assert f"cannot be written to (Read-only file system): {remedy}" in last_line(ended)
    ended = skate(["status", str(run), "--verify"])
    assert ended.code == 0 and "interrupted" in ended.output, ended.output
    assert disk.mount("remount,rw")
    assert skate(["resume", str(run)]).code in (0, 1)
    assert differing(results(run), wanted) == []


def test_a_read_only_folder(tmp_path: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may write anywhere; the read-only file system above covers it")
    case, _, _ = shared_case()
    tmp_path.chmod(0o500)
    ended = skate(case.run(tmp_path / "run"))
    tmp_path.chmod(0o700)
    assert ended.code == 4
    assert "cannot be written to (Permission denied)" in last_line(ended)


def test_the_disk_is_full_at_any_write(tmp_path: Path) -> None:
    case, _, wanted = shared_case()
    run = tmp_path / "run"
    for writes in (1, 2, 5, 11, 23, 24, 25, 60, 111, 170):
        ended = skate(case.run(run), hook=("_hooks:no_space", {"writes": writes}))
        assert ended.code == 4, ended.output
        assert "No space left on device" in last_line(ended)
    ended = skate(case.run(run))
    assert ended.code in (0, 1), ended.output
    assert differing(results(run), wanted) == []


def test_what_has_no_name_in_the_systems_error_is_named(tmp_path: Path) -> None:
    """The system names a file that it cannot open; of one that finds no room it says nothing."""

    def parts() -> Iterator[bytes]:
        yield b"some"
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.raises(OSError) as caught:
        LocalBackend(tmp_path).write("report/iou.csv", parts())
    fault = machine_fault(caught.value)
    assert str(fault) == f"{tmp_path / 'report' / 'iou.csv'}: No space left on device: free space"
    assert list((tmp_path / "report").iterdir()) == []


@pytest.mark.parametrize("option", ["--write-scene", "--write-config"])
def test_a_file_that_an_option_names_finds_no_room(tmp_path: Path, option: str) -> None:
    case, _, _ = shared_case()
    target = tmp_path / "new.toml"
    ended = skate(case.run(tmp_path / "run", option, str(target)), hook=("_hooks:no_space", {"writes": 1}))
    assert ended.code == 4, ended.output
    assert last_line(ended).startswith(f"skate: {option} {target}: cannot be written (No space left on device): choose")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("action", ["delete", "truncate", "replace"])
def test_the_input_changes_during_the_run(tmp_path: Path, action: str) -> None:
    shared, _, wanted = shared_case()
    video, other = tmp_path / "clip.mp4", tmp_path / "other.mp4"
    shutil.copy(shared.video, video)
    other.write_bytes(shared.video.read_bytes() + b"\0\0\0\x08free")
    case, run = Case(video, shared.options), tmp_path / "run"
    hook = ("_hooks:at_decode_commit", {"window": 2, "action": action, "path": str(video), "other": str(other)})
    ended = skate(case.run(run), hook=hook)
    assert ended.code == 3, ended.output
    assert str(video) in last_line(ended)
    assert ("cannot be read" if action == "delete" else "changed while it was being read") in last_line(ended)
    assert skate(["resume", str(run)]).code in (3, 6), "not until the old file is back"
    shutil.copy(shared.video, video)
    assert skate(["resume", str(run)]).code in (0, 1)
    assert differing(results(run), wanted) == []


def test_an_input_that_is_only_touched_is_the_same(tmp_path: Path) -> None:
    video = tmp_path / "clip.mp4"
    video.write_bytes(b"picture")
    guard = InputGuard(video)
    os.utime(video, (1, 1))
    guard.check()
    video.write_bytes(b"another")
    with pytest.raises(InputError, match="changed while it was being read"):
        guard.check()


def test_an_input_that_changes_while_its_digest_is_taken_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would be that of neither file."""
    video = tmp_path / "clip.mp4"
    video.write_bytes(b"picture")
    plain = file_sha256

    def copied_meanwhile(path: Path) -> str:
        found = plain(path)
        video.write_bytes(b"picture and more")
        return found

    monkeypatch.setattr("stream.engine.source.file_sha256", copied_meanwhile)
    with pytest.raises(InputError, match="changed while it was being read"):
        InputGuard(video)


def test_a_pipe_in_the_inputs_place_is_not_waited_for(tmp_path: Path) -> None:
    case, finished, _ = shared_case()
    run, video = copied(finished, tmp_path), tmp_path / "clip.mp4"
    shutil.copy(case.video, video)
    assert skate(Case(video, case.options).run(run)).code in (0, 1)
    video.unlink()
    os.mkfifo(video)
    for command in (["resume", str(run)], ["redo", str(run), "--windows", "1"]):
        ended = skate(command, limit=30.0)
        assert ended.code == 3 and f"{video}: cannot be read (is no regular file)" in last_line(ended), ended.output


@pytest.mark.parametrize("more", [8, 150, 300])
def test_memory_runs_out(tmp_path: Path, more: int) -> None:
    case, _, wanted = shared_case()
    run = tmp_path / "run"
    ended = skate(case.run(run), memory_bytes=more * 2**20)
    assert ended.code == 4, ended.output
    assert "memory" in last_line(ended), ended.output
    assert skate(case.run(run)).code in (0, 1)
    assert differing(results(run), wanted) == []


def test_a_run_of_another_format_is_refused(tmp_path: Path) -> None:
    _, finished, _ = shared_case()
    run = copied(finished, tmp_path)
    text = (run / "run.json").read_text()
    (run / "run.json").write_text(text.replace('"format": 2', '"format": 1'))
    for arguments in (["resume", str(run)], ["status", str(run)]):
        ended = skate(arguments)
        assert ended.code == 6
        assert "has format 1, this program reads 2" in last_line(ended)
