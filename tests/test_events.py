"""What a caller of the Python API is told, and how it ends a run: events, and the cancel token."""

import shutil
import threading
from dataclasses import replace
from pathlib import Path
from statistics import fmean

import pytest
import torch
from _small_run import FRAMES, small_config, small_run

from stages.base import Inputs, Output, Window
from stages.prompts import Correction
from stages.track import TrackStage
from storage.backend import open_store
from storage.errors import Interrupted, UsageError
from storage.rundir import read_log, read_manifest
from stream.engine.signals import Cancel
from stream.progress.events import Event, Note, RunBegins, WindowDone
from stream.run.lifecycle import resume, start
from stream.run.status import read_status, status_text
from stream.run.variation import generate_from_run


def test_each_window_carries_the_number_of_its_record(tmp_path: Path) -> None:
    told: list[Event] = []
    start(small_config("extract"), tmp_path / "run", listener=told.append)
    windows = [event for event in told if isinstance(event, WindowDone)]
    commits = read_log(tmp_path / "run").commits
    assert windows and {(e.stage, e.index): e.record for e in windows} == {key: r["n"] for key, r in commits.items()}
    assert all(event.info == commits[event.stage, event.index]["info"] for event in windows)
    begins = next(event for event in told if isinstance(event, RunBegins))
    assert begins.stages == ("decode", "pose", "track") and not any(begins.done.values())
    assert sum(event.span.frames for event in windows if event.stage == "track") == FRAMES
    assert any(isinstance(event, Note) and event.text.startswith("plan ") for event in told)
    records = [event.record for event in told if event.record is not None]
    assert records == sorted(records), "never older than what was told before"


def test_cancelled_from_another_thread_and_resumed_with_the_same_bytes(tmp_path: Path) -> None:
    cancel, run = Cancel(), tmp_path / "run"
    commits, told = [], []

    def listener(event: Event) -> None:
        if isinstance(event, WindowDone):
            told.append(event.record)
        if isinstance(event, WindowDone) and (event.stage, event.index) == ("track", 0):
            commits.append(len(read_log(run).commits))
            thread = threading.Thread(target=cancel.cancel)
            thread.start()
            thread.join()

    with pytest.raises(Interrupted, match="skate resume"):
        start(small_config(), run, listener=listener, cancel=cancel)
    done = read_log(run)
    assert [len(done.commits) - 1] == commits, "ends at the next commit"
    assert told == [record["n"] for record in done.commits.values()], "that one is told as well"
    resume(run)
    assert (run / "output.mp4").read_bytes() == (small_run() / "output.mp4").read_bytes()


