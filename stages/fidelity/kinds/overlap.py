"""How the two masks of the object lie on each other."""

import math

from stages import metrics
from stages.fidelity.metric import Metric, View


def _iou(source: View, result: View) -> float:
    return metrics.iou(source.object_mask, result.object_mask)


def _boundary_f(source: View, result: View) -> float:
    return metrics.boundary_f(source.object_mask, result.object_mask)


def _containment(source: View, result: View) -> float:
    return metrics.containment(source.object_mask, result.object_mask)


def _clipping(source: View, result: View) -> float:
    return metrics.clipping(source.object_mask, result.object_mask, source.person_mask)


def _person_iou(source: View, result: View) -> float:
    if not source.person_mask.any() and not result.person_mask.any():
        return math.nan
    return metrics.iou(source.person_mask, result.person_mask)


METRICS = (
    Metric("iou", "object", "", "intersection over union of its masks, both empty = 1", 0.90, True, _iou),
    Metric("boundary_f", "object", "", "F-measure of its boundary (DAVIS 2017)", 0.80, True, _boundary_f),
    Metric("containment", "object", "", "share of it inside the source's", 0.90, True, _containment),
    Metric("clipping", "object", "", "share of it on the person, beyond the source's own", 0.05, False, _clipping),
    Metric("person_iou", "person", "", "intersection over union of the person's masks", 0.85, True, _person_iou),
)
