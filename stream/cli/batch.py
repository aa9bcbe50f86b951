"""`skate batch`: run, status, plan."""

import json
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from storage.address import run_path
from storage.bounds import Bounds
from storage.errors import UsageError
from stream.cli.ending import fault_of
from stream.cli.generate import chosen_anew, generate_command, tell_line
from stream.cli.jobs import read_jobs
from stream.cli.options import JSON, GroupedCommand, option, stack
from stream.cli.run import run_command
from stream.cli.say import say, say_text
from stream.options.values import FOLDER, INTEGER

if TYPE_CHECKING:
    from stream.batch.jobs import Batch, Ended, Job
    from stream.batch.turns import Servers
    from stream.options.config import RunConfig
    from stream.report.result import Result
    from stream.run.children import Made, Tell

WORKERS = Bounds(1, 4096)
FREE_SECONDS, LOOK_SECONDS = 60.0, 1.0  # that a piece waits for its run to be free, and between two looks


@click.group("batch")
def batch() -> None:
    """Many clips, and several looks of each, from a file of jobs (docs/formats.md): each is a run directory of its own.
    What one job fails of stops no other; the same command again continues.
    """


@batch.command("run", cls=GroupedCommand, short_help="Work through a file of jobs, or go on with it.")
@click.argument("jobs", metavar="JOBS.toml", type=click.Path(dir_okay=False))
@stack(
    [
        option("output", "--out", type=FOLDER, required=True, help="Folder for the runs."),
        option(
            "workers", "--ray", metavar="ADDRESS|local", help="Several at once, by Ray: a cluster, or this machine."
        ),
        option(
            "workers", "--workers", type=INTEGER, bounds=WORKERS, help="How many; by default a GPU each, or a core."
        ),
        JSON,
    ]
)
def run_batch(jobs: str, out: str, ray: str | None, workers: int | None, as_json: bool) -> int:
    """Do all jobs, one after the other or with --ray side by side; each leaves OUT/NAME. The same command again
    continues; what is done with the same options is passed over. Exit code: of the first that failed, else 1 where a
    gate did.
    """
    from storage.backend import open_store
    from stream.batch.jobs import Batch
    from stream.batch.status import rows_of, write_page
    from stream.batch.work import work_through
    from stream.run.children import continued_by_itself, whole_code

    if workers is not None and ray is None:
        raise UsageError("--workers: belongs to --ray; without it the jobs are done one after the other")
    begun = time.monotonic()
    tell = partial(tell_line, "job", as_json)
    folder = run_path(out)
    batch = Batch(folder, read_jobs(jobs, run_command, generate_command))
    with open_store(folder).lock(lambda text: say(text, err=True)):
        batch.write()
        with continued_by_itself():
            ended = work_through(batch, tell) if ray is None else _on_ray(batch, tell, ray, workers)
        page = write_page(folder, rows_of(batch))
    failed = [{"job": each.job.name, "code": each.code, "message": each.message} for each in ended if each.message]
    if as_json:
        seconds = round(time.monotonic() - begun, 3)
        say(json.dumps({"event": "done", "jobs": len(ended), "failed": failed, "seconds": seconds}))
    else:
        for each in ended:
            gate = each.gate or "none"
            say(f"{each.job.name:<24} {each.message or f'gate {gate}, {each.seconds:.0f} s'}")
        say(f"page     {page}")
    return whole_code(each.code for each in ended)


def _on_ray(batch: "Batch", tell: "Tell", address: str, workers: int | None) -> "list[Ended]":
    from stream.batch.on_ray import work_on_ray
    from stream.options.settings import resolve_device

    asked = {device for job in batch.jobs if not job.looks for device in job.given("--device") or ["auto"]}
    gpus = any(resolve_device(device) == "cuda" for device in asked - {"cpu"})  # that one would hide it from the others
    return work_on_ray(batch, tell, piece_of, address, workers, gpus)


def piece_of(job: "Job", folder: Path, windows: int, servers: "Servers") -> "Made | None":
    """Do so many windows of a job in this process, with these of its servers: how it ended, or None: there is more."""
    from storage.errors import Interrupted
    from stream.engine.signals import Cancel
    from stream.progress.events import Event, RunBegins, WindowDone
    from stream.run.children import Made
    from stream.run.lifecycle import start
    from stream.run.variation import generate_from_run

    cancel, last, done = Cancel(), "", 0

    def listen(event: Event) -> None:
        nonlocal last, done
        if isinstance(event, RunBegins):
            last = event.stages[-1]
        elif isinstance(event, WindowDone) and event.stage == last:
            done += 1
            if done == windows:
                cancel.cancel()

    out = folder / job.name
    try:
        given = _configured(job.on(servers) if servers else job, out)
        if isinstance(given, dict):
            begin = partial(generate_from_run, folder / job.source, out, given)
        else:
            begin = partial(start, given, out)
        result = _once_free(partial(begin, listener=listen, cancel=cancel))
    except Interrupted as error:
        return None if cancel.due else Made(job.name, error.exit_code, None, str(error))
    except Exception as error:  # noqa: BLE001 - as where a command ends: it becomes a line, and stops no other job
        return Made(job.name, fault_of(error)[0], None, fault_of(error)[1])
    return Made(job.name, 1 if result.gate == "failed" else 0, result.to_json(), "")


