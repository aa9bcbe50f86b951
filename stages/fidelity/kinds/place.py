"""Where the object is, seen from its person: the origin lies between the hips, the axes are the picture's."""

import numpy as np

from stages.base import Array
from stages.fidelity.metric import Metric, View
from stages.fidelity.sight import Sight, turned

ROUND = 0.75  # width over length above which a shape has no direction


def from_hips(sight: Sight) -> Array:
    """[2]: from between the hips to the object's centre, pixels; NaN where either is not seen."""
    return np.array([sight["x"] - sight["hip_x"], sight["y"] - sight["hip_y"]])


def _offset(source: View, result: View) -> float:
    apart = from_hips(result.sight) - from_hips(source.sight)
    return float(np.linalg.norm(apart)) / source.sight["scale"]


def _directed(sight: Sight) -> float:
    return sight["angle"] if sight["width"] <= ROUND * sight["length"] else np.nan


def _angle(source: View, result: View) -> float:
    return abs(turned(_directed(result.sight) - _directed(source.sight)))


def _velocity(view: View) -> Array:
    seconds = view.sight["seconds"] - view.before["seconds"]
    moved: Array = from_hips(view.sight) - from_hips(view.before)
    return moved / seconds if seconds > 0 else np.full(2, np.nan)


def _relative_speed(source: View, result: View) -> float:
    return float(np.linalg.norm(_velocity(result) - _velocity(source))) / source.sight["scale"]


def _rotation(source: View, result: View) -> float:
    steps = [turned(_directed(view.sight) - _directed(view.before)) for view in (source, result)]
    return abs(turned(steps[1] - steps[0]))


METRICS = (
    Metric(
        "offset", "object", "object lengths", "how far it is from where it should be, seen from the hips",
        0.15, False, _offset, poses=True,
    ),
    Metric("angle", "object", "degrees", "between its long axis and the source's", 10.0, False, _angle),
    Metric(
        "relative_speed", "object", "object lengths/s", "between its velocities against the hips",
        4.0, False, _relative_speed, poses=True,
    ),
    Metric("rotation", "object", "degrees/frame", "between its turns since the frame before", 15.0, False, _rotation),
)  # fmt: skip
