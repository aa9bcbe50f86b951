"""A batch on a cluster that is not there: who works when, what the store is asked, what it costs, where it bends.

    python -m bench.scale [--clips 10000] [--seed 1] [--record bench/records/scale.json]

What things take are the numbers of `wan_costs`. It also foretells the batches that `bench.scale_ray` measured, from
what a window and a clip took there by one worker.
"""

import argparse
import dataclasses
import json
import math
import random
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from itertools import zip_longest
from pathlib import Path
from typing import Any

from bench._common import ROOT, run_main, write_record
from bench.machine import command_line, machine
from bench.simulation import MINUTE, Costs, Simulation
from stream.engine.windows import WindowPlan
from stream.report.tables import text_table

RECORDS = ROOT / "bench" / "records"
SMALL, STORE = RECORDS / "scale_ray.json", RECORDS / "scale_store.json"
GPU_HOUR, GB_MONTH = 0.69, 0.02  # the prices of the plan's example
PUT, GET = 0.005 / 1000, 0.0004 / 1000  # Amazon S3's list prices (also of LIST, and of HEAD)
WORKERS_A_GPU = 10  # SAM small and the pose models take about 2 GB
LEAST_FRAMES, MEDIAN_FRAMES, MOST_FRAMES = 90, 300, 5400


def wan_costs(store: Mapping[str, Any] | None = None) -> Costs:
    """Wan 2.1 1.3B at 832x480, windows of 81 that overlap by 21, one RTX 4090 a server.

    Args:
        store: `bench.scale_store`'s record. None: no store is asked.
    """
    new = 60  # frames of a window that none before has
    engine = 0.164  # s a frame, all that is no model, with a server (docs/performance.md, 832x480)
    sam = 1 / 85  # s a frame, SAM 2.1 small, sam2's README; two subjects before, one again in the result
    fitted = {} if store is None else store["fitted"]
    return Costs(
        generate=240.0,  # Wan 2.1's README, 5 s of 480p
        before=new * (2 * sam + engine / 2),
        between=0.4,  # c of bench/records/ahead.json
        behind=new * (sam + engine / 2),
        open=2.0, finish=6.0,  # docs/performance.md: start, loading, report
        dispatch=0.02,
        spread=0.03,  # of L in bench/records/ahead.json
        worker_hours=24.0, server_hours=24.0, worker_away=180.0, server_away=300.0,  # assumed: spot machines
        requests={
            kind: (each["clip"], each["window"], each["opening"], each["window_there"])
            for kind, each in fitted.items() if kind != "bytes"
        },
        stored=new * 1.8e6, kept=19.4e6,  # docs/design.md (0.92 MB a raw frame, and the source's); `skate batch plan`
    )  # fmt: skip


def clips_of(count: int, seed: int, plan: WindowPlan = WindowPlan()) -> list[int]:  # noqa: B008 - frozen
    """The windows of so many clips: half of them longer than 10 s of 30 frames/s, a few of minutes."""
    chance = random.Random(seed)
    frames = (chance.lognormvariate(math.log(MEDIAN_FRAMES), 0.8) for _ in range(count))
    return [plan.count(round(min(max(each, LEAST_FRAMES), MOST_FRAMES))) for each in frames]


