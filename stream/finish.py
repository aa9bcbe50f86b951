"""After the last window: join the segments, judge, write the report, and declare the run finished."""

from pathlib import Path
from typing import Any

from stages.sink import join_segments
from storage.durable import file_sha256
from storage.errors import RunDirectoryError
from storage.faults import fault_point
from storage.rundir import RunDirectory
from storage.verify import same_file
from stream.config import RunConfig
from stream.events import peak_rss_bytes, peak_vram_bytes
from stream.reporting import report_run


def finish_run(run: RunDirectory, config: RunConfig, frames: int, seconds: float) -> dict[str, Any]:
    """Write `output.mp4` and `report/`; returns the last line of the JSON contract (without its event).

    A run that is finished already is only reported again; what is damaged of its finished files is made again, and must
    come out as it was.

    Raises:
        RunDirectoryError: when a file made again is not what the run was finished with.
    """
    output = run.path / "output.mp4"
    recorded = run.log.finished["files"] if run.log.finished is not None else None
    if config.generates and (recorded is None or not same_file(output, recorded["output.mp4"])):
        segments = [run.segments / record["info"]["segment"] for record in run.log.of("sink")]
        join_segments(segments, output, run.arrays.read("times", 0, frames))
        fault_point("finish.joined")
    report = report_run(run.path, config)
    fault_point("finish.report")
    found = _digests(run.path, config)
    if recorded is None:
        run.finish(found)
    elif found != recorded:
        wrong = next(name for name in sorted(found.keys() | recorded.keys()) if found.get(name) != recorded.get(name))
        raise RunDirectoryError(
            f"{run.path / wrong} made again is not what the run was finished with: the packages changed "
            "(versions in run.json); use those it was made with, or start anew with --overwrite"
        )
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
        "object_frames": report["object"]["visible_frames"],
        "seconds": round(seconds, 3),
        "peak_rss_bytes": peak_rss_bytes(),
        "peak_vram_bytes": peak_vram_bytes(),
        "output": str(output) if config.generates else None,
    }


def _digests(path: Path, config: RunConfig) -> dict[str, str]:
    """sha256 of the finished files that hold results (the report's other files can be made again from these)."""
    names = ("output.mp4", "report/iou.csv") if config.generates else ("report/iou.csv",)
    return {name: file_sha256(path / name) for name in names}
