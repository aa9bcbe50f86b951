"""Every stored file of a run: flipped, cut, emptied, swapped, linked, removed. It is told, repaired or refused."""

import json
import os
import shutil
from collections.abc import Callable
from functools import cache
from pathlib import Path

from _crash import differing, results

from bench.hostile.trial import Trial
from bench.hostile.world import WELL, World, digests

NOT_VOUCHED = (".lock", "report/", "next/report/")  # the report can be written again at any time
OF_ITS_TIME = ("report/summary.json", "report/index.html", "report/cost.png")  # they hold times


def flipped(path: Path, other: Path, trial: Trial) -> None:
    """One bit is another."""
    data = bytearray(path.read_bytes())
    if data:
        data[trial.rng.randrange(len(data))] ^= 1 << trial.rng.randrange(8)
        path.write_bytes(data)


def cut(path: Path, other: Path, trial: Trial) -> None:
    """Its end is missing."""
    size = path.stat().st_size
    os.truncate(path, trial.rng.randrange(size) if size else 0)


def emptied(path: Path, other: Path, trial: Trial) -> None:
    """It has no bytes."""
    os.truncate(path, 0)


def swapped(path: Path, other: Path, trial: Trial) -> None:
    """It and another have each other's bytes."""
    mine, theirs = path.read_bytes(), other.read_bytes()
    path.write_bytes(theirs)
    other.write_bytes(mine)


def linked(path: Path, other: Path, trial: Trial) -> None:
    """A symbolic link to the same bytes, or to something else, stands in its place."""
    outside = trial.world.folder / "outside"
    outside.write_bytes(path.read_bytes())
    path.unlink()
    path.symlink_to(trial.rng.choice((outside, Path("/dev/zero"), path)))


def removed(path: Path, other: Path, trial: Trial) -> None:
    """It is not there."""
    path.unlink()


def piped(path: Path, other: Path, trial: Trial) -> None:
    """A named pipe stands in its place."""
    path.unlink()
    os.mkfifo(path)


def grown(path: Path, other: Path, trial: Trial) -> None:
    """It has more bytes."""
    with path.open("ab") as file:
        file.write(trial.rng.choice((b"\0", b"\n", b"x" * 4096, path.read_bytes())))


def shadowed(path: Path, other: Path, trial: Trial) -> None:
    """A folder stands in its place."""
    path.unlink()
    path.mkdir()


WAYS: tuple[Callable[[Path, Path, Trial], None], ...] = (
    flipped, cut, emptied, swapped, linked, removed, piped, grown, shadowed,
)  # fmt: skip


@cache
def places(world: World) -> list[tuple[str, str, Callable[[Path, Path, Trial], None]]]:
    """Every file of every run, and every way: so many attempts try each once."""
    files = [
        (name, str(path.relative_to(run)))
        for name, run in world.runs().items()
        for path in sorted(run.rglob("*"))
        if path.is_file() and path.name != ".lock"
    ]
    return [(name, file, way) for way in WAYS for name, file in files]


@cache
def continued(world: World, name: str) -> dict[str, str]:
    """What an undamaged copy holds when it was resumed."""
    run = world.copied(world.runs()[name], world.folder / f"{name}-continued")
    world.well(["resume", str(run)])
    return held(run)


@cache
def exported(world: World, name: str) -> dict[str, str]:
    """What an undamaged run exports; nothing where it cannot be."""
    to = world.folder / f"{name}-exported"
    world.zygote.run(["export", str(world.runs()[name]), "--to", str(to)])
    return digests(to)


def held(run: Path) -> dict[str, str]:
    """Digests of what a finished run holds, whichever chain made it."""
    if (run / "output.mp4").exists():
        return results(run)
    return digests(run / "run.zarr")


