"""How a window hangs on the one before it: kept frames, padding, seeds. Pure functions.

WanVaceToVideo samples the mask in time by torch's nearest-exact rule: with `length` frames and `slots` latents, slot i
reads frame floor((i + 0.5) * length / slots). At length 81 these are 1, 5, 9, ... 25, 28, ... 79. The causal VAE
stores frame 0 in slot 0 and frames 4i-3 ... 4i in slot i:

    frame   0 | 1  2  3  4 | 5  6  7  8 | 9 ...
    slot    0 |     1      |     2      | 3
    reads     ^1            ^5           ^9          a slot is kept when the frame it reads has mask 0
"""

import hashlib

import numpy as np

from stages.base import Array

TEMPORAL_STRIDE = 4  # of Wan's VAE
SEED_BITS = 53  # any JSON reader holds such an integer exactly


def latent_slots(length: int) -> int:
    """Latent frames of a video of `length` frames (WanVaceToVideo: (length - 1) // 4 + 1)."""
    return (length - 1) // TEMPORAL_STRIDE + 1


def sampled_frames(length: int) -> list[int]:
    """The mask frame that each latent slot reads (torch interpolate, mode nearest-exact), in integer arithmetic."""
    slots = latent_slots(length)
    return [(2 * slot + 1) * length // (2 * slots) for slot in range(slots)]


def slot_frames(slot: int) -> range:
    """The frames that a latent slot stands for."""
    return range(1) if slot == 0 else range(TEMPORAL_STRIDE * slot - 3, TEMPORAL_STRIDE * slot + 1)


def union_by_slot(region: Array) -> Array:
    """`[length, h, w]` bool: the region, wider on the frames whose mask a slot reads, so that none is left out.

    A slot reads one frame's mask for its four frames; the first third of a window's slots read one of the next four. Of
    a fast object that mask covers another place than the slot's own frames show it at. So the frame that a slot reads
    gets the union of the slot's frames and of its own.

    Args:
        region: `[length, h, w]` bool, length 4n+1.
    """
    sent = region.copy()
    for slot, read in enumerate(sampled_frames(len(region))):
        frames = slot_frames(slot)
        sent[read] |= region[frames.start : frames.stop].any(axis=0)
    return sent


def kept_frames(available: int, length: int) -> int:
    """How many of the frames already generated are given as kept: the most that no latent slot contradicts.

    With K kept frames, slot i is complete when it lies in them whole (4i < K), and taken as kept when the frame it
    reads is one of them. K is right when both say the same of every slot: else a complete slot is lost, or an
    incomplete one is held fast with frames in it that were never generated.

    Args:
        available: frames generated already, counted from the window's start.
        length: frames of the window, 4n+1.

    Returns:
        The largest such K <= available; 0 when there is none.
    """
    reads = sampled_frames(length)
    for count in range(min(available, length - 1), 0, -1):
        if all((TEMPORAL_STRIDE * slot < count) == (read < count) for slot, read in enumerate(reads)):
            return count
    return 0


def pad_indices(frames: int, padded: int) -> Array:
    """`[padded]` int64: 0 ... frames-1, then back and forth by reflection about the last and the first frame."""
    if frames == 1:
        return np.zeros(padded, dtype=np.int64)
    period = 2 * (frames - 1)
    steps = np.arange(padded, dtype=np.int64) % period
    return np.where(steps < frames, steps, period - steps)


def window_seed(seed: int, window: int, attempt: int) -> int:
    """The sampler's seed, 0 <= value < 2**53: a hash of `--seed`, the window and the attempt, and of nothing else."""
    digest = hashlib.sha256(f"skate generate {seed} {window} {attempt}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> (64 - SEED_BITS)
