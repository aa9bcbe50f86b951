"""Score the small SAM 2.1 by the size of what it tracks: board IoU against the truth, at several sizes of the demo.

    python -m training.mini_sam.by_scale --clips 20 --frames 9 [--scales 0.5 0.75 1 1.5 2 3] [--json FILE]
    python -m training.mini_sam.by_scale --clips 6 --frames 24 --scales 1 --camera handheld --group 3

Stock predictor, float32, CPU, prompted with the true box of frame 0; 640x360, seeds from `--first` on, which no
training sequence comes from. A clip counts with the mean over its frames with enough visible board, frame 0 left out.
"""

import argparse
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from stream.demo.scene import DemoConfig, Scene
from training.mini_sam.evaluate import BOARD, PERSON, VISIBLE, ious
from training.mini_sam.predict import SHIPPED, box_of, load_predictor, track

SCALES = (0.5, 0.75, 1.0, 1.5, 2.0, 3.0)
FIRST_SEED = 100


def score_clip(predictor: Any, config: DemoConfig) -> dict[str, float]:
    """Mean IoU of board and skater on the frames that show enough of them; NaN where none does."""
    scene = Scene(config)
    rendered = list(scene)
    frames = np.stack([frame.image for frame in rendered])
    truth = {
        BOARD: np.stack([frame.object_mask for frame in rendered]),
        PERSON: np.stack([frame.person_mask for frame in rendered]),
    }
    boxes = {number: box_of(mask[0]) for number, mask in truth.items() if mask[0].any()}
    found = track(predictor, frames, boxes)
    scores = {}
    for number, name in ((BOARD, "board"), (PERSON, "person")):
        counted = truth[number].sum((1, 2)) >= VISIBLE * config.size**2
        counted[0] = False
        values = ious(found[number], truth[number])[counted] if number in found else np.array([])
        scores[name] = float(values.mean()) if len(values) else float("nan")
    return scores


def main() -> None:
    """Parse the command line, print one line of JSON a scale."""
    parser = argparse.ArgumentParser(prog="python -m training.mini_sam.by_scale", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--clips", type=int, default=20)
    parser.add_argument("--frames", type=int, default=24)
    parser.add_argument("--fps", type=int, default=12, help="of the clips: a slower one shows more of a trick")
    parser.add_argument("--first", type=int, default=FIRST_SEED, help="seed of the first clip")
    parser.add_argument("--scales", type=float, nargs="+", default=SCALES)
    parser.add_argument("--camera", default="steady")
    parser.add_argument("--group", type=int, default=1, help="skaters and boards; the first of each is tracked")
    parser.add_argument("--weights", type=Path, default=SHIPPED / "sam.safetensors", help="weights or a checkpoint")
    parser.add_argument("--config", type=Path, default=SHIPPED / "sam.yaml")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", type=Path, help="also write the scores to this file")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    predictor = load_predictor(options.config, options.weights)
    rows = []
    for scale in options.scales:
        plain = DemoConfig(options.frames, fps=options.fps, camera=options.camera, size=scale)
        config = replace(plain, skaters=options.group, boards=options.group)
        scores = [score_clip(predictor, replace(config, seed=options.first + k)) for k in range(options.clips)]
        row: dict[str, float] = {"scale": scale, "clips": options.clips, "frames": options.frames}
        for name in ("board", "person"):
            values = [score[name] for score in scores]
            row[f"{name}_mean"] = round(float(np.nanmean(values)), 4)
            row[f"{name}_worst"] = round(float(np.nanmin(values)), 4)
        rows.append(row)
        print(json.dumps(row), flush=True)
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
