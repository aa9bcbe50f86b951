"""WanVaceToVideo's arithmetic on pixels; the VAE is the identity, so a latent slot is the frames it stands for."""

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True)
class Context:
    """One VACE context.

    Attributes:
        inactive, reactive: `[length, h, w, 3]` float32, 0.5 = nothing.
        mask: `[slots, h, w]` float32, the mask frames that the latent slots read.
        frame_mask: `[length, h, w]` float32, as it was given.
    """

    inactive: Array
    reactive: Array
    mask: Array
    frame_mask: Array
    strength: float
    reference: bool


@dataclass(frozen=True)
class Conditioning:
    """A text with the contexts stacked on it."""

    text: str
    contexts: tuple[Context, ...] = ()


@dataclass(frozen=True)
class Latent:
    """`extra` reference slots before the video's; `frames` `[length, h, w, 3]` float32 once it was sampled; `ahead`
    frames that decoding gives before them."""

    length: int
    height: int
    width: int
    extra: int = 0
    frames: Array | None = field(default=None, compare=False)
    ahead: int = 0


@dataclass(frozen=True)
class Slots:
    """Latents cut in time.

    Attributes:
        parts: of each slot its frames `[1 or 4, h, w, 3]`, None for an empty one.
        held: slots that a noise mask leaves alone.
    """

    parts: tuple[Array | None, ...]
    held: tuple[bool, ...] = ()

    @classmethod
    def of_frames(cls, frames: Array) -> "Slots":
        """Of a sampled video: one frame, then four a slot."""
        return cls((frames[:1], *(frames[index : index + 4] for index in range(1, len(frames), 4))))

    @classmethod
    def empty(cls, latent: Latent) -> "Slots":
        """Of WanVaceToVideo's empty latent."""
        return cls((None,) * (latent.extra + slots_of(latent.length)))

    def held_in(self, frames: Array) -> Array:
        """The sampled frames with the held slots as they were; a reference's slots lie in front."""
        result, ahead = frames.copy(), len(self.parts) - slots_of(len(frames))
        for index, (part, held) in enumerate(zip(self.parts, self.held, strict=True)):
            if held:
                slot = index - ahead
                assert part is not None and slot >= 1 and len(part) == 4
                result[4 * slot - 3 : 4 * slot + 1] = part
        return result


def slots_of(length: int) -> int:
    """Latent frames of a video."""
    return (length - 1) // 4 + 1


def nearest_exact(length: int) -> Array:
    """The frame each slot reads, as torch's interpolate does it in float32."""
    slots = slots_of(length)
    scale = np.float32(length) / np.float32(slots)
    picked = np.floor((np.arange(slots, dtype=np.float32) + np.float32(0.5)) * scale).astype(int)
    clipped: Array = np.minimum(picked, length - 1)
    return clipped


def pad(values: Array, length: int, fill: float) -> Array:
    """Cut or fill up along time, as the node does."""
    short = length - len(values)
    if short <= 0:
        return values[:length]
    return np.concatenate([values, np.full((short, *values.shape[1:]), fill, values.dtype)])


def wan_vace_to_video(
    positive: Conditioning,
    negative: Conditioning,
    width: int,
    height: int,
    length: int,
    strength: float,
    control_video: Array | None = None,
    control_masks: Array | None = None,
    reference_image: Array | None = None,
) -> tuple[Conditioning, Conditioning, Latent, int]:
    """The node's four outputs.

    Raises:
        RuntimeError: as torch does during execution for sizes that are no multiples of 8.
    """
    length = (length - 1) // 4 * 4 + 1
    if width % 8 or height % 8:
        raise RuntimeError(f"shape '[{length}, {height // 8}, 8, {width // 8}, 8]' is invalid for input of this size")
    grey = np.full((length, height, width, 3), 0.5, np.float32)
    video = grey if control_video is None else pad(control_video, length, 0.5)
    ones = np.ones((length, height, width), np.float32)
    mask = ones if control_masks is None else pad(control_masks, length, 1.0)
    if video.shape[1:3] != (height, width) or mask.shape[1:3] != (height, width):
        raise RuntimeError("the fake server does not resize: send exact sizes")
    centred, weight = video - np.float32(0.5), mask[..., None]
    context = Context(
        inactive=centred * (1 - weight) + np.float32(0.5),
        reactive=centred * weight + np.float32(0.5),
        mask=mask[nearest_exact(length)],
        frame_mask=mask,
        strength=strength,
        reference=reference_image is not None,
    )
    extra = int(reference_image is not None)
    stacked = [replace(item, contexts=(*item.contexts, context)) for item in (positive, negative)]
    return stacked[0], stacked[1], Latent(length, height, width, extra), extra
