"""Scene files, TOML or JSON: who is followed, each with a name of its own (`--scene FILE`, `--write-scene FILE`)."""

import json
import math
import re
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

from stages.prompts import Correction, ObjectPrompt
from stages.sam.prompts import PromptSchedule
from stages.subjects import NAME, Subject
from storage.boundary import convert, printable, read_input
from storage.durable import file_sha256, write_atomic
from storage.errors import InputError, UsageError
from stream.options.values import toml_text

MOST_BYTES = 1_000_000
MOST_SUBJECTS = 32
FORMS = (".toml", ".json")

Coordinate = Annotated[float, Meta(ge=-1e9, le=1e9)]
Corners = tuple[Coordinate, Coordinate, Coordinate, Coordinate]
Frame = Annotated[int, Meta(ge=0, le=10**9)]


class Fix(Struct, frozen=True, forbid_unknown_fields=True):
    """A box on a later frame."""

    frame: Frame
    box: Corners


class Entry(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A subject as it stands in a file: with exactly one of box, points and mask."""

    name: Annotated[str, Meta(pattern=f"^{NAME.pattern}$")]
    kind: Literal["object", "person"]
    box: Corners | None = None
    points: Annotated[list[tuple[Coordinate, Coordinate, Literal[0, 1]]], Meta(min_length=1)] | None = None
    mask: str | None = None
    frame: Frame = 0
    corrections: list[Fix] = []


class SceneFile(Struct, frozen=True, forbid_unknown_fields=True):
    """A whole file."""

    subject: Annotated[list[Entry], Meta(min_length=1, max_length=MOST_SUBJECTS)]


def read_scene(path: Path) -> tuple[Subject, ...]:
    """The subjects of a scene file, in its order; paths of masks are relative to the file.

    Raises:
        InputError: when it cannot be read or is no scene: with the line, or the key, and what to give.
    """
    what = f"--scene {path}"
    found = convert(_parsed(path, what), SceneFile, what, InputError, "docs/subjects.md has every key")
    subjects: list[Subject] = []
    for index, entry in enumerate(found.subject):
        place = f"{what}: subject[{index}]"
        if entry.name in [subject.name for subject in subjects]:
            raise InputError(f"{place}.name: '{entry.name}' is the name of another already: give each its own")
        try:
            subjects.append(_subject(entry, path.parent))
            PromptSchedule.of(subjects[-1])
        except (UsageError, InputError) as error:
            raise InputError(f"{place} ('{entry.name}'): {error}") from error
    return tuple(subjects)


def _parsed(path: Path, what: str) -> Any:
    """The values of the file."""
    if path.suffix.lower() not in FORMS:
        raise InputError(f"{what}: is neither {' nor '.join(FORMS)} by its name: rename it")
    try:
        text = read_input(path, what, most_bytes=MOST_BYTES).decode("utf-8")
        return tomllib.loads(text) if path.suffix.lower() == ".toml" else json.loads(text, parse_constant=_no_constant)
    except json.JSONDecodeError as error:
        raise InputError(f"{what}: line {error.lineno}: is no JSON ({error.msg}, column {error.colno})") from error
    except (ValueError, RecursionError) as error:
        line = re.search(r"at line (\d+)", str(error))
        where = f"line {line[1]}: " if line else ""
        form = path.suffix[1:].upper()
        raise InputError(f"{what}: {where}is no {form} ({printable(str(error), 200)})") from error


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no number of JSON")


def _subject(entry: Entry, folder: Path) -> Subject:
    given = [entry.box is not None, entry.points is not None, entry.mask is not None]
    if sum(given) != 1:
        raise UsageError("needs exactly one of box, points and mask")
    numbers = [*(entry.box or ()), *(value for point in entry.points or () for value in point)]
    if not all(math.isfinite(value) for value in numbers):
        raise UsageError("a coordinate is no finite number")
    mask, digest = None, None
    if entry.mask is not None:
        file = folder / entry.mask
        if not file.is_file():
            raise InputError(f"mask {file}: no such file")
        mask, digest = str(file.resolve()), file_sha256(file)
    prompt = ObjectPrompt(entry.frame, entry.box, tuple(entry.points or ()), mask, digest)
    return Subject(entry.name, entry.kind, prompt, tuple(Correction(fix.frame, fix.box) for fix in entry.corrections))


def write_scene(path: Path, subjects: Sequence[Subject]) -> None:
    """Write the subjects as a scene file, which `read_scene` reads as the same ones; who is not pointed at is left out.

    Raises:
        InputError: when it cannot be written, or its name ends in neither form.
    """
    what = f"--write-scene {path}"
    if path.suffix.lower() not in FORMS:
        raise InputError(f"{what}: is neither {' nor '.join(FORMS)} by its name: rename it")
    entries = [_entry(subject, subject.prompt) for subject in subjects if subject.prompt is not None]
    if path.suffix.lower() == ".json":
        text = json.dumps({"subject": entries}, indent=2, ensure_ascii=False) + "\n"
    else:
        text = "\n".join("[[subject]]\n" + "".join(f"{key} = {_toml(value)}\n" for key, value in entry.items())
                         for entry in entries)  # fmt: skip
    try:
        write_atomic(path, text.encode())
    except OSError as error:
        raise InputError(f"{what}: cannot be written ({error.strerror})") from error


def _entry(subject: Subject, prompt: ObjectPrompt) -> dict[str, Any]:
    """A subject's keys and values, without those that are as when left out."""
    found: dict[str, Any] = {"name": subject.name, "kind": subject.kind}
    if prompt.box is not None:
        found["box"] = list(prompt.box)
    elif prompt.mask_png is not None:
        found["mask"] = prompt.mask_png
    else:
        found["points"] = [list(point) for point in prompt.points]
    if prompt.frame:
        found["frame"] = prompt.frame
    if subject.corrections:
        found["corrections"] = [{"frame": item.frame, "box": list(item.box)} for item in subject.corrections]
    return found


def _toml(value: Any) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {_toml(inner)}" for key, inner in value.items()) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(map(_toml, value)) + "]"
    return toml_text(value) if isinstance(value, str) else repr(value)
