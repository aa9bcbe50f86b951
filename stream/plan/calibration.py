"""How long stages took in earlier runs on this machine, for the time that a plan foretells. It influences no result."""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

from msgspec import Meta, Struct

from stages.generator import GeneratorStage
from storage.boundary import MB, parse, read_regular
from storage.durable import write_atomic
from storage.errors import EnvironmentFault
from storage.rundir import CommitLog, Manifest
from stream.engine.chain import Node
from stream.options.config import RunConfig
from stream.options.recipes import wanted

FORMAT = 2
LEAST_WINDOWS = 2  # a single window is mostly warming up


Calibration = dict[str, float]
"""Seconds by what was done (`calibration_keys`): a frame, or a pixel of every frame where a stage's work grows with the
picture."""


class Kept(Struct, frozen=True):
    """The file, as `record_calibration` writes it."""

    format: int
    seconds: dict[str, Annotated[float, Meta(ge=0, le=1e9)]]


def calibration_file() -> Path:
    """Where it lies: the platform's cache folder of this program."""
    import platformdirs

    return Path(platformdirs.user_cache_dir("skate-physics-preserver", appauthor=False)) / "calibration.json"


def calibration_keys(config: RunConfig, nodes: Iterable[Node]) -> dict[str, str]:
    """For every node of this run, under which name its time is kept: what its speed depends on."""
    made_by = " ".join([config.generator, Path(config.workflow or "default").name, *config.model])
    sam = f"{config.sam} {config.device}{' compiled' if config.sam_compile else ''}"
    views = " through views" if config.track_view != "full" else ""
    by_stage = {
        "pose": f"{config.pose} {config.detector} every {config.detect_every} {config.device}",
        "look": sam,
        "track": sam + views,
        "occlusion": Path(config.amodal or "").name,
        "generate": made_by,
        "foot-lock": f"{config.pose} {config.device}",
        "score": sam + views,
    }
    if config.chain == "given":
        by_stage |= {"pose": "given", "track": "given"}
    # a node by its own name ("look" is a tracker), else as its stage ("generate-board" is a generator)
    return {
        node.name: f"{node.name} {by_stage.get(node.name, by_stage.get(node.stage.name, ''))}".strip() for node in nodes
    }


def expected_seconds(
    calibration: Calibration | None,
    config: RunConfig,
    manifest: Manifest,
    nodes: Sequence[Node],
    frames: int | None,
) -> float | None:
    """Wall-clock seconds of a run of `frames` frames. None where a stage is unknown."""
    seconds = node_seconds(calibration, config, manifest, nodes, frames)
    return None if seconds is None else together(seconds, config, nodes)


def node_seconds(
    calibration: Calibration | None,
    config: RunConfig,
    manifest: Manifest,
    nodes: Sequence[Node],
    frames: int | None,
) -> dict[str, float] | None:
    """Seconds that each node works on `frames` frames. None where a stage is unknown."""
    keys = calibration_keys(config, nodes)
    if calibration is None or frames is None or not all(key in calibration for key in keys.values()):
        return None
    return {node.name: calibration[keys[node.name]] * frames * _units(node, config, manifest) for node in nodes}


def together(seconds: Mapping[str, float], config: RunConfig, nodes: Sequence[Node]) -> float:
    """Wall-clock seconds of nodes that work so long each: decode runs beside the others, and with windows ahead our
    models beside the server."""
    beside = sum(seconds[node.name] for node in nodes if node.name == "decode")
    behind = [node for node in nodes if node.name != "decode"]
    if not config.windows_ahead:
        return max(beside, sum(seconds[node.name] for node in behind))
    ours = sum(seconds[node.name] for node in behind if node.stage.lane == "gpu")
    others = [seconds[node.name] / _side_by_side(node, config) for node in behind if node.stage.lane != "gpu"]
    return max(beside, ours, sum(others))


def _side_by_side(node: Node, config: RunConfig) -> int:
    """How many of its windows are made at a time; 1 where one needs the one before: where shots begin is not known."""
    if not isinstance(node.stage, GeneratorStage) or any(read.window < 0 for _, read in node.reads):
        return 1
    return min(node.stage.at_once, 1 + config.windows_ahead)


def measured(log: CommitLog, config: RunConfig, manifest: Manifest, nodes: Sequence[Node]) -> Calibration:
    """What this run's own journal says, for the stages that have done enough windows."""
    found = {}
    keys = calibration_keys(config, nodes)
    for node in nodes:
        records = log.of(node.name)
        frames = sum(record["span"][1] - record["span"][0] for record in records)
        if len(records) >= LEAST_WINDOWS and frames:
            seconds = sum(record["seconds"] for record in records)
            found[keys[node.name]] = seconds / (frames * _units(node, config, manifest))
    return found


def _units(node: Node, config: RunConfig, manifest: Manifest) -> int:
    """What a frame's time is proportional to: the source's pixels, and how often a generator's model is run."""
    video: Mapping[str, Any] = manifest["video"]
    pixels = int(video["width"]) * int(video["height"]) if node.stage.scales == "pixels" else 1
    generates = isinstance(node.stage, GeneratorStage) and node.stage.lane == "server"
    return pixels * (_runs(config) if generates else 1)


def _runs(config: RunConfig) -> int:
    """Runs of the model a window: steps, twice with guidance, as profile, `--steps` and `--cfg` have it."""
    from stages.recipes.registry import choose
    from stages.server.edit import evaluations

    return evaluations(choose(wanted(vars(config))).workflow, config.steps, config.cfg) or 1


def read_calibration(path: Path | None = None) -> Calibration:
    """What earlier runs left; empty where there is none, or where it was left by another version or is damaged."""
    file = path or calibration_file()
    try:
        kept = parse(read_regular(file, MB), Kept, str(file), EnvironmentFault)
    except (OSError, EnvironmentFault):
        return {}  # it is only a cache: the next run writes it anew
    return kept.seconds if kept.format == FORMAT else {}


def record_calibration(
    log: CommitLog, config: RunConfig, manifest: Manifest, nodes: Sequence[Node], path: Path | None = None
) -> None:
    """Keep this run's times for later plans; newer ones replace older ones.

    Raises:
        OSError: when the cache folder cannot be written.
    """
    found = measured(log, config, manifest, nodes)
    if not found:
        return
    file = path or calibration_file()
    merged = {**read_calibration(file), **found}
    file.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps({"format": FORMAT, "seconds": dict(sorted(merged.items()))}, indent=2) + "\n"
    write_atomic(file, text.encode())


def duration_text(seconds: float) -> str:
    """Seconds as "40 s", "12 min" or "3 h 20 min"."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02d} min"
