"""Does memory grow with the clip? Peak RSS and peak working disk of the demo at two lengths.

    python -m bench.flat [--short 402] [--long 2010] [--record bench/records/flat.json] [demo options ...]

Each length runs in a process of its own. Working disk is what a run drops again (`bench.disk`).
"""

import argparse
import json
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from bench._common import new_record, run_main, write_record
from bench.disk import working_bytes

MOST_RATIO = 1.10
POLL_SECONDS = 0.02  # a raw window lies on the disk only until it is blended, a fraction of a second


def measure(frames: int, folder: Path, options: list[str]) -> dict[str, Any]:
    """Run the demo at one length; returns frames, seconds, peak RSS and peak working disk in bytes."""
    run = folder / f"run{frames}"
    command = [sys.executable, "-m", "stream.cli", "demo", "--json", "--out", str(run), "--frames", str(frames)]
    peak = 0
    done = threading.Event()

    def watch() -> None:
        nonlocal peak
        while not done.is_set():
            peak = max(peak, working_bytes(run))
            time.sleep(POLL_SECONDS)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        finished = subprocess.run([*command, *options], capture_output=True, text=True, check=False)
    finally:
        done.set()
        watcher.join()
    if finished.returncode not in (0, 1):
        raise SystemExit(f"the demo of {frames} frames ended with {finished.returncode}: {finished.stderr[-2000:]}")
    last = json.loads(finished.stdout.splitlines()[-1])
    return {
        "frames": frames,
        "seconds": last["seconds"],
        "peak_rss_bytes": last["peak_rss_bytes"],
        "peak_working_disk_bytes": peak,
    }


def main() -> None:
    """Measure both lengths, print the ratios, exit 1 when one is above 1.10."""
    parser = argparse.ArgumentParser(prog="python -m bench.flat", description=__doc__.splitlines()[0])
    parser.add_argument("--short", type=int, default=402)
    parser.add_argument("--long", type=int, default=2010)
    parser.add_argument("--record", type=Path, help="write the measurement there, as JSON")
    chosen, options = parser.parse_known_args()
    with tempfile.TemporaryDirectory() as folder:
        short, long = (measure(frames, Path(folder), options) for frames in (chosen.short, chosen.long))
    ratios = {name: long[name] / max(1, short[name]) for name in ("peak_rss_bytes", "peak_working_disk_bytes")}
    settings = {"short": chosen.short, "long": chosen.long, "options": options}
    measured = {"short": short, "long": long, "bound": MOST_RATIO}
    stated = {name: {"value": value, "noise": 0.0, "better": "lower"} for name, value in ratios.items()}
    record = new_record("flat", settings) | measured | {"ratios": stated}
    print(json.dumps(record, indent=2))
    write_record(record, chosen.record)
    sys.exit(0 if max(ratios.values()) <= MOST_RATIO else 1)


if __name__ == "__main__":
    run_main(main)
