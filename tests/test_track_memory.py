"""Projected against measured peak of tracking, in processes of their own."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from _sam_fixture import write_small_sam

ROOT = Path(__file__).parents[1]
SMALL_YAML = ROOT / "stages" / "models" / "sam" / "small.yaml"

# Tracks `frames` frames of noise one window a frame, two objects, and prints projection and peak resident size.
MEASURE = """
import json, sys
from pathlib import Path
import numpy as np
from stages._sam.model import SamConfig, SamModel
from stages.base import Inputs, Window
from stages.prompts import ObjectPrompt
from stages.track import TrackConfig, TrackStage
from storage.spans import Span
from stream.events import peak_rss_bytes

checkpoint, config, frames = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
prompt = ObjectPrompt(box=(100, 100, 300, 200))
stage = TrackStage(TrackConfig(prompt, person_box=(300, 50, 400, 300)), SamModel(SamConfig(checkpoint, config)))
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
    environment = os.environ | {"OMP_WAIT_POLICY": "passive", "OMP_NUM_THREADS": "2", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", MEASURE, str(checkpoint), str(config), str(frames)]
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=True, text=True)
    found = json.loads(done.stdout)
    return found["projected"], found["peaks"]


@pytest.mark.slow
def test_memory_stays_flat_and_below_the_projection(tmp_path: Path) -> None:
    sam = write_small_sam(tmp_path)
    projected, peaks = measure(sam.checkpoint, sam.config_yaml, 1200)
    assert peaks[-1] <= 1.05 * peaks[1]
    assert peaks[-1] <= projected <= 1.5 * peaks[-1]


@pytest.mark.slow
def test_hiera_small_at_1024_px(tmp_path: Path) -> None:
    import torch
    from safetensors.torch import save_file

    from stages._sam.checkpoint import read_config
    from stages._sam.model import build_predictor

    torch.manual_seed(0)
    tensors = build_predictor(read_config(SMALL_YAML), SMALL_YAML).state_dict()
    checkpoint = tmp_path / "small.safetensors"
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, checkpoint)
    projected, peaks = measure(checkpoint, SMALL_YAML, 12)
    assert peaks[-1] <= projected <= 1.5 * peaks[-1]
