"""A bounded number of samples a pixel, their median, and what was never seen, inpainted.

    samples [5, H, W, 3]    the first `count` of a pixel's are values that were seen there
    count   [H, W]

Which frames stay is decided by the number of the offer alone: while there is room each is taken, then every second,
fourth, ... one takes the place of the oldest, so that the samples spread over all that was offered.
"""

import cv2
import numpy as np

from stages.base import Array

SAMPLES = 5
INPAINT_RADIUS = 5.0  # px
INPAINT_SIDE = 160  # px: of the picture in which holes are inpainted, at most
RIM = 3  # px of that picture: a hole is so much wider, half of it on each side
LEAST_WEIGHT = 0.02  # share of known pixels under one of that picture


def no_samples(height: int, width: int) -> tuple[Array, Array]:
    """Samples and count of a plate of which nothing is seen."""
    return np.zeros((SAMPLES, height, width, 3), np.uint8), np.zeros((height, width), np.uint8)


def take(samples: Array, count: Array, picture: Array, seen: Array, offer: int) -> None:
    """Take what is seen of a picture, in place.

    Args:
        picture: `[H, W, 3]` uint8, in the plate's pixels. seen: `[H, W]` uint8, 255 where it shows the background.
        offer: how many pictures were offered before.
    """
    # Full pixels first: those that are filled up now must not be taken twice.
    every = 1 << max(0, (offer // SAMPLES).bit_length() - 1)
    if offer >= SAMPLES and offer % every == 0:
        full = np.where(count == SAMPLES, seen, np.uint8(0))
        cv2.copyTo(picture, full, samples[(offer // every) % SAMPLES])
    free = np.where(count < SAMPLES, seen, np.uint8(0))
    for slot in range(SAMPLES):
        here = np.where(count == slot, free, np.uint8(0))
        if here.any():
            cv2.copyTo(picture, here, samples[slot])
    count[free > 0] += 1


def median(samples: Array, count: Array) -> Array:
    """`[H, W, 3]` uint8: of each pixel's samples; anything where there are none.

    Fewer than five are repeated in turn: the median of two is the first, of four the first with the middle ones.
    """
    filled = [samples[0]]
    for slot in range(1, SAMPLES):
        values = samples[slot]
        if (count <= slot).any():
            values = values.copy()
            for known in range(1, slot + 1):
                cv2.copyTo(samples[slot % known], (count == known).astype(np.uint8), values)
        filled.append(values)
    return _median_of_five(filled)


def _median_of_five(p: list[Array]) -> Array:
    """The network of N. Devillard, Fast median search (1998)."""

    def sort(i: int, j: int) -> None:
        p[i], p[j] = np.minimum(p[i], p[j]), np.maximum(p[i], p[j])

    for i, j in ((0, 1), (3, 4), (0, 3), (1, 4), (1, 2), (2, 3), (1, 2)):
        sort(i, j)
    return p[2]


def inpainted(picture: Array, known: Array) -> Array:
    """`[H, W, 3]` uint8: the picture with what is not known (`[H, W]` bool) filled from around it (Telea, JGT 2004).

    In a small picture: what is behind a hole is guessed anyway, and at 160 px the guess is as good as at 320. A rim
    around each hole is guessed too and not used: a subject's blur lies there. Exemplars (Criminisi et al. 2004) and
    coherence transport (Bornemann, Maerz 2007) came out worse against the demo's truth, the former by 2 to 8 dB.
    """
    if known.all():
        return picture
    height, width = known.shape
    scale = min(1.0, INPAINT_SIDE / max(height, width))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    weight = cv2.resize(known.astype(np.float32), size, interpolation=cv2.INTER_AREA)
    total = cv2.resize(np.where(known[..., None], picture, 0).astype(np.float32), size, interpolation=cv2.INTER_AREA)
    small = np.clip(np.round(total / np.maximum(weight, 1e-6)[..., None]), 0, 255).astype(np.uint8)
    hole = cv2.dilate((weight < 0.5).astype(np.uint8), np.ones((RIM, RIM), np.uint8))
    if hole.all():
        hole = (weight < LEAST_WEIGHT).astype(np.uint8)
    if hole.all():
        return np.full_like(picture, 128)
    patched = cv2.inpaint(small, hole, INPAINT_RADIUS, cv2.INPAINT_TELEA)
    filled = cv2.resize(patched, (width, height), interpolation=cv2.INTER_LINEAR)
    return np.where(known[..., None], picture, filled)
