"""`skate redo`."""

from pathlib import Path

import click

from storage.errors import UsageError
from stream.cli.options import JSON, GroupedCommand, option, stack
from stream.cli.run import report_end


@click.command("redo", cls=GroupedCommand)
@click.argument("run", type=click.Path(file_okay=False))
@stack(
    [
        option("generation", "--windows", required=True, metavar="K[,K]", help="Counted from 0."),
        option("generation", "--seed", type=int, help="Of the new generation.  [default: the run's plus one]"),
        option("generation", "--prompt", "text", help="Of the new generation.  [default: the run's]"),
        JSON,
    ]
)
def redo_command(run: str, windows: str, seed: int | None, text: str | None, as_json: bool) -> int:
    """Generate single windows of a finished RUN again; what depends on them is blended, encoded and scored again.

    The run must have been made with --keep all. The window after keeps its generation unless it is named too.
    """
    from stream.run.redo import redo

    numbers = windows.split(",")
    if not all(number.strip().isdecimal() for number in numbers):
        raise UsageError(f"--windows {windows}: give numbers with commas between, e.g. 3 or 3,4")
    return report_end(redo(Path(run), sorted({int(number) for number in numbers}), seed, text, as_json), as_json)
