"""Whether the feet are on the object when they are in the source."""

import math

import numpy as np

from stages.fidelity.metric import Metric, View
from stages.fidelity.sight import FEET

FAR = 1.0  # object lengths: beyond it a foot is simply away


def _contact(source: View, result: View) -> float:
    known = [
        source.sight[f"{foot}_contact"] == result.sight[f"{foot}_contact"]
        for foot in FEET
        if not math.isnan(source.sight[f"{foot}_contact"] + result.sight[f"{foot}_contact"])
    ]
    return float(np.mean(known)) if known else math.nan


def _gap(source: View, result: View) -> float:
    apart = [
        abs(min(result.sight[f"{foot}_gap"], FAR) - min(source.sight[f"{foot}_gap"], FAR))
        for foot in FEET
        if not math.isnan(source.sight[f"{foot}_gap"] + result.sight[f"{foot}_gap"])
    ]
    return max(apart, default=math.nan)


METRICS = (
    Metric(
        "contact", "object", "", "share of the feet whose contact with it is the source's", 0.25, True, _contact, True
    ),
    Metric("gap", "object", "object lengths", "between foot and object, beyond the source's", 0.15, False, _gap, True),
)
