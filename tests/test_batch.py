"""A file of jobs: read strictly, worked through one after the other, planned, looked at; what fails stops no other."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from _runs import BOX, CLIP_OPTIONS, follow_here, invoke, small_clip, small_models

from storage.errors import RunDirectoryError, UsageError
from stream.batch.jobs import Batch, Job, read_batch
from stream.batch.plan import Prices, prices
from stream.batch.status import rows_of
from stream.run.children import SKATE, Children, Made


def as_toml(words: list[str]) -> str:
    """Options of the command line as lines of a TOML file."""
    return "\n".join(
        f"{key.removeprefix('--')} = {value!r}" for key, value in zip(words[::2], words[1::2], strict=True)
    )


@pytest.fixture(scope="module", autouse=True)
def here() -> Iterator[None]:
    """Jobs run in this process, which has loaded everything; in one of their own: the slow test, and variations'."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Children, "follow", follow_here)
        yield


@pytest.fixture(scope="module")
def jobs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two clips, the first with another look, and one whose video is not there, with a look of its own."""
    folder = tmp_path_factory.mktemp("jobs")
    clip = small_clip(folder)
    file = folder / "jobs.toml"
    file.write_text(
        f"[defaults]\n{as_toml([*BOX, *small_models(folder), *CLIP_OPTIONS])}\n"
        f"[[job]]\nname = 'one'\nvideo = {str(clip)!r}\nseed = 3\n"
        "[[job.variation]]\nname = 'other'\nseed = 4\n"
        f"[[job]]\nname = 'gone'\nvideo = {str(folder / 'gone.mp4')!r}\n"
        "[[job.variation]]\nname = 'look'\nseed = 5\n"
        f"[[job]]\nname = 'two'\nvideo = {str(clip)!r}\n"
    )
    return file


@pytest.fixture(scope="module")
def worked(jobs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """That batch, worked through."""
    out = tmp_path_factory.mktemp("batch") / "out"
    ended = invoke(["batch", "run", str(jobs), "--out", str(out), "--json"])
    assert ended.code == 3, ended.err
    last = json.loads(ended.out.splitlines()[-1])
    assert set(last) == {"event", "jobs", "failed", "seconds"} and last["event"] == "done" and last["jobs"] == 5
    assert [each["job"] for each in last["failed"]] == ["gone", "gone-look"]
    assert "gone.mp4" in last["failed"][0]["message"] and "takes the tracking of gone" in last["failed"][1]["message"]
    lines = [json.loads(line) for line in ended.out.splitlines()[:-1]]
    stages = {
        name: {line.get("stage") for line in lines if line["job"] == name} for name in ("one", "one-other", "two")
    }
    assert "track" in stages["one"] & stages["two"] and "score" in stages["one-other"]
    assert "track" not in stages["one-other"], "tracking is not done again"
    return out


def test_each_job_is_what_a_run_of_its_own_is(worked: Path, jobs: Path, tmp_path: Path) -> None:
    clip = str(jobs.parent / "clip.mp4")
    lines = jobs.read_text().split("[[job]]")[0].removeprefix("[defaults]\n")
    (tmp_path / "options.toml").write_text(lines)
    alone = tmp_path / "alone"
    command = ["run", clip, "--config", str(tmp_path / "options.toml"), "--seed", "4", "--out", str(alone)]
    assert invoke(command).code in (0, 1)
    assert (alone / "output.mp4").read_bytes() == (worked / "one-other" / "output.mp4").read_bytes()
    assert (worked / "one" / "output.mp4").read_bytes() != (worked / "two" / "output.mp4").read_bytes()


def test_status_tells_every_job_and_leaves_a_page(worked: Path) -> None:
    ended = invoke(["batch", "status", str(worked)])
    assert ended.code == 0
    rows = {line.split()[0]: line for line in ended.out.splitlines() if line.strip()}
    assert "done" in rows["one"] and "failed" in rows["gone"] and "gone.mp4" in rows["gone"]
    assert "5 jobs: 3 done, 2 failed" in ended.out
    page = (worked / "index.html").read_text()
    assert 'href="one/report/index.html"' in page and "gone.mp4" in page and "<script" not in page
    told = json.loads(invoke(["batch", "status", str(worked), "--json"]).out)
    assert [row["state"] for row in told["jobs"]] == ["done", "done", "failed", "failed", "done"]
    assert all(row["done_windows"] == row["windows"] for row in told["jobs"] if row["state"] == "done")


def test_a_job_that_nothing_gates_says_so(jobs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`--reskin remove`, or persons alone."""
    done = {"event": "done", "gate": None, "seconds": 2.0}
    monkeypatch.setattr(Children, "follow", lambda children, name, words: Made(name, 0, done, ""))
    ended = invoke(["batch", "run", str(jobs), "--out", str(tmp_path / "out")])
    assert ended.code == 0 and ended.out.splitlines()[0].split() == ["one", "gate", "none,", "2", "s"]


