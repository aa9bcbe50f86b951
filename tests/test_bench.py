"""`skate bench`, its clock and its slopes, and the comparison of records."""

import json
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
from _small_run import small_clip, small_sam
from click.testing import CliRunner
from fake_comfy import FakeComfy

from bench.clocks import SECTIONS, Clock, Section, compute_seconds, difference
from bench.command import bench_command
from bench.disk import working_bytes
from bench.measure import MARK, cut_clip, refuse_others_run
from bench.plots import write_plots
from bench.probe import GpuMeter, Peaks, Row, Sampler, server_bytes, visible_gpu
from bench.slopes import slope_of
from bench.summary import overhead, slopes, text
from stages.base import Array
from stages.decode import DecodeConfig, DecodeStage
from storage.errors import InputError, RunDirectoryError
from storage.spans import Span


class FakeTime:
    """Time that passes only where a test says so."""

    def __init__(self) -> None:
        self.now = 0.0

    def perf_counter(self) -> float:
        return self.now


TIME = FakeTime()


def work(seconds: float) -> None:
    """What the clock is put around below."""
    TIME.now += seconds


def outer() -> None:
    """Calls another timed function."""
    TIME.now += 2.0
    globals()["work"](5.0)


INNER, OUTER = Section("test_bench:work", "inner"), Section("test_bench:outer", "outer")


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    monkeypatch.setattr("bench.clocks.time", TIME)
    return Clock()


def test_clock_counts_exclusive_seconds(clock: Clock) -> None:
    with clock.watching((INNER, OUTER)):
        globals()["outer"]()
        globals()["outer"]()
    assert clock.seconds() == {"inner": 10.0, "outer": 4.0}


def test_clock_counts_a_whole_section_with_what_is_inside(clock: Clock) -> None:
    with clock.watching((INNER, replace(OUTER, whole=True))):
        globals()["outer"]()
        globals()["work"](1.0)
    assert clock.seconds() == {"inner": 1.0, "outer": 7.0}


def test_clock_keeps_other_threads_apart(clock: Clock) -> None:
    with clock.watching((INNER,)):
        thread = threading.Thread(target=globals()["work"], args=(3.0,))
        thread.start()
        thread.join()
    assert clock.seconds() == {}
    assert clock.seconds(main=False) == {"inner": 3.0}


def test_models_at_work_at_once_count_once(clock: Clock) -> None:
    with clock.section("SAM 2.1"):
        thread = threading.Thread(target=lambda: _section(clock, "generator", 3.0))
        thread.start()
        thread.join()
        TIME.now += 1.0
        assert clock.of_this_thread() == {}
    _section(clock, "encode", 5.0)
    assert clock.computed == 4.0
    assert clock.seconds() == {"SAM 2.1": 4.0, "encode": 5.0}
    assert clock.seconds(main=False) == {"generator": 3.0}


def _section(clock: Clock, name: str, seconds: float) -> None:
    with clock.section(name):
        TIME.now += seconds


def test_clock_puts_functions_back_and_counts_failures(clock: Clock) -> None:
    before = globals()["work"]
    with pytest.raises(TypeError), clock.watching((INNER,)):
        globals()["work"]("no number")
    assert globals()["work"] is before
    assert clock.seconds() == {"inner": 0.0}


def test_clock_waits_for_the_gpu_in_its_own_thread_alone(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[int] = []
    cuda = SimpleNamespace(is_initialized=lambda: True, synchronize=lambda: waits.append(threading.get_ident()))
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(cuda=cuda))
    with clock.watching((INNER,)):
        thread = threading.Thread(target=globals()["work"], args=(3.0,))
        thread.start()
        thread.join()
        assert waits == []
        globals()["work"](1.0)
    assert waits == [threading.get_ident()] * 2


def test_every_section_names_a_function() -> None:
    with Clock().watching(SECTIONS):
        pass


