"""The commands and code that README and docs/ show."""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "SECURITY.md", *sorted((ROOT / "docs").glob("*.md"))]
NEEDS = re.compile(r"#.*\bneeds (the network|a GPU|Docker|Windows|a ComfyUI server|a browser)")
PROGRAMS = re.compile(r"skate|make|source|docker|wsl|py|uv|pre-commit|python3?[\d.]*|COMFYUI=\S+|\.venv\S+")
NOT_SHELL = ("python", "json", "toml", "mermaid")  # languages of blocks that tests run or read, and of drawings


@dataclass(frozen=True)
class Line:
    """A command line of a page: its words, and what it needs that tests do not have (None: nothing)."""

    page: Path
    text: str
    words: tuple[str, ...]
    needs: str | None

    def __str__(self) -> str:
        return f"{self.page.name}: {self.text}"


def blocks(page: Path) -> Iterator[tuple[str, str]]:
    """`(language, text)` of a page's fenced blocks, in order."""
    for match in re.finditer(r"^```(\w*)\n(.*?)^```$", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL):
        yield match[1], match[2]


def shell_lines(text: str) -> list[str]:
    """A block's lines with continuations joined, without empty lines and comments."""
    lines = re.sub(r"\\\n\s*", "", text).splitlines()
    return [line for line in lines if line.strip() and not line.lstrip().startswith("#")]


def is_command(line: str) -> bool:
    """Whether the line begins with a program that the pages call."""
    return PROGRAMS.fullmatch(line.split(" ", 1)[0]) is not None


def inline_code(page: Path) -> list[str]:
    """What stands between backticks in the running text."""
    prose = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    return [" ".join(found.split()) for found in re.findall(r"`([^`]+)`", prose)]


def inline_commands(page: Path) -> list[str]:
    """Commands of Python that stand in the running text."""
    return [text for text in inline_code(page) if re.match(r"python3? (?:-m )?(?:bench|training)", text)]


def commands(page: Path) -> list[Line]:
    """A page's command lines: those of the blocks without a language, or `sh`, that begin with a program we know."""
    found = []
    for language, text in blocks(page):
        if language in NOT_SHELL:
            continue
        for line in shell_lines(text):
            if is_command(line):
                needs = NEEDS.search(line)
                words = shlex.split(line.replace("\\", "/"), comments=True)
                found.append(Line(page, line, tuple(words), needs[1] if needs else None))
    return found


def skate_words(line: Line) -> list[str] | None:
    """The words after `skate`, also where it runs in a container; None where the line calls something else."""
    programs = [index for index, word in enumerate(line.words) if word.endswith("skate")]
    if not programs or line.words[:2] == ("docker", "build"):
        return None
    return list(line.words[programs[-1] + 1 :])
