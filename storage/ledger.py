"""What is in a run in a bucket: numbered entries, each created once, that say which objects count from then on.

    journal/0000000041.json   {"epoch": 3, "put": {KEY: [NAME, BYTES, DIGEST]}, "gone": [KEY], "line": [JOURNAL, TEXT]}
    sums/0000000999.json      an entry that stands for all of 0 to 999, so that opening is quick

An entry is a commit: what it puts, what it takes away and its line of the journal count together or not at all. Keys
are the run's; names are the bucket's. A name is created once and never again, also after it was deleted, so no process
can change or bring back what another one counts on; deleted is only what an entry has taken away. Whoever takes the run
over writes an entry of its own first: the number that a process before it would write next is taken, and with it all
that it could still do.

A sum follows from the entries, whoever writes it. It is taken where it is whole and the last entry it stands for is the
one that is there; without it every entry is read.
"""

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct

from storage.backend import DIGEST_BYTES
from storage.boundary import convert
from storage.bucket import Bucket
from storage.bucket import Meta as Stored
from storage.errors import RunDirectoryError
from storage.journal import decode_line, encode_line

PART, SUMS = "journal/", "sums/"
SUM_EVERY = 1000  # entries
SUMS_KEPT = 2  # one may be read while the next is written
_AT_ONCE = 16  # entries that are asked for side by side
_REMEDY = "this is nothing that this program wrote: start anew in another place"

Text = Annotated[str, Meta(pattern=r"\A(?:(?!\.\.?/)[A-Za-z0-9._~-]{1,128}/){0,7}(?!\.\.?\Z)[A-Za-z0-9._~-]{1,128}\Z")]
Size = Annotated[int, Meta(ge=0, le=1 << 50)]
Hex = Annotated[str, Meta(pattern=r"\A[0-9a-f]{32}\Z")]


@dataclass
class Held:
    """An object that counts, or will with the next entry.

    Attributes:
        name: its name in the bucket; empty: it lies on scratch alone.
        size, digest: of its bytes (BLAKE2b, 128 bits).
    """

    name: str
    size: int
    digest: str


class Entry(Struct, frozen=True, kw_only=True):
    """One entry, or the sum of all up to one.

    Attributes:
        n: its number, from 0. epoch: of the lease under which it, or the last one, was written.
        put: by key, (name, bytes, digest). gone: keys. burned: names that will not be used any more.
        logs: journals that stand for those before, whole; None: there is none any more. line: of one journal, added.
        last: of a sum, the digest of the last entry's bytes.
    """

    n: Annotated[int, Meta(ge=0)]
    epoch: Annotated[int, Meta(ge=1)]
    put: dict[Text, tuple[Text, Size, Hex]] = {}
    gone: list[Text] = []
    burned: list[Text] = []
    logs: dict[Text, str | None] = {}
    line: tuple[Text, str] | None = None
    last: Hex | None = None


