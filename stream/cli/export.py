"""`skate export`."""

import click

from storage.address import run_path
from stream.cli.options import SCRATCH, GroupedCommand, option, stack
from stream.cli.say import say
from stream.options.values import FOLDER


@click.command("export", cls=GroupedCommand)
@click.argument("run", type=click.Path(file_okay=False))
@stack(
    [
        option("output", "--to", required=True, type=FOLDER, help="The folder to write."),
        option(
            "output",
            "--pose-style",
            type=click.Choice(["controlnet", "vace", "wan-animate"]),
            metavar="STYLE",
            help="Of drawn skeletons: controlnet, vace or wan-animate.  [default: the run's]",
        ),
        option("output", "--view", is_flag=True, help="Also what the generator saw."),
        option("output", "--plate", is_flag=True, help="Also the clip without its subjects."),
        SCRATCH,
        option("output", "--amodal", is_flag=True, help="Also all of each subject, what others hide of it too."),
    ]
)
def export_command(run: str, to: str, pose_style: str | None, view: bool, plate: bool, amodal: bool) -> int:
    """Write masks, skeletons and metadata of RUN as files that ComfyUI's loaders take.

    mask_skateboard/frame_%05d.png and mask.mp4 (8-bit grey, white = object), pose_skater/frame_%05d.png and pose.mp4
    (RGB skeletons), pose_json/ (one CMU file a frame), pose.json (POSE_KEYPOINT), tracking_metadata.json. Frame numbers
    are the clip's; frames on which nothing was seen are black. With --view also view/frame_%05d.png, view.mp4 and
    views_generate.npy (source pixels to theirs, a 2x3 map a frame); with --plate plate/, plate.mp4 and plate_holes/
    (white = never seen, guessed); with --amodal amodal_NAME/ and amodal_NAME.mp4 of each subject.
    """
    from pathlib import Path

    from stream.report.export import export_run

    say(export_run(run_path(run), Path(to), pose_style, view, plate, amodal))
    return 0
