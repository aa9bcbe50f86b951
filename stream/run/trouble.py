"""Faults of the machine become one clear line: a full or read-only disk, memory that runs out."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import av

from storage.errors import EnvironmentFault, InputError, SkateError

# How libraries say it, beside MemoryError: torch (CPU and CUDA), ONNX Runtime, OpenCV, the thread library.
_NO_MEMORY = (
    "not enough memory",
    "can't allocate memory",
    "cannot allocate memory",
    "out of memory",
    "insufficient memory",
    "failed to allocate memory",
    "bad allocation",
    "bad_alloc",
    "can't start new thread",
)
_REMEDIES = {
    errno.ENOSPC: "free space",
    errno.EDQUOT: "free space within the quota",
    errno.EROFS: "make the file system writable",
    errno.EACCES: "mend the permissions",
    errno.EPERM: "mend the permissions",
}


def out_of_memory(error: BaseException) -> bool:
    """Whether an exception means that memory ran out, on the processor or the GPU."""
    if isinstance(error, MemoryError):
        return True
    if isinstance(error, OSError) and error.errno in (errno.ENOMEM, errno.EAGAIN):
        return True  # EAGAIN: FFmpeg, when a thread finds no room for its stack
    return any(words in str(error).lower() for words in _NO_MEMORY)


@contextmanager
def clear_lines(out: Path) -> Iterator[None]:
    """Turn faults of disk and memory into errors of one line; whatever else happens passes through.

    Args:
        out: the run directory, for the remedy.

    Raises:
        EnvironmentFault: with what failed, where, and what to do.
    """
    try:
        yield
    except SkateError as error:
        fault = _caused_by_memory(error, out)
        if fault is None:
            raise
        raise fault from error
    except OSError as error:
        if out_of_memory(error):
            raise _memory(error, out) from error
        remedy = _REMEDIES.get(error.errno or 0, "mend it")
        raise EnvironmentFault(
            f"{error.filename or out}: {error.strerror or error}: {remedy}, then `skate resume {out}`"
        ) from error
    except Exception as error:
        if not out_of_memory(error):
            raise
        raise _memory(error, out) from error


def _caused_by_memory(error: SkateError, out: Path) -> EnvironmentFault | None:
    """An error that a stage raised because memory ran out is no damaged file."""
    cause = error.__cause__
    if isinstance(error, InputError) and isinstance(cause, av.error.MemoryError):
        return None  # FFmpeg says this of a file whose header claims a table of gigabytes
    return _memory(cause, out) if cause is not None and out_of_memory(cause) else None


def _memory(error: BaseException, out: Path) -> EnvironmentFault:
    what = " ".join(str(error).split())[:120] or type(error).__name__
    shared = ", or give --share-gpu yes where ComfyUI works on the same card" if "CUDA" in what else ""
    return EnvironmentFault(
        f"memory ran out ({what}): close other programs, or take a smaller --window, --size or model{shared}; "
        f"what is committed is kept, `skate resume {out}` continues"
    )
