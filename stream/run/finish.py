"""After the last window: join the segments, judge, write the report, and declare the run finished."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from stages.sink import join_segments
from stages.subjects import OBJECT, PERSON
from storage.errors import RunDirectoryError
from storage.faults import fault_point
from storage.rundir import RunDirectory, RunReader
from stream.options.config import RunConfig
from stream.progress.memory import peak_rss_bytes, peak_vram_bytes
from stream.report.comparison import write_comparison
from stream.report.of_run import report_run
from stream.report.proof import PROOF
from stream.report.result import Result
from stream.report.summary import Presence

OUTPUT, COMPARISON, SCORES = "output.mp4", "comparison.mp4", "report/iou.csv"


def finish_run(run: RunDirectory, config: RunConfig, frames: int, seconds: float, home: Path) -> Result:
    """Write the videos and `report/`; returns how the run ended.

    A run that is finished already is only reported again; what is damaged of its finished files is made again, and must
    come out as it was.

    Args:
        home: where the run lies at the end.

    Raises:
        RunDirectoryError: when a file made again is not what the run was finished with.
    """
    recorded = run.log.finished["files"] if run.log.finished is not None else None
    videos = _videos(config, recorded)
    if recorded is None:
        _remove_leftovers(run, videos)
    _write_videos(run, config, frames, [name for name in videos if not _stands(run, name, recorded)])
    report = report_run(run.path, config, home.name)
    fault_point("finish.report")
    found = {name: _sha256(run, name) for name in (*videos, SCORES)}
    if recorded is not None:
        _check_results(run, found, recorded)
    if found != recorded:
        run.finish(found)
    subjects = {name: _told(found) for name, found in report.subjects.items()}
    return Result(
        run=home,
        frames=frames,
        windows=len(run.log.of("decode")),
        gate=report.gate,
        iou_mean=report.iou.mean,
        iou_p5=report.iou.p5,
        iou_min=report.iou.min,
        iou_min_frame=report.iou.min_frame,
        failed_frames=report.failed_frames,
        shots=report.shots,
        baselines=report.to_json()["baselines"],
        failed_by=report.failed_by,
        object_frames=subjects.get(OBJECT, {}).get("frames"),
        object_lost_frames=subjects.get(OBJECT, {}).get("lost_frames"),
        person_frames=subjects.get(PERSON, {}).get("frames"),
        subjects=subjects,
        bad_frames=report.bad_frames,
        claimed_frames=report.claimed_frames,
        cut_short=report.cut_short,
        seconds=round(seconds, 3),
        peak_rss_bytes=peak_rss_bytes(),
        peak_vram_bytes=peak_vram_bytes(),
        output=home / OUTPUT if config.generates else None,
        unmeasured=report.unmeasured,
    )


def _told(subject: Presence) -> dict[str, Any]:
    """What the last line says of a subject."""
    found: dict[str, Any] = {
        "frames": subject.visible_frames,
        "lost_frames": sum(stop - start for start, stop in subject.lost),
        "unlike_frames": sum(stop - start for start, stop in subject.unlike),
    }
    if subject.occluded is not None:
        found["occluded_frames"] = sum(stop - start for start, stop in subject.occluded)
    if subject.iou is not None:
        found |= {f"iou_{name}": getattr(subject.iou, name) for name in ("mean", "p5", "min")}
        found["failed_frames"] = subject.failed_frames
    return found


def _videos(config: RunConfig, recorded: Mapping[str, str] | None) -> list[str]:
    """Names of the videos that the finished run has; a comparison that it was finished with stays."""
    if not config.generates:
        return []
    return [OUTPUT, COMPARISON] if config.comparison or COMPARISON in (recorded or {}) else [OUTPUT]


def _remove_leftovers(run: RunDirectory, videos: Sequence[str]) -> None:
    """Delete the videos of a run with other options that was in this directory before, and the proof of a result that
    is there no more."""
    for name in {OUTPUT, COMPARISON, f"report/{PROOF}"} - set(videos):
        run.store.delete(name)


def _stands(run: RunDirectory, name: str, recorded: Mapping[str, str] | None) -> bool:
    """Whether the file is what the run was finished with."""
    return recorded is not None and name in recorded and run.store.digest(name, "sha256") == recorded[name]


def _sha256(run: RunDirectory, name: str) -> str:
    found = run.store.digest(name, "sha256")
    if found is None:
        raise RunDirectoryError(f"{run.store.where(name)} was written and cannot be read: `skate resume {run.path}`")
    return found


def _write_videos(run: RunDirectory, config: RunConfig, frames: int, names: Sequence[str]) -> None:
    if OUTPUT in names:
        segments = [run.store.path(f"segments/{record['info']['segment']}") for record in run.log.of("sink")]
        join_segments(segments, run.store.place(OUTPUT), run.arrays.read("times", 0, frames))
        fault_point("finish.joined")
    if COMPARISON in names:
        write_comparison(RunReader(run.path), config, run.store.place(COMPARISON))
    run.store.flush(names)


def _check_results(run: RunDirectory, found: Mapping[str, str], recorded: Mapping[str, str]) -> None:
    """Refuse results made again that are not what they were.

    The comparison shows results and is none: another version of the package that draws its captions may draw them
    otherwise.
    """
    for name in sorted((found.keys() | recorded.keys()) - {COMPARISON}):
        if found.get(name) != recorded.get(name):
            raise RunDirectoryError(
                f"{run.store.where(name)} made again is not what the run was finished with: the packages changed "
                "(versions in run.json); use those it was made with, or start anew with --overwrite"
            )
