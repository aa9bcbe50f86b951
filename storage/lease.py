"""Who may write to a run in a bucket: a numbered lease, kept alive by a beat, in place of a file lock.

    lease/000007        created once, by the one process that holds it: its epoch
    lease/000007.beat   written anew by that process alone, every few seconds; "released" at its end

A lease whose beat stood still for `LEASE_SECONDS` is dead, and whoever creates the next one holds the run. Nobody's
clock is compared with anybody else's: a waiting process counts on its own, and ages are taken from the server's times
alone. The time only decides who waits. That a process which lost its lease damages nothing follows from the ledger,
which it cannot write any more (`storage/ledger.py`).
"""

import json
import os
import secrets
import socket
import threading
import time
from collections.abc import Callable

from storage.bucket import TRIES, Bucket
from storage.errors import EnvironmentFault, InUse

LEASE_SECONDS, BEAT_SECONDS, POLL_SECONDS = 20.0, 4.0, 0.5
_SPARE_SECONDS = 2.0  # the server's times are whole seconds
PART = "lease/"
RELEASED = "released"


class Lease:
    """A lease that this process holds.

    Attributes:
        epoch: counted from 1; a higher one has taken over from a lower one.
    """

    def __init__(self, bucket: Bucket, epoch: int) -> None:
        """Begin to beat; `epoch` has just been created."""
        self.epoch = epoch
        self._bucket = bucket
        self._ended = threading.Event()
        self._beat("1")
        self._thread = threading.Thread(target=self._keep, name="lease", daemon=True)
        self._thread.start()

    def release(self) -> None:
        """Let the next process take the run at once; may be called twice."""
        if self._ended.is_set():
            return
        self._ended.set()
        self._thread.join()  # a beat that came later would take it back
        self._beat(RELEASED)

    def lose(self) -> None:
        """Stop beating without a word: another process holds the run, or the store is down."""
        self._ended.set()
        self._thread.join(BEAT_SECONDS)  # of a store that is down it may wait longer for an answer

    def _keep(self) -> None:
        count = 1
        while not self._ended.wait(BEAT_SECONDS):
            count += 1
            try:
                self._beat(str(count), tries=1)  # the next one is the next try
            except (EnvironmentFault, FileNotFoundError):
                continue  # who commits next says that the store is down; if it comes back before, nothing happened

    def _beat(self, text: str, tries: int = TRIES) -> None:
        self._bucket.put(_beat_name(self.epoch), text.encode(), tries)


def acquire(bucket: Bucket, note: Callable[[str], None]) -> Lease:
    """Become the one process that writes to the run.

    Args:
        note: told when this has to wait for another process's lease to run out, at most `LEASE_SECONDS`.

    Raises:
        InUse: when another process is at work.
        EnvironmentFault: when the server lets an object be created twice, so that no lease would hold.
    """
    now = _prove(bucket)
    while True:
        epoch = latest(bucket)
        if epoch:
            _wait_until_dead(bucket, epoch, now, note)
        mark = secrets.token_hex(8)
        holder = {"host": socket.gethostname(), "pid": os.getpid(), "mark": mark}
        if bucket.create(_name(epoch + 1), json.dumps(holder).encode()) or _ours(bucket, epoch + 1, mark):
            return Lease(bucket, epoch + 1)


def is_held(bucket: Bucket) -> bool:
    """Whether a process seems to be at work: its last beat is not older than a lease, by this machine's clock."""
    epoch = latest(bucket)
    if not epoch:
        return False
    text, written = _last_beat(bucket, epoch)
    return text != RELEASED and time.time() - written < LEASE_SECONDS + _SPARE_SECONDS


def latest(bucket: Bucket) -> int:
    """The newest epoch; 0: nobody ever held the run."""
    names = [meta.name.removeprefix(PART) for meta in bucket.list(PART)]
    return max((int(name) for name in names if name.isdecimal()), default=0)


def _prove(bucket: Bucket) -> float:
    """See that the server refuses to create an object twice; returns the time by its clock."""
    name = f"{PART}probe-{secrets.token_hex(8)}"
    bucket.create(name, b"first")
    try:
        if bucket.create(name, b"second"):
            raise EnvironmentFault(
                f"{bucket.address}: the object store let one object be created twice (it ignores If-None-Match), so "
                "two processes could overwrite each other's work: use a store that refuses that (Amazon S3, MinIO, "
                "Cloudflare R2, Ceph, ...), or a folder for --out"
            )
        found = bucket.head(name)
        return found.written if found is not None else 0.0
    finally:
        bucket.delete([name])


def _wait_until_dead(bucket: Bucket, epoch: int, now: float, note: Callable[[str], None]) -> None:
    """Return when the lease is released or has run out.

    Raises:
        InUse: when its holder is at work.
    """
    first, written = _last_beat(bucket, epoch)
    if first == RELEASED or now - written > LEASE_SECONDS + _SPARE_SECONDS:
        return
    since, told = time.monotonic(), False
    while time.monotonic() - since < LEASE_SECONDS:
        time.sleep(POLL_SECONDS)
        found, _ = _last_beat(bucket, epoch)
        if found == RELEASED or latest(bucket) != epoch:
            return
        if found != first:
            host, pid = _holder(bucket, epoch)
            raise InUse(
                f"{bucket.address} is in use by another skate process ({pid} on {host}): wait for it, or stop it"
            )
        if not told:
            told = True
            note(
                f"{bucket.address}: a process that has not ended held it last: waiting up to {LEASE_SECONDS:.0f} s for "
                "a sign of life"
            )


def _last_beat(bucket: Bucket, epoch: int) -> tuple[str, float]:
    """What the holder wrote last, and when by the server's clock; a holder may have died before its first beat."""
    for name in (_beat_name(epoch), _name(epoch)):
        found = bucket.head(name)
        if found is not None:
            text = bucket.get(name).decode(errors="replace") if name.endswith(".beat") else ""
            return text, found.written
    return "", 0.0


def _ours(bucket: Bucket, epoch: int, mark: str) -> bool:
    """Whether a lease that is there already was created by a request of ours whose answer was lost."""
    return mark.encode() in bucket.get(_name(epoch))


def _holder(bucket: Bucket, epoch: int) -> tuple[str, int]:
    try:
        found = json.loads(bucket.get(_name(epoch)))
        return str(found["host"])[:80], int(found["pid"])
    except (ValueError, KeyError, TypeError):
        return "another machine", 0


def _name(epoch: int) -> str:
    return f"{PART}{epoch:06d}"


def _beat_name(epoch: int) -> str:
    return f"{_name(epoch)}.beat"
