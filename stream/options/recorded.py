"""What `run.json` says about a run, checked: it may come from another version, a damaged disk, or somebody else."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

from msgspec import Meta, Struct

from storage.address import BucketPath
from storage.backend import open_store
from storage.boundary import convert, printable
from storage.errors import InputError, RunDirectoryError, UsageError
from storage.layout import Stage
from storage.manifest import MANIFEST, MAX_SIDE
from storage.next import finish_switch
from storage.rundir import Manifest, read_manifest
from stream.options.config import SINCE, RunConfig

LEAST_FRAME_BYTES = 8  # no codec's frame, with its entry in the container's index, is smaller: bounds lying headers
INPUT = "input"  # of a run directory: what was rendered or fetched for it
Side = Annotated[int, Meta(ge=1, le=MAX_SIDE)]
Code = Annotated[int, Meta(ge=0, le=255)]  # of ITU-T H.273
Seconds = Annotated[float, Meta(ge=-1e30, le=1e30)]  # 2^63 ticks of 2^31 s are less: whatever a header claims


class Video(Struct, frozen=True):
    """What is read of the video's properties."""

    width: Side
    height: Side
    claimed_fps: Annotated[float, Meta(gt=0, le=1e6)]
    claimed_frames: Annotated[int, Meta(ge=0)] | None
    sample_aspect_ratio: tuple[Annotated[int, Meta(ge=1)], Annotated[int, Meta(ge=1)]]
    colour_matrix: Code
    colour_range: Code
    colour_primaries: Code
    colour_transfer: Code
    source: tuple[Side, Side] | None = None
    claimed_seconds: Seconds | None = None


class Written(Struct, frozen=True):
    """What is read of `run.json`; `decisive` is by name since which stage it counts, and its
    value; `nodes` are the names of the chain's, `own` of those whose stages a caller put there."""

    config_digest: str
    nodes: list[Stage]
    versions: dict[str, str]
    decisive: dict[str, tuple[str, Any]]
    video: Video
    config: dict[str, Any]
    own: list[Stage] = []
    threads: Annotated[int, Meta(ge=1, le=4096)] | None = None


def read_run(out: Path, home: Path | None = None) -> tuple[Manifest, RunConfig]:
    """The manifest and the config of the run in `out`.

    Args:
        home: the run's own directory, where `out` is that of a new run below it.

    Raises:
        RunDirectoryError: when there is no run, or what is there is none that this program wrote.
    """
    finish_switch(out)
    manifest = read_manifest(out)
    file, remedy = open_store(out).where(MANIFEST), "nothing that this program wrote; start anew with --overwrite"
    written = convert(manifest, Written, file, RunDirectoryError, remedy)
    since = next((stage for stage, _ in written.decisive.values() if stage not in SINCE), None)
    if since is not None:
        raise RunDirectoryError(f"{file}: decisive: {printable(since, 40)} is no stage: {remedy}")
    try:
        config = RunConfig.from_json(written.config, f"{file}: config")
        return manifest, replace(config, video=_found(home or out, config.video))
    except InputError as error:
        raise RunDirectoryError(f"{error}: {remedy}") from error
    except UsageError as error:  # options not taken here: a generator or metric of another version, or one's own
        remedy = "go on with the version or program that it was begun with, or start anew with --overwrite"
        raise RunDirectoryError(f"{file}: config: {error}: {remedy}") from error


def claimed_frames(config: RunConfig, video: Mapping[str, Any], file_bytes: int | None = None) -> int | None:
    """Frames of the clip as the header claims, by their count or by its duration, resampled to `--fps`; at most what a
    file of this size can hold.

    Args:
        video: of the manifest. file_bytes: None where the file is not looked at.
    """
    timed = max(0.0, video.get("claimed_seconds") or 0.0) * float(video["claimed_fps"])
    claimed = video.get("claimed_frames") or round(timed)
    if not claimed:
        return None
    frames = int(claimed) if file_bytes is None else min(int(claimed), max(1, file_bytes // LEAST_FRAME_BYTES))
    return max(1, round(frames * config.fps / float(video["claimed_fps"]))) if config.fps else frames


def _found(out: Path, video: str) -> str:
    """Where the video is now: what was rendered or fetched into the run's own folder moves with it."""
    if isinstance(out, BucketPath) or Path(video).parent.name != INPUT or Path(video).exists():
        return video
    beside = open_store(out).path(f"{INPUT}/{Path(video).name}")
    return str(beside.absolute()) if beside.is_file() else video
