"""Training sequences: a prompted frame and a run of tracked frames cut from a clip.

    clip     |....P..........[r..r..r..r..r..r]......|

The run follows the prompt at once or after a gap (or lies before it), with a stride of 1 to 4 frames, and is drawn
towards the frames where a target leaves or returns.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch

from training.mini_sam.augment import compress, reframe, retexture, shift_colours, tone
from training.mini_sam.chases import ChaseClip
from training.mini_sam.synthetic import synthetic_clip
from training.mini_sam.textures import Image

POOL = 6  # synthetic clips kept by a worker
REUSE = 3  # sequences cut from one synthetic clip before it is replaced
CLIP_FRAMES = 20
SEEN = 10.0  # px at 256 x 256: a target smaller than this at the prompted frame is no target


@dataclass(frozen=True)
class SequenceConfig:
    """What a sequence looks like.

    Attributes:
        frames: T, the prompted frame included.
        size: side of the square frames in px.
        whole: side in px that a whole picture is scaled to; where it is more than `size`, a sequence is a crop, so that
            small frames train the scale of large ones.
        cache: folder of rendered demo clips (`*.npy`, [L, s, s, 5] uint8: RGB and two masks), or None.
        demo_share: share of sequences cut from the cache.
        chases: folder of clips of groups (`training.mini_sam.chase_clips`), or None.
        chase_share: share of sequences cut from these.
    """

    frames: int
    size: int
    whole: int
    cache: Path | None
    demo_share: float
    chases: Path | None = None
    chase_share: float = 0.0


@dataclass(frozen=True)
class Clip:
    """images [L, s, s, 3] uint8, masks [L, s, s, 2] uint8, areas [L, 2] visible px of a picture of 256 x 256."""

    images: Image
    masks: Image
    areas: Image


def _areas(masks: Image) -> Image:
    """Visible area of every target, from every fourth row and column."""
    sums: Image = masks[:, ::4, ::4].sum((1, 2), dtype=np.int64) * (16 / 255 * (256 / masks.shape[1]) ** 2)
    return sums


def choose_frames(rng: np.random.Generator, areas: Image, frames: int, seen: float) -> Image | None:
    """Choose the prompted frame and the run.

    Args:
        areas: [L, K] visible area of every target in every frame.
        frames: T.
        seen: area from which a target counts as visible.

    Returns:
        positions [T] in the clip, the prompted frame first; None where no frame can be prompted.
    """
    length = len(areas)
    strides = [stride for stride in (1, 1, 1, 2, 3, 4) if stride * (frames - 1) < length]
    stride = int(rng.choice(strides))
    run = stride * (frames - 2)  # from the first tracked frame to the last
    promptable = np.flatnonzero(areas[:, 0] >= seen)
    if rng.random() < 0.25 or not len(promptable):
        promptable = np.flatnonzero((areas >= seen).any(1))
    if not len(promptable):
        return None
    prompt = int(rng.choice(promptable))
    starts = np.arange(0, length - run)
    changes = np.flatnonzero(np.diff((areas >= seen / 4).astype(int), axis=0).any(1))
    near = [start for start in starts if ((changes >= start) & (changes < start + run)).any()]
    joined = rng.random() < 0.4 and prompt + stride in starts
    start = prompt + stride if joined else int(rng.choice(near if near and rng.random() < 0.5 else starts))
    return np.concatenate([[prompt], start + stride * np.arange(frames - 1)])


def _dress(rng: np.random.Generator, images: Image, masks: Image) -> Image:
    """New looks for the targets of a demo clip: the board another texture, the person another tone or texture."""
    if rng.random() < 0.25:
        images = retexture(rng, images, masks[..., 0])
    draw = rng.random()
    if draw < 0.12:
        images = tone(rng, images, masks[..., 1])
    elif draw < 0.2:
        images = retexture(rng, images, masks[..., 1])
    return images


class Sequences(torch.utils.data.IterableDataset[tuple[torch.Tensor, torch.Tensor]]):
    """Endless sequences: images [T, S, S, 3] uint8, masks [T, S, S, 2] uint8."""

    def __init__(self, config: SequenceConfig, seed: tuple[int, ...]) -> None:
        self.config = config
        self.seed = seed

    def __iter__(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        cv2.setNumThreads(1)
        rng = np.random.default_rng(self.seed)
        pool: list[Clip] = []
        seen: dict[Path, Image] = {}
        chases: dict[Path, ChaseClip] = {}
        while True:
            if self.config.chases is not None and rng.random() < self.config.chase_share:
                chased = self._chase(rng, chases)
                if chased is not None:
                    yield chased
                continue
            demo = rng.random() < self.config.demo_share
            clip = self._demo(rng, seen) if demo else None
            sequence = self._cut(rng, clip or self._general(rng, pool), clip is not None)
            if sequence is not None:
                yield sequence

    def _demo(self, rng: np.random.Generator, seen: dict[Path, Image]) -> Clip | None:
        """A rendered demo clip, still on disk; None while the cache is empty. `seen` keeps the areas of each."""
        paths = sorted(self.config.cache.glob("*.npy")) if self.config.cache else []
        if not paths:
            return None
        path = paths[rng.integers(len(paths))]
        planes: Image = np.load(path, mmap_mode="r", allow_pickle=False)
        if path not in seen:
            seen[path] = _areas(planes[..., 3:])
        return Clip(planes[..., :3], planes[..., 3:], seen[path])

    def _chase(
        self, rng: np.random.Generator, clips: dict[Path, ChaseClip]
    ) -> tuple[torch.Tensor, torch.Tensor] | None:
        """A sequence of a clip of a group, looked at as a chase does."""
        assert self.config.chases is not None, "asked for where there are some"
        paths = sorted(self.config.chases.glob("*.tracks.npz"))
        if not paths:
            raise FileNotFoundError(
                f"{self.config.chases} has no clips: python -m training.mini_sam.chase_clips makes them"
            )
        path = paths[rng.integers(len(paths))]
        if path not in clips:
            clips[path] = ChaseClip.of(path)
        found = clips[path].cut(rng, self.config.frames, self.config.size)
        return None if found is None else _spoilt(rng, *found)

    def _general(self, rng: np.random.Generator, pool: list[Clip]) -> Clip:
        if len(pool) < POOL or rng.random() < 1 / REUSE:
            images, masks = synthetic_clip(int(rng.integers(2**31)), CLIP_FRAMES, self.config.whole)
            pool[:] = [*pool, Clip(images, masks, _areas(masks))][-POOL:]
        return pool[rng.integers(len(pool))]

    def _cut(self, rng: np.random.Generator, clip: Clip, demo: bool) -> tuple[torch.Tensor, torch.Tensor] | None:
        positions = choose_frames(rng, clip.areas, self.config.frames, 4 * SEEN)
        if positions is None:
            return None
        images, masks = np.ascontiguousarray(clip.images[positions]), np.ascontiguousarray(clip.masks[positions])
        images, masks = reframe(rng, images, masks, self.config.whole, self.config.size)
        if demo:
            images = _dress(rng, images, masks)
        return _spoilt(rng, images, masks)


def _spoilt(rng: np.random.Generator, images: Image, masks: Image) -> tuple[torch.Tensor, torch.Tensor]:
    """Sometimes in other colours, sometimes compressed."""
    if rng.random() < 0.25:
        images = shift_colours(rng, images)
    if rng.random() < 0.25:
        images = compress(rng, images)
    return torch.from_numpy(np.ascontiguousarray(images)), torch.from_numpy(masks)