def simulated(clips: Sequence[int], gpus: int, costs: Costs, seed: int, a_gpu: int = WORKERS_A_GPU) -> dict[str, Any]:
    """A batch on so many GPUs: of servers, and of workers, `a_gpu` of which share one."""
    servers = max(1, gpus * a_gpu // (a_gpu + 1))
    made = Simulation(clips, servers, servers, costs, seed).run()
    asked, hours, windows = made.requests, made.now / 3600, sum(clips)
    money = {
        "gpus": gpus * hours * GPU_HOUR,
        "requests": (asked["put"] + asked["list"]) * PUT + asked["get"] * GET,
        "a month": windows * costs.kept / 1e9 * GB_MONTH,
    }
    full = min(made.full_until, made.now)
    return {
        "gpus": gpus, "servers": servers, "hours": round(hours, 2), "full_hours": round(full / 3600, 2),
        "servers_busy": round(made.generated / (servers * made.now), 4),
        "gpus_busy": round(made.generated / (gpus * made.now), 4),
        "requests_a_second": round(sum(asked.values()) / made.now, 1),
        "requests_a_second_at_most": round(max(made.by_minute.values(), default=0) / MINUTE, 1),
        "mb_a_second": round(windows * costs.stored / made.now / 1e6, 1),
        "pieces_a_second": round(made.pieces / made.now, 3), "thinking_seconds": round(made.thinking, 1),
        "lost": dict(made.lost), "lost_share": round(made.lost["server seconds"] / (servers * made.now), 4),
        "cost": {name: round(value, 2) for name, value in money.items()},
    }  # fmt: skip


def foretold(record: Mapping[str, Any]) -> dict[int, float]:
    """By how many workers of `bench.scale_ray` what the same batch takes by them, from what it took by one."""
    one = record["by_workers"]["1"]
    took, windows = one["stage_seconds"], WindowPlan(record["window"], record["overlap"]).count(record["frames"])
    costs = Costs(
        generate=took["generate"],
        before=sum(took[stage] for stage in ("decode", "pose", "track", "aim", "motion", "view")),
        between=took["composite"] + took["blend"],
        behind=took["sink"] + took["score"],
    )
    rest = one["clip_seconds"] - costs.piece(0, windows, True)[0]  # opening, the report
    costs = dataclasses.replace(costs, finish=max(0.0, rest))
    clips = [windows] * record["clips"]
    return {
        int(count): round(Simulation(clips, int(count), int(count), costs).run().now, 1)
        for count in record["by_workers"]
    }


def small(path: Path) -> dict[str, Any]:
    """What was foretold of the small cluster, and what was measured there."""
    record = json.loads(path.read_text())
    measured = {int(count): each["seconds"] for count, each in record["by_workers"].items()}
    return {
        str(count): {"foretold": seconds, "measured": measured[count], "of": round(seconds / measured[count], 4)}
        for count, seconds in foretold(record).items()
    }


def main() -> None:
    """Simulate and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=10_000)
    parser.add_argument("--gpus", type=int, nargs="+", default=[100, 1000, 2000, 5000])
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--record", type=Path)
    given = parser.parse_args()
    costs, clips = wan_costs(json.loads(STORE.read_text())), clips_of(given.clips, given.seed)
    most = 1000
    worst = dataclasses.replace(costs, worker_hours=6.0, server_hours=6.0)
    never = dataclasses.replace(costs, worker_hours=math.inf, server_hours=math.inf)
    hour = [WindowPlan().count(3600 * 30)] * max(1, given.clips // 100)
    asked = {f"{gpus} GPUs": (clips, gpus, costs, given.seed) for gpus in dict.fromkeys([*given.gpus, most])} | {
        f"{most}, nothing fails": (clips, most, never, given.seed),
        f"{most}, each lost every 6 h": (clips, most, worst, given.seed),
        f"{most}, a worker a GPU": (clips, most, costs, given.seed, 1),
        f"{most}, longest first": (sorted(clips, reverse=True), most, costs, given.seed),
        f"{most}, clips of 1 h": (hour, most, costs, given.seed),
    }
    with ProcessPoolExecutor(10) as pool:
        tried = dict(
            zip(asked, pool.map(simulated, *zip_longest(*asked.values(), fillvalue=WORKERS_A_GPU)), strict=True)
        )
    head = (
        "",
        "h",
        "full",
        "servers busy",
        "GPUs",
        "requests/s",
        "at most",
        "MB/s",
        "pieces/s",
        "lost",
        "GPUs cost",
        "requests",
    )
    rows = [
        [name, *(str(each[key]) for key in ("hours", "full_hours", "servers_busy", "gpus_busy", "requests_a_second",
                 "requests_a_second_at_most", "mb_a_second", "pieces_a_second", "lost_share")),
         f"{each['cost']['gpus']:.0f}", f"{each['cost']['requests']:.1f}"]
        for name, each in tried.items()
    ]  # fmt: skip
    print(text_table(head, rows))
    against = small(SMALL)
    print(json.dumps(against))
    record = {
        "bench": "scale", "command": command_line("bench.scale"), "machine": machine(), "clips": given.clips,
        "windows": sum(clips), "costs": {**dataclasses.asdict(costs)}, "simulated": tried, "small": against,
        "ratios": {
            "servers_busy_1000": {"value": tried["1000 GPUs"]["servers_busy"], "noise": 0.01, "better": "higher"}
        },
    }  # fmt: skip
    write_record(record, given.record)


if __name__ == "__main__":
    run_main(main)
