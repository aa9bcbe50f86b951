"""What a run tells while it works: JSON lines for programs, plain lines for logs, bars for a terminal."""

import json
import sys
import time
from collections.abc import Mapping
from typing import IO, Any, Protocol

import psutil

from storage.sizes import format_size
from storage.spans import Span


def rss_bytes() -> int:
    """Resident memory of this process, bytes."""
    return int(psutil.Process().memory_info().rss)


def peak_rss_bytes() -> int:
    """Highest resident memory of this process so far, bytes."""
    info = psutil.Process().memory_info()
    peak = getattr(info, "peak_wset", None)  # Windows
    if peak is not None:
        return int(peak)
    import resource

    scale = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * scale


def peak_vram_bytes() -> int | None:
    """Highest memory that torch has taken on the GPU so far, bytes; None without CUDA (or before torch is loaded)."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_available():
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


class _IouSoFar:
    """Running minimum and mean of the scored frames."""

    def __init__(self) -> None:
        self.total, self.count, self.low = 0.0, 0, 1.0

    def add(self, values: list[float | None]) -> None:
        scored = [value for value in values if value is not None]
        self.total += sum(scored)
        self.count += len(scored)
        self.low = min([self.low, *scored])

    def __str__(self) -> str:
        return f", IoU mean {self.total / self.count:.3f} min {self.low:.3f}" if self.count else ""


def _memory_text() -> str:
    vram = peak_vram_bytes()
    return f"RSS {format_size(rss_bytes())}" + (f", VRAM peak {format_size(vram)}" if vram is not None else "")


class PlainReporter:
    """One line a committed window on stderr: for logs, pipes and everything that is no terminal."""

    def __init__(self, out: IO[str] | None = None) -> None:
        self._out = out or sys.stderr
        self._iou = _IouSoFar()
        self._windows: int | None = None

    def start(self, windows: int | None, stages: tuple[str, ...], done: Mapping[str, int]) -> None:
        self._windows = windows

    def window(self, stage: str, index: int, span: Span, seconds: float, info: Mapping[str, Any]) -> None:
        if stage == "score":
            self._iou.add(info["iou"])
        total = f" of {self._windows}" if self._windows else ""
        speed = f"{span.frames / seconds:.1f} frames/s" if seconds > 0 else ""
        tail = str(self._iou) if stage == "score" else ""
        self.note(
            f"{stage:<8} window {index + 1}{total}: frames {span.start}..{span.stop}, {speed}, {_memory_text()}{tail}"
        )

    def step(self, window: int, step: int, steps: int) -> None:
        """Nothing: a log wants a line a window."""

    def note(self, text: str) -> None:
        print(text, file=self._out, flush=True)

    def close(self) -> None:
        """Nothing is held."""


class TerminalReporter:
    """One progress bar a stage on a terminal's stderr."""

    def __init__(self) -> None:
        from tqdm import tqdm

        self._tqdm = tqdm
        self._bars: dict[str, Any] = {}
        self._iou = _IouSoFar()
        self._frames: dict[str, tuple[int, float]] = {}

    def start(self, windows: int | None, stages: tuple[str, ...], done: Mapping[str, int]) -> None:
        for position, stage in enumerate(stages):
            self._bars[stage] = self._tqdm(
                total=windows,
                initial=done.get(stage, 0),
                desc=f"{stage:<8}",
                unit="window",
                position=position,
                leave=True,
                file=sys.stderr,
                bar_format="{desc} {n_fmt}/{total_fmt} |{bar:20}| {elapsed}<{remaining} {postfix}",
            )

    def window(self, stage: str, index: int, span: Span, seconds: float, info: Mapping[str, Any]) -> None:
        bar = self._bars[stage]
        if bar.total is not None and index + 1 > bar.total:
            bar.total = index + 1
        frames, spent = self._frames.get(stage, (0, 0.0))
        frames, spent = frames + span.frames, spent + seconds
        self._frames[stage] = frames, spent
        if stage == "score":
            self._iou.add(info["iou"])
        text = f"{frames / spent:.1f} frames/s " if spent > 0 else ""
        bar.set_postfix_str(text + _memory_text() + (str(self._iou) if stage == "score" else ""), refresh=False)
        bar.update(1)

    def step(self, window: int, step: int, steps: int) -> None:
        self._bars["generate"].set_postfix_str(f"window {window + 1}: step {step} of {steps}")

    def note(self, text: str) -> None:
        self._tqdm.write(text, file=sys.stderr)

    def close(self) -> None:
        for bar in self._bars.values():
            bar.close()


def make_reporter(json_lines: bool) -> Reporter:
    """The reporter that fits: JSON where asked for, bars on a terminal, plain lines elsewhere."""
    if json_lines:
        return JsonReporter()
    return TerminalReporter() if sys.stderr.isatty() else PlainReporter()


class Stopwatch:
    """Seconds since it was made."""

    def __init__(self) -> None:
        self._start = time.perf_counter()

    @property
    def seconds(self) -> float:
        """Wall-clock seconds."""
        return time.perf_counter() - self._start
