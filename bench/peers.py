"""Every peer in one run: raw PyAV, ffmpeg, PNG folders, stock SAM 2.1, plain rtmlib.

    python -m bench.peers --record bench/records/peers.json
    python -m bench.peers --video clip.mp4 --track-frames 200 800 3200 --memory-limit 8GB --record peers.json

The same frames for both sides of a ratio, a process for every side, in turns; the fastest run counts, and the ratios of
single turns tell the noise. What each part measures stands in its own bench: `decode_vs_raw`, `png_vs_zarr`,
`track_vs_stock` (mini weights at 160x90, growing lengths until `--memory-limit` ends a side), `pose_vs_rtmlib` (random
weights at the real models' cost). Ends with 1 where a ratio that must hold does not.
"""

import argparse
import sys
import tempfile
from pathlib import Path
from typing import Any

from bench import decode_vs_raw, png_vs_zarr, pose_vs_rtmlib, track_vs_stock
from bench._common import must_exist, new_record, ratio_table, run_main, write_record
from bench.clips import prepare_clip

LEAST_REPEATS = 2  # of a single turn nothing can be said about noise
PARTS = ("decode", "handover", "track", "pose")


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Run the parts; gives each part's findings and, of all together, `ratios` and what was `absent`."""
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(prefix="skate-bench-") as name:
        folder = Path(name)
        if {"decode", "handover"} & set(options.parts):
            clip = prepare_clip(options.video, options.frames, tuple(options.size), folder)
            if "decode" in options.parts:
                found["decode"] = decode_vs_raw.compare(clip, options.repeats)
                print(decode_vs_raw.table(found["decode"]) + "\n", flush=True)
            if "handover" in options.parts:
                found["handover"] = png_vs_zarr.compare(clip, options.handover_frames, options.repeats)
                print(png_vs_zarr.table(found["handover"]) + "\n", flush=True)
    if "track" in options.parts:
        found["track"] = track_vs_stock.measure(_track_options(options))
    if "pose" in options.parts:
        found["pose"] = pose_vs_rtmlib.compare(_pose_options(options))
    ratios = {name: ratio for part in found.values() for name, ratio in part.pop("ratios").items()}
    return found | {"ratios": ratios, "absent": found.get("decode", {}).pop("absent", {})}


def _track_options(options: argparse.Namespace) -> argparse.Namespace:
    arguments = ["--frames", *map(str, options.track_frames), "--size", "160x90", "--image-size", "128"]
    arguments += ["--repeats", str(options.track_repeats)]
    if options.memory_limit is not None:
        arguments += ["--memory-limit", options.memory_limit]
    return track_vs_stock.parse_options(arguments)


def _pose_options(options: argparse.Namespace) -> argparse.Namespace:
    arguments = ["--frames", str(options.pose_frames), "--detect-every", *map(str, options.detect_every)]
    arguments += ["--repeats", str(max(LEAST_REPEATS, options.repeats))]
    for name in ("pose", "detector"):
        if (path := getattr(options, name)) is not None:
            arguments += [f"--{name}", str(path)]
    return pose_vs_rtmlib.parse_options(arguments)


def parse_options() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m bench.peers", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS), help="default: all")
    parser.add_argument("--video", type=Path, help="for decode and hand-over; default: the demo clip")
    parser.add_argument("--frames", type=int, default=1200, help="to decode; a shorter clip is repeated")
    parser.add_argument("--size", type=int, nargs=2, default=(1280, 720), help="of the demo clip: width height")
    parser.add_argument("--handover-frames", type=int, default=60, help="to write and read as PNG and Zarr")
    parser.add_argument("--repeats", type=int, default=3, help="runs of every side of decode, hand-over and pose")
    parser.add_argument("--track-frames", type=int, nargs="+", default=[200, 800], help="clip lengths, rising")
    parser.add_argument("--track-repeats", type=int, default=1)
    parser.add_argument("--memory-limit", help="end a tracker that takes more memory, e.g. 8GB")
    parser.add_argument("--pose-frames", type=int, default=6)
    parser.add_argument("--detect-every", type=int, nargs="+", default=[1, 3], help="frames from search to search")
    parser.add_argument("--pose", type=Path, help="an ONNX file; default: random weights at the real model's cost")
    parser.add_argument("--detector", type=Path)
    parser.add_argument("--record", type=Path, help="write the results there as JSON")
    return parser.parse_args()


def main() -> None:
    """Measure, print one table of all ratios, write the record."""
    options = parse_options()
    if options.video is not None:
        must_exist(options.video)
    found = measure(options)
    print(ratio_table(found["ratios"], found["absent"]))
    if (grown := found.get("track", {}).get("bytes_per_frame")) is not None:
        print(f"a further frame takes: stock SAM 2.1 {grown['stock']} bytes, streamed {grown['streamed']} bytes")
    settings = {name: value for name, value in vars(options).items() if name not in ("record", "video")}
    settings = {key: value.name if isinstance(value, Path) else value for key, value in settings.items()}
    settings["video"] = options.video.name if options.video else "demo"
    write_record(new_record("peers", settings) | found, options.record)
    unequal = [row for row in found.get("track", {}).get("lengths", []) if row["equal"] is False]
    if unequal or not all(ratio.get("holds", True) for ratio in found["ratios"].values()):
        sys.exit(1)


if __name__ == "__main__":
    run_main(main)
