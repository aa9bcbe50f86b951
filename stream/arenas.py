"""Memory that stays flat: glibc's allocator told to keep few pools."""

import ctypes
import os
import sys

M_ARENA_MAX = -8  # malloc.h
ARENAS = 2


def limit_arenas() -> None:
    """Let all threads share two pools of memory, where the C library is glibc; before threads start.

    By itself it gives them up to eight a core, each with gaps of its own: in 50 windows of 320x180 the resident size
    rose by 41 MB, with two pools by 2 MB (docs/performance.md). The environment's MALLOC_ARENA_MAX wins.
    """
    if sys.platform != "linux" or "MALLOC_ARENA_MAX" in os.environ:
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # musl has none
    if mallopt is not None:
        mallopt(M_ARENA_MAX, ARENAS)
