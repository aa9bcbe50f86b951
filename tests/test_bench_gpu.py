"""`bench.gpu` without a GPU: what it refuses, and that a failure loses nothing."""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from bench import gpu
from bench.compare import read_ratios
from bench.probe import GpuMeter

ROOT = Path(__file__).parents[1]
LENGTH = {"frames": 9, "equal": True, "speed_ratio": 1.02, "speed_noise": 0.01}


def test_without_cuda_it_says_so_in_one_line(tmp_path: Path) -> None:
    environment = dict(os.environ) | {"CUDA_VISIBLE_DEVICES": ""}
    command = [sys.executable, "-m", "bench.gpu", "--record", str(tmp_path / "gpu.json")]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 4, done.stderr
    assert done.stderr.startswith("error: ") and len(done.stderr.splitlines()) == 1 and not done.stdout
    assert not (tmp_path / "gpu.json").exists()


def options(tmp_path: Path) -> argparse.Namespace:
    given = {"sam": ["small", "large"], "pose": False, "image_size": None, "clip_size": "64x48"}
    return argparse.Namespace(**given, stock_frames=[9], stock_repeats=2, record=tmp_path / "gpu.json")


def stock_ends(monkeypatch: pytest.MonkeyPatch, *ends: tuple[int, dict[str, Any] | None, str]) -> None:
    """`bench.track_vs_stock` ends with these exit codes, records and words on stderr, one call after the other."""
    left = list(ends)

    def run(command: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        code, record, said = left.pop(0)
        if record is not None:
            Path(command[command.index("--record") + 1]).write_text(json.dumps(record))
        return subprocess.CompletedProcess(command, code, "", said)

    monkeypatch.setattr(gpu, "subprocess", SimpleNamespace(run=run, PIPE=subprocess.PIPE))


def test_what_stock_said_is_kept_and_no_size_gets_the_record_of_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    differs = {"lengths": [LENGTH | {"equal": False}]}
    stock_ends(monkeypatch, (0, {"lengths": [LENGTH]}, ""), (1, differs, "warning\nlogits differ\n"), (1, None, ""))
    sam = {"sam": "a.safetensors", "sam-config": "a.yaml"}
    first, second, third = (gpu.against_stock(tmp_path, options(tmp_path), sam, "cpu") for _ in range(3))
    assert first == {"lengths": [LENGTH]}
    assert second == {"failed": "bench.track_vs_stock, exit 1: logits differ"} | differs
    assert third == {"failed": "bench.track_vs_stock, exit 1: it said nothing"}


def test_the_record_is_written_after_each_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu, "random_sam", lambda folder, size, image_size: {"sam": size, "sam-config": size})
    calls: list[str] = []

    def run_demo(out: Path, given: Any, models: dict[str, str], device: str, more: list[str]) -> dict[str, Any]:
        calls.append(models["sam"])
        if len(calls) == 2:
            raise KeyboardInterrupt
        return {"run": {"seconds": 1.0}}

    monkeypatch.setattr(gpu, "run_demo", run_demo)
    stock_ends(monkeypatch, (0, {"lengths": [LENGTH, LENGTH | {"frames": 20, "speed_ratio": None}]}, ""))
    with pytest.raises(KeyboardInterrupt):
        gpu.measure(options(tmp_path), "cpu")
    record = tmp_path / "gpu.json"
    assert list(json.loads(record.read_text())["runs"]) == ["small, state on the CPU", "small, against stock"]
    assert read_ratios(record) == {"small, against stock, 9 frames": {"value": 1.02, "noise": 0.01, "better": "higher"}}


def test_a_driver_that_tells_no_processes_does_not_end_a_bench(monkeypatch: pytest.MonkeyPatch) -> None:
    """WSL2's says "unknown error"."""

    class Unknown(Exception):
        pass

    def processes(handle: str) -> None:
        raise Unknown("Unknown Error")

    told = {"nvmlInit": lambda: None, "nvmlDeviceGetHandleByIndex": str, "NVMLError": Unknown}
    memory = {"nvmlDeviceGetMemoryInfo": lambda handle: SimpleNamespace(used=7, total=8)}
    fake = SimpleNamespace(**told, **memory, nvmlDeviceGetComputeRunningProcesses=processes)
    monkeypatch.setitem(sys.modules, "pynvml", fake)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    assert GpuMeter().used() == (None, 7)
