"""Projected against measured peak of tracking, and of a whole `skate extract`, in processes of their own."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from _sam_fixture import write_small_sam

from storage.sizes import parse_size
from stream.demo import DemoConfig
from stream.demo.clip import write_clip

ROOT = Path(__file__).parents[1]
ENVIRONMENT = os.environ | {"OMP_WAIT_POLICY": "passive", "OMP_NUM_THREADS": "2", "PYTHONPATH": str(ROOT)}
SMALL_YAML = ROOT / "stages" / "models" / "sam" / "small.yaml"

# Tracks `frames` frames of noise one window a frame, two objects, and prints projection and peak resident size.
MEASURE = """
import json, sys
from pathlib import Path
import numpy as np
from stages.sam.model import SamConfig, SamModel
from stages.base import Inputs, Window
from stages.prompts import ObjectPrompt
from stages.subjects import plain_subjects
from stages.track import TrackConfig, TrackStage
from storage.spans import Span
from stream.progress.memory import peak_rss_bytes

checkpoint, config, frames = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
prompt = ObjectPrompt(box=(100, 100, 300, 200))
stage = TrackStage(
    TrackConfig(plain_subjects(prompt, person_box=(300, 50, 400, 300))), SamModel(SamConfig(checkpoint, config))
)
projected = stage.peak_bytes(360, 640, 12)[0]
picture = np.random.default_rng(0).integers(0, 255, (12, 360, 640, 3), dtype=np.uint8)
peaks = []
with stage:
    for start in range(0, frames, 12):
        span = Span(start, start + 12)
        stage.process(Window(0, span, span, span, False, 12), Inputs({"frames": picture}))
        stage.get_state().to_parts()
        peaks.append(peak_rss_bytes())
print(json.dumps({"projected": projected, "peaks": peaks}))
"""


def measure(checkpoint: Path, config: Path, frames: int) -> tuple[int, list[int]]:
    command = [sys.executable, "-c", MEASURE, str(checkpoint), str(config), str(frames)]
    done = subprocess.run(command, env=ENVIRONMENT, stdout=subprocess.PIPE, check=True, text=True)
    found = json.loads(done.stdout)
    return found["projected"], found["peaks"]


@pytest.mark.slow
def test_memory_stays_flat_and_below_the_projection(tmp_path: Path) -> None:
    sam = write_small_sam(tmp_path)
    projected, peaks = measure(sam.checkpoint, sam.config_yaml, 1200)
    assert peaks[-1] <= 1.05 * peaks[1]
    assert peaks[-1] <= projected <= 1.5 * peaks[-1]


@pytest.mark.slow
@pytest.mark.timeout(1800)  # 2 minutes on two idle cores
def test_extract_with_hiera_small_at_1024_px_takes_what_its_plan_says(tmp_path: Path) -> None:
    """The whole command in a process of its own: the RAM that it announces against its own peak at the end."""
    video, out = tmp_path / "clip.mp4", tmp_path / "run"
    write_clip(DemoConfig(frames=12, seed=1), video)
    sam = ["--sam", str(random_hiera_small(tmp_path)), "--sam-config", str(SMALL_YAML)]
    prompt = ["--box", "100,100,300,200", "--person-box", "300,50,400,300"]
    command = [
        sys.executable,
        "-m",
        "stream.cli",
        "extract",
        str(video),
        "--out",
        str(out),
        "--json",
        "--device",
        "cpu",
    ]
    done = subprocess.run(
        [*command, *prompt, *sam, "--pose", "mini", "--detector", "mini"],
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    printed = re.search(r"^memory +RAM (.+) of ", done.stderr, flags=re.MULTILINE)
    assert printed is not None, done.stderr
    ended = json.loads(done.stdout.splitlines()[-1])
    projected, peak = parse_size(printed[1]), ended["peak_rss_bytes"]
    print(f"projected {projected}, measured {peak}, ratio {projected / peak:.3f}")
    assert ended["frames"] == 12
    assert peak <= projected <= 1.5 * peak


def random_hiera_small(folder: Path) -> Path:
    """SAM 2.1 small as it is, with seeded random weights."""
    import torch
    from safetensors.torch import save_file

    from stages.sam.checkpoint import read_config
    from stages.sam.model import build_predictor

    torch.manual_seed(0)
    tensors = build_predictor(read_config(SMALL_YAML), SMALL_YAML).state_dict()
    checkpoint = folder / "small.safetensors"
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, checkpoint)
    return checkpoint
