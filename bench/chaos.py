"""Kill a run at every commit point and at random times, damage its files one by one, resume, and compare every byte.

    python bench/chaos.py                   every point, 50 random times, 60 damaged files: about 10 minutes of one core
    python bench/chaos.py --damage 0 --random 5
    python bench/chaos.py --scenario comfyui --frames 15 --trials 54    the server is killed too: about 5 minutes
    python bench/chaos.py --scenario ahead --frames 15 --trials 60      windows side by side: about 8 minutes

Prints a line a trial and writes bench/records/chaos.json (chaos_SCENARIO.json): runs, kills, mismatches. Exits 1 at any
mismatch. What must be the same: all arrays decoded, every file of run.zarr with the carried states, all segments,
output.mp4, iou.csv.

With `--scenario comfyui` the tests' fake ComfyUI server is a process that is killed at random times and started again,
on the same port or another, with all it had in memory lost; meanwhile the run goes on, or ends with exit code 5 and is
continued, or is killed as well. A dead server is waited for 0.3 or 4 s in place of 120.
"""

import argparse
import json
import platform
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from _crash import FINISH_POINTS, OTHER_POINTS, POINTS, Case, differing, make_case, results  # noqa: E402
from _server_chaos import Disturbance, Outcome, comfy_case, disturbances, disturbed, start  # noqa: E402
from _zygote import Zygote  # noqa: E402
from fake_comfy.process import ServerProcess  # noqa: E402

from stream.options.versions import versions  # noqa: E402

RECORDS = ROOT / "bench" / "records"
WAYS = ("deleted", "truncated", "flipped")


@dataclass(frozen=True)
class Clip:
    """The clip and the windows of a trial."""

    frames: int
    width: int
    height: int
    window: int
    overlap: int


@dataclass(frozen=True)
class Trial:
    """One run that was disturbed.

    Attributes:
        kind: "point", "time", "damage" or "server". what: the fault point, the seconds, or the file and what was done
            to it, or when the server died.
        killed: whether the process died of it. code: of the run that finished it. differing: what is not the same.
        server_kills: how often the server was killed. codes: of all runs of a trial with a server, in order.
    """

    kind: str
    what: str
    killed: bool
    code: int
    differing: list[str]
    server_kills: int = 0
    codes: tuple[int, ...] = ()

    @property
    def good(self) -> bool:
        """Whether it ended well and everything is the same."""
        return self.code in (0, 1) and not self.differing


