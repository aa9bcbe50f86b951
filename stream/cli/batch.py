"""`skate batch`: run, status, plan."""

import json
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from stream.cli.generate import generate_command, tell_line
from stream.cli.jobs import read_jobs
from stream.cli.options import JSON, GroupedCommand, option, stack, was_given
from stream.cli.run import run_command

if TYPE_CHECKING:
    from stream.batch.jobs import Job
    from stream.options.config import RunConfig


@click.group("batch")
def batch() -> None:
    """Many clips, and several looks of each, from a file of jobs (docs/formats.md): each is a run directory of its own.
    What one job fails of stops no other; the same command again continues.
    """


@batch.command("run", cls=GroupedCommand, short_help="Work through a file of jobs, or go on with it.")
@click.argument("jobs", metavar="JOBS.toml", type=click.Path(dir_okay=False))
@stack([option("output", "--out", type=click.Path(file_okay=False), required=True, help="Folder for the runs."), JSON])
def run_batch(jobs: str, out: str, as_json: bool) -> int:
    """Do all jobs, one after the other; each leaves OUT/NAME. The same command again continues; what is done with the
    same options is passed over. Exit code: of the first that failed, else 1 where a gate did.
    """
    from storage.backend import open_store
    from stream.batch.jobs import Batch
    from stream.batch.status import rows_of, write_page
    from stream.batch.work import work_through
    from stream.run.children import whole_code

    begun = time.monotonic()
    folder = Path(out)
    batch = Batch(folder, read_jobs(jobs, run_command, generate_command))
    with open_store(folder).lock():
        batch.write()
        ended = work_through(batch, partial(tell_line, "job", as_json))
        page = write_page(folder, rows_of(batch))
    failed = [{"job": each.job.name, "code": each.code, "message": each.message} for each in ended if each.message]
    if as_json:
        seconds = round(time.monotonic() - begun, 3)
        click.echo(json.dumps({"event": "done", "jobs": len(ended), "failed": failed, "seconds": seconds}))
    else:
        for each in ended:
            click.echo(f"{each.job.name:<24} {each.message or f'gate {each.gate}, {each.seconds:.0f} s'}")
        click.echo(f"page     {page}")
    return whole_code(each.code for each in ended)


@batch.command("status", cls=GroupedCommand, short_help="How far every job is: a table, and a page.")
@click.argument("folder", metavar="DIR", type=click.Path(file_okay=False))
@stack([JSON])
def batch_status(folder: str, as_json: bool) -> int:
    """How far every job of the batch in DIR is, and DIR/index.html with the same. May be asked while it works."""
    import dataclasses

    from stream.batch.jobs import read_batch
    from stream.batch.status import HEAD, counts, rows_of, write_page
    from stream.report.tables import text_table

    rows = rows_of(read_batch(Path(folder)))
    page = write_page(Path(folder), rows)
    if as_json:
        click.echo(json.dumps({"jobs": [dataclasses.asdict(row) for row in rows], "page": str(page)}))
        return 0
    click.echo(text_table(HEAD, [row.cells() for row in rows]))
    click.echo(f"\n{counts(rows)}\npage     {page}")
    return 0


@batch.command("plan", cls=GroupedCommand, short_help="What all will take: hours, GPU-hours, bytes, cost.")
@click.argument("jobs", metavar="JOBS.toml", type=click.Path(dir_okay=False))
@stack(
    [
        option("output", "--out", type=click.Path(file_okay=False), default=".", help="Where the runs would lie."),
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
    Exit code 4 where something does not fit.
    """
    import dataclasses

    from stream.batch.plan import HEAD, forecast, prices, room, totals
    from stream.plan.calibration import read_calibration
    from stream.report.tables import text_table

    given = None if price is None else prices(price)
    times = read_calibration(None if calibration is None else Path(calibration))
    found = forecast(read_jobs(jobs, run_command, generate_command), Path(out), _configured, times)
    total = totals(found)
    short = room(total, Path(out))
    code = 4 if short or any(each.refused for each in found) else 0
    if as_json:
        rows = [{**dataclasses.asdict(each), "cost": given and each.cost(given)} for each in (*found, total)]
        click.echo(json.dumps({"jobs": rows[:-1], "total": rows[-1], "room": short}))
        return code
    click.echo(text_table(HEAD, [each.cells(given) for each in (*found, total)]))
    if total.seconds is None:
        click.echo("\ntime is known for what was run on this machine before, with the same models and recipe")
    if short:
        click.echo(f"\n{short}")
    return code


def _configured(job: "Job") -> "RunConfig | dict[str, Any]":
    """The config of a job, or what a look has otherwise."""
    from storage.errors import UsageError
    from stream.options.settings import config_from_options

    if "://" in job.source:
        raise UsageError(f"{job.source} is an address: what it takes is known once it is fetched")
    command = generate_command if job.looks else run_command
    with command.make_context(command.name, [job.source, "--out", job.name, *job.words]) as context:
        options = dict(context.params)
        if job.looks:
            return {name: value for name, value in options.items() if was_given(name) and name not in ("source", "out")}
        video = options.pop("video")
        for name in ("out", "as_json", "overwrite", "write_scene"):
            options.pop(name)
        return config_from_options(video, "run", options, Path(job.name))
