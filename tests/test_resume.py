"""Interrupted runs go on; other configs are refused; a changed prompt does again what depends on it."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from _crash import Case, copied, differing, results, shared_case
from _zygote import Ended, shared_zygote

from storage.rundir import RunReader, read_log
from stream.engine.signals import asked_by
from stream.run.trouble import CONTINUES

FROM_PROMPT_ON = ("generate", "composite", "blend", "sink", "score")


def skate(arguments: list[str], **given: object) -> Ended:
    ended = shared_zygote().run(arguments, **given)  # type: ignore[arg-type]
    assert "Traceback" not in ended.output, ended.output
    return ended


def test_under_nohup_a_closed_terminal_ends_nothing() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    try:
        assert asked_by() == (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        assert asked_by() == (signal.SIGINT, signal.SIGTERM)
    finally:
        signal.signal(signal.SIGHUP, before)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_interrupted_by_a_signal(tmp_path: Path, number: int) -> None:
    case, _, wanted = shared_case()
    run = tmp_path / "run"
    hook = ("_hooks:signal_after_commits", {"commits": 17, "number": int(number)})
    ended = skate(case.run(run), hook=hook)
    assert ended.code == 130, ended.output
    assert ended.output.splitlines()[-1] == f"skate: interrupted: {CONTINUES}", ended.output
    records = (run / "journal.jsonl").read_text().count('"kind": "commit"')
    assert records == 17, "the commit in hand is finished, no other is begun"
    assert not list(run.rglob("*.partial"))
    status = json.loads(skate(["status", str(run), "--json"]).output)
    assert status["state"] == "interrupted"
    ended = skate(["resume", str(run)])
    assert ended.code in (0, 1), ended.output
    assert differing(results(run), wanted) == []


def test_run_on_the_same_config_resumes_and_only_free_options_may_differ(tmp_path: Path) -> None:
    case, finished, wanted = shared_case()
    run = copied(finished, tmp_path)
    ended = skate(case.run(run, "--json", "--timeout", "7", "--ram", "999GB"))
    assert ended.code in (0, 1), ended.output
    events = [json.loads(line) for line in ended.output.splitlines() if line.startswith("{")]
    assert events[-1]["event"] == "done"
    assert differing(results(run), wanted) == []


def test_another_config_is_refused_with_old_and_new_value(tmp_path: Path) -> None:
    case, finished, wanted = shared_case()
    run = copied(finished, tmp_path)
    ended = skate(case.run(run, "--seed", "5", "--iou-threshold", "0.5"))
    assert ended.code == 6
    assert len(ended.output.splitlines()) == 1
    assert "seed: was 0, now 5" in ended.output and "iou_threshold: was 0.9, now 0.5" in ended.output
    assert differing(results(run), wanted) == []


def test_another_input_is_refused(tmp_path: Path) -> None:
    case, finished, _ = shared_case()
    run = copied(finished, tmp_path)
    video = tmp_path / "other.mp4"
    video.write_bytes(case.video.read_bytes() + b"\0\0\0\x08free")
    ended = skate(Case(video, case.options).run(run))
    assert ended.code == 6
    assert "input bytes: was" in ended.output and "input sha256: was" in ended.output


def test_the_same_input_under_another_name_is_the_same(tmp_path: Path) -> None:
    case, finished, wanted = shared_case()
    run = copied(finished, tmp_path)
    video = tmp_path / "moved.mp4"
    video.write_bytes(case.video.read_bytes())
    assert skate(Case(video, case.options).run(run)).code in (0, 1)
    assert differing(results(run), wanted) == []


def test_another_prompt_keeps_masks_and_poses(tmp_path: Path) -> None:
    """Everything was dropped; frames are decoded again, and the result is that of a fresh run with the new options."""
    case, finished, before = shared_case()
    fresh, run = tmp_path / "fresh", copied(finished, tmp_path)
    new = ("--seed", "11", "--prompt", "brushed steel")
    assert skate(case.run(fresh, *new)).code in (0, 1)
    wanted = results(fresh)
    assert wanted["output.mp4"] != before["output.mp4"]

    hook = ("_hooks:kill_at_commit", {"commits": 10})
    assert skate(case.run(run, *new, "--overwrite"), hook=hook).code == -9
    log = read_log(run / "next")
    assert [log.done(stage) for stage in ("decode", "pose", "track")] == [7, 7, 7]
    assert sum(log.done(stage) for stage in FROM_PROMPT_ON) == 10
    ended = skate(["resume", str(run)])
    assert ended.code in (0, 1), ended.output
    assert not any(line.startswith(("decode ", "pose ", "track ")) for line in ended.output.splitlines())
    assert differing(results(run), wanted) == []


def test_another_threshold_does_nothing_again_but_the_verdict(tmp_path: Path) -> None:
    case, finished, wanted = shared_case()
    run = copied(finished, tmp_path)
    ended = skate(case.run(run, "--iou-threshold", "0.0001", "--overwrite", "--json"))
    assert ended.code in (0, 1), ended.output
    lines = [json.loads(line) for line in ended.output.splitlines() if line.startswith("{")]
    assert [line["event"] for line in lines] == ["done"]
    found = results(run)
    assert set(differing(found, wanted)) <= {"report/iou.csv"}


def test_another_window_starts_anew(tmp_path: Path) -> None:
    case, finished, _ = shared_case()
    run = copied(finished, tmp_path)
    options = [option if option != "5" else "9" for option in case.options]
    ended = skate(Case(case.video, tuple(options)).run(run, "--overwrite"))
    assert ended.code in (0, 1), ended.output
    assert read_log(run).done("decode") == 3


@pytest.mark.parametrize("keep", ["frames", "all"])
def test_keeping_frames_changes_no_result(tmp_path: Path, keep: str) -> None:
    case, _, wanted = shared_case()
    run = tmp_path / "run"
    assert skate(case.run(run, "--keep", keep), fault="track.arrays#4").code == -9
    assert skate(["resume", str(run)]).code in (0, 1)
    reader = RunReader(run)
    assert reader.arrays.read("frames", 0, 21).shape == (21, 64, 96, 3)
    found = results(run)
    assert all(
        found[name] == digest for name, digest in wanted.items() if "frames" not in name and "generated" not in name
    )


def test_extract_then_run_goes_on_from_the_masks(tmp_path: Path) -> None:
    case, _, wanted = shared_case()
    run = tmp_path / "run"
    assert skate(["extract", *case.run(run)[1:]]).code == 0
    ended = skate(case.run(run))
    assert ended.code == 6 and 'chain: was "extract", now "run"' in ended.output
    ended = skate(case.run(run, "--overwrite"))
    assert ended.code in (0, 1), ended.output
    assert not any(line.startswith(("decode ", "pose ", "track ")) for line in ended.output.splitlines())
    assert differing(results(run, everything=False), wanted) == sorted(
        name for name in wanted if name.startswith("run.zarr/")
    )


def test_a_foreign_folder_is_left_alone(tmp_path: Path) -> None:
    case, _, _ = shared_case()
    (tmp_path / "thesis.doc").write_text("years of work")
    for more in ((), ("--overwrite",)):
        ended = skate(case.run(tmp_path, *more))
        assert ended.code == 6
        assert "is no run directory: choose another --out" in ended.output
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.doc"]


def test_two_processes_do_not_share_a_run(tmp_path: Path) -> None:
    from storage.backend import open_store

    _, finished, _ = shared_case()
    run = copied(finished, tmp_path)
    assert not open_store(run).is_locked()
    with open_store(run).lock():
        assert open_store(run).is_locked()
        ended = skate(["resume", str(run)])
    assert not open_store(run).is_locked()
    assert ended.code == 6
    assert "in use by another skate process" in ended.output


def test_limits_and_other_names_of_the_same_files_do_not_count(tmp_path: Path) -> None:
    case, finished, wanted = shared_case()
    run = copied(finished, tmp_path)
    options = list(case.options)
    for option in ("--sam", "--sam-config"):
        place = options.index(option) + 1
        moved = tmp_path / f"renamed-{Path(options[place]).name}"
        moved.write_bytes(Path(options[place]).read_bytes())
        options[place] = str(moved)
    renamed = Case(case.video, tuple(options))
    ended = skate(renamed.run(run, "--max-bad-frames", "7", "--max-pixels", "1000000"))
    assert ended.code in (0, 1), ended.output
    assert differing(results(run), wanted) == []
    weights = Path(options[options.index("--sam") + 1])
    weights.write_bytes(weights.read_bytes() + b"\0")
    ended = skate(renamed.run(run))
    assert ended.code == 6 and "sam weights: was" in ended.output, "the content counts"


def test_evaluate_takes_the_model_that_tracked_and_says_what_is_left(tmp_path: Path) -> None:
    case, _, _ = shared_case()
    run = tmp_path / "run"
    options = list(case.options)
    place = options.index("--sam") + 1
    weights = tmp_path / Path(options[place]).name
    weights.write_bytes(Path(options[place]).read_bytes())
    options[place] = str(weights)
    case = Case(case.video, tuple(options))
    assert skate(case.run(run), fault="sink.journal#3").code == -9
    ended = skate(["evaluate", str(run), "--quiet"])
    assert ended.code in (0, 1), ended.output
    assert "3 of " in ended.output and "windows are encoded so far: `skate resume" in ended.output
    ended = skate(["evaluate", str(run), "--box", "1,2,3,4"])
    assert ended.code == 2 and "--box does not go with RUN" in ended.output
    weights.write_bytes(weights.read_bytes() + b"\0")
    ended = skate(["evaluate", str(run)])
    assert ended.code == 6 and "are not those that it was tracked with" in ended.output


def test_a_deleted_journal_of_an_extracted_run_is_named(tmp_path: Path) -> None:
    case, _, _ = shared_case()
    run = tmp_path / "run"
    assert skate(["extract", *case.run(run)[1:]]).code == 0
    (run / "journal.jsonl").unlink()
    ended = skate(["status", str(run), "--verify"])
    assert ended.code == 6 and "journal.jsonl" in ended.output


def test_sigterm_outside_a_run_is_an_interruption_too(tmp_path: Path) -> None:
    code = (
        "import os, signal, stream.cli, stream.cli.frame as frame\n"
        "frame.frame_command.callback = lambda **given: os.kill(os.getpid(), signal.SIGTERM)\n"
        f"stream.cli.main(['frame', 'clip.mp4', '--to', {str(tmp_path / 'frame.png')!r}])\n"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert ended.returncode == 130, ended.stderr
    assert ended.stderr.strip() == "skate: interrupted: give the same command again", "there is no run to go on with"
