"""A run from the first option to the last byte: identity, directory, pipeline, verdict."""

import dataclasses
import hashlib
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from stages._sam.prompts import PromptSchedule
from stages.base import Stage
from stages.decode import DecodeStage
from stages.prompts import check_box_inside
from storage.errors import InputError, RunDirectoryError
from storage.rundir import (
    FORMAT_VERSION,
    Manifest,
    ManifestDamaged,
    RunDirectory,
    clear_run,
    read_log,
    read_manifest,
    write_manifest,
)
from stream.engine.signals import InterruptShield
from stream.engine.source import FrameSource, InputGuard
from stream.engine.steps import Steps
from stream.options.assembly import Models, build_stages, decode_config, finishing_stages, resolve_models
from stream.options.config import CHAIN, Difference, RunConfig, config_digest, differences, first_affected
from stream.options.recorded import read_run
from stream.options.versions import versions
from stream.pipeline import Pipeline, Retry
from stream.plan.calibration import record_calibration
from stream.plan.projection import announce_plan
from stream.progress.events import Reporter, Stopwatch, make_reporter
from stream.run.attempts import ClosedLoop
from stream.run.finish import finish_run
from stream.run.repair import repair_run
from stream.run.trouble import clear_lines

Decisive = dict[str, tuple[str, Any]]


def make_manifest(config: RunConfig, models: Models, guard: InputGuard) -> Manifest:
    """What `run.json` holds: config, digest, identities of input and models, the video's properties, versions."""
    decisive: Decisive = dict(config.decisive())
    decisive["input"] = ("decode", {"bytes": guard.bytes, "sha256": guard.sha256})
    decisive |= models.decisive()
    if config.reference is not None:
        decisive["reference"] = ("generate", _file_digest("--reference", config.reference))
    if config.workflow is not None:
        decisive["workflow"] = ("generate", _file_digest("--workflow", config.workflow))
    if config.chain == "given":
        decisive["given masks"] = ("track", _tree_digest("--masks", str(config.masks)))
        decisive["given pose"] = ("pose", _tree_digest("--pose", str(config.pose_file)))
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


def _check_prompts(config: RunConfig, manifest: Manifest) -> None:
    """Refuse prompts that do not fit the frame before anything is written or loaded."""
    height, width = manifest["video"]["height"], manifest["video"]["width"]
    PromptSchedule(config.prompt, config.correct).check_inside(height, width)
    if config.person_box is not None:
        check_box_inside("--person-box", config.person_box, width, height)


def _file_digest(option: str, path: str) -> str:
    try:
        return hashlib.sha256(Path(path).read_bytes()).hexdigest()
    except OSError as error:
        raise InputError(f"{option} {path}: cannot be read ({error.strerror})") from error


def _tree_digest(option: str, path: str) -> str:
    """One digest over a file, or over the names and contents of a folder's files."""
    if not Path(path).is_dir():
        return _file_digest(option, path)
    total = hashlib.sha256()
    for file in sorted(Path(path).iterdir()):
        if file.is_file():
            total.update(f"{file.name} {_file_digest(option, str(file))}\n".encode())
    return total.hexdigest()


def start(
    config: RunConfig, out: Path, overwrite: bool = False, as_json: bool = False, reporter: Reporter | None = None
) -> dict[str, Any]:
    """Begin a run in `out`, or continue the one that is there with the same config; returns the summary.

    Args:
        reporter: told how it goes on, in place of the one that `as_json` and the terminal ask for.

    Raises:
        RunDirectoryError: when `out` holds a run with another config and `overwrite` is not given.
    """
    with clear_lines(out), InterruptShield().installed() as interrupts:
        models = resolve_models(config)
        guard = InputGuard(Path(config.video))
        manifest = make_manifest(config, models, guard)
        _check_prompts(config, manifest)
        _reconcile(out, manifest, overwrite)
        session = Session(config, models, manifest, guard, out, interrupts)
        return _drive(session, reporter or make_reporter(as_json))