def test_difference_and_compute() -> None:
    assert difference({"a": 3.0, "b": 1.0}, {"a": 1.0, "b": 1.0}) == {"a": 2.0}
    assert compute_seconds({"SAM 2.1": 2.0, "ONNX Runtime": 1.0, "encode": 5.0}) == 3.0


def test_slope_of_noise_is_flat_and_of_growth_is_not() -> None:
    rng = np.random.default_rng(1)
    noise = (1000 + rng.normal(0, 5, 60)).tolist()
    level = slope_of(noise)
    assert level is not None and level.flat and level.low < 0 < level.high
    growing = slope_of([value + 2 * index for index, value in enumerate(noise)])
    assert growing is not None and not growing.flat
    assert growing.low < 2 < growing.high
    assert growing.growth == pytest.approx(2 * 100 / growing.mean, rel=0.2)


def test_slope_below_one_percent_in_a_hundred_windows_is_flat() -> None:
    line = slope_of([1e9 + 5e4 * index for index in range(50)])  # sure, but 0.5 % in 100 windows
    assert line is not None and line.low > 0 and line.flat
    steep = slope_of([1e9 + 5e5 * index for index in range(50)])
    assert steep is not None and not steep.flat


def test_slope_leaves_warm_windows_and_gaps_out() -> None:
    values: list[float | None] = [9e9, 9e9, *([100.0] * 12)]
    level = slope_of(values)
    assert level is not None and level.slope == 0.0 and level.flat
    assert slope_of([1.0] * 9) is None
    assert slope_of([None] * 40) is None


def row(stage: str, window: int, rss: int, seconds: float) -> Row:
    return Row(stage, window, 60, seconds, seconds + 0.1, seconds / 2, 0.0, Peaks(rss), 10, 20, 1000)


def test_working_disk_is_what_is_dropped_again(tmp_path: Path) -> None:
    sizes = {
        "run.zarr/frames/c.0.0.0.0": 100,
        "run.zarr/generated/c.0.0.0.0": 20,
        "run.zarr/masks/object/c.0.0.0": 1000,
        "run.zarr/state/track/9": 3,  # one of the latest two
        "run.zarr/state/track/10": 5000,  # kept for repairs
        "run.zarr/blocks/overlap/10": 4,  # whole frames: not kept
        "segments/00000.mp4": 700,
        "segments/00001.mp4.partial": 900,
        "journal.jsonl": 50,
        "input/clip.mp4": 10**6,
    }
    for name, size in sizes.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(bytes(size))
    assert working_bytes(tmp_path) == 127


def test_slopes_tell_a_leak() -> None:
    rows = [row("track", k, 10**9 + k * 10**7, 1.0) for k in range(20)]
    found = slopes(rows)
    assert not found["peak_rss_bytes"]["flat"]
    assert found["peak_rss_bytes"]["slope_per_window"] == pytest.approx(1e7)
    assert found["track_seconds"]["flat"] and found["working_disk_bytes"]["flat"]


def test_overhead_adds_up() -> None:
    sections = {"SAM 2.1": 6.0, "encode": 0.5, "store: read": 0.5, "loading models": 2.0}
    found = overhead(10.0, sections, {"decode": 3.0}, 6.0, 100)
    assert found["share"] == pytest.approx(0.4)
    assert found["share_while_running"] == pytest.approx(2 / 8)
    assert found["engine_share_while_running"] == pytest.approx(1.5 / 8)
    assert found["seconds_per_frame"] == pytest.approx(0.02)
    assert found["sections"]["elsewhere"] == pytest.approx(1.0)


def test_plots_are_pictures(tmp_path: Path) -> None:
    for path in write_plots([row(stage, k, 10**9, 1.0) for k in range(4) for stage in ("pose", "track")], tmp_path):
        picture = cv2.imread(str(path))
        assert picture is not None and picture.shape[1] == 1100 and picture.std() > 5


def test_the_time_of_every_stage_is_drawn(tmp_path: Path) -> None:
    """A run has more stages than there are colours."""

    def drawn(last: float) -> Array:
        rows = [row(f"stage-{index}", 0, 10**9, last if index == 12 else 1.0) for index in range(13)]
        picture = cv2.imread(str(write_plots(rows, tmp_path)[1]))
        assert picture is not None
        return picture

    assert not np.array_equal(drawn(1.0), drawn(9.0))


