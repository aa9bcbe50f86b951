"""Draws the pictures of docs/design.md from the code: `python docs/pictures.py` writes them, a test compares them.

Each stands between `<!-- NAME -->` and `<!-- end -->`, as a Mermaid flowchart.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "design.md"
NEIGHBOUR = {-1: "of the window before", 0: "", 1: "of the window after"}
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


def window() -> str:
    """One window's way through the chain of a `skate run` with ComfyUI: stages, and the arrays between them.

    Arrays that one stage writes in the same way, and that the same stages read in the same way, stand in one box.
    """
    chain = _chain()
    boxes: dict[Any, list[str]] = {}
    for node in chain:
        for array, port in node.writes.items():
            reads = tuple((name, read.span, read.window) for name, read in chain.readers(array))
            boxes.setdefault((node.name, port.span, port.life, reads), []).append(array)
    lines = ["flowchart TD"]
    for number, ((writer, span, life, reads), arrays) in enumerate(boxes.items()):
        what = "one a window" if span == "window" else f"{span} frames, {life.replace('_', ' ')}"
        lines.append(f'  {writer} --> p{number}(["{"<br>".join(arrays)}<br><i>{what}</i>"])')
        for name, frames, offset in reads:
            told = "of windows before" if frames == "context" else NEIGHBOUR[offset]
            lines.append(f"  p{number} {f'-. {told} .->' if told else '-->'} {name}")
    lines += [f"  {fact} -. facts .-> {node.name}" for node in chain for fact in node.facts.values()]
    return "\n".join(lines)


def _chain() -> Any:
    """The chain of a run, its stages closed; nothing is loaded."""
    from stages.prompts import ObjectPrompt
    from stream.options.assembly import build_chain, resolve_models
    from stream.options.config import RunConfig
    from stream.progress.events import Reporter

    config = RunConfig(
        ObjectPrompt(box=(0.0, 0.0, 9.0, 9.0)), video="clip.mp4", sam="mini", pose="mini", detector="mini",
        generator="comfyui", server=("127.0.0.1:8188",), text="a samurai",
    )  # fmt: skip
    colour = {f"colour_{name}": 1 for name in ("matrix", "range", "primaries", "transfer")}
    video = {"width": 64, "height": 48, "claimed_fps": 24.0, "sample_aspect_ratio": [1, 1], "pixel_format": "yuv420p"}
    return build_chain(config, resolve_models(config), {"video": {**video, **colour}}, Reporter())


PICTURES = {"packages": packages, "window": window}


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
