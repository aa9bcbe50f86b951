"""The one state that a process has of a run in a bucket, whoever in it opened it: ledger, scratch, journals, lease.

What is written lies on scratch until the next entry of the ledger: a line of the journal, or a move that must stand by
itself. Then all of it is uploaded, and the entry makes it count at once.
"""

import hashlib
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path

from storage.address import BucketPath
from storage.backend import DIGEST_BYTES, PIECE_BYTES
from storage.bucket import Bucket
from storage.errors import RunDirectoryError, SkateError
from storage.faults import fault_point
from storage.lease import PART as LEASES
from storage.lease import Lease, acquire
from storage.ledger import PART as LEDGER
from storage.ledger import SUMS, Held, Ledger
from storage.nearby import Nearby

WAITING_BYTES = 256 << 20  # what is written is uploaded at the latest where it comes to more than that
WHOLE_BYTES = 16 << 20  # a larger object goes in parts, under a name of its own
_AT_ONCE = 4
OURS = (LEDGER, SUMS, LEASES)  # what is no object of a run
_SHOWN = "report/"  # and what lies in no folder: people look for these under their plain names


class SharedRun:
    """What this process knows of the run, and what it has written and not yet made count."""

    def __init__(self, address: BucketPath) -> None:
        self.address = address
        self.bucket = Bucket(address)
        self.files = Nearby()
        self.logs: dict[str, Path] = {}  # of a journal's key, a copy of it
        self.lock = threading.RLock()
        self.objects: dict[str, Held] = {}  # what counts, and what will with the next entry
        self.damaged: set[str] = set()  # keys whose object was found to be missing or altered
        self._ledger = Ledger(self.bucket)
        self._changed: set[str] = set()
        self._waiting_bytes = 0  # written since the last upload
        self._changed_logs: set[str] = set()
        self._lease: Lease | None = None
        self._holders = 0
        self._broken = False  # an entry was not written, or may have been: this process writes no more
        self._left: set[str] = set()  # names that a process before left without an entry
        self._numbers = count(1)
        self._log_numbers = count(1)

    @property
    def begun(self) -> bool:
        """Whether a process ever held the run."""
        return self._ledger.count > 0

    def refresh(self) -> None:
        """Take in what other processes have written; who holds the run knows all there is."""
        with self.lock:
            if self._lease is None:
                self._take_in()

    def _take_in(self) -> None:
        for entry in self._ledger.refresh():
            for key in (*entry.put, *entry.gone):
                self.files.delete(key)
                self.objects.pop(key, None)
            self.objects.update({key: Held(*told) for key, told in entry.put.items()})
            for key, text in entry.logs.items():
                self.set_log(key, None if text is None else text.encode(), changed=False)
            if entry.line is not None:
                self._add_line(*entry.line)

    # -- one writer ---------------------------------------------------------------------------------------------------

    def hold(self, note: Callable[[str], None]) -> None:
        """Become the one writer; may be called again by who is."""
        with self.lock:
            if not self._holders:
                lease = acquire(self.bucket, note)
                try:
                    self._claim(lease)
                except BaseException:
                    lease.release()
                    raise
            self._holders += 1

    def _claim(self, lease: Lease) -> None:
        """Take the next entry's number from whoever held the run before.

        Raises:
            RunDirectoryError: when a newer lease has written already: this process slept since it got its own.
        """
        self._broken = False
        written = None
        while written is None:
            self._take_in()
            if self._ledger.epoch > lease.epoch:
                raise self._lost()
            written = self._ledger.write(lease.epoch)
        self._lease = lease

    def let_go(self) -> None:
        """Undo `hold`; at the last, what was written counts and the next process may come."""
        with self.lock:
            self._holders -= 1
            if self._holders or self._lease is None:
                return
            lease = self._lease
            try:
                if not self._broken:
                    self.publish()
                    self._burn()
                    self._ledger.sum_up(self._logs, ending=True)
            finally:
                self._lease = None
                if self._broken:
                    lease.lose()
                    self._forget()
                else:
                    lease.release()

    def _forget(self) -> None:
        """What was written here and does not count is not to be seen either."""
        self._ledger, self.objects, self.logs = Ledger(self.bucket), {}, {}
        self._changed, self._changed_logs, self._left = set(), set(), set()
        self.files.delete_all("")

    def clean(self) -> int:
        """Find what a killed process uploaded without an entry: what comes out with the same bytes is taken over. Show
        what it had no time left to show."""
        found = {meta.name: meta for meta in self.bucket.list("") if not meta.name.startswith(OURS)}
        self._left = set(found) - {held.name for held in self.objects.values()} - set(self.objects)
        for key, held in self.objects.items():
            plain, own = found.get(key), found.get(held.name)
            if _shown(key, held) and own and (plain is None or plain.written <= own.written):
                self.bucket.copy(held.name, key)
        return len(self._left)

    def _burn(self) -> None:
        """Delete what nobody took over, once it is said that its names are not used again; other people's files, and
        runs that lie below this place, are beside what this run ever wrote."""
        own = {_top(name) for name in self._ledger.seen}
        left = {name for name in self._left if _top(name) in own} - {held.name for held in self.objects.values()}
        self._left = set()
        if left:
            self.publish(burned=sorted(left))
            self.bucket.delete(sorted(left))

    # -- what is written ----------------------------------------------------------------------------------------------

    def put(self, key: str) -> str:
        """What lies on scratch under this key is the object from now on; returns its digest."""
        self.writable()
        path = self.files.path(key)
        written = Held("", path.stat().st_size, file_digest(path, "blake2b"))
        stands = self.objects.get(key)
        if key in self.damaged or stands is None or (stands.size, stands.digest) != (written.size, written.digest):
            self.damaged.discard(key)
            self.files.keep(key)
            self.objects[key] = written
            self._changed.add(key)
            self._waiting_bytes += written.size
            if self._waiting_bytes > WAITING_BYTES:
                self._upload()
        return written.digest

    def fetch(self, key: str) -> Path:
        """The file of an object, brought to scratch where it is not there.

        Raises:
            FileNotFoundError: when there is no such object.
        """
        with self.lock:
            path, held = self.files.path(key), self.objects.get(key)
            if self.files.has(key):
                return path
            if held is None:
                raise FileNotFoundError(f"{self.address}/{key}")
            self.damaged.add(key)
            self.bucket.fetch(held.name, path)
            if file_digest(path, "blake2b") == held.digest:
                self.damaged.discard(key)
            self.files.may_go(key)
            return path

    def change(self, key: str, held: Held | None) -> None:
        """Another object, or none, under this key."""
        self.writable()
        if held is None:
            self.objects.pop(key, None)
        else:
            self.objects[key] = held
        self._changed.add(key)

    def copy_from(self, other: "SharedRun", held: Held, key: str) -> None:
        """Under this key, an object of another run in the same bucket; it is copied there."""
        self.writable()
        name = self._new_name(key)
        self.bucket.copy_from(other.bucket, held.name, name)
        self.files.delete(key)
        self.change(key, Held(name, held.size, held.digest))

    def set_log(self, key: str, content: bytes | None, changed: bool = True) -> None:
        """What a journal holds from now on; None: there is none."""
        if changed:
            self.writable()
            self._changed_logs.add(key)
        if content is None:
            self.logs.pop(key, None)
            return
        self.logs[key] = self.files.root / f"journal-{next(self._log_numbers)}"
        self.logs[key].write_bytes(content)

    def _log(self, key: str) -> str | None:
        return self.logs[key].read_bytes().decode() if key in self.logs else None

    def _logs(self) -> dict[str, str | None]:
        return {key: self._log(key) for key in self.logs}

    def _add_line(self, key: str, text: str) -> None:
        if key not in self.logs:
            self.set_log(key, b"", changed=False)
        with self.logs[key].open("ab") as file:
            file.write(text.encode())

    def writable(self) -> None:
        """
        Raises:
            RunDirectoryError: when this process does not hold the run (any more).
        """
        if self._lease is None:
            raise RunDirectoryError(f"{self.address} cannot be written to by a process that does not hold it")
        if self._broken:
            raise self._lost()

    def publish(self, line: tuple[str, str] | None = None, burned: list[str] | None = None) -> None:
        """Upload what was written, and make all of it count by one entry, with a line of a journal.

        Raises:
            RunDirectoryError: when another process has taken the run over: nothing of this counts.
            EnvironmentFault: when the store does not answer.
        """
        with self.lock:
            if not (self._changed or self._changed_logs or line or burned):
                return
            self.writable()
            assert self._lease is not None
            self._broken = True  # until it is known that it is not
            self._upload()
            fault_point("journal.uploaded")
            put = {key: self.objects[key] for key in sorted(self._changed) if key in self.objects}
            logs = {key: self._log(key) for key in self._changed_logs}
            written = self._ledger.write(
                self._lease.epoch,
                put={key: (held.name, held.size, held.digest) for key, held in put.items()},
                gone=sorted(self._changed - put.keys()),
                burned=sorted({*(burned or []), *(key for key, held in put.items() if _shown(key, held))}),
                logs=logs,
                line=line,
            )
            if written is None:
                raise self._lost()
            self._broken = False
            if line is not None:
                self._add_line(*line)
            loose = written[1] + self._not_shown_any_more()
            self._changed, self._changed_logs = set(), set()
            self._tidy(loose, put)
            self._ledger.sum_up(self._logs)

    def _not_shown_any_more(self) -> list[str]:
        """Plain names that this run has shown, of what the entry takes away."""
        names = {held.name for held in self.objects.values()}
        return [
            key for key in self._changed - self.objects.keys() - names if _is_sought(key) and key in self._ledger.seen
        ]

    def _tidy(self, loose: list[str], put: dict[str, Held]) -> None:
        """Delete what nothing refers to, and show under plain names what has another one."""
        self.bucket.delete(loose)
        for key, held in put.items():
            if _shown(key, held):
                self.bucket.copy(held.name, key)

    def _upload(self) -> None:
        """Bring to the bucket what was written; it counts with the next entry."""
        waiting: dict[int, tuple[str, Held]] = {}
        for key in sorted(self._changed):
            held = self.objects.get(key)
            if held is not None and not held.name:
                waiting.setdefault(id(held), (key, held))  # two keys may share one object
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            for (_, held), name in zip(waiting.values(), pool.map(self._upload_one, waiting.values()), strict=True):
                held.name = name
        self._waiting_bytes = 0
        for key in self._changed:
            if key in self.objects and self.files.has(key):
                self.files.may_go(key)

    def _upload_one(self, what: tuple[str, Held]) -> str:
        """Upload what lies on scratch under a key; returns the name it got: the key, where that was never used."""
        key, held = what
        path = self.files.path(key)
        fresh = held.size <= WHOLE_BYTES and key not in self._ledger.seen
        if fresh and (self.bucket.create(key, path) or self.bucket.digest(key) == held.digest):
            return key
        name = self._new_name(key)
        self.bucket.put(name, path)
        return name

    def _new_name(self, key: str) -> str:
        """One that nobody else ever uses."""
        assert self._lease is not None
        return f"{key}~{self._lease.epoch}.{next(self._numbers)}"

    def _lost(self) -> SkateError:
        return RunDirectoryError(
            f"{self.address}: another process holds this run by now: nothing that it or this one has committed is "
            "lost, and this one writes no more"
        )


def _top(name: str) -> str:
    """The folder or object right below the run that this is, or is in."""
    return name.partition("/")[0].partition("~")[0]


def _shown(key: str, held: Held) -> bool:
    """Whether people look for it under its key, and it has another name: a copy is put there, and nothing else ever."""
    return held.name != key and _is_sought(key)


def _is_sought(key: str) -> bool:
    """Whether people look for it under its key."""
    return "/" not in key or key.startswith(_SHOWN)


def file_digest(path: Path, algorithm: str) -> str:
    """As `Backend.digest`."""
    total = hashlib.blake2b(digest_size=DIGEST_BYTES) if algorithm == "blake2b" else hashlib.new(algorithm)
    with path.open("rb") as file:
        while piece := file.read(PIECE_BYTES):
            total.update(piece)
    return total.hexdigest()
