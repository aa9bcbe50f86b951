"""Draws the pictures of docs/design.md from the code: `python docs/pictures.py` writes them, a test compares them.

Each stands between `<!-- NAME -->` and `<!-- end -->`, as a Mermaid flowchart.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "design.md"
PACKAGES = ("stream", "stages", "storage")


def packages() -> str:
    """The sub-packages of `stream`, `stages` and `storage`, and which imports which; longer ways imply the shorter."""
    direct: dict[str, set[str]] = {}
    for top in PACKAGES:
        for path in sorted((ROOT / top).rglob("*.py")):
            here = _node(path.relative_to(ROOT).with_suffix("").parts)
            direct.setdefault(here, set()).update(node for node in _imported(path) if node != here)
    below = {node: _reached(direct, node) for node in direct}
    lines = ["flowchart TD"]
    for node in sorted(direct):
        implied = set().union(*(below[other] for other in direct[node]))
        lines += [f"  {node.replace('.', '_')}[{node}] --> {other.replace('.', '_')}[{other}]"
                  for other in sorted(direct[node] - implied)]  # fmt: skip
    return "\n".join(lines)


def _node(parts: tuple[str, ...]) -> str:
    """The package a module is drawn as: sub-packages of `stream` by themselves, the other two whole."""
    if parts[0] != "stream" or len(parts) < 2 or parts[1] == "__init__":
        return parts[0]
    return f"stream.{parts[1]}"


def _imported(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module]
        for name in names:
            if name.split(".")[0] in PACKAGES:
                yield _node(tuple(name.split(".")))


def _reached(direct: dict[str, set[str]], start: str) -> set[str]:
    """Everything that is imported by what `start` imports, at any depth, `start`'s own imports not counted."""
    found: set[str] = set()
    waiting = list(direct.get(start, ()))
    while waiting:
        node = waiting.pop()
        if node not in found:
            found.add(node)
            waiting += direct.get(node, ())
    return found


PICTURES = {"packages": packages}


def drawn(text: str) -> str:
    """The page with every picture as the code is now."""
    for name, draw in PICTURES.items():
        block = f"<!-- {name} -->\n```mermaid\n{draw()}\n```\n<!-- end -->"
        text, count = re.subn(rf"<!-- {name} -->.*?<!-- end -->", lambda _, block=block: block, text, flags=re.DOTALL)
        if count != 1:
            raise ValueError(f"{PAGE.name} has {count} places for the picture '{name}', not one")
    return text


if __name__ == "__main__":
    PAGE.write_text(drawn(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
