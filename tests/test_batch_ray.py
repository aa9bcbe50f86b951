"""Jobs in turn among workers: who goes on next is a pure question; with Ray itself where it is installed."""

import importlib.util
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
from _runs import BOX, CLIP_OPTIONS, invoke, small_clip, small_models

from stages.sam.model import SamConfig, SamModel, Warm
from storage.backend import open_store
from stream.batch import on_ray
from stream.batch.jobs import Batch, Ended, Job
from stream.batch.turns import MOST_DEATHS, MOST_SERVERS, Turns
from stream.cli.batch import piece_of
from stream.run.children import Made


def turns_of(folder: Path, *jobs: Job) -> Turns:
    return Turns(jobs, {}, Batch(folder, jobs).note)


def well(name: str) -> Made:
    return Made(name, 0, {"gate": "passed", "seconds": 1.0}, "")


def test_jobs_take_turns_and_looks_wait_for_their_tracking(tmp_path: Path) -> None:
    a, look, b = Job("a", "a.mp4", ()), Job("a-look", "a", (), looks=True), Job("b", "b.mp4", ())
    turns = turns_of(tmp_path, a, look, b)
    assert [turns.next() for _ in range(3)] == [(a, ()), (b, ()), None]
    turns.went(a, None)
    assert turns.next() == (a, ()), "there is more of it; its look still waits"
    turns.went(a, well("a"))
    assert turns.next() == (look, ())
    turns.went(look, well("a-look"))
    turns.went(b, Made("b", 3, None, "no such file"))
    assert turns.over and [each.code for each in turns.ended()] == [0, 0, 3]


def test_a_look_of_what_failed_is_not_begun(tmp_path: Path) -> None:
    a, look = Job("a", "a.mp4", ()), Job("a-look", "a", (), looks=True)
    turns = turns_of(tmp_path, a, look)
    assert turns.next() == (a, ())
    turns.went(a, Made("a", 5, None, "the server is gone"))
    assert turns.next() is None and turns.over
    assert [each.message for each in turns.ended()] == ["the server is gone", "takes the tracking of a, which failed"]


def test_a_server_serves_one_piece_at_a_time_and_all_in_turn(tmp_path: Path) -> None:
    both = ("--server", "p:1", "--server", "q:1")
    jobs = [Job(name, "v.mp4", both) for name in "abc"] + [Job("d", "v.mp4", ("--server", "r:1"))]
    turns = turns_of(tmp_path, *jobs)
    first, second, third = turns.next(), turns.next(), turns.next()
    assert first and second and third and turns.next() is None
    assert [servers for _, servers in (first, second, third)] == [("p:1",), ("q:1",), ("r:1",)], "c waits, d need not"
    turns.went(first[0], None)
    assert turns.next() == (jobs[0], ("p:1",)), "a goes on before c begins"
    turns.went(second[0], None)
    turns.went(first[0], None)
    assert [turns.next(), turns.next()] == [(jobs[1], ("q:1",)), (jobs[0], ("p:1",))], "who waited longest"
    turns.went(jobs[0], well("a"))
    assert turns.next() == (jobs[2], ("p:1",))


def test_a_job_whose_workers_die_is_tried_again_and_given_up_in_the_end(tmp_path: Path) -> None:
    a = Job("a", "a.mp4", ("--server", "p:1"))
    turns = turns_of(tmp_path, a)
    for _ in range(MOST_DEATHS - 1):
        assert turns.next() == (a, ("p:1",))
        turns.died(a, "killed")
    assert turns.next() == (a, ("p:1",))
    turns.went(a, None)  # a window was done: from here on they count anew
    for _ in range(MOST_DEATHS):
        assert turns.next() == (a, ("p:1",)) and not turns.over
        turns.died(a, "killed")
    (ended,) = turns.ended()
    assert ended.code == 4 and f"died {MOST_DEATHS} times" in ended.message


def on(*servers: str) -> tuple[str, ...]:
    return tuple(word for server in servers for word in ("--server", server))


def gone(job: Job) -> Made:
    return Made(job.name, 5, None, "no answer")


def test_what_failed_before_a_commit_does_not_count(tmp_path: Path) -> None:
    a = Job("a", "v.mp4", on("p:1", "q:1"))
    commits = iter([1, 2, 2, 3, 3, *[4] * MOST_DEATHS])
    turns = Turns([a], {}, Batch(tmp_path, [a]).note, lambda job: next(commits))
    for ended in (False, False, True):  # on p; on q, with a window; on p again, with none
        assert turns.next() is not None and turns.went(a, gone(a)) is ended
    turns = Turns([a], {}, Batch(tmp_path, [a]).note, lambda job: next(commits))
    for _ in range(1 + 1 + MOST_DEATHS):
        assert turns.next() is not None
        turns.died(a, "killed")
    assert turns.over


