"""A run from the first option to the last byte: identity, directory, pipeline, verdict."""

import dataclasses
import time
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

from stages.generator import GeneratorStage
from stages.generators import GENERATORS
from storage.backend import open_store
from storage.change import Change
from storage.errors import UsageError
from storage.next import begin as begin_next
from storage.next import check_pending, give_up, switch
from storage.rundir import Manifest, RunDirectory, is_run
from stream.engine.chain import Chain, Node
from stream.engine.executor import Executor, has_work
from stream.engine.signals import Cancel, InterruptShield
from stream.engine.source import FrameSource, InputGuard
from stream.engine.tasks import OpenStages
from stream.engine.threads import threads
from stream.options.assembly import Models, build_chain, decode_config, resolve_models
from stream.options.config import RunConfig
from stream.options.differences import differences
from stream.options.recorded import claimed_frames, read_run
from stream.options.standing import standing_config
from stream.options.working import frame_size
from stream.pipeline import Pipeline
from stream.plan.calibration import record_calibration
from stream.plan.projection import announce_plan
from stream.progress.events import Listener, Reporter
from stream.report.result import Result
from stream.run.attempts import ClosedLoop
from stream.run.finish import finish_run
from stream.run.identity import check_length, check_prompts, make_manifest
from stream.run.reconcile import (
    check_nodes,
    log_replaced,
    own_stages,
    place_of,
    read_log_of,
    reconcile,
    refuse,
    refuse_overwrite,
)
from stream.run.repair import repair_run
from stream.run.settle import settle
from stream.run.trouble import clear_lines


def start(
    config: RunConfig,
    out: Path,
    overwrite: bool = False,
    listener: Listener | None = None,
    cancel: Cancel | None = None,
    origin: "Origin | None" = None,
    extend: "Extend | None" = None,
) -> Result:
    """Begin a run in `out`, or continue the one that is there with the same config; returns how it ended.

    Args:
        overwrite: do again what other options than those of the run in `out` change.
        listener: told every event, from the thread in which it happens.
        cancel: ends the run at its next commit.
        extend: gives the chain with stages of the caller's own in it; whoever goes on with the run gives it too.
        origin: whose tracking a run that is not there yet begins with.

    Raises:
        Interrupted: when `cancel` asked for it.
        RunDirectoryError: when `out` holds a run with another config and `overwrite` is not given.
    """
    reporter = Reporter(listener)
    with clear_lines(out), InterruptShield(cancel).installed() as interrupts:
        return _drive(prepare(config, out, overwrite, interrupts, reporter, origin, extend), reporter)


def prepare(
    config: RunConfig,
    out: Path,
    overwrite: bool,
    interrupts: InterruptShield,
    reporter: Reporter,
    origin: "Origin | None" = None,
    extend: "Extend | None" = None,
) -> "Session":
    """Resolve, validate and compare with what is in `out`. Pure: nothing on the disk changes.

    Raises:
        SkateError: whatever keeps this run from beginning, as far as it can be known without loading anything.
    """
    config = standing_config(config)
    models = resolve_models(config)
    guard = InputGuard(Path(config.video))
    manifest = make_manifest(config, models, guard)
    check_prompts(config, manifest)
    chain = extended(build_chain(config, models, manifest, reporter), extend, manifest)
    if is_run(out):
        origin = None
    elif origin is not None:
        origin.check(manifest, chain)
    wanted = {**manifest, "nodes": list(chain.names), "own": own_stages(chain)}
    wanted["threads"] = threads()  # torch loads with the chain, not before
    if origin is not None:
        wanted |= origin.keeps()
    manifest, change, place = reconcile(out, wanted, overwrite, chain)
    return Session(config, models, manifest, guard, chain, out, place, interrupts, change, origin)


