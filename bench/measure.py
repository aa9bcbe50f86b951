"""One measured run: the clip, the probe around the pipeline, the record."""

import json
import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from bench.clocks import Clock
from bench.disk import working_bytes
from bench.lanes import bound, draw
from bench.lanes import watching as watching_lanes
from bench.machine import machine
from bench.plots import write_plots
from bench.probe import Probe, Sampler
from bench.summary import overhead, slopes, stage_rows
from stages.base import Array
from stages.decode import DecodeConfig, DecodeStage
from stages.server.address import parse_server
from stages.sink import EncoderSettings, write_segment
from storage.backend import open_store
from storage.durable import write_atomic
from storage.errors import EnvironmentFault, InputError, RunDirectoryError
from storage.rundir import is_run
from storage.spans import Span
from stream.demo import DemoConfig
from stream.demo.job import demo_config
from stream.options.config import RunConfig
from stream.options.settings import config_from_options, fetch_limits, local_video
from stream.options.versions import versions
from stream.progress.events import Listener
from stream.run.lifecycle import start

CUT_FRAMES = 60  # in memory at once while a clip is cut
CUT_CRF = 12
MARK = ".bench"  # in --out: the run beside it is a bench's own
SHARE_NOISE = 0.15  # of the overhead's share, from run to run on 2 cores


@dataclass(frozen=True)
class BenchClip:
    """What is run: a video's path or address, or "demo"; how many of its first frames (None: all); the demo's scene."""

    video: str
    frames: int | None
    size: tuple[int, int]
    seed: int


def run_bench(clip: BenchClip, out: Path, options: dict[str, Any], listener: Listener, command: str) -> dict[str, Any]:
    """Run the clip in `out`/run, measured, always anew; returns what it wrote to `out`/bench.json.

    Raises:
        RunDirectoryError: when `out`/run holds a run that no bench made.
        SkateError: as the run does. Nothing is measured then.
    """
    run = out / "run"
    refuse_others_run(out)
    config = _config(clip, run, options)  # before any folder is made: the video may not be there
    run.mkdir(parents=True, exist_ok=True)
    (out / MARK).touch()
    if is_run(run):
        _clear(run)
    _cap_vram(config)
    servers = [parse_server(server).http for server in config.server]
    clock, sampler = Clock(), Sampler(servers)
    last = "score" if config.judges else "sink" if config.generates else "track"
    begun = time.perf_counter()
    with sampler.running(), clock.watching(), watching_lanes(clock) as boxes:
        probe = Probe(listener, sampler, clock, boxes, last, lambda: working_bytes(run))
        result = start(config, run, listener=probe)
    wall = time.perf_counter() - begun
    spent = overhead(wall, clock.seconds(), clock.seconds(main=False), clock.computed, result.frames)
    record = {
        "bench": "run",
        "command": command,
        "machine": machine() | {"gpu": sampler.gpu.name, "gpu_bytes": sampler.gpu.total},
        "versions": versions(),
        "clip": without_folders(asdict(clip)),
        "config": without_folders(config.to_json()),
        "run": without_folders({name: value for name, value in result.to_json().items() if name != "failed_frames"}),
        "stages": stage_rows(probe.rows, wall),
        "bound": bound(boxes),
        "slopes": slopes(probe.rows),
        "overhead": spent,
        "ratios": {
            name: {"value": spent[name], "noise": SHARE_NOISE, "better": "lower"}
            for name in ("share_while_running", "engine_share_while_running")
        },
        "rows": [row.to_json() for row in probe.rows],
    }
    write_plots(probe.rows, out)
    draw(boxes, out / "lanes.png", bound(boxes))
    write_atomic(out / "bench.json", (json.dumps(record, indent=1) + "\n").encode())
    return record


def refuse_others_run(out: Path) -> None:
    """A bench deletes the run of the bench before it, and no other.

    Raises:
        RunDirectoryError: when there is a run that a bench did not make.
    """
    run = out / "run"
    if is_run(run) and not (out / MARK).exists() and not (out / "bench.json").exists():
        raise RunDirectoryError(f"{run} holds a run that no bench made: choose another --out")


def _clear(run: Path) -> None:
    """Delete what a run wrote, but not the clip that was fetched into it."""
    store = open_store(run)
    with store.lock():
        for child in run.iterdir():
            if child.name not in ("input", ".lock"):
                store.delete_all(child.name)
                store.delete(child.name)


def without_folders(values: Mapping[str, Any]) -> dict[str, Any]:
    """The values with paths of this machine cut down to their names: a record is shown to others."""
    paths = {name: Path(value).name for name, value in values.items() if isinstance(value, str) and os.sep in value}
    return {**values, **paths}


def _config(clip: BenchClip, run: Path, options: dict[str, Any]) -> RunConfig:
    if clip.video == "demo":
        assert clip.frames is not None  # the command gives the default
        demo = DemoConfig(frames=clip.frames, width=clip.size[0], height=clip.size[1], seed=clip.seed)
        return demo_config(demo, run, options)
    video = clip.video
    if clip.frames is not None:
        whole = Path(local_video(video, run, fetch_limits(dict(options))))
        video = str(cut_clip(whole, clip.frames, run / "input" / f"first{clip.frames}.mp4"))
    return config_from_options(video, "run", options, run)


def cut_clip(video: Path, frames: int, path: Path) -> Path:
    """The first frames of a video, encoded again at crf 12 with their times, as a clip of its own.

    Raises:
        InputError: when the video has fewer frames.
    """
    with DecodeStage(DecodeConfig(video)) as decode:
        properties = decode.properties
        times = np.concatenate([found for _, found in _pieces(decode, frames)])
    if len(times) < frames:
        raise InputError(f"{video}: has {len(times)} frames, --frames {frames} asks for more: leave --frames out")
    path.parent.mkdir(parents=True, exist_ok=True)
    settings = EncoderSettings(
        properties.width, properties.height, properties.colour, properties.claimed_fps, crf=CUT_CRF
    )
    with DecodeStage(DecodeConfig(video)) as decode:
        images = chain.from_iterable(images for images, _ in _pieces(decode, frames))
        write_segment(path, images, times, settings)
    return path


def _pieces(decode: DecodeStage, frames: int) -> Iterator[tuple[Array, Array]]:
    """Images and times of the first frames, a piece at a time."""
    for first in range(0, frames, CUT_FRAMES):
        found = decode.next(Span(first, min(frames, first + CUT_FRAMES)))
        yield found.frames, found.times
        if found.last:
            return


def _cap_vram(config: RunConfig) -> None:
    """Hold torch to --vram, so that a run that needs more fails as it would on a smaller GPU."""
    if config.device != "cuda" or config.vram is None:
        return
    import torch

    total = torch.cuda.get_device_properties(0).total_memory
    if config.vram > total:
        raise EnvironmentFault(f"--vram {config.vram} bytes: this GPU has {total}; give less")
    torch.cuda.set_per_process_memory_fraction(config.vram / total)
