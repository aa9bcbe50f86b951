"""The commands and code that README and docs/ show."""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
NEEDS = re.compile(r"#.*\bneeds (the network|a GPU|Docker|Windows|a ComfyUI server)")


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


def commands(page: Path) -> list[Line]:
    """A page's command lines: those of the blocks without a language, or `sh`, that begin with a program we know."""
    found = []
    for language, text in blocks(page):
        if language not in ("", "sh", "bash", "console", "powershell"):
            continue
        for line in re.sub(r"\\\n\s*", "", text).splitlines():
            program = line.split(" ", 1)[0]
            if program == "skate" or re.fullmatch(
                r"make|source|docker|wsl|py|python3?[\d.]*|COMFYUI=\S+|\.venv\S+", program
            ):
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
