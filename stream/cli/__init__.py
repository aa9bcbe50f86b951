"""The command line. Importing it costs little: each command's module is loaded when the command is called."""

import difflib
import importlib
import json
import os
import signal
import sys
import threading
from collections.abc import Sequence

import click

from storage.errors import Interrupted, SkateError
from stream.engine.arenas import limit_arenas

_COMMANDS = {
    "run": ("stream.cli.run:run_command", "Reskin a clip: decode, pose, track, generate, blend, encode, score."),
    "resume": ("stream.cli.run:resume_command", "Continue an interrupted run."),
    "status": ("stream.cli.status:status_command", "Windows done by stage, IoU so far, what is damaged."),
    "extract": ("stream.cli.run:extract_command", "Pose and masks only."),
    "generate": ("stream.cli.generate:generate_command", "Another variation from tracking that is done."),
    "redo": ("stream.cli.redo:redo_command", "Generate single windows again."),
    "evaluate": ("stream.cli.evaluate:evaluate_command", "The IoU gate alone, a line a frame."),
    "export": ("stream.cli.export:export_command", "Masks, skeletons and metadata as files for ComfyUI."),
    "frame": ("stream.cli.frame:frame_command", "One frame with rulers, to read a box from."),
    "models": ("stream.cli.models:models", "The weight files: list, fetch, verify."),
    "check": ("stream.cli.check:check", "What is installed and what is missing."),
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

    Exit codes: 0 done, 1 gate failed, 2 usage, 3 input, 4 environment, 5 generator, 6 run directory, 130 interrupted.
    """


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point of the console script `skate`: runs a command and ends with its exit code."""
    # Spinning OpenMP threads made tracking 20 to 40 times slower on 2 cores; read when torch loads, so set before.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    # numpy asks for huge pages; the kernel fills them up behind its back, and the resident size creeps up for an hour.
    os.environ.setdefault("NUMPY_MADVISE_HUGEPAGE", "0")
    limit_arenas()
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C: exit code 130, whatever is going on
    given = list(sys.argv[1:] if arguments is None else arguments)
    sys.exit(_run(given, as_json="--json" in given))


def _run(arguments: list[str], as_json: bool) -> int:
    try:
        code = cli.main(args=arguments, prog_name="skate", standalone_mode=False)
        return code if isinstance(code, int) else 0
    except SkateError as error:
        return _fail(error.exit_code, str(error), as_json)
    except click.exceptions.NoArgsIsHelpError as error:
        print(error.format_message(), file=sys.stderr)  # `skate` alone: the help, as it is
        return 2
    except click.exceptions.Exit as error:
        return int(error.exit_code)
    except click.ClickException as error:
        hint = f" (see `{error.ctx.command_path} --help`)" if isinstance(error, click.UsageError) and error.ctx else ""
        return _fail(2, error.format_message() + hint, as_json)
    except (KeyboardInterrupt, click.Abort):
        return _fail(Interrupted.exit_code, "interrupted: what is committed is kept, `skate resume` continues", as_json)
    except BrokenPipeError:
        # The reader of our output went away (`skate evaluate ... | head`): end as SIGPIPE would have ended us.
        sys.stdout = sys.stderr = open(os.devnull, "w")  # noqa: SIM115 - stays open until the process ends
        return 128 + 13


def _fail(code: int, message: str, as_json: bool) -> int:
    if as_json:
        print(json.dumps({"event": "error", "code": code, "message": message}), flush=True)
    else:
        print(f"skate: {message}", file=sys.stderr)
    return code
