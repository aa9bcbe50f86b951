"""One stage's work on one window, and how it is written: arrays, durable; then the carried state, durable."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from storage.arrays import RunArrays
from storage.faults import fault_point
from storage.spans import Span

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True)
class Commit:
    """What one stage did in one window.

    Attributes:
        stage, window: who and where.
        span: the frames that were written.
        arrays: by name, frames first, all starting at `span.start`.
        blocks: whole arrays kept by name for this window, e.g. the raw generated window.
        state: the stage's carried state as `(values, arrays)`, or None when it carries nothing.
        info: small facts (JSON) for later stages and the report.
        seconds: how long the stage worked (wall clock; it never influences a result).
        rss_bytes, vram_bytes: memory when it was done and its peak on the GPU, for the report; None: not measured.
    """

    stage: str
    window: int
    span: Span
    arrays: Mapping[str, Array] = field(default_factory=dict)
    blocks: Mapping[str, Array] = field(default_factory=dict)
    state: tuple[Mapping[str, Any], Mapping[str, Array]] | None = None
    info: Mapping[str, Any] = field(default_factory=dict)
    seconds: float = 0.0
    rss_bytes: int | None = None
    vram_bytes: int | None = None


def store(arrays: RunArrays, work: Commit, fault: bool = False) -> dict[str, str]:
    """Write arrays and blocks, durable, then the carried state, durable; returns the digests by key.

    Args:
        fault: whether tests may kill the process at `STAGE.arrays` and `STAGE.state`.
    """
    for name, values in work.arrays.items():
        if len(values):
            arrays.write(name, work.window, values)
    for name, values in work.blocks.items():
        arrays.write_block(name, work.window, values)
    digests = arrays.flush()
    if fault:
        fault_point(f"{work.stage}.arrays")
    if work.state is not None:
        arrays.write_state(work.stage, work.window, *work.state)
        digests |= arrays.flush()
    if fault:
        fault_point(f"{work.stage}.state")
    return digests
