"""What differs between the config of a run and another one, and which of it can change a result."""

import dataclasses
import hashlib
import json
from dataclasses import dataclass
from typing import Any

from stream.options.config import RunConfig

_DEFAULTS: dict[str, Any] = json.loads(
    json.dumps({item.name: item.default for item in dataclasses.fields(RunConfig)}, default=dataclasses.asdict)
)


@dataclass(frozen=True)
class Difference:
    """One option whose value differs between an existing run and what is asked for now."""

    name: str
    since: str
    old: Any
    new: Any

    @property
    def frame(self) -> int | None:
        """The first frame that it touches, where it is of corrections alone; None: any may be."""
        was, now = _corrections(self.name, self.old), _corrections(self.name, self.new)
        if was is None or now is None or was[0] != now[0]:
            return None
        before, after = was[1], now[1]
        apart = [item for item in before if item not in after] + [item for item in after if item not in before]
        return min((int(item["frame"]) for _, item in apart), default=None)

    def __str__(self) -> str:
        if isinstance(self.old, dict) and isinstance(self.new, dict):
            inner = [key for key in self.new if self.old.get(key) != self.new[key]]
            return ", ".join(f"{self.name} {key}: was {self.old.get(key)}, now {self.new[key]}" for key in inner)
        return f"{self.name}: was {json.dumps(self.old)}, now {json.dumps(self.new)}"


def differences(old: dict[str, tuple[str, Any]], new: dict[str, tuple[str, Any]]) -> list[Difference]:
    """What differs between two `decisive` mappings (options, and the identities of models and input beside them)."""
    found = []
    for name in sorted(old.keys() | new.keys()):
        # What was no option yet when a run was begun is as it is by default.
        missing = ("decode", _DEFAULTS.get(name))
        before, after = old.get(name, missing), new.get(name, missing)
        if _content(before[1], name) != _content(after[1], name) and _counts(name, old, new):
            found.append(Difference(name, (new.get(name) or before)[0], before[1], after[1]))
    return found


def _corrections(name: str, value: Any) -> tuple[Any, list[tuple[str, Any]]] | None:
    """What else an option says, and its corrections, each with whose it is; None: it has none."""
    if name in ("correct", "correct_person"):
        return None, [(name, _content(item)) for item in value or ()]
    if name != "scene" or value is None:
        return None
    own = [{key: inner for key, inner in subject.items() if key != "corrections"} for subject in value]
    items = [(subject["name"], item) for subject in value for item in subject.get("corrections") or ()]
    return _content(own), [(name, _content(item)) for name, item in items]


_CORRECTIONS = ("correct", "correct_person", "corrections")
_FILES = {"mask_png": "mask_digest", "reference": "reference_digest"}


def _content(value: Any, name: str = "") -> Any:
    """The value of an option or a key without the paths of files whose digests stand beside them, and without what is
    not given; corrections by their frames, of which each has one."""
    if isinstance(value, list):
        found = [_content(inner) for inner in value]
        return sorted(found, key=lambda item: int(item["frame"])) if name in _CORRECTIONS else found
    if isinstance(value, dict):
        files = [key for key, digest in _FILES.items() if value.get(digest) is not None]
        held = {key: _content(inner, key) for key, inner in value.items() if key not in files}
        return {key: inner for key, inner in held.items() if inner not in (None, [])}  # as where it was no key yet
    return value


def _counts(name: str, old: dict[str, tuple[str, Any]], new: dict[str, tuple[str, Any]]) -> bool:
    """Whether another value of this option can change a result: not where the files that it names are the same."""
    found = {item.name: item.metadata for item in dataclasses.fields(RunConfig)}.get(name)
    if found is None:
        return True  # an identity itself
    known = [key for key in found.get("identities", ()) if key in old or key in new]
    # list(): read back from run.json an entry is a list, just made it is a tuple.
    same = bool(known) and all(list(old.get(key, ())) == list(new.get(key, ())) for key in known)
    return found["since"] is not None and not same


def config_digest(decisive: dict[str, tuple[str, Any]]) -> str:
    """sha256 over all that can change a result, in canonical JSON."""
    return hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()
