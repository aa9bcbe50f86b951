"""What the comparisons share: sides in processes of their own, the fastest of several repeats, ratios, records."""

import json
import os
import re
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import psutil

from bench.machine import command_line, machine
from storage.durable import write_atomic
from storage.errors import EnvironmentFault, InputError, SkateError
from stream.options.versions import versions
from stream.progress import memory
from stream.report.tables import text_table

ROOT = Path(__file__).resolve().parents[1]
NUMBERS = re.compile(r"\[\n\s*((?:null|-?\d[-+.\de]*)(?:,\n\s*(?:null|-?\d[-+.\de]*))*)\n\s*\]")  # indented JSON
WATCH_SECONDS = 0.05  # between looks at a child's memory

Side = dict[str, Any]


def run_child(module: str, arguments: Sequence[str], memory_limit: int | None = None) -> Side:
    """Run `python -m MODULE ARGUMENTS` and give the JSON of its last line.

    Args:
        memory_limit: bytes of resident memory above which the child is ended; the result is then
            `{"ended": "memory", "peak_rss_bytes": ...}`.

    Raises:
        EnvironmentFault: when the child fails; what it said went to stderr.
    """
    paths = [str(ROOT), *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
    environment = {"OMP_WAIT_POLICY": "passive"} | dict(os.environ)
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, paths))
    command = [sys.executable, "-m", module, *arguments]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as child:
        try:
            peak = _watch(child, memory_limit) if memory_limit is not None else None
            said, _ = child.communicate()
        except BaseException:
            child.kill()
            raise
    if peak is not None:
        return {"ended": "memory", "peak_rss_bytes": peak}
    if child.returncode != 0:
        raise EnvironmentFault(f"{' '.join(command[1:])} ended with {child.returncode}: see what it said above")
    found: Side = json.loads(said.splitlines()[-1])
    return found


def _watch(child: "subprocess.Popen[str]", memory_limit: int) -> int | None:
    """Look at the child's memory until it ends; kills it above the limit and gives the bytes it had by then."""
    process = psutil.Process(child.pid)
    while child.poll() is None:
        try:
            resident = int(process.memory_info().rss)
        except psutil.NoSuchProcess:
            return None
        if resident > memory_limit:
            child.kill()
            return resident
        time.sleep(WATCH_SECONDS)
    return None


def peak_rss_bytes(children: bool = False) -> int:
    """Peak resident memory of this process, or the largest of its children's that ended."""
    if children:
        return resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
    return memory.peak_rss_bytes()


def timed(work: Callable[[], Any]) -> float:
    """Seconds that a call takes."""
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def take_turns(calls: Mapping[str, Callable[[], Side]], repeats: int) -> dict[str, list[Side]]:
    """Call every side `repeats` times in turns, so that whatever slows the machine down for a while slows all."""
    runs: dict[str, list[Side]] = {name: [] for name in calls}
    for _ in range(repeats):
        for name, call in calls.items():
            runs[name].append(call())
    return runs


def fastest(runs: Sequence[Side]) -> Side:
    """The fastest of a side's runs, with `spread` (slowest over fastest, less 1), all seconds and the highest peak."""
    seconds = [run["seconds"] for run in runs]
    best = runs[seconds.index(min(seconds))]
    return best | {
        "all_seconds": [round(value, 4) for value in seconds],
        "spread": round(max(seconds) / min(seconds) - 1, 3),
        "peak_rss_bytes": max(run["peak_rss_bytes"] for run in runs),
    }


def ratio(ours: Sequence[Side], peers: Sequence[Side], field: str = "seconds") -> Side:
    """How many times faster (or smaller) ours is, best against best, as `bench.compare` reads it.

    `noise` is half the range of the ratios of single turns, as a share of the value: 0 of a single turn.
    """
    best = min(run[field] for run in peers) / min(run[field] for run in ours)
    turns = [peer[field] / our[field] for our, peer in zip(ours, peers, strict=True)]
    return {"value": round(best, 3), "noise": round((max(turns) - min(turns)) / 2 / best, 3), "better": "higher"}


def ratio_table(ratios: Mapping[str, Mapping[str, Any]], absent: Mapping[str, str] | None = None) -> str:
    """Ratios as text: above 1, ours is faster (or smaller); then what could not be measured, and why."""
    lines = []
    for name, found in ratios.items():
        numbers = (found["value"], found["noise"], found.get("steady"), found.get("least"))
        shown = ["-" if number is None else f"{number:.3g}" for number in numbers]
        verdict = "" if "holds" not in found else "holds" if found["holds"] else "MISSED"
        lines.append([name, *shown, verdict])
    table = text_table(("ours / peer", "ratio", "noise", "steady", "at least", ""), lines)
    return "\n".join([table, *(f"{name}: {why}" for name, why in (absent or {}).items())])


def new_record(bench: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """The head of a record: which bench, how it was called, on what, with which versions."""
    return {
        "bench": bench,
        "command": command_line(f"python -m bench.{bench}"),
        "machine": machine(),
        "versions": versions(),
        "settings": dict(settings),
    }


def write_record(record: Mapping[str, Any], path: Path | None) -> None:
    """Write the record as JSON, where a path is given; a list of numbers takes one line."""
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        text = NUMBERS.sub(lambda found: f"[{' '.join(found[1].split())}]", json.dumps(record, indent=1))
        write_atomic(path, (text + "\n").encode())


def must_exist(video: Path) -> None:
    """Refuse a video that is not there.

    Raises:
        InputError: when it is no file.
    """
    if not video.is_file():
        raise InputError(f"--video {video}: no such file: give a video, or leave --video out for the demo clip")


def run_main(work: Callable[[], None]) -> None:
    """Run a bench; an error of ours is one line and its exit code, as with `skate`."""
    try:
        work()
    except SkateError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
