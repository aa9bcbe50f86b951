"""`skate analyse`."""

import json
from pathlib import Path
from typing import Any

import click

from stages.bounds import DETECT_EVERY
from stream.cli.options import GroupedCommand, chosen, option, stack
from stream.cli.say import say
from stream.options.values import FILE, INTEGER


@click.command("analyse", cls=GroupedCommand)
@click.argument("video", type=click.Path(dir_okay=False))
@stack(
    [
        option("output", "--to", type=FILE, required=True, metavar="FILE.toml|.json", help="The scene to write."),
        option("output", "--overwrite", is_flag=True, help="Replace the one that is there."),
        option(
            "models",
            "--detect-every",
            type=INTEGER,
            bounds=DETECT_EVERY,
            default="4",
            help="Frames from one look for persons to the next.",
        ),
    ]
)
@chosen("detector", "device", "fps", "hdr", "cuts", "max_bad_frames", "max_pixels", "as_json")
def analyse_command(
    video: str, to: str, overwrite: bool, detect_every: int, detector: str, device: str, as_json: bool, **options: Any
) -> int:
    """Look through VIDEO and propose a scene: its shots and every person in it, with what could not be told as comments
    to edit. Pictures of the persons lie in a folder beside it.
    """
    from tqdm import tqdm

    from stages.decode import DecodeConfig
    from stream.analyse.job import analyse, check_target
    from stream.options.settings import cuts_from_options

    check_target(Path(to), overwrite)
    cuts = cuts_from_options(options)
    config = DecodeConfig(Path(video), cuts=cuts, split=True, **options)
    with tqdm(unit=" frames", disable=True if as_json else None) as bar:

        def seen(frames: int) -> None:
            bar.update(frames)

        found = analyse(config, Path(to), detector, device, detect_every, seen)
    say(*([json.dumps(found.to_json())] if as_json else found.lines()))
    return 0
