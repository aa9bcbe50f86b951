"""Mutated videos through `skate run`: every one must end with exit code 0, 1 or 3, in time, without a traceback.

    python bench/fuzz_video.py --runs 200              the mini models: about 12 minutes of one core
    python bench/fuzz_video.py --runs 200 --small      a random SAM 2.1 of 128 px in place of the mini one

Prints a line a file that ends badly and writes bench/records/fuzz_video.json: a seed a run, how each ended, the longest
time and the highest memory. A run is repeated by its seed (`--first SEED --runs 1`). Exits 1 when any ended badly.
"""

import argparse
import json
import shutil
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from _crash import Case, make_case  # noqa: E402
from _fuzz import mutate, write_bases  # noqa: E402
from _zygote import Ended, Zygote  # noqa: E402

from stream.options.versions import versions  # noqa: E402

RECORD = ROOT / "bench" / "records" / "fuzz_video.json"
LIMIT_SECONDS = 90.0
MORE_MEMORY = 3 << 30  # address space beyond what the forked process has
GOOD = (0, 1, 3)


def wrong(ended: Ended) -> str | None:
    """What is wrong with how a run ended."""
    if ended.timed_out:
        return "hang"
    if "Traceback" in ended.output:
        return "traceback"
    return None if ended.code in GOOD else f"exit code {ended.code}"


def mini_case(case: Case) -> Case:
    """The same clip and options with the mini SAM 2.1 that ships in the package."""
    options = list(case.options)
    at = options.index("--sam")
    del options[at : at + 4]  # --sam, --sam-config and their values
    return Case(case.video, (*options, "--sam", "mini"))


def main() -> int:
    """Run them all, write the record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--first", type=int, default=1, help="the first seed")
    parser.add_argument("--frames", type=int, default=7)
    parser.add_argument("--small", action="store_true", help="a small random SAM 2.1")
    parser.add_argument("--record", type=Path, default=RECORD)
    given = parser.parse_args()
    codes: Counter[str] = Counter()
    runs: list[dict[str, Any]] = []
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="skate-fuzz-") as name, Zygote() as zygote:
        folder = Path(name)
        small = make_case(folder, frames=given.frames)
        case = small if given.small else mini_case(small)
        bases = write_bases(small.video, folder)
        for seed in range(given.first, given.first + given.runs):
            base = bases[seed % len(bases)]
            video = folder / f"mutated{base.suffix}"
            video.write_bytes(mutate(base.read_bytes(), seed))
            out = folder / f"run{seed}"
            arguments = Case(video, case.options).run(out)
            ended = zygote.run(arguments, limit=LIMIT_SECONDS, memory_bytes=MORE_MEMORY)
            shutil.rmtree(out, ignore_errors=True)
            verdict = wrong(ended)
            codes[verdict or str(ended.code)] += 1
            last = ended.output.splitlines()[-1] if ended.output.strip() else ""
            runs.append({"seed": seed, "code": ended.code, "seconds": ended.seconds, "rss": ended.peak_rss_bytes})
            if verdict is not None:
                runs[-1]["output"] = ended.output[-2000:]
                print(f"seed {seed} {base.suffix}: {verdict}: {last}", flush=True)
    bad = sum(count for what, count in codes.items() if what not in map(str, GOOD))
    record = {
        "command": " ".join(["python bench/fuzz_video.py", *sys.argv[1:]]),
        "runs": len(runs),
        "bad": bad,
        "ended": dict(sorted(codes.items())),
        "first_seed": given.first,
        "sam": "random" if given.small else "mini",
        "longest_seconds": max(run["seconds"] for run in runs),
        "peak_rss_bytes": max(run["rss"] for run in runs),
        "seconds": round(time.monotonic() - started, 1),
        "versions": versions(),
        "each": runs,
    }
    given.record.parent.mkdir(parents=True, exist_ok=True)
    given.record.write_text(json.dumps(record, indent=1) + "\n")
    print(", ".join(f"{key}: {record[key]}" for key in ("runs", "bad", "ended", "longest_seconds", "peak_rss_bytes")))
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
