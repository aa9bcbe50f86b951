"""What finishing costs: CPU seconds of every node of a mini run, plain, with foot lock, with deflicker, and emptied.

    python -m bench.finishing [--frames 73] [--clip-size 640x360] [--repeats 3] [--record bench/records/finishing.json]

Four ways to run the demo clip in this process, in turns; each node's least seconds count (`bench.cpu`). Each feature's
nodes as a share of the CPU of the whole run that has it. Plates are `motion` and `plate`; what lays them in is
`generate` of `remove`.
"""

import argparse
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from bench._common import new_record, run_main, write_record
from bench.cpu import Seconds, bounded, by_way, rounded, tables
from stages.region import REMOVE
from stream.demo import DemoConfig
from stream.options.values import SIZE

WAYS: dict[str, dict[str, Any]] = {
    "plain": {"view": "full"},
    "foot lock": {"view": "full", "foot_lock": True},
    "deflicker": {"view": "full", "deflicker": 0.5},
    "remove": {"reskin": REMOVE, "generator": "plate"},
}
NODES = {"foot lock": ("foot-lock",), "deflicker": ("deflicker",), "remove": ("motion", "plate")}
MOST = 0.15


def shares(found: Mapping[str, Seconds]) -> dict[str, dict[str, Any]]:
    """What is promised, and whether it holds."""
    names = {way: "plates" if way == "remove" else way for way in NODES}
    return bounded(
        (names[way], sum(found[way][node] for node in nodes) / found[way]["run"], MOST) for way, nodes in NODES.items()
    )


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(prog="python -m bench.finishing", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--frames", type=int, default=73)
    parser.add_argument("--clip-size", type=SIZE.read, default=(640, 360))
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--record", type=Path, help="write the results there as JSON")
    options = parser.parse_args()
    width, height = options.clip_size
    with TemporaryDirectory() as folder:
        found = by_way(DemoConfig(options.frames, width, height), WAYS, Path(folder), options.repeats)
    judged = shares(found)
    print(tables(found, judged))
    settings = {"frames": options.frames, "repeats": options.repeats, "clip": f"demo {width}x{height}"}
    write_record(new_record("finishing", settings) | {"seconds": rounded(found), "ratios": judged}, options.record)


if __name__ == "__main__":
    run_main(main)
