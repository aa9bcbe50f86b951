"""`summary.json` and `iou.csv`: the run in numbers. Pure functions; only `cost` tells of the machine."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from stages.base import Array
from stages.metrics import failed_spans, seam_ratio, summarise_iou
from storage.spans import Span
from stream.report.collect import OBJECTS, SCORE_COLUMNS, Facts, FrameTable, Spans, WindowRow

DIGITS = 6


def summary(table: FrameTable, known: Facts, threshold: float) -> dict[str, Any]:
    """The report's numbers as JSON values; None where nothing was scored. All spans are half-open.

    Args:
        table: one value a frame.
        known: windows, spans, cuts.
        threshold: a frame passes when its IoU is above it.
    """
    found = summarise_iou(table.iou, threshold)
    seam = seam_ratio(known.seams)
    return {
        "frames": table.frames,
        "windows": len(known.windows),
        "complete": known.complete,
        "generates": known.generates,
        "seconds_of_video": _rounded(float(table.times[-1])) if table.frames else None,
        "gate": None if found.passed is None else "passed" if found.passed else "failed",
        "iou_threshold": threshold,
        "frames_scored": found.frames,
        "failed_frames": [list(span) for span in found.failed_frames],
        "failed_frames_count": sum(stop - start for start, stop in found.failed_frames),
        "iou": statistics(table.scores["iou"]),
        "boundary_f": statistics(table.scores["boundary_f"]),
        "containment": statistics(table.scores["containment"]),
        "clipping": statistics(table.scores["clipping"], worst_is_high=True),
        "seam_ratio": None if seam is None else _rounded(seam),
        **{name: _presence(table, known, column) for column, name in enumerate(OBJECTS)},
        "person_found": known.person,
        "bad_frames": known.bad_frames,
        "claimed_frames": known.claimed_frames,
        "cut_short": known.cut_short,
        "cuts": list(known.cuts),
        "attempts": [dict(attempt) for attempt in known.attempts],
        "by_window": [_window(table, final.final, threshold) for final in known.windows],
        "cost": _cost(known.windows),
    }


def _cost(windows: Sequence[WindowRow]) -> dict[str, Any]:
    """Seconds and bytes, window by window and stage by stage, with their sums and peaks."""
    stages = list(dict.fromkeys(stage for row in windows for stage in row.seconds))
    return {
        "seconds": {stage: _rounded(sum(row.seconds.get(stage, 0.0) for row in windows)) for stage in stages},
        "peak_rss_bytes": max((row.rss_bytes for row in windows if row.rss_bytes is not None), default=None),
        "peak_vram_bytes": max((row.vram_bytes for row in windows if row.vram_bytes is not None), default=None),
        "by_window": [
            {
                "seconds": {stage: _rounded(seconds) for stage, seconds in row.seconds.items()},
                "rss_bytes": dict(row.rss_by_stage),
                "vram_bytes": dict(row.vram_by_stage),
            }
            for row in windows
        ],
    }


def statistics(values: Array, worst_is_high: bool = False) -> dict[str, Any]:
    """Mean, 5th percentile (nearest rank, towards the worst) and worst of `[T]` values, NaN left out, with frames.

    Returns:
        `mean`, `p5`, `p5_frame`, `min`, `min_frame`; with `worst_is_high` `p95`, `max` and their frames instead.
    """
    low, worst = ("p95", "max") if worst_is_high else ("p5", "min")
    sign = -1.0 if worst_is_high else 1.0
    found = summarise_iou(sign * np.asarray(values, dtype=np.float64), -math.inf)
    return {
        "mean": _signed(found.mean, sign),
        low: _signed(found.p5, sign),
        f"{low}_frame": found.p5_frame,
        worst: _signed(found.minimum, sign),
        f"{worst}_frame": found.minimum_frame,
    }


def iou_csv(table: FrameTable) -> str:
    """The table as CSV, a line a frame, each ending in a newline alone.

    Columns: `frame,time_s,iou,boundary_f,containment,clipping,object_visible,person_visible`. Six decimals; an empty
    field where a frame was not scored or is untracked; visible as 0 or 1.
    """
    lines = [",".join(["frame", "time_s", *SCORE_COLUMNS, "object_visible", "person_visible"])]
    for frame in range(table.frames):
        scores = (float(table.scores[name][frame]) for name in SCORE_COLUMNS)
        fields = [str(frame), f"{float(table.times[frame]):.6f}"]
        fields += ["" if math.isnan(value) else f"{value:.6f}" for value in scores]
        fields += [str(int(flag)) for flag in table.visible[frame]]
        lines.append(",".join(fields))
    return "\n".join(lines) + "\n"


def pick_frames(iou: Array, visible: Array) -> dict[str, int]:
    """Frames to look at: "worst", "median" and "best" by IoU among those where the object was seen.

    A frame in which the object is in neither picture scores 1.0 and shows nothing; such frames are taken only where
    there are no others. Empty when nothing was scored; of equals the first one.

    Args:
        iou: `[T]`, NaN where not scored.
        visible: `[T]` bool, the object in the source.
    """
    scored = ~np.isnan(iou)
    candidates = np.flatnonzero(scored & visible)
    if not candidates.size:
        candidates = np.flatnonzero(scored)
    if not candidates.size:
        return {}
    order = candidates[np.argsort(iou[candidates], kind="stable")]
    best = candidates[np.argmax(iou[candidates])]
    return {"worst": int(order[0]), "median": int(order[(len(order) - 1) // 2]), "best": int(best)}


def _presence(table: FrameTable, known: Facts, column: int) -> dict[str, Any]:
    name = OBJECTS[column]
    return {
        "visible_frames": int(np.count_nonzero(table.visible[:, column])),
        "lost": _lists(known.lost.get(name, [])),
        "untracked": _lists(known.untracked.get(name, [])),
    }


def _window(table: FrameTable, final: Span, threshold: float) -> dict[str, Any]:
    values = table.iou[final.start : final.stop]
    found = summarise_iou(values, threshold)
    return {
        "frames": list(final),
        "iou_mean": _signed(found.mean, 1.0),
        "iou_min": _signed(found.minimum, 1.0),
        "failed_frames": failed_spans(values, threshold, final.start),
    }


def _lists(spans: Spans) -> list[list[int]]:
    return [list(span) for span in spans]


def _signed(value: float | None, sign: float) -> float | None:
    return None if value is None else _rounded(sign * value)


def _rounded(value: float) -> float:
    return round(value, DIGITS) + 0.0  # + 0.0: no "-0.0" in the file
