"""`python -m bench.hostile`, short: what it sees, that it goes on where it was interrupted, and some of every kind."""

import shutil
from argparse import Namespace
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from threading import Barrier
from types import SimpleNamespace
from typing import Any
from unittest import mock

import pytest
from _zygote import Ended, shared_zygote

from bench.hostile import kinds, options
from bench.hostile.__main__ import turns
from bench.hostile.nasty import casts
from bench.hostile.nasty.looked import nth
from bench.hostile.options import commands
from bench.hostile.record import Record
from bench.hostile.trial import Trial, is_table, untold
from bench.hostile.workers import Workers, carried_out
from bench.hostile.world import World
from stream.cli import _COMMANDS

WELL = Ended(3, "skate: clip.mp4 is no video: give another\n", 0.1, 0.1, 1 << 20, False)


@pytest.mark.parametrize(
    ("ended", "told"),
    [
        (WELL, ""),
        (replace(WELL, code=0, output="done\n"), ""),
        (replace(WELL, output='{"event": "error", "code": 3, "message": "no video"}\n'), ""),
        (replace(WELL, code=70), "exit code 70"),
        (replace(WELL, code=-11), "exit code -11"),
        (replace(WELL, output=""), "0 lines say why it ended with 3"),
        (replace(WELL, output=2 * WELL.output), "2 lines say why it ended with 3"),
        (replace(WELL, output=f"{WELL.output}more\n"), "1 lines say why it ended with 3"),
        (replace(WELL, output=f"skate: {'x' * 3000}\n"), "the line has 3007 characters"),
        (replace(WELL, output=f"Traceback (most recent call last):\n{WELL.output}"), "a traceback"),
        (replace(WELL, output="skate: \x1b[2J is no video\n"), "control characters in what it printed"),
        (replace(WELL, peak_rss_bytes=3 << 20), "took 3 MB, 2 MB are its bound"),
        (replace(WELL, code=-9, output="", timed_out=True, seconds=60.0), "did not end within 60 s"),
    ],
)
def test_what_does_not_hold_is_told(ended: Ended, told: str) -> None:
    assert "; ".join(untold(ended, 2 << 20)) == told


def test_a_table_is_told_from_silence() -> None:
    damaged = replace(WELL, code=6, output="damaged: run.zarr/masks/object/c.0\n")
    assert is_table(["status", "run", "--verify"], damaged) and not untold(damaged, 2 << 20, table=True)
    assert not is_table(["resume", "run"], damaged)
    assert not is_table(["status", "run"], replace(damaged, output=""))
    alone = replace(WELL, code=2, output="Usage: skate models [OPTIONS] COMMAND\n\nCommands:\n  fetch\n")
    assert is_table(["models"], alone) and not is_table(["models"], replace(alone, code=3))


def test_every_command_is_tried() -> None:
    assert {name.split()[0] for name in commands()} == _COMMANDS.keys()


def test_every_command_can_be_bent(tmp_path: Path) -> None:
    case = SimpleNamespace(video=tmp_path / "clip.mp4", options=("--box", "1,2,3,4"))
    world: Any = SimpleNamespace(seed=1, finished=tmp_path, kept=tmp_path, exported=tmp_path, case=case)
    called = set()
    for number in range(1500):
        trial = Trial(world, "options", number)
        with mock.patch.object(trial, "skate", lambda words, **_: called.add(words[0])):
            options.attempt(trial, tmp_path)
    assert _COMMANDS.keys() <= called


def test_what_is_written_to_is_a_copy(tmp_path: Path) -> None:
    finished = tmp_path / "finished"
    finished.mkdir()
    (finished / "run.json").write_text("{}")
    given = []

    def run(arguments: list[str], **_: object) -> Ended:
        given.append(arguments)
        return WELL

    zygote = SimpleNamespace(run=run)
    world: Any = SimpleNamespace(
        seed=1, folder=tmp_path, zygote=zygote, plain_bytes=1 << 30, place=(tmp_path / "rooms").joinpath, copied=copied
    )
    Trial(world, "options", 0).skate(["generate", str(finished), "--out", str(finished), "--overwrite"])
    own = tmp_path / "rooms" / "options" / "own" / "finished"
    assert given == [["generate", str(finished), "--out", str(own), "--overwrite"]] and (own / "run.json").exists()


def copied(run: Path, to: Path) -> Path:
    return Path(shutil.copytree(run, to))


class Told:
    """In place of a world, for counting alone."""

    seed, folder = 1, Path("somewhere")


