"""How long stages took in earlier runs on this machine, for the time that a plan foretells. It influences no result."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from msgspec import Meta, Struct

from storage.boundary import MB, parse, read_regular
from storage.durable import write_atomic
from storage.errors import EnvironmentFault
from storage.rundir import CommitLog, Manifest
from stream.options.config import RunConfig

FORMAT = 1
LEAST_WINDOWS = 2  # a single window is mostly warming up
# These grow with the picture; the models see every frame at their own size.
BY_PIXELS = ("decode", "generate", "blend", "sink")


@dataclass(frozen=True)
class Calibration:
    """Seconds by what was done: a frame, or a pixel of every frame (`BY_PIXELS`).

    Attributes:
        seconds: by key (`calibration_keys`).
    """

    seconds: Mapping[str, float] = field(default_factory=dict)


class Kept(Struct, frozen=True):
    """The file: what `Calibration` holds, as `record_calibration` writes it."""

    format: int
    seconds: dict[str, Annotated[float, Meta(ge=0, le=1e9)]]


def calibration_file() -> Path:
    """Where it lies: the platform's cache folder of this program."""
    import platformdirs

    return Path(platformdirs.user_cache_dir("skate-physics-preserver", appauthor=False)) / "calibration.json"


def calibration_keys(config: RunConfig) -> dict[str, str]:
    """For every stage of this run, under which name its time is kept: what its speed depends on."""
    made_by = f"{config.generator} {Path(config.workflow or 'default').name} {config.steps or 'default'} steps"
    by_stage = {
        "decode": "",
        "pose": f"{config.pose} {config.detector} every {config.detect_every} {config.device}",
        "track": f"{config.sam} {config.device}{' compiled' if config.sam_compile else ''}",
        "generate": made_by,
        "blend": "",
        "sink": "",
        "score": f"{config.sam} {config.device}{' compiled' if config.sam_compile else ''}",
    }
    if config.chain == "given":
        by_stage |= {"pose": "given", "track": "given"}
    return {stage: f"{stage} {by_stage[stage]}".strip() for stage in config.stages}


def expected_seconds(
    calibration: Calibration | None, config: RunConfig, manifest: Manifest, frames: int | None
) -> float | None:
    """Wall-clock seconds of a run of `frames` frames; decode runs beside the others. None where a stage is unknown."""
    keys = calibration_keys(config)
    if calibration is None or frames is None or not all(key in calibration.seconds for key in keys.values()):
        return None
    seconds = {stage: calibration.seconds[key] * frames * _units(stage, manifest) for stage, key in keys.items()}
    return max(seconds.pop("decode"), sum(seconds.values()))


def measured(log: CommitLog, config: RunConfig, manifest: Manifest) -> Calibration:
    """What this run's own journal says, for the stages that have done enough windows."""
    found = {}
    for stage, key in calibration_keys(config).items():
        records = log.of(stage)
        frames = sum(record["span"][1] - record["span"][0] for record in records)
        if len(records) >= LEAST_WINDOWS and frames:
            found[key] = sum(record["seconds"] for record in records) / (frames * _units(stage, manifest))
    return Calibration(found)


def _units(stage: str, manifest: Manifest) -> int:
    video: Mapping[str, Any] = manifest["video"]
    return int(video["width"]) * int(video["height"]) if stage in BY_PIXELS else 1


def read_calibration(path: Path | None = None) -> Calibration:
    """What earlier runs left; empty where there is none, or where it was left by another version or is damaged."""
    file = path or calibration_file()
    try:
        kept = parse(read_regular(file, MB), Kept, str(file), EnvironmentFault)
    except (OSError, EnvironmentFault):
        return Calibration()  # it is only a cache: the next run writes it anew
    return Calibration(kept.seconds if kept.format == FORMAT else {})


def record_calibration(log: CommitLog, config: RunConfig, manifest: Manifest, path: Path | None = None) -> None:
    """Keep this run's times for later plans; newer ones replace older ones.

    Raises:
        OSError: when the cache folder cannot be written.
    """
    found = measured(log, config, manifest)
    if not found.seconds:
        return
    file = path or calibration_file()
    merged = {**read_calibration(file).seconds, **found.seconds}
    file.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps({"format": FORMAT, "seconds": dict(sorted(merged.items()))}, indent=2) + "\n"
    write_atomic(file, text.encode())


def keep_times(log: CommitLog, config: RunConfig, manifest: Manifest, note: Callable[[str], None]) -> None:
    """`record_calibration`, where a cache folder that cannot be written is told and does not fail a finished run."""
    try:
        record_calibration(log, config, manifest)
    except OSError as error:
        note(f"{calibration_file()}: {error.strerror or error}: later plans will not know how long this run took")


def duration_text(seconds: float) -> str:
    """Seconds as "40 s", "12 min" or "3 h 20 min"."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02d} min"
