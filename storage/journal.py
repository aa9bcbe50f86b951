"""The journal: one durable line a commit. What it holds is done; what it does not hold never happened.

A line is a JSON object whose last entry is the CRC-32 of everything before it. A line that a crash tore off is
recognised and dropped when the journal is opened for writing; damage anywhere else is refused.
"""

import json
import os
import zlib
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from storage.durable import fsync_folder
from storage.errors import RunDirectoryError
from storage.faults import fault_point
from storage.records import Record, check_record

_CRC_MARK = ', "crc": "'


def encode_line(record: Mapping[str, Any]) -> bytes:
    """One journal line, newline included."""
    body = json.dumps(record, sort_keys=True)[:-1]
    return f'{body}{_CRC_MARK}{zlib.crc32(body.encode()):08x}"}}\n'.encode()


def decode_line(line: bytes) -> Record | None:
    """The record of a line (without newline), or None when the line is torn or altered."""
    try:
        body, mark, tail = line.decode().rpartition(_CRC_MARK)
        if not mark or tail != f'{zlib.crc32(body.encode()):08x}"}}':
            return None
        record = json.loads(body + "}")
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError):  # the last: nested too deeply for the parser
        return None
    return record if isinstance(record, dict) else None


def read_records(path: Path) -> tuple[list[Record], int]:
    """All records, and the length in bytes of the intact part of the file.

    Raises:
        RunDirectoryError: when a record before the last one is damaged, is none that this program writes, or a whole
            line is lost (a record's `n` is the number of its line).
    """
    data = path.read_bytes() if path.exists() else b""
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
        records.append(record)
        intact += len(line) + 1
    return records, intact


class Journal:
    """The journal open for appending. Each `append` is durable when it returns."""

    def __init__(self, path: Path) -> None:
        self._read, self._intact = read_records(path)
        self._count = len(self._read)
        self.dropped_bytes = path.stat().st_size - self._intact if path.exists() else 0
        # Unbuffered: after a failed write nothing is left that a later call could write by surprise.
        self._file = open(path, "ab", buffering=0)  # noqa: SIM115 - closed by close()
        if self.dropped_bytes:
            self._file.truncate(self._intact)
        os.fsync(self._file.fileno())
        fsync_folder(path.parent)

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
        try:
            self._write(line)
            fault_point("journal.written")
            os.fsync(self._file.fileno())
        except OSError:
            self._file.truncate(self._intact)
            raise
        fault_point("journal.after")
        self._intact += len(line)
        stored: Record = json.loads(line)
        stored.pop("crc")
        self._count += 1
        return stored

    def _write(self, line: bytes) -> None:
        left = memoryview(line)
        while left:
            left = left[self._file.write(left) :]

    def close(self) -> None:
        """Close the file; may be called twice."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
