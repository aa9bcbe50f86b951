"""`skate run`, `skate extract`, `skate resume`."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from stream.cli.options import (
    GATE_OPTIONS,
    GENERATION_OPTIONS,
    INPUT_OPTIONS,
    JSON,
    KEEP,
    LIMIT_OPTIONS,
    MODEL_OPTIONS,
    OUT,
    OUTPUT_OPTIONS,
    OVERWRITE,
    PROMPT_OPTIONS,
    SHARE_GPU,
    GroupedCommand,
    option,
    stack,
)

if TYPE_CHECKING:
    from stream.progress.events import Listener

RUN_OPTIONS = [
    OUT,
    *PROMPT_OPTIONS,
    *INPUT_OPTIONS,
    *GENERATION_OPTIONS,
    *MODEL_OPTIONS,
    *GATE_OPTIONS,
    *LIMIT_OPTIONS,
    *OUTPUT_OPTIONS,
]
EXTRACT_OPTIONS = [
    OUT,
    *PROMPT_OPTIONS,
    *INPUT_OPTIONS,
    *MODEL_OPTIONS,
    *LIMIT_OPTIONS,
    KEEP,
    JSON,
    OVERWRITE,
]


def _begin(video: str, options: dict[str, Any], chain: str) -> int:
    from stream.options.settings import config_from_options
    from stream.run.lifecycle import start

    out = Path(options.pop("out"))
    as_json, overwrite = options.pop("as_json"), options.pop("overwrite")
    config = config_from_options(video, chain, options, out)
    return carry_out(lambda listener: start(config, out, overwrite, listener), as_json)


def carry_out(work: "Callable[[Listener], dict[str, Any]]", as_json: bool) -> int:
    """Do what a command asks for, tell how it goes on and how it ended; returns the exit code."""
    from stream.progress.listeners import fitting_listener

    with fitting_listener(as_json) as listener:
        summary = work(listener)
    return report_end(summary, as_json)


def report_end(summary: dict[str, Any], as_json: bool) -> int:
    """Print how a run ended, on stdout; returns the exit code."""
    from stream.progress.terminal import fitting
    from stream.report.closing import closing_hint, summary_text

    click.echo(json.dumps({"event": "done", **summary}) if as_json else summary_text(summary))
    hint = closing_hint(Path(summary["run"]))
    if hint is not None:
        click.echo(hint if as_json else fitting(hint), err=as_json)
    return 1 if summary["gate"] == "failed" else 0


@click.command("run", cls=GroupedCommand)
@click.argument("video")
@stack(RUN_OPTIONS)
def run_command(video: str, **options: Any) -> int:
    """Reskin VIDEO (a file, or an http(s) address) and prove that the object stayed where it was. The object is given
    by one of --box, --point or --object-mask. An unfinished run of the same options in --out is continued.
    """
    return _begin(video, options, "run")


@click.command("extract", cls=GroupedCommand)
@click.argument("video")
@stack(EXTRACT_OPTIONS)
def extract_command(video: str, **options: Any) -> int:
    """Pose and masks of VIDEO only: nothing is generated, so there is no gate."""
    return _begin(video, options, "extract")


@click.command("resume", cls=GroupedCommand)
@click.argument("run", type=click.Path(file_okay=False))
@stack([option("limits", "--timeout", type=float, help="Seconds for one generated window."), SHARE_GPU, JSON])
def resume_command(run: str, as_json: bool, **options: Any) -> int:
    """Continue the interrupted run in RUN; on a finished one, print its result again."""
    from stream.run.lifecycle import resume

    source = click.get_current_context().get_parameter_source
    given = {name: value for name, value in options.items() if source(name) is ParameterSource.COMMANDLINE}
    return carry_out(lambda listener: resume(Path(run), given, listener), as_json)
