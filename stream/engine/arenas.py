"""Memory that stays flat: glibc's allocator told to keep few pools, and to give back what it keeps."""

import ctypes
import os
import sys
from collections.abc import Callable

M_ARENA_MAX = -8  # malloc.h
ARENAS = 2


def limit_arenas() -> None:
    """Let all threads share two pools of memory, where the C library is glibc; before threads start.

    By itself it gives them up to eight a core, each with gaps of its own: in 50 windows of 320x180 the resident size
    rose by 41 MB, with two pools by 2 MB (docs/performance.md). The environment's MALLOC_ARENA_MAX wins.
    """
    if "MALLOC_ARENA_MAX" not in os.environ and (mallopt := _of_glibc("mallopt")) is not None:
        mallopt(M_ARENA_MAX, ARENAS)


def give_back_free_memory() -> None:
    """Return the free pages of all pools to the system, where the C library is glibc; takes a few milliseconds.

    Otherwise pools creep up for as long as threads, by chance, need much at the same time more than ever before.
    """
    if (malloc_trim := _of_glibc("malloc_trim")) is not None:
        malloc_trim(0)


def _of_glibc(name: str) -> Callable[..., int] | None:
    if sys.platform != "linux":
        return None
    return getattr(ctypes.CDLL(None), name, None)  # musl has none of them