def test_sampler_sees_a_peak_between_two_readings() -> None:
    with Sampler().running() as sampler:
        before = sampler.take().rss
        block = np.ones(80_000_000, np.uint8)
        time.sleep(0.2)
        del block
        time.sleep(0.1)
        assert sampler.take().rss > before + 50_000_000
        assert sampler.take().rss < before + 50_000_000


def test_without_a_gpu_nothing_is_invented() -> None:
    meter = GpuMeter()
    if meter.name is None:
        assert meter.used() == (None, None) and meter.total is None


@pytest.mark.parametrize(
    ("visible", "wanted"),
    [(None, 0), ("3,1", 3), (" 2", 2), ("GPU-5ab,GPU-7", "GPU-5ab"), ("", None), ("-1", None)],
)
def test_the_gpu_is_the_one_that_cuda_shows(visible: str | None, wanted: int | str | None) -> None:
    assert visible_gpu(visible) == wanted


def test_a_gpu_that_is_hidden_is_not_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    handles = {
        "nvmlDeviceGetHandleByIndex": lambda index: f"index {index}",
        "nvmlDeviceGetHandleByUUID": lambda uuid: f"uuid {uuid}",
        "nvmlDeviceGetName": lambda handle: handle,
    }
    fake = SimpleNamespace(nvmlInit=lambda: None, NVMLError=RuntimeError, **handles)
    monkeypatch.setitem(sys.modules, "pynvml", fake)
    for visible, name in (("1", "index 1"), ("GPU-5ab", "uuid GPU-5ab"), ("-1", None)):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
        assert GpuMeter().name == name


def test_server_memory() -> None:
    stats = {"devices": [{"vram_total": 100, "torch_vram_total": 60}, {"vram_total": 50, "torch_vram_total": 10}]}
    assert server_bytes(stats) == 70


def test_bench_asks_comfyui_what_it_holds(tmp_path: Path) -> None:
    with FakeComfy() as server:
        done = bench(tmp_path, "--frames", "9", "--server", server.address, "--prompt", "x", "--size", "160x96")
        assert done.exit_code == 0, done.output
    record = json.loads((tmp_path / "bench.json").read_text())
    assert {row["stage"]: row for row in record["stages"]}["generate"]["compute_seconds"] > 0
    assert max(row["peak_vram_comfyui_bytes"] or 0 for row in record["rows"]) == 2**30


def test_cut_clip_keeps_frames_and_times(tmp_path: Path) -> None:
    cut = cut_clip(small_clip(), 7, tmp_path / "input" / "cut.mp4")
    with DecodeStage(DecodeConfig(small_clip())) as whole, DecodeStage(DecodeConfig(cut)) as part:
        wanted, found = whole.next(Span(0, 7)), part.next(Span(0, 21))
    assert found.last and len(found.frames) == 7
    assert np.allclose(found.times, wanted.times, atol=1e-4)
    assert np.abs(found.frames.astype(int) - wanted.frames.astype(int)).mean() < 4
    with pytest.raises(InputError, match="has 21 frames, --frames 22"):
        cut_clip(small_clip(), 22, tmp_path / "more.mp4")


def bench(out: Path, *more: str) -> Any:
    options = ["--clip-size", "160x90", "--window", "5", "--overlap", "1", "--device", "cpu", *more]
    return CliRunner().invoke(bench_command, ["demo", "--out", str(out), *options], catch_exceptions=False)


def random_sam() -> list[str]:
    """Options of a SAM 2.1 that is fast, and finds nothing in particular."""
    sam, config = small_sam()
    return ["--sam", sam, "--sam-config", config]


