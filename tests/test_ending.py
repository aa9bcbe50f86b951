"""How commands end when something goes wrong that nobody foresaw: one line, a code of its own, never the gate's 1."""

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import av
import pytest
from _runs import invoke, small_clip

from storage.address import run_path
from storage.errors import EnvironmentFault, InputError, SkateError
from stream import cli
from stream.cli.ending import TRACEBACK
from stream.cli.say import say, say_text
from stream.progress.events import Note
from stream.progress.listeners import JsonLines, PlainLines
from stream.progress.terminal import TerminalLines
from stream.report.tables import text_table
from stream.run import status
from stream.run.trouble import CONTINUES, clear_lines


def fail_with(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    """Let `skate status` fail so."""

    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(status, "read_status", fail)


@pytest.mark.parametrize(
    "error",
    [KeyError("iou"), AttributeError("x"), RecursionError(), AssertionError(), OSError("strange"), SystemExit(1)],
    ids=repr,
)
def test_a_crash_is_no_verdict(error: BaseException, monkeypatch: pytest.MonkeyPatch) -> None:
    fail_with(monkeypatch, error)
    ended = invoke(["status", "RUN"])
    assert ended.code == 70 and len(ended.err.splitlines()) == 1 and ended.out == ""
    for part in ("a fault of skate itself", type(error).__name__, "at stream.cli.status:", "please report", TRACEBACK):
        assert part in ended.err


def test_a_crash_with_json_is_one_object(monkeypatch: pytest.MonkeyPatch) -> None:
    fail_with(monkeypatch, ValueError("first line\nsecond \x1b[2J line"))
    ended = invoke(["status", "RUN", "--json"])
    event = json.loads(ended.out)
    assert ended.code == event["code"] == 70 and event["event"] == "error" and ended.err == ""
    assert "ValueError: first line second" in event["message"]


def test_names_of_others_do_nothing_to_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    fail_with(monkeypatch, InputError("a\nb\x1b]0;pwned\x07\u202e.mp4: is no video"))
    ended = invoke(["status", "RUN"])
    assert ended.code == 3 and ended.err == "skate: a b\\x1b]0;pwned\\x07\\u202e.mp4: is no video\n"


def test_what_is_said_on_the_way_does_nothing_to_one_either(capfd: pytest.CaptureFixture[str]) -> None:
    note = Note(None, "clip \x1b[2J\rgone\x9b1m.mp4")
    with TerminalLines(tick_seconds=0) as told:
        told(note)
    for listener in (PlainLines(), JsonLines()):
        listener(note)
    say(note.text)
    ended = capfd.readouterr()
    shown = "clip \\x1b[2J\\rgone\\x9b1m.mp4"
    assert ended.out == f"{shown}\n" and ended.err.count(shown) == 3


def test_a_line_end_in_a_name_ends_no_line(capfd: pytest.CaptureFixture[str]) -> None:
    say("page     a\nb", "")
    say_text(text_table(["name", "state"], [["c\nd", "done"]]))
    damaged = status.Status(Path("e\nf"), 0, 0, {}, "done", ["x\ny"], None, None, None, None, redo=(1,))
    say_text(status.status_text(damaged))
    lines = capfd.readouterr().out.splitlines()
    assert lines[:5] == [r"page     a\nb", "", "name  state", "----  -----", r"c\nd  done"]
    assert len(lines) == 10 and lines[8] == r"damaged   x\ny" and lines[7].count(r"e\nf") == 2 and r"e\nf" in lines[9]


def test_commands_speak_through_one_function() -> None:
    others = {"say.py": 1, "options.py": 1, "files.py": 1}  # the help; options to be written to a file
    for file in Path(cli.__file__).parent.glob("*.py"):
        assert file.read_text(encoding="utf-8").count("click.echo(") == others.get(file.name, 0), file.name


def test_the_traceback_is_there_on_demand(monkeypatch: pytest.MonkeyPatch) -> None:
    fail_with(monkeypatch, KeyError("iou"))
    monkeypatch.setenv(TRACEBACK, "1")
    ended = invoke(["status", "RUN"])
    assert ended.code == 70 and "Traceback (most recent call last)" in ended.err
    assert ended.err.splitlines()[-1].startswith("skate: a fault of skate itself")


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (OSError(errno.ENOSPC, "No space left on device", "R/report/iou.csv"), "R/report/iou.csv: No space left on"),
        (PermissionError(errno.EACCES, "Permission denied", "R/x"), "R/x: Permission denied: mend the permissions"),
        (
            OSError(errno.EFBIG, "File too large", "R/x"),
            "R/x: File too large: raise the limit on a file's size (ulimit",
        ),
        (
            OSError(errno.EMFILE, "Too many open files"),
            "Too many open files: raise the limit on open files (ulimit -n)",
        ),
        (MemoryError(), "memory ran out (MemoryError)"),
        (ModuleNotFoundError("No module named 'rtmlib'", name="rtmlib"), "a package does not load (No module named"),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_faults_of_the_machine_are_not_the_programs(
    error: BaseException, line: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    fail_with(monkeypatch, error)
    ended = invoke(["status", "RUN"])
    assert ended.code == 4 and ended.err.startswith(f"skate: {line}") and len(ended.err.splitlines()) == 1


def test_what_goes_on_is_said_of_what_is_there(tmp_path: Path) -> None:
    """`skate resume` of what was never begun would end with another error."""
    fault = OSError(errno.EACCES, "Permission denied", str(tmp_path))
    for begun, line in ((False, "then give the same command again"), (True, f"then `skate resume {tmp_path}`")):
        if begun:
            (tmp_path / "run.json").touch()
        with pytest.raises(EnvironmentFault, match=f"mend the permissions, {line}$"), clear_lines(tmp_path):
            raise fault
    for out, told in ((tmp_path, "continues$"), (tmp_path / "new", "model$")):
        with pytest.raises(EnvironmentFault, match=told), clear_lines(out):
            raise MemoryError


ARENA = (
    "[ONNXRuntimeError] : 6 : RUNTIME_EXCEPTION : Non-zero status code returned while running Conv node. Name:'Conv_0' "
    "Status Message: /onnxruntime_src/onnxruntime/core/framework/bfc_arena.cc:376 void* "
    "onnxruntime::BFCArena::AllocateRawInternal(size_t, bool, onnxruntime::Stream*) "
    "Failed to allocate memory for requested buffer of size 1073741824"
)
CUBLAS = "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"
CUDNN = "cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED"
FULL = "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 7.78 GiB"


@pytest.mark.parametrize(
    ("error", "what", "shared"),
    [
        (RuntimeError(FULL), FULL, True),
        (RuntimeError(CUBLAS), CUBLAS, True),
        (RuntimeError(CUDNN), CUDNN, True),
        ((ARENA, "ONNX Runtime failed on CUDA in pose.onnx"), "Failed to allocate memory for requested buffer", True),
        ((ARENA, "ONNX Runtime failed in pose.onnx"), "Failed to allocate memory for requested buffer", False),
    ],
)
def test_a_full_gpu_is_told_with_what_makes_room(
    error: Exception | tuple[str, str], what: str, shared: bool, tmp_path: Path
) -> None:
    if isinstance(error, tuple):
        error = caused(EnvironmentFault(error[1]), RuntimeError(error[0]))
    with pytest.raises(EnvironmentFault) as raised, clear_lines(tmp_path):
        raise error
    assert raised.value.exit_code == 4 and str(raised.value).startswith(f"memory ran out ({what}")
    assert ("--share-gpu yes" in str(raised.value)) is shared


def caused(error: SkateError, cause: BaseException) -> SkateError:
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (caused(InputError("a.mp4: is damaged"), MemoryError()), "memory ran out (MemoryError)"),
        (OSError(errno.EAGAIN, "Resource temporarily unavailable"), "memory ran out"),
        (
            OSError(errno.EISDIR, "Is a directory", ".tmp", None, "R/iou.csv"),
            "R/iou.csv: Is a directory: a file belongs",
        ),
        (caused(InputError("a.mp4: is damaged"), av.error.MemoryError(errno.ENOMEM, "table")), None),
        (ModuleNotFoundError("No module named 'stages.x'", name="stages.x"), None),
        (BrokenPipeError(errno.EPIPE, "Broken pipe"), None),
        (InputError("a.mp4: is no video"), None),
    ],
    ids=repr,
)
def test_only_faults_of_the_machine_are_turned_into_lines_of_a_run(
    error: Exception, line: str | None, tmp_path: Path
) -> None:
    with pytest.raises(EnvironmentFault if line else type(error)) as raised, clear_lines(tmp_path):
        raise error
    assert str(raised.value).startswith(line) if line else raised.value is error


