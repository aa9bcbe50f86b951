"""What a run stores: names, shapes and lifetimes, handed in by who knows the chain. Nothing here knows a stage."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np

from storage.errors import RunDirectoryError

_PART = "[A-Za-z0-9_-]{1,32}"
ARRAY_NAME = re.compile(rf"(?!state/|state$){_PART}(/{_PART}){{0,2}}")
STAGE_NAME = re.compile(r"[a-z][a-z0-9_-]{0,31}")
DTYPES = ("bool", "uint8", "uint16", "int32", "int64", "float32", "float64")
MAX_SIDE = 1 << 17
MAX_FRAME_BYTES = 1 << 30  # of one array's frame: what a foreign run can make a reader allocate
MAX_ARRAYS = 1000
MAX_AFTER = 9  # windows


@dataclass(frozen=True, eq=False)
class ArraySpec:
    """One array: the shape of a frame's entry (without time), its dtype, and what stands for frames never written.

    Attributes:
        until, after: of an array kept by window alone: the stage after whose commit it is deleted, and of how many
            windows later. passing: also where raw windows and states are kept.
    """

    frame_shape: tuple[int, ...]
    dtype: str
    fill: float = 0
    until: str | None = None
    after: int = 0
    passing: bool = False

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ArraySpec) and self._compared == other._compared

    def __hash__(self) -> int:
        return hash(self._compared)

    @property
    def _compared(self) -> tuple[object, ...]:
        """NaN is no equal of itself: by Python 3.13's dataclasses, also where it is the same object."""
        fill = "NaN" if math.isnan(self.fill) else self.fill
        return self.frame_shape, self.dtype, fill, self.until, self.after, self.passing

    @property
    def frame_bytes(self) -> int:
        """Bytes of one frame's entry."""
        return math.prod(self.frame_shape) * np.dtype(self.dtype).itemsize


@dataclass(frozen=True)
class Layout:
    """What the chain of a run stores.

    Attributes:
        arrays: by name, `[T, ...]`: every frame once, written by the window that has it in its span.
        blocks: by name, one array a window: windows may see the same frames.
    """

    arrays: Mapping[str, ArraySpec] = field(default_factory=dict)
    blocks: Mapping[str, ArraySpec] = field(default_factory=dict)

    def __post_init__(self) -> None:
        names = [*self.arrays, *self.blocks]
        wrong = [name for name in self.arrays if not ARRAY_NAME.fullmatch(name)]
        wrong += [name for name in self.blocks if not STAGE_NAME.fullmatch(name)]
        wrong += [name for name in names if any(other.startswith(f"{name}/") for other in names)]
        if wrong:
            raise RunDirectoryError(
                f"'{wrong[0]}' is no name for an array: letters, digits, - and _, with groups by /, none of them "
                "itself an array, and not `state`"
            )
        if len({name.lower() for name in names}) != len(names) or len(names) > MAX_ARRAYS:
            raise RunDirectoryError(f"two of the {len(names)} arrays have one name (or they are over {MAX_ARRAYS})")

    def to_json(self) -> dict[str, Any]:
        """As the journal holds it."""
        return {
            "arrays": {name: _spec_json(spec) for name, spec in sorted(self.arrays.items())},
            "blocks": {name: _spec_json(spec) for name, spec in sorted(self.blocks.items())},
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """The inverse of `to_json`.

        Raises:
            RunDirectoryError, KeyError, TypeError, ValueError: when it is nothing that `to_json` gives.
        """
        arrays, blocks = ({name: _spec(item) for name, item in values[key].items()} for key in ("arrays", "blocks"))
        return cls(arrays, blocks)


def _spec_json(spec: ArraySpec) -> dict[str, Any]:
    values = {"shape": list(spec.frame_shape), "dtype": spec.dtype, "until": spec.until, "after": spec.after}
    values |= {"passing": True} if spec.passing else {}
    return {**values, "fill": "NaN" if math.isnan(spec.fill) else spec.fill}


def _spec(item: Mapping[str, Any]) -> ArraySpec:
    shape, dtype, until, after = item["shape"], item["dtype"], item["until"], item["after"]
    sides = isinstance(shape, list) and len(shape) <= 4 and all(type(side) is int for side in shape)
    if not sides or not all(1 <= side <= MAX_SIDE for side in shape) or dtype not in DTYPES:
        raise ValueError(f"no array has frames of {shape} {dtype}")
    if until is not None and not STAGE_NAME.fullmatch(until):
        raise ValueError(f"no stage is called {until}")
    if type(after) is not int or not 0 <= after <= MAX_AFTER:
        raise ValueError(f"nothing is kept for {after} windows")
    passing = item.get("passing", False)
    if type(passing) is not bool:
        raise ValueError(f"an array is passing or it is not: {passing}")
    spec = ArraySpec(tuple(shape), dtype, float(item["fill"]), until, after, passing)
    if spec.frame_bytes > MAX_FRAME_BYTES:
        raise ValueError(f"a frame of {spec.frame_bytes} bytes is over {MAX_FRAME_BYTES}")
    return spec