@dataclass
class Ledger:
    """The entries of one run, as far as they were read.

    Attributes:
        objects: what counts, by key. seen: every name that ever counted or was burned. count: entries so far.
        summed: how many of them the newest sum stands for. epoch: the newest that wrote one.
    """

    bucket: Bucket
    objects: dict[str, Held] = field(default_factory=dict)
    seen: set[str] = field(default_factory=set)
    count: int = 0
    summed: int = 0
    epoch: int = 0
    _last: str = ""  # digest of the last entry's bytes
    _uses: Counter[str] = field(default_factory=Counter)

    def refresh(self) -> Iterator[Entry]:
        """Read and apply the entries that were written since; gives each of them, or a sum in place of the first ones.

        Raises:
            RunDirectoryError: when one is missing or damaged.
        """
        if self.count:  # mostly there is none, and one question tells
            try:
                first = self._read(self.count)
            except FileNotFoundError:
                return
            yield self._took(*first)
        else:
            found = self._newest_sum()
            if found is not None:
                self.summed = found[0].n + 1
                yield self._took(*found)
        names = self.bucket.list(PART, after=_name(self.count - 1) if self.count else None)
        numbers = sorted(filter(lambda number: number >= self.count, map(_number, names)))
        if numbers != list(range(self.count, self.count + len(numbers))):
            raise RunDirectoryError(
                f"{self.bucket.address}/{PART}: {len(numbers)} entries from {self.count} on, the last is "
                f"{numbers[-1]}: one is lost, and what follows it cannot be trusted; start anew in another place"
            )
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            for read in pool.map(self._read_listed, numbers):
                yield self._took(*read)

    def _read_listed(self, number: int) -> tuple[Entry, str]:
        try:
            return self._read(number)
        except FileNotFoundError:
            where = f"{self.bucket.address}/{_name(number)}"
            raise RunDirectoryError(f"{where} is listed and cannot be read: {_REMEDY}") from None

    def _took(self, entry: Entry, last: str) -> Entry:
        self.apply(entry)
        self._last = last
        return entry

    def _newest_sum(self) -> tuple[Entry, str] | None:
        """The newest sum that the entries bear out, with the digest of its last entry; None: there is none."""
        for number in sorted(map(_number, self.bucket.list(SUMS)), reverse=True):
            try:
                found = _entry(self.bucket.get(_name(number, SUMS)), f"{self.bucket.address}/{_name(number, SUMS)}")
                _, last = self._read(number)
            except (FileNotFoundError, RunDirectoryError):
                continue  # it costs time only
            if found.n == number and found.last == last:
                return found, last
        return None

    def sum_up(self, logs: Callable[[], dict[str, str | None]], ending: bool = False) -> None:
        """Write a sum where that many entries have been added since the last one, and delete old ones.

        Args:
            logs: gives every journal as it is now. ending: who holds the run leaves it: fewer will do.
        """
        if self.count - self.summed < (SUM_EVERY // 10 if ending else SUM_EVERY):
            return
        put = {key: (held.name, held.size, held.digest) for key, held in self.objects.items()}
        burned = sorted(self.seen.difference(held.name for held in self.objects.values()))
        entry = Entry(n=self.count - 1, epoch=self.epoch, put=put, burned=burned, logs=logs(), last=self._last)
        self.bucket.create(_name(entry.n, SUMS), _encoded(entry))
        self.summed = self.count
        there = sorted(map(_number, self.bucket.list(SUMS)))
        self.bucket.delete(_name(number, SUMS) for number in there[:-SUMS_KEPT])

    def write(self, epoch: int, **content: Any) -> tuple[Entry, list[str]] | None:
        """Write the next entry; returns it with the names that nothing refers to any more. None: another process has
        written that number."""
        entry = Entry(n=self.count, epoch=epoch, **content)
        data, name = _encoded(entry), _name(entry.n)
        if not self.bucket.create(name, data) and self.bucket.get(name) != data:
            return None
        self._last = _digest(data)
        return entry, self.apply(entry)

    def apply(self, entry: Entry) -> list[str]:
        """Take in an entry; returns the names that nothing refers to any more."""
        loose: list[str] = []
        for key, (name, size, digest) in entry.put.items():
            self._uses[name] += 1
            self.seen.add(name)
            self._let_go(key, loose)
            self.objects[key] = Held(name, size, digest)
        for key in entry.gone:
            self._let_go(key, loose)
            self.objects.pop(key, None)
        self.seen.update(entry.burned)
        self.count = entry.n + 1
        self.epoch = max(self.epoch, entry.epoch)
        return [name for name in loose if not self._uses[name]]

    def _let_go(self, key: str, loose: list[str]) -> None:
        before = self.objects.get(key)
        if before is not None:
            self._uses[before.name] -= 1
            loose.append(before.name)

    def _read(self, number: int) -> tuple[Entry, str]:
        """An entry, and the digest of its bytes."""
        where, data = f"{self.bucket.address}/{_name(number)}", self.bucket.get(_name(number))
        entry = _entry(data, where)
        if entry.n != number:
            raise RunDirectoryError(f"{where} is entry {entry.n}: {_REMEDY}")
        return entry, _digest(data)


def _name(number: int, part: str = PART) -> str:
    return f"{part}{number:010d}.json"


def _number(meta: Stored) -> int:
    """The number in a name; -1: it is none of ours."""
    name = meta.name.rpartition("/")[2].removesuffix(".json")
    return int(name) if name.isdecimal() else -1


def _encoded(entry: Entry) -> bytes:
    return encode_line({name: value for name, value in msgspec.to_builtins(entry).items() if value or name == "n"})


def _entry(data: bytes, where: str) -> Entry:
    found = decode_line(data.removesuffix(b"\n"))
    if found is None:
        raise RunDirectoryError(f"{where} is damaged: {_REMEDY}")
    return convert(found, Entry, where, RunDirectoryError, _REMEDY)


def _digest(data: bytes) -> str:
    return hashlib.blake2b(data, digest_size=DIGEST_BYTES).hexdigest()