def _once_free(work: "Callable[[], Result]") -> "Result":
    """Do it once no other process writes to the run: one that lost its driver, or its node the cluster, soon ends."""
    from storage.errors import InUse

    until = time.monotonic() + FREE_SECONDS
    while True:
        try:
            return work()
        except InUse:
            if time.monotonic() > until:
                raise
            time.sleep(LOOK_SECONDS)


@batch.command("status", cls=GroupedCommand, short_help="How far every job is: a table, and a page.")
@click.argument("folder", metavar="DIR", type=click.Path(file_okay=False))
@stack([JSON])
def batch_status(folder: str, as_json: bool) -> int:
    """How far every job of the batch in DIR is, and DIR/index.html with the same. May be asked while it works."""
    import dataclasses

    from stream.batch.jobs import read_batch
    from stream.batch.status import HEAD, counts, rows_of, write_page
    from stream.report.tables import text_table

    place = run_path(folder)
    rows = rows_of(read_batch(place))
    page = write_page(place, rows)
    if as_json:
        say(json.dumps({"jobs": [dataclasses.asdict(row) for row in rows], "page": str(page)}))
        return 0
    say_text(text_table(HEAD, [row.cells() for row in rows]))
    say("", counts(rows), f"page     {page}")
    return 0


@batch.command("plan", cls=GroupedCommand, short_help="What all will take: hours, GPU-hours, bytes, cost.")
@click.argument("jobs", metavar="JOBS.toml", type=click.Path(dir_okay=False))
@stack(
    [
        option("output", "--out", type=FOLDER, default=".", help="Where the runs would lie."),
        option("plan", "--price", metavar="gpu=X/h,gb=Y", help="Of an hour of a GPU, and of a GB that is kept."),
        option(
            "plan",
            "--calibration",
            type=click.Path(dir_okay=False, exists=True),
            help="What runs took on another machine: its calibration.json.",
        ),
        JSON,
    ]
)
def batch_plan(jobs: str, out: str, price: str | None, calibration: str | None, as_json: bool) -> int:
    """What every job and all together will take, going by earlier runs; who would be refused, and why. Nothing is done.
    Exit code 4 where something does not fit or a job will be refused.
    """
    import dataclasses

    from stream.batch.plan import HEAD, forecast, prices, room, totals
    from stream.plan.calibration import read_calibration
    from stream.report.tables import text_table

    given = None if price is None else prices(price)
    times = read_calibration(None if calibration is None else Path(calibration))
    folder = run_path(out)
    found = forecast(read_jobs(jobs, run_command, generate_command), folder, planned, times)
    total = totals(found)
    short = room(total, folder)
    code = 4 if short or any(each.refused for each in found) else 0
    if as_json:
        rows = [{**dataclasses.asdict(each), "cost": given and each.cost(given)} for each in (*found, total)]
        say(json.dumps({"jobs": rows[:-1], "total": rows[-1], "room": short}))
        return code
    say_text(text_table(HEAD, [each.cells(given) for each in (*found, total)]))
    if total.seconds is None:
        say("", "time is known for what was run on this machine before, with the same models and recipe")
    if short:
        say("", short)
    return code


def _configured(job: "Job", out: Path) -> "RunConfig | dict[str, Any]":
    """The config of a job, or what a look has otherwise.

    Raises:
        SkateError: as where that command begins.
    """
    from stream.options.settings import config_from_options
    from stream.run.children import argument

    command = generate_command if job.looks else run_command
    try:
        context = command.make_context(command.name, [argument(job.source), "--out", str(out), *job.words])
    except click.ClickException as error:
        raise UsageError(error.format_message()) from error
    with context:
        options = dict(context.params)
        for name in ("source" if job.looks else "video", "out", "as_json", "overwrite"):
            options.pop(name)
        if job.looks:
            return chosen_anew(job.source, options)
        options.pop("write_scene")
        return config_from_options(job.source, "run", options, out)


def planned(job: "Job") -> "RunConfig | dict[str, Any]":
    """The config of a job, or what a look has otherwise, where nothing may be fetched."""
    if "://" in job.source:
        raise UsageError(f"{job.source} is an address: what it takes is known once it is fetched")
    return _configured(job, Path(job.name))