def resume(
    out: Path,
    changes: dict[str, Any] | None = None,
    listener: Listener | None = None,
    cancel: Cancel | None = None,
    beside: "Beside | None" = None,
    extend: "Extend | None" = None,
) -> Result:
    """Continue the run in `out` with the config it was begun with.

    Args:
        changes: options that change no result, by their `RunConfig` names.
        listener, cancel, extend: as for `start`.
        beside: called with the locked, mended run before it goes on (`skate redo`).
    """
    with clear_lines(out), InterruptShield(cancel).installed() as interrupts:
        if beside is not None:
            refuse_overwrite(out)
        place = place_of(out)
        manifest, begun = read_run(place, out)
        config = dataclasses.replace(begun, **(changes or {}))
        models = resolve_models(config)
        guard = InputGuard(Path(config.video))
        refuse(out, differences(manifest["decisive"], make_manifest(config, models, guard)["decisive"]))
        if beside is not None:  # what will be scored again needs them: nothing is begun without
            check_prompts(config, manifest)
        reporter = Reporter(listener)
        chain = extended(build_chain(config, models, manifest, reporter), extend, manifest)
        return _drive(Session(config, models, manifest, guard, chain, out, place, interrupts), reporter, beside)


def extended(chain: Chain, extend: "Extend | None", manifest: Manifest) -> Chain:
    """The chain with what a caller puts into it; a generator in place of one that looks through views does so too.

    Raises:
        UsageError: when it works at another size than the one that the views are made for.
    """
    from stages.through import ThroughStage
    from stages.views.names import VIEWS

    if extend is None:
        return chain
    size, nodes = frame_size(manifest["video"]), list[Node]()
    for node in extend(chain):
        ours, theirs = chain[node.name].stage if node.name in chain else None, node.stage
        looks = any(read.port == VIEWS for read in theirs.reads)
        if not isinstance(ours, ThroughStage) or not isinstance(theirs, GeneratorStage) or looks:
            nodes.append(node)
            continue
        if theirs.works_at(*size) != ours.works_at(*size):
            raise UsageError(
                f"stage '{node.name}' works at {theirs.works_at(*size)}, the run's views are of "
                f"{ours.works_at(*size)}: give --view full"
            )
        nodes.append(dataclasses.replace(node, stage=ThroughStage(theirs)))
    return Chain(nodes)


class Origin(Protocol):
    """Whose tracking a new run begins with (`skate generate RUN`)."""

    def check(self, manifest: Manifest, chain: Chain) -> None:
        """Refuse what cannot be taken over into a run of this manifest; nothing is written."""

    def keeps(self) -> Manifest:
        """What the new run's manifest takes over: what is not asked for and tracking depends on."""

    def copy(self, manifest: Manifest, chain: Chain, note: Callable[[str], None]) -> None:
        """Make the run directory, whole or not at all; `note` is told when that takes its time."""


@dataclasses.dataclass(frozen=True)
class Session:
    """What a run works with.

    Attributes:
        config, models, manifest: what is asked for. guard: its input. interrupts: holds interruptions back.
        chain: what does it.
        out: the run directory. place: where the work is done: `out`, or `next/` in it under `--overwrite`.
        change: what `--overwrite` makes void, where that has not begun.
        origin: whose tracking it begins with.
    """

    config: RunConfig
    models: Models
    manifest: Manifest
    guard: InputGuard
    chain: Chain
    out: Path
    place: Path
    interrupts: InterruptShield
    change: Change | None = None
    origin: Origin | None = None

    @cached_property
    def opened(self) -> OpenStages:
        """The chain's stages: each is opened once, whichever executor needs it."""
        return OpenStages(self.chain, self.manifest.get("threads"))

    def executor(self, run: RunDirectory) -> Executor:
        """A new executor of the chain: it holds nothing in memory of what another one did."""
        return Executor(run, self.chain, self.source(run), self.config.shares_gpu, self.opened)

    def open(self, note: Callable[[str], None]) -> RunDirectory:
        """The run directory, locked; `note` is told when that takes its time."""
        video = self.manifest["video"]
        return RunDirectory(self.place, self.chain.layout(video["height"], video["width"]), self.manifest, note)

    def source(self, run: RunDirectory) -> FrameSource:
        """The source of frames that are dropped from the store."""
        return FrameSource(run, decode_config(self.config))


Beside = Callable[[RunDirectory, Session, Reporter], None]
Extend = Callable[[Chain], Chain]


