"""What a person sees while a run works: the lines themselves, and the screen of a real pseudo-terminal."""

import errno
import io
import os
import re
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from _runs import BOX, small_clip, small_models
from _screen import Screen, on_terminal

from storage.spans import Span
from stream.progress.counts import IouSoFar, Progress, StageProgress, clock_text, memory_text
from stream.progress.events import Event, GeneratorStep, Note, RunBegins, WindowDone
from stream.progress.listeners import PlainLines, fitting_listener
from stream.progress.terminal import Board, TerminalLines

STAGES = ("decode", "pose", "track", "generate", "composite", "blend", "sink", "score")
OF_A_RUN = (*STAGES[:3], "aim", "motion", "view", *STAGES[3:])
needs_pty = pytest.mark.skipif(os.name == "nt", reason="Windows has no pseudo-terminals of this kind")


def progress() -> Progress:
    """Two of five windows done, one of them by an earlier process."""
    found = Progress()
    found(RunBegins(None, 5, STAGES, dict.fromkeys(STAGES, 1)))
    for stage in STAGES:
        info = {"iou": [None, 0.95, 0.5, 1.0]} if stage == "score" else {}
        found(WindowDone(7, stage, 1, Span(60, 64), 2.0, info, rss_bytes=915_300_000, vram_peak_bytes=None))
    return found


def test_texts() -> None:
    assert [clock_text(value) for value in (0, 59.9, 60, 3599, 3600)] == ["0:00", "0:59", "1:00", "59:59", "1:00:00"]
    assert memory_text(915_300_000, None) == "RSS 915.3 MB"
    assert memory_text(915_300_000, 1_200_000_000) == "RSS 915.3 MB, VRAM peak 1.2 GB"
    seen = IouSoFar()
    seen.add(60, [None, 0.95, 0.5, 1.0])
    assert str(seen) == "mean 0.817, min 0.500 at frame 62" and seen.frames == 3


def test_a_line_a_stage_that_fits() -> None:
    lines = progress().lines(125, "RSS 1.0 GB, VRAM peak 2.0 GB", 79)
    assert lines[2] == "track     window 2 of 5    2.00 frames/s      0:06 left  RSS 915.3 MB"
    assert lines[-2] == "run       2:05 so far, about 0:42 left; RSS 1.0 GB, VRAM peak 2.0 GB"
    assert lines[-1] == "IoU       mean 0.817, min 0.500 at frame 62, over 3 frames of this process"
    assert "window 2 of 5  ############..................    2.00 frames/s" in progress().lines(1, "", 119)[0]
    for columns in (0, 1, 20, 40, 60, 79, 119, 200):
        assert max(map(len, progress().lines(1, "RSS 1.0 GB", columns))) <= columns


def test_what_is_not_known_is_not_told() -> None:
    unknown = StageProgress(None)
    assert unknown.line("pose", 79) == "pose      window 0" and unknown.seconds_left is None
    unknown.add(0, 81, 100.0, "RSS 1.0 GB")
    assert unknown.line("pose", 79).split() == ["pose", "window", "1", "0.81", "frames/s", "RSS", "1.0", "GB"]
    begun = Progress()
    begun(RunBegins(None, 3, STAGES, {}))
    assert begun.seconds_left is None and begun.lines(4, "RSS 1.0 GB", 79)[-1] == "run       0:04 so far; RSS 1.0 GB"


def test_more_windows_than_the_header_claimed_and_windows_made_again() -> None:
    stage = StageProgress(2, done=2)
    assert stage.time == ""  # an earlier process did them
    stage.add(0, 9, 1.0, "")
    assert stage.count == "2 of 2" and stage.seconds_left == 0.0 and stage.time == "took 0:01"
    stage.add(2, 9, 1.0, "")
    assert stage.count == "3 of 3"


def test_the_end_is_told() -> None:
    found = Progress()
    found(RunBegins(None, 1, ("decode", "pose"), {"decode": 1, "pose": 1}))
    assert found.lines(9, "RSS 1.0 GB", 79)[-1].endswith("all windows done; writing output and report; RSS 1.0 GB")
    assert found.lines(9, "RSS 1.0 GB", 79, ended=True)[-1] == "run       0:09 so far, all windows done; RSS 1.0 GB"


def window_done(stage: str, frames: int, seconds: float, info: dict[str, Any]) -> Event:
    return WindowDone(7, stage, 0, Span(0, frames), seconds, info)


