"""Plots as PNG bytes: IoU over time, and what each window cost. Drawn with matplotlib, without its global state."""

import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from stages.base import Array
from stages.fidelity.sight import FEET
from stages.fidelity.totals import column
from stages.metrics import failed_spans, flag_spans
from stages.subjects import OBJECTS
from stream.report.collect import WindowRow

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito's palette: told apart by colour-blind eyes too.
LINE, FAIL, GOOD, GREY, AMBER = "#0072b2", "#d55e00", "#009e73", "#9aa0a6", "#e69f00"
STAGE_COLOURS = ("#56b4e9", "#009e73", "#0072b2", "#cc79a7", "#e69f00", "#f0e442", "#d55e00", "#999999")
STAGE_HATCHES = ("", "////", "....", "xx")  # where there are more stages, a colour comes again so
STAGE_MARKERS = ("_", "x", ".", "+")
DPI = 110
MOST_EDGES = 250  # of windows: more stand so close that they hide what is drawn
LEGEND_ROWS = 14  # of stages; a scene's may have dozens


def iou_plot(
    iou: Array,
    visible: Array,
    threshold: float,
    window_edges: Sequence[int],
    cuts: Sequence[int] = (),
    subjects: Sequence[str] = OBJECTS,
    baselines: Mapping[str, Array] | None = None,
    failing: Array | None = None,
) -> bytes:
    """IoU over the frames: gate, failing frames, window edges; below it where each subject was visible.

    Args:
        iou: `[T]` float, NaN where a frame was not scored.
        visible: `[T, N]` bool, the subjects in the source.
        threshold: the gate; a frame fails when it is not above it.
        window_edges: first frames of the windows' final spans, without frame 0.
        cuts: first frames after scene cuts.
        subjects: names, in the order of the columns.
        baselines: `[T]` IoU by name; drawn as thin lines.
        failing: `[T]` bool, the frames that fail the gate; None: those whose IoU is not above the threshold.

    Returns:
        A PNG, 1100 px wide; 473 high, and more with more than two subjects.
    """
    below = max(1.0, len(subjects) / 2)
    figure = _figure(10, 4.3 * (6 + below) / 7)
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=[6, below])
    failed = failed_spans(iou, threshold) if failing is None else flag_spans(failing)
    _shade(upper, failed, 0.13)
    _draw_edges((upper, lower), window_edges, cuts)
    for (name, values), colour in zip((baselines or {}).items(), (GOOD, AMBER), strict=False):
        upper.plot(np.arange(len(values)), values, color=colour, linewidth=0.9, alpha=0.8, label=name, zorder=1)
    _draw_iou(upper, iou, threshold, failed)
    for row, label in enumerate(reversed(subjects)):
        column = len(subjects) - 1 - row
        spans, colour = flag_spans(visible[:, column]), (GOOD, AMBER)[column % 2]
        lower.broken_barh([(start - 0.5, stop - start) for start, stop in spans], (row - 0.35, 0.7), color=colour)
        lower.text(-0.01, row, label, transform=lower.get_yaxis_transform(), ha="right", va="center", fontsize=9)
    lower.set(yticks=[], ylim=(-0.5, len(subjects) - 0.5), xlim=(-0.5, max(1, len(iou)) - 0.5), xlabel="frame")
    lower.xaxis.get_major_locator().set_params(integer=True, min_n_ticks=1)
    lower.set_title("visible in the source", loc="left", fontsize=9, color="#444444", pad=3)
    return _png(figure)


def _draw_iou(axes: "Axes", iou: Array, threshold: float, failed: list[list[int]]) -> None:
    frames = np.arange(len(iou))
    axes.axhline(threshold, color=FAIL, linestyle="--", linewidth=1.1, label=f"gate {threshold:g}", zorder=2)
    # A marker too where the clip is short: a scored frame between unscored ones has no line.
    axes.plot(frames, iou, color=LINE, linewidth=1.4, marker="." if len(iou) <= 400 else "", markersize=3, label="IoU")
    bad = np.concatenate([np.arange(start, stop) for start, stop in failed]) if failed else np.zeros(0, dtype=int)
    if bad.size:
        axes.plot(bad, iou[bad], linestyle="", marker="o", markersize=4, color=FAIL, label=f"{bad.size} failing")
    scored = iou[~np.isnan(iou)]
    if scored.size:
        verdict = "gate failed" if bad.size else "gate passed"
        title = f"{verdict}: mean {scored.mean():.3f}, worst {scored.min():.3f} at frame {int(np.nanargmin(iou))}"
        axes.set_ylim(min(0.85, float(scored.min()) - 0.04, threshold - 0.05), 1.01)
    else:
        title = "no frame was scored"
        axes.set_ylim(0, 1.01)
    axes.set_title(title, loc="left", fontsize=11)
    axes.set_ylabel("IoU of the object, source against output", fontsize=9)
    axes.legend(loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=5, fontsize=8, frameon=False)