def test_the_same_command_again_does_nothing_twice(worked: Path, jobs: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in sorted(worked.glob("*/segments/*"))}
    assert before
    ended = invoke(["batch", "run", str(jobs), "--out", str(worked), "--json"])
    assert ended.code == 3 and '"event": "window"' not in ended.out
    assert json.loads(ended.out.splitlines()[-1])["jobs"] == 5
    assert {path: path.stat().st_mtime_ns for path in sorted(worked.glob("*/segments/*"))} == before


def test_a_video_that_begins_with_a_dash_is_no_option(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small_clip(tmp_path).rename(tmp_path / "-clip.mp4")
    options = as_toml([*BOX, *small_models(tmp_path), *CLIP_OPTIONS])
    (tmp_path / "jobs.toml").write_text(f"[defaults]\n{options}\n[[job]]\nname = 'one'\nvideo = '-clip.mp4'\n")
    monkeypatch.chdir(tmp_path)
    assert invoke(["batch", "plan", "jobs.toml"]).code == 0
    assert invoke(["batch", "run", "jobs.toml", "--out", "-out"]).code in (0, 1)
    assert (tmp_path / "-out" / "one" / "output.mp4").is_file()


def test_interrupted_it_says_that_the_same_command_continues(
    jobs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(children: Children, name: str, words: object) -> object:
        raise KeyboardInterrupt

    monkeypatch.setattr(Children, "follow", interrupted)
    ended = invoke(["batch", "run", str(jobs), "--out", str(tmp_path / "out")])
    assert ended.code == 130 and "the same command continues" in ended.err and "skate resume" not in ended.err


def test_no_module_of_the_folder_that_it_is_called_in_is_loaded(tmp_path: Path) -> None:
    (tmp_path / "click.py").write_text("raise SystemExit(77)")
    given = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[1])}
    ended = subprocess.run([*SKATE, "--version"], cwd=tmp_path, env=given, capture_output=True, check=False)
    assert ended.returncode == 0


