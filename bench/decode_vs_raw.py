"""Our decoding, storing and reading back against raw PyAV and ffmpeg: the same file, a process each, in turns.

    python -m bench.decode_vs_raw --video clip.mp4 --frames 1200 --repeats 3 --record decode.json

Sides: `pyav` iterates over the file and converts each frame by `to_ndarray(format="rgb24")`, with as many threads as
libav and PyAV choose; `pyav one thread` converts with one thread, and libav chooses the decoder's; `pyav, our threads`
decodes with one thread and converts with one, in turns, by the calls of `DecodeStage`, whose conversion runs beside its
decoding. `ffmpeg` and `ffmpeg rgb24` are the program's null decodes. `decode` is `DecodeStage`, window by window;
`store` also commits each window to a run directory, durable, while the next one is decoded, and drops what a run drops;
`read` also reads every frame back. Seconds are from opening the file on; steady ones leave the first two windows out,
in which memory is touched for the first time.
"""

import argparse
import json
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import av

from bench._common import (
    Side,
    fastest,
    new_record,
    peak_rss_bytes,
    ratio,
    ratio_table,
    run_child,
    run_main,
    take_turns,
    timed,
    write_record,
)
from bench.clips import prepare_clip
from stages.base import Inputs, Window
from stages.decode import DecodeConfig, DecodeStage
from storage.rundir import Commit, RunDirectory
from stream.engine.ahead import DecodeAhead
from stream.engine.chain import Chain
from stream.engine.windows import WindowPlan
from stream.report.tables import text_table

BLOCK_FRAMES = 60
WARM_BLOCKS = 2  # both buffers of the decode stage are new in them
PLAN = WindowPlan(81, 21)
REAL_TIME_FPS = 30.0
LEAST_DECODE, LEAST_REAL_TIME = 0.9, 2.5
PEERS = ("pyav", "pyav one thread", "pyav, our threads", "ffmpeg", "ffmpeg rgb24")
OURS = ("decode", "store", "read")
COMPARED = (
    ("decode", "pyav", LEAST_DECODE),
    ("decode", "pyav one thread", None),
    ("decode", "pyav, our threads", None),
    ("decode", "ffmpeg", None),
    ("decode", "ffmpeg rgb24", None),
    ("store", "pyav", None),
    ("read", "pyav", None),
)

Blocks = list[tuple[int, float]]  # frames and seconds, in order


def raw_pyav(video: Path, threads: int | None = None, one_decodes: bool = False) -> Blocks:
    """The plain loop; `threads` of the conversion, None: PyAV's default. `one_decodes`: one thread, as in our stage."""
    blocks: Blocks = []
    begun, count = time.perf_counter(), 0
    with av.open(str(video)) as container:
        stream = container.streams.video[0]
        if one_decodes:
            stream.codec_context.thread_type, stream.codec_context.thread_count = "NONE", 1
        else:
            stream.thread_type = "AUTO"
        for picture in container.decode(stream):
            picture.to_ndarray(format="rgb24", threads=threads)
            count += 1
            if count == BLOCK_FRAMES:
                now = time.perf_counter()
                blocks.append((count, now - begun))
                begun, count = now, 0
    return [*blocks, (count, time.perf_counter() - begun)]


def our_decode(video: Path) -> Blocks:
    """The decode stage alone, window by window."""
    blocks: Blocks = []
    begun = time.perf_counter()
    with DecodeStage(DecodeConfig(video)) as stage:
        window: Window | None = None
        while window is None or not window.last:
            wanted = PLAN.after(window)
            output = stage.process(wanted, Inputs())
            window = PLAN.decoded(wanted, output.info)
            now = time.perf_counter()
            blocks.append((len(output.arrays["times"]), now - begun))
            begun = now
            del output  # as the plain loop keeps no frame
    return blocks


def our_store(video: Path, folder: Path, read_back: bool) -> Blocks:
    """Decode, commit and drop as a run does; with `read_back` every frame is read from the arrays once."""
    blocks: Blocks = []
    begun = time.perf_counter()
    with DecodeStage(DecodeConfig(video)) as stage:
        size = stage.properties
        with RunDirectory(folder / "run", Chain([stage]).layout(size.height, size.width), {}) as run:
            ahead = DecodeAhead(stage, PLAN, None)
            try:
                last = False
                while not last:
                    done = ahead.take()
                    index, span = done.window.index, done.window.new
                    output, state = done.worked.output, done.worked.state
                    count = len(output.arrays["times"])
                    run.commit(Commit("decode", index, span, output.arrays, {}, state, output.info))
                    last = done.window.last
                    del done, output  # its memory is for the window after the next
                    if read_back:
                        run.arrays.read("frames", *span)
                    run.drop(("frames",), max(0, span.start - 21))
                    now = time.perf_counter()
                    blocks.append((count, now - begun))
                    begun = now
            finally:
                ahead.close()
    return blocks


