"""Scene files, TOML or JSON: who is followed, each with a name of its own, and what becomes of each (`--scene FILE`,
`--write-scene FILE`)."""

import dataclasses
import json
import math
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from msgspec import Meta, Struct, field

from stages import bounds
from stages.prompts import Correction, ObjectPrompt, Pointing, check_box
from stages.region import DILATE, REMOVE
from stages.sam.prompts import PromptSchedule
from stages.subjects import NAME, OBJECTS, Reskin, Sought, Subject, gated_by_kind
from storage.boundary import MB, convert, printable, read_input, text_of, utf8
from storage.durable import file_sha256, write_asked
from storage.errors import InputError, UsageError
from stream.options.names import check_names
from stream.options.values import toml_text

MOST_BYTES = MB
MOST_SUBJECTS = 32
FORMS = (".toml", ".json")

Coordinate = Annotated[float, Meta(ge=-1e9, le=1e9)]
Corners = tuple[Coordinate, Coordinate, Coordinate, Coordinate]
Frame = Annotated[int, Meta(ge=0, le=10**9)]
Name = Annotated[str, Meta(pattern=f"^{NAME.pattern}$")]


Points = Annotated[list[tuple[Coordinate, Coordinate, Literal[0, 1]]], Meta(min_length=1)]


class Fix(Struct, frozen=True, forbid_unknown_fields=True):
    """A box, points or a mask on a later frame."""

    frame: Frame
    box: Corners | None = None
    points: Points | None = None
    mask: str | None = None


