"""Render clips of groups for the training, each subject looked at as a chase looks at it.

    python -m training.mini_sam.chase_clips --cache DIR --clips 24 [--alone]

A clip is three files: `SEED.frames.npy`, `[L, 360, 640, 3]` uint8 RGB; `SEED.masks.npy`, `[L, K, 360, 80]` uint8, what
shows of every skater and board, 8 pixels of a row a byte; `SEED.tracks.npz` with `views` `[L, K, 2, 3]` float64, where
a `stages.views.chase.Chase` that is never wrong looks for each, `areas` `[L, K]` pixels, and `near` `[L, K]` bool,
where another of its kind is so near that one may be taken for the other.
"""

import argparse
from pathlib import Path

import cv2
import numpy as np

from stages.views.chase import Chase, Place
from stages.views.look import box_of
from stream.demo.scene import TRAINING_SEED_BASE, DemoConfig, Scene
from training.mini_sam.chases import BOARDS
from training.mini_sam.config import IMAGE_SIZE
from training.mini_sam.demo_clips import HEIGHT, WIDTH, check_seed
from training.mini_sam.textures import Image

FRAMES = 402
NEAR = 1.0  # of its larger side, between the middles of two


def chased(masks: Image, names: list[str], held_by: dict[str, str]) -> tuple[Image, Image]:
    """Where each is looked at, and where another of its kind is near.

    Args:
        masks: `[L, K, H, W]` bool, of `names`. held_by: by board, who rides it.

    Returns:
        views `[L, K, 2, 3]`, near `[L, K]` bool.
    """
    length, count, height, width = masks.shape
    chase, places = Chase((width, height), IMAGE_SIZE, held_by), dict[str, Place]()
    views, near = np.empty((length, count, 2, 3)), np.zeros((length, count), bool)
    for t in range(length):
        views[t] = [chase.view(name, places) for name in names]
        for k, name in enumerate(names):
            area, box = float(np.count_nonzero(masks[t, k])), box_of(masks[t, k])
            if area:
                places[name] = places.get(name, Place.of(box)).saw(box, area)
            elif name in places:
                places[name] = places[name].missed((width, height))
        near[t] = [_is_near(name, places) for name in names]
    return views, near


def _is_near(name: str, places: dict[str, Place]) -> bool:
    """Whether another of its kind is; of names as `stream.demo.cast` gives them."""
    kind, own = name.partition("-")[0], places.get(name)
    others = [place for other, place in places.items() if other != name and other.partition("-")[0] == kind]
    return own is not None and any(np.hypot(*np.subtract(own.middle, each.middle)) < NEAR * own.side for each in others)


def render(seed: int, cache: Path, length: int = FRAMES, alone: bool = False) -> None:
    """Write the clip of a training seed, or of one of its subjects alone, with the others' masks empty; the tracks
    last, so that what has them is whole.

    Raises:
        ValueError: as `check_seed`.
    """
    check_seed(seed)
    rng = np.random.default_rng([seed, 72])
    camera = str(rng.choice(("steady", "handheld"), p=(0.75, 0.25)))
    size = 1.0 if rng.random() < 0.6 else float(rng.uniform(0.75, 1.4))
    scene = Scene(DemoConfig(length, WIDTH, HEIGHT, 24, seed, camera, 3, 3, size=size), bool(rng.random() < 0.2))
    names = [*scene.boards, *scene.skaters]
    if alone:
        scene = scene.alone(str(rng.choice(scene.boards if rng.random() < BOARDS else scene.skaters)))
    shape = (length, HEIGHT, WIDTH, 3)
    frames = np.lib.format.open_memmap(cache / f"{seed}.frames.npy", "w+", np.uint8, shape)
    masks = np.zeros((length, len(names), HEIGHT, WIDTH), bool)
    for t in range(length):
        frames[t] = scene.picture(t)
        every = scene.masks(t)
        masks[t] = [every[name] for name in names]
    frames.flush()
    np.save(cache / f"{seed}.masks.npy", np.packbits(masks, axis=-1))
    views, near = chased(masks, names, dict(zip(scene.boards, scene.skaters, strict=True)))
    areas = np.count_nonzero(masks, axis=(2, 3))
    with (cache / f"{seed}.tracks.partial").open("wb") as target:
        np.savez(target, views=views, near=near, areas=areas)
    (cache / f"{seed}.tracks.partial").replace(cache / f"{seed}.tracks.npz")


def main() -> None:
    """Render the clips that the cache lacks."""
    parser = argparse.ArgumentParser(prog="python -m training.mini_sam.chase_clips", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--clips", type=int, default=24)
    parser.add_argument("--first", type=int, default=TRAINING_SEED_BASE, help="seed of the first clip")
    parser.add_argument("--alone", action="store_true", help="one of a clip's subjects and nobody else")
    options = parser.parse_args()
    options.cache.mkdir(parents=True, exist_ok=True)
    cv2.setNumThreads(1)
    for seed in range(options.first, options.first + options.clips):
        if not (options.cache / f"{seed}.tracks.npz").exists():
            render(seed, options.cache, alone=options.alone)


if __name__ == "__main__":
    main()
