"""A run that is killed again and again, at fault points and at random times, each time a little further on."""

import random
from pathlib import Path

from _crash import FINISH_POINTS, STAGES, differing, results

from bench.hostile.directories import continued
from bench.hostile.trial import KILLED, Trial
from bench.hostile.world import WELL
from storage.errors import RunDirectoryError
from storage.rundir import read_log

MOST_KILLS = 40  # of one run
OF_STAGE = ("begin", "arrays", "state", "journal")
OF_JOURNAL = ("journal.before", "journal.written", "journal.after")
OF_SWITCH = ("next.switch", "next.switched", "next.moved", "next.files", "next.journal")
LATEST = 2.5  # seconds after which a process is killed at the latest


def attempt(trial: Trial, room: Path) -> None:
    """One run killed until it ends or `MOST_KILLS` times, then resumed and compared.

    Every third is the overwriting of a finished run by another seed.
    """
    world, rng = trial.world, trial.rng
    run = room / "run"
    again = trial.number % 3 == 2
    if again:
        world.copied(world.growing, run)
    wanted = continued(world, "growing") if again else world.wanted
    windows = len(list((world.finished / "segments").iterdir()))
    while trial.kills < MOST_KILLS:
        begun = (run / "run.json").exists()
        words = ["resume", str(run)] if again or (begun and rng.random() < 0.5) else world.case.run(run)
        if rng.random() < 0.2:
            ended = trial.skate(words, models=True, kill_after=rng.uniform(0.02, LATEST))
        else:
            ended = trial.skate(words, models=True, fault=_point(run, again, windows, rng))
        if ended.code != KILLED:
            break
    ended = trial.skate(["resume", str(run)], models=True)
    trial.expect(ended.code in WELL, f"does not finish: {ended.output[-500:]}")
    if ended.code in WELL:
        found = differing(results(run), wanted)
        trial.expect(not found, f"{trial.kills} kills, other bytes: {found[:6]}")
        told = trial.skate(["status", str(run), "--verify"])
        trial.expect(told.code == 0, f"damaged afterwards: {told.output[-500:]}")


def _point(run: Path, again: bool, windows: int, rng: random.Random) -> str:
    """A fault point that this run has still before it."""
    place = run / "next" if (run / "next" / "journal.jsonl").exists() else run
    try:
        log = read_log(place)
    except RunDirectoryError:
        return rng.choice(OF_JOURNAL)
    at_work = [stage for stage in STAGES if log.done(stage) < windows]
    if not at_work:
        return str(rng.choice([*FINISH_POINTS, *(OF_SWITCH if again else ())]))
    return rng.choice([*OF_JOURNAL, *OF_JOURNAL, f"{rng.choice(at_work)}.{rng.choice(OF_STAGE)}"])
