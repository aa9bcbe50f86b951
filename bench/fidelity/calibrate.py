"""How much each metric trembles, from which strength on each fault is found, and whether each fires what it must. Pure.

To fire: beyond the 99.5th percentile of fault-free results (the untouched source, encoded and tracked alike) of other
clips. The smallest fault found: the least strength from which on at least 95 % of the frames fire.

Frames count whose ceiling passes, the fault-free result of the same clip: where the tracker itself fails, no metric
says anything of the result. Of a fault those on which its subject is seen and the fault-free result has a value; no
value fires nothing.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from bench.fidelity.faults import Planted
from bench.fidelity.judge import Judged
from stages.base import Array
from stages.fidelity.metric import Metric
from stages.fidelity.registry import metrics

TAIL = 0.5  # percent of the fault-free frames that lie beyond the bound
CERTAIN, SELDOM = 0.95, 0.02  # shares of frames
LEAST_FRAMES = 10  # of a strength: fewer say nothing
CHANGED = 0.85  # true IoU below which a frame is plainly wrong

Bounds = Mapping[str, float]
"""By metric, the value beyond which it fires."""


class Pair(NamedTuple):
    """A faulty result and the fault-free one of the same clip; the bounds that other clips give."""

    faulty: Judged
    clean: Judged
    bounds: Bounds


def sound(clean: Judged) -> Array:
    """[T] bool: where the ceiling passes."""
    passes: Array = clean.of("iou") > metrics()["iou"].bound
    return passes


def bound_of(metric: Metric, clean: Iterable[Judged]) -> float:
    """The value beyond which a metric fires; NaN where it was measured nowhere."""
    values = np.concatenate([each.of(metric.name)[sound(each)] for each in clean] or [np.zeros(0)]).astype(np.float64)
    values = values[~np.isnan(values)]
    if not len(values):
        return float("nan")
    if metric.high:
        return float(np.percentile(values, TAIL, method="lower"))
    return float(np.percentile(values, 100 - TAIL, method="higher"))


def fires(metric: Metric, bound: float, values: Array) -> Array:
    """[T] bool: where values are beyond the bound."""
    beyond: Array = values < bound if metric.high else values > bound
    return beyond


def counted(metric: Metric, pairs: Sequence[Pair]) -> tuple[Array, Array]:
    """Size of the fault and whether it fires, `[n]` each, of all frames that count."""
    sizes, fired = [], []
    for faulty, clean, bounds in pairs:
        frames = (faulty.size > 0) & sound(clean) & ~np.isnan(clean.of(metric.name))
        sizes.append(faulty.size[frames])
        fired.append(fires(metric, bounds[metric.name], faulty.of(metric.name))[frames])
    return np.concatenate(sizes or [np.zeros(0)]), np.concatenate(fired or [np.zeros(0, bool)])


def curve(metric: Metric, fault: Planted, pairs: Sequence[Pair]) -> list[float | None]:
    """The share of frames that fire at each strength; what grows belongs to the strength it has last reached."""
    sizes, fired = counted(metric, pairs)
    steps = np.abs(fault.strengths)
    place = np.searchsorted(steps, sizes * (1 + 1e-9), side="right") - 1
    shares = [fired[place == index] for index in range(len(steps))]
    return [round(float(share.mean()), 4) if len(share) >= LEAST_FRAMES else None for share in shares]


def smallest(fault: Planted, shares: Sequence[float | None]) -> float | None:
    """The least strength from which on the share is at least 95 %; None where it is not at the strongest."""
    found = None
    for strength, share in zip(reversed(fault.strengths), reversed(shares), strict=True):
        if share is None or share < CERTAIN:
            break
        found = strength
    return found


def checked(fault: Planted, pairs: Sequence[Pair]) -> dict[str, Any]:
    """Whether a fault at or above its stated size fires what it must, and hardly ever what it must not."""

    def share(name: str) -> float | None:
        sizes, fired = counted(metrics()[name], pairs)
        strong = fired[sizes >= abs(fault.stated) * (1 - 1e-9)]
        return round(float(strong.mean()), 4) if len(strong) else None

    must = {name: share(name) for name in fault.must}
    must_not = {name: share(name) for name in fault.must_not}
    holds = all(value is not None and value >= CERTAIN for value in must.values())
    holds &= all(value is None or value <= SELDOM for value in must_not.values())
    return {"stated": fault.stated, "unit": fault.unit, "must": must, "must_not": must_not, "holds": holds}


def blamed(pairs: Iterable[Pair], threshold: float) -> dict[str, Any]:
    """Of frames whose ceiling passes: those that a fault takes below a true IoU of 0.85 and how many of these fail the
    gate (they are the generator's); those without a fault, and how many fail all the same."""
    wrong = told = right = false = 0
    for faulty, clean, _ in pairs:
        passes = clean.of("iou") > threshold
        failing = faulty.of("iou") <= threshold
        changed = passes & (faulty.true_iou < CHANGED)
        whole = passes & (faulty.size == 0)
        wrong, told = wrong + int(changed.sum()), told + int((changed & failing).sum())
        right, false = right + int(whole.sum()), false + int((whole & failing).sum())
    holds = bool(wrong) and told >= CERTAIN * wrong and not false
    return {"wrong_frames": wrong, "generator": told, "sound_frames": right, "sound_generator": false, "holds": holds}


def contact_against(truth: Array, judged: Judged) -> dict[str, float | None]:
    """F1 of contact and of no contact on the source, against the renderer's `[T, 2]` bool."""
    from stages.fidelity.sight import FEET
    from stages.fidelity.totals import column

    found = np.stack([column(judged.source, f"{foot}_contact") for foot in FEET], axis=1)
    seen = ~np.isnan(found)
    on, told = truth[seen], found[seen] > 0.5
    return {"frames": int(seen.any(axis=1).sum()), "f1": _f1(on, told), "off_f1": _f1(~on, ~told)}


def _f1(true: Array, found: Array) -> float | None:
    total = int(true.sum() + found.sum())
    return round(float(2 * (true & found).sum() / total), 4) if total else None


def summed(judged: Sequence[tuple[Judged, Bounds]]) -> tuple[dict[str, Any], dict[str, Any]]:
    """By metric, the mean over all frames and the share that fires; None where nothing is measured."""
    means: dict[str, Any] = {}
    shares: dict[str, Any] = {}
    for name, metric in metrics().items():
        values = np.concatenate([each.of(name) for each, _ in judged])
        fired = np.concatenate([fires(metric, bounds[name], each.of(name)) for each, bounds in judged])
        known = ~np.isnan(values)
        means[name] = round(float(values[known].mean()), 4) if known.any() else None
        shares[name] = round(float(fired[known].mean()), 4) if known.any() else None
    return means, shares