def counted(record: Record, kind: str, kills: int = 0, wrong: bool = False) -> None:
    trial = Trial(Told(), kind, record.of(kind).next)  # type: ignore[arg-type]
    trial.calls, trial.kills = [(["status", "run"], 0)], kills
    trial.wrong = ["it hangs"] if wrong else []
    record.of(kind).add(trial)


def test_an_interrupted_trial_goes_on(tmp_path: Path) -> None:
    path, head = tmp_path / "record.json", {"bench": "hostile", "second": False, "seed": 1}
    whole, first = Record(None, head, False), Record(path, head, False)
    given = Namespace(inputs=100, kills=9, second=False, third=False, only=None)
    order = []
    for kind, _ in turns(given, whole):
        order.append(kind)
        counted(whole, kind, 3 * (kind == "kills"))
    assert (whole.inputs, whole.kills, whole.of("kills").next) == (100, 9, 3) and set(order) == set(kinds.FIRST)
    for kind in order[:50]:
        counted(first, kind, 3 * (kind == "kills"), wrong=kind == "options")
    first.write(5.0)
    second = Record(path, head, False)
    assert second.tallies == first.tallies and second.failed == first.failed > 0
    assert second.of("options").told[0] == {
        "number": 0, "calls": ["status run"], "wrong": ["it hangs"], "notes": [],
    }  # fmt: skip
    rest = []
    for kind, _ in turns(given, second):
        rest.append(kind)
        counted(second, kind, 3 * (kind == "kills"))
    assert order[:50] + rest == order
    assert sum(second.commits.values()) == 50 and second.failures()[0] == ("options", 0)
    well, bad = (Trial(Told(), "options", number) for number in (0, 1))  # type: ignore[arg-type]
    bad.fail("it hangs still")
    failed = second.failed
    known = Trial(Told(), "options", 2)  # type: ignore[arg-type]
    known.fail("it ends otherwise")
    known.is_known("as SECURITY.md says")
    second.of("options").add_again(well)
    second.of("options").add_again(bad)
    second.of("options").add_again(known)
    assert second.failed == failed - 2 and second.failures()[0] == ("options", 1)
    assert second.of("options").known == 1
    assert [told["number"] for told in second.of("options").mended] == [0]
    with pytest.raises(SystemExit, match="is of another seed or set"):
        Record(path, {**head, "seed": 2}, False)
    assert Record(path, {**head, "seed": 2}, True).inputs == 0


def test_attempts_at_once_are_given_in_their_order(monkeypatch: pytest.MonkeyPatch) -> None:
    together = Barrier(3, timeout=20)

    def slow(trial: Trial, room: Path) -> None:
        if trial.number < 3:
            together.wait()  # all three are at work at once, or this raises
        if trial.number == 7:
            raise KeyError("a mistake of the trial's own")

    world = SimpleNamespace(seed=1, room=lambda kind: iter([Path()]))
    monkeypatch.setattr(Workers, "_world", lambda self: world)
    monkeypatch.setitem(kinds.ATTEMPTS, "options", slow)
    with Workers(1, 3) as workers:
        found = list(workers.each(("options", number) for number in range(40)))
    assert [trial.number for trial in found] == list(range(40))
    assert [trial.number for trial in found if trial.wrong] == [7]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    found = World(shared_zygote(), tmp_path_factory.mktemp("hostile"), 1, few=True)
    yield found
    found.close()


def test_a_set_gives_each_entry_once_a_round() -> None:
    world = SimpleNamespace(seed=1)
    for kind in kinds.THIRD:
        assert kind in kinds.ATTEMPTS
    given = [nth(Trial(world, "casts", number), casts.ALL) for number in range(2 * len(casts.ALL))]  # type: ignore[arg-type]
    assert len({repr(entry) for entry, again in given if again == 0}) == len(casts.ALL)
    assert {again for _, again in given} == {0, 1}


@pytest.mark.parametrize(
    ("kind", "first", "count"),
    [
        ("options", 0, 20),
        ("documents", 4, 6),
        ("directories", 0, 4),
        ("kills", 0, 1),
        ("names", 0, 1),
        ("containers", 0, 1),
        ("containers", 8, 1),
    ],
)
def test_some_of_every_kind_hold(
    world: World, kind: str, first: int, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The whole trial: `bench/records/hostile.json`."""
    monkeypatch.setattr("bench.hostile.kills.MOST_KILLS", 2)
    for number in range(first, first + count):
        trial = carried_out(world, kind, number)
        assert not trial.wrong, f"--only {kind} --first {number}: {trial.calls}: {trial.wrong}"
        assert trial.calls and (trial.kills > 0) == (kind == "kills")
