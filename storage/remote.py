"""A run in a bucket: `storage/backend.py` over a ledger of what counts (`storage/ledger.py`) and files on scratch."""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from weakref import WeakValueDictionary

from storage.address import NEXT, BucketPath
from storage.backend import Backend
from storage.errors import RunDirectoryError
from storage.faults import fault_point
from storage.lease import is_held
from storage.manifest import MANIFEST
from storage.nearby import Nearby
from storage.shared import OURS, SharedRun, file_digest

MOST_RUNS = 8  # that a process keeps when nobody has them any more: the workers of a batch go through thousands
_runs: WeakValueDictionary[tuple[int, str], SharedRun] = WeakValueDictionary()  # by process and address
_recent: dict[int, deque[SharedRun]] = {}  # by process: a fork has none of its parent's threads, and leaves these alone


def open_bucket(address: BucketPath) -> "BucketBackend":
    """The store of a run in a bucket, or of the one that grows under `next/` in it; up to date."""
    key = os.getpid(), str(address.run)
    run = _runs.get(key)
    if run is None:
        run = _runs[key] = SharedRun(address.run)
        _recent.setdefault(key[0], deque(maxlen=MOST_RUNS)).append(run)
    run.refresh()
    return BucketBackend(run, f"{NEXT}/" if address.name == NEXT else "")


