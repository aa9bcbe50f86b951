"""Listeners without a terminal: JSON lines for programs, plain lines for logs; and the choice of the one that fits."""

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO

from storage.boundary import visible_lines
from stream.progress.counts import IDLE, Progress, memory_text
from stream.progress.events import Event, Listener, Note, WindowDone


class JsonLines:
    """One JSON object a committed window on stdout (the contract in docs/formats.md); notes go to stderr."""

    def __init__(self, out: IO[str] | None = None) -> None:
        self._out = out or sys.stdout

    def __call__(self, event: Event) -> None:
        if isinstance(event, Note):
            print(visible_lines(event.text), file=sys.stderr)
        elif isinstance(event, WindowDone):
            line = {
                "event": "window",
                "index": event.index,
                "stage": event.stage,
                "frames": list(event.span),
                "seconds": round(event.seconds, 4),
                "rss_bytes": event.rss_bytes,
                "vram_peak_bytes": event.vram_peak_bytes,
            }
            if event.stage == "score":
                line["iou"] = event.info["iou"]
            print(json.dumps(line), file=self._out, flush=True)


class PlainLines:
    """One line a committed window on stderr: for logs, pipes and everything that is no terminal."""

    def __init__(self, out: IO[str] | None = None) -> None:
        self._out = out or sys.stderr
        self._progress = Progress()

    def __call__(self, event: Event) -> None:
        self._progress(event)
        if isinstance(event, Note):
            self._print(event.text)
        elif isinstance(event, WindowDone):
            self._print(self._line(event))

    def _line(self, event: WindowDone) -> str:
        known, iou = self._progress.stages[event.stage], self._progress.iou
        total = f" of {known.windows}" if known.windows else ""
        speed = f"{event.span.frames / event.seconds:.1f} frames/s" if event.seconds >= IDLE else ""
        memory = memory_text(event.rss_bytes, event.vram_peak_bytes)
        score = f"IoU {iou}" if event.stage == "score" and iou.frames else ""
        told = ", ".join(part for part in (speed, known.time, memory, score) if part)
        return f"{event.stage:<9} window {event.index + 1}{total}: frames {event.span.start}..{event.span.stop}, {told}"

    def _print(self, text: str) -> None:
        print(visible_lines(text), file=self._out, flush=True)


@contextmanager
def fitting_listener(json_lines: bool) -> Iterator[Listener]:
    """The listener that fits: JSON where asked for, lines in place on a terminal, plain lines elsewhere."""
    if json_lines:
        yield JsonLines()
    elif not sys.stderr.isatty() or os.environ.get("TERM") == "dumb":
        yield PlainLines()
    else:
        from stream.progress.terminal import TerminalLines  # 40 ms of imports that the others need not

        with TerminalLines() as listener:
            yield listener
