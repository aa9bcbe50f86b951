"""The record of a bench that ran before: of its bench.json, the same as `skate bench --record` writes.

python -m bench.record OUT/bench.json bench/records/demo_3000.json
"""

import argparse
import json
from pathlib import Path

from bench._common import run_main, write_record
from bench.summary import record_of
from storage.errors import InputError


def read_bench(path: Path) -> dict[str, object]:
    """A bench.json.

    Raises:
        InputError: when it is none.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: is no bench.json ({error}): give the one in the --out of `skate bench`") from error
    if not isinstance(found, dict) or "rows" not in found:
        raise InputError(f"{path}: has no rows: give the bench.json in the --out of `skate bench`, no record")
    return found


def main() -> None:
    """Read, cut down, write."""
    parser = argparse.ArgumentParser(prog="python -m bench.record", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("bench", type=Path, help="bench.json of `skate bench`")
    parser.add_argument("record", type=Path, help="the file to write")
    given = parser.parse_args()
    write_record(record_of(read_bench(given.bench)), given.record)


if __name__ == "__main__":
    run_main(main)
