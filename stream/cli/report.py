"""`skate report`."""

import click

from stream.cli.options import GroupedCommand, option


@click.command("report", cls=GroupedCommand)
@click.argument("run", type=click.Path(file_okay=False))
@option("report", "--proof", is_flag=True, help="Also proof.mp4: both pictures with all that was found, and the gate.")
def report_command(run: str, proof: bool) -> int:
    """Write RUN/report from what is there: summary.json, iou.csv, pictures and index.html."""
    from pathlib import Path

    from stream.report.of_run import report_run

    report_run(Path(run))
    click.echo(f"{run}/report/index.html")
    if proof:
        from storage.rundir import RunReader
        from stream.options.recorded import read_run
        from stream.report.proof import PROOF, write_proof

        reader = RunReader(Path(run))
        write_proof(reader, read_run(Path(run))[1], reader.store.below("report").path(PROOF))
        click.echo(f"{run}/report/{PROOF}")
    return 0
