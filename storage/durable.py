"""Writes that survive a crash: temporary file, fsync, rename, fsync of the folder."""

import hashlib
import os
import tempfile
from collections.abc import Iterable
from pathlib import Path

PARTIAL_SUFFIX = ".partial"


def digest(data: bytes | bytearray | memoryview) -> str:
    """128-bit BLAKE2b of the bytes, as hex: what commit records hold for every chunk and state."""
    return hashlib.blake2b(data, digest_size=16).hexdigest()


def file_sha256(path: Path) -> str:
    """sha256 of a whole file as hex, read in pieces."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def fsync_file(path: Path) -> None:
    """Flush one file to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def fsync_folder(path: Path) -> None:
    """Flush a folder's entries, so that renames in it are durable (a no-op on Windows, which has no such call)."""
    if os.name == "posix":
        fsync_file(path)


def fsync_all(paths: Iterable[Path]) -> None:
    """Flush files, then every folder they lie in, once each."""
    folders = set()
    for path in paths:
        fsync_file(path)
        folders.add(path.parent)
    for folder in sorted(folders):
        fsync_folder(folder)


def write_atomic(path: Path, data: bytes) -> None:
    """Replace `path` by `data`: readers see the old or the new file whole, also after a crash."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=path.name + ".", suffix=PARTIAL_SUFFIX)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    fsync_folder(path.parent)


def remove_partials(folder: Path) -> int:
    """Delete what a killed process left half written below `folder`; returns how many files that were."""
    leftovers = [path for path in folder.rglob(f"*{PARTIAL_SUFFIX}") if path.is_file()]
    for path in leftovers:
        path.unlink()
    return len(leftovers)
