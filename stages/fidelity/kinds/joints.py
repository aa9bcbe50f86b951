"""Where the person's joints are."""

import math

import numpy as np

from stages.fidelity.metric import Metric, View
from stages.fidelity.sight import SEEN
from stages.poses.skeleton import FACE

BODY_AND_FEET = slice(0, FACE.start)
LEAST = 4  # joints seen in both pictures


def _joints(source: View, result: View) -> float:
    one, two = source.keypoints[BODY_AND_FEET], result.keypoints[BODY_AND_FEET]
    seen = (one[:, 2] >= SEEN) & (two[:, 2] >= SEEN)
    if np.count_nonzero(seen) < LEAST:
        return math.nan
    apart = np.linalg.norm(one[seen, :2].astype(np.float64) - two[seen, :2], axis=1)
    return float(apart.mean()) / source.sight["torso"]


METRICS = (
    Metric(
        "joints", "person", "torso lengths", "mean distance of body and foot joints from the source's",
        0.15, False, _joints, poses=True,
    ),
)  # fmt: skip
