"""Render clips of the demo for the training into a cache, with seeds that are kept for it.

    python -m training.mini_sam.demo_clips --cache DIR --clips 150
    python -m training.mini_sam.demo_clips --cache DIR --clips 16 --first 1000200 --restyle
    python -m training.mini_sam.demo_clips --cache DIR --clips 24 --first 1000400 --narrow
    python -m training.mini_sam.demo_clips --cache DIR --clips 16 --first 1000600 --narrow --restyle

A clip is `SEED.npy`, [96, 320, 320, 5] uint8: RGB, then the coverage of board and person, squeezed to a square as the
predictor squeezes its frames (PIL bicubic). Rendering costs 20 ms a frame; a cached clip serves many sequences.
`--restyle` puts the clip through the preview generator with its true masks: what the score's tracker has to follow.
"""

import argparse
from pathlib import Path

import cv2
import numpy as np
from PIL import Image as PilImage

from stages.base import Inputs, Window
from stages.preview import PreviewConfig, PreviewStage
from storage.spans import Span
from stream.demo.look import Look
from stream.demo.scene import TRAINING_SEED_BASE, DemoConfig, DemoFrame, Scene
from training.mini_sam.textures import Image

CLIP_FRAMES = 96  # a departure and return lasts 66
SIZE = 320  # px, at least the training's size
WIDTH, HEIGHT, FPS = 640, 360, 24
LATEST_START = 200  # the clip's time line repeats its kinds of tricks every 198 frames


def previewed(frames: list[DemoFrame], seed: int) -> Image:
    """The pictures [T, H, W, 3] uint8 RGB that the preview generator makes of `frames`, given their true masks."""
    span = Span(0, len(frames))
    score = np.stack([frame.joints_visible for frame in frames])[..., None].astype(np.float32)
    arrays = {
        "frames": np.stack([frame.image for frame in frames]),
        "keypoints": np.concatenate([np.stack([frame.joints for frame in frames]), score], -1),
        "masks/object": np.stack([frame.object_mask for frame in frames]),
        "masks/person": np.stack([frame.person_mask for frame in frames]),
    }
    with PreviewStage(PreviewConfig(seed=seed)) as stage:
        output = stage.process(Window(0, span, span, span, True, len(frames)), Inputs(arrays))
    return output.arrays["raw"]


def demo_clip(
    seed: int, frames: int = CLIP_FRAMES, size: int = SIZE, restyle: bool = False, wide: bool = True
) -> Image:
    """Render [frames, size, size, 5] uint8 from a random place in the clip of `seed`.

    Args:
        seed: a training seed.
        frames: length.
        size: side in px.
        restyle: whether the clip goes through the preview generator.
        wide: any colours; else those that the demo's own clips are drawn from.

    Raises:
        ValueError: when `seed` is one that people, the demo or tests use.
    """
    if seed < TRAINING_SEED_BASE:
        raise ValueError(f"demo seed {seed} is not for training: take {TRAINING_SEED_BASE} or more")
    start = int(np.random.default_rng(seed).integers(LATEST_START))
    scene = Scene(DemoConfig(start + frames, WIDTH, HEIGHT, FPS, seed), Look.from_seed(seed, wide))
    planes = np.empty((frames, size, size, 5), np.uint8)
    rendered = [scene.frame(start + index) for index in range(frames)]
    pictures = previewed(rendered, seed) if restyle else [frame.image for frame in rendered]
    for index, (frame, picture) in enumerate(zip(rendered, pictures, strict=True)):
        planes[index, ..., :3] = np.asarray(PilImage.fromarray(picture).resize((size, size)))
        for channel, mask in ((3, frame.object_mask), (4, frame.person_mask)):
            cover = mask.astype(np.uint8) * 255
            planes[index, ..., channel] = cv2.resize(cover, (size, size), interpolation=cv2.INTER_AREA)
    return planes


def main() -> None:
    """Render the clips that the cache lacks."""
    parser = argparse.ArgumentParser(prog="python -m training.mini_sam.demo_clips", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--clips", type=int, default=150)
    parser.add_argument("--first", type=int, default=TRAINING_SEED_BASE, help="seed of the first clip")
    parser.add_argument("--restyle", action="store_true", help="through the preview generator")
    parser.add_argument("--narrow", action="store_true", help="only colours that the demo's own clips are drawn from")
    options = parser.parse_args()
    options.cache.mkdir(parents=True, exist_ok=True)
    cv2.setNumThreads(1)
    for seed in range(options.first, options.first + options.clips):
        path = options.cache / f"{seed}.npy"
        if path.exists():
            continue
        partial = path.with_suffix(".partial")
        with partial.open("wb") as target:
            np.save(target, demo_clip(seed, restyle=options.restyle, wide=not options.narrow), allow_pickle=False)
        partial.replace(path)


if __name__ == "__main__":
    main()
