"""What a CUDA machine is asked: speed against stock, VRAM a window, state on the CPU or the GPU, an 8 GB cap.

    python -m bench.gpu --record bench/records/gpu.json        about 20 minutes on a large GPU

Models have the real sizes and random weights (the cost is the same): SAM 2.1 small and large at 1024 px, ONNX files of
YOLOX-m's and DWPose-l-384's cost (`bench.random_pose_models`). For each SAM: the demo at 1280x720 over at least 30
windows, with `--state-device cpu` and `cuda`, and under `--vram 8GB`, which caps torch's allocator; then streamed
against stock on the same frames. Every run is a process of its own; one that fails is recorded with its reason, the
record is written after each, and the bench ends with 1. Without a CUDA device nothing is measured: exit 4.
`--device cpu --frames ... --clip-size ... --image-size ...` tries the whole bench on a small scale.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bench._common import run_main, write_record
from bench.machine import command_line, machine
from bench.random_pose_models import write_detector, write_pose
from bench.summary import record_of
from stages.sam.checkpoint import read_config
from stages.sam.model import build_predictor
from stream.options.settings import resolve_device
from stream.options.versions import versions

ROOT = Path(__file__).resolve().parents[1]
WINDOWS = 30
FRAMES = 81 + (WINDOWS - 1) * 60
KEPT = ("run", "stages", "slopes", "overhead", "machine", "windows")  # of a run's record


def main() -> None:
    """Run everything, write the record."""
    options = parse_options()
    device = resolve_device("cuda" if options.device is None else options.device)
    runs = measure(options, device)
    if any("failed" in run for run in runs.values()):
        sys.exit(1)


def parse_options() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.gpu", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--record", type=Path)
    parser.add_argument("--device", choices=("cpu", "cuda"), help="default: cuda")
    parser.add_argument("--sam", nargs="+", default=["small", "large"], help="sizes of SAM 2.1")
    parser.add_argument("--frames", type=int, default=FRAMES, help="of the demo")
    parser.add_argument("--stock-frames", type=int, nargs="+", default=[200, 800], help="lengths against stock")
    parser.add_argument("--stock-repeats", type=int, default=2, help="runs of each side; one tells no noise")
    parser.add_argument("--clip-size", default="1280x720")
    parser.add_argument("--image-size", type=int, help="side of SAM's input instead of 1024")
    parser.add_argument("--pose", action=argparse.BooleanOptionalAction, default=True, help="models of DWPose's size")
    return parser.parse_args()


def measure(options: argparse.Namespace, device: str) -> dict[str, Any]:
    """Every run by name; the record is written after each, so that a later one loses nothing."""
    runs: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(prefix="bench-gpu-") as name:
        folder = Path(name)
        pose = pose_models(folder) if options.pose else {"pose": "mini", "detector": "mini"}
        for size in options.sam:
            sam = random_sam(folder, size, options.image_size)
            for label, more in variants(device).items():
                runs[f"{size}, {label}"] = run_demo(folder / "out", options, sam | pose, device, more)
                write_record(record_of_runs(runs), options.record)
            runs[f"{size}, against stock"] = against_stock(folder, options, sam, device)
            write_record(record_of_runs(runs), options.record)
    return runs


def record_of_runs(runs: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """The record: runs by name, and the ratios that `bench.compare` reads."""
    ratios = {
        f"{name}, {row['frames']} frames": {
            "value": row["speed_ratio"],
            "noise": row["speed_noise"],
            "better": "higher",
        }
        for name, run in runs.items()
        for row in run.get("lengths", [])
        if row["speed_ratio"] is not None
    }
    head = {"bench": "gpu", "command": command_line("python -m bench.gpu")}
    return head | {"machine": machine(), "versions": versions(), "runs": dict(runs), "ratios": ratios}


def variants(device: str) -> dict[str, list[str]]:
    """What is tried of each SAM: options of `skate run` by name."""
    if device == "cpu":
        return {"state on the CPU": ["--state-device", "cpu"]}
    return {
        "state on the CPU": ["--state-device", "cpu"],
        "state on the GPU": ["--state-device", "cuda"],
        "under 8 GB": ["--state-device", "cpu", "--vram", "8GB"],
    }


def random_sam(folder: Path, size: str, image_size: int | None) -> dict[str, str]:
    """A SAM 2.1 of this size with random weights (seed 0): options `sam` and `sam-config`."""
    import torch
    from omegaconf import OmegaConf
    from safetensors.torch import save_file

    settings = read_config(ROOT / "stages" / "models" / "sam" / f"{size}.yaml")
    if image_size is not None:
        settings["image_size"] = image_size
    config, weights = folder / f"{size}.yaml", folder / f"{size}.safetensors"
    config.write_text(OmegaConf.to_yaml(OmegaConf.create(settings)))
    torch.manual_seed(0)
    tensors = build_predictor(settings, config).state_dict()
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, weights)
    return {"sam": str(weights), "sam-config": str(config)}


def pose_models(folder: Path) -> dict[str, str]:
    """ONNX files of the real models' cost: options `pose` and `detector`."""
    detector, pose = folder / "detector-random.onnx", folder / "pose-random.onnx"
    write_detector(detector)
    write_pose(pose)
    return {"pose": str(pose), "detector": str(detector)}


def run_demo(
    out: Path, options: argparse.Namespace, models: dict[str, str], device: str, more: list[str]
) -> dict[str, Any]:
    """One `skate bench demo`; a run that fails (out of memory, say) is recorded with what it said."""
    command = [sys.executable, "-m", "stream.cli", "bench", "demo", "--out", str(out), "--json", "--device", device]
    command += ["--frames", str(options.frames), "--clip-size", options.clip_size, *more]
    for name, value in models.items():
        command += [f"--{name}", value]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False, cwd=ROOT)
    last = json.loads(done.stdout.splitlines()[-1]) if done.stdout else {}
    if done.returncode != 0:
        found = {"failed": last.get("message", f"exit {done.returncode}"), "exit_code": done.returncode}
    else:
        record = record_of(json.loads((out / "bench.json").read_text()))
        found = {name: record[name] for name in KEPT}
    print(f"{Path(models['sam']).stem} {' '.join(more)}: {found.get('failed') or found['run']['seconds']}", flush=True)
    return found


def against_stock(folder: Path, options: argparse.Namespace, sam: dict[str, str], device: str) -> dict[str, Any]:
    """`bench.track_vs_stock` with this SAM: its record; where it fails, `failed` and what it had recorded by then."""
    record = folder / "stock.json"
    record.unlink(missing_ok=True)  # that of the size before
    command = [sys.executable, "-m", "bench.track_vs_stock", "--device", device, "--record", str(record)]
    command += ["--sam", sam["sam"], "--sam-config", sam["sam-config"], "--size", options.clip_size]
    command += ["--frames", *map(str, options.stock_frames), "--repeats", str(options.stock_repeats)]
    done = subprocess.run(command, stderr=subprocess.PIPE, text=True, check=False, cwd=ROOT)
    sys.stderr.write(done.stderr)
    found: dict[str, Any] = json.loads(record.read_text()) if record.exists() else {}
    if done.returncode == 0:
        return found
    said = done.stderr.strip().splitlines() or ["it said nothing"]
    return {"failed": f"bench.track_vs_stock, exit {done.returncode}: {said[-1]}"} | found


if __name__ == "__main__":
    run_main(main)
