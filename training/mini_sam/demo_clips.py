"""Render clips of the demo for the training into a cache, with seeds that are kept for it.

    python -m training.mini_sam.demo_clips --cache DIR --clips 150

A clip is `SEED.npy`, [48, 320, 320, 5] uint8: RGB, then the coverage of two targets, squeezed to a square as the
predictor squeezes its frames (PIL bicubic). Its seed alone decides what it shows (`draw_clip`): a third are clips like
the default demo's; the others have any camera, any size from half to three times, and up to four skaters and boards,
of which one pair, or two boards that look alike, are the targets. A quarter goes through the preview generator with
the true masks: what the score's tracker has to follow. `--tracked-with WEIGHTS` renders clips like the default demo's,
previewed inside the masks that these weights find. There the board's mask is the only target: what the score compares
with. (With the person's found masks as targets too, persons shrank.)
"""

import argparse
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from PIL import Image as PilImage

from stages.base import Inputs, Window
from stages.composite import CompositeConfig, CompositeStage
from stages.preview import PreviewConfig, PreviewStage
from storage.spans import Span
from stream.demo.cast import subject_name
from stream.demo.scene import TRAINING_SEED_BASE, DemoConfig, DemoFrame, Scene
from training.mini_sam.predict import SHIPPED, box_of, load_predictor, track
from training.mini_sam.textures import Image

CLIP_FRAMES = 48
SIZE = 320  # px, at least the training's size
WIDTH, HEIGHT = 640, 360
LATEST_START = 200  # the clip's time line repeats its kinds of tricks every 198 frames
PROMPTED = 1000  # px of board from which a tracked clip may begin
CAMERAS, CAMERA_SHARES = ("steady", "handheld", "pan", "cuts"), (0.45, 0.3, 0.15, 0.1)


def previewed(frames: list[DemoFrame], seed: int) -> Image:
    """The pictures [T, H, W, 3] uint8 RGB that the preview generator makes of `frames`, given their true masks."""
    span = Span(0, len(frames))
    score = np.stack([frame.joints_visible for frame in frames])[..., None].astype(np.float32)
    arrays = {
        "frames": np.stack([frame.image for frame in frames]),
        "keypoints/person": np.concatenate([np.stack([frame.joints for frame in frames]), score], -1),
        "masks/object": np.stack([frame.object_mask for frame in frames]),
        "masks/person": np.stack([frame.person_mask for frame in frames]),
    }
    window = Window(0, span, span, span, True, len(frames))
    with PreviewStage(PreviewConfig(seed=seed)) as stage:
        made = stage.process(window, Inputs(arrays)).arrays
    with CompositeStage(CompositeConfig()) as stage:
        return stage.process(window, Inputs({**arrays, **made})).arrays["raw"]


@dataclass(frozen=True)
class ClipPlan:
    """What the clip of a training seed shows.

    Attributes:
        config: of the scene.
        wide: any colours; else those that the demo's own clips are drawn from.
        restyle: whether it goes through the preview generator.
        targets: names of the two subjects to track.
        start: its first frame.
    """

    config: DemoConfig
    wide: bool
    restyle: bool
    targets: tuple[str, str]
    start: int


def check_seed(seed: int) -> None:
    """Whether clips of it may be trained on.

    Raises:
        ValueError: when `seed` is one that people, the demo or tests use.
    """
    if seed < TRAINING_SEED_BASE:
        raise ValueError(f"demo seed {seed} is not for training: take {TRAINING_SEED_BASE} or more")


def draw_clip(seed: int, frames: int = CLIP_FRAMES) -> ClipPlan:
    """What a training seed shows.

    Raises:
        ValueError: as `check_seed`.
    """
    check_seed(seed)
    rng = np.random.default_rng([seed, 71])
    start, fps = int(rng.integers(LATEST_START)), 24 if rng.random() < 0.6 else 12
    wide, restyle = bool(rng.random() < 0.35), bool(rng.random() < 0.25)
    if rng.random() < 1 / 3:
        config = DemoConfig(start + frames, WIDTH, HEIGHT, fps, seed)
        return ClipPlan(config, wide, restyle, ("board", "skater"), start)
    camera = str(rng.choice(CAMERAS, p=CAMERA_SHARES))
    size = float(np.exp(rng.uniform(np.log(0.45), np.log(3.2)))) if rng.random() < 0.75 else 1.0
    group = int(rng.choice((1, 2, 3, 4), p=(0.4, 0.25, 0.2, 0.15)))
    config = DemoConfig(start + frames, WIDTH, HEIGHT, fps, seed, camera, group, group, size=size)
    target = int(rng.integers(group))
    other = subject_name("skater", target)
    if group > 1 and rng.random() < 0.4:  # two boards, mostly those that look alike
        target, second = (int(k) for k in (rng.permutation(2) if rng.random() < 0.7 else rng.permutation(group)[:2]))
        other = subject_name("board", second)
    return ClipPlan(config, wide, restyle, (subject_name("board", target), other), start)


