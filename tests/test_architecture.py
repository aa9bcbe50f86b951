"""What import-linter has no contract for: names that one package keeps from another."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


def _imported(source: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(source.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{'.' * node.level}{node.module or ''}.{name.name}" for name in node.names)


@pytest.mark.parametrize("package", ["stream", "stages", "storage"])
def test_nothing_private_is_imported(package: str) -> None:
    """Neither a module nor a name with a leading underscore crosses a module's border."""
    sources = sorted((ROOT / package).rglob("*.py"))
    assert sources
    private = [
        f"{source.relative_to(ROOT)}: {name}"
        for source in sources
        for name in _imported(source)
        if any(part.startswith("_") and not part.startswith("__") for part in name.split("."))
    ]
    assert private == []
