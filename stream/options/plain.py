"""Values of a config as Python's callers give them (numpy's numbers, paths, lists), made what `run.json` can hold."""

import dataclasses
from functools import cache
from pathlib import PurePath
from typing import Any, get_type_hints

import msgspec
import numpy as np

from storage.boundary import printable
from storage.errors import UsageError


def plain_values(config: Any) -> dict[str, Any]:
    """Of a dataclass's fields, those that are something else when said plainly.

    Raises:
        UsageError: for a value of a kind that its option does not take.
    """
    found = {}
    of: Any = type(config)
    for name, kind in _kinds(of).items():
        given = getattr(config, name)
        value = plain(given)
        try:
            msgspec.convert(value, kind)  # dataclasses in it are believed: they check themselves
        except msgspec.ValidationError as error:
            shown = printable(repr(given), 60)
            raise UsageError(f"--{name.replace('_', '-')} {shown}: {_why(error)}") from error
        if value is not given:
            found[name] = value
    return found


def plain(value: Any) -> Any:
    """Numbers and arrays of numpy as Python's own, lists as tuples, paths as texts, in any depth; all else as it is."""
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, PurePath):
        return str(value)
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, (list, tuple)):
        items = tuple(map(plain, value))
        same = isinstance(value, tuple) and all(one is other for one, other in zip(items, value, strict=True))
        return value if same else items
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        inner = {item.name: getattr(value, item.name) for item in dataclasses.fields(value)}
        changed = {name: told for name, given in inner.items() if (told := plain(given)) is not given}
        return dataclasses.replace(value, **changed) if changed else value
    return value


@cache
def _kinds(of: type) -> dict[str, Any]:
    return get_type_hints(of)


def _why(error: msgspec.ValidationError) -> str:
    told = str(error).replace("`", "").replace("array", "list")
    return told[:1].lower() + told[1:]
