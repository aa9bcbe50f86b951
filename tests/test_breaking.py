"""Attempts on whole runs of which no other test tells: signals, moved runs, odd pictures, what a kill leaves."""

import shutil
import signal
from pathlib import Path

from _crash import copied, differing, results, shared_case
from _zygote import Ended, shared_zygote

from storage.rundir import read_manifest, write_manifest


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
