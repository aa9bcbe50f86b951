"""A batch on a Ray cluster of this machine, by one worker, then by several, with test servers that sleep.

    python -m bench.scale_ray --out FOLDER [--workers 1 2 4] [--clips 12] [--step-seconds 1.5] [--record FILE]
    python -m bench.scale_ray --out FOLDER --workers 0 4 --kills 12 --step-seconds 0.1 [--record FILE]

Every worker has a server, which sleeps for as long as a step takes: so long that they, and not this machine, decide the
time. All counts are worked on at the same time, so that what else the machine does slows all alike. A worker's time
counts from when it begins its first clip: the models' libraries are loaded before, which is told apart. With
`--kills` workers, and every third time the driver, are killed at random, in all but the first count of workers; 0
workers: without Ray, each clip alone. In every count each output has to be the first's.
Needs `ray` and `grpcio`.
"""

import argparse
import hashlib
import importlib
import json
import os
import random
import secrets
import statistics
import subprocess
import sys
import time
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import psutil

from bench._common import ROOT, run_main, write_record
from bench.machine import command_line, machine
from stages.picture import mask_box
from storage.errors import EnvironmentFault
from storage.rundir import read_log
from stream.demo import DemoConfig, Scene
from stream.demo.clip import write_clip

sys.path.insert(0, str(ROOT / "tests"))
from _s3 import free_port
from fake_comfy.process import ServerProcess

WINDOW, OVERLAP = 9, 4
STORE_BYTES = 100_000_000  # the least that Ray takes for its objects
RAY_ENVIRONMENT = {
    "RAY_worker_niceness": "0",  # 15 by default: other work would decide the time
    "RAY_AUTH_MODE": "token",
    "RAY_AUTH_TOKEN": secrets.token_hex(32),
}
LOOK_SECONDS = 0.2
START_SECONDS = 120.0
KILL_SECONDS = (4.0, 20.0)  # between two kills