def attempt(trial: Trial, room: Path) -> None:
    """One damaged run, and a command that reads or goes on with it."""
    world, rng = trial.world, trial.rng
    every = places(world)
    trial.of = len(every)
    name, file, way = every[(trial.number * 7919) % len(every)]  # 7919 is prime: all kinds by turns, each place once
    run = world.copied(world.runs()[name], room / "run")
    others = [path for path in sorted(run.rglob("*")) if path.is_file() and path != run / file]
    before = {path: path.read_bytes() for path in (run / file, *others)} if rng.random() < 0.3 else {}
    trial.notes.append(f"{way.__name__} {name}/{file}")
    same_folder = [path for path in others if path.parent == (run / file).parent]
    way(run / file, rng.choice(same_folder or others), trial)
    harmless = _harmless(run, before) or file.startswith(NOT_VOUCHED)
    harmless = harmless or (way is swapped and _same_bytes(run / file, world.runs()[name] / file))
    harmless = harmless or (file == "run.json" and way is grown and _same_words(run, world.runs()[name]))
    earlier = way is cut and file.endswith("journal.jsonl")  # as the run was before: less, or not yet redone
    _look(trial, room, run, name, file, harmless, earlier)
    outside = world.folder / "outside"
    if outside.exists() and way is linked:
        trial.expect(outside.read_bytes() == (world.runs()[name] / file).read_bytes(), "what a link led to was changed")


def _harmless(run: Path, before: dict[Path, bytes]) -> bool:
    return bool(before) and all(path.is_file() and path.read_bytes() == data for path, data in before.items())


def _same_bytes(path: Path, sound: Path) -> bool:
    """Whether what was put in its place is the same."""
    return path.read_bytes() == sound.read_bytes()


def _same_words(run: Path, sound: Path) -> bool:
    """Whether `run.json` says what it said, with other blanks around it: it may be written again at any time."""
    try:
        return bool(json.loads((run / "run.json").read_bytes()) == json.loads((sound / "run.json").read_bytes()))
    except (OSError, ValueError):
        return False


def _look(trial: Trial, room: Path, run: Path, name: str, file: str, harmless: bool, earlier: bool) -> None:
    how = trial.rng.random()
    if how < 0.45:
        ended = trial.skate(["status", str(run), "--verify", "--json"])
        known = file in trial_vouched(trial.world, name)
        if known and not harmless:
            trial.expect(ended.code == 6, f"--verify does not tell that {file} is damaged")
    elif how < 0.75:
        to = room / "to"
        ended = trial.skate(["export", str(run), "--to", str(to)])
        if ended.code == 0 and not earlier:
            found = digests(to)
            trial.expect(
                found == exported(trial.world, name),
                f"other bytes exported: {differing(found, exported(trial.world, name))[:4]}",
            )
        elif ended.code != 0:
            trial.expect(not to.exists(), f"a failed export leaves {sorted(digests(to))}: {ended.output}")
    elif how < 0.85:
        _resume(trial, run, name, earlier)
    else:
        trial.skate([trial.rng.choice(("report", "status", "redo", "evaluate")), str(run)], models=True)


def trial_vouched(world: World, name: str) -> frozenset[str]:
    """What the journal of a run vouches for: what `--verify` must miss."""
    run = world.runs()[name]
    kept = ("run.zarr/", "segments/", "output.mp4", "report/iou.csv", "run.json")
    return frozenset(
        str(path.relative_to(run))
        for path in run.rglob("*")
        if name in ("finished", "kept", "extracted") and str(path.relative_to(run)).startswith(kept)
    )


def _resume(trial: Trial, run: Path, name: str, earlier: bool) -> None:
    ended = trial.skate(["resume", str(run)], models=True)
    if ended.code not in WELL:
        return
    found, wanted = held(run), continued(trial.world, name)
    if earlier and name == "redoing" and found == held(trial.world.kept):
        return
    trial.expect(found == wanted, f"resumed to other bytes: {differing(found, wanted)[:4]}")
    shutil.rmtree(run / "report", ignore_errors=True)
