"""`summary.json` and `iou.csv`: the run in numbers. Pure functions; only `cost` tells of the machine."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from stages.base import Array
from stages.baselines import CEILING, failed_by
from stages.fidelity.totals import Interaction
from stages.metrics import failed_spans, flag_spans, seam_ratio, summarise_iou
from stages.subjects import OBJECT, PERSON
from storage.spans import Span
from stream.report.by_shot import ShotScore, scores_by_shot
from stream.report.collect import (
    SCORE_COLUMNS,
    Facts,
    FrameTable,
    GateColumn,
    Spans,
    WindowRow,
    join_spans,
)
from stream.report.numbers import rounded, signed, statistics
from stream.report.result import Gate


@dataclass(frozen=True)
class Statistics:
    """Mean, 5th percentile (nearest rank) and lowest of a metric of which high is good, with their frames."""

    mean: float | None
    p5: float | None
    p5_frame: int | None
    min: float | None
    min_frame: int | None


@dataclass(frozen=True)
class Excess:
    """The same of a metric of which low is good: 95th percentile and highest."""

    mean: float | None
    p95: float | None
    p95_frame: int | None
    max: float | None
    max_frame: int | None


@dataclass(frozen=True)
class Presence:
    """In how many frames a subject was seen, and where it was not: looked for in vain, not looked for, and not
    recognised in what was found behind a cut; its IoU of source and result, None where it is not followed there, with
    the frames at or below the threshold; and where others hid it, None where that was not asked."""

    visible_frames: int
    lost: Spans
    untracked: Spans
    unlike: Spans
    iou: Statistics | None = None
    failed_frames: Spans | None = None
    occluded: Spans | None = None


@dataclass(frozen=True)
class WindowScore:
    """The frames that a window made final, and their IoU."""

    frames: Span
    iou_mean: float | None
    iou_min: float | None
    failed_frames: Spans


@dataclass(frozen=True)
class WindowCost:
    """Seconds and bytes of a window by stage."""

    seconds: dict[str, float]
    rss_bytes: dict[str, int]
    vram_bytes: dict[str, int]


@dataclass(frozen=True)
class Cost:
    """Sums of the seconds by stage, peaks of the memory, and both by window."""

    seconds: dict[str, float]
    peak_rss_bytes: int | None
    peak_vram_bytes: int | None
    by_window: list[WindowCost]


@dataclass(frozen=True)
class GatedBy:
    """A metric of the gate: its bound, whether high is good, on how many frames it was measured, those that fail, and
    the worst value with its frame."""

    bound: float
    high: bool
    measured_frames: int
    failed_frames: Spans
    worst: float | None
    worst_frame: int | None


@dataclass(frozen=True)
class Baseline:
    """What the tracker makes of a result that anybody could make: its mean IoU, and where it fails the threshold."""

    iou_mean: float | None
    failed_frames: Spans


@dataclass(frozen=True)
class Summary:
    """`summary.json` (docs/formats.md has each field); None where nothing was scored. All spans are half-open."""

    frames: int
    windows: int
    complete: bool
    generates: bool
    seconds_of_video: float | None
    gate: Gate
    iou_threshold: float
    gated_by: dict[str, GatedBy]
    baselines: dict[str, Baseline] | None
    failed_by: dict[str, int] | None
    interaction: Interaction | None
    interactions: Mapping[str, Interaction]
    frames_scored: int
    failed_frames: Spans
    failed_frames_count: int
    iou: Statistics
    boundary_f: Statistics
    containment: Statistics
    clipping: Excess
    seam_ratio: float | None
    object: Presence | None
    person: Presence | None
    subjects: dict[str, Presence]
    person_found: Mapping[str, Any] | None
    bad_frames: int
    claimed_frames: int | None
    cut_short: str | None
    cuts: list[int]
    shots: Spans
    attempts: list[Mapping[str, Any]]
    by_shot: list[ShotScore]
    by_window: list[WindowScore]
    cost: Cost

    @property
    def unmeasured(self) -> tuple[str, ...]:
        """Metrics of the gate that say nothing: they were measured on no frame of those that are scored."""
        return tuple(name for name, each in self.gated_by.items() if self.frames_scored and not each.measured_frames)

    def to_json(self) -> dict[str, Any]:
        """The object of the file."""
        return asdict(self)


def summarise(table: FrameTable, known: Facts, threshold: float) -> Summary:
    """The report's numbers.

    Args:
        table: one value a frame.
        known: windows, spans, cuts.
        threshold: a frame passes when its IoU is above it.
    """
    found = summarise_iou(table.iou, threshold)
    subjects = {name: _presence(table, known, name, threshold) for name in table.subjects}
    failed = flag_spans(table.failing(threshold))
    seam = seam_ratio(known.seams, known.own_seams)
    return Summary(
        frames=table.frames,
        windows=len(known.windows),
        complete=known.complete,
        generates=known.generates,
        seconds_of_video=rounded(float(table.times[-1])) if table.frames else None,
        gate=None if found.passed is None else "failed" if failed else "passed",
        iou_threshold=threshold,
        interaction=known.interaction,
        interactions=dict(known.interactions),
        baselines=baselines_of(table.baselines, threshold),
        failed_by=failed_by(table.failing(threshold), table.baselines[CEILING], threshold) if table.baselines else None,
        gated_by={column.bound.metric: _gated(column) for column in table.judged_by(threshold) if known.gates},
        frames_scored=found.frames,
        failed_frames=join_spans([failed]),
        failed_frames_count=sum(stop - start for start, stop in failed),
        iou=Statistics(*statistics(table.scores["iou"])),
        boundary_f=Statistics(*statistics(table.scores["boundary_f"])),
        containment=Statistics(*statistics(table.scores["containment"])),
        clipping=Excess(*statistics(table.scores["clipping"], worst_is_high=True)),
        seam_ratio=None if seam is None else rounded(seam),
        object=subjects.get(OBJECT),
        person=subjects.get(PERSON),
        subjects=subjects,
        person_found=None if known.person is None else dict(known.person),
        bad_frames=known.bad_frames,
        claimed_frames=known.claimed_frames,
        cut_short=known.cut_short,
        cuts=list(known.cuts),
        shots=list(known.shots),
        attempts=list(known.attempts),
        by_shot=scores_by_shot(table, known, threshold),
        by_window=[_window(table, row.final, threshold) for row in known.windows],
        cost=_cost(known.windows),
    )


def baselines_of(values: Mapping[str, Array], threshold: float) -> dict[str, Baseline] | None:
    """The baselines by name from their `[T]` IoU; None where there are none."""
    found = {name: summarise_iou(each, threshold) for name, each in values.items()}
    return {name: Baseline(signed(each.mean), join_spans([each.failed_frames])) for name, each in found.items()} or None


def _gated(column: GateColumn) -> GatedBy:
    _, _, _, worst, frame = statistics(column.values, worst_is_high=not column.bound.high)
    measured = int(np.count_nonzero(~np.isnan(column.values)))
    failed = join_spans([flag_spans(column.failing)])
    return GatedBy(column.bound.value, column.bound.high, measured, failed, worst, frame)


def _cost(windows: Sequence[WindowRow]) -> Cost:
    stages = list(dict.fromkeys(stage for row in windows for stage in row.seconds))
    return Cost(
        seconds={stage: rounded(sum(row.seconds.get(stage, 0.0) for row in windows)) for stage in stages},
        peak_rss_bytes=max((row.rss_bytes for row in windows if row.rss_bytes is not None), default=None),
        peak_vram_bytes=max((row.vram_bytes for row in windows if row.vram_bytes is not None), default=None),
        by_window=[
            WindowCost(
                {stage: rounded(seconds) for stage, seconds in row.seconds.items()},
                dict(row.rss_by_stage),
                dict(row.vram_by_stage),
            )
            for row in windows
        ],
    )


def iou_csv(table: FrameTable) -> str:
    """The table as CSV, a line a frame, each ending in a newline alone.

    Columns: `frame,time_s,iou,boundary_f,containment,clipping`, then `NAME_visible` of each subject, then `NAME_iou` of
    those that are followed in the result. Six decimals; an empty field where a frame was not scored or is untracked;
    visible as 0 or 1.
    """
    own = [f"{name}_iou" for name in table.subject_scores]
    lines = [",".join(["frame", "time_s", *SCORE_COLUMNS, *(f"{name}_visible" for name in table.subjects), *own])]
    for frame in range(table.frames):
        scores = (float(table.scores[name][frame]) for name in SCORE_COLUMNS)
        fields = [str(frame), f"{float(table.times[frame]):.6f}"]
        fields += [_field(value) for value in scores]
        fields += [str(int(flag)) for flag in table.visible[frame]]
        fields += [_field(float(values[frame])) for values in table.subject_scores.values()]
        lines.append(",".join(fields))
    return "\n".join(lines) + "\n"


def _field(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.6f}"


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


def _presence(table: FrameTable, known: Facts, name: str, threshold: float) -> Presence:
    seen = int(np.count_nonzero(table.visible[:, table.subjects.index(name)]))
    lost, untracked, unlike = (list(spans.get(name, [])) for spans in (known.lost, known.untracked, known.unlike))
    hidden = known.occluded.get(name)
    found = Presence(seen, lost, untracked, unlike, occluded=None if hidden is None else list(hidden))
    if name not in table.subject_scores:
        return found
    failed = join_spans([failed_spans(table.subject_scores[name], threshold)])
    return replace(found, iou=Statistics(*statistics(table.subject_scores[name])), failed_frames=failed)


def _window(table: FrameTable, final: Span, threshold: float) -> WindowScore:
    found = summarise_iou(table.iou[final.start : final.stop], threshold)
    failed = join_spans([flag_spans(table.failing(threshold)[final.start : final.stop], final.start)])
    return WindowScore(final, signed(found.mean), signed(found.minimum), failed)
