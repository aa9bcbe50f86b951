"""`SECURITY.md` promises what tests hold."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
NAMED = re.compile(r"`(tests/\w+\.py)::(test_\w+)`")


def test_every_promise_names_tests_that_are_there() -> None:
    text = (ROOT / "SECURITY.md").read_text()
    rows = [line for line in text.splitlines() if line.startswith("| ") and "---" not in line][1:]
    assert len(rows) > 10 and all(NAMED.search(row) for row in rows)
    for file, name in NAMED.findall(text):
        tree = ast.parse((ROOT / file).read_text())
        assert name in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}, f"{file}::{name}"


def test_it_invents_no_address() -> None:
    assert not re.search(r"https?://|\w@\w", (ROOT / "SECURITY.md").read_text())
