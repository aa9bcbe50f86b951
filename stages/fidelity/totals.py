"""What the sights of a whole clip come to: contact as precision and recall, its timing, flips, flights. Pure."""

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from stages.affine import IDENTITY, apply, compose, invert
from stages.base import Array
from stages.fidelity.registry import metrics, names_of
from stages.fidelity.sight import COLUMNS, FEET, turned
from stages.metrics import flag_spans

Spans = Sequence[tuple[int, int]]

NEAR_FRAMES = 8  # a change of contact is looked for this far around the source's
THIN, WIDE = 0.72, 0.84  # of the width it lately had: below the one it is seen on edge, above the other on a face
FORGET = 0.99  # a frame: how fast that width is forgotten
LEAST_FLIGHT = 6  # frames: a parabola through fewer fits anything


@dataclass(frozen=True)
class Contact:
    """Contact of feet and object in the result, the source's taken for true; shares 0..1, None where there is none.

    Attributes:
        precision, recall, f1: of contact. off_precision, off_recall, off_f1: of no contact.
        changes: how often a foot comes on or off in the source; missed: of these, with none like it in the result.
        timing_frames: mean of how far the others are off, either way; timing_bias_frames: late above 0, early below;
            timing_worst_frames.
    """

    precision: float | None
    recall: float | None
    f1: float | None
    off_precision: float | None
    off_recall: float | None
    off_f1: float | None
    changes: int
    missed: int
    timing_frames: float | None
    timing_bias_frames: float | None
    timing_worst_frames: int | None


@dataclass(frozen=True)
class Flight:
    """A span without contact, and how far hips and object are from a parabola in it, px (root mean square); None where
    they are not seen."""

    start: int
    stop: int
    source_person_px: float | None
    result_person_px: float | None
    source_object_px: float | None
    result_object_px: float | None


@dataclass(frozen=True)
class Presence:
    """The object in the result: on how many frames the source shows it and the result does not (lost), on how many
    another place looks like it (double), and the share of it that lies on the person beyond the source's own
    (clipping): mean, and worst; None where nothing was measured."""

    lost_frames: int
    double_frames: int
    clipping_mean: float | None
    clipping_worst: float | None


@dataclass(frozen=True)
class Interaction:
    """All of it. flips: whole turns about the long axis, counted by the edge that is seen twice in each;
    turned_degrees: in the picture's plane, either way."""

    contact: Contact
    presence: Presence
    source_flips: float
    result_flips: float
    source_turned_degrees: float
    result_turned_degrees: float
    flights: list[Flight]

    def to_json(self) -> dict[str, Any]:
        """For `summary.json`."""
        return asdict(self)


def interaction(
    source: Array,
    result: Array,
    values: Array,
    grounded: Array | None = None,
    motion: Array | None = None,
    shots: Spans = (),
) -> Interaction:
    """What source and result come to.

    Args:
        source, result: [T, K], columns as in `COLUMNS`.
        values: [T, M], `metrics/object`.
        grounded: [T] bool, the source's frames on which a foot stands on anything: they are no flight.
        motion: [T, 2, 3], the background of the frame before to this one; None: flights are judged in the picture.
        shots: half-open spans of frames: what lies on either side of a cut is no change, turn or flight. Empty: one.
    """
    shots = [(start, min(stop, len(source))) for start, stop in shots or [(0, len(source))] if start < len(source)]
    return Interaction(
        contact_of(source, result, shots),
        presence_of(values),
        sum(flips(source[start:stop]) for start, stop in shots),
        sum(flips(result[start:stop]) for start, stop in shots),
        sum(turned_degrees(source[start:stop]) for start, stop in shots),
        sum(turned_degrees(result[start:stop]) for start, stop in shots),
        flights(source, result, grounded, motion, shots),
    )


def column(sights: Array, name: str) -> Array:
    """[T] float64 by name."""
    return np.asarray(sights[:, COLUMNS.index(name)], np.float64)


def presence_of(values: Array) -> Presence:
    """What `metrics/object` [T, M] says of the object's presence, by the metrics' own bounds."""
    names = names_of("object")
    lost, double, clipping = (np.asarray(values[:, names.index(n)], np.float64) for n in ("lost", "double", "clipping"))
    clipped = clipping[~np.isnan(clipping)]
    return Presence(
        lost_frames=int(np.count_nonzero(lost > metrics()["lost"].bound)),
        double_frames=int(np.count_nonzero(double > metrics()["double"].bound)),
        clipping_mean=float(clipped.mean()) if len(clipped) else None,
        clipping_worst=float(clipped.max()) if len(clipped) else None,
    )


