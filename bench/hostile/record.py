"""How far a trial came, by kind, and its record."""

import subprocess
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from bench._common import ROOT, write_record
from bench.hostile.trial import Trial
from bench.machine import machine
from storage.boundary import read_regular
from stream.options.versions import versions

MOST_TOLD = 50  # failures of a kind that are kept


@dataclass
class Tally:
    """Attempts of a kind.

    Attributes:
        next: number of the attempt that comes next. of: so many try everything once, where a kind has an end.
        calls: of `skate`. kills: processes killed on purpose.
        ended: calls by exit code. failed: attempts of which something did not hold.
        known: that met what SECURITY.md says is not defended against.
        told: the first of these: number, what was called, what did not hold. mended: those that hold since.
        longest_seconds, peak_bytes: the most that a call took.
    """

    next: int = 0
    of: int = 0
    calls: int = 0
    kills: int = 0
    ended: dict[str, int] = field(default_factory=dict)
    failed: int = 0
    known: int = 0
    told: list[dict[str, Any]] = field(default_factory=list)
    mended: list[dict[str, Any]] = field(default_factory=list)
    longest_seconds: float = 0.0
    peak_bytes: int = 0

    def add(self, trial: Trial) -> None:
        """Count an attempt."""
        self.next, self.of = trial.number + 1, trial.of
        self.calls += len(trial.calls)
        self.kills += trial.kills
        for _, code in trial.calls:
            self.ended[str(code)] = self.ended.get(str(code), 0) + 1
        self.longest_seconds = max(self.longest_seconds, trial.seconds)
        self.peak_bytes = max(self.peak_bytes, int(trial.peak_bytes))
        self.known += trial.known
        if trial.wrong:
            self.failed += 1
            if len(self.told) < MOST_TOLD:
                self.told.append(_told(trial))

    def add_again(self, trial: Trial) -> None:
        """An attempt that is told as failed was made again: where all of it holds, it is told as mended."""
        if not trial.wrong:
            told = next(told for told in self.told if told["number"] == trial.number)
            self.told.remove(told)
            self.failed -= 1
            self.known += trial.known
            self.mended += [] if trial.known else [told]


def _told(trial: Trial) -> dict[str, Any]:
    """What is kept of an attempt; where its folder lay is nobody's business."""
    place = str(trial.world.folder)
    calls = [" ".join(words).replace(place, "WORLD")[:600] for words, _ in trial.calls]
    wrong = [what.replace(place, "WORLD")[:1500] for what in trial.wrong]
    return {"number": trial.number, "calls": calls, "wrong": wrong, "notes": trial.notes}


def commit() -> str:
    """Of the code that is tried; with a `+` where files are otherwise."""
    found = subprocess.run(
        ["git", "describe", "--always", "--dirty=+", "--abbrev=12"], cwd=ROOT, capture_output=True, text=True
    )
    return found.stdout.strip() or "unknown"


class Record:
    """The record of a trial that may be interrupted: read again, it goes on behind what was counted."""

    def __init__(self, path: Path | None, head: dict[str, Any], anew: bool) -> None:
        self._path = path
        self._head = head
        self.tallies: dict[str, Tally] = {}
        self.seconds = 0.0
        self._commit, self.commits = commit(), dict[str, int]()
        if path is not None and path.exists() and not anew:
            found = msgspec.json.decode(read_regular(path))
            if any(found.get(key, False) != head[key] for key in head.keys() - {"bench"}):
                raise SystemExit(f"{path}: is of another seed or set: name another --record, or give --anew")
            self.tallies = {kind: Tally(**tally) for kind, tally in found["kinds"].items()}
            self.seconds, self.commits = found["seconds"], found["commits"]
        self._before = self.attempts

    def of(self, kind: str) -> Tally:
        """Of one kind."""
        return self.tallies.setdefault(kind, Tally())

    def failures(self) -> list[tuple[str, int]]:
        """Kind and number of each attempt that is told as failed."""
        return [(kind, told["number"]) for kind, tally in self.tallies.items() for told in tally.told]

    @property
    def attempts(self) -> int:
        """All of them."""
        return sum(tally.next for tally in self.tallies.values())

    @property
    def inputs(self) -> int:
        """Attempts with hostile inputs."""
        return sum(tally.next for kind, tally in self.tallies.items() if kind != "kills")

    @property
    def kills(self) -> int:
        """Processes killed on purpose."""
        return sum(tally.kills for tally in self.tallies.values())

    @property
    def failed(self) -> int:
        """Attempts of which something did not hold."""
        return sum(tally.failed for tally in self.tallies.values())

    def write(self, seconds: float) -> None:
        """Write it; `seconds` since this process began."""
        now = self.commits.get(self._commit, 0) + self.attempts - self._before
        record = {
            **self._head,
            "commits": {**self.commits, self._commit: now},
            "inputs": self.inputs,
            "kills": self.kills,
            "failed": self.failed,
            "known": sum(tally.known for tally in self.tallies.values()),
            "mended": sum(len(tally.mended) for tally in self.tallies.values()),
            "seconds": round(self.seconds + seconds, 1),
            "machine": machine(),
            "versions": versions(),
            "kinds": {kind: asdict(tally) for kind, tally in self.tallies.items()},
        }
        write_record(record, self._path)
