"""The journal: one durable line a commit. What it holds is done; what it does not hold never happened.

A line is a JSON object whose last entry is the CRC-32 of everything before it. A line that a crash tore off is
recognised and dropped when the journal is opened for writing; damage anywhere else is refused.
"""

import json
import zlib
from collections.abc import Mapping
from typing import Any

from storage.backend import Backend
from storage.closing import Closing
from storage.errors import RunDirectoryError
from storage.faults import fault_point
from storage.records import Info, Record, check_record

JOURNAL = "journal.jsonl"
MAX_BYTES = 1 << 30  # an hour of video takes some 10 MB

_CRC_MARK = ', "crc": "'


def encode_line(record: Mapping[str, Any]) -> bytes:
    """One journal line, newline included.

    Raises:
        ValueError: when a number in it is none, or infinite: JSON has no such numbers.
    """
    body = json.dumps(record, sort_keys=True, allow_nan=False)[:-1]
    return f'{body}{_CRC_MARK}{zlib.crc32(body.encode()):08x}"}}\n'.encode()


def decode_line(line: bytes) -> dict[str, Any] | None:
    """The record of a line (without newline), or None when the line is torn or altered."""
    try:
        body, mark, tail = line.decode().rpartition(_CRC_MARK)
        if not mark or tail != f'{zlib.crc32(body.encode()):08x}"}}':
            return None
        record = json.loads(body + "}", parse_constant=_no_number)
    except (ValueError, RecursionError):  # the last: nested too deeply for the parser
        return None
    return record if isinstance(record, dict) else None


def _no_number(name: str) -> None:
    raise ValueError(f"{name} is no number of JSON")


def read_records(store: Backend) -> tuple[list[Record], int]:
    """All records of a run's journal, and the length in bytes of its intact part.

    Raises:
        RunDirectoryError: when a record before the last one is damaged, is none that this program writes, or a whole
            line is lost (a record's `n` is the number of its line).
    """
    try:
        data = store.read(JOURNAL, MAX_BYTES)
    except FileNotFoundError:
        return [], 0
    path = store.where(JOURNAL)
    records: list[Record] = []
    intact = 0
    lines = data.split(b"\n")
    for number, line in enumerate(lines):
        if number == len(lines) - 1 and not line:
            break
        record = decode_line(line)
        complete = number < len(lines) - 1
        if record is None or not complete:
            if any(lines[number + 1 :]):
                raise RunDirectoryError(
                    f"{path}: line {number + 1} of the journal is damaged: what follows it cannot be trusted; "
                    "start anew with --overwrite"
                )
            break
        check_record(record, f"{path}: line {number + 1}")
        if record.get("n") != number:
            raise RunDirectoryError(
                f"{path}: line {number + 1} of the journal is record {record.get('n')}, it must be {number}: a line is "
                "lost or doubled, and what follows it cannot be trusted; start anew with --overwrite"
            )
        if "info" in record:
            record["info"] = Info(record["info"], path, number + 1)
        records.append(record)
        intact += len(line) + 1
    return records, intact


class Journal(Closing):
    """The journal open for appending. Each `append` is durable when it returns."""

    def __init__(self, store: Backend) -> None:
        self._read, intact = read_records(store)
        self._count = len(self._read)
        self._writer = store.open_journal(JOURNAL, intact)

    def take_records(self) -> list[Record]:
        """The records that were there when it was opened. They are given once: who needs them keeps them."""
        records, self._read = self._read, []
        return records

    def append(self, record: Mapping[str, Any]) -> Record:
        """Write one record; it is on the disk when this returns. Returns it as it will be read back.

        Raises:
            OSError: when it cannot be written; what was written of it is cut off again.
        """
        line = encode_line({"n": self._count, **record})
        fault_point("journal.before")
        self._writer.append(line)
        fault_point("journal.after")
        stored: dict[str, Any] = json.loads(line)
        stored.pop("crc")
        self._count += 1
        return stored

    def close(self) -> None:
        """Close it; may be called twice."""
        self._writer.close()