def draw_tracked_clip(seed: int, frames: int = CLIP_FRAMES) -> ClipPlan:
    """A previewed clip like the default demo's; it begins where the board can be prompted."""
    start = draw_clip(seed, frames).start
    scene = Scene(DemoConfig(start + 2 * frames, WIDTH, HEIGHT, 24, seed))
    while scene.frame(start).object_mask.sum() < PROMPTED:
        start += 1
    return ClipPlan(replace(scene.config, frames=start + frames), False, True, ("board", "skater"), start)


def _followed(predictor: Any, rendered: list[DemoFrame]) -> list[DemoFrame]:
    """`rendered` with the masks that `predictor` finds from the true boxes of the first frame."""
    truth = {1: rendered[0].object_mask, 2: rendered[0].person_mask}
    boxes = {number: box_of(mask) for number, mask in truth.items() if mask.any()}
    found = track(predictor, np.stack([frame.image for frame in rendered]), boxes)
    persons = found.get(2, np.zeros_like(found[1]))
    masks = zip(rendered, found[1], persons, strict=True)
    return [replace(frame, object_mask=board, person_mask=person) for frame, board, person in masks]


def demo_clip(plan: ClipPlan, frames: int = CLIP_FRAMES, size: int = SIZE, predictor: Any = None) -> Image:
    """Render [frames, size, size, 5] uint8: the pictures and the two targets' coverage.

    With a predictor what it finds takes the place of the truth, and the second target is left empty.
    """
    scene = Scene(plan.config, plan.wide)
    rendered = []
    for t in range(plan.start, plan.start + frames):
        masks = scene.masks(t)
        first, second = (masks[name] for name in plan.targets)
        rendered.append(replace(scene.frame(t), object_mask=first, person_mask=second))
    if predictor is not None:
        rendered = _followed(predictor, rendered)
    pictures = previewed(rendered, plan.config.seed) if plan.restyle else [frame.image for frame in rendered]
    planes = np.empty((frames, size, size, 5), np.uint8)
    for index, (frame, picture) in enumerate(zip(rendered, pictures, strict=True)):
        planes[index, ..., :3] = np.asarray(PilImage.fromarray(picture).resize((size, size)))
        for channel, mask in ((3, frame.object_mask), (4, frame.person_mask)):
            cover = mask.astype(np.uint8) * 255
            planes[index, ..., channel] = cv2.resize(cover, (size, size), interpolation=cv2.INTER_AREA)
    if predictor is not None:
        planes[..., 4] = 0
    return planes


def main() -> None:
    """Render the clips that the cache lacks."""
    parser = argparse.ArgumentParser(prog="python -m training.mini_sam.demo_clips", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--clips", type=int, default=150)
    parser.add_argument("--first", type=int, default=TRAINING_SEED_BASE, help="seed of the first clip")
    parser.add_argument("--least-size", type=float, default=0.0, help="leave out the seeds whose clip is smaller")
    parser.add_argument("--tracked-with", type=Path, help="weights whose masks of the board are the targets")
    options = parser.parse_args()
    options.cache.mkdir(parents=True, exist_ok=True)
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    predictor = load_predictor(SHIPPED / "sam.yaml", options.tracked_with) if options.tracked_with else None
    for seed in range(options.first, options.first + options.clips):
        path = options.cache / f"{seed}.npy"
        plan = draw_tracked_clip(seed) if predictor else draw_clip(seed)
        if path.exists() or plan.config.size < options.least_size:
            continue
        partial = path.with_suffix(".partial")
        with partial.open("wb") as target:
            np.save(target, demo_clip(plan, predictor=predictor), allow_pickle=False)
        partial.replace(path)


if __name__ == "__main__":
    main()
