"""How far a run is, read from its journal while another process may be writing it."""

import dataclasses
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from storage.backend import open_store
from storage.boundary import visible
from storage.change import check_identity
from storage.journal import JOURNAL
from storage.next import NEXT
from storage.rundir import CommitLog, Manifest, read_log
from storage.verify import find_damage, journal_gone
from stream.engine.windows import committed_windows, shots_of
from stream.options.recorded import claimed_frames, read_run
from stream.run.reconcile import log_replaced, place_of

MOST_SHOTS = 20  # named in a line


@dataclasses.dataclass(frozen=True)
class Status:
    """A run's progress.

    Attributes:
        path: of the run. frames: decoded so far. windows: known so far, the claimed total (at the run's `--fps`) where
            the end is not reached. done: windows committed by stage. state: "running", "interrupted" or "done".
        damaged: what does not match its commit record (only looked for with `verify`).
        iou_mean, iou_min: over the frames scored so far, None before.
        frames_per_second: of the slowest stage so far, None before. seconds_left: estimate, None where unknown.
        shots: half-open spans, the last one as far as it is decoded.
        redo: windows that are being made again beside the run; it stands as it was until all of them are.
        unknown: whether the journal is gone that told what is there (likewise): then nothing can go on.
    """

    path: Path
    frames: int
    windows: int
    done: dict[str, int]
    state: str
    damaged: list[str]
    iou_mean: float | None
    iou_min: float | None
    frames_per_second: float | None
    seconds_left: float | None
    redo: tuple[int, ...] = ()
    shots: tuple[tuple[int, int], ...] = ()
    unknown: bool = False

    def to_json(self) -> dict[str, Any]:
        """The object of the JSON contract."""
        return {name: value for name, value in dataclasses.asdict(self).items() if name not in ("path", "unknown")}


def read_status(path: Path, verify: bool = False) -> Status:
    """The status of the run in `path`.

    Raises:
        RunDirectoryError: when there is no run, or its journal is damaged.
    """
    place = place_of(path)  # an `--overwrite` under way is what goes on
    below = "" if place == path else f"{NEXT}/"
    manifest, config = read_run(place)
    log = read_log(place)
    done = {stage: log.done(stage) for stage in manifest["nodes"]}
    decoded = log.of("decode")
    ended = bool(decoded) and decoded[-1]["info"]["last"]
    frames = decoded[-1]["span"][1] if decoded else 0
    claimed = claimed_frames(config, manifest["video"])
    known = committed_windows(log)
    windows = len(known) if ended or not claimed else len(known) + config.plan.left(known[-1:], claimed)
    iou = [value for record in log.of("score") for value in record["info"]["iou"] if value is not None]
    speed, left = _speed(log, tuple(manifest["nodes"]), windows)
    return Status(
        path=path,
        frames=frames,
        windows=windows,
        done=done,
        state=_state(path, log, ended and all(count == windows for count in done.values())),
        damaged=[below + name for name in _damaged(place, manifest, log, path)] if verify else [],
        iou_mean=sum(iou) / len(iou) if iou else None,
        iou_min=min(iou) if iou else None,
        frames_per_second=speed,
        seconds_left=left,
        redo=tuple(log.redo["windows"]) if log.redo is not None else (),
        shots=tuple(shots_of(known)),
        unknown=verify and journal_gone(open_store(place), log),
    )


def _state(path: Path, log: CommitLog, complete: bool) -> str:
    if complete and log.finished is not None and log.redo is None:
        return "done"
    return "running" if open_store(path).is_locked() else "interrupted"


def _damaged(path: Path, manifest: Manifest, log: CommitLog, out: Path) -> list[str]:
    """What does not match its record; of a run at work, only what still counts after it was looked at.

    Args:
        out: the run's directory, where `path` may be that of the run which is to take its place.

    Raises:
        RunDirectoryError: when `run.json` is not the one that the journal was written with.
    """
    check_identity(path, manifest, log)
    found = find_damage(path, log, log_replaced(path, out))
    if not open_store(path).is_locked():
        return found.paths()
    later = read_log(path)
    keys = {key for key in found.keys if key in later.writers and not later.is_forgotten(later.writers[key], key)}
    return [f"run.zarr/{key}" for key in sorted(keys)] + [f"segments/{name}" for name in sorted(found.segments)]


def _speed(log: CommitLog, stages: tuple[str, ...], windows: int) -> tuple[float | None, float | None]:
    """Frames per second through all stages but decode (which runs beside them), and the seconds left."""
    seconds, left, frames = 0.0, 0.0, 0
    for stage in stages[1:]:
        records = log.of(stage)
        if not records:
            return None, None
        spent = sum(record["seconds"] for record in records)
        frames = max(frames, records[-1]["span"][1])
        seconds += spent
        left += spent / len(records) * (windows - len(records))
    return (frames / seconds if seconds > 0 else None), left


def _listed(frames: Sequence[int]) -> str:
    """At most `MOST_SHOTS` numbers."""
    shown = ", ".join(map(str, frames[:MOST_SHOTS]))
    return shown if len(frames) <= MOST_SHOTS else f"{shown} and {len(frames) - MOST_SHOTS} more"


def status_text(status: Status) -> str:
    """The status for a person."""
    lines = [f"state     {status.state}", f"frames    {status.frames} decoded, {status.windows} windows"]
    if len(status.shots) > 1:
        lines.append(f"shots     {len(status.shots)}, from frames {_listed([start for start, _ in status.shots])}")
    lines += [f"{stage:<9} {count} of {status.windows} windows" for stage, count in status.done.items()]
    if status.iou_mean is not None:
        lines.append(f"IoU       mean {status.iou_mean:.4f}, min {status.iou_min:.4f}")
    if status.frames_per_second is not None:
        left = f", about {status.seconds_left:.0f} s left" if status.seconds_left and status.state != "done" else ""
        lines.append(f"speed     {status.frames_per_second:.2f} frames/s{left}")
    if status.redo:
        run = visible(shlex.quote(str(status.path)))
        lines.append(
            f"redo      of windows {', '.join(map(str, status.redo))}: `skate resume {run}` goes on, "
            f"`skate redo {run} --cancel` takes it back"
        )
    lines += [f"damaged   {visible(name)}" for name in status.damaged]
    if status.unknown:
        lines.append(f"next      put {JOURNAL} back, or start anew with --overwrite")
    elif status.damaged:
        when = " once the process at work in it has ended" if status.state == "running" else ""
        lines.append(f"next      `skate resume {visible(shlex.quote(str(status.path)))}` repairs it{when}")
    return "\n".join(lines)
