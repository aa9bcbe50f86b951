"""The command line. Importing it costs little: each command's module is loaded when the command is called."""

import difflib
import importlib
import os
import sys
from collections.abc import Sequence
from functools import partial

import click

from storage.errors import Interrupted
from stream.cli.ending import ended, leave_at_once, leave_at_once_when_interrupted
from stream.engine.arenas import limit_arenas
from stream.engine.signals import Leaving

_COMMANDS = {
    "run": ("stream.cli.run:run_command", "Reskin a clip: decode, pose, track, generate, blend, encode, score."),
    "resume": ("stream.cli.run:resume_command", "Continue an interrupted run."),
    "status": ("stream.cli.status:status_command", "Windows done by stage, IoU so far, what is damaged."),
    "extract": ("stream.cli.run:extract_command", "Pose and masks only."),
    "generate": ("stream.cli.generate:generate_command", "Another variation from tracking that is done."),
    "redo": ("stream.cli.redo:redo_command", "Generate single windows again."),
    "evaluate": ("stream.cli.evaluate:evaluate_command", "The IoU gate alone, a line a frame."),
    "export": ("stream.cli.export:export_command", "Masks, skeletons and metadata as files for ComfyUI."),
    "analyse": ("stream.cli.analyse:analyse_command", "Shots, persons, camera and rate of a clip: a scene to edit."),
    "pick": ("stream.cli.pick:pick_command", "A page on this machine to click subjects on, and to correct a run."),
    "frame": ("stream.cli.frame:frame_command", "One frame with rulers, to read a box from."),
    "models": ("stream.cli.models:models", "The weight files: list, fetch, verify."),
    "workflows": ("stream.cli.workflows:workflows", "The generators' recipes: list, show, check on a server."),
    "check": ("stream.cli.check:check", "What is installed and what is missing."),
    "batch": ("stream.cli.batch:batch", "Many clips from a file of jobs: run, status, plan."),
    "report": ("stream.cli.report:report_command", "Summary, IoU table and pictures from what is there."),
    "demo": ("stream.cli.demo:demo_command", "Render a synthetic skate clip, run everything on it, print accuracy."),
    "bench": ("bench.command:bench_command", "VRAM, RAM and time of every stage and window."),
}


class _LazyGroup(click.Group):
    """Knows its commands by name and imports one only when it is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        module, _, attribute = _COMMANDS[cmd_name][0].partition(":")
        command: click.Command = getattr(importlib.import_module(module), attribute)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            close = difflib.get_close_matches(args[0], _COMMANDS, n=1)
            meant = f" Did you mean '{close[0]}'?" if close else ""
            raise click.UsageError(f"No such command '{args[0]}'.{meant}", ctx) from error

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in _COMMANDS.items()])


@click.command(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="skate-physics-preserver", prog_name="skate")
def cli() -> None:
    """Reskins a human-object interaction in a long clip, window by window, on this machine, and proves that the object
    kept its physical boundary.

    Exit codes: 0 done, 1 gate failed, 2 usage, 3 input, 4 environment, 5 generator, 6 run directory, 70 a fault of
    this program, 130 interrupted.
    """


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point of the console script `skate`: runs a command and ends with its exit code."""
    # Spinning OpenMP threads made tracking 20 to 40 times slower on 2 cores; read when torch loads, so set before.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    # numpy asks for huge pages; the kernel fills them up behind its back, and the resident size creeps up for an hour.
    os.environ.setdefault("NUMPY_MADVISE_HUGEPAGE", "0")
    limit_arenas()
    given = list(sys.argv[1:] if arguments is None else arguments)
    with Leaving(leave_at_once).installed():  # SIGTERM is as Ctrl-C: exit code 130, whatever is going on
        try:
            code = ended(partial(cli.main, args=given, prog_name="skate", standalone_mode=False), "--json" in given)
        except KeyboardInterrupt:  # it came as the end of something else was told
            code = Interrupted.exit_code
        if arguments is None:  # called as the command itself
            leave_at_once_when_interrupted()
    sys.exit(code)