@pytest.mark.slow
def test_a_batch_that_is_killed_goes_on(worked: Path, jobs: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    command = [sys.executable, "-m", "stream.cli", "batch", "run", str(jobs), "--out", str(out), "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if '"stage": "track"' in line:
                os.kill(process.pid, signal.SIGKILL)
                break
    assert [row.state for row in rows_of(read_batch(out))][1:] == ["waiting"] * 4
    assert invoke(["batch", "run", str(jobs), "--out", str(out)]).code == 3
    for name in ("one", "one-other", "two"):
        assert (out / name / "output.mp4").read_bytes() == (worked / name / "output.mp4").read_bytes()


def test_a_plan_counts_and_names_what_will_not_run(worked: Path, jobs: Path) -> None:
    """After `worked`, whose runs have told how long each stage takes."""
    ended = invoke(["batch", "plan", str(jobs), "--price", "gpu=0.69/h,gb=0.02", "--json"])
    assert ended.code == 4, ended.err
    told = json.loads(ended.out)
    one, other, gone, look, two = told["jobs"]
    assert one["frames"] == two["frames"] == 20 and one["windows"] == two["windows"]
    assert 0 < other["seconds"] < one["seconds"], "tracking is not done again"
    assert "gone.mp4" in gone["refused"] and "will not run" in look["refused"]
    total = told["total"]
    assert total["frames"] == 60 and total["seconds"] == pytest.approx(sum(e["seconds"] for e in (one, other, two)))
    assert total["ram"] == one["ram"] > 1e8, "the most, not the sum"
    assert one["gpu_seconds"] == one["moved"] == 0 and one["cost"] == pytest.approx(one["kept"] / 1e9 * 0.02)
    table = invoke(["batch", "plan", str(jobs)])
    assert table.code == 4 and "gone.mp4" in table.out and table.out.splitlines()[0].startswith("job")


@pytest.mark.parametrize(
    ("text", "wanted"),
    [("gpu=0.69/h,gb=0.02", Prices(0.69, 0.02)), ("gb=1", Prices(0.0, 1.0)), ("gpu=2", Prices(2.0, 0.0))],
)
def test_prices(text: str, wanted: Prices) -> None:
    assert prices(text) == wanted


@pytest.mark.parametrize("text", ["", "gpu", "gpu=-1", "gb=1/h", "gpu=1,gpu=2", "card=1", "gpu=nan"])
def test_what_is_no_price_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="--price"):
        prices(text)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "give tables [[job]]"),
        ("other = 1\n[[job]]\nname='a'\nvideo='v'", ", holds 'other': give tables [[job]]"),
        ("[[job]]\nnmae='a'\nvideo='v'", "job 1: it has no name, but 'nmae': give letters, digits"),
        ("[job]\nname='a'", "give tables [[job]]"),
        ("[[job]]\nname='a'", "job 1: give a video"),
        ("[[job]]\nname='../a'\nvideo='v'", "give letters, digits, - and _"),
        ("[[job]]\nname='a'\nvideo='v'\n[[job]]\nname='a'\nvideo='v'", "'a' is given twice"),
        ("[[job]]\nname='a-b'\nvideo='v'\n[[job]]\nname='a'\nvideo='v'\n[[job.variation]]\nname='b'", "'a-b' is given"),
        ("[[job]]\nname='a'\nvideo='v'\nout='x'", "'out' is no option"),
        ("[[job]]\nname='a'\nvideo='v'\nsede=1", "'sede' is no option"),
        ("[defaults]\nconfig='x'\n[[job]]\nname='a'\nvideo='v'", "defaults: 'config' is no option"),
        ("[[job]]\nname='a'\nvideo='v'\n[[job.variation]]\nname='b'\nvideo='w'", "'video' is no option"),
        ("[[job]]\nname='a'\nvideo='v'\nseed=[true]", "job 1: seed"),
        ("[[job", "is no TOML"),
    ],
)
def test_what_is_no_file_of_jobs_is_refused(tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "jobs.toml"
    file.write_text(text)
    ended = invoke(["batch", "run", str(file), "--out", str(tmp_path / "out")])
    assert ended.code in (2, 3) and said in ended.err and ended.err.count("\n") == 1, ended.err
    assert not (tmp_path / "out").exists()


def test_a_folder_that_holds_no_batch_or_a_damaged_one(tmp_path: Path) -> None:
    ended = invoke(["batch", "status", str(tmp_path)])
    assert ended.code == 6 and "no batch lies there" in ended.err
    Batch(tmp_path, [Job("a", "v.mp4", ())]).write()
    assert [row.state for row in rows_of(read_batch(tmp_path))] == ["waiting"]
    jobs = [Job("a", "v.mp4", ("--seed", "1", "--fps", "5")), Job("b", "a", ("--seed", "3"), looks=True),
            Job("c", "v.mp4", ("--seed", "1"))]  # fmt: skip
    Batch(tmp_path, jobs).write()
    assert read_batch(tmp_path).jobs == tuple(jobs)
    assert (tmp_path / "batch.json").read_text().count("--seed") == 2, "what jobs have in common stands there once"
    (tmp_path / "batch.json").write_text('{"format": 1, "jobs": [{"name": 3}]}')
    with pytest.raises(RunDirectoryError, match=r"batch\.json"):
        read_batch(tmp_path)
