"""Score the shipped model, or a checkpoint, on the demo's own seeds, which no training sequence comes from.

    python -m training.mini_sam.evaluate --seeds 1 2 3 4 5 --frames 201 [--restyle] [--strips DIR] [--json FILE]
    python -m training.mini_sam.evaluate --clip VIDEO --box x1,y1,x2,y2 --strips DIR

Stock predictor, float32, CPU, prompted with the true boxes of frame 0. `--restyle` then puts the frames through the
preview generator (inside the tracked masks), compresses them, tracks again, and compares with the first masks.
"""

import argparse
import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from stream.demo.scene import DemoConfig, DemoFrame, Scene
from training.mini_sam.demo_clips import previewed
from training.mini_sam.predict import SHIPPED, box_of, load_predictor, track
from training.mini_sam.textures import Image

VISIBLE = 400  # px of board from which a frame counts
BOARD, PERSON = 1, 2
JPEG_QUALITY = 85


def ious(found: Image, truth: Image) -> Image:
    """IoU of every frame of two [T, H, W] bool; both empty = 1."""
    union = (found | truth).sum((1, 2))
    both = (found & truth).sum((1, 2))
    return np.where(union == 0, 1.0, both / np.maximum(union, 1))


def restyle(rendered: list[DemoFrame], board: Image, person: Image, seed: int) -> Image:
    """The preview generator's pictures inside `board` and `person` ([T, H, W] bool), then JPEG."""
    tracked = zip(rendered, board, person, strict=True)
    changed = previewed([replace(frame, object_mask=b, person_mask=p) for frame, b, p in tracked], seed)
    quality = [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY]
    coded = [cv2.imdecode(cv2.imencode(".jpg", frame, quality)[1], cv2.IMREAD_COLOR) for frame in changed]
    return np.stack([frame for frame in coded if frame is not None])


def strip(frames: Image, masks: dict[int, Image], path: Path, count: int = 40, columns: int = 8) -> None:
    """Write a contact sheet of `count` frames with the masks in red and blue."""
    tiles = []
    for index in np.linspace(0, len(frames) - 1, count).round().astype(int):
        tile = frames[index].copy()
        for number, colour in ((PERSON, (60, 60, 255)), (BOARD, (255, 40, 40))):
            if number in masks:
                inside = masks[number][index]
                tile[inside] = (tile[inside] * 0.4 + np.array(colour) * 0.6).astype(np.uint8)
        width = 240
        tile = cv2.resize(tile, (width, round(width * tile.shape[0] / tile.shape[1])), interpolation=cv2.INTER_AREA)
        tiles.append(cv2.putText(tile, str(index), (3, 12), cv2.FONT_HERSHEY_SIMPLEX, 0.4, (255, 255, 0), 1))
    rows = [np.hstack(tiles[start : start + columns]) for start in range(0, count, columns)]
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.vstack(rows)[..., ::-1])


def score_seed(predictor: Any, seed: int, options: argparse.Namespace) -> dict[str, float]:
    """Track one demo clip and compare with the truth."""
    scene = Scene(DemoConfig(options.frames, 640, 360, 24, seed))
    rendered = [scene.frame(index) for index in range(options.frames)]
    frames = np.stack([frame.image for frame in rendered])
    truth = {
        BOARD: np.stack([frame.object_mask for frame in rendered]),
        PERSON: np.stack([frame.person_mask for frame in rendered]),
    }
    boxes = {number: box_of(mask[0]) for number, mask in truth.items()}
    began = time.perf_counter()
    found = track(predictor, frames, boxes)
    seconds = time.perf_counter() - began
    area = truth[BOARD].sum((1, 2))
    counted, absent = area >= VISIBLE, area == 0
    board = ious(found[BOARD], truth[BOARD])[counted]
    person = ious(found[PERSON], truth[PERSON])[truth[PERSON].any((1, 2))]
    reported = found[BOARD].any((1, 2))
    scores = {
        "seed": seed, "board_mean": board.mean(), "board_p5": np.percentile(board, 5), "board_min": board.min(),
        "board_frames": int(counted.sum()), "board_lost": int((counted & ~reported).sum()),
        "board_absent": int(absent.sum()), "board_false": int((absent & reported).sum()),
        "person_mean": person.mean(), "person_p5": np.percentile(person, 5),
        "person_false": int((found[PERSON].any((1, 2)) & ~truth[PERSON].any((1, 2))).sum()),
        "seconds_per_frame": seconds / options.frames,
    }  # fmt: skip
    if options.strips:
        strip(frames, found, options.strips / f"seed{seed}.png")
    if options.restyle:
        changed = restyle(rendered, found[BOARD], found[PERSON], seed)
        again = track(predictor, changed, boxes)
        values = ious(again[BOARD], found[BOARD])
        scores |= {"restyled_mean": values.mean(), "restyled_p5": np.percentile(values, 5)}
        scores["restyled_person"] = ious(again[PERSON], found[PERSON]).mean()
        if options.strips:
            strip(changed, again, options.strips / f"seed{seed}_restyled.png")
    return {key: round(float(value), 4) if value % 1 else int(value) for key, value in scores.items()}


def follow_clip(predictor: Any, options: argparse.Namespace) -> None:
    """Track a box through a real video and write its strip; there is no truth to score."""
    import av

    with av.open(str(options.clip)) as container:
        frames = np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])
    x1, y1, x2, y2 = (float(value) for value in options.box.split(","))
    masks = track(predictor, frames, {BOARD: (x1, y1, x2, y2)})
    strip(frames, masks, options.strips / f"{options.clip.stem}.png", count=64)
    print(f"{options.clip.name}: reported in {int(masks[BOARD].any((1, 2)).sum())} of {len(frames)} frames")


def main() -> None:
    """Parse the command line, print one line of JSON a seed."""
    parser = argparse.ArgumentParser(prog="python -m training.mini_sam.evaluate", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3, 4, 5])
    parser.add_argument("--frames", type=int, default=201)
    parser.add_argument("--restyle", action="store_true")
    parser.add_argument("--weights", type=Path, default=SHIPPED / "sam.safetensors", help="weights or a checkpoint")
    parser.add_argument("--config", type=Path, default=SHIPPED / "sam.yaml")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--strips", type=Path, help="folder for contact sheets")
    parser.add_argument("--json", type=Path, help="also write the scores to this file")
    parser.add_argument("--clip", type=Path, help="a real video instead of the demo")
    parser.add_argument("--box", default="", help="x1,y1,x2,y2 in its first frame")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    predictor = load_predictor(options.config, options.weights)
    if options.clip:
        follow_clip(predictor, options)
        return
    scores = []
    for seed in options.seeds:
        scores.append(score_seed(predictor, seed, options))
        print(json.dumps(scores[-1]), flush=True)
    if options.json:
        options.json.write_text(json.dumps(scores, indent=1) + "\n")


if __name__ == "__main__":
    main()
