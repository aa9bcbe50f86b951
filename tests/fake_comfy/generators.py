"""What stands in for the sampler: deterministic functions of the conditioning and the seed."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import cv2
import numpy as np

from fake_comfy.vace import Array, Conditioning

Json = Any


class Generator(Protocol):
    """`[length, h, w, 3]` float32 in 0..1 from the positive conditioning, the seed and the graph."""

    def __call__(self, positive: Conditioning, seed: int, graph: Json) -> Array: ...


def frame_slots(length: int) -> Array:
    """The latent slot of each frame: 0, then four frames a slot."""
    return (np.arange(length) + 3) // 4


@dataclass(frozen=True)
class Paint:
    """Kept slots come back as they went in; in others the masked part is a tint by seed, mixed with the guide."""

    def __call__(self, positive: Conditioning, seed: int, graph: Json) -> Array:
        context = positive.contexts[0]
        tint = np.random.default_rng([seed % 2**32, seed >> 32, len(positive.text)]).random(3, np.float32)
        mask = context.mask[frame_slots(len(context.inactive))][..., None]
        made = np.float32(0.5) * context.reactive + np.float32(0.5) * tint
        return np.asarray(context.inactive * (1 - mask) + made * mask, np.float32)


@dataclass(frozen=True)
class Identity:
    """Gives the source back: the window's number stands in the output's prefix, its start in `starts`."""

    source: Array  # [T, h, w, 3] uint8
    starts: Sequence[int]

    def __call__(self, positive: Conditioning, seed: int, graph: Json) -> Array:
        length, start = len(positive.contexts[0].inactive), self.starts[window_number(graph)]
        index = np.arange(start, start + length)
        period = 2 * (len(self.source) - 1)
        folded = index % period
        index = np.where(folded < len(self.source), folded, period - folded)
        return self.source[index].astype(np.float32) / np.float32(255)


@dataclass(frozen=True)
class Shift:
    """A generator that drifts: it continues the colour of the kept frames and adds `shift` to everything it gives.

    Attributes:
        shift: RGB, 0..1.
        everywhere: also outside the region, as a VAE does.
        base: RGB of the region where nothing is kept.
    """

    shift: tuple[float, float, float]
    everywhere: bool = True
    base: tuple[float, float, float] = (0.4, 0.45, 0.5)

    def __call__(self, positive: Conditioning, seed: int, graph: Json) -> Array:
        context = positive.contexts[0]
        masks = context.frame_mask > 0.5
        generated = np.flatnonzero(masks.any(axis=(1, 2)))
        given = context.inactive + context.reactive - np.float32(0.5)
        if not len(generated):
            return np.asarray(np.clip(given + np.array(self.shift, np.float32), 0, 1), np.float32)
        first = int(generated[0])
        where = masks[first]
        core = cv2.erode(where.astype(np.uint8), np.ones((1, 3), np.uint8)) > 0  # it moved since the last kept frame
        colour = np.array(self.base, np.float32) if first == 0 else given[first - 1][core].mean(axis=0)
        ramp = np.linspace(-0.2, 0.2, where.shape[0], dtype=np.float32)[:, None, None]
        texture = colour + ramp - ramp[where.any(axis=1)].mean()
        around = cv2.dilate(where.astype(np.uint8), np.ones((1, 13), np.uint8)) > 0  # where it was in the kept frames
        noise = (np.random.default_rng(seed).random(given.shape, np.float32) - np.float32(0.5)) / np.float32(64)
        frames = given.copy()
        for index in range(len(frames)):
            moved = around if index < first else masks[index]
            if index >= first:
                frames[index][moved] = (texture + noise[index])[moved]
            target = np.ones_like(moved) if self.everywhere else moved
            frames[index][target] += np.array(self.shift, np.float32)
        return np.asarray(np.clip(frames, 0, 1), np.float32)


@dataclass(frozen=True)
class Drift:
    """A generator that moves all colours a little on their way through it: each window anew, so that they run away.

    What it paints is a figure of its own, with the colours that the last kept frame has of it, lit as the scene is.

    Attributes:
        masks: `[T, h, w]` bool, what it paints. light: `[T, 3]`, how bright the scene is, by channel.
        starts: of the windows, whose number stands in the output's prefix.
        shift: RGB, levels. contrast: about grey. saturation: about a pixel's own grey.
        noise: levels, either way. softer: weight of a blur of 3x3 pixels.
    """

    masks: Array
    light: Array
    starts: Sequence[int]
    shift: tuple[float, float, float] = (0.6, -0.4, 0.8)
    contrast: float = 1.002
    saturation: float = 1.003
    noise: float = 2.0
    softer: float = 0.0

    def __call__(self, positive: Conditioning, seed: int, graph: Json) -> Array:
        context = positive.contexts[0]
        given = (context.inactive + context.reactive - np.float32(0.5)).astype(np.float64) * 255
        start = self.starts[window_number(graph)]
        fresh = np.flatnonzero(context.frame_mask.any(axis=(1, 2)))
        kept = int(fresh[0]) if len(fresh) else len(given)
        look = self._look(given[kept - 1], start + kept - 1) if kept else np.eye(4)[:, :3]
        random = np.random.default_rng(seed)
        for index in range(kept, len(given)):
            where = self.masks[start + index]
            shown = np.column_stack([figure(where), np.ones(np.count_nonzero(where))])
            given[index][where] = (shown @ look) * self.light[start + index]
        given += random.uniform(-self.noise, self.noise, given.shape)
        return np.asarray(np.clip(self.transfer(given), 0, 255) / 255, np.float32)

    def _look(self, picture: Array, frame: int) -> Array:
        """`[4, 3]`: from the figure's own levels to those that a picture shows of it, unlit."""
        where = self.masks[frame]
        inside = cv2.erode(where.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0  # its edge has of the background
        own = np.column_stack([figure(where), np.ones(np.count_nonzero(where))])[inside[where]]
        found, *_ = np.linalg.lstsq(own, picture[inside] / self.light[frame], rcond=None)
        return np.asarray(found)

    def transfer(self, levels: Array) -> Array:
        """`[n, h, w, 3]` float64: what comes out for what goes in, before it is rounded."""
        if self.softer:
            blurred = np.stack([cv2.blur(frame, (3, 3)) for frame in levels])
            levels = levels + self.softer * (blurred - levels)
        grey = levels.mean(axis=-1, keepdims=True)
        saturated = grey + self.saturation * (levels - grey)
        return np.asarray(127.5 + self.contrast * (saturated - 127.5) + np.array(self.shift))


def figure(mask: Array) -> Array:
    """`[k, 3]` float64: levels of a figure at the pixels of its mask `[h, w]`, unlit; the same wherever it is."""
    rows, columns = np.nonzero(mask)
    u, v = (rows - rows.min()) / 6.0, (columns - columns.min()) / 5.0
    return np.stack([110 + 45 * np.sin(u), 115 + 40 * np.cos(v), 120 + 40 * np.sin(u + 2 * v)], axis=-1)


def window_number(graph: Json) -> int:
    """Of the window that a graph makes: it stands in the prefix of what is saved, in the title of what is sent."""
    names = [str(node["inputs"].get("filename_prefix", node.get("_meta", {}).get("title"))) for node in graph.values()]
    found = [match for match in (re.search(r"_w(\d{5})_", name) for name in names) if match is not None]
    assert found, f"no window number in {names}"
    return int(found[0].group(1))
