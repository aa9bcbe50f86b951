"""`skate report`."""

import click

from stream.cli.options import GroupedCommand


@click.command("report", cls=GroupedCommand)
@click.argument("run", type=click.Path(file_okay=False))
def report_command(run: str) -> int:
    """Write RUN/report from what is there: summary.json, iou.csv, pictures and index.html."""
    from pathlib import Path

    from stream.report.of_run import report_run

    report_run(Path(run))
    click.echo(f"{run}/report/index.html")
    return 0
