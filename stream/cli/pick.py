"""`skate pick`."""

from pathlib import Path

import click

from storage.bounds import Bounds
from stream.cli.options import GroupedCommand, chosen, option, stack
from stream.cli.say import say
from stream.options.values import FILE, INTEGER

PORTS = Bounds(0, 65535)


@click.command("pick", cls=GroupedCommand)
@click.argument("source", metavar="VIDEO|RUN")
@stack(
    [
        option(
            "output",
            "--scene",
            type=FILE,
            metavar="FILE.toml|.json",
            help="The scene: read where it is there, and written  [default: VIDEO's name, .scene.toml, here]",
        ),
        option("machine", "--port", type=INTEGER, bounds=PORTS, default="0", help="Of 127.0.0.1; 0: any free one."),
    ]
)
@chosen("sam", "sam_config", "device")
def pick_command(source: str, scene: str | None, port: int, sam: str, sam_config: str | None, device: str) -> int:
    """Open a page on this machine alone, on which the subjects of VIDEO are clicked, seen at once as masks, named and
    saved as a scene. Of a RUN the worst frames are shown first, and corrected there. Ctrl-C ends it.
    """
    from storage.rundir import is_run
    from stream.cli.again import command_again
    from stream.pick.desk import Desk
    from stream.pick.sam import still_sam
    from stream.pick.serve import serve, until_interrupted
    from stream.pick.tracked import Tracked

    run = Tracked(Path(source)) if is_run(Path(source)) else None
    video = Path(source) if run is None else run.video
    target = Path(scene) if scene is not None else Path(f"{video.stem}.scene.toml")
    desk = Desk(video, target, still_sam(sam, sam_config, device), run, command_again)
    served = serve(desk, port)
    say(f"open     {served.address}")
    say("         Ctrl-C ends it; closing the page ends nothing", err=True)

    def told() -> None:
        if target.exists():
            say(*desk.commands())
        desk.close()

    until_interrupted(served, told)
    return 0
