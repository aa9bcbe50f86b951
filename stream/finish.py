"""After the last window: join the segments, judge, write the report, and declare the run finished."""

from pathlib import Path
from typing import Any

import numpy as np

from stages.sink import join_segments
from storage.durable import file_sha256
from storage.rundir import RunDirectory
from stream.config import RunConfig
from stream.events import peak_rss_bytes, peak_vram_bytes
from stream.source import FrameSource
from stream.summary import gate_numbers


def finish_run(run: RunDirectory, config: RunConfig, frames: int, seconds: float, source: FrameSource) -> dict[str, Any]:
    """Write `output.mp4` and `report/`; returns the last line of the JSON contract (without its event).

    A run that is finished already is only reported again.
    """
    output = run.path / "output.mp4"
    iou = np.full(frames, np.nan, np.float32)
    if config.chain == "run":
        iou = run.arrays.read("iou", 0, frames)
    if run.log.finished is None:
        files = {}
        if config.chain == "run":
            segments = [run.segments / record["info"]["segment"] for record in run.log.of("sink")]
            join_segments(segments, output, run.arrays.read("times", 0, frames))
            files["output.mp4"] = file_sha256(output)
        files |= write_report(run, config, frames, source)
        run.finish(files)
    return {
        "run": str(run.path),
        "frames": frames,
        "windows": len(run.log.of("decode")),
        **gate_numbers(iou, config.iou_threshold),
        "seconds": round(seconds, 3),
        "peak_rss_bytes": peak_rss_bytes(),
        "peak_vram_bytes": peak_vram_bytes(),
        "output": str(output) if config.chain == "run" else None,
    }


def write_report(run: RunDirectory, config: RunConfig, frames: int, source: FrameSource) -> dict[str, str]:
    """Write `report/`; returns the sha256 of the files that a resumed run must reproduce."""
    folder = run.path / "report"
    folder.mkdir(exist_ok=True)
    return {}
