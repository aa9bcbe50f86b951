"""Run an older commit and the working tree side by side on this machine, and compare what they make.

    python -m bench.side_by_side 8be2621              demo, preview and ComfyUI runs, redo, retries, every fault point
    python -m bench.side_by_side 8be2621 --only demo redo

The commit is checked out into a temporary worktree. Both sides are given the same clip, weights and test server, each
by its own command line; a run is killed and resumed by the working tree alone. What must be the same: `output.mp4`, and
the values of every array, whatever its name in the format of either side. Exits 1 where something is not.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from _crash import FINISH_POINTS, OTHER_POINTS, POINTS, Case, make_case  # noqa: E402
from _server_chaos import comfy_case  # noqa: E402
from fake_comfy import FakeComfy  # noqa: E402

SCENARIOS = ("demo", "preview", "redo", "comfyui", "comfyui-redo", "retries", "faults")
MINI = ROOT / "stages" / "models" / "mini"
WEIGHTS = ("--pose", str(MINI / "pose.onnx"), "--detector", str(MINI / "detector.onnx"))  # not those of either side
# Digests of all that a run holds, under the names that the present format gives it; what was dropped is left out.
DIGESTS = """
import hashlib, json, sys
from pathlib import Path
import numpy as np
from storage.rundir import RunReader

path = Path(sys.argv[1])
run = RunReader(path)
frames = run.log.of("decode")[-1]["span"][1]
layout = getattr(run.log, "layout", None)
found = {"output.mp4": hashlib.sha256((path / "output.mp4").read_bytes()).hexdigest()}
for name in layout.arrays if layout is not None else run.arrays.specs:
    start = run.log.dropped.get(name, 0)
    if start >= frames:
        continue
    values = np.ascontiguousarray(run.arrays.read(name, start, frames))
    named = {name: values}
    if name == "visible":
        named = {"visible/object": values[:, 0], "visible/person": values[:, 1]}
    elif name in ("keypoints", "contacts"):
        named = {name + "/person": values}
    elif name == "iou":
        named = {"iou": values, "scores/object": values}
    for known, part in named.items():
        found[known] = f"{start}..{frames} " + hashlib.sha256(np.ascontiguousarray(part).tobytes()).hexdigest()
print(json.dumps(found))
"""


class Side:
    """One source tree, and the folder its runs go to."""

    def __init__(self, tree: Path, folder: Path) -> None:
        self.tree, self.folder = tree, folder
        folder.mkdir(parents=True)

    def _python(self, arguments: Sequence[str], fault: str | None = None) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "PYTHONPATH": str(self.tree), "OMP_NUM_THREADS": "1"}
        environment |= {} if fault is None else {"SKATE_FAULT": fault}
        command = [sys.executable, *arguments]
        return subprocess.run(command, cwd=self.tree, env=environment, capture_output=True, text=True, check=False)

    def skate(self, *arguments: str, fault: str | None = None) -> None:
        """Call `skate`; it must end well, or at the fault point."""
        ended = self._python(["-m", "stream.cli", *arguments], fault)
        if ended.returncode not in ((0, 1) if fault is None else (0, 1, -9)):
            raise SystemExit(f"{self.tree}: skate {' '.join(arguments)}: {ended.returncode}\n{ended.stderr[-2000:]}")

    def digests(self, run: str) -> dict[str, str]:
        """Of everything that the run holds."""
        ended = self._python(["-c", DIGESTS, str(self.folder / run)])
        if ended.returncode:
            raise SystemExit(f"{self.folder / run}: {ended.stderr[-2000:]}")
        found: dict[str, str] = json.loads(ended.stdout)
        return found

    def run(self, case: Case, name: str, *more: str, fault: str | None = None) -> None:
        """A run of the case."""
        self.skate(*case.run(self.folder / name, *more), fault=fault)


@contextmanager
def checked_out(commit: str, folder: Path) -> Iterator[Path]:
    """A worktree of the commit."""
    git = ["git", "-C", str(ROOT), "worktree"]
    subprocess.run([*git, "add", "-q", "--detach", str(folder), commit], check=True)
    try:
        yield folder
    finally:
        subprocess.run([*git, "remove", "--force", str(folder)], check=True)


def compared(what: str, old: dict[str, str], new: dict[str, str]) -> int:
    """Print what differs between two runs, and what the older has not; returns how many things differ."""
    wrong = sorted(name for name in old if old[name] != new.get(name))
    more = ", ".join(sorted(new.keys() - old.keys()))
    told = "the same" if not wrong else "DIFFERENT: " + ", ".join(wrong)
    print(f"{what:<36} {len(old)} things: {told}{f' (new: {more})' if more else ''}", flush=True)
    return len(wrong)


def scenarios(only: Sequence[str], folder: Path, sides: tuple[Side, Side], points: Sequence[str]) -> int:
    """Carry them out on both sides; returns how many things differ."""
    old, new = sides
    case = make_case(folder / "case", frames=14)
    kept = Case(case.video, (*case.options, *WEIGHTS, "--keep", "all"))
    wrong = 0

    def both(what: str, name: str) -> None:
        nonlocal wrong
        wrong += compared(what, old.digests(name), new.digests(name))

    for side in sides:
        if "demo" in only:
            demo = ("--frames", "17", "--clip-size", "160x96", "--window", "9", "--overlap", "3")
            side.skate("demo", "--out", str(side.folder / "demo"), *demo)
        side.run(kept, "preview")
    if "demo" in only:
        both("demo", "demo")
    if "preview" in only:
        both("preview", "preview")
    if "faults" in only:
        wanted = old.digests("preview")
        for point in points:
            name = f"fault-{point.replace('#', '-')}"
            new.run(kept, name, fault=point)
            new.skate("resume", str(new.folder / name))
            wrong += compared(f"killed at {point}, resumed", wanted, new.digests(name))
    if "redo" in only:
        for side in sides:
            side.skate("redo", str(side.folder / "preview"), "--windows", "1,2", "--seed", "9")
        both("redo", "preview")
    if {"comfyui", "comfyui-redo", "retries"} & set(only):
        wrong += _with_server(only, comfy_case(kept), sides, both)
    return wrong


def _with_server(only: Sequence[str], case: Case, sides: tuple[Side, Side], both: Callable[[str, str], None]) -> int:
    with FakeComfy() as server:
        more = ("--server", server.address, "--prompt", "a robot")
        for side in sides:
            side.run(case, "comfyui", *more)
            if "retries" in only:
                side.run(case, "retries", *more, "--retries", "2", "--iou-threshold", "0.99")
        if "comfyui" in only:
            both("comfyui", "comfyui")
        if "retries" in only:
            both("retries", "retries")
        if "comfyui-redo" in only:
            for side in sides:
                side.skate("redo", str(side.folder / "comfyui"), "--windows", "1,2", "--seed", "9")
            both("comfyui, redo", "comfyui")
    return 0


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m bench.side_by_side", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("commit", help="the older side")
    parser.add_argument("--only", nargs="+", choices=SCENARIOS, default=SCENARIOS)
    parser.add_argument("--points", nargs="+", help="fault points  [default: all]")
    options = parser.parse_args()
    points = options.points or [*POINTS, *OTHER_POINTS, *FINISH_POINTS]
    with tempfile.TemporaryDirectory(prefix="skate-side-by-side-") as place:
        folder = Path(place)
        with checked_out(options.commit, folder / "tree") as tree:
            sides = Side(tree, folder / "old"), Side(ROOT, folder / "new")
            wrong = scenarios(options.only, folder, sides, points)
    print(f"{wrong} things differ")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