def test_an_interruption_says_that_what_was_begun_goes_on(tmp_path: Path) -> None:
    for begun in (False, True):
        if begun:
            (tmp_path / "run.json").touch()
        with pytest.raises(KeyboardInterrupt) as raised, clear_lines(tmp_path):
            raise KeyboardInterrupt
        assert getattr(raised.value, "__notes__", []) == [CONTINUES] * begun
    with (
        pytest.raises(EnvironmentFault, match="`skate resume s3://bucket/run` continues"),
        clear_lines(run_path("s3://bucket/run")),
    ):
        raise MemoryError


def skate(arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    """`skate` in a shell, as people redirect it."""
    return subprocess.run(
        ["/bin/sh", "-c", f"{sys.executable} -m stream.cli {arguments}"],
        capture_output=True,
        text=True,
        encoding="utf-8",
        errors="surrogateescape",
        timeout=120,
        check=False,
        env={**os.environ, **environment},
    )


@pytest.mark.parametrize("arguments", ["models list", "--help"])
def test_a_reader_that_went_away_is_no_fault(arguments: str) -> None:
    read, write = os.pipe()
    os.close(read)
    line = [sys.executable, "-m", "stream.cli", *arguments.split()]
    ended = subprocess.run(line, stdout=write, stderr=subprocess.PIPE, text=True, timeout=120, check=False)
    os.close(write)
    assert (ended.returncode, ended.stderr) == (141, "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="Linux has /dev/full, other systems do not")
@pytest.mark.parametrize("arguments", ["models list", "models list --json", "--help"])
def test_a_full_output_is_one_line(arguments: str) -> None:
    ended = skate(f"{arguments} > /dev/full")
    assert ended.returncode == 4 and ended.stderr.startswith("skate: stdout: No space left on device")
    assert len(ended.stderr.splitlines()) == 1


def test_a_closed_output_is_nobodys_fault() -> None:
    assert skate("models list >&-").returncode == 0
    ended = skate("status nowhere >&- 2>&-")
    assert (ended.returncode, ended.stdout, ended.stderr) == (6, "", "")


@pytest.mark.skipif(sys.platform != "linux", reason="names that are not UTF-8 cannot be made elsewhere")
def test_names_that_the_output_cannot_show_are_shown_with_escapes(tmp_path: Path) -> None:
    clip = small_clip(tmp_path)
    japanese = skate(f"frame {clip} --to {tmp_path}/日本.png", PYTHONIOENCODING="cp1252")
    assert japanese.returncode == 0 and "\\u65e5\\u672c.png: frame 0" in japanese.stdout
    raw = skate(f"frame {clip} --to {tmp_path}/$(printf 'out\\377').png")
    assert raw.returncode == 0 and "out\\udcff.png: frame 0" in raw.stdout
    assert any(os.fsencode(path.name) == b"out\xff.png" for path in tmp_path.iterdir())