class Chaos:
    """Carries out trials against a run that nothing disturbed."""

    def __init__(self, zygote: Zygote, case: Case, folder: Path) -> None:
        self._zygote = zygote
        self._case = case
        self._run = folder / "run"
        self._finished = folder / "reference"
        ended = zygote.run(case.run(self._finished))
        if ended.code not in (0, 1):
            raise SystemExit(f"the undisturbed run failed:\n{ended.output}")
        self.seconds = ended.seconds
        self._wanted = results(self._finished)
        self.trials: list[Trial] = []

    def files(self) -> list[str]:
        """What the journal vouches for, and the arrays' metadata."""
        run = self._finished
        found = [
            path for name in ("run.zarr", "segments") for path in sorted((run / name).rglob("*")) if path.is_file()
        ]
        return [*sorted(str(path.relative_to(run)) for path in found), "output.mp4", "report/iou.csv"]

    def kill_at_point(self, point: str) -> None:
        """Kill the run at a fault point, then resume it."""
        ended = self._zygote.run(self._case.run(self._run), fault=point)
        self._finish("point", point, ended.code == -9)

    def kill_at_time(self, share: float) -> None:
        """Kill the run after this share of the time it takes, then resume it; earlier, when it was done before."""
        for _ in range(5):
            ended = self._zygote.run(self._case.run(self._run), kill_after=share * self.seconds)
            if ended.code == -9:
                break
            self.seconds = ended.seconds  # the machine is less busy than it was
            shutil.rmtree(self._run)
        self._finish("time", f"{share * self.seconds:.3f} s", ended.code == -9)

    def damage(self, name: str, way: str) -> None:
        """Damage a file of the finished run, see that it is found, then resume."""
        shutil.copytree(self._finished, self._run, ignore=shutil.ignore_patterns(".lock"))
        path = self._run / name
        data = bytearray(path.read_bytes())
        if way == "deleted":
            path.unlink()
        elif way == "truncated":
            path.write_bytes(data[: len(data) // 2])
        else:
            data[len(data) // 2] ^= 4
            path.write_bytes(data)
        status = self._zygote.run(["status", str(self._run), "--verify", "--json"])
        found = json.loads(status.output.splitlines()[-1])["damaged"]
        self._finish("damage", f"{name} {way}", False, [] if found == [name] else [f"--verify says {found}"])

    def _finish(self, kind: str, what: str, killed: bool, already: list[str] | None = None) -> None:
        self._run.mkdir(exist_ok=True)
        begun = (self._run / "run.json").exists()
        ended = self._zygote.run(["resume", str(self._run)] if begun else self._case.run(self._run))
        found = differing(results(self._run), self._wanted) if ended.code in (0, 1) else ["not finished"]
        trial = Trial(kind, what, killed, ended.code, [*(already or []), *found])
        self.trials.append(trial)
        verdict = "same" if trial.good else f"DIFFERS {trial.differing[:4]} {ended.output[-400:]}"
        print(f"{len(self.trials):4} {kind:<7} {what:<48} {'killed' if killed else 'ran on':<7} {verdict}", flush=True)
        shutil.rmtree(self._run)


def preview(given: argparse.Namespace, zygote: Zygote, folder: Path, clip: Clip) -> list[Trial]:
    """The embedded generator, a small random SAM 2.1, the mini pose models: the process dies, files are damaged."""
    rng = random.Random(given.seed)
    case = make_case(folder, clip.frames, (clip.width, clip.height), clip.window, clip.overlap)
    chaos = Chaos(zygote, case, folder)
    for point in (*POINTS, *OTHER_POINTS):
        chaos.kill_at_point(f"{point}#{rng.randint(1, 5)}")
    for point in FINISH_POINTS:
        chaos.kill_at_point(point)
    for _ in range(given.random):
        chaos.kill_at_time(rng.random())
    files = chaos.files()
    chosen = files if given.damage < 0 else sorted(rng.sample(files, min(given.damage, len(files))))
    for index, file in enumerate(chosen):
        chaos.damage(file, WAYS[index % len(WAYS)])
    return chaos.trials


class ServedChaos:
    """The same for runs that a server process generates, against one that nothing disturbed."""

    def __init__(self, zygote: Zygote, reference: Case, server: ServerProcess, folder: Path) -> None:
        self._zygote = zygote
        self._server = server
        self._run = folder / "run"
        ended = start(zygote, reference, folder / "reference", [server.address])
        if ended.code not in (0, 1):
            raise SystemExit(f"the undisturbed run failed:\n{ended.output}")
        self.seconds = ended.seconds
        self.windows = len(list((folder / "reference" / "segments").iterdir()))
        self._wanted = results(folder / "reference")
        self.trials: list[Trial] = []

    def disturb(self, case: Case, kind: str, name: str, what: Disturbance) -> Outcome:
        """One run that is disturbed, continued until it ends, compared."""
        outcome = disturbed(self._zygote, case, self._server, self._run, what, self.seconds)
        code, kills = outcome.codes[-1], outcome.server_kills
        found = differing(results(self._run), self._wanted) if code in (0, 1) else ["not finished"]
        found += [] if outcome.good else [f"exit codes {outcome.codes}"]
        trial = Trial(kind, name, outcome.killed, code, found, kills, outcome.codes)
        self.trials.append(trial)
        verdict = "same" if trial.good else f"DIFFERS {found[:4]} {outcome.last.output[-400:]}"
        codes = " ".join(map(str, outcome.codes))
        told = f"{'killed' if outcome.killed else 'ran on'}, server killed {kills}, exits {codes}"
        print(f"{len(self.trials):4} {name:<64} {told:<40} {verdict}", flush=True)
        shutil.rmtree(self._run)
        return outcome


def comfyui(given: argparse.Namespace, zygote: Zygote, folder: Path, clip: Clip) -> list[Trial]:
    """The real generator, on the tests' fake ComfyUI server in a process of its own: it dies, the run as well."""
    case = comfy_case(make_case(folder, clip.frames, (clip.width, clip.height), clip.window, clip.overlap))
    with ServerProcess(step_seconds=0.02) as server:
        chaos = ServedChaos(zygote, case, server, folder)
        for what in disturbances(given.trials, random.Random(given.seed), chaos.windows):
            chaos.disturb(case, "server", str(what), what)
    return chaos.trials


def ahead(given: argparse.Namespace, zygote: Zygote, folder: Path, clip: Clip) -> list[Trial]:
    """Two windows tracked while one is generated; killed at random times until so many were, against `--ahead 0`."""
    rng = random.Random(given.seed)
    plain = comfy_case(make_case(folder, clip.frames, (clip.width, clip.height), clip.window, clip.overlap))
    none, two = (Case(plain.video, (*plain.options, "--ahead", count)) for count in "02")
    with ServerProcess(step_seconds=0.02) as server:
        chaos = ServedChaos(zygote, none, server, folder)
        while sum(trial.killed for trial in chaos.trials) < given.trials:
            at = rng.random()
            outcome = chaos.disturb(two, "time", f"{at:.3f}", Disturbance((), 0.0, False, at, None, 4.0))
            if not outcome.killed:  # the machine is less busy than it was
                chaos.seconds = min(chaos.seconds, outcome.last.seconds)
    return chaos.trials


SCENARIOS: dict[str, Callable[[argparse.Namespace, Zygote, Path, Clip], list[Trial]]] = {
    "preview": preview,
    "comfyui": comfyui,
    "ahead": ahead,
}


def main() -> int:
    """Run the trials, write the record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenario", choices=sorted(SCENARIOS), default="preview")
    parser.add_argument("--random", type=int, default=50, help="kills at random times")
    parser.add_argument("--damage", type=int, default=60, help="damaged files (negative: all)")
    parser.add_argument(
        "--trials", type=int, default=54, help="runs with a server that dies (comfyui), or that are killed (ahead)"
    )
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--frames", type=int, default=21)
    parser.add_argument("--size", default="96x64")
    parser.add_argument("--window", type=int, default=5)
    parser.add_argument("--overlap", type=int, default=2)
    parser.add_argument("--record", type=Path, help="where the record goes")
    given = parser.parse_args()
    given.record = given.record or RECORDS / (
        "chaos.json" if given.scenario == "preview" else f"chaos_{given.scenario}.json"
    )
    width, height = (int(side) for side in given.size.split("x"))
    clip = Clip(given.frames, width, height, given.window, given.overlap)
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="skate-chaos-") as name, Zygote() as zygote:
        trials = SCENARIOS[given.scenario](given, zygote, Path(name), clip)
    bad = [trial for trial in trials if not trial.good]
    record = {
        "scenario": given.scenario,
        "command": " ".join(["python bench/chaos.py", *sys.argv[1:]]),
        "clip": asdict(clip),
        "seed": given.seed,
        "runs": len(trials),
        "kills": sum(trial.killed for trial in trials),
        "server_kills": sum(trial.server_kills for trial in trials),
        "damaged_files": sum(trial.kind == "damage" for trial in trials),
        "mismatches": len(bad),
        "seconds": round(time.monotonic() - started, 1),
        "machine": f"{platform.machine()}, Python {platform.python_version()}",
        "versions": versions(),
        "trials": [asdict(trial) for trial in trials],
    }
    given.record.parent.mkdir(parents=True, exist_ok=True)
    given.record.write_text(json.dumps(record, indent=1) + "\n")
    print(
        ", ".join(f"{key}: {record[key]}" for key in ("runs", "kills", "server_kills", "damaged_files", "mismatches"))
    )
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
