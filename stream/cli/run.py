"""`skate run`, `skate extract`, `skate resume`."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from storage.address import run_path
from stream.cli.options import SCRATCH, GroupedCommand, chosen, option, options_of, was_given
from stream.cli.say import say, say_text
from stream.options.table import GENERATION, SCENE, TRACKING
from stream.options.values import TEXT

if TYPE_CHECKING:
    from stream.progress.events import Listener
    from stream.report.result import Result


def _begin(video: str, options: dict[str, Any], chain: str) -> int:
    from stream.options.settings import config_from_options
    from stream.run.lifecycle import start

    out = run_path(options.pop("out"))
    as_json, overwrite = options.pop("as_json"), options.pop("overwrite")
    config = config_from_options(video, chain, options, out)
    return carry_out(lambda listener: start(config, out, overwrite, listener), as_json)


def carry_out(work: "Callable[[Listener], Result]", as_json: bool) -> int:
    """Do what a command asks for, tell how it goes on and how it ended; returns the exit code."""
    from stream.progress.listeners import fitting_listener

    with fitting_listener(as_json) as listener:
        result = work(listener)
    return report_end(result, as_json)


def report_end(result: "Result", as_json: bool) -> int:
    """Print how a run ended, on stdout; returns the exit code."""
    from stream.progress.terminal import fitting
    from stream.report.closing import closing_hint, closing_text

    say_text(json.dumps({"event": "done", **result.to_json()}) if as_json else fitting(closing_text(result)))
    hint = closing_hint(result.run)
    if hint is not None:
        say(*([hint] if as_json else fitting(hint).split("\n")), err=as_json)
    return 1 if result.gate == "failed" else 0


ASKED = option(
    "subjects",
    "--server",
    type=TEXT,
    multiple=True,
    metavar="HOST:PORT",
    short=False,
    help="ComfyUI server that --find and --amodal ask; repeatable.",
)


@click.command("run", cls=GroupedCommand)
@click.argument("video")
@options_of(TRACKING, GENERATION, SCENE)
def run_command(video: str, write_scene: str | None, **options: Any) -> int:
    """Reskin VIDEO (a file, or an http(s) address) and prove that the object stayed where it was. The object is given
    by one of --box, --point or --object-mask, or all subjects by a --scene. An unfinished run of the same options is
    continued.
    """
    return _begin(video, options, "run") if write_scene is None else _write_scene(write_scene, options)


@click.command("extract", cls=GroupedCommand)
@click.argument("video")
@options_of(TRACKING, SCENE)
@ASKED
def extract_command(video: str, write_scene: str | None, **options: Any) -> int:
    """Pose and masks of VIDEO only: nothing is generated, so there is no gate. Of the object and the person, or of all
    subjects of a --scene.
    """
    return _begin(video, options, "extract") if write_scene is None else _write_scene(write_scene, options)


def _write_scene(path: str, options: dict[str, Any]) -> int:
    from stages.region import DILATE
    from stream.cli.files import check_replaced
    from stream.options.scene import read_scene, write_scene
    from stream.options.settings import cast_from_options

    check_replaced(Path(path), f"--write-scene {path}", lambda: read_scene(Path(path)))
    cast = cast_from_options(options)
    write_scene(Path(path), cast.by_options(options.get("reskin") or "both", options.get("dilate") or DILATE))
    return 0


@click.command("resume", cls=GroupedCommand)
@click.argument("run", type=click.Path(file_okay=False))
@chosen("timeout", "share_gpu", "as_json")
@SCRATCH
def resume_command(run: str, as_json: bool, **options: Any) -> int:
    """Continue the interrupted run in RUN; on a finished one, print its result again."""
    from stream.run.lifecycle import resume

    given = {name: value for name, value in options.items() if was_given(name)}
    return carry_out(lambda listener: resume(run_path(run), given, listener), as_json)
