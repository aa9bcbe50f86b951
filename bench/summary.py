"""What the rows of a bench come to: stages, slopes, overhead; as JSON and as text."""

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from bench.clocks import COMPUTE, ENGINE, ONCE
from bench.plots import highest
from bench.probe import Row
from bench.slopes import slope_of
from storage.sizes import format_size
from stream.report.tables import text_table

MEMORY = ("rss", "vram_torch", "vram_process", "gpu_used", "vram_comfyui")
LEAST_SHARE = 0.002  # of the run: smaller sections are left out of the text


def stage_rows(rows: Sequence[Row], wall_seconds: float) -> list[dict[str, Any]]:
    """One object a stage: seconds, frames a second, share of the run, highest memory, bytes moved, seconds waited."""
    found = []
    for stage in dict.fromkeys(row.stage for row in rows):
        own = [row for row in rows if row.stage == stage]
        spent = sum(row.seconds for row in own)
        found.append(
            {
                "stage": stage,
                "windows": len(own),
                "seconds": round(spent, 4),
                "seconds_median": round(statistics.median(row.seconds for row in own), 4),
                "frames_per_second": round(sum(row.frames for row in own) / spent, 2) if spent else None,
                "wall_seconds": round(sum(row.wall_seconds for row in own), 4),
                "share": round(sum(row.wall_seconds for row in own) / wall_seconds, 4),
                "compute_seconds": round(sum(row.compute_seconds for row in own), 4),
                "waited_seconds": round(sum(row.waited_seconds for row in own), 4),
                "read_bytes": _sum(row.read_bytes for row in own),
                "written_bytes": _sum(row.written_bytes for row in own),
            }
            | {f"peak_{name}_bytes": _max(getattr(row.peaks, name) for row in own) for name in MEMORY}
        )
    return found


def _sum(values: Any) -> int | None:
    known = [value for value in values if value is not None]
    return sum(known) if known else None


def _max(values: Any) -> int | None:
    return max((value for value in values if value is not None), default=None)


def slopes(rows: Sequence[Row]) -> dict[str, dict[str, Any]]:
    """By quantity, its slope over the windows (`Slope.to_json`): memory, working disk, and seconds of each stage.

    The last window is left out: it is shifted back or short, so its time is another.
    """
    found = {name: slope_of(values[:-1]) for name, values in series(rows).items()}
    return {name: slope.to_json() for name, slope in found.items() if slope is not None}


def series(rows: Sequence[Row]) -> dict[str, list[float | None]]:
    """By quantity, a value a window, in order; None where it was not measured.

    Highest memory of each kind, working disk, bytes; seconds from step to step of each stage, and of the whole window.
    """
    windows = sorted({row.window for row in rows})
    found: dict[str, list[float | None]] = {
        f"peak_{name}_bytes": [highest(rows, window, name) for window in windows] for name in MEMORY
    }
    disk = {row.window: row.working_disk_bytes for row in rows if row.working_disk_bytes is not None}
    found["working_disk_bytes"] = [disk.get(window) for window in windows]
    for stage in dict.fromkeys(row.stage for row in rows):
        by_window = {row.window: row.wall_seconds for row in rows if row.stage == stage}
        found[f"{stage}_seconds"] = [by_window.get(window) for window in windows]
    found["window_seconds"] = [sum(row.wall_seconds for row in rows if row.window == window) for window in windows]
    return found


def record_of(found: Mapping[str, Any]) -> dict[str, Any]:
    """What is recorded of a bench.json: in place of its rows, `windows`, the `series` of them.

    Bytes are whole numbers, seconds have 4 digits.
    """
    rows = [Row.from_json(values) for values in found["rows"]]
    windows = {name: [_rounded(value) for value in values] for name, values in series(rows).items()}
    return {name: value for name, value in found.items() if name != "rows"} | {"windows": windows}


def _rounded(value: float | None) -> float | None:
    return round(value, 4) if isinstance(value, float) else value


