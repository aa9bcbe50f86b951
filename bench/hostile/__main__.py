"""Whatever comes from outside is refused in one line or passed over; nothing is lost.

    python -m bench.hostile --seed 1 --inputs 10000 --kills 1000 --record bench/records/hostile.json
    python -m bench.hostile --seed 1 --only options --first 731 --count 1      the same attempt again, told in full
    python -m bench.hostile --second --inputs 1000 --kills 0 --record bench/records/hostile_second.json

Attempts of every kind by turns. One holds where every call of `skate` ended within its time, with an exit code of ours
and one line that says why, without a traceback, in the memory of its plan and 100 MB, and where no stored byte was lost
or came out otherwise. A trial that was interrupted goes on where its record ends; what had not held is tried first, and
told as mended where it holds. Exits 1 where anything did not hold.
"""

import argparse
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from bench.hostile import kinds
from bench.hostile.record import Record
from bench.hostile.workers import Workers

WRITTEN_EVERY = 30.0  # seconds


def _given() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--inputs", type=int, default=10_000, help="hostile inputs, all kinds together")
    parser.add_argument("--kills", type=int, default=1_000, help="processes killed on purpose")
    parser.add_argument("--second", action="store_true", help="the second set")
    parser.add_argument("--third", action="store_true", help="the set by fresh eyes, made when both were clean")
    parser.add_argument("--only", choices=sorted({*kinds.FIRST, *kinds.SECOND, *kinds.THIRD}), help="one kind alone")
    parser.add_argument("--first", type=int, help="with --only: number of the first attempt; no record is written")
    parser.add_argument("--count", type=int, default=1, help="with --first: how many")
    parser.add_argument("--jobs", type=int, default=1, help="attempts at once, each with about 1 GB")
    parser.add_argument("--record", type=Path, help="where the record goes, and where an earlier one is gone on with")
    parser.add_argument("--anew", action="store_true", help="do not go on with the record that is there")
    return parser.parse_args()


def turns(given: argparse.Namespace, record: Record) -> Iterator[tuple[str, int]]:
    """Kinds by turns, by their shares, with their numbers, until so many inputs and so many kills are made."""
    shares = kinds.THIRD if given.third else kinds.SECOND if given.second else kinds.FIRST
    if given.only:
        shares = {given.only: 1}
    following = {kind: record.of(kind).next for kind in shares}
    while True:
        inputs = sum(number for kind, number in following.items() if kind != "kills") < given.inputs
        open_ones = [kind for kind in shares if (record.kills < given.kills if kind == "kills" else inputs)]
        if not open_ones:
            return
        kind = min(open_ones, key=lambda kind: (following[kind] + 1) / shares[kind])
        yield kind, following[kind]
        following[kind] += 1


def again(given: argparse.Namespace, workers: Workers) -> int:
    """Some attempts again, told in full."""
    failed = 0
    numbers = range(given.first, given.first + given.count)
    for trial in workers.each((given.only, number) for number in numbers):
        failed += bool(trial.wrong)
        for (words, code), note in zip(trial.calls, [*trial.notes, *[""] * len(trial.calls)], strict=False):
            print(f"{trial.number}: exit {code}: {words} {note}")
    return 1 if failed else 0


def main() -> int:
    """Carry out the attempts, write the record."""
    given = _given()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with Workers(given.seed, given.jobs) as workers:
        if given.first is not None:
            return again(given, workers)
        head = {"bench": "hostile", "second": given.second, "third": given.third, "seed": given.seed}
        record = Record(given.record, head, given.anew)
        begun = written = time.monotonic()
        try:
            for trial in workers.each(iter(record.failures())):
                record.of(trial.kind).add_again(trial)
            for trial in workers.each(turns(given, record)):
                record.of(trial.kind).add(trial)
                if time.monotonic() - written > WRITTEN_EVERY:
                    written = time.monotonic()
                    record.write(written - begun)
        except KeyboardInterrupt:
            print("interrupted: the same command goes on", file=sys.stderr)
        record.write(time.monotonic() - begun)
    for kind, tally in record.tallies.items():
        ended = ", ".join(f"{code}: {count}" for code, count in sorted(tally.ended.items()))
        print(f"{kind:<12} {tally.next:>6} attempts, {tally.failed} failed, {tally.kills} kills; exits {ended}")
    print(f"inputs {record.inputs}, kills {record.kills}, failed {record.failed}")
    return 1 if record.failed else 0


if __name__ == "__main__":
    sys.exit(main())
