"""`skate frame`."""

import click

from stages.bounds import FRAME
from stream.cli.options import GroupedCommand, option, stack
from stream.options.values import INTEGER


@click.command("frame", cls=GroupedCommand)
@click.argument("video", type=click.Path(dir_okay=False))
@stack(
    [
        option("options", "--at", type=INTEGER, bounds=FRAME, default=0, help="Frame, counted from 0."),
        option("options", "--to", required=True, type=click.Path(dir_okay=False), help="The PNG to write."),
    ]
)
def frame_command(video: str, at: int, to: str) -> int:
    """Write one upright frame of VIDEO with rulers at its edges, to read a box or a point from."""
    from pathlib import Path

    from stream.check.ruler import write_ruled_frame

    click.echo(write_ruled_frame(Path(video), at, Path(to)))
    return 0
