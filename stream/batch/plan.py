"""What a batch will take: hours, GPU-hours, bytes moved and kept, cost. Nothing is loaded or written."""

import dataclasses
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from storage.errors import EnvironmentFault, SkateError, UsageError
from storage.sizes import format_size
from stream.batch.jobs import Job
from stream.engine.source import InputGuard
from stream.options.assembly import build_chain, resolve_models
from stream.options.config import RunConfig
from stream.plan.calibration import Calibration, duration_text, node_seconds, together
from stream.plan.projection import free_disk_bytes, make_plan
from stream.plan.server import moved_bytes
from stream.progress.events import Reporter
from stream.run.identity import check_prompts, make_manifest
from stream.run.variation import varied

GB = 1e9
HEAD = ("job", "with", "frames", "windows", "time", "GPU time", "RAM", "moved", "kept", "cost", "")
_PRICE = re.compile(r"(gpu|gb)=(\d{1,9}(?:\.\d{1,9})?)(/h)?")


@dataclasses.dataclass(frozen=True)
class Prices:
    """Money for an hour of a GPU, and for a GB that is kept (as long as it is paid for: a month, mostly)."""

    gpu: float = 0.0
    gb: float = 0.0


def prices(text: str) -> Prices:
    """`gpu=0.69/h,gb=0.02`: either or both.

    Raises:
        UsageError: for anything else.
    """
    found: dict[str, float] = {}
    for part in text.split(","):
        match = _PRICE.fullmatch(part.strip())
        if match is None or match[1] in found or (match[3] and match[1] == "gb"):
            raise UsageError(f"--price {text[:60]!r}: give gpu=0.69/h, gb=0.02 (a GB kept), or both behind each other")
        found[match[1]] = float(match[2])
    return Prices(**found)


@dataclasses.dataclass(frozen=True)
class Forecast:
    """What a job will take; None where it is not known.

    Attributes:
        name: of the job. made_with: its generator or recipe, and the device of our models.
        frames, windows: of the clip, as its header claims.
        seconds: by the clock. gpu_seconds: of one GPU: of servers, and of our models where they run on one.
        ram: bytes, of who works on it, at the highest. moved: to and from servers, at most. kept: in its run directory.
        refused: why it will not run, in a line; empty where nothing is known against it.
    """

    name: str
    made_with: str = ""
    frames: int | None = None
    windows: int | None = None
    seconds: float | None = None
    gpu_seconds: float | None = None
    ram: int | None = None
    moved: int | None = None
    kept: int | None = None
    refused: str = ""

    def cost(self, given: Prices) -> float | None:
        """At these prices."""
        if self.gpu_seconds is None or self.kept is None:
            return None
        return self.gpu_seconds / 3600 * given.gpu + self.kept / GB * given.gb

    def cells(self, given: Prices | None) -> list[str]:
        """As the table has it."""
        cost = None if given is None else self.cost(given)
        shown: list[str] = [
            "" if value is None else tell(value)
            for value, tell in (
                (self.frames, str), (self.windows, str), (self.seconds, duration_text),
                (self.gpu_seconds, duration_text), (self.ram, format_size), (self.moved, format_size),
                (self.kept, format_size),
            )
        ]  # fmt: skip
        return [self.name, self.made_with, *shown, "" if cost is None else f"{cost:.2f}", self.refused]


Configured = Callable[[Job], RunConfig | Mapping[str, Any]]
"""The config of a job's `skate run`; of a look the options that it has otherwise, by their `RunConfig` names."""


def forecast(jobs: Sequence[Job], folder: Path, configured: Configured, calibration: Calibration) -> list[Forecast]:
    """What each job will take, in order. One that will not run says so, and stops no other.

    Args:
        folder: where the runs would lie. configured: reads a job's options.
        calibration: what earlier runs took.
    """
    configs: dict[str, RunConfig] = {}
    found = []
    for job in jobs:
        try:
            found.append(_forecast(job, folder / job.name, configs, configured, calibration))
        except SkateError as error:
            found.append(Forecast(job.name, refused=str(error)))
    return found


def _forecast(
    job: Job, out: Path, configs: dict[str, RunConfig], configured: Configured, calibration: Calibration
) -> Forecast:
    if job.looks and job.source not in configs:
        raise UsageError(f"takes the tracking of {job.source}, which will not run")
    given = configured(job)
    if not isinstance(given, RunConfig):
        given = varied(configs[job.source], dict(given))
    config = given
    models = resolve_models(config)
    manifest = make_manifest(config, models, InputGuard(Path(config.video)))
    check_prompts(config, manifest)
    chain = build_chain(config, models, manifest, Reporter())
    plan = make_plan(config, models, manifest, chain, out)
    if not job.looks:
        configs[job.name] = config
    nodes = [node for node in chain if not (job.looks and node.name in chain.tracking)]
    seconds = node_seconds(calibration, config, manifest, nodes, plan.frames)
    refused = ""
    try:
        plan.check()
    except EnvironmentFault as error:
        refused = str(error)
    on_gpu = {"server", "gpu"} if config.device == "cuda" else {"server"}
    return Forecast(
        name=job.name,
        made_with=f"{config.workflow or config.generator}, {config.device}",
        frames=plan.frames,
        windows=plan.windows,
        seconds=None if seconds is None else together(seconds, config, nodes),
        gpu_seconds=None if seconds is None else sum(seconds[node.name] for node in nodes if node.stage.lane in on_gpu),
        ram=plan.ram.total,
        moved=moved_bytes(config, plan.generated_size, plan.windows),
        kept=plan.disk_kept,
        refused=refused,
    )


def totals(found: Sequence[Forecast]) -> Forecast:
    """The sum of all that will run, of RAM the most; None where one of them is not known."""

    def added(values: Sequence[Any]) -> Any:
        return None if any(value is None for value in values) else sum(values)

    running = [each for each in found if not each.refused]
    names = ("frames", "windows", "seconds", "gpu_seconds", "moved", "kept")
    ram = max((each.ram for each in running if each.ram is not None), default=None)
    return Forecast("all", ram=ram, **{name: added([getattr(each, name) for each in running]) for name in names})


def room(total: Forecast, folder: Path) -> str | None:
    """A line where all that is kept does not fit on the disk, though each for itself does."""
    free = free_disk_bytes(folder)
    if total.kept is None or free is None or total.kept <= free:
        return None
    return (
        f"{folder}: all keep about {format_size(total.kept)}, {format_size(free)} are free: free space, or other --out"
    )
