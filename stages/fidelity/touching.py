"""Whether a foot stands on the object, from where it is against it and how both move.

A foot that is far away does not. Near it the eye needs several signs at once: a foot leaves a deck by a few pixels,
from one frame to the next, while both rise. They are weighed by a network of one hidden layer whose numbers lie in
`touching.json`; `training/touching.py` made them from rendered clips whose contact is known, tracked as any clip is,
and none of which the bench or the tests judge by. Everything that goes in is in object lengths and 1/24 s.
"""

import json
import math
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from stages.base import Array

FAR_GAP, FAR_ALONG = 0.35, 0.85  # object lengths: a foot beyond is not on it
_MOST = 0.4  # gaps and speeds are cut there: beyond it they say no more


@dataclass(frozen=True)
class Standing:
    """Where a foot is, in object lengths and 1/24 s; NaN where the frame before did not show it.

    Attributes:
        along: of its middle, from the object's centre along it. above: lowest, mean and highest of toes and heel,
            across it, down positive. gap: least and mean distance to its mask.
        slide: change of `along`. rise: change of the mean `above`, in the frame before and in this one.
        falls, object_falls: down the picture. shape: the object's length and width, and its angle (radians).
    """

    along: float
    above: tuple[float, float, float]
    gap: tuple[float, float]
    slide: float
    rise: tuple[float, float]
    falls: float
    object_falls: float
    shape: tuple[float, float, float]


def features(foot: Standing, other: Standing | None) -> Array:
    """[n] float64: what the network is given."""
    lean = math.sin(foot.shape[2])
    beside = foot.above[1] if other is None else other.above[1]
    speeds = [foot.slide, foot.rise[0], foot.rise[1], foot.falls, foot.object_falls]
    values = [
        abs(foot.along), *foot.above, *foot.gap, foot.shape[0], foot.shape[1], beside, foot.above[1] - beside,
        *speeds, *(abs(speed) for speed in speeds), foot.falls - foot.object_falls,
        abs(lean), lean * math.copysign(1.0, foot.along),
    ]  # fmt: skip
    found: Array = np.clip(np.nan_to_num(np.array(values), nan=0.0), -1.0, _MOST)
    return found


def away(foot: Standing) -> bool:
    """Whether the foot is too far from the object to stand on it."""
    return foot.gap[0] > FAR_GAP or abs(foot.along) > FAR_ALONG


def touches(foot: Standing, other: Standing | None) -> bool:
    """Whether the foot stands on the object.

    Args:
        foot: the foot. other: the person's other one, None where it is not seen.
    """
    if away(foot):
        return False
    mean, scale, hidden, shift, out, bias = _network()
    inner = np.tanh((features(foot, other) - mean) / scale @ hidden + shift)
    return bool(inner @ out + bias > 0)


@cache
def _network() -> tuple[Array, ...]:
    """Mean and scale of the features, then weights and bias of both layers."""
    found = json.loads((Path(__file__).parent / "touching.json").read_text(encoding="utf-8"))
    return tuple(np.array(found[name]) for name in ("mean", "scale", "hidden", "shift", "out", "bias"))
