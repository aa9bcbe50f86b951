"""What the report is made of: one value a frame, one row a window, and the facts, gathered from the commit records."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from stages.base import Array
from stages.fidelity.totals import Interaction
from stages.gate import Bound
from stages.subjects import OBJECT, OBJECTS
from storage.spans import Span

SCORE_COLUMNS = ("iou", "boundary_f", "containment", "clipping")

Record = Mapping[str, Any]
Spans = list[tuple[int, int]]


@dataclass(frozen=True)
class GateColumn:
    """A metric of the gate: what it must hold, and its `[T]` values, NaN where not measured."""

    bound: Bound
    values: Array

    @property
    def failing(self) -> Array:
        """`[T]` bool."""
        return self.bound.fails(self.values)


def failing(gate: Sequence[GateColumn]) -> Array:
    """`[T]` bool: the frames that a gate of at least one metric fails."""
    return np.asarray(np.logical_or.reduce([column.failing for column in gate]))


@dataclass(frozen=True)
class FrameTable:
    """One value a frame.

    Attributes:
        times: `[T]` float64, seconds from the first frame.
        visible: `[T, N]` bool: present in the source, a column a subject.
        scores: `[T]` float64 by name (`SCORE_COLUMNS`), NaN where a frame was not scored or is untracked.
        subjects: names, in the order of the columns.
        gate: what the frames are judged by; empty: by the IoU alone.
        baselines: `[T]` float64 IoU by name ("ceiling", "blur"), NaN where not scored; empty: they were not asked for.
        subject_scores: `[T]` float64 by subject, its own IoU of source and result, NaN as in `iou`.
        proved: of the subjects, those whose IoU the frames are judged by.
    """

    times: Array
    visible: Array
    scores: Mapping[str, Array]
    subjects: tuple[str, ...] = OBJECTS
    gate: Sequence[GateColumn] = ()
    baselines: Mapping[str, Array] = field(default_factory=dict)
    subject_scores: Mapping[str, Array] = field(default_factory=dict)
    proved: tuple[str, ...] = (OBJECT,)

    def __post_init__(self) -> None:
        lengths = {"visible": len(self.visible)} | {name: len(values) for name, values in self.scores.items()}
        wrong = {name: length for name, length in lengths.items() if length != len(self.times)}
        if wrong:
            raise ValueError(f"a report of {len(self.times)} frames got columns of other lengths: {wrong}")

    @property
    def frames(self) -> int:
        """T."""
        return len(self.times)

    @property
    def iou(self) -> Array:
        """`[T]` float64, NaN where not scored."""
        return self.scores["iou"]

    @property
    def shows(self) -> Array:
        """`[T]` bool, whether anybody is present in the source by whom the frame is judged."""
        return np.asarray(self.visible[:, [self.subjects.index(name) for name in self.proved]].any(axis=1))

    def judged_by(self, threshold: float) -> Sequence[GateColumn]:
        """The metrics of the gate; `threshold` is the IoU's where it stands alone."""
        return self.gate or (GateColumn(Bound("iou", threshold, high=True), self.iou),)

    def failing(self, threshold: float) -> Array:
        """`[T]` bool: the frames that fail the gate."""
        return failing(self.judged_by(threshold))


@dataclass(frozen=True)
class WindowRow:
    """What one window cost.

    Attributes:
        final: the frames it made final.
        seconds: wall clock by stage.
        rss_by_stage: memory of the process, bytes, when the stage was committed.
        vram_by_stage: what torch had taken of the GPU at most by then, bytes; without the stages that did not measure.
    """

    final: Span
    seconds: Mapping[str, float] = field(default_factory=dict)
    rss_by_stage: Mapping[str, int] = field(default_factory=dict)
    vram_by_stage: Mapping[str, int] = field(default_factory=dict)

    @property
    def rss_bytes(self) -> int | None:
        """The highest of the stages; None where it was not measured."""
        return max(self.rss_by_stage.values(), default=None)

    @property
    def vram_bytes(self) -> int | None:
        """The highest of the stages; None where it was not measured."""
        return max(self.vram_by_stage.values(), default=None)


@dataclass(frozen=True)
class Facts:
    """What is known beside the numbers a frame.

    Attributes:
        windows: in order.
        untracked, lost, unlike: half-open spans by subject: not looked for yet, looked for in vain, and not recognised
            in what was found behind a cut.
        occluded: likewise, hidden by others; empty where that was not asked.
        cuts: first frames after a hard scene cut. shots: half-open spans, the last one as far as it is decoded.
        bad_frames: how many damaged source frames were concealed.
        claimed_frames: that the source's header claims (before `--fps`), None where it claims none.
        cut_short: a sentence where the source ended before the end that its header claims (see `shortfall`).
        person: `{"frame": F, "box": [x1, y1, x2, y2]}` where the person was first found, None where never.
        seams: the score stage's `info["seam"]` by window. own_seams: the blend's `info["own_seam"]`.
        attempts: `window`, `attempt`, `iou_min` of everything that was tried after a window failed the gate.
        sights: of source and result, `[T, K]` each, where they were measured; interaction: what they come to.
        interactions: of a scene what each pair's come to, by the object's name.
        complete: whether every stage has done every window. generates: whether there is more than poses and masks;
            gates: whether anybody is gated by it.
    """

    windows: Sequence[WindowRow] = ()
    untracked: Mapping[str, Spans] = field(default_factory=dict)
    lost: Mapping[str, Spans] = field(default_factory=dict)
    unlike: Mapping[str, Spans] = field(default_factory=dict)
    occluded: Mapping[str, Spans] = field(default_factory=dict)
    cuts: Sequence[int] = ()
    shots: Spans = field(default_factory=list)
    bad_frames: int = 0
    claimed_frames: int | None = None
    cut_short: str | None = None
    person: Mapping[str, Any] | None = None
    seams: Sequence[Mapping[str, Any]] = ()
    own_seams: Sequence[Mapping[str, Any]] = ()
    attempts: Sequence[Mapping[str, Any]] = ()
    sights: tuple[Array, ...] = ()
    interaction: Interaction | None = None
    interactions: Mapping[str, Interaction] = field(default_factory=dict)
    complete: bool = True
    generates: bool = True
    gates: bool = True


