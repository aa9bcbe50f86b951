"""What is in a run in a bucket: numbered entries, each created once, that say which objects count from then on.

    journal/0000000041.json   {"epoch": 3, "put": {KEY: [NAME, BYTES, DIGEST]}, "gone": [KEY], "line": [JOURNAL, TEXT]}

An entry is a commit: what it puts, what it takes away and its line of the journal count together or not at all. Keys
are the run's; names are the bucket's. A name is created once and never again, also after it was deleted, so no process
can change or bring back what another one counts on; deleted is only what an entry has taken away. Whoever takes the run
over writes an entry of its own first: the number that a process before it would write next is taken, and with it all
that it could still do.
"""

from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct

from storage.boundary import convert
from storage.bucket import Bucket
from storage.errors import RunDirectoryError
from storage.journal import decode_line, encode_line

PART = "journal/"
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
    """One entry.

    Attributes:
        n: its number, from 0. epoch: of the lease under which it was written.
        put: by key, (name, bytes, digest). gone: keys. burned: names that will not be used any more.
        logs: journals that stand for those before, whole; None: there is none any more. line: of one journal, added.
    """

    n: Annotated[int, Meta(ge=0)]
    epoch: Annotated[int, Meta(ge=1)]
    put: dict[Text, tuple[Text, Size, Hex]] = {}
    gone: list[Text] = []
    burned: list[Text] = []
    logs: dict[Text, str | None] = {}
    line: tuple[Text, str] | None = None


@dataclass
class Ledger:
    """The entries of one run, as far as they were read.

    Attributes:
        objects: what counts, by key. seen: every name that ever counted or was burned. count: entries so far.
    """

    bucket: Bucket
    objects: dict[str, Held] = field(default_factory=dict)
    seen: set[str] = field(default_factory=set)
    count: int = 0
    _uses: Counter[str] = field(default_factory=Counter)

    def refresh(self) -> Iterator[Entry]:
        """Read and apply the entries that were written since; gives each of them.

        Raises:
            RunDirectoryError: when one is missing or damaged.
        """
        if self.count:  # mostly there is none, and one question tells
            try:
                first = self._read(self.count)
            except FileNotFoundError:
                return
            self.apply(first)
            yield first
        names = [meta.name.removeprefix(PART).removesuffix(".json") for meta in self.bucket.list(PART)]
        numbers = sorted(number for name in names if name.isdecimal() and (number := int(name)) >= self.count)
        if numbers != list(range(self.count, self.count + len(numbers))):
            raise RunDirectoryError(
                f"{self.bucket.address}/{PART}: {len(numbers)} entries from {self.count} on, the last is "
                f"{numbers[-1]}: one is lost, and what follows it cannot be trusted; start anew in another place"
            )
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            for entry in pool.map(self._read, numbers):
                self.apply(entry)
                yield entry

    def write(self, epoch: int, **content: Any) -> tuple[Entry, list[str]] | None:
        """Write the next entry; returns it with the names that nothing refers to any more. None: another process has
        written that number."""
        entry = Entry(n=self.count, epoch=epoch, **content)
        data = encode_line({name: value for name, value in msgspec.to_builtins(entry).items() if value or name == "n"})
        name = _name(entry.n)
        if not self.bucket.create(name, data) and self.bucket.get(name) != data:
            return None
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
        return [name for name in loose if not self._uses[name]]

    def _let_go(self, key: str, loose: list[str]) -> None:
        before = self.objects.get(key)
        if before is not None:
            self._uses[before.name] -= 1
            loose.append(before.name)

    def _read(self, number: int) -> Entry:
        where = f"{self.bucket.address}/{_name(number)}"
        found = decode_line(self.bucket.get(_name(number)).removesuffix(b"\n"))
        if found is None:
            raise RunDirectoryError(f"{where} is damaged: {_REMEDY}")
        entry = convert(found, Entry, where, RunDirectoryError, _REMEDY)
        if entry.n != number:
            raise RunDirectoryError(f"{where} is entry {entry.n}: {_REMEDY}")
        return entry


def _name(number: int) -> str:
    return f"{PART}{number:010d}.json"
