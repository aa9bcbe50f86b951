"""Attempts on whole runs of which no other test tells: signals, moved runs, odd pictures, what a kill leaves."""

import errno
import shutil
import signal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from _crash import copied, differing, results, shared_case
from _zygote import Ended, shared_zygote
from filelock import FileLock

from storage.errors import EnvironmentFault
from storage.rundir import read_manifest, write_manifest
from stream.check.ruler import write_ruled_frame
from stream.report import export
from stream.report.export import METADATA, export_run
from stream.run import variation


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


def test_a_copy_that_was_killed_is_swept_by_the_next_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    killed, alive, foreign = (tmp_path / f".OUT.{name}.skate" for name in ("aaaaaaaa", "bbbbbbbb", "cccccccc"))
    for folder in (killed, alive, foreign):
        folder.mkdir()
    for folder in (killed, alive):
        (folder / variation.COPYING).touch()
    monkeypatch.setattr(variation, "_begin", lambda *_: [])
    monkeypatch.setattr(variation, "copy_objects", lambda *_: None)
    nothing: Any = SimpleNamespace(store=None)
    with FileLock(alive / variation.COPYING):
        variation.copy_tracking(nothing, tmp_path / "OUT", nothing, nothing, print)
    assert not killed.exists() and alive.exists() and foreign.exists() and (tmp_path / "OUT").is_dir()


def test_a_frame_is_written_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    case, _, _ = shared_case()
    monkeypatch.setattr("storage.durable.os.fsync", full)
    with pytest.raises(EnvironmentFault, match="No space left"):
        write_ruled_frame(case.video, 0, tmp_path / "frame.png")
    assert list(tmp_path.iterdir()) == []


def test_half_an_export_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, finished, _ = shared_case()
    export_run(finished, tmp_path / "E")
    assert (tmp_path / "E" / METADATA).is_file()

    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched, pytest.raises(EnvironmentFault, match="No space left"):
        patched.setattr(export, "write_segment", full)
        export_run(finished, tmp_path / "E")
    assert not (tmp_path / "E" / METADATA).exists()
    export_run(finished, tmp_path / "E")
    assert (tmp_path / "E" / METADATA).is_file()