def _draw_edges(rows: Sequence["Axes"], window_edges: Sequence[int], cuts: Sequence[int]) -> None:
    edges = window_edges if len(window_edges) <= MOST_EDGES else ()
    styles: tuple[tuple[str, Sequence[int], dict[str, Any]], ...] = (
        ("window edge", edges, {"color": GREY, "linewidth": 0.8, "alpha": 0.8, "zorder": 0}),
        ("cut", cuts, {"color": "black", "linestyle": ":", "linewidth": 1.2, "zorder": 1}),
    )
    for label, marks, style in styles:
        if len(marks):
            for axes in rows:
                axes.vlines(np.asarray(marks) - 0.5, 0, 1, transform=axes.get_xaxis_transform(), **style)
            rows[0].plot([], [], color=style["color"], linestyle=style.get("linestyle", "-"), label=label)


def _shade(axes: "Axes", spans: Sequence[Sequence[int]], alpha: float) -> None:
    """Red over the whole height, from each span's first frame to its last."""
    lengths = [(start - 0.5, stop - start) for start, stop in spans]
    axes.broken_barh(lengths, (0, 1), transform=axes.get_xaxis_transform(), color=FAIL, alpha=alpha, linewidth=0)


def interaction_plot(source: Array, result: Array) -> bytes:
    """Which foot is on the object in source and result, where they differ, and the object's angle in both.

    Args:
        source, result: `[T, K]` sights.

    Returns:
        A PNG, 1100 px wide.
    """
    figure = _figure(10, 4.2)
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=[2, 3])
    for place, foot in enumerate(FEET):
        pair = [column(sights, f"{foot}_contact") for sights in (source, result)]
        for row, (values, colour) in enumerate(zip(pair, (LINE, AMBER), strict=True)):
            spans = [(start - 0.5, stop - start) for start, stop in flag_spans(values == 1.0)]
            upper.broken_barh(spans, (-(2.4 * place + row) - 0.4, 0.8), color=colour)
        _shade(upper, flag_spans(~np.isnan(pair[0] + pair[1]) & (pair[0] != pair[1])), 0.18)
        middle = -(2.4 * place + 0.5)
        upper.text(-0.01, middle, foot, transform=upper.get_yaxis_transform(), ha="right", va="center", fontsize=9)
    # Both feet have their room, on the object or never: else their names stand far beside it, and the picture shrinks.
    upper.set(yticks=[], xlim=(-0.5, max(1, len(source)) - 0.5), ylim=(-3.9, 0.5))
    upper.set_title("foot on the object: source above, result below; red where they differ", loc="left", fontsize=9)
    for label, sights, colour in (("source", source, LINE), ("result", result, AMBER)):
        lower.plot(np.arange(len(sights)), column(sights, "angle"), color=colour, linewidth=1.2, label=label)
    lower.set(xlabel="frame", ylim=(-92, 92))
    lower.set_ylabel("angle of the object, degrees", fontsize=9)
    lower.legend(loc="upper right", fontsize=8, frameon=False, ncols=2)
    return _png(figure)


