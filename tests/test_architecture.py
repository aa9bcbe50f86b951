"""What import-linter has no contract for: names that one package keeps from another."""

import ast
import importlib
import inspect
import pkgutil
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from stages.base import Stage
from stages.preview import PreviewConfig, PreviewStage

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("stream", "stages", "storage")
NAMES_OF_STAGES = ("decode", "pose", "track", "generate", "composite", "blend", "sink", "score")
MOST_LINES_OF_A_FILE, MOST_LINES_OF_A_FUNCTION = 350, 60


def _imported(source: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(source.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{'.' * node.level}{node.module or ''}.{name.name}" for name in node.names)


@pytest.mark.parametrize("package", PACKAGES)
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


def _longer(source: Path) -> Iterator[str]:
    text = source.read_text(encoding="utf-8")
    lines = len(text.splitlines())
    if lines > MOST_LINES_OF_A_FILE:
        yield f"{source.relative_to(ROOT)}: {lines} lines"
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = (node.end_lineno or node.lineno) - node.lineno + 1
            if lines > MOST_LINES_OF_A_FUNCTION:
                yield f"{source.relative_to(ROOT)}: {node.name}: {lines} lines"


def test_every_stage_is_among_those_that_do_not_import_each_other() -> None:
    found = {module.name for module in pkgutil.iter_modules([str(ROOT / "stages")], "stages.")}
    made = {
        name
        for name in found
        for thing in vars(importlib.import_module(name)).values()
        if isinstance(thing, type) and issubclass(thing, Stage) and thing.__module__ == name
        if not inspect.isabstract(thing)
    }
    linted = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"]["contracts"]
    listed = next(contract["modules"] for contract in linted if contract["type"] == "independence")
    assert made - set(listed) == {"stages.aim", "stages.completion"}


@pytest.mark.parametrize("package", PACKAGES)
def test_no_file_and_no_function_is_long(package: str) -> None:
    """A file has at most 350 lines and a function at most 60: each is read as a whole."""
    sources = sorted((ROOT / package).rglob("*.py"))
    assert sources
    assert [line for source in sources for line in _longer(source)] == []


def test_the_chain_is_read_on_one_page() -> None:
    """`stream/pipeline.py` is what one reads first."""
    assert len((ROOT / "stream" / "pipeline.py").read_text(encoding="utf-8").splitlines()) < 120


def _arrays() -> set[str]:
    """Every array that a stage of ours writes."""
    for module in pkgutil.iter_modules([str(ROOT / "stages")]):
        importlib.import_module(f"stages.{module.name}")
    waiting, found = [Stage], {port.name for port in PreviewStage(PreviewConfig()).writes}
    while waiting:
        kind = waiting.pop()
        waiting += kind.__subclasses__()
        if kind.__module__.startswith("stages."):
            found |= {port.name for port in kind.writes}
    return found


def test_storage_names_no_stage_and_no_array() -> None:
    """What a run stores is handed to it."""
    names = _arrays() | set(NAMES_OF_STAGES)
    assert names >= {"frames", "masks/object", "keypoints/person", "made", "raw", "generated", "views/generate"}
    for source in sorted((ROOT / "storage").rglob("*.py")):
        for node in ast.walk(ast.parse(source.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and node.value in names:
                raise AssertionError(f"{source.relative_to(ROOT)}:{node.lineno}: {node.value!r}")
