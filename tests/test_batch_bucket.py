"""A batch in a bucket: its own entries and lease, and a run a job below it."""

import json
from itertools import count
from pathlib import Path

import pytest
from _runs import BOX, CLIP_OPTIONS, follow_here, invoke, small_clip, small_models
from _s3 import BUCKET, environment, shared_server

from storage import remote
from storage.address import run_path
from storage.backend import open_store
from storage.bucket import Bucket
from stream.batch.jobs import Batch, Job, read_batch
from stream.batch.status import rows_of
from stream.cli.batch import piece_of
from stream.run.children import Children, Made

_names = count()


@pytest.fixture(autouse=True)
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name, value in environment(shared_server()).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("storage.nearby._place", [tmp_path / "scratch"])
    monkeypatch.setattr("storage.lease.LEASE_SECONDS", 0.6)
    monkeypatch.setattr("storage.lease.BEAT_SECONDS", 0.15)
    monkeypatch.setattr("storage.lease.POLL_SECONDS", 0.02)
    monkeypatch.setattr("storage.bucket.PAUSE_SECONDS", 0.002)
    monkeypatch.setattr(Children, "follow", follow_here)


def new_batch() -> str:
    return f"s3://{BUCKET}/batches/batch{next(_names)}"


def jobs_file(folder: Path, *names: str) -> Path:
    """Jobs whose video is not there."""
    file = folder / "jobs.toml"
    jobs = "".join(f"[[job]]\nname = {name!r}\nvideo = {str(folder / 'gone.mp4')!r}\n" for name in names)
    file.write_text(f"[defaults]\nbox = [1, 2, 30, 40]\n{jobs}")
    return file


def another_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """What this one knows of runs in buckets is not known to it."""
    monkeypatch.setattr(remote, "_runs", {})


def test_what_became_of_the_jobs_lies_in_the_bucket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file, out = jobs_file(tmp_path, "a", "b"), new_batch()
    ended = invoke(["batch", "run", str(file), "--out", out, "--json"])
    assert ended.code == 3, ended.err
    assert [each["job"] for each in json.loads(ended.out.splitlines()[-1])["failed"]] == ["a", "b"]
    another_process(monkeypatch)
    status = invoke(["batch", "status", out])
    assert status.code == 0 and "2 jobs: 2 failed" in status.out and "gone.mp4" in status.out
    assert f"page     {out}/index.html" in status.out
    page = Bucket(run_path(out)).get("index.html").decode()  # type: ignore[arg-type]
    assert "gone.mp4" in page
    plan = invoke(["batch", "plan", str(file), "--out", out])
    assert plan.code == 4 and "gone.mp4" in plan.out
    assert invoke(["batch", "status", f"{out}-other"]).code == 6


def test_a_job_cannot_have_the_name_that_a_bucket_keeps(tmp_path: Path) -> None:
    ended = invoke(["batch", "run", str(jobs_file(tmp_path, "next")), "--out", new_batch()])
    assert ended.code == 2 and "cannot be called next" in ended.err and ended.err.count("\n") == 1


def test_a_driver_that_lost_its_lease_writes_no_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The other driver's word counts; both say why."""
    out = run_path(new_batch())
    job = Job("a", "a.mp4", ())
    batch = Batch(out, [job])
    with pytest.raises(Exception, match="another process holds this run by now"), open_store(out).lock():
        batch.write()
        monkeypatch.setattr("storage.lease._wait_until_dead", lambda *given: None)  # it slept for too long
        another_process(monkeypatch)
        with open_store(out).lock():
            Batch(out, [job]).note(job, Made("a", 5, None, "the other's"))
        batch.note(job, Made("a", 0, {}, ""))
    another_process(monkeypatch)
    (row,) = rows_of(read_batch(out))
    assert row.message == "the other's"


def test_a_bucket_that_is_down_fails_the_job_in_a_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    job = Job("a", str(small_clip(tmp_path)), (*BOX, *small_models(tmp_path)))
    made = piece_of(job, run_path(new_batch()), 8, ())
    assert made is not None and made.code == 4 and "does not answer" in made.message and "\n" not in made.message


@pytest.mark.slow
def test_jobs_in_a_bucket_have_the_bytes_of_local_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clip, words = small_clip(tmp_path), [*BOX, *small_models(tmp_path), *CLIP_OPTIONS]
    lines = [f"{key.removeprefix('--')} = {value!r}" for key, value in zip(words[::2], words[1::2], strict=True)]
    file = tmp_path / "jobs.toml"
    jobs = "".join(f"[[job]]\nname = 'job{seed}'\nvideo = {str(clip)!r}\nseed = {seed}\n" for seed in (3, 4))
    file.write_text("[defaults]\n" + "\n".join(lines) + "\n" + jobs)
    outs = [str(tmp_path / "local"), new_batch()]
    for out in outs:
        assert invoke(["batch", "run", str(file), "--out", out]).code in (0, 1)
    another_process(monkeypatch)
    assert [row.state for row in rows_of(read_batch(run_path(outs[1])))] == ["done", "done"]
    for name in ("job3", "job4"):
        made = [open_store(run_path(out) / name).read("output.mp4", 1 << 30) for out in outs]
        assert made[0] == made[1]
    assert invoke(["batch", "run", str(file), "--out", outs[1], "--json"]).out.count('"event": "window"') == 0