class Cluster:
    """Ray on this machine, as `ray start --head` makes it, and what its workers and its object store hold.

    Attributes:
        address: for `--ray`. peaks, cpu: of each process that was a worker its peak RSS, and its processor seconds.
    """

    def __init__(self, cpus: int) -> None:
        self.address = f"127.0.0.1:{free_port()}"
        self.peaks: dict[int, int] = {}
        self.cpu: dict[int, float] = {}
        self._cpus = cpus

    def __enter__(self) -> "Cluster":
        port = self.address.partition(":")[2]
        command = [sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block", "--port", port]
        command += ["--num-cpus", str(self._cpus), "--include-dashboard", "false", "--disable-usage-stats"]
        command += ["--object-store-memory", str(STORE_BYTES)]
        quiet = subprocess.DEVNULL
        self._head = subprocess.Popen(command, stdout=quiet, stderr=quiet)
        self._ray: Any = importlib.import_module("ray")
        until = time.monotonic() + START_SECONDS
        while True:
            try:
                self._ray.init(address=self.address, log_to_driver=False, logging_level="ERROR")
                return self
            except (ConnectionError, RuntimeError, ValueError):
                if time.monotonic() > until or self._head.poll() is not None:
                    raise
                time.sleep(1.0)

    def __exit__(self, *_: object) -> None:
        self._ray.shutdown()
        self._head.terminate()
        with suppress(subprocess.TimeoutExpired):
            self._head.wait(30)
        self._head.kill()
        self._head.wait()

    def workers(self) -> list[psutil.Process]:
        """The processes that work on jobs; what they hold is noted."""
        found = []
        for process in psutil.Process(self._head.pid).children(recursive=True):
            with suppress(psutil.Error, OSError):
                if " ".join(process.cmdline()).startswith("ray::Worker"):
                    found.append(process)
                    lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
                    peak = next(line for line in lines if line.startswith("VmHWM"))
                    self.peaks[process.pid] = int(peak.split()[1]) * 1024
                    used = process.cpu_times()
                    self.cpu[process.pid] = used.user + used.system
        return found

    def passed(self) -> dict[str, int]:
        """How many objects were ever made in Ray's object store, and their bytes."""
        api: Any = importlib.import_module("ray._private.internal_api")  # `ray memory` shows what lies there now alone
        (node,) = self._ray.nodes()
        store = api.node_stats(node["NodeManagerAddress"], node["NodeManagerPort"], False).store_stats
        return {"objects": int(store.cumulative_created_objects), "bytes": int(store.cumulative_created_bytes)}


def write_clips(given: argparse.Namespace) -> str:
    """The clips; returns the tables of their jobs."""
    (width, height), text = given.size, ""
    for number in range(given.clips):
        demo, name = DemoConfig(given.frames, width, height, seed=1 + number), f"clip{number}"
        file = given.out / f"{name}.mp4"
        write_clip(demo, file)
        box = [round(value, 1) for value in mask_box(Scene(demo).frame(0).object_mask)]
        text += f'[[job]]\nname = "{name}"\nvideo = {json.dumps(str(file))}\nbox = {json.dumps(box)}\n'
    return text


def write_jobs(given: argparse.Namespace, servers: list[str], path: Path) -> None:
    """The jobs, with these servers."""
    width, height = given.size
    words = {"sam": "mini", "pose": "mini", "detector": "mini", "prompt": "a robot", "size": f"{width}x{height}"}
    lines = [f'{key} = "{value}"' for key, value in words.items()]
    lines += [f"window = {WINDOW}", f"overlap = {OVERLAP}", f"server = {json.dumps(servers)}"]
    path.write_text("[defaults]\n" + "\n".join(lines) + "\n" + given.jobs)


def work(given: argparse.Namespace, workers: int, kills: int, cluster: Cluster) -> dict[str, Any]:
    """The batch by so many workers; 0: without Ray, one clip after the other in a process of its own."""
    folder, jobs = given.out / f"by-{workers}", given.out / f"jobs-{workers}.toml"
    with ExitStack() as stack:
        servers = [stack.enter_context(ServerProcess(given.step_seconds)) for _ in range(workers or 1)]
        write_jobs(given, [server.address for server in servers], jobs)
        command = [sys.executable, "-m", "stream.cli", "batch", "run", str(jobs), "--out", str(folder), "--json"]
        command += ["--ray", cluster.address, "--workers", str(workers)] if workers else []
        began = time.time()
        killed = _to_its_end(command, folder, cluster, kills, random.Random(given.seed))
        return spans(folder, workers or 1, began) | found(folder) | ({"killed": killed} if kills else {})


def _to_its_end(
    command: list[str], folder: Path, cluster: Cluster, kills: int, chance: random.Random
) -> dict[str, int]:
    """Run the command, again where it was killed; returns what was."""
    killed = {"worker": 0, "driver": 0}
    while True:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT)
        until = time.monotonic() + chance.uniform(*KILL_SECONDS)
        try:
            while process.poll() is None:
                there = cluster.workers()
                at_work = any(folder.glob("*/journal.jsonl"))
                if there and at_work and sum(killed.values()) < kills and time.monotonic() > until:
                    what = "driver" if sum(killed.values()) % 3 == 2 else "worker"
                    (process if what == "driver" else chance.choice(there)).kill()
                    killed[what] += 1
                    until = time.monotonic() + chance.uniform(*KILL_SECONDS)
                time.sleep(LOOK_SECONDS)
        finally:
            process.kill()
            said, _ = process.communicate()
        if process.returncode >= 0:
            last = json.loads(said.splitlines()[-1])
            if process.returncode not in (0, 1) or last["failed"]:
                raise EnvironmentFault(f"{' '.join(command)} ended with {process.returncode}: {last}")
            return killed


def spans(folder: Path, workers: int, began: float) -> dict[str, float]:
    """Seconds from when workers began their first clips, in the mean, to the last one's end; and until they did."""
    begun = sorted(path.stat().st_mtime for path in folder.glob("*/run.json"))[:workers]
    ended = max(path.stat().st_mtime for path in folder.glob("batch.ended/*.json"))
    ready = statistics.fmean(begun)
    return {"seconds": round(ended - ready, 2), "start_seconds": round(ready - began, 2)}