def fitting(json_lines: bool) -> type:
    with fitting_listener(json_lines) as listener:
        return type(listener)


def test_steps_of_the_generator() -> None:
    out = io.StringIO()
    told = TerminalLines(out, tick_seconds=0)
    told(RunBegins(None, 3, STAGES, {}))
    told(GeneratorStep(None, 0, 4, 20))
    assert "step 4 of 20" in out.getvalue()
    told(window_done("generate", 81, 60.0, {}))
    screen = Screen(80, 24)
    screen.write(out.getvalue())
    assert "step" not in "\n".join(screen.lines) and "1.35 frames/s" in screen.lines[3]
    told.close()
    told.close()


def test_steps_of_the_generator_that_is_at_it() -> None:
    """Of several, one a subject: the first that has not made the window."""
    told = Progress()
    told(RunBegins(None, 3, ("generate-a", "generate-b", "generated"), {"generate-a": 1}))
    told(GeneratorStep(None, 0, 4, 20))
    assert {name: stage.step for name, stage in told.stages.items() if stage.step} == {"generate-b": "step 4 of 20"}
    told(GeneratorStep(None, 1, 5, 20))
    assert told.stages["generate-a"].step == "step 5 of 20" and not told.stages["generated"].step


def test_notes_and_warnings_stay_above(monkeypatch: pytest.MonkeyPatch) -> None:
    out = io.StringIO()
    monkeypatch.setattr(sys, "stderr", out)
    told = TerminalLines(tick_seconds=0.01)
    told(RunBegins(None, 3, STAGES, {}))
    told(Note(None, "plan     " + "a word " * 20))
    print("UserWarning: torch has something to say\n  warnings.warn(", file=sys.stderr)
    sys.stderr.write("half a line")
    thread = threading.Thread(target=told, args=(window_done("decode", 81, 1.0, {}),))
    thread.start()
    thread.join()
    told.close()
    assert sys.stderr is out
    print("skate: an error", file=sys.stderr)
    screen = Screen(80, 24)
    screen.write(out.getvalue())
    lines = screen.lines
    assert lines[0].startswith("plan     a word") and lines[1].startswith("         ") and "a word" in lines[1]
    assert any("torch has something to say" in line for line in lines[2:5])
    assert lines[-len(STAGES) - 3] == "half a line"
    assert [line.split()[0] for line in lines[-len(STAGES) - 2 :]] == [*STAGES, "run", "skate:"]
    assert max(map(len, lines)) <= 79


def test_a_low_or_narrower_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    out = io.StringIO()
    board = Board(out)
    sizes = {"now": os.terminal_size((40, 5))}
    monkeypatch.setattr(out, "fileno", lambda: 1)
    monkeypatch.setattr(os, "get_terminal_size", lambda _: sizes["now"])
    board.draw([f"line {index} " + "x" * 50 for index in range(9)])
    screen = Screen(40, 5)
    screen.write(out.getvalue())
    assert len(screen.lines) == 4 and screen.lines[-1].startswith("line 8") and len(screen.lines[0]) == 39
    out.truncate(0)
    sizes["now"] = os.terminal_size((20, 24))  # what is shown wraps: each line takes two rows now
    board.draw(["short"])
    assert "\x1b[8A" in out.getvalue()
    sizes["now"] = os.terminal_size((0, 0))
    assert board.size() == (79, 23)


def test_a_terminal_that_was_closed_ends_nothing() -> None:
    class Closed(io.StringIO):
        def write(self, text: str) -> int:
            raise OSError(errno.EIO, "Input/output error")

    with TerminalLines(Closed(), tick_seconds=0) as listener:
        listener(RunBegins(None, 5, STAGES, dict.fromkeys(STAGES, 1)))
        listener(Note(None, "a word"))


def test_ctrl_c_while_the_ticker_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(thread: threading.Thread) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(threading.Thread, "start", interrupted)
    with pytest.raises(KeyboardInterrupt), TerminalLines(io.StringIO()) as listener:
        listener(RunBegins(None, 5, STAGES, dict.fromkeys(STAGES, 1)))


def test_what_an_idle_stage_takes_is_no_speed() -> None:
    out = io.StringIO()
    plain, drawn = PlainLines(out), Progress()
    for event in (RunBegins(None, 3, STAGES, {}), window_done("track", 3, 1e-6, {})):
        plain(event)
        drawn(event)
    assert re.fullmatch(r"track     window 1 of 3: frames 0\.\.3, (0:00 left, )?RSS .*\n", out.getvalue())
    assert not drawn.stages["track"].speed