def frame_table(
    times: Array,
    visible: Array,
    score_records: Sequence[Record],
    subjects: tuple[str, ...] = OBJECTS,
    gate: Sequence[GateColumn] = (),
    baselines: Mapping[str, Array] | None = None,
) -> FrameTable:
    """The table of `len(times)` frames from the score stage's commit records; frames not scored yet are NaN."""
    scores = {name: np.full(len(times), np.nan) for name in SCORE_COLUMNS}
    for record in score_records:
        start, stop = record["span"]
        for name in SCORE_COLUMNS:
            values = [np.nan if value is None else float(value) for value in record["info"][name]]
            scores[name][start:stop] = values
    flags = np.asarray(visible, dtype=bool)
    seconds = np.asarray(times, dtype=np.float64)
    return FrameTable(seconds, flags, scores, subjects, gate, baselines or {})


def facts(
    records: Mapping[str, Sequence[Record]], finals: Sequence[Span], subjects: tuple[str, ...] = OBJECTS
) -> Facts:
    """The facts from every stage's commit records, in order of windows.

    Args:
        records: by stage name.
        finals: the windows' final spans.
        subjects: names.
    """
    track = [record["info"] for record in records.get("track", ())]
    hidden = [record["info"]["occluded"] for record in records.get("occlusion", ())]
    persons = [record["info"].get("person") for record in records.get("pose", ())]
    return Facts(
        windows=[_window_row(index, final, records) for index, final in enumerate(finals)],
        untracked={name: join_spans([info["untracked"][name] for info in track]) for name in subjects},
        lost={name: join_spans([info["lost"][name] for info in track]) for name in subjects},
        unlike={name: join_spans([info.get("unlike", {}).get(name, []) for info in track]) for name in subjects},
        occluded={name: join_spans([each[name] for each in hidden]) for name in subjects if hidden},
        cuts=[frame for record in records.get("decode", ()) for frame in record["info"].get("cuts", ())],
        bad_frames=sum(_count(record["info"].get("bad_frames", 0)) for record in records.get("decode", ())),
        person=next((person for person in persons if person), None),
        seams=_each(records.get("score", ()), "seam"),
        own_seams=_each(records.get("blend", ()), "own_seam"),
    )


def _each(records: Sequence[Record], fact: str) -> list[Mapping[str, Any]]:
    return [record["info"][fact] for record in records if record["info"].get(fact)]


def join_spans(windows: Sequence[Sequence[Sequence[int]]]) -> Spans:
    """Half-open spans of successive windows as one list, those that touch joined."""
    joined: Spans = []
    for start, stop in sorted((int(a), int(b)) for spans in windows for a, b in spans):
        if joined and start <= joined[-1][1]:
            joined[-1] = joined[-1][0], max(stop, joined[-1][1])
        else:
            joined.append((start, stop))
    return joined


def shortfall(
    video: Mapping[str, Any], frames: int, last_seconds: float, fps: float | None, read_error: str | None
) -> str | None:
    """A sentence where the source ended clearly before the end that its header claims, else None.

    A header may be wrong by a frame, and counts frames that an edit list hides (a file trimmed by its index alone);
    a last frame may last longer than its neighbours. So it takes both a count and a duration that fall short by more
    than one frame, as far as both are claimed. Resampled frames cannot be counted against the header's.

    Args:
        video: the source's properties: `claimed_frames`, `claimed_seconds` (each may be None), `claimed_fps`.
        frames: that were decoded. last_seconds: when the last of them is shown, from the first on.
        fps: that the source was resampled to, None: it was not.
        read_error: with which reading the file ended, None: with its end.
    """
    count, seconds = video.get("claimed_frames"), video.get("claimed_seconds")
    period = max(1 / float(video["claimed_fps"]), 1 / fps if fps else 0.0)
    lacks_frames = None if fps or not count else frames < count - 1
    lacks_seconds = None if not seconds or seconds <= 0 else last_seconds + 2.5 * period < seconds
    advice = "the file may be cut off, fetch it again"
    if lacks_frames is None and lacks_seconds is None:
        return f"reading ended after frame {frames - 1} with an error ({read_error}): {advice}" if read_error else None
    if lacks_frames is False or lacks_seconds is False:
        return None
    if lacks_frames:
        return f"the header claims {count} frames, {frames} could be decoded: {advice}"
    return f"the header claims {seconds:.2f} s, {last_seconds + period:.2f} s could be decoded: {advice}"


def _window_row(index: int, final: Span, records: Mapping[str, Sequence[Record]]) -> WindowRow:
    done = {stage: rows[index] for stage, rows in records.items() if index < len(rows)}
    rss, vram = (
        {stage: int(row[key]) for stage, row in done.items() if row.get(key) is not None}
        for key in ("rss_bytes", "vram_bytes")
    )
    return WindowRow(final, {stage: float(row["seconds"]) for stage, row in done.items()}, rss, vram)


def _count(bad_frames: int | Sequence[int]) -> int:
    """A count, whether the decoder wrote how many or which."""
    return bad_frames if isinstance(bad_frames, int) else len(bad_frames)