def test_bench_measures_every_stage_of_every_window(tmp_path: Path) -> None:
    done = bench(tmp_path, "--frames", "50", *random_sam())
    assert done.exit_code == 0, done.output
    record = json.loads((tmp_path / "bench.json").read_text())
    stages = ("decode", "pose", "track", "aim", "motion", "view", "generate", "composite", "blend", "sink", "score")
    windows = record["run"]["windows"]
    assert windows == 13
    rows = sorted((r["window"], stages.index(r["stage"])) for r in record["rows"])
    assert rows == [(k, s) for k in range(windows) for s in range(len(stages))]
    assert sum(r["frames"] for r in record["rows"] if r["stage"] == "track") == 50
    for measured in record["rows"]:
        assert measured["peak_rss_bytes"] > 10**8
        assert 0 <= measured["compute_seconds"] <= measured["wall_seconds"]
        if measured["stage"] != "decode":  # which works ahead, in its own thread
            assert measured["seconds"] <= measured["wall_seconds"]
    assert all(r["compute_seconds"] > 0 for r in record["rows"] if r["stage"] in ("pose", "track", "generate", "score"))
    written = {row["stage"]: row["written_bytes"] for row in record["stages"]}
    assert written["decode"] > 50_000 and written["blend"] > 50_000
    assert record["slopes"]["peak_rss_bytes"]["windows"] == 10
    sections = record["overhead"]["sections"]
    assert sum(sections.values()) == pytest.approx(record["overhead"]["wall_seconds"], abs=0.01)
    assert sections["SAM 2.1"] > 0 and sections["store: compress and write"] > 0
    assert record["overhead"]["background_sections"]["decode"] > 0
    assert (tmp_path / "memory.png").exists() and (tmp_path / "time.png").exists()
    assert (tmp_path / "run" / "output.mp4").exists()
    assert "where the time goes" in done.output and "peak RSS" in done.output
    assert text(record)


def test_bench_always_measures_anew_and_speaks_json(tmp_path: Path) -> None:
    assert bench(tmp_path, "--frames", "9", *random_sam()).exit_code == 0
    done = bench(tmp_path, "--frames", "9", "--json", *random_sam())
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert sum(line["event"] == "window" for line in lines) == 11 * 2
    assert lines[-1]["event"] == "done" and lines[-1]["bench"] == str(tmp_path / "bench.json")


def test_bench_deletes_no_run_but_its_own(tmp_path: Path) -> None:
    mine = tmp_path / "run" / "run.json"
    mine.parent.mkdir()
    mine.write_text("{}")
    with pytest.raises(RunDirectoryError, match=r"run holds a run that no bench made: choose another --out"):
        bench(tmp_path, "--frames", "9", *random_sam())
    assert [path.name for path in tmp_path.rglob("*")] == ["run", "run.json"]
    for mark in (MARK, "bench.json"):
        (tmp_path / mark).touch()
        refuse_others_run(tmp_path)
        (tmp_path / mark).unlink()


@pytest.mark.parametrize("more", [[], ["--frames", "9"]])
def test_bench_of_a_missing_video_leaves_nothing(tmp_path: Path, more: list[str]) -> None:
    options = [str(tmp_path / "none.mp4"), "--out", str(tmp_path / "out"), "--device", "cpu"]
    with pytest.raises(InputError, match="no such video file"):
        CliRunner().invoke(bench_command, [*options, "--box", "1,1,9,9", *more], catch_exceptions=False)
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
@pytest.mark.parametrize("frames", [3000, pytest.param(6000, marks=pytest.mark.long)])
def test_long_demo_stays_flat(tmp_path: Path, frames: int) -> None:
    """In a process of its own, as people run it: 3,000 frames take 8 minutes of two cores. On a GPU, bench.gpu."""
    command = [sys.executable, "-m", "stream.cli", "bench", "demo", "--frames", str(frames), "--out", str(tmp_path)]
    done = subprocess.run([*command, "--device", "cpu", "--json"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads((tmp_path / "bench.json").read_text())
    assert found["run"]["frames"] == frames
    assert found["slopes"]["peak_rss_bytes"]["flat"] and found["slopes"]["working_disk_bytes"]["flat"]
