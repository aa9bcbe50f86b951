"""Who is followed: objects and persons, each with a name of its own, and how each is pointed at."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from stages.prompts import Box, Correction, ObjectPrompt, check_box
from stages.region import REMOVE
from storage.errors import UsageError

OBJECT, PERSON = "object", "person"  # both kinds, and the names of the two that the plain options make
OBJECTS = (OBJECT, PERSON)
NAME = re.compile(r"[a-z][a-z0-9_-]{0,31}")


@dataclass(frozen=True)
class Sought:
    """What a ComfyUI server is asked for while a run begins: a text, and the frame on which it is looked for first."""

    text: str
    frame: int = 0

    def __post_init__(self) -> None:
        if not self.text.strip():
            raise UsageError("find: say what it is, e.g. skateboard")


@dataclass(frozen=True)
class Subject:
    """One of those that are followed.

    Attributes:
        name: 1 to 32 of `a-z 0-9 - _`, a letter first: its arrays are `masks/NAME`, `visible/NAME`, ...
        kind: "object" or "person".
        prompt: where it is on a frame; frames before that are untracked. None: a person whom the pose stage chooses.
        corrections: on later frames F, one a frame: tracked to F-1, they are added on F, continued.
        held_by: the person who rides or carries it, by name.
        find: how it is looked for, where nobody has pointed at it yet: a run puts a prompt in its place.

    Raises:
        UsageError: for a name or a kind that is none.
    """

    name: str
    kind: str
    prompt: ObjectPrompt | None = None
    corrections: tuple[Correction, ...] = ()
    held_by: str | None = None
    find: Sought | None = None

    def __post_init__(self) -> None:
        if not NAME.fullmatch(self.name):
            raise UsageError(
                f"{self.name[:40]!r} is no name of a subject: 1 to 32 of a-z, 0-9, - and _, beginning with a letter"
            )
        if self.kind not in OBJECTS:
            raise UsageError(f"subject '{self.name}': kind {self.kind[:40]!r} is none of {', '.join(OBJECTS)}")
        if self.prompt is None and self.find is None and (self.kind != PERSON or self.corrections):
            raise UsageError(f"subject '{self.name}': needs a box, points or a mask")


@dataclass(frozen=True)
class Reskin:
    """What becomes of a subject.

    Attributes:
        name: of the subject.
        on: whether it is regenerated; "remove": it vanishes.
        prompt, negative: what it becomes, and what to avoid.
        reference: path of a picture of how it should look; None: there is none.
        reference_digest: sha256 of that file's bytes.
        dilate: width of the region beyond its mask, pixels at the generator's size; None: as `--dilate` says.
    """

    name: str
    on: bool | Literal["remove"] = True
    prompt: str = ""
    negative: str = ""
    reference: str | None = None
    reference_digest: str | None = None
    dilate: int | None = None


def gated_by_kind(subjects: Sequence[Subject], reskins: Sequence[Reskin] = ()) -> tuple[str, ...]:
    """The names of those that are gated where nothing else is said: the objects that do not vanish."""
    gone = [how.name for how in reskins if how.on == REMOVE]
    return tuple(subject.name for subject in subjects if subject.kind == OBJECT and subject.name not in gone)


def plain_subjects(
    prompt: ObjectPrompt,
    corrections: tuple[Correction, ...] = (),
    person_box: Box | None = None,
    of_person: tuple[Correction, ...] = (),
) -> tuple[Subject, Subject]:
    """The two that the plain options make: the object they point at, and the person, where `person_box` says or whom
    the pose stage chooses; the corrections of both."""
    person = None
    if person_box is not None:
        check_box("--person-box", person_box)
        person = ObjectPrompt(prompt.frame, person_box)
    if of_person and person is None:
        raise UsageError(f"--correct {PERSON}@{of_person[0].frame}: needs --person-box, where the person is at first")
    return Subject(OBJECT, OBJECT, prompt, corrections), Subject(PERSON, PERSON, person, of_person)


def most_prompts(subjects: Sequence[Subject]) -> int:
    """Conditioning frames of the subject that has most."""
    return 1 + max((len(subject.corrections) for subject in subjects), default=0)
