"""After the last window: join the segments, judge, write the report, and declare the run finished."""

from pathlib import Path
from typing import Any

from stages.sink import join_segments
from storage.durable import file_sha256
from storage.rundir import RunDirectory
from stream.config import RunConfig
from stream.events import peak_rss_bytes, peak_vram_bytes
from stream.reporting import report_run


def finish_run(run: RunDirectory, config: RunConfig, frames: int, seconds: float) -> dict[str, Any]:
    """Write `output.mp4` and `report/`; returns the last line of the JSON contract (without its event).

    A run that is finished already is only reported again.
    """
    output = run.path / "output.mp4"
    if config.chain == "run" and run.log.finished is None:
        segments = [run.segments / record["info"]["segment"] for record in run.log.of("sink")]
        join_segments(segments, output, run.arrays.read("times", 0, frames))
    report = report_run(run.path, config)
    if run.log.finished is None:
        run.finish(_digests(run.path, config))
    return {
        "run": str(run.path),
        "frames": frames,
        "windows": len(run.log.of("decode")),
        "gate": report["gate"],
        "iou_mean": report["iou"]["mean"],
        "iou_p5": report["iou"]["p5"],
        "iou_min": report["iou"]["min"],
        "iou_min_frame": report["iou"]["min_frame"],
        "failed_frames": report["failed_frames"],
        "seconds": round(seconds, 3),
        "peak_rss_bytes": peak_rss_bytes(),
        "peak_vram_bytes": peak_vram_bytes(),
        "output": str(output) if config.chain == "run" else None,
    }


def _digests(path: Path, config: RunConfig) -> dict[str, str]:
    """sha256 of the finished files that hold results (the report's other files can be made again from these)."""
    names = ("output.mp4", "report/iou.csv") if config.chain == "run" else ("report/iou.csv",)
    return {name: file_sha256(path / name) for name in names}
