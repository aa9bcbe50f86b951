"""Pictures and regions at another size."""

import cv2
import numpy as np

from stages.base import Array

Size = tuple[int, int]  # width, height


def reduced(size: Size, height: int | None) -> Size:
    """A size with this height and the same shape; as it is where that is None or no less."""
    if height is None or height >= size[1]:
        return size
    return max(1, round(size[0] * height / size[1])), height


def resize_frames(frames: Array, size: Size) -> Array:
    """`[n, h, w, 3]` uint8 to `(width, height)`: area averaging down, Lanczos up, as it is at its size."""
    width, height = size
    if frames.shape[2] == width and frames.shape[1] == height:
        return frames
    method = cv2.INTER_AREA if width * height < frames.shape[1] * frames.shape[2] else cv2.INTER_LANCZOS4
    resized = np.empty((len(frames), height, width, 3), dtype=np.uint8)
    for target, frame in zip(resized, frames, strict=True):
        target[:] = cv2.resize(frame, (width, height), interpolation=method)
    return resized


def resize_region(region: Array, size: Size) -> Array:
    """`[n, h, w]` bool to `(width, height)`: true wherever a pixel of the region falls."""
    width, height = size
    if region.shape[2] == width and region.shape[1] == height:
        return region
    resized = np.empty((len(region), height, width), dtype=np.bool_)
    method = cv2.INTER_AREA if width * height < region.shape[1] * region.shape[2] else cv2.INTER_LINEAR
    for target, frame in zip(resized, region, strict=True):
        target[:] = cv2.resize(frame.astype(np.float32), (width, height), interpolation=method) > 0
    return resized


def nearest(masks: Array, size: Size) -> Array:
    """`[n, h, w]` bool to `(width, height)`, each pixel the nearest one's."""
    if masks.shape[2] == size[0] and masks.shape[1] == size[1]:
        return masks
    resized = [cv2.resize(mask.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST) > 0 for mask in masks]
    return np.stack(resized)
