"""Makes the numbers by which a foot is seen to stand on the object.

    python -m training.touching [--clips N]        writes stages/fidelity/touching.json

Clips of training seeds are asked for their truth alone, which is quick; masks and joints are then made as unsure as
tracked ones are: outlines a pixel off, joints off by a pixel or two, and smoothed as the pose stage smooths them.
"""

import argparse
import json
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import torch

from stages.base import Array
from stages.fidelity.sight import measured, nothing_seen
from stages.fidelity.touching import away, features
from stages.poses.smooth import no_filter, one_euro
from stream.demo.scene import TRAINING_SEED_BASE, DemoConfig, Scene

TARGET = Path(__file__).resolve().parents[1] / "stages" / "fidelity" / "touching.json"
PLANS = (
    ("ollie", "push", "bail"), ("push", "kickflip", "ollie"), ("ollie", "shove-it", "push"), ("grind", "ollie", "bail"),
    ("heelflip", "ollie", "manual"), ("push", "ollie", "ride"),
)  # fmt: skip
FRAMES, SIZES = 132, ((640, 360), (320, 180))
HIDDEN, STEPS, RATE, DECAY = 24, 1500, 0.01, 3e-4
OFF_WEIGHT = 1.6  # of frames without contact, which are fewer


def unsure_mask(mask: Array, rng: np.random.Generator) -> Array:
    """A mask whose outline is off by up to a pixel, as a whole and here and there."""
    soft = cv2.GaussianBlur(mask.astype(np.float32), (0, 0), 1.2)
    grain = np.asarray(rng.normal(0, 1, mask.shape), np.float32)
    rough = cv2.GaussianBlur(grain, (0, 0), 3.0)
    found: Array = soft > 0.5 + rng.normal(0, 0.12) + 1.2 * rough
    return found


def examples(seed: int) -> Iterator[tuple[Array, bool]]:
    """Features of every foot near the object in a clip, and whether it stands on it."""
    rng = np.random.default_rng(seed)
    width, height = SIZES[seed % len(SIZES)]
    clip = DemoConfig(
        frames=FRAMES, width=width, height=height, seed=TRAINING_SEED_BASE + seed, tricks=PLANS[seed % len(PLANS)]
    )
    scene, before, moving = Scene(clip), nothing_seen(), no_filter(133)
    noise = rng.uniform(0.4, 1.2) * width / 640
    for frame in range(len(scene)):
        truth = scene.truth(frame)
        skater, board = truth.skaters[0], truth.boards[0]
        places = skater.joints + rng.normal(0, noise, skater.joints.shape)
        seen = skater.joints_visible & (rng.random(133) > 0.03)
        keypoints = np.column_stack([places, seen]).astype(np.float32) * seen[:, None]
        tall = float(np.ptp(skater.joints[:, 1]))
        moving, keypoints = one_euro(moving, keypoints.astype(np.float32), frame / clip.fps, max(tall, 1.0))
        sight, standing = measured(before, unsure_mask(board.visible, rng), keypoints, frame / clip.fps)
        for index, foot in enumerate(("left", "right")):
            if foot in standing and not away(standing[foot]):
                other = standing.get(("right", "left")[index])
                yield features(standing[foot], other), skater.on_board[index]
        before = sight


def fit(inputs: Array, wanted: Array) -> dict[str, list[object] | float]:
    """The network's numbers, by full-batch gradient descent (Adam) on the cross entropy."""
    torch.manual_seed(0)
    torch.set_num_threads(1)
    mean, scale = inputs.mean(axis=0), inputs.std(axis=0) + 1e-6
    given = torch.tensor((inputs - mean) / scale, dtype=torch.float32)
    target = torch.tensor(wanted, dtype=torch.float32)
    first, second = torch.nn.Linear(inputs.shape[1], HIDDEN), torch.nn.Linear(HIDDEN, 1)
    steps = torch.optim.AdamW([*first.parameters(), *second.parameters()], RATE, weight_decay=DECAY)
    weight = torch.where(target > 0, 1.0, OFF_WEIGHT)
    for _ in range(STEPS):
        steps.zero_grad()
        logits = second(torch.tanh(first(given)))[:, 0]
        loss = torch.nn.functional.binary_cross_entropy_with_logits(logits, target, weight=weight)
        loss.backward()  # type: ignore[no-untyped-call]
        steps.step()
    right = float(((logits > 0) == (target > 0)).float().mean())
    print(f"{len(wanted)} feet, {100 * (1 - float(wanted.mean())):.0f} % off it: {100 * right:.2f} % right")
    return {
        "mean": _rounded(mean),
        "scale": _rounded(scale),
        "hidden": _rounded(first.weight.detach().numpy().T),
        "shift": _rounded(first.bias.detach().numpy()),
        "out": _rounded(second.weight.detach().numpy()[0]),
        "bias": round(float(second.bias.detach()), 5),
    }


def _rounded(values: Array) -> list[object]:
    return [*np.round(values.astype(np.float64), 5).tolist()]


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clips", type=int, default=36)
    found = [pair for seed in range(1, parser.parse_args().clips + 1) for pair in examples(seed)]
    inputs, wanted = np.array([values for values, _ in found]), np.array([on for _, on in found], np.float64)
    TARGET.write_text(json.dumps(fit(inputs, wanted)) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