class BucketBackend(Backend):
    """The objects of a run whose keys begin with `part`."""

    def __init__(self, run: SharedRun, part: str = "") -> None:
        self._run = run
        self._part = part

    @property
    def _files(self) -> Nearby:
        return self._run.files

    def where(self, key: str = "") -> str:
        return f"{self._run.address}/{self._part}{key}".rstrip("/")

    def below(self, part: str) -> "BucketBackend":
        return BucketBackend(self._run, f"{self._part}{part}/")

    def size(self, key: str) -> int | None:
        full = self._part + key
        if full in self._run.logs:
            return self._run.logs[full].stat().st_size
        held = self._run.objects.get(full)
        if held is not None:
            return held.size
        return self._files.path(full).stat().st_size if self._files.has(full) else None

    def read(self, key: str, most_bytes: int) -> bytes:
        size = self.size(key)
        if size is None:
            raise FileNotFoundError(self.where(key))
        if size > most_bytes:
            raise RunDirectoryError(
                f"{self.where(key)} has {size} bytes, no object of a run here has over {most_bytes}: it is not what "
                "was written"
            )
        full = self._part + key
        return (self._run.logs[full] if full in self._run.logs else self._run.fetch(full)).read_bytes()

    def read_range(self, key: str, start: int, length: int) -> bytes:
        full = self._part + key
        with self._run.lock:
            if self._files.has(full):
                with self._files.path(full).open("rb") as file:
                    file.seek(start)
                    return file.read(length)
            held = self._run.objects.get(full)
        if held is None:
            raise FileNotFoundError(self.where(key))
        try:
            return self._run.bucket.get_range(held.name, start, length)
        except FileNotFoundError:
            raise RunDirectoryError(
                f"{self.where(key)} is missing: `skate status --verify` tells what else, `skate resume` repairs it"
            ) from None

    def digest(self, key: str, algorithm: str = "blake2b") -> str | None:
        try:
            return file_digest(self._run.fetch(self._part + key), algorithm)
        except FileNotFoundError:
            return None

    def write(self, key: str, parts: Iterable[bytes]) -> str:
        full = self._part + key
        self._run.writable()
        if full.endswith("journal.jsonl"):
            self._run.set_log(full, b"".join(parts))
            return ""
        path = self.place(key)
        with path.open("wb") as file:
            for part in parts:
                file.write(part)
        with self._run.lock:
            return self._run.put(full)

    def flush(self, keys: Iterable[str] = ()) -> None:
        with self._run.lock:
            for key in keys:
                if self._files.has(self._part + key):
                    self._run.put(self._part + key)
        # What was written counts with the next line of the journal, or when the run is let go.

    def publish(self) -> None:
        self._run.publish()

    def show(self, key: str, data: bytes) -> None:
        self._run.bucket.put(self._part + key, data)

    def move(self, source: str, target: str) -> None:
        old, new = self._part + source, self._part + target
        with self._run.lock:
            self._run.writable()
            if old in self._run.logs:
                self._run.set_log(new, self._run.logs[old].read_bytes())
                self._run.set_log(old, None)
                return
            held = self._run.objects.get(old)
            self._files.move(old, new)
            if held is not None:
                self._run.change(new, held)
                self._run.change(old, None)

    def copy(self, source: str, target: str) -> None:
        old, new = self._part + source, self._part + target
        with self._run.lock:
            held = self._run.objects[old]
            self._files.delete(new)
            if not held.name:
                os.link(self._files.path(old), self._files.path(new))
            self._run.change(new, held)

    def share(self, source: Backend, key: str) -> bool:
        if not isinstance(source, BucketBackend) or source._run.address.bucket != self._run.address.bucket:
            return False
        with source._run.lock:
            held = source._run.objects.get(source._part + key)
        if held is None or not held.name:  # it lies on scratch alone
            return False
        with self._run.lock:
            self._run.copy_from(source._run, held, self._part + key)
        return True

    def delete(self, key: str) -> None:
        full = self._part + key
        with self._run.lock:
            if full in self._run.objects:
                self._run.change(full, None)
            if full in self._run.logs:
                self._run.set_log(full, None)
            self._files.delete(full)

    def delete_all(self, part: str) -> None:
        with self._run.lock:
            for key in self.keys(part):
                self.delete(key)
            self._files.delete_all(self._part + part)

    def keys(self, part: str) -> list[str]:
        wanted = self._part + (f"{part}/" if part else "")
        known = (*self._run.objects, *self._run.logs)
        return sorted(key.removeprefix(self._part) for key in known if key.startswith(wanted))

    def path(self, key: str) -> Path:
        full = self._part + key
        try:
            return self._run.fetch(full)
        except FileNotFoundError:
            return self._files.path(full)

    def place(self, key: str) -> Path:
        with self._run.lock:
            self._files.delete(self._part + key)
            return self._files.path(self._part + key)

    def folder(self, part: str) -> Path:
        folder = self._files.path(f"{self._part}{part}/_").parent
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def open_journal(self, key: str, intact_bytes: int) -> "BucketJournal":
        full = self._part + key
        content = self._run.logs[full].read_bytes() if full in self._run.logs else b""
        if len(content) != intact_bytes:
            self._run.set_log(full, content[:intact_bytes])
        return BucketJournal(self._run, full)

    @contextmanager
    def lock(self, note: Callable[[str], None] = lambda text: None) -> Iterator[None]:
        self._run.hold(note)
        try:
            yield
        finally:
            self._run.let_go()

    def writing(self) -> AbstractContextManager[object]:
        return self.lock()

    def check_ours(self) -> None:
        if self._run.begun:
            others = bool(self._run.objects) and MANIFEST not in self._run.objects  # a batch's, say
        else:
            others = any(not meta.name.startswith(OURS) for meta in self._run.bucket.list(""))
        if others:
            raise RunDirectoryError(f"{self._run.address} is not empty and holds no run: choose another --out")

    def is_locked(self) -> bool:
        return is_held(self._run.bucket)

    def clean(self) -> int:
        return self._run.clean()


class BucketJournal:
    """A journal whose lines are entries of the ledger: everything written before a line counts with it."""

    def __init__(self, run: SharedRun, key: str) -> None:
        self._run = run
        self._key = key

    def append(self, line: bytes) -> None:
        self._run.publish((self._key, line.decode()))
        fault_point("journal.written")

    def close(self) -> None:
        pass
