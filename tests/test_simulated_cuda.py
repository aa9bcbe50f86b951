"""Tracking on CUDA, without any: every tensor on its device, stock's bits, and nothing left there."""

import json
import os
import subprocess
import sys
from pathlib import Path

# In a process of its own: what simulates CUDA changes torch.
TRACKING = """
import _simulated_cuda as cuda
import json, sys
from dataclasses import replace
from pathlib import Path
import numpy as np
from _sam_fixture import moving_clip, plain_track, stock_logits, write_small_sam
from stages.base import Inputs, Window
from stages.prompts import ObjectPrompt
from stages.sam.model import SamModel
from stages.sam.prompts import SamPrompt
from stages.track import TrackStage
from storage.spans import Span

BOX, FRAMES = (38.0, 30.0, 58.0, 42.0), 7
clip = moving_clip(FRAMES)


def track(config):
    # In two windows, the second from a state that was saved; the model leaves the GPU after each.
    found, kept, model = [], None, SamModel(config)

    def see(frame, name, tracked):
        found.append(tracked.logits.float().cpu().numpy())

    for start, stop in ((0, 4), (4, FRAMES)):
        with TrackStage(plain_track(ObjectPrompt(box=BOX)), model, see) as stage:
            if kept is not None:
                stage.set_state(*kept)
            span = Span(start, stop)
            inputs = Inputs({"frames": clip[start:stop]}, {"decode": {"clip_frames_min16": FRAMES}})
            stage.process(Window(start, span, span, span, stop == FRAMES, 4), inputs)
            kept = stage.get_state().to_parts()
            lies = [cuda.live_bytes()]
            stage.leave_gpu()
            lies.append(cuda.live_bytes())
    stock = None
    if config.memory == "stock":
        model.to_device()
        with model.autocast():
            logits, _ = stock_logits(model.predictor, clip, {0: SamPrompt(box=BOX)})
        stock = all(np.array_equal(found[t], logits[t].float().cpu().numpy()) for t in range(FRAMES))
        del logits
    model.close()
    dtypes = sorted({value for bank in kept[0]["banks"].values() for value in bank["dtypes"].values()})
    return {"lies": [*lies, cuda.live_bytes()], "stock": stock, "dtypes": dtypes}


plain = replace(write_small_sam(Path(sys.argv[1])), device="cuda")
for capability, changes in json.loads(sys.argv[2]):
    with cuda.simulated(tuple(capability)):
        print(json.dumps(track(replace(plain, **changes))))
"""


def test_tracking_on_cuda(tmp_path: Path) -> None:
    here = Path(__file__).parent
    other = {"state_device": "cuda", "memory": "distractor-aware"}
    given = [str(tmp_path), json.dumps([((7, 5), {}), ((8, 6), {}), ((8, 6), other)])]
    done = subprocess.run(
        [sys.executable, "-c", TRACKING, *given], cwd=here.parent, capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, (here.parent, here)))},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    for line, stock in zip(done.stdout.splitlines(), (True, True, None), strict=True):
        found = json.loads(line)
        working, left, closed = found["lies"]
        assert working > 1_000_000 and left < 0.01 * working and closed < 0.01 * working
        assert found["stock"] is stock and found["dtypes"] == ["bfloat16", "float32"]
