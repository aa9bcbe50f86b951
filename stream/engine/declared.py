"""What a stage returned, held against what it declares."""

import json
from collections.abc import Mapping

import numpy as np

from stages.base import Array, Json
from storage.errors import SkateError
from storage.records import check_facts
from storage.spans import Span
from stream.engine.tasks import Task


def check_declared(
    task: Task,
    declared: Mapping[str, tuple[tuple[int, ...], str]],
    arrays: Mapping[str, Array],
    spans: Mapping[str, Span],
) -> None:
    """Refuse what a stage must not return.

    Args:
        declared: by array, the shape of a frame's entry and the dtype.
    """
    told = f"stage '{task.node}' does not return what it declares for window {task.window.index}"
    for name in sorted(declared.keys() ^ arrays.keys()):
        raise SkateError(f"{told}: '{name}' is {'missing' if name in declared else 'none of its ports'}")
    for name, span in spans.items():
        if len(arrays[name]) != span.frames:
            raise SkateError(f"{told}: '{name}' has {len(arrays[name])} frames, not {span.frames}")
    for name, (shape, dtype) in declared.items():
        values: object = arrays[name]  # whatever a caller's stage returns
        if not isinstance(values, np.ndarray):
            raise SkateError(f"{told}: '{name}' is a {type(values).__name__}, not an array")
        if (values.shape[1:], values.dtype) != (shape, dtype):
            raise SkateError(f"{told}: '{name}' has entries of {values.shape[1:]} {values.dtype}, not {shape} {dtype}")


def check_told(task: Task, info: Mapping[str, Json], frames: int) -> None:
    """Refuse facts that could not be read again: no JSON, or under a name that others read and of another kind."""
    try:
        check_facts(json.loads(json.dumps(dict(info), allow_nan=False)), frames)
    except (TypeError, ValueError) as error:
        raise SkateError(f"stage '{task.node}': its facts about window {task.window.index}: {error}") from error
