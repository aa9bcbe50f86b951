"""What a run stores: names, shapes and lifetimes, handed in by who knows the chain. Nothing here knows a stage."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, Self

import msgspec
import numpy as np
from msgspec import Meta, Struct
from msgspec.structs import force_setattr

from storage.errors import RunDirectoryError

_PART = "[A-Za-z0-9_-]{1,64}"
ARRAY_NAME = re.compile(rf"(?!state/|state$){_PART}(/{_PART}){{0,2}}")
STAGE_NAME = re.compile(r"[a-z][a-z0-9_-]{0,63}")
MAX_FRAME_BYTES = 1 << 30  # of one array's frame: what a foreign run can make a reader allocate
MAX_ARRAYS = 1000

Name = Annotated[str, Meta(pattern=rf"\A(?:{ARRAY_NAME.pattern})\Z")]
Stage = Annotated[str, Meta(pattern=rf"\A{STAGE_NAME.pattern}\Z")]
Entry = Annotated[str, Meta(pattern=r"\A[a-z0-9_-]{1,64}\Z")]
Side = Annotated[int, Meta(ge=1, le=1 << 17)]


class ArraySpec(Struct, frozen=True, rename={"frame_shape": "shape"}):
    """One array: the shape of a frame's entry (without time), its dtype, and what stands for frames never written.

    Attributes:
        fill: NaN, which equals nothing and is no number of JSON, is kept as the word.
        until, after: of an array kept by window alone: the stage after whose commit it is deleted, and of how many
            windows later. passing: also where raw windows and states are kept.
        names: of the entries of a frame's last axis, where they have names.
    """

    frame_shape: Annotated[tuple[Side, ...], Meta(max_length=4)]
    dtype: Annotated[str, Meta(pattern=r"\A(bool|uint8|uint16|int32|int64|float32|float64)\Z")]
    fill: float | Literal["NaN"] = 0
    until: Stage | None = None
    after: Annotated[int, Meta(ge=0, le=9)] = 0
    passing: bool = False
    names: tuple[Entry, ...] = ()

    def __post_init__(self) -> None:
        if self.fill != self.fill:
            force_setattr(self, "fill", "NaN")
        if self.frame_bytes > MAX_FRAME_BYTES:
            raise ValueError(f"a frame of {self.frame_bytes} bytes is over {MAX_FRAME_BYTES}")
        if self.names and self.frame_shape[-1:] != (len(self.names),):
            raise ValueError(f"{len(self.names)} names for a frame of {self.frame_shape}")

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

    arrays: Mapping[Name, ArraySpec] = field(default_factory=dict)
    blocks: Mapping[Stage, ArraySpec] = field(default_factory=dict)

    def __post_init__(self) -> None:
        names = [*self.arrays, *self.blocks]
        for name in self.blocks:
            if not STAGE_NAME.fullmatch(name):
                raise RunDirectoryError(
                    f"'{name}' is no name for an array of a window's own: small letters, then digits, - and _ too"
                )
        wrong = [name for name in self.arrays if not ARRAY_NAME.fullmatch(name)]
        wrong += [name for name in names if any(other.startswith(f"{name}/") for other in names)]
        if wrong:
            raise RunDirectoryError(
                f"'{wrong[0]}' is no name for an array: letters, digits, - and _, with groups by /, none of them "
                "itself an array, and not `state`"
            )
        if len({name.lower() for name in names}) != len(names) or len(names) > MAX_ARRAYS:
            raise RunDirectoryError(f"two of the {len(names)} arrays have one name (or they are over {MAX_ARRAYS})")

    def to_json(self) -> dict[str, Any]:
        """As the journal holds it; `from_json` is the inverse."""
        values: dict[str, Any] = msgspec.to_builtins(self)
        return values

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """What `to_json` gave.

        Raises:
            RunDirectoryError, msgspec.ValidationError: when it is nothing that `to_json` gives.
        """
        return msgspec.convert(values, cls)