def found(folder: Path) -> dict[str, Any]:
    """Of the runs in a folder: seconds that a window takes in each stage, and that a clip takes beside its windows."""
    took: dict[str, list[float]] = defaultdict(list)
    for run in sorted(path.parent for path in folder.glob("*/journal.jsonl")):
        log = read_log(run)
        for (stage, _), record in log.commits.items():
            took[stage].append(record["seconds"])
    clips = [json.loads(path.read_text())["seconds"] for path in folder.glob("batch.ended/*.json")]
    return {
        "windows": len(took["generate"]),
        "clip_seconds": round(statistics.fmean(clips), 2),
        "stage_seconds": {stage: round(statistics.fmean(values), 4) for stage, values in took.items()},
    }


def digests(folder: Path) -> dict[str, str]:
    """Of every clip's output."""
    return {path.parent.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.glob("*/output.mp4")}


def planned_bytes(given: argparse.Namespace) -> int:
    """Of RAM, that the plan of a clip counts with."""
    from stream.batch.plan import forecast
    from stream.cli.batch import planned
    from stream.cli.generate import generate_command
    from stream.cli.jobs import read_jobs
    from stream.cli.run import run_command

    jobs = read_jobs(str(given.out / f"jobs-{given.workers[0]}.toml"), run_command, generate_command)
    (ram,) = {each.ram for each in forecast(jobs[:1], given.out / "plan", planned, {})}
    assert ram is not None
    return ram


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--clips", type=int, default=12)
    parser.add_argument("--frames", type=int, default=19)
    parser.add_argument("--size", type=lambda text: tuple(map(int, text.split("x"))), default=(160, 96))
    parser.add_argument("--step-seconds", type=float, default=1.5)
    parser.add_argument("--kills", type=int, default=0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--record", type=Path)
    given = parser.parse_args()
    os.environ.update(RAY_ENVIRONMENT)
    given.out = given.out.resolve()
    given.out.mkdir(parents=True, exist_ok=False)
    given.jobs = write_clips(given)
    record: dict[str, Any] = {
        "bench": "scale_ray", "command": command_line("bench.scale_ray"), "machine": machine(),
        "clips": given.clips, "frames": given.frames, "window": WINDOW, "overlap": OVERLAP, "size": list(given.size),
        "step_seconds": given.step_seconds, "by_workers": {},
    }  # fmt: skip
    counts = given.workers
    with Cluster(sum(counts)) as cluster, ThreadPoolExecutor(len(counts)) as threads:
        making = [threads.submit(work, given, count, given.kills if place else 0, cluster)
                  for place, count in enumerate(counts)]  # fmt: skip
        made = dict(zip(counts, (each.result() for each in making), strict=True))
        record["object_store"] = cluster.passed()
    record["peak_rss_bytes"] = max(cluster.peaks.values())
    record["worker_processes"] = len(cluster.peaks)
    windows = sum(made[count]["windows"] for count in counts if count)
    record["cpu_seconds_a_window"] = round(sum(cluster.cpu.values()) / windows, 3)
    outputs = digests(given.out / f"by-{counts[0]}")
    for count in counts:
        mine = digests(given.out / f"by-{count}")
        made[count]["other_outputs"] = sum(mine.get(clip) != digest for clip, digest in outputs.items())
        record["by_workers"][str(count)] = made[count]
        print(f"{count}: {json.dumps(made[count])}", flush=True)
    record["planned_ram_bytes"] = planned_bytes(given)
    if not given.kills:
        one, least = made[counts[0]]["seconds"], counts[0]
        shares = {count: one / made[count]["seconds"] / (count / least) for count in counts[1:]}
        record["ratios"] = {
            f"throughput_of_{count}_a_worker": {"value": round(share, 4), "noise": 0.03, "better": "higher"}
            for count, share in shares.items()
        }
    print(json.dumps({name: value for name, value in record.items() if name not in ("by_workers", "machine")}))
    if given.record is not None:
        write_record(record, given.record)


if __name__ == "__main__":
    run_main(main)