def cost_plot(windows: Sequence[WindowRow]) -> bytes:
    """Seconds a frame by stage, and memory, window by window: flat lines are what is promised.

    Returns:
        A PNG, 1100 px wide.
    """
    few = len(windows) <= MOST_EDGES
    memory = [row for row in windows if row.rss_bytes is not None or row.vram_bytes is not None]
    figure = _figure(10, 4.6 if memory else 2.9)
    rows: Any = figure.subplots(2 if memory else 1, 1, sharex=True, squeeze=False)[:, 0]
    _draw_seconds(rows[0], windows)
    if memory:
        for label, colour, values in (
            ("RAM of the process", LINE, [row.rss_bytes for row in windows]),
            ("VRAM, peak", GOOD, [row.vram_bytes for row in windows]),
        ):
            if any(value is not None for value in values):
                heights = [np.nan if value is None else value / 1e9 for value in values]
                rows[1].plot(heights, color=colour, marker="o" if few else "", markersize=4, label=label)
        _draw_stage_memory(rows[1], windows)
        rows[1].set_ylabel("GB", fontsize=9)
        rows[1].set_ylim(0, 1.15 * max(max(row.rss_bytes or 0, row.vram_bytes or 0) for row in memory) / 1e9)
        rows[1].set_title("memory: the highest in the window, and when each stage was done", loc="left", fontsize=11)
        rows[1].legend(loc="center left", bbox_to_anchor=(1.0, 0.5), fontsize=8, frameon=False)
    rows[-1].set_xlabel("window")
    rows[-1].xaxis.get_major_locator().set_params(integer=True, min_n_ticks=1)
    return _png(figure)


def _draw_stage_memory(axes: "Axes", windows: Sequence[WindowRow]) -> None:
    """RAM at each stage's commit: small marks, side by side within the window, in the stages' colours."""
    stages = list(dict.fromkeys(stage for row in windows for stage in row.seconds))
    for index, stage in enumerate(stages):
        shift = 0.6 * ((index + 0.5) / len(stages) - 0.5)
        measured = [at for at, row in enumerate(windows) if stage in row.rss_by_stage]
        heights = [windows[at].rss_by_stage[stage] / 1e9 for at in measured]
        colour, again = _stage_look(index)
        marker = STAGE_MARKERS[again]
        axes.plot([at + shift for at in measured], heights, linestyle="", marker=marker, markersize=4, color=colour)


def _draw_seconds(axes: "Axes", windows: Sequence[WindowRow]) -> None:
    stages = list(dict.fromkeys(stage for row in windows for stage in row.seconds))
    floor = np.zeros(len(windows))
    for index, stage in enumerate(stages):
        heights = np.array([1000 * row.seconds.get(stage, 0.0) / max(1, row.final.frames) for row in windows])
        floor = draw_stage(axes, stage, index, np.arange(len(windows)), floor, heights)
    axes.set_ylabel("ms a frame", fontsize=9)
    axes.set_title("time a frame by stage (decode runs beside the others)", loc="left", fontsize=11)
    if stages:
        beside = {"bbox_to_anchor": (1.0, 0.5), "ncols": 1 + len(stages) // LEGEND_ROWS}
        axes.legend(loc="center left", fontsize=8, reverse=True, frameon=False, **beside)


def draw_stage(axes: "Axes", stage: str, index: int, windows: Array, floor: Array, heights: Array) -> Array:
    """The bars of one stage on what stands below them, told apart from every other stage's.

    Args:
        index: of the stage. windows: `[n]`, where they stand. floor, heights: `[n]` float64.

    Returns:
        `[n]`, where the next ones stand.
    """
    from matplotlib.collections import PolyCollection

    colour, again = _stage_look(index)
    left, right, top = windows - 0.4, windows + 0.4, floor + heights
    bars = np.stack([np.stack(corner, -1) for corner in ((left, floor), (left, top), (right, top), (right, floor))], 1)
    style: Any = {"facecolors": colour, "hatch": STAGE_HATCHES[again], "edgecolors": "white", "linewidths": 0}
    axes.add_collection(PolyCollection(list(bars), label=stage, **style))  # one: an hour has thousands of windows
    axes.autoscale_view(scaley=False)
    axes.set_ylim(0, 1.05 * max(top.max(initial=0), 1e-9))
    return top


def _stage_look(index: int) -> tuple[str, int]:
    """The colour of a stage, and how often it was given before: which hatch and marker tell it apart."""
    again, place = divmod(index, len(STAGE_COLOURS))
    return STAGE_COLOURS[place], again % len(STAGE_HATCHES)


def _figure(width_inches: float, height_inches: float) -> "Figure":
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width_inches, height_inches), dpi=DPI, layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def _png(figure: "Figure") -> bytes:
    for axes in figure.axes:
        axes.spines[["top", "right"]].set_visible(False)
    buffer = io.BytesIO()
    # No software version in the file: the same numbers give the same bytes.
    metadata: Mapping[str, Any] = {"Software": None}
    figure.savefig(buffer, format="png", metadata=dict(metadata))
    return buffer.getvalue()
