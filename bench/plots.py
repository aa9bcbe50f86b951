"""Memory and time over the windows, as PNGs."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bench.probe import Row
from stream.report.figures import draw_stage

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Okabe and Ito's palette: told apart by colour-blind eyes too.
COLOURS = ("#56b4e9", "#009e73", "#0072b2", "#cc79a7", "#e69f00", "#d55e00", "#999999", "#000000")
MEMORY = (
    ("rss", "RSS"),
    ("vram_torch", "VRAM, torch"),
    ("vram_process", "VRAM, process"),
    ("gpu_used", "GPU, all processes"),
    ("vram_comfyui", "ComfyUI"),
)
MB = 1e6


def write_plots(rows: Sequence[Row], folder: Path) -> list[Path]:
    """`memory.png`, the highest of each window, and `time.png`, seconds of each stage; gives what was written."""
    windows = sorted({row.window for row in rows})
    memory, time = folder / "memory.png", folder / "time.png"
    _save(memory, "MB, highest in the window", lambda axes: _draw_memory(axes, rows, windows))
    _save(time, "seconds a window", lambda axes: _draw_time(axes, rows, windows))
    return [memory, time]


def _draw_memory(axes: "Axes", rows: Sequence[Row], windows: list[int]) -> None:
    for (name, label), colour in zip(MEMORY, COLOURS, strict=False):
        peaks = [highest(rows, window, name) for window in windows]
        if any(peak is not None for peak in peaks):
            axes.plot(windows, _megabytes(peaks), marker=".", label=label, color=colour)
    disk = [next((r.working_disk_bytes for r in rows if r.window == w and r.working_disk_bytes), None) for w in windows]
    if any(disk):
        axes.plot(windows, _megabytes(disk), "--", label="working disk", color="#999999")


def _megabytes(values: Sequence[int | None]) -> list[float]:
    """NaN, which is not drawn, where there is none."""
    return [math.nan if value is None else value / MB for value in values]


def _draw_time(axes: "Axes", rows: Sequence[Row], windows: list[int]) -> None:
    stages = list(dict.fromkeys(row.stage for row in rows))
    at, floor = np.array(windows), np.zeros(len(windows))
    for index, stage in enumerate(stages):
        seconds = [sum(r.wall_seconds for r in rows if r.stage == stage and r.window == w) for w in windows]
        floor = draw_stage(axes, stage, index, at, floor, np.array(seconds))


def highest(rows: Sequence[Row], window: int, name: str) -> int | None:
    """The highest peak of this kind in a window, bytes."""
    values = [getattr(row.peaks, name) for row in rows if row.window == window]
    return max((value for value in values if value is not None), default=None)


def _save(path: Path, label: str, draw: Any) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(10, 4.2), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    draw(axes)
    axes.set(xlabel="window", ylabel=label)
    axes.set_ylim(bottom=0)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(axis="y", alpha=0.3)
    axes.legend(loc="upper left", bbox_to_anchor=(1, 1), frameon=False)
    figure.savefig(path)
