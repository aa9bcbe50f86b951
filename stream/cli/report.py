"""`skate report`."""

import click

from storage.address import run_path
from stream.cli.options import SCRATCH, GroupedCommand, option
from stream.cli.say import say


@click.command("report", cls=GroupedCommand)
@click.argument("run", type=click.Path(file_okay=False))
@option("report", "--proof", is_flag=True, help="Also proof.mp4: both pictures with all that was found, and the gate.")
@SCRATCH
def report_command(run: str, proof: bool) -> int:
    """Write RUN/report from what is there: summary.json, iou.csv, pictures and index.html."""
    from storage.backend import open_store
    from stream.report.of_run import report_run

    path = run_path(run)
    with open_store(path).writing():
        report_run(path)
        say(f"{run}/report/index.html")
        if proof:
            from storage.rundir import RunReader
            from stream.options.recorded import read_run
            from stream.report.proof import PROOF, write_proof

            reader = RunReader(path)
            report = reader.store.below("report")
            write_proof(reader, read_run(path)[1], report.place(PROOF))
            report.flush([PROOF])
            say(f"{run}/report/{PROOF}")
    return 0