def test_plain_lines_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    out = io.StringIO()
    plain = PlainLines(out)
    plain(RunBegins(None, 3, STAGES, {}))
    plain(window_done("score", 3, 1.5, {"iou": [None, 0.95, 0.85]}))
    assert re.fullmatch(
        r"score     window 1 of 3: frames 0\.\.3, 2\.0 frames/s, 0:03 left, RSS [\d.]+ [MG]B(, VRAM .*)?, "
        r"IoU mean 0\.900, min 0\.850 at frame 2\n",
        out.getvalue(),
    )
    assert fitting(False) is PlainLines  # pytest's stderr is no terminal
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    assert fitting(False) is TerminalLines
    monkeypatch.setenv("TERM", "dumb")
    assert fitting(False) is PlainLines


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """A folder with a clip, and the words of a run of it in five windows."""
    folder = tmp_path_factory.mktemp("job")
    clip = small_clip(folder)
    words = ["stream.cli", "run", str(clip), *BOX, *small_models(folder), "--window", "5", "--overlap", "1"]
    return folder, words


@needs_pty
@pytest.mark.parametrize(("columns", "rows"), [(80, 24), (120, 40), (0, 0)])
def test_screen_of_a_run(job: tuple[Path, list[str]], columns: int, rows: int) -> None:
    folder, words = job
    during: list[str] = []

    def look(screen: Screen) -> None:
        if any(re.match(r"score +window [1-4] of 5", line) for line in screen.lines):
            during[:] = screen.lines

    code, screen = on_terminal([*words, "--out", f"run-{columns}"], folder, columns, rows, look)
    lines = screen.lines
    assert code in (0, 1), lines
    assert [line.split()[0] for line in lines if "window 5 of 5" in line] == list(OF_A_RUN)
    assert sum("window" in line and " of 5 " in line for line in lines) == len(OF_A_RUN), "no torn or doubled line"
    for label in ("plan", "memory", "disk", "run", "IoU", "gate", "output", "report"):
        assert sum(line.startswith(f"{label} ") for line in lines) == 1, f"{label}: {lines}"
    assert max(map(len, lines)) < (columns or 80)
    assert lines.index(next(line for line in lines if line.startswith("IoU "))) < len(lines) - 4  # the summary is below
    score = next(line for line in during if line.startswith("score "))
    assert re.search(r"window [1-4] of 5 .* frames/s +\d:\d\d left +RSS [\d.]+ [MG]B", score)
    assert any(re.match(r"run +0:\d\d so far, about \d:\d\d left; RSS ", line) for line in during)
    assert any(re.match(r"IoU +mean \d\.\d+, min \d\.\d+ at frame \d+", line) for line in during)
    assert ("█" in score) == (columns == 120)


@needs_pty
def test_screen_after_ctrl_c(job: tuple[Path, list[str]]) -> None:
    folder, words = job

    def interrupt(screen: Screen) -> bytes | None:
        return b"\x03" if any(re.match(r"pose +window 2 of 5", line) for line in screen.lines) else None

    code, screen = on_terminal([*words, "--out", "stopped"], folder, 80, 24, interrupt)
    assert code == 130
    assert screen.lines[-1].startswith("skate: interrupted: what is committed is kept, `skate resume` continues")
    assert [line.split()[0] for line in screen.lines if re.search(r"window \d of 5", line)] == list(OF_A_RUN)
    assert not any("Traceback" in line or "^C" in line for line in screen.lines)


@needs_pty
def test_screen_after_an_error(job: tuple[Path, list[str]]) -> None:
    folder, words = job
    cut = folder / "cut.mp4"
    data = bytearray((folder / "clip.mp4").read_bytes())
    start = data.index(b"mdat") + (len(data) - data.index(b"mdat")) * 3 // 4  # the first frames are whole
    data[start : start + 1000] = bytes(1000)
    cut.write_bytes(data)
    words = [str(cut) if word.endswith("clip.mp4") else word for word in words]
    code, screen = on_terminal([*words, "--out", "failed", "--max-bad-frames", "0"], folder, 80, 24)
    lines = screen.lines
    assert code == 3, lines
    error = next(index for index, line in enumerate(lines) if line.startswith("skate: "))
    assert "--max-bad-frames" in "".join(lines[error:]) and "Traceback" not in "".join(lines)
    assert lines[error - 1].startswith("run "), lines
