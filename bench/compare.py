"""Has a recorded ratio become worse by more than its noise? For review, by hand: ratios of a busy machine wander.

    python -m bench.compare OLD NEW        two records, or two folders of records with the same names

A record states its ratios as `"ratios": {NAME: {"value": x, "noise": r, "better": "higher"|"lower"}}`; `noise` is the
relative spread of its repeats (0.05 = 5 %). Worse means: past the old value by more than both noises together, and by
more than 2 %. Prints a line a ratio, and one for each ratio or record of OLD that NEW lacks; exit 1 where one is worse
or missing, 2 where there is nothing to compare.
"""

import argparse
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

LEAST_CHANGE = 0.02  # smaller ones are not told from chance even where the repeats agree


@dataclass(frozen=True)
class Change:
    """One ratio, before and after. `noise` is that of both together."""

    name: str
    old: float
    new: float
    noise: float
    better: str

    @property
    def loss(self) -> float:
        """By how much it became worse, as a share of the old value; negative where it became better."""
        if self.old == 0:
            return 0.0
        change = (self.new - self.old) / abs(self.old)
        return -change if self.better == "higher" else change

    @property
    def worse(self) -> bool:
        """Whether that is more than noise."""
        return self.loss > max(self.noise, LEAST_CHANGE)

    def __str__(self) -> str:
        verdict = "WORSE" if self.worse else "ok"
        return f"{verdict:<6} {self.name}: {self.old:.4g} -> {self.new:.4g} ({-self.loss:+.1%}, noise {self.noise:.1%})"


def read_ratios(path: Path) -> dict[str, dict[str, Any]]:
    """The ratios of a record.

    Raises:
        SystemExit: when the file is no record, or its ratios are not of the form above.
    """
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise SystemExit(f"{path}: is no record ({error})") from error
    ratios = record.get("ratios", {}) if isinstance(record, dict) else {}
    for name, ratio in ratios.items():
        if not isinstance(ratio, dict) or not {"value", "noise", "better"} <= ratio.keys():
            raise SystemExit(f'{path}: ratio {name} is {ratio!r}; wanted {{"value", "noise", "better"}}')
        if ratio["better"] not in ("higher", "lower"):
            raise SystemExit(f'{path}: ratio {name} says better "{ratio["better"]}"; wanted higher or lower')
    found: dict[str, dict[str, Any]] = ratios
    return found


def compare(old: Path, new: Path) -> list[Change]:
    """Every ratio that both records have."""
    before, after = read_ratios(old), read_ratios(new)
    return [
        Change(
            f"{old.stem}: {name}",
            float(before[name]["value"]),
            float(after[name]["value"]),
            float(before[name]["noise"]) + float(after[name]["noise"]),
            before[name]["better"],
        )
        for name in before
        if name in after
    ]


def missing(old: Path, new: Path) -> list[str]:
    """The ratios that the new record lacks; of no record at all, its name."""
    if not new.exists():
        return [old.name]
    after = read_ratios(new)
    return [f"{old.stem}: {name}" for name in read_ratios(old) if name not in after]


def pairs(old: Path, new: Path) -> Iterator[tuple[Path, Path]]:
    """The records to compare: the two files, or each of the old folder with that of its name, which may be missing."""
    if old.is_dir() != new.is_dir():
        raise SystemExit(f"{old} and {new}: give two records, or two folders")
    if not old.is_dir():
        yield old, new
        return
    for path in sorted(old.glob("*.json")):
        yield path, new / path.name


def main(arguments: list[str] | None = None) -> int:
    """Compare and tell."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.compare", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("old", type=Path)
    parser.add_argument("new", type=Path)
    given = parser.parse_args(arguments)
    found = list(pairs(given.old, given.new))
    changes = [change for before, after in found if after.exists() for change in compare(before, after)]
    lost = [name for before, after in found for name in missing(before, after)]
    for change in changes:
        print(change)
    for name in lost:
        print(f"MISSING {name}")
    if not changes and not lost:
        print(f"{given.old} and {given.new} have no ratio in common", file=sys.stderr)
        return 2
    return 1 if lost or any(change.worse for change in changes) else 0


if __name__ == "__main__":
    sys.exit(main())
