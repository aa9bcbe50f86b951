"""What all that was judged comes to: `fidelity.json`. Pure."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bench.fidelity import calibrate
from bench.fidelity.calibrate import Bounds, Pair
from bench.fidelity.clips import VERSION, Clip
from bench.fidelity.faults import Planted
from bench.fidelity.judge import Judged
from bench.fidelity.measure import IDENTITY, Set, Taken, methods_of
from stages.fidelity.registry import metrics

NOISE = Path(__file__).parent / "noise.json"  # by metric, of the committed record: `python -m bench.fidelity.tables`
LEAST_OTHERS = 150  # fault-free frames of other clips: fewer have no 99.5th percentile


def bounds_for(taken: Sequence[Taken], clip: Clip | None) -> Bounds:
    """What fires on a clip: beyond what the fault-free results of all others give; None: of all clips.

    Where there are too few of them, what the whole set gave; of a metric that it did not have, the gate's bound.
    """
    clean = [each.judged[IDENTITY] for each in taken if each.clip != clip]
    if sum(len(each.values) for each in clean) < LEAST_OTHERS:
        held = json.loads(NOISE.read_text(encoding="utf-8"))
        return {name: held.get(name, metric.bound) for name, metric in metrics().items()}
    return {name: calibrate.bound_of(metric, clean) for name, metric in metrics().items()}


def put_together(wanted: Set, taken: Sequence[Taken]) -> dict[str, Any]:
    """The numbers of `fidelity.json`."""
    threshold = metrics()["iou"].bound
    bounds = {each.clip.name: bounds_for(taken, each.clip) for each in taken}
    checks = [each for each in taken if each.clip.use == "check"]
    methods, fired = {}, {}
    for method in methods_of(wanted, checks[0].clip):
        judged = [(each.judged[method], bounds[each.clip.name]) for each in checks]
        methods[method], fired[method] = calibrate.summed(judged)
    pairs = {use: _pairs(wanted, taken, use, bounds) for use in ("curve", "check")}
    of_all = bounds_for(taken, None)
    found: dict[str, Any] = {
        "version": VERSION,
        "clips": [each.clip.to_json() for each in taken],
        "bounds": {
            name: {"value": _number(of_all[name]), "gate": metric.bound, "high": metric.high, "unit": metric.unit}
            for name, metric in metrics().items()
        },
        "methods": methods,
        "fired": fired,
        "ceiling": {each.clip.name: _ceiling(each.judged[IDENTITY], threshold) for each in taken},
        "contact": {each.clip.name: calibrate.contact_against(each.on_board, each.judged[IDENTITY]) for each in taken},
        "checked": {fault.name: calibrate.checked(fault, pairs["check"][fault.name]) for fault in wanted.faults},
        "blame": calibrate.blamed(
            [pair for use in pairs.values() for each in use.values() for pair in each], threshold
        ),
    }
    if any(each.clip.use == "curve" for each in taken):
        found["curves"] = {fault.name: _curves(fault, pairs["curve"][fault.name]) for fault in wanted.faults}
        found["faults"] = {fault.name: _smallest(fault, found["curves"][fault.name]) for fault in wanted.faults}
        usual = {name: metric.bound for name, metric in metrics().items()}  # of --gate
        by_gate = {name: [pair._replace(bounds=usual) for pair in each] for name, each in pairs["curve"].items()}
        found["gate"] = {fault.name: _smallest(fault, _curves(fault, by_gate[fault.name])) for fault in wanted.faults}
    return found


def _pairs(wanted: Set, taken: Sequence[Taken], use: str, bounds: Mapping[str, Bounds]) -> dict[str, list[Pair]]:
    """By fault, its results of the clips of one use."""
    clips = [each for each in taken if each.clip.use == use]
    return {
        fault.name: [Pair(each.judged[fault.name], each.judged[IDENTITY], bounds[each.clip.name]) for each in clips]
        for fault in wanted.faults
    }


def _number(value: float) -> float | None:
    return None if np.isnan(value) else round(value, 6)


def _ceiling(judged: Judged, threshold: float) -> dict[str, Any]:
    values = judged.of("iou")
    values = values[~np.isnan(values)]
    return {
        "frames": len(values),
        "iou_mean": _number(float(values.mean())),
        "iou_min": _number(float(values.min())),
        "failing": int((values <= threshold).sum()),
    }


def _curves(fault: Planted, pairs: Sequence[Pair]) -> dict[str, Any]:
    shares = {name: calibrate.curve(metric, fault, pairs) for name, metric in metrics().items()}
    return {"strengths": list(fault.strengths), "unit": fault.unit, "subject": fault.subject, "shares": shares}


def _smallest(fault: Planted, curves: Mapping[str, Any]) -> dict[str, Any]:
    """By metric that finds the fault at all, the smallest that it finds."""
    least = {name: calibrate.smallest(fault, shares) for name, shares in curves["shares"].items()}
    return {name: {"smallest": value, "unit": fault.unit} for name, value in least.items() if value is not None}
