"""`skate frame`."""

import click

from stages.bounds import FRAME
from stream.cli.options import GroupedCommand, option, stack
from stream.cli.say import say
from stream.options.values import FILE, MOMENT


@click.command("frame", cls=GroupedCommand)
@click.argument("video", type=click.Path(dir_okay=False))
@stack(
    [
        option(
            "options",
            "--at",
            type=MOMENT,
            bounds=FRAME,
            default="0",
            help="Frame, counted from 0, or a time (1:23.5).",
        ),
        option("options", "--to", required=True, type=FILE, help="The PNG to write."),
    ]
)
def frame_command(video: str, at: int | float, to: str) -> int:
    """Write one upright frame of VIDEO with rulers at its edges, to read a box or a point from."""
    from pathlib import Path

    from stream.check.ruler import write_ruled_frame

    say(write_ruled_frame(Path(video), at, Path(to)))
    return 0