def test_a_look_goes_to_the_servers_of_its_tracking(tmp_path: Path) -> None:
    a, b = Job("a", "a.mp4", on("p:1")), Job("b", "b.mp4", on("p:1"))
    look, painted = Job("a-look", "a", (), looks=True), Job("a-own", "a", ("--generator", "preview"), looks=True)
    turns = turns_of(tmp_path, a, look, painted, b)
    assert turns.next() == (a, ("p:1",))
    turns.went(a, well("a"))
    assert [turns.next() for _ in range(3)] == [(b, ("p:1",)), (painted, ()), None], "the look waits for the server"
    turns.went(b, well("b"))
    assert turns.next() == (look, ("p:1",))


def test_what_fails_on_one_server_is_tried_on_another_that_is_well(tmp_path: Path) -> None:
    a, b = (Job(name, "v.mp4", on("p:1", "q:1")) for name in "ab")
    turns = turns_of(tmp_path, a, b)
    assert turns.next() == (a, ("p:1",)) and turns.next() == (b, ("q:1",))
    assert not turns.went(a, gone(a))
    assert turns.next() is None, "p failed it, q is at work"
    turns.went(b, None)
    assert turns.next() == (a, ("q:1",)) and turns.next() == (b, ("p:1",)), "who never failed tries whether p is back"
    assert turns.went(b, well("b"))
    assert not turns.went(a, None) and turns.next() == (a, ("p:1",)), "it is well"


def test_a_job_that_fails_on_all_servers_has_ended(tmp_path: Path) -> None:
    names = [f"s{number}:1" for number in range(MOST_SERVERS + 2)]
    a, b = Job("a", "v.mp4", on(*names)), Job("b", "v.mp4", on("p:1", "q:1"))
    turns = turns_of(tmp_path, a, b)
    assert turns.next() and turns.next() == (b, ("p:1",))
    assert not turns.went(b, gone(b)) and turns.next() == (b, ("q:1",)), "no server of its own is left that is well"
    assert turns.went(b, gone(b))
    for number in range(MOST_SERVERS):
        assert turns.went(a, gone(a)) == (number == MOST_SERVERS - 1)
        assert (turns.next() is None) == turns.over
    assert [each.code for each in turns.ended()] == [5, 5]


def test_servers_that_nobody_waits_for_are_lent_to_who_can_use_several(tmp_path: Path) -> None:
    four = on("p:1", "q:1", "r:1", "s:1")
    blend, tail = Job("a", "v.mp4", (*four, "--continuity", "blend")), Job("b", "v.mp4", four)
    shots = Job("c", "v.mp4", (*four, "--ahead", "2"))
    turns = turns_of(tmp_path, blend, tail, shots)
    assert turns.next(2) == (blend, ("p:1", "q:1")), "two workers share four"
    assert turns.next(1) == (tail, ("r:1",)), "its windows depend on each other"
    turns.went(blend, well("a"))
    assert turns.next(2) == (shots, ("s:1", "p:1", "q:1"))


def test_a_job_is_given_its_servers_by_words() -> None:
    job = Job("a", "v.mp4", ("--server", "p:1", "--no-baselines", "--server", "q:1", "--seed", "3"))
    assert job.on(["r:1"]).words == ("--no-baselines", "--seed", "3", "--server", "r:1")


def test_a_piece_waits_for_a_run_that_another_process_still_holds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = Job("a", str(small_clip(tmp_path)), (*BOX, *small_models(tmp_path)))
    slept: list[float] = []

    def sleep(seconds: float) -> None:
        slept.append(seconds)

    monkeypatch.setattr("stream.cli.batch.time", SimpleNamespace(sleep=sleep, monotonic=lambda: len(slept) * 40.0))
    with open_store(tmp_path / "a").lock():
        made = piece_of(job, tmp_path, 8, ())
    assert made is not None and made.code == 6 and "is in use by another skate process" in made.message
    assert len(slept) == 2, "60 s are not over before"


def test_weights_are_kept_warm_where_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = small_models(tmp_path)
    config = SamConfig(Path(words[1]), Path(words[3]))
    warm = Warm()
    monkeypatch.setattr("stages.sam.model.WARM", warm)
    first, second = SamModel(config), SamModel(config)
    first.load()
    cold = first.predictor
    first.close()
    second.load()
    assert second.predictor is not cold, "nobody asked"
    warm.keep()
    kept = second.predictor
    second.close()
    first.load()
    assert first.predictor is kept
    second.load()
    assert second.predictor is not kept, "never by two at once"
    first.close()
    os.utime(config.checkpoint, ns=(1, 1))
    third = SamModel(config)
    third.load()
    assert third.predictor is not kept, "another file"