def test_it_is_gone_on_with_by_as_many_threads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By another number sums end in other last bits."""
    begun, counted, plain = torch.get_num_threads(), list[int](), TrackStage.process

    def noted(stage: TrackStage, window: Window, inputs: Inputs) -> Output:
        counted.append(torch.get_num_threads())  # of the thread that tracks
        return plain(stage, window, inputs)

    monkeypatch.setattr(TrackStage, "process", noted)
    with pytest.raises(Interrupted):
        start(small_config(), tmp_path / "run", cancel=Cancel(deadline_seconds=0.0))
    torch.set_num_threads(begun + 1)
    try:
        resume(tmp_path / "run")
        assert torch.get_num_threads() == begun + 1, "of this process, as before"
    finally:
        torch.set_num_threads(begun)
    assert counted and set(counted) == {begun}


@pytest.mark.parametrize("how", ["corrected", "another seed", "a variation"])
def test_what_begins_with_the_work_of_a_run_computes_with_as_many_threads(how: str, tmp_path: Path) -> None:
    """What it reads again of that work, or repairs of it, must come out as it was recorded."""
    run = Path(shutil.copytree(small_run(), tmp_path / "run", ignore=shutil.ignore_patterns(".lock")))
    begun, config = torch.get_num_threads(), small_config()
    torch.set_num_threads(begun + 1)
    try:
        if how == "corrected":  # what the window before it hands on is not kept, and tracked again
            start(replace(config, correct=(Correction(16, box=(60.0, 70.0, 100.0, 82.0)),)), run, overwrite=True)
        elif how == "another seed":
            start(replace(config, seed=5), run, overwrite=True)
        else:
            generate_from_run(run, tmp_path / "other", {"seed": 5})
            run = tmp_path / "other"
        assert read_manifest(run)["threads"] == begun
        last = max((run / "run.zarr" / "state" / "track").iterdir(), key=lambda path: int(path.name))
        last.write_bytes(b"damaged")
        resume(run)
    finally:
        torch.set_num_threads(begun)


def test_windows_are_counted_at_the_rate_that_is_asked_for(tmp_path: Path) -> None:
    told: list[Event] = []
    config, run = replace(small_config("extract"), fps=12.0), tmp_path / "run"
    with pytest.raises(Interrupted):
        start(config, run, listener=told.append, cancel=Cancel(deadline_seconds=0.0))
    begins = next(event for event in told if isinstance(event, RunBegins))
    assert begins.windows == read_status(run).windows == 2, "10 frames of the 21"
    assert resume(run).windows == 2


def test_the_status_of_a_run_on_its_way(tmp_path: Path) -> None:
    """Times are those of all stages but decode, which works beside them; what is left is at each stage's own pace."""
    run = tmp_path / "run"
    shutil.copytree(small_run(), run)
    done = read_status(run)
    assert (done.state, done.windows, done.seconds_left) == ("done", 3, 0.0) and " left" not in status_text(done)
    lines = (run / "journal.jsonl").read_bytes().splitlines(keepends=True)
    scored = [number for number, line in enumerate(lines, 1) if b'"score"' in line and b'"commit"' in line]
    (run / "journal.jsonl").write_bytes(b"".join(lines[: scored[1]]))
    log = read_log(run)
    seconds = {name: [record["seconds"] for record in log.of(name)] for name in done.done if name != "decode"}
    counts = {name: len(each) for name, each in seconds.items()}
    assert counts["score"] == 2, "others work ahead of it"
    found = read_status(run)
    assert (found.state, found.windows, found.done) == ("interrupted", 3, {"decode": log.done("decode")} | counts)
    frames = {2: 15, 3: FRAMES}[max(counts.values())]
    assert found.frames_per_second == pytest.approx(frames / sum(map(sum, seconds.values())))
    left = sum(fmean(each) * (3 - len(each)) for each in seconds.values())
    assert left > 0 and found.seconds_left == pytest.approx(left)
    iou = [value for record in log.of("score") for value in record["info"]["iou"] if value is not None]
    assert (found.iou_min, found.iou_mean) == ((min(iou), pytest.approx(fmean(iou))) if iou else (None, None))
    assert f"frames/s, about {left:.0f} s left" in status_text(found)
    with open_store(run).lock(print):
        assert read_status(run).state == "running"
    (run / "journal.jsonl").write_bytes(b"".join(lines[: scored[0] - 1]))
    found = read_status(run)
    assert (found.frames_per_second, found.seconds_left, found.done["score"]) == (None, None, 0)
    assert "speed" not in status_text(found)


def test_a_deadline_that_never_comes_is_refused() -> None:
    with pytest.raises(UsageError, match="NaN"):
        Cancel(deadline_seconds=float("nan"))
    assert Cancel(deadline_seconds=-1.0).due and not Cancel(deadline_seconds=float("inf")).due


def test_in_a_thread_of_its_own_with_a_deadline(tmp_path: Path) -> None:
    run, raised = tmp_path / "run", []

    def work() -> None:
        try:
            start(small_config("extract"), run, cancel=Cancel(deadline_seconds=0.0))
        except Interrupted as error:
            raised.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert len(raised) == 1 and raised[0].exit_code == 130
    assert sum(read_log(run).done(stage) for stage in ("decode", "pose", "track")) == 1, "at the first commit"
    resume(run)
    assert read_log(run).finished is not None
