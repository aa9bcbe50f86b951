"""`skate status`."""

import json

import click

from storage.address import run_path
from stream.cli.options import JSON, SCRATCH, GroupedCommand, option, stack
from stream.cli.say import say_text


@click.command("status", cls=GroupedCommand)
@click.argument("run", type=click.Path(file_okay=False))
@stack(
    [option("options", "--verify", is_flag=True, help="Check every committed chunk against its digest."), SCRATCH, JSON]
)
def status_command(run: str, verify: bool, as_json: bool) -> int:
    """How far RUN is: windows done by stage, IoU so far, speed. May be asked while it is being written."""
    from stream.run.status import read_status, status_text

    status = read_status(run_path(run), verify)
    say_text(json.dumps(status.to_json()) if as_json else status_text(status))
    return 6 if status.damaged else 0
