"""How fast each subject moves, against the source: distilled models slow motion down, and a slowed trick is another."""

import math
from collections.abc import Callable

from stages.fidelity.metric import Metric, View

STILL = 0.5  # object or torso lengths a second, below which the source does not move and a ratio says nothing


def _ratio(column: str, length: str) -> Callable[[View, View], float]:
    def value(source: View, result: View) -> float:
        speed = source.sight[column]
        moves = speed >= STILL * source.sight[length]  # not where either is NaN
        return result.sight[column] / speed if moves else math.nan

    return value


METRICS = (
    Metric(
        "speed", "object", "", "speed of its mask's centroid, result / source, while the source moves",
        0.7, True, _ratio("object_speed", "scale"),
    ),
    Metric(
        "person_speed", "person", "", "speed of the mask's centroid, result / source, while the source moves",
        0.7, True, _ratio("person_speed", "torso"),
    ),
    Metric(
        "joint_speed", "person", "", "speed of joints and feet, result / source, while the source moves",
        0.7, True, _ratio("joint_speed", "torso"), poses=True,
    ),
)  # fmt: skip