def ffmpeg_side(video: Path, to_rgb: bool) -> Side:
    """The program's null decode, start of the program included; `absent` where it is not installed."""
    program = shutil.which("ffmpeg")
    if program is None:
        return {"absent": "ffmpeg is not on the PATH: install it for this row"}
    rest = ["-pix_fmt", "rgb24", "-f", "rawvideo", "-y", os.devnull] if to_rgb else ["-f", "null", "-"]
    command = [program, "-nostdin", "-v", "error", "-i", str(video), "-map", "0:v:0", *rest]
    seconds = timed(lambda: subprocess.run(command, check=True))
    said = subprocess.run([program, "-version"], capture_output=True, text=True, check=True).stdout
    return {"seconds": seconds, "peak_rss_bytes": peak_rss_bytes(children=True), "version": said.splitlines()[0]}


def run_side(name: str, video: Path) -> Side:
    """One side in this process."""
    if name.startswith("ffmpeg"):
        return ffmpeg_side(video, to_rgb=name != "ffmpeg")
    with tempfile.TemporaryDirectory(prefix="skate-bench-") as folder:
        work: dict[str, Callable[[], Blocks]] = {
            "pyav": partial(raw_pyav, video),
            "pyav one thread": partial(raw_pyav, video, 1),
            "pyav, our threads": partial(raw_pyav, video, 1, one_decodes=True),
            "decode": partial(our_decode, video),
            "store": partial(our_store, video, Path(folder), False),
            "read": partial(our_store, video, Path(folder), True),
        }
        blocks = work[name]()
    frames, seconds = sum(count for count, _ in blocks), sum(spent for _, spent in blocks)
    steady = blocks[WARM_BLOCKS:] or blocks
    return {
        "frames": frames,
        "seconds": seconds,
        "fps": round(frames / seconds, 1),
        "steady_seconds_per_frame": sum(spent for _, spent in steady) / sum(count for count, _ in steady),
        "peak_rss_bytes": peak_rss_bytes(),
    }


def compare(clip: Path, repeats: int) -> dict[str, Any]:
    """Every side on one file; gives `sides`, `ratios` and, by side, why it is `absent`."""
    calls = {
        name: partial(run_child, "bench.decode_vs_raw", ["--side", name, "--video", str(clip)])
        for name in (*PEERS, *OURS)
    }
    runs = take_turns(calls, repeats)
    absent = {name: str(found[0]["absent"]) for name, found in runs.items() if "absent" in found[0]}
    ratios = {}
    for ours, peer, least in COMPARED:
        if peer not in absent:
            found = ratio(runs[ours], runs[peer])
            if peer.startswith("pyav"):
                found["steady"] = ratio(runs[ours], runs[peer], "steady_seconds_per_frame")["value"]
            ratios[f"{ours} / {peer}"] = bounded(found, least)
    sides = {name: fastest(found) for name, found in runs.items() if name not in absent}
    ratios[f"read / real time at {REAL_TIME_FPS:g} frames/s"] = _real_time(sides["read"], runs["read"])
    return {"sides": sides, "ratios": ratios, "absent": absent}


def _real_time(best: Side, runs: list[Side]) -> Side:
    """Decode + store + read-back against a clip of `REAL_TIME_FPS`."""
    steady = min(run["steady_seconds_per_frame"] for run in runs)
    found = {
        "value": round(best["frames"] / best["seconds"] / REAL_TIME_FPS, 3),
        "noise": round(best["spread"] / 2, 3),
        "better": "higher",
        "steady": round(1 / steady / REAL_TIME_FPS, 3),
    }
    return bounded(found, LEAST_REAL_TIME)


def bounded(found: Side, least: float | None) -> Side:
    """A ratio with the least that it must be, and whether it is."""
    return found if least is None else found | {"least": least, "holds": found["value"] >= least}


def table(found: dict[str, Any]) -> str:
    """Sides, then ratios, as text."""
    lines = [
        [name, f"{side['seconds']:.2f}", f"{side['spread']:.0%}", f"{side['peak_rss_bytes'] / 1e6:.0f}"]
        for name, side in found["sides"].items()
    ]
    sides = text_table(("side", "seconds", "spread", "peak RSS MB"), lines)
    return sides + "\n\n" + ratio_table(found["ratios"], found["absent"])


def main() -> None:
    """Command line; `--side` is how the bench calls itself."""
    parser = argparse.ArgumentParser(prog="python -m bench.decode_vs_raw", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--video", type=Path, help="default: the demo clip")
    parser.add_argument("--frames", type=int, default=1200, help="a shorter clip is repeated")
    parser.add_argument("--size", type=int, nargs=2, default=(1280, 720), help="of the demo clip: width height")
    parser.add_argument("--repeats", type=int, default=3, help="runs of every side; the fastest counts")
    parser.add_argument("--record", type=Path, help="write the results there as JSON")
    parser.add_argument("--side", choices=(*PEERS, *OURS), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.side is not None:
        print(json.dumps(run_side(options.side, options.video)))
        return
    with tempfile.TemporaryDirectory(prefix="skate-bench-") as folder:
        clip = prepare_clip(options.video, options.frames, tuple(options.size), Path(folder))
        found = compare(clip, options.repeats)
    print(table(found))
    settings = {
        "frames": options.frames,
        "video": options.video.name if options.video else "demo",
        "size": options.size,
    }
    write_record(new_record("decode_vs_raw", settings | {"repeats": options.repeats}) | found, options.record)


if __name__ == "__main__":
    run_main(main)