def test_the_pieces_of_a_job_share_the_weights_of_their_worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Built once for all of its pieces; what they make is what a run of its own with cold weights makes."""
    built: list[SamModel] = []
    build = SamModel._built

    def counted(model: SamModel) -> Any:
        built.append(model)
        return build(model)

    monkeypatch.setattr(SamModel, "_built", counted)
    warm = Warm()
    monkeypatch.setattr("stages.sam.model.WARM", warm)
    words = (*BOX, *small_models(tmp_path), *CLIP_OPTIONS, "--generator", "preview", "--no-baselines")
    clip = str(small_clip(tmp_path))
    cold = piece_of(Job("cold", clip, words), tmp_path, 100, ())
    assert cold is not None and cold.done is not None and len(built) == 1
    warm.keep()
    made, pieces = None, 0
    while made is None:
        made, pieces = piece_of(Job("warm", clip, words), tmp_path, 1, ()), pieces + 1
    assert made.done is not None and pieces >= 3 and len(built) == 2
    for name in ("output.mp4", "report/iou.csv"):
        assert (tmp_path / "warm" / name).read_bytes() == (tmp_path / "cold" / name).read_bytes()


def test_ray_and_workers_are_refused_where_they_cannot_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "jobs.toml"
    file.write_text("[[job]]\nname = 'a'\nvideo = 'v.mp4'\n")
    ended = invoke(["batch", "run", str(file), "--out", str(tmp_path / "out"), "--workers", "2"])
    assert ended.code == 2 and "--workers: belongs to --ray" in ended.err
    monkeypatch.setattr("importlib.util.find_spec", lambda name, package=None: None)
    ended = invoke(["batch", "run", str(file), "--out", str(tmp_path / "out"), "--ray", "local"])
    assert ended.code == 4 and "Ray is not installed" in ended.err and ended.err.count("\n") == 1


@pytest.mark.parametrize(
    ("devices", "gpus"), [(["cpu", "cuda"], True), (["cpu", ""], True), (["", ""], True), (["cpu", "cpu"], False)]
)
def test_one_job_on_the_cpu_takes_no_gpu_from_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, devices: list[str], gpus: bool
) -> None:
    asked, given = list[str](), list[bool]()

    def resolve(wanted: str) -> str:
        asked.append(wanted)
        return "cpu" if "cpu" in asked else "cuda"  # as in a process that has hidden it

    def work(batch: Batch, *others: object) -> list[Ended]:
        given.append(bool(others[-1]))
        return []

    monkeypatch.setattr("stream.options.settings.resolve_device", resolve)
    monkeypatch.setattr("stream.batch.on_ray.work_on_ray", work)
    file = tmp_path / "jobs.toml"
    jobs = [f"[[job]]\nname = 'j{number}'\nvideo = 'v.mp4'" for number in range(len(devices))]
    words = [f"\ndevice = '{each}'\n" if each else "\n" for each in devices]
    file.write_text("".join(job + word for job, word in zip(jobs, words, strict=True)))
    ended = invoke(["batch", "run", str(file), "--out", str(tmp_path / "out"), "--ray", "local"])
    assert given == [gpus], ended.err


def test_local_is_a_cluster_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[str, Any] = {}
    monkeypatch.setitem(sys.modules, "ray", SimpleNamespace(init=lambda **given: asked.update(given)))
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: True)
    on_ray._connected("local", 2)
    assert asked["address"] == "local" and asked["num_cpus"] == 2  # no address: one that runs, or ran, would be joined


@pytest.mark.slow
def test_on_ray_with_workers_and_driver_killed_every_job_ends_with_its_own_bytes(tmp_path: Path) -> None:
    pytest.importorskip("ray")
    clip, models = small_clip(tmp_path), small_models(tmp_path)
    common = [*BOX, *models, *CLIP_OPTIONS]
    lines = [f"{key.removeprefix('--')} = {value!r}" for key, value in zip(common[::2], common[1::2], strict=True)]
    jobs = "".join(f"[[job]]\nname = 'job{seed}'\nvideo = {str(clip)!r}\nseed = {seed}\n" for seed in range(3))
    file, out = tmp_path / "jobs.toml", tmp_path / "out"
    file.write_text("[defaults]\n" + "\n".join(lines) + "\n" + jobs)
    command = [sys.executable, "-m", "stream.cli", "batch", "run", str(file), "--out", str(out)]
    command += ["--ray", "local", "--workers", "2", "--json"]
    environment = {**os.environ, "RAY_worker_niceness": "0"}  # 15 by default: beside other work nothing would happen
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environment
    ) as process:
        _until(lambda: any(out.glob("job*/segments/*")), process)
        workers = [
            child
            for child in psutil.Process(process.pid).children(recursive=True)
            if _title(child).startswith("ray::Worker")
        ]
        assert workers
        workers[0].kill()
        _until(lambda: any(out.glob("batch.ended/*.json")), process)
        os.kill(process.pid, signal.SIGKILL)
    ended = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert ended.returncode in (0, 1), ended.stdout + ended.stderr
    assert json.loads(ended.stdout.splitlines()[-1])["failed"] == []
    for seed in range(3):
        alone = tmp_path / f"alone{seed}"
        assert invoke(["run", str(clip), "--out", str(alone), *common, "--seed", str(seed)]).code in (0, 1)
        assert (alone / "output.mp4").read_bytes() == (out / f"job{seed}" / "output.mp4").read_bytes()


def _title(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


def _until(there: "object", process: "subprocess.Popen[str]") -> None:
    import time

    assert callable(there)
    for _ in range(6000):
        if there():
            return
        assert process.poll() is None, "the driver ended"
        time.sleep(0.05)
    raise AssertionError("nothing happened for 300 s")
