"""`skate redo`."""

import json

import click

from storage.address import run_path
from storage.errors import UsageError
from stream.cli.options import JSON, SCRATCH, GroupedCommand, from_table, option, stack
from stream.cli.run import carry_out
from stream.cli.say import say
from stream.options.table import picked
from stream.options.values import whole_number


@click.command("redo", cls=GroupedCommand)
@click.argument("run", type=click.Path(file_okay=False))
@stack(
    [
        option("windows", "--windows", metavar="K[,K]", help="Counted from 0."),
        from_table(*picked("seed"), default=None, help="Of the new generation.  [default: the run's plus one]"),
        from_table(*picked("text"), default=None, help="Of the new generation.  [default: the run's]"),
        option("windows", "--cancel", is_flag=True, help="Take back a redo whose windows are not all made."),
        SCRATCH,
        JSON,
    ]
)
def redo_command(run: str, windows: str | None, seed: int | None, text: str | None, cancel: bool, as_json: bool) -> int:
    """Generate single windows of a finished RUN again; what depends on them is blended, encoded and scored again.

    The window after keeps its generation unless it is named too. A run that was made with --keep all has all that this
    needs; in any other the windows from there on, and those they follow from, are generated once more first, and must
    come out as they were. Until all windows are made the result stays as it is: --cancel takes the redo back.
    """
    from stream.run.redo import redo, take_back

    if cancel:
        if windows is not None or seed is not None or text is not None:
            raise UsageError("--cancel goes with no other option: it takes back the redo that is under way")
        return _report_cancelled(run, take_back(run_path(run)), as_json)
    if windows is None:
        raise UsageError("give --windows K[,K], or --cancel")
    numbers = {whole_number(number.strip()) for number in windows.split(",")}
    if None in numbers:
        raise UsageError(f"--windows {windows[:60]}: give numbers with commas between, e.g. 3 or 3,4")
    chosen = sorted(number for number in numbers if number is not None)
    return carry_out(lambda listener: redo(run_path(run), chosen, seed, text, listener), as_json)


def _report_cancelled(run: str, windows: tuple[int, ...], as_json: bool) -> int:
    if as_json:
        say(json.dumps({"event": "cancelled", "run": run, "windows": windows}))
    else:
        say(f"redo     taken back: windows {', '.join(map(str, windows))} stay as they were")
    return 0