def contact_of(source: Array, result: Array, shots: Spans = ()) -> Contact:
    """Contact of both feet; only frames count on which both pictures tell. Changes are those within a shot."""
    pairs = [(column(source, f"{foot}_contact"), column(result, f"{foot}_contact")) for foot in FEET]
    true = np.concatenate([one[~np.isnan(one + two)] > 0.5 for one, two in pairs])
    found = np.concatenate([two[~np.isnan(one + two)] > 0.5 for one, two in pairs])
    late, missed = [], 0
    spans = shots or [(0, len(source))]
    for one, two in ((one[start:stop], two[start:stop]) for one, two in pairs for start, stop in spans):
        candidates = changes(two)
        for frame, on in changes(one):
            first = bisect_left(candidates, (frame - NEAR_FRAMES, False))
            near = candidates[first : bisect_right(candidates, (frame + NEAR_FRAMES, True))]
            like = [other - frame for other, same in near if same == on]
            if like:
                late.append(min(like, key=abs))
            elif not np.isnan(two[max(0, frame - 1) : frame + 1]).any():
                missed += 1
    return Contact(
        *_agreement(true, found),
        *_agreement(~true, ~found),
        changes=len(late) + missed,
        missed=missed,
        timing_frames=float(np.abs(late).mean()) if late else None,
        timing_bias_frames=float(np.mean(late)) if late else None,
        timing_worst_frames=int(max(late, key=abs)) if late else None,
    )


def changes(contact: Array) -> list[tuple[int, bool]]:
    """(first frame, whether on) of every change between two frames that are both told."""
    both = ~np.isnan(contact[1:] + contact[:-1]) & (contact[1:] != contact[:-1])
    return [(int(frame), bool(contact[frame] > 0.5)) for frame in np.flatnonzero(both) + 1]


def _agreement(true: Array, found: Array) -> tuple[float | None, float | None, float | None]:
    """Precision, recall, F1."""
    right, shown, wanted = (int(np.count_nonzero(flags)) for flags in (true & found, found, true))
    f1 = 2 * right / (shown + wanted) if shown + wanted else None
    return right / shown if shown else None, right / wanted if wanted else None, f1


def flips(sights: Array) -> float:
    """Turns about the object's long axis: its edge is seen twice in each."""
    width = column(sights, "width") / column(sights, "scale")
    thin, passed, widest = False, 0, 0.0
    for value in width[~np.isnan(width)].tolist():
        widest = max(value, FORGET * widest)
        if not thin and value < THIN * widest:
            thin, passed = True, passed + 1
        elif thin and value > WIDE * widest:
            thin = False
    return passed / 2


def turned_degrees(sights: Array) -> float:
    """Sum of the turns of the long axis from frame to frame."""
    steps = np.diff(column(sights, "angle"))
    return float(sum(abs(turned(step)) for step in steps[~np.isnan(steps)].tolist()))


def flights(source: Array, result: Array, grounded: Array | None, motion: Array | None, shots: Spans) -> list[Flight]:
    """The spans within shots in which the source has no foot on the object or anything else, and how well parabolas
    fit there."""
    off = np.all([column(source, f"{foot}_contact") == 0.0 for foot in FEET], axis=0)
    off &= True if grounded is None else ~grounded
    steady = _steadied(len(source), motion)
    found = []
    for start, stop in (span for first, end in shots for span in flag_spans(off[first:end], first)):
        if stop - start >= LEAST_FLIGHT:
            residuals = [
                _residual(sights, names, steady, start, stop)
                for names in (("hip_x", "hip_y"), ("x", "y"))
                for sights in (source, result)
            ]
            found.append(Flight(start, stop, *residuals))
    return found


def _steadied(frames: int, motion: Array | None) -> list[Array]:
    """By frame, the way back into the first frame's picture."""
    path = [IDENTITY]
    for frame in range(1, frames):
        path.append(path[-1] if motion is None else compose(motion[frame], path[-1]))
    return [invert(way) for way in path]


def _residual(sights: Array, names: tuple[str, str], steady: list[Array], start: int, stop: int) -> float | None:
    seconds = column(sights, "seconds")[start:stop]
    places = np.stack([column(sights, name)[start:stop] for name in names], axis=1)
    seen = ~np.isnan(places).any(axis=1)
    if np.count_nonzero(seen) < LEAST_FLIGHT:
        return None
    points = np.concatenate([apply(steady[start + i], places[i : i + 1]) for i in np.flatnonzero(seen)])
    times = seconds[seen] - seconds[seen].mean()
    x = points[:, 0] - np.polyval(np.polyfit(times, points[:, 0], 1), times)
    y = points[:, 1] - np.polyval(np.polyfit(times, points[:, 1], 2), times)
    return float(np.sqrt(np.mean(x**2 + y**2)))
