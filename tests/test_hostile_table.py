"""Every attempt of docs/hostile.md has tests, and they are there."""

import re
from collections.abc import Iterator
from pathlib import Path

TESTS = Path(__file__).parent
TABLE = TESTS.parent / "docs" / "hostile.md"
COUNTS = {"A": range(1, 4), "B": range(7), "C": range(1, 7), "D": range(1, 18), "E": range(1, 2), "F": range(1, 9)}
ROWS = [f"{letter}{number}" for letter, numbers in COUNTS.items() for number in numbers]


def rows() -> Iterator[tuple[str, list[tuple[str, str]]]]:
    """Of each row its id, and files and functions of its tests."""
    for line in TABLE.read_text(encoding="utf-8").splitlines():
        found = re.match(r"\| ([A-F]\d+) \|", line)
        if found is not None:
            yield found[1], re.findall(r"`(test_\w+\.py)::(test_\w+)`", line)


def test_every_row_is_there_once() -> None:
    assert [name for name, _ in rows()] == ROWS


def test_every_attempt_was_made_with_the_old_code() -> None:
    lines = TABLE.read_text(encoding="utf-8").splitlines()
    told = [line.split("|")[-2].strip() for line in lines if re.match(r"\| [A-F]\d", line)]
    assert len(told) == len(ROWS) and not {"read", "run", ""} & set(told)


def test_every_test_that_is_named_exists() -> None:
    for name, tests in rows():
        assert tests, name
        for file, function in tests:
            source = TESTS / file
            assert source.is_file() and f"\ndef {function}(" in source.read_text(encoding="utf-8"), (name, function)