def continue_or_begin(
    config: RunConfig, out: Path, overwrite: bool, as_json: bool, prepare: Callable[[Manifest], None]
) -> dict[str, Any]:
    """Like `start`, but a new run directory is first made by `prepare(manifest)`, with others' tracking in it."""
    with clear_lines(out), InterruptShield().installed() as interrupts:
        models = resolve_models(config)
        guard = InputGuard(Path(config.video))
        manifest = make_manifest(config, models, guard)
        if (out / "run.json").exists():
            _reconcile(out, manifest, overwrite)
        else:
            prepare(manifest)
        return _drive(Session(config, models, manifest, guard, out, interrupts), make_reporter(as_json))


def resume(
    out: Path, as_json: bool = False, changes: dict[str, Any] | None = None, prepare: "Prepare | None" = None
) -> dict[str, Any]:
    """Continue the run in `out` with the config it was begun with.

    Args:
        changes: options that change no result, by their `RunConfig` names.
        prepare: called with the locked, mended run before it goes on (`skate redo`).
    """
    with clear_lines(out), InterruptShield().installed() as interrupts:
        manifest, begun = read_run(out)
        config = dataclasses.replace(begun, **(changes or {}))
        models = resolve_models(config)
        guard = InputGuard(Path(config.video))
        _refuse(out, differences(manifest["decisive"], make_manifest(config, models, guard)["decisive"]))
        return _drive(Session(config, models, manifest, guard, out, interrupts), make_reporter(as_json), prepare)


def _refuse(out: Path, found: list[Difference]) -> None:
    if found:
        raise RunDirectoryError(
            f"{out} holds a run with another config or input ({'; '.join(map(str, found))}): choose another --out, "
            "or --overwrite to do again what depends on it"
        )


def _reconcile(out: Path, manifest: Manifest, overwrite: bool) -> None:
    """Make what is in `out` fit the manifest, or refuse; nothing happens where there is nothing."""
    try:
        old, _ = read_run(out)
    except ManifestDamaged:
        _restore_manifest(out, manifest, overwrite)
        return
    except RunDirectoryError:
        if not overwrite:
            raise
        clear_run(out)
        return
    found = differences(old["decisive"], manifest["decisive"])
    if found and not overwrite:
        _refuse(out, found)
    if not found:
        if old["config"] != manifest["config"]:  # another path of the same input, servers, retries, ...
            with open_run(RunConfig.from_json(manifest["config"]), old, out) as run:
                run.rewrite_manifest({**old, "config": manifest["config"]})
        return
    since = first_affected(found)
    if since == CHAIN[0]:
        clear_run(out)
        return
    config = RunConfig.from_json(manifest["config"])
    with open_run(config, old, out) as run:
        run.revoke(CHAIN[CHAIN.index(since) :] if since in CHAIN else (), 0)
        run.rewrite_manifest(manifest)


def _restore_manifest(out: Path, manifest: Manifest, overwrite: bool) -> None:
    """`run.json` is missing or damaged: the journal knows whether it was of this config."""
    if not (out / "run.json").exists():
        if not out.exists() or all(child.name in ("input", ".lock") for child in out.iterdir()):
            return
        if not (out / "journal.jsonl").exists():
            raise RunDirectoryError(f"{out} is not empty and is no run directory: choose another --out")
    digest = read_log(out).config_digest if not overwrite else None
    if digest is not None and digest == manifest["config_digest"]:
        write_manifest(out, manifest)
    elif overwrite:
        write_manifest(out, manifest)
        clear_run(out)
    elif digest is not None:
        raise RunDirectoryError(
            f"{out / 'run.json'} is missing or damaged, and the run was begun with other options (config digest "
            f"{digest[:12]}, now {manifest['config_digest'][:12]}): give those, or start anew with --overwrite"
        )
    else:
        read_manifest(out)  # says what is wrong with it


def open_run(config: RunConfig, manifest: Manifest, out: Path) -> RunDirectory:
    """The run directory of this config, locked."""
    video = manifest["video"]
    return RunDirectory(out, config.plan.chunk_frames, video["height"], video["width"], manifest)