def _drive(session: Session, reporter: Reporter, beside: Beside | None = None) -> Result:
    """Plan, open what may refuse; then take the directory, mend what is damaged, run the pipeline, finish.

    Under `--overwrite` the work is done beside the run that is there, and takes its place at the end.
    """
    started = time.perf_counter()
    config, chain, opened = session.config, session.chain, session.opened
    check_nodes(session.out, session.manifest, chain)
    log = read_log_of(session.place, session.out, session.change)
    decoded = log.of(chain.source.name)
    if decoded and decoded[-1]["info"]["last"]:
        check_length(config, int(decoded[-1]["span"][1]))
    announce_plan(config, session.models, session.manifest, chain, session.out, log, reporter.note)
    with opened:
        for node in chain.generators if session.change is None else chain:
            if has_work(log, node.name, chain.source.name):
                opened.open(node.name)  # one that cannot work says so before anything is written
        if session.origin is not None:
            session.origin.copy(session.manifest, chain, reporter.note)
        if session.place == session.out:
            with session.open(reporter.note) as run:
                return _carry_out(session, run, reporter, beside, started)
        return _overwrite(session, reporter, started)


def _overwrite(session: Session, reporter: Reporter, started: float) -> Result:
    """Make the new run beside the old one, which is whole until the new one has finished."""
    with open_store(session.out).lock(reporter.note):
        if session.change is not None:
            begin_next(session.out, session.change)
        else:
            check_pending(session.out)
        reporter.note(f"what is in {session.out} stays as it is until this run has finished")
        worked = session.change is None
        try:
            with session.open(reporter.note) as run:
                try:
                    result = _carry_out(session, run, reporter, None, started)
                finally:
                    worked = worked or run.worked
        except BaseException:
            if not worked:
                give_up(session.out)
            raise
        with session.interrupts.shield():
            switch(session.out)
    return result


def _carry_out(
    session: Session, run: RunDirectory, reporter: Reporter, beside: Beside | None, started: float
) -> Result:
    config, chain = session.config, session.chain
    if config.keep == "all":
        run.keep_all()
    before = log_replaced(session.place, session.out)
    if before is not None:
        settle(run, before, session.executor, chain, session.interrupts, reporter.note)
        run.worked = False  # one window's tracking: what cannot go on from there is given up as a whole
    repair_run(run, session.executor, reporter.note, before)
    beside = beside or unfinished_redo(run)
    if beside is not None:
        beside(run, session, reporter)
    _announce(reporter, run, config, chain)
    executor = session.executor(run)
    pipeline = Pipeline(
        executor,
        config.plan,
        reporter,
        config.keep,
        session.interrupts,
        session.guard,
        config.windows_ahead,
    )
    if config.retries and config.generates:
        pipeline.retry = ClosedLoop(executor, config, reporter.note).improve
    frames = pipeline.process()
    run.settle()
    result = finish_run(run, config, frames, time.perf_counter() - started, session.out)
    _keep_times(session, run, reporter)
    return result


def unfinished_redo(run: RunDirectory) -> Beside | None:
    """What is left to do of a `skate redo` that was interrupted."""
    if run.log.redo is None:
        return None
    from stream.run.redo import unfinished  # it builds on this module

    return unfinished(run.log.redo)


def _keep_times(session: Session, run: RunDirectory, reporter: Reporter) -> None:
    """Keep a finished run's times for later plans."""
    try:
        record_calibration(run.log, session.config, session.manifest, tuple(session.chain))
    except OSError as error:
        reporter.note(f"the times of this run are not kept for later plans: {error}")


def _announce(reporter: Reporter, run: RunDirectory, config: RunConfig, chain: Chain) -> None:
    claimed = claimed_frames(config, run.manifest["video"])
    windows = config.count_windows(claimed) if claimed else None
    done = {stage: run.log.done(stage) for stage in chain.names}
    if config.generates:
        where = f" at {', '.join(config.server)}" if GENERATORS[config.generator].on_servers else ""
        reporter.note(f"generator: {config.generator}{where}")
    if any(done.values()):
        reporter.note(f"continuing: windows done by stage: {', '.join(f'{k} {v}' for k, v in done.items())}")
    beside = tuple(node.name for node in chain if node.stage.lane == "gpu") if config.windows_ahead else ()
    reporter.begins(windows, chain.names, done, beside)
