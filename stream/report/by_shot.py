"""The verdict shot by shot and subject by subject. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

from stages.fidelity.totals import contact_of
from stages.metrics import flag_spans
from stream.report.collect import Facts, FrameTable, Spans, join_spans
from stream.report.numbers import signed, statistics


@dataclass(frozen=True)
class SubjectScore:
    """A subject's own IoU of source and result in a shot; None where it was not scored."""

    iou_mean: float | None
    iou_p5: float | None
    iou_min: float | None
    iou_min_frame: int | None


@dataclass(frozen=True)
class ShotScore:
    """What a shot comes to.

    Attributes:
        frames: half-open. failed_frames: spans that fail the gate; failed_by: their number by metric of the gate.
        subjects: by name. contact_f1, off_f1: of contact and of no contact, None where that was not measured.
    """

    frames: tuple[int, int]
    failed_frames: Spans
    failed_by: dict[str, int]
    subjects: dict[str, SubjectScore]
    contact_f1: float | None
    off_f1: float | None


def scores_by_shot(table: FrameTable, known: Facts, threshold: float) -> list[ShotScore]:
    """Every shot, as far as it is tracked; the whole clip where it has no cut."""
    spans = [(start, min(stop, table.frames)) for start, stop in known.shots if start < table.frames]
    return [_shot(table, known, threshold, *span) for span in spans or [(0, table.frames)] if table.frames]


def _shot(table: FrameTable, known: Facts, threshold: float, start: int, stop: int) -> ShotScore:
    failing = table.failing(threshold)[start:stop]
    subjects = {}
    for name, values in table.subject_scores.items():
        mean, p5, _, least, frame = statistics(values[start:stop])
        subjects[name] = SubjectScore(mean, p5, least, None if frame is None else start + frame)
    source, result = (each[start:stop] for each in known.sights) if known.sights else (None, None)
    contact = None if source is None or result is None else contact_of(source, result)
    return ShotScore(
        frames=(start, stop),
        failed_frames=join_spans([flag_spans(failing, start)]),
        failed_by={each.bound.metric: int(each.failing[start:stop].sum()) for each in table.judged_by(threshold)},
        subjects=subjects,
        contact_f1=None if contact is None else signed(contact.f1),
        off_f1=None if contact is None else signed(contact.off_f1),
    )


def shot_rows(shots: Sequence[ShotScore]) -> list[list[str]]:
    """A row a shot and subject: frames, subject, IoU mean, 5th percentile, worst and its frame, then of the shot its
    failing frames and F1 of contact and no contact."""
    rows = []
    for shot in shots:
        start, stop = shot.frames
        failing = sum(b - a for a, b in shot.failed_frames)
        told = ", ".join(f"{name} {count}" for name, count in shot.failed_by.items() if count)
        for index, (name, score) in enumerate(shot.subjects.items()):
            numbers = [_text(value) for value in (score.iou_mean, score.iou_p5, score.iou_min)]
            frame = "" if score.iou_min_frame is None else str(score.iou_min_frame)
            own = [str(failing), told, _text(shot.contact_f1), _text(shot.off_f1)] if index == 0 else ["", "", "", ""]
            rows.append([f"{start} to {stop - 1}" if index == 0 else "", name, *numbers, frame, *own])
    return rows


def _text(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"