@dataclasses.dataclass(frozen=True)
class Session:
    """What a run works with: config, weights, manifest, input, directory, and the handler of interruptions."""

    config: RunConfig
    models: Models
    manifest: Manifest
    guard: InputGuard
    out: Path
    interrupts: InterruptShield

    def stages(self, reporter: Reporter, config: RunConfig | None = None) -> list[Stage]:
        """The stages, closed; of another config of generation where one is given."""
        return build_stages(config or self.config, self.models, self.manifest, self.out, reporter)

    def parts(self, run: RunDirectory, reporter: Reporter) -> tuple[list[Stage], FrameSource]:
        """The stages, closed, and the source."""
        return self.stages(reporter), self.source(run)

    def source(self, run: RunDirectory) -> FrameSource:
        """The source of frames that are dropped from the store."""
        return FrameSource(run.arrays, run.log, decode_config(self.config))


Prepare = Callable[[RunDirectory, Session, Reporter], None]


def _drive(session: Session, reporter: Reporter, prepare: Prepare | None = None) -> dict[str, Any]:
    """Open everything, mend what is damaged, prepare what is to be made again, run the pipeline, finish."""
    watch = Stopwatch()
    config = session.config
    try:
        stages = session.stages(reporter)
        announce_plan(config, session.models, session.manifest, stages, session.out, reporter.note)
        with open_run(config, session.manifest, session.out) as run:
            if config.keep == "all":
                run.keep_all()
            build = partial(session.parts, run, reporter)
            repair_run(run, config.plan, build, reporter.note, config.shares_gpu)
            prepare = prepare or unfinished_redo(run)
            if prepare is not None:
                prepare(run, session, reporter)
            _announce(reporter, run, config, session.manifest)
            pipeline = Pipeline(
                run,
                stages,
                config.plan,
                session.source(run),
                reporter,
                config.keep,
                session.interrupts,
                session.guard,
                courtesy=config.shares_gpu,
            )
            pipeline.retry = closed_loop(session, run, pipeline.steps, reporter)
            frames = pipeline.process()
            summary = finish_run(run, config, frames, watch.seconds)
            _keep_times(session, run, reporter)
            return summary
    finally:
        reporter.close()


def unfinished_redo(run: RunDirectory) -> Prepare | None:
    """What is left to do of a `skate redo` that was interrupted."""
    if run.log.redo is None:
        return None
    from stream.run.redo import unfinished  # it builds on this module

    return unfinished(run.log)


def _keep_times(session: Session, run: RunDirectory, reporter: Reporter) -> None:
    """Keep a finished run's times for later plans."""
    try:
        record_calibration(run.log, session.config, session.manifest)
    except OSError as error:
        reporter.note(f"the times of this run are not kept for later plans: {error}")


def closed_loop(session: Session, run: RunDirectory, steps: Steps, reporter: Reporter) -> Retry | None:
    """What tries failed windows again, or None where `--retries` does not ask for it."""
    config = session.config
    if config.retries == 0 or not config.generates:
        return None
    sam = steps.stages["score"].model  # type: ignore[attr-defined]

    def told(window: int, attempt: int, worst: float) -> None:
        reporter.note(f"window {window} (counted from 0): attempt {attempt}: worst frame's IoU {worst:.4f}")

    loop = ClosedLoop(
        run,
        steps,
        lambda folder: finishing_stages(config, session.manifest, folder, sam),
        config.retries,
        config.iou_threshold,
        config.dilate,
        config.strength,
        told,
        reporter.note,
    )
    return loop.improve


def _announce(reporter: Reporter, run: RunDirectory, config: RunConfig, manifest: Manifest) -> None:
    claimed = manifest["video"].get("claimed_frames")
    windows = config.plan.count(claimed) if claimed else None
    done = {stage: run.log.done(stage) for stage in config.stages}
    if config.generates:
        reporter.note(f"generator: {config.generator}" + (f" at {', '.join(config.server)}" if config.server else ""))
    if any(done.values()):
        reporter.note(f"continuing: windows done by stage: {', '.join(f'{k} {v}' for k, v in done.items())}")
    reporter.start(windows, config.stages, done)
