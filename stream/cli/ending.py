"""How a command ends: whatever happens in it becomes one line and an exit code. A crash never looks like a verdict."""

import importlib.metadata
import json
import os
import signal
import sys
import traceback
from collections.abc import Callable
from contextlib import suppress
from io import TextIOWrapper
from types import FrameType
from typing import IO

import click

from storage.errors import Interrupted, SkateError, UsageError
from stream.engine.signals import asked_by

TRACEBACK = "SKATE_TRACEBACK"  # set to 1: the traceback is printed before the line
BROKEN_PIPE = 128 + 13  # as a shell tells the end by SIGPIPE
_MOST_OF_A_LINE = 1800  # characters; names in it may be of any length
_MOST_OF_A_MESSAGE = 300  # characters of an exception that nobody wrote for a reader


def ended(command: Callable[[], object], as_json: bool) -> int:
    """Call a command and give the exit code: its own, or that of what it raised, which is told in one line."""
    _open_closed_streams()
    stdout = sys.stdout
    try:
        code = command()
        sys.stdout.flush()  # a full disk shows here, not when the interpreter is gone
        return code if isinstance(code, int) else 0
    except click.exceptions.Exit as error:
        return int(error.exit_code)
    except click.exceptions.NoArgsIsHelpError as error:
        print(error.format_message(), file=sys.stderr)  # `skate` alone: the help, as it is
        return UsageError.exit_code
    except click.ClickException as error:
        hint = f" (see `{error.ctx.command_path} --help`)" if isinstance(error, click.UsageError) and error.ctx else ""
        return _told(UsageError.exit_code, error.format_message() + hint, as_json)
    except (KeyboardInterrupt, click.Abort) as error:
        asked = error.__cause__ or error  # click makes an Abort of a KeyboardInterrupt
        kept = " ".join(getattr(asked, "__notes__", ())) or "give the same command again"
        return _told(Interrupted.exit_code, f"interrupted: {kept}", as_json)
    except SystemExit as error:
        if sys.stdout is not stdout:  # click's doing where a write met a broken pipe; then it exits with 1
            return BROKEN_PIPE
        return _of_error(error, as_json)
    except Exception as error:  # noqa: BLE001 - the one place where nothing may pass
        return _of_error(error, as_json)


def _of_error(error: BaseException, as_json: bool) -> int:
    if os.environ.get(TRACEBACK, "") not in ("", "0"):
        traceback.print_exception(error)
    if isinstance(error, SkateError):
        return _told(error.exit_code, str(error), as_json)
    if isinstance(error, OSError) and (output := _lost_output(error)) is not None:
        if isinstance(error, BrokenPipeError):
            return BROKEN_PIPE  # the reader of our output went away (`skate evaluate ... | head`)
        return _told(4, f"{output}: {error.strerror or error}: what was to be printed is lost; give it room", as_json)
    return _told(*fault_of(error), as_json)


def fault_of(error: BaseException) -> tuple[int, str]:
    """The exit code and the line of whatever ended a command."""
    if isinstance(error, SkateError):
        return error.exit_code, str(error)
    from stream.run.trouble import machine_fault  # not at the top: it loads PyAV

    fault = machine_fault(error)
    return (fault.exit_code, str(fault)) if fault else (SkateError.exit_code, _fault(error))


def _fault(error: BaseException) -> str:
    """The line about a fault of the program itself: what, where in its source, and how to report it."""
    from stream.run.trouble import OURS

    message = " ".join(str(error).split())[:_MOST_OF_A_MESSAGE]
    ours = [f"{module}:{line}" for module, line in _places(error) if module.partition(".")[0] in OURS]
    where = f" at {ours[-1]}" if ours else ""
    return (
        f"a fault of skate itself, not of your input: {type(error).__name__}: {message}{where}, version "
        f"{_version()}: what is committed is kept; please report the command, this line, and what {TRACEBACK}=1 "
        "before the command prints"
    )


def _places(error: BaseException) -> list[tuple[str, int]]:
    """Module and line of every call that the exception came through, the innermost last."""
    frames = traceback.walk_tb(error.__traceback__)
    return [(str(frame.f_globals.get("__name__", "")), line) for frame, line in frames]


def _version() -> str:
    try:
        return importlib.metadata.version("skate-physics-preserver")
    except importlib.metadata.PackageNotFoundError:
        return "unknown"


def _told(code: int, message: str, as_json: bool) -> int:
    """Tell the line where it is looked for, else where it can be told; without anybody to tell, the code is left."""
    from storage.boundary import visible  # not at the top: it loads msgspec

    message = visible(" ".join(message.split()))
    message = message if len(message) <= _MOST_OF_A_LINE else f"{message[:_MOST_OF_A_LINE]}..."
    if not (as_json and _printed(json.dumps({"event": "error", "code": code, "message": message}), sys.stdout)):
        _printed(f"skate: {message}", sys.stderr)
    _broken_output()
    return code


def _printed(line: str, stream: IO[str]) -> bool:
    try:
        print(line, file=stream, flush=True)
    except OSError:
        return False
    return True


def _lost_output(error: OSError) -> str | None:
    """The name of the output that the error is about; None where it is about something else."""
    places = _places(error)
    by_click = bool(places) and places[-1][0].startswith("click.") and error.filename is None
    return _broken_output() or ("stdout" if by_click else None)  # much text at once leaves nothing to be flushed again


def _broken_output() -> str | None:
    """The name of an output that takes nothing any more; such are let go of, or the interpreter would complain."""
    found = None
    for name in ("stdout", "stderr"):
        try:
            getattr(sys, name).flush()
        except OSError:
            found = found or name
            setattr(sys, name, _nowhere())
    return found


def _open_closed_streams() -> None:
    """What was closed before the start (`>&-`) is the null device; no name is too strange to be printed.

    A name that is not UTF-8, or that a console's code page lacks, is shown with escapes.
    """
    for name in ("stdin", "stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, _nowhere("r" if name == "stdin" else "w"))
        elif name != "stdin" and isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _nowhere(mode: str = "w") -> IO[str]:
    return open(os.devnull, mode, encoding="utf-8", errors="backslashreplace")  # stays open until the process ends


def leave_at_once() -> None:
    """End the process in the midst of what it does, as a kill would."""
    with suppress(OSError):
        os.write(2, b"skate: ended at once: what is committed is kept, `skate resume` continues\n")
    os._exit(Interrupted.exit_code)


def leave_at_once_when_interrupted() -> None:
    """From here on the process only ends: another Ctrl-C must not turn that into a traceback."""

    def leave(number: int, frame: FrameType | None) -> None:
        os._exit(Interrupted.exit_code)

    for number in asked_by():
        signal.signal(number, leave)
