"""`skate demo`."""

import json
from pathlib import Path
from typing import Any

import click

from stages.bounds import CLIP_FRAMES, CLIP_SEED, CLIP_SIDE
from stream.cli.options import GroupedCommand, option, options_of, stack, was_given
from stream.cli.say import say, say_text
from stream.options.table import GENERATION, TRACKING
from stream.options.values import FOLDER, INTEGER, SIZE

# Its object is known, and what is tracked is compared frame by frame and pixel by pixel.
_NOT_FOR_DEMO = ("--out", "--box", "--point", "--object-mask", "--prompt-frame", "--work-height", "--fps")
CAMERAS = ("steady", "handheld", "far", "cuts", "pan")
CLIP_SIZES = {"far": (1280, 720)}
_DEFAULTS = {"sam": "mini", "pose": "mini", "detector": "mini", "track_view": "follow"}


@click.command("demo", cls=GroupedCommand)
@stack(
    [
        option("clip", "--out", type=FOLDER, default="runs/demo", help="The run directory."),
        option("clip", "--frames", type=INTEGER, bounds=CLIP_FRAMES, default=201, help="Length of the clip."),
        option(
            "clip",
            "--clip-size",
            type=SIZE,
            bounds=CLIP_SIDE,
            help="Its size [default: 640x360; with --camera far 1280x720].",
        ),
        option("clip", "--clip-seed", type=INTEGER, bounds=CLIP_SEED, default=1, help="Its scene."),
        option("clip", "--camera", type=click.Choice(CAMERAS), default="steady", help="Who films it, and from where."),
        option("clip", "--skaters", type=INTEGER, default=1, help="How many, 1 to 5."),
        option("clip", "--boards", type=INTEGER, default=1, help="How many, 1 to 5; skater N rides board N."),
        option("clip", "--shots", type=INTEGER, help="How many, with --camera cuts [default: 5]."),
        option("clip", "--truth", type=FOLDER, help="Folder for all that the renderer knows."),
        options_of(TRACKING, GENERATION, without=_NOT_FOR_DEMO, defaults=_DEFAULTS),
    ]
)
def demo_command(
    out: str, frames: int, clip_size: tuple[int, int] | None, clip_seed: int, truth: str | None, **options: Any
) -> int:
    """Render a synthetic skate clip whose masks and keypoints are known, run everything on it with the small models
    that ship with this package (no network, no GPU), and print how accurate pose and masks are. Takes the options of
    `skate run` too. Exit 0 when the accuracy bounds hold.
    """
    from stream.demo import DemoConfig
    from stream.demo.job import run_demo, truth_text
    from stream.progress.listeners import fitting_listener

    as_json, overwrite = options.pop("as_json"), options.pop("overwrite")
    scene = {name: options.pop(name) for name in ("camera", "skaters", "boards", "shots")}
    if max(scene["skaters"], scene["boards"]) > 1 and not was_given("track_view"):
        options["track_view"] = "full"  # a pass a subject would be many
    width, height = clip_size or CLIP_SIZES.get(scene["camera"], (640, 360))
    clip = DemoConfig(frames=frames, width=width, height=height, seed=clip_seed, **scene)
    with fitting_listener(as_json) as listener:
        result, accuracy = run_demo(clip, Path(out), options, overwrite, Path(truth) if truth else None, listener)
    if not as_json:
        from stream.progress.terminal import fitting
        from stream.report.closing import closing_text

        say_text(fitting(closing_text(result)))
        say_text(truth_text(accuracy))
        if accuracy.holds():
            passed = ", and every frame passes the gate" if result.gate == "passed" else ""
            say(f"demo     every bound holds{passed}: this installation works")
        else:
            say("demo     a bound FAILED: see `skate check`, and whether the frames and size are the defaults")
    else:
        say(json.dumps({"event": "done", **result.to_json(), "truth": accuracy.to_json()}))
    return 0 if accuracy.holds() else 1
