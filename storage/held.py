"""A commit's record, kept small: a long run holds thousands of them in memory until it ends."""

import json
from collections.abc import ItemsView, Iterator, Mapping
from typing import Any

from storage.records import Info, Record


class HeldRecord(Mapping[str, Any]):
    """A record, unchangeable. As its text in JSON: of a window's facts, some ten values a frame, and its digests that
    takes a third of what numbers and strings do. It is read anew each time that something of it is asked for."""

    __slots__ = ("_journal", "_line", "_text")

    def __init__(self, record: Record) -> None:
        """
        Args:
            record: as the journal's line says it.
        """
        info = record.get("info")
        self._journal, self._line = (info.journal, info.line) if isinstance(info, Info) else ("", 0)
        self._text = json.dumps(dict(record)).encode()

    def __getitem__(self, name: str) -> Any:
        return self._read()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._read())

    def __len__(self) -> int:
        return len(self._read())

    def __repr__(self) -> str:
        return f"HeldRecord({self._read()!r})"

    def items(self) -> ItemsView[str, Any]:
        """Names and values; reads the text once, not once a name."""
        return self._read().items()

    def _read(self) -> dict[str, Any]:
        values: dict[str, Any] = json.loads(self._text)
        if self._journal:
            values["info"] = Info(values["info"], self._journal, self._line)
        return values
