"""Arrays for windows of frames, used again once nobody holds them."""

import math
import sys

import numpy as np

from stages.base import Array

_REFERENCES_WHEN_FREE = 3  # the pool's list, the loop's name, and getrefcount's own argument


class FrameBuffers:
    """Keeps at most `kept` blocks of memory. Fresh memory costs a page fault every 4 KiB, as long as decoding a frame.

    A block is free when no array looks into it any more: every view of a numpy array refers to the array that owns the
    memory, so its reference count tells.
    """

    def __init__(self, kept: int = 2) -> None:
        self.kept = kept
        self._blocks: list[Array] = []

    def take(self, shape: tuple[int, ...]) -> Array:
        """A uint8 array of this shape with arbitrary contents."""
        size = math.prod(shape)
        for block in self._blocks:
            if block.size >= size and sys.getrefcount(block) <= _REFERENCES_WHEN_FREE:
                return block[:size].reshape(shape)
        block = np.empty(size, np.uint8)
        if len(self._blocks) < self.kept:
            self._blocks.append(block)
        return block.reshape(shape)

    def clear(self) -> None:
        """Let go of the blocks."""
        self._blocks.clear()
