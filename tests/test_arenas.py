"""Memory that was freed between blocks still held goes back to the system."""

import sys

import pytest

from stream.engine.arenas import give_back_free_memory
from stream.progress.memory import rss_bytes

BLOCK, BLOCKS, PIN = 3000, 30_000, 100


@pytest.mark.skipif(sys.platform != "linux", reason="glibc alone is told")
def test_free_pages_between_held_blocks_are_given_back() -> None:
    blocks = [bytes([1]) * BLOCK for _ in range(BLOCKS)]
    held = blocks[::PIN]  # pins: the pool cannot simply shrink
    del blocks
    before = rss_bytes()
    give_back_free_memory()
    assert before - rss_bytes() > BLOCK * BLOCKS * 0.7
    assert all(block == bytes([1]) * BLOCK for block in held)
