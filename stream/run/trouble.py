"""Faults of the machine become one clear line: a full or read-only disk, memory that runs out."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import av

from storage.address import BucketPath
from storage.errors import EnvironmentFault, InputError, SkateError
from storage.manifest import MANIFEST

# How libraries say it, beside MemoryError: torch (CPU and CUDA), ONNX Runtime, OpenCV, the thread library, oneDNN.
_NO_MEMORY = (
    "not enough memory",
    "can't allocate memory",
    "cannot allocate memory",
    "out of memory",
    "insufficient memory",
    "failed to allocate memory",
    "bad allocation",
    "bad_alloc",
    "alloc_failed",  # cuBLAS, and cuDNN up to 8: their own memory on the GPU
    "allocation_failed",  # cuDNN
    "can't start new thread",
    "could not create a primitive",  # oneDNN, where a kernel it builds finds no room
)
CONTINUES = "what is committed is kept, `skate resume` continues"
OURS = ("stream", "stages", "storage", "bench")  # the packages of this program
_REMEDIES = {
    errno.ENOSPC: "free space",
    errno.EDQUOT: "free space within the quota",
    errno.EFBIG: "raise the limit on a file's size (ulimit -f), or choose a file system that holds larger ones",
    errno.EMFILE: "raise the limit on open files (ulimit -n)",
    errno.EROFS: "make the file system writable",
    errno.EACCES: "mend the permissions",
    errno.EPERM: "mend the permissions",
    errno.EISDIR: "a file belongs there, move the folder away",
    errno.ENOTDIR: "a file stands where a folder belongs, choose another place or move it away",
    errno.EEXIST: "a folder belongs there, move the file away",
}


def out_of_memory(error: BaseException) -> bool:
    """Whether an exception means that memory ran out, on the processor or the GPU."""
    if isinstance(error, MemoryError):
        return True
    if isinstance(error, OSError) and error.errno in (errno.ENOMEM, errno.EAGAIN):
        return True  # EAGAIN: FFmpeg, when a thread finds no room for its stack
    return any(words in str(error).lower() for words in _NO_MEMORY)


def machine_fault(error: BaseException, out: Path | None = None) -> EnvironmentFault | None:
    """What the machine did wrong (disk, memory, a package that does not load) in one line; None for everything else.

    Args:
        out: the run directory, for the remedy; None where no run is at work.
    """
    if out_of_memory(error):
        return _memory(error, out)
    again = f"`skate resume {out}`" if _begun(out) else "give the same command again"
    then = "" if out is None else f", then {again}"
    if isinstance(error, OSError) and error.errno is not None:
        where = error.filename if error.filename is not None else out
        if error.errno == errno.EISDIR and error.filename2 is not None:
            where = error.filename2  # what was to be replaced, not what was to take its place
        named = "" if where is None else f"{where}: "
        return EnvironmentFault(f"{named}{error.strerror or error}: {_REMEDIES.get(error.errno, 'mend it')}{then}")
    if isinstance(error, ImportError) and (error.name or "").partition(".")[0] not in OURS:
        return EnvironmentFault(f"a package does not load ({error}): install it again, and see `skate check`{then}")
    return None


@contextmanager
def clear_lines(out: Path) -> Iterator[None]:
    """Turn faults of disk and memory into errors of one line; whatever else happens passes through, an interruption
    of what was begun with the note that it can be gone on with.

    Args:
        out: the run directory, for the remedy.

    Raises:
        EnvironmentFault: with what failed, where, and what to do.
    """
    try:
        yield
    except KeyboardInterrupt as error:
        if _begun(out):
            error.add_note(CONTINUES)
        raise
    except BrokenPipeError:
        raise  # whoever read our output went away
    except SkateError as error:
        fault = _caused_by_memory(error, out)
        if fault is None:
            raise
        raise fault from error
    except Exception as error:
        fault = machine_fault(error, out)
        if fault is None:
            raise
        raise fault from error


def _caused_by_memory(error: SkateError, out: Path) -> EnvironmentFault | None:
    """An error that a stage raised because memory ran out is no damaged file."""
    cause = error.__cause__
    if isinstance(error, InputError) and isinstance(cause, av.error.MemoryError):
        return None  # FFmpeg says this of a file whose header claims a table of gigabytes
    return _memory(cause, out, str(error)) if cause is not None and out_of_memory(cause) else None


def _begun(out: Path | None) -> bool:
    """Whether there is a run that can be gone on with; of one in a bucket that is taken for granted."""
    return out is not None and (isinstance(out, BucketPath) or os.path.isfile(out / MANIFEST))  # noqa: PTH113 - it raises nothing


def _memory(error: BaseException, out: Path | None, told: str = "") -> EnvironmentFault:
    """Of an error, and what a stage `told` of it."""
    text = " ".join(str(error).split())
    said = min((at for words in _NO_MEMORY if (at := text.lower().find(words)) >= 0), default=0)
    what = text[said if said > 80 else 0 :][:120] or type(error).__name__  # ONNX Runtime begins with a C++ function
    on_gpu = any(name in f"{text} {told}" for name in ("CUDA", "CUDNN"))
    shared = ", or give --share-gpu yes where ComfyUI works on the same card" if on_gpu else ""
    kept = f"; what is committed is kept, `skate resume {out}` continues" if _begun(out) else ""
    return EnvironmentFault(
        f"memory ran out ({what}): close other programs, or take a smaller --window, --size or model{shared}{kept}"
    )