class Entry(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A subject as it stands in a file: with exactly one of box, points, mask and find."""

    name: Name
    kind: Literal["object", "person"]
    box: Corners | None = None
    points: Points | None = None
    mask: str | None = None
    find: str | None = None
    frame: Frame = 0
    corrections: list[Fix] = []
    held_by: Name | None = None
    reskin: bool | Literal["remove"] = True
    prompt: str = ""
    negative: str = ""
    reference: str | None = None
    dilate: Annotated[int, Meta(ge=bounds.DILATE.low, le=bounds.DILATE.high)] | None = None
    gate: bool | None = None


class Clip(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What holds for the clip."""

    cuts: list[Annotated[int, Meta(ge=1, le=10**9)]] | None = None


class SceneFile(Struct, frozen=True, forbid_unknown_fields=True):
    """A whole file."""

    subject: Annotated[list[Entry], Meta(min_length=1, max_length=MOST_SUBJECTS)]
    clip: Clip = field(default_factory=Clip)


@dataclass(frozen=True)
class Cast:
    """Everybody in a clip.

    Attributes:
        subjects: in order. reskins: what becomes of each, in the same order.
        gated: the names of those whose place is proved.
        cuts: first frames of the shots behind the first one; None: they are found.
    """

    subjects: tuple[Subject, ...]
    reskins: tuple[Reskin, ...] = ()
    gated: tuple[str, ...] | None = None
    cuts: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        if not self.reskins:
            object.__setattr__(self, "reskins", tuple(Reskin(subject.name) for subject in self.subjects))
        if self.gated is None:
            object.__setattr__(self, "gated", gated_by_kind(self.subjects, self.reskins))

    def by_options(self, reskin: str, widths: tuple[int, int]) -> "Cast":
        """What `--reskin` and `--dilate` make of it, as a scene of its own; a subject's own width stays."""
        asked = zip(OBJECTS, widths, DILATE, strict=True)
        usual = {kind: None if width == always else width for kind, width, always in asked}
        reskins = []
        for who, how in zip(self.subjects, self.reskins, strict=True):
            on = how.on if reskin in ("both", REMOVE, who.kind) else False
            if on and reskin == REMOVE:
                on = "remove"
            width = usual[who.kind] if how.dilate is None else how.dilate
            reskins.append(dataclasses.replace(how, on=on, dilate=width))
        gone = [how.name for how in reskins if how.on == REMOVE]
        gated = tuple(name for name in self.gated or () if name not in gone)
        return dataclasses.replace(self, reskins=tuple(reskins), gated=gated)


@dataclass(frozen=True)
class Remarks:
    """Comments in a scene file: at its head, before each subject by name, and at its end. Of TOML alone."""

    head: tuple[str, ...] = ()
    of: Mapping[str, tuple[str, ...]] = dataclasses.field(default_factory=dict)
    tail: tuple[str, ...] = ()


NO_REMARKS = Remarks()


def read_scene(path: Path) -> Cast:
    """What a scene file says; paths of masks and references are relative to the file.

    Raises:
        InputError: when it cannot be read or is no scene: with the line, or the key, and what to give.
    """
    what = f"--scene {path}"
    return cast_of(parsed(path, what), path.parent, what)


def cast_of(values: Any, folder: Path, what: str, whole: bool = True) -> Cast:
    """What the values of a scene file say.

    Args:
        folder: paths are relative to it. what: names the file in messages.
        whole: whether these are all of a scene's subjects, whose names are held against each other.

    Raises:
        InputError: as `read_scene`.
    """
    found = convert(values, SceneFile, what, InputError, "docs/subjects.md has every key")
    subjects: list[Subject] = []
    reskins: list[Reskin] = []
    for index, entry in enumerate(found.subject):
        place = f"{what}: subject[{index}]"
        if entry.name in [subject.name for subject in subjects]:
            raise InputError(f"{place}.name: '{entry.name}' is the name of another already: give each its own")
        try:
            subjects.append(_subject(entry, folder))
            reskins.append(_reskin(entry, folder))
            PromptSchedule.of(subjects[-1], scene=True)
        except (UsageError, InputError) as error:
            raise InputError(f"{place} ('{entry.name}'): {error}") from error
    if whole:
        check_names(subjects, what)
    usual = gated_by_kind(subjects, reskins)
    gated = (each.name for each in found.subject if (each.name in usual if each.gate is None else each.gate))
    return Cast(tuple(subjects), tuple(reskins), tuple(gated), _cuts(found.clip, what))


def _cuts(clip: Clip, what: str) -> tuple[int, ...] | None:
    cuts = clip.cuts or []
    for index, (before, cut) in enumerate(zip([0, *cuts], cuts, strict=False)):
        if cut <= before:
            raise InputError(f"{what}: clip.cuts[{index}]: {cut} is not above {before}: give each cut once, ascending")
    return None if clip.cuts is None else tuple(cuts)


def parsed(path: Path, what: str) -> Any:
    """The values of a TOML or JSON file.

    Raises:
        InputError: as `read_scene`.
    """
    if path.suffix.lower() not in FORMS:
        raise InputError(f"{what}: is neither {' nor '.join(FORMS)} by its name: rename it")
    try:
        text = text_of(read_input(path, what, most_bytes=MOST_BYTES))
        if path.suffix.lower() == ".toml":
            return tomllib.loads(text)
        found = json.loads(text, parse_constant=_no_constant, object_pairs_hook=_once_each)
        json.dumps(found, ensure_ascii=False).encode()  # half of a surrogate pair is no text that could be kept
        return found
    except json.JSONDecodeError as error:
        raise InputError(f"{what}: line {error.lineno}: is no JSON ({error.msg}, column {error.colno})") from error
    except (ValueError, RecursionError) as error:
        line = re.search(r"at line (\d+)", str(error))
        where = f"line {line[1]}: " if line else ""
        form = path.suffix[1:].upper()
        raise InputError(f"{what}: {where}is no {form} ({printable(str(error), 200)})") from error


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no number of JSON")


def _once_each(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Of a key that is given twice Python would take the last, in silence; TOML allows none."""
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for index, key in enumerate(keys) if key in keys[:index])
        raise ValueError(f"the key '{twice}' is there twice in one object")
    return found


def _subject(entry: Entry, folder: Path) -> Subject:
    if sum(given is not None for given in (entry.box, entry.points, entry.mask, entry.find)) != 1:
        raise UsageError("needs exactly one of box, points, mask and find")
    places: list[Entry | Fix] = [entry, *entry.corrections]
    numbers = [value for each in places for value in each.box or ()]
    numbers += [value for each in places for point in each.points or () for value in point]
    if not all(math.isfinite(value) for value in numbers):
        raise UsageError("a coordinate is no finite number")
    corrections = []
    for fix in entry.corrections:
        mask = named_file(f"correction on frame {fix.frame}: mask", fix.mask, folder)
        corrections.append(Correction(fix.frame, fix.box, tuple(fix.points or ()), *mask))
    prompt, find = None, None
    if entry.find is not None:
        find = Sought(entry.find, entry.frame)
    else:
        mask = named_file("mask", entry.mask, folder)
        if entry.box is not None:
            check_box("box", entry.box)  # by the file's word for it
        prompt = ObjectPrompt(entry.frame, entry.box, tuple(entry.points or ()), *mask)
    return Subject(entry.name, entry.kind, prompt, tuple(corrections), entry.held_by, find)


def _reskin(entry: Entry, folder: Path) -> Reskin:
    if entry.reskin == REMOVE and entry.gate:
        raise UsageError(f'gate = true: what vanishes (reskin = "{REMOVE}") is never gated: leave one of them out')
    return Reskin(
        entry.name,
        entry.reskin,
        entry.prompt,
        entry.negative,
        *named_file("reference", entry.reference, folder),
        entry.dilate,
    )


def named_file(key: str, name: str | None, folder: Path = Path()) -> tuple[str | None, str | None]:
    """Path and sha256 of a file that a key of a scene or an option names; None, None: it names none.

    Raises:
        InputError: when there is no such file.
    """
    if name is None:
        return None, None
    file = folder / name
    try:
        if not file.is_file():
            raise InputError(f"{key} {file}: no such file")
        return str(file.resolve()), file_sha256(file)
    except OSError as error:
        raise InputError(f"{key} {printable(str(file), 200)}: cannot be read ({error.strerror})") from error


def write_scene(path: Path, cast: Cast, option: str = "--write-scene", remarks: Remarks = NO_REMARKS) -> None:
    """Write a scene file, which `read_scene` reads as the same; who is not pointed at is left out.

    Args:
        option: what the file was named by, for messages.

    Raises:
        InputError: when its name ends in neither form, or no file can have it.
        EnvironmentFault: when it cannot be written there.
    """
    what = f"{option} {path}"
    if path.suffix.lower() not in FORMS:
        raise InputError(f"{what}: is neither {' nor '.join(FORMS)} by its name: rename it")
    write_asked(path, utf8(scene_text(cast, path.suffix.lower() == ".toml", remarks), what), what)


def scene_text(cast: Cast, toml: bool = True, remarks: Remarks = NO_REMARKS) -> str:
    """What stands in a scene file, in TOML or JSON."""
    entries = [
        _entry(subject, pointing, reskin, subject.name in (cast.gated or ()))
        for subject, reskin in zip(cast.subjects, cast.reskins, strict=True)
        if (pointing := subject.prompt or subject.find) is not None
    ]
    clip = {} if cast.cuts is None else {"clip": {"cuts": list(cast.cuts)}}
    if not toml:
        return json.dumps({**clip, "subject": entries}, indent=2, ensure_ascii=False) + "\n"
    parts = [_comments(remarks.head)]
    parts += ["[clip]\n" + _lines(table) for table in clip.values()]
    parts += [_comments(remarks.of.get(entry["name"], ())) + "[[subject]]\n" + _lines(entry) for entry in entries]
    return "\n".join(part for part in [*parts, _comments(remarks.tail)] if part)


def _lines(table: Mapping[str, Any]) -> str:
    return "".join(f"{key} = {_toml(value)}\n" for key, value in table.items())


def _comments(lines: Sequence[str]) -> str:
    # A line break in what is told (a file's name) begins no line of the file's own.
    return "".join(f"# {printable(line, 500)}".rstrip() + "\n" for line in lines)


def _entry(subject: Subject, pointing: Pointing | Sought, reskin: Reskin, gate: bool) -> dict[str, Any]:
    """A subject's keys and values, without those that are as when left out."""
    found: dict[str, Any] = {"name": subject.name, "kind": subject.kind, **_pointed(pointing)}
    if subject.corrections:
        found["corrections"] = [{"frame": item.frame} | _pointed(item) for item in subject.corrections]
    wanted = {
        "frame": pointing.frame or None,
        "held_by": subject.held_by,
        "reskin": None if reskin.on is True else reskin.on,
        "prompt": reskin.prompt or None,
        "negative": reskin.negative or None,
        "reference": reskin.reference,
        "dilate": reskin.dilate,
        "gate": None if gate == bool(gated_by_kind([subject], [reskin])) else gate,
    }
    return found | {key: value for key, value in wanted.items() if value is not None}


def _pointed(pointing: Pointing | Sought) -> dict[str, Any]:
    if isinstance(pointing, Sought):
        return {"find": pointing.text}
    if pointing.box is not None:
        return {"box": list(pointing.box)}
    if pointing.mask_png is not None:
        return {"mask": pointing.mask_png}
    return {"points": [list(point) for point in pointing.points]}


def _toml(value: Any) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {_toml(inner)}" for key, inner in value.items()) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(map(_toml, value)) + "]"
    if isinstance(value, bool):
        return "true" if value else "false"
    return toml_text(value) if isinstance(value, str) else repr(value)
