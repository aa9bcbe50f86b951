"""What the gate asks for: metrics by name, and the value that a frame must hold."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from stages import bounds
from stages.base import Array, above
from storage.errors import UsageError

IOU = "iou"


@dataclass(frozen=True)
class Gated:
    """A metric of the gate: its name, and the bound in place of its own (of `iou`: of `--iou-threshold`)."""

    metric: str
    bound: float | None = None

    def __str__(self) -> str:
        return self.metric if self.bound is None else f"{self.metric}={self.bound:.17g}"


Gate = tuple[Gated, ...]
ONLY_IOU: Gate = (Gated(IOU),)


@dataclass(frozen=True)
class Bound:
    """What one metric must hold: above `value` where high is good, else up to it."""

    metric: str
    value: float
    high: bool

    def fails(self, values: Array) -> Array:
        """[n] bool: where they do not hold it. NaN fails nothing."""
        over = above(values, self.value)
        return ~over & ~np.isnan(values) if self.high else over

    def __str__(self) -> str:
        return f"{self.metric} {'above' if self.high else 'up to'} {self.value:g}"


def check_gate(gate: Iterable[Gated]) -> None:
    """Refuse what cannot be asked for.

    Raises:
        UsageError: a metric that there is not, or that stands in it twice, or none at all; a bound that no value has.
    """
    from stages.fidelity.registry import metrics

    gate = tuple(gate)
    names = [item.metric for item in gate]
    known = metrics()
    for name in names:
        if name not in known:
            raise UsageError(f"--gate {name[:40]!r}: there is no such metric: give {', '.join(known)}")
        if names.count(name) > 1:
            raise UsageError(f"--gate: {name} is given twice: give each metric once")
    if not names:
        raise UsageError("--gate is empty: give at least one metric, e.g. iou")
    for item in gate:  # in percent, say, every frame would fail, or every one pass
        possible = bounds.LENGTH if known[item.metric].unit else bounds.SHARE
        (bounds.IOU if item.metric == IOU else possible).check(f"--gate {item.metric}", item.bound)


def bounds_of(gate: Iterable[Gated], iou_threshold: float) -> tuple[Bound, ...]:
    """The bounds of a gate, each metric's own where it gives none."""
    from stages.fidelity.registry import metrics

    found = []
    for item in gate:
        metric = metrics()[item.metric]
        usual = iou_threshold if item.metric == IOU else metric.bound
        found.append(Bound(metric.name, usual if item.bound is None else item.bound, metric.high))
    return tuple(found)


def measured_apart(gate: Iterable[Gated]) -> bool:
    """Whether the gate asks for more than the score stage gives."""
    return any(item.metric != IOU for item in gate)


def asks_for_poses(gate: Iterable[Gated]) -> bool:
    """Whether it asks for poses of the result."""
    from stages.fidelity.registry import metrics

    return any(metrics()[item.metric].poses for item in gate)
