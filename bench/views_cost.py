"""What views cost: CPU seconds of every node of a mini run, without views, with the generator's, with tracking's.

    python -m bench.views_cost [--frames 73] [--clip-size 640x360] [--repeats 3] [--record FILE]

Three ways to run the handheld demo clip in this process, in turns; each node's least seconds count (`bench.cpu`):

    plain     --view full
    view      --view follow --stabilise 30
    track     --view full --track-view follow

Seconds are those of the thread that carries a node's work out: other work on the machine hardly counts. The
generator's view costs what `aim`, `motion` and `view` take, and what generating and compositing take more than
in `plain`, as a share of the CPU of the whole run; tracking through views what `look`, `closer` and `track` take
more than `track` in `plain`, the pass through views what `track` alone takes more.
"""

import argparse
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from bench._common import new_record, run_main, write_record
from bench.cpu import Seconds, bounded, by_way, rounded, tables
from stream.demo import DemoConfig
from stream.options.values import SIZE

WAYS: dict[str, dict[str, Any]] = {
    "plain": {"view": "full"},
    "view": {"view": "follow", "stabilise": 30},
    "track": {"view": "full", "track_view": "follow"},
}
LOOKING, SHOWING, FOLLOWING = ("aim", "motion", "view"), ("generate", "composite"), ("look", "closer", "track")
MOST_VIEW, MOST_TRACK = 0.15, 0.60


def shares(found: Mapping[str, Seconds]) -> dict[str, dict[str, Any]]:
    """What is promised, and whether it holds."""
    plain, view, track = (found[name] for name in WAYS)
    more = sum(view[name] for name in LOOKING) + sum(view[name] - plain[name] for name in SHOWING)
    looked = sum(track[name] for name in FOLLOWING)
    values = (
        ("the generator's view, of the run", more / view["run"], MOST_VIEW),
        ("tracking through views, more than tracking", looked / plain["track"] - 1, MOST_TRACK),
        ("the pass through views, more than tracking", track["track"] / plain["track"] - 1, MOST_TRACK),
    )
    return bounded(values)


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(prog="python -m bench.views_cost", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--frames", type=int, default=73)
    parser.add_argument("--clip-size", type=SIZE.read, default=(640, 360))
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--record", type=Path, help="write the results there as JSON")
    options = parser.parse_args()
    width, height = options.clip_size
    with TemporaryDirectory() as folder:
        found = by_way(
            DemoConfig(options.frames, width, height, camera="handheld"), WAYS, Path(folder), options.repeats
        )
    judged = shares(found)
    print(tables(found, judged))
    settings = {"frames": options.frames, "repeats": options.repeats, "clip": f"demo {width}x{height} handheld"}
    write_record(new_record("views_cost", settings) | {"seconds": rounded(found), "ratios": judged}, options.record)


if __name__ == "__main__":
    run_main(main)
