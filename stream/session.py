"""A run from the first option to the last byte: identity, directory, pipeline, verdict."""

import dataclasses
import hashlib
import importlib.metadata
import json
from pathlib import Path
from typing import Any

from stages.decode import DecodeStage
from storage.durable import file_sha256, write_atomic
from storage.errors import EnvironmentFault, InputError, RunDirectoryError
from storage.rundir import FORMAT_VERSION, Manifest, RunDirectory, clear_run, read_manifest
from stream.assembly import Models, build_stages, decode_config, resolve_models
from stream.config import CHAIN, Difference, RunConfig, config_digest, differences, first_affected
from stream.events import Reporter, Stopwatch, make_reporter
from stream.finish import finish_run
from stream.pipeline import Pipeline
from stream.source import FrameSource

PACKAGES = ("torch", "sam2", "rtmlib", "onnxruntime", "onnxruntime-gpu", "av", "numpy", "opencv-python-headless", "zarr")

Decisive = dict[str, tuple[str, Any]]


def versions() -> dict[str, str]:
    """Versions of this program and of the packages that compute, those that are installed."""
    found = {"skate-physics-preserver": _version("skate-physics-preserver") or "unknown"}
    found |= {name: version for name in PACKAGES if (version := _version(name)) is not None}
    return found


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def input_identity(video: Path) -> dict[str, Any]:
    """Size in bytes and sha256 of the input: a file of another name with the same bytes is the same input.

    Raises:
        InputError: when it cannot be read.
    """
    try:
        return {"bytes": video.stat().st_size, "sha256": file_sha256(video)}
    except OSError as error:
        raise InputError(f"{video}: cannot be read ({error.strerror})") from error


def make_manifest(config: RunConfig, models: Models) -> Manifest:
    """What `run.json` holds: config, digest, identities of input and models, the video's properties, versions."""
    decisive: Decisive = dict(config.decisive())
    decisive["input"] = ("decode", input_identity(Path(config.video)))
    decisive |= models.decisive()
    if config.reference is not None:
        decisive["reference"] = ("generate", _file_digest("--reference", config.reference))
    if config.workflow is not None:
        decisive["workflow"] = ("generate", _file_digest("--workflow", config.workflow))
    decisive = json.loads(json.dumps(decisive))
    with DecodeStage(decode_config(config)) as decode:
        properties = dataclasses.asdict(decode.properties)
    return {
        "format": FORMAT_VERSION,
        "config": config.to_json(),
        "config_digest": config_digest(decisive),
        "decisive": decisive,
        "video": json.loads(json.dumps(properties)),
        "versions": versions(),
    }


def _file_digest(option: str, path: str) -> str:
    try:
        return hashlib.sha256(Path(path).read_bytes()).hexdigest()
    except OSError as error:
        raise InputError(f"{option} {path}: cannot be read ({error.strerror})") from error


def start(config: RunConfig, out: Path, overwrite: bool = False, as_json: bool = False) -> dict[str, Any]:
    """Begin a run in `out`, or continue the one that is there with the same config; returns the summary.

    Raises:
        RunDirectoryError: when `out` holds a run with another config and `overwrite` is not given.
    """
    models = resolve_models(config)
    manifest = make_manifest(config, models)
    if (out / "run.json").exists():
        _reconcile(out, manifest, overwrite)
    elif out.exists() and any(child.name not in ("input", ".lock") for child in out.iterdir()):
        raise RunDirectoryError(f"{out} is not empty and is no run directory: choose another --out")
    return _drive(config, models, manifest, out, as_json)


def resume(out: Path, as_json: bool = False, changes: dict[str, Any] | None = None) -> dict[str, Any]:
    """Continue the run in `out` with the config it was begun with; `changes` may replace options that change no result."""
    manifest = read_manifest(out)
    config = dataclasses.replace(RunConfig.from_json(manifest["config"]), **(changes or {}))
    models = resolve_models(config)
    _refuse(out, differences(manifest["decisive"], make_manifest(config, models)["decisive"]))
    return _drive(config, models, manifest, out, as_json)


def _refuse(out: Path, found: list[Difference]) -> None:
    if found:
        raise RunDirectoryError(
            f"{out} holds a run with another config or input ({'; '.join(map(str, found))}): choose another --out, "
            "or --overwrite to do again what depends on it"
        )


def _reconcile(out: Path, manifest: Manifest, overwrite: bool) -> None:
    """Make the existing run fit the manifest, or refuse."""
    try:
        old = read_manifest(out)
    except RunDirectoryError:
        if not overwrite:
            raise
        clear_run(out)
        return
    found = differences(old["decisive"], manifest["decisive"])
    if found and not overwrite:
        _refuse(out, found)
    if not found:
        return
    since = first_affected(found)
    if since == CHAIN[0]:
        clear_run(out)
        return
    config = RunConfig.from_json(manifest["config"])
    with open_run(config, manifest, out) as run:
        for stage in CHAIN[CHAIN.index(since) :] if since in CHAIN else ():
            run.revoke(stage, 0)
        write_atomic(out / "run.json", json.dumps(manifest, indent=2, sort_keys=True).encode() + b"\n")


def open_run(config: RunConfig, manifest: Manifest, out: Path) -> RunDirectory:
    """The run directory of this config, locked."""
    video = manifest["video"]
    return RunDirectory(out, config.plan.chunk_frames, video["height"], video["width"], manifest)


def _drive(config: RunConfig, models: Models, manifest: Manifest, out: Path, as_json: bool) -> dict[str, Any]:
    """Open everything, run the pipeline, finish."""
    watch = Stopwatch()
    reporter = make_reporter(as_json)
    try:
        with open_run(config, manifest, out) as run:
            stages = build_stages(config, models, manifest, out, reporter)
            source = FrameSource(run.arrays, run.log, decode_config(config))
            _announce(reporter, run, config, manifest)
            frames = Pipeline(run, stages, config.plan, source, reporter, config.keep).process()
            summary = finish_run(run, config, frames, watch.seconds)
    except OSError as error:
        raise EnvironmentFault(
            f"{error.filename or out}: {error.strerror or error}: free space or mend access, then `skate resume {out}`"
        ) from error
    finally:
        reporter.close()
    return summary


def _announce(reporter: Reporter, run: RunDirectory, config: RunConfig, manifest: Manifest) -> None:
    claimed = manifest["video"].get("claimed_frames")
    windows = config.plan.count(claimed) if claimed else None
    done = {stage: run.log.done(stage) for stage in config.stages}
    if config.chain == "run":
        reporter.note(f"generator: {config.generator}" + (f" at {', '.join(config.server)}" if config.server else ""))
    if any(done.values()):
        reporter.note(f"continuing: windows done by stage: {', '.join(f'{k} {v}' for k, v in done.items())}")
    reporter.start(windows, config.stages, done)