def overhead(
    wall_seconds: float, own: Mapping[str, float], others: Mapping[str, float], computed: float, frames: int
) -> dict[str, Any]:
    """Everything that is not model compute: its share of the run, seconds a frame, and where it goes.

    `share_while_running` leaves out what a run has once; `engine_share_while_running` is the part of it that windows,
    store and commits cost, without the work around the models (resizing, drawing, blending, encoding, measuring).

    Args:
        wall_seconds: of the whole run, models' loading and the report included.
        own, others: exclusive seconds by section of the thread that runs the pipeline, and of the others (decoding, and
            the lanes where windows run side by side: then what the engine does beside them counts as overhead too).
        computed: seconds in which a model was at work, in whichever thread.
    """
    known = dict(sorted(own.items(), key=lambda item: -item[1]))
    rest = wall_seconds - sum(own.values())
    spent = wall_seconds - computed
    once = sum(known.get(name, 0.0) for name in ONCE)
    engine = rest + sum(known.get(name, 0.0) for name in ENGINE)
    running = wall_seconds - once
    return {
        "wall_seconds": round(wall_seconds, 4),
        "compute_seconds": round(computed, 4),
        "share": round(spent / wall_seconds, 4),
        "share_while_running": round((spent - once) / running, 4),
        "engine_share_while_running": round(engine / running, 4),
        "seconds_per_frame": round((spent - once) / frames, 6),
        "sections": {name: round(seconds, 4) for name, seconds in known.items()} | {"elsewhere": round(rest, 4)},
        "background_sections": {name: round(seconds, 4) for name, seconds in others.items()},
    }


def text(record: Mapping[str, Any]) -> str:
    """What a person reads on the terminal."""
    parts = [_stage_table(record["stages"]), _slope_table(record["slopes"]), _overhead_table(record["overhead"])]
    return "\n\n".join(part for part in [*parts, record.get("bound", "")] if part)


def _stage_table(stages: Sequence[Mapping[str, Any]]) -> str:
    shown = [name for name in MEMORY if any(row[f"peak_{name}_bytes"] is not None for row in stages)]
    header = [
        "stage",
        "s/window",
        "frames/s",
        "share",
        "waited s",
        "read",
        "written",
        *[_memory_name(n) for n in shown],
    ]
    lines = []
    for row in stages:
        rate = row["frames_per_second"]
        lines.append(
            [
                row["stage"],
                f"{row['seconds_median']:.3f}",
                "" if rate is None else f"{rate:.1f}",
                f"{row['share']:.1%}",
                f"{row['waited_seconds']:.2f}",
                _size(row["read_bytes"]),
                _size(row["written_bytes"]),
                *[_size(row[f"peak_{name}_bytes"]) for name in shown],
            ]
        )
    return text_table(header, lines)


def _memory_name(name: str) -> str:
    return {
        "rss": "peak RSS",
        "vram_torch": "VRAM torch",
        "vram_process": "VRAM process",
        "gpu_used": "GPU in use",
        "vram_comfyui": "ComfyUI",
    }[name]


def _size(value: int | None) -> str:
    return "" if value is None else format_size(value)


def _slope_table(found: Mapping[str, Mapping[str, Any]]) -> str:
    if not found:
        return "slopes: too few windows (8 are needed behind the first two)"
    lines = []
    for name, slope in found.items():
        low, high = slope["confidence_interval"]
        unit, scale = ("MB", 1e6) if name.endswith("_bytes") else ("s", 1.0)
        lines.append(
            [
                name.removesuffix("_bytes").replace("_", " "),
                f"{slope['mean'] / scale:.4g} {unit}",
                f"{slope['slope_per_window'] / scale:+.3g} [{low / scale:+.3g}, {high / scale:+.3g}] {unit}",
                f"{slope['growth_over_100_windows']:+.2%}",
                "flat" if slope["flat"] else "GROWS",
            ]
        )
    return text_table(["over the windows", "mean", "slope a window [95 % interval]", "in 100 windows", ""], lines)


def _overhead_table(found: Mapping[str, Any]) -> str:
    wall = found["wall_seconds"]
    lines = [
        [name, f"{seconds:.2f}", f"{seconds / wall:.1%}", "model" if name in COMPUTE else ""]
        for name, seconds in found["sections"].items()
        if seconds / wall >= LEAST_SHARE
    ]
    table = text_table(["where the time goes", "s", "share", ""], lines)
    return (
        f"{table}\n\noverhead (all that is no model): {found['share']:.1%} of the run; without starting, loading and "
        f"report {found['share_while_running']:.1%}, {found['seconds_per_frame'] * 1000:.1f} ms a frame\n"
        f"of it the engine (waiting, store, commits): {found['engine_share_while_running']:.1%}; the rest is work "
        "around the models (resizing, encoding, measuring)"
    )
