"""What a metric is."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from stages.base import Array
from stages.fidelity.sight import Sight


@dataclass(frozen=True)
class View:
    """One picture of a frame, the source's or the result's, and what was found in it.

    Attributes:
        object_mask, person_mask: [H, W] bool, empty where nothing was found.
        keypoints: [133, 3] float32, x px, y px, score 0..1 (0: not seen).
        sight: the numbers made of these; before: of the frame before, all NaN on the first one.
        picture: [H, W, 3] uint8 RGB; None where only masks are at hand.
    """

    object_mask: Array
    person_mask: Array
    keypoints: Array
    sight: Sight
    before: Sight
    picture: Array | None = None


Value = Callable[[View, View], float]
"""(source, result) -> the value of a frame, NaN where there is none."""


@dataclass(frozen=True)
class Metric:
    """One number a frame that compares source and result.

    To add one: a module in `stages/fidelity/kinds` with `METRICS = (Metric("speed", ...),)`, and nothing else. It is
    then measured, stored under its name in `metrics/SUBJECT`, taken by `--gate`, shown in the report and judged by
    `skate bench fidelity`. What it needs of the frame before stands in `View.before`; what no sight holds yet is a
    column more in `stages/fidelity/sight.py`.

    Attributes:
        name: in `--gate` and in the arrays' attributes: 1 to 32 of a-z 0-9 _.
        subject: whose: "object" or "person".
        unit: of the value; "" for a share.
        text: what it is, one line.
        bound: of the gate where `--gate` gives none. A frame passes above it where `high`, else up to it.
        high: whether a high value is good.
        value: computes it. A pure function of two views.
        poses: whether it needs the keypoints of the result. pictures: whether it needs both pictures.
    """

    name: str
    subject: Literal["object", "person"]
    unit: str
    text: str
    bound: float
    high: bool
    value: Value
    poses: bool = False
    pictures: bool = False
