"""What a run tells while it works: JSON lines for programs, plain lines for logs, lines in place for a terminal."""

import json
import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any, Protocol

import psutil

from storage.spans import Span
from stream.progress.counts import Progress, memory_text


def rss_bytes() -> int:
    """Resident memory of this process, bytes."""
    return int(psutil.Process().memory_info().rss)


def peak_rss_bytes() -> int:
    """Highest resident memory of this process so far, bytes."""
    info = psutil.Process().memory_info()
    peak = getattr(info, "peak_wset", None)  # Windows
    if peak is not None:
        return int(peak)
    status = Path("/proc/self/status")
    if status.exists():  # Linux's ru_maxrss starts from what the process had that started this one
        return 1024 * int(status.read_text().partition("VmHWM:")[2].split()[0])
    import resource

    scale = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * scale


def peak_vram_bytes() -> int | None:
    """Highest memory that torch has taken on the GPU so far, bytes; None without CUDA (or before torch is loaded)."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_initialized():
        return None
    return int(torch.cuda.max_memory_allocated())


class Reporter(Protocol):
    """Whoever wants to know how the run goes on."""

    def start(self, windows: int | None, stages: tuple[str, ...], done: Mapping[str, int]) -> None:
        """The run begins; `windows` as the header claims, `done` windows by stage from an earlier process."""

    def window(self, stage: str, index: int, span: Span, seconds: float, info: Mapping[str, Any]) -> None:
        """A stage has committed a window."""

    def step(self, window: int, step: int, steps: int) -> None:
        """The generator is at this step of this window."""

    def note(self, text: str) -> None:
        """One line for the person who watches."""

    def close(self) -> None:
        """Nothing more will be told."""


class JsonReporter:
    """One JSON object a line on stdout; notes go to stderr."""

    def __init__(self, out: IO[str] | None = None) -> None:
        self._out = out or sys.stdout

    def start(self, windows: int | None, stages: tuple[str, ...], done: Mapping[str, int]) -> None:
        """Nothing: the contract has no such line."""

    def window(self, stage: str, index: int, span: Span, seconds: float, info: Mapping[str, Any]) -> None:
        event: dict[str, Any] = {
            "event": "window",
            "index": index,
            "stage": stage,
            "frames": list(span),
            "seconds": round(seconds, 4),
            "rss_bytes": rss_bytes(),
            "vram_peak_bytes": peak_vram_bytes(),
        }
        if stage == "score":
            event["iou"] = info["iou"]
        self._write(event)

    def step(self, window: int, step: int, steps: int) -> None:
        """Nothing: the contract has no such line."""

    def note(self, text: str) -> None:
        print(text, file=sys.stderr)

    def close(self) -> None:
        self._out.flush()

    def _write(self, event: Mapping[str, Any]) -> None:
        print(json.dumps(event), file=self._out, flush=True)


class PlainReporter:
    """One line a committed window on stderr: for logs, pipes and everything that is no terminal."""

    def __init__(self, out: IO[str] | None = None) -> None:
        self._out = out or sys.stderr
        self._progress = Progress()

    def start(self, windows: int | None, stages: tuple[str, ...], done: Mapping[str, int]) -> None:
        self._progress.start(windows, stages, done)

    def window(self, stage: str, index: int, span: Span, seconds: float, info: Mapping[str, Any]) -> None:
        memory = memory_text(rss_bytes(), peak_vram_bytes())
        self._progress.window(stage, index, span, seconds, info, memory)
        known = self._progress.stages[stage]
        total = f" of {known.windows}" if known.windows else ""
        speed = f"{span.frames / seconds:.1f} frames/s" if seconds > 0 else ""
        iou = f"IoU {self._progress.iou}" if stage == "score" and self._progress.iou.frames else ""
        told = ", ".join(part for part in (speed, known.time, memory, iou) if part)
        self.note(f"{stage:<8} window {index + 1}{total}: frames {span.start}..{span.stop}, {told}")

    def step(self, window: int, step: int, steps: int) -> None:
        """Nothing: a log wants a line a window."""

    def note(self, text: str) -> None:
        print(text, file=self._out, flush=True)

    def close(self) -> None:
        """Nothing is held."""


def make_reporter(json_lines: bool) -> Reporter:
    """The reporter that fits: JSON where asked for, lines in place on a terminal, plain lines elsewhere."""
    if json_lines:
        return JsonReporter()
    if not sys.stderr.isatty() or os.environ.get("TERM") == "dumb":
        return PlainReporter()
    from stream.progress.terminal import TerminalReporter  # it builds on this module

    return TerminalReporter()


class Stopwatch:
    """Seconds since it was made."""

    def __init__(self) -> None:
        self._start = time.perf_counter()

    @property
    def seconds(self) -> float:
        """Wall-clock seconds."""
        return time.perf_counter() - self._start
