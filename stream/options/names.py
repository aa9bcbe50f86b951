"""The names in a scene: who holds what, and names that stand for something else already."""

from collections import Counter
from collections.abc import Sequence

from stages.subjects import OBJECTS, PERSON, Subject
from storage.errors import InputError

RESERVED = {"generate": "the generator's own views are kept under that name"}


def check_names(subjects: Sequence[Subject], what: str) -> None:
    """Refuse a holder whom nobody is, and names by which two things that are kept would have one.

    Args:
        what: names the file in messages.

    Raises:
        InputError: with the subjects, and what to give.
    """
    names, persons = {subject.name for subject in subjects}, {each.name for each in subjects if each.kind == PERSON}
    for index, subject in enumerate(subjects):
        if subject.held_by is not None and (subject.held_by not in persons or subject.held_by == subject.name):
            others = sorted(persons - {subject.name})
            known = f": one of {', '.join(others)}" if others else ": there is none"
            raise InputError(f"{what}: subject[{index}].held_by: '{subject.held_by}' is no other person{known}")
        if subject.name in OBJECTS and subject.name != subject.kind:
            told = f"a {subject.kind} called '{subject.name}' would be told as the {subject.name} of a plain run"
            raise InputError(f"{what}: subject[{index}].name: {told}: rename it")
        if subject.name in RESERVED:
            raise InputError(f"{what}: subject[{index}].name: '{subject.name}': {RESERVED[subject.name]}: rename it")
    several = [who for who, count in Counter(each.held_by for each in subjects if each.held_by).items() if count > 1]
    pairs = [(name, f"json_{name}") for name in persons if f"json_{name}" in persons]  # a person's CMU and PNG files
    pairs += [(each.name, f"{each.held_by}-{each.name}") for each in subjects if each.held_by in several]  # `metrics/`
    for name, other in sorted(pair for pair in pairs if pair[1] in names):
        kept = "files that are exported of" if other.startswith("json_") else "what is measured of"
        raise InputError(f"{what}: subjects '{name}' and '{other}': {kept} both would have one name: rename one")
