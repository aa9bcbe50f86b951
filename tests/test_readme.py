"""Every command line of README and docs/ is run, in the order it stands there, on a clip of a second.

What a line asks of a clip of the reader's (box, models, window) is replaced by what fits the test's clip. Lines marked
as needing the network, a GPU, Docker or Windows are only parsed; the steps of installing are run by `test_docker.py`;
benches, minutes long each, are only looked up.
"""

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import click
import pytest
from _documents import (
    NOT_SHELL,
    PAGES,
    ROOT,
    Line,
    blocks,
    commands,
    inline_code,
    inline_commands,
    is_command,
    shell_lines,
    skate_words,
)
from _runs import invoke
from _small_run import small_clip, small_run, small_sam
from fake_comfy import FakeComfy

from bench.fidelity.command import fidelity_command
from stream.cli import cli

BOX = "60,70,100,82"
TINY = ["--window", "9", "--overlap", "3", "--pose", "mini", "--detector", "mini"]
ENDS = {"check": {0, 4}, "run": {0, 1}, "demo": {0, 1}, "generate": {0, 1}, "redo": {0, 1}, "resume": {0, 1}}
ENDS |= {"evaluate": {0, 1}, "bench": {0, 1}}
OTHER_PROGRAMS = {
    "git",
    "pip",
    "uv",
    "cd",
    "export",
    "set",
    "curl",
    "wget",
    "apt",
    "apt-get",
    "sudo",
    "bash",
    "cp",
    "mkdir",
    "ssh",
}
BY_HAND = ("source", "python3", ".venv/bin/uv", ".venv/bin/python", "uv", "pre-commit")  # installing, building


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """A ComfyUI that answers as the real one does."""
    with FakeComfy() as fake:
        yield fake.address


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with what the pages take for granted: a clip, a video made elsewhere, masks, workflows, and the files
    that they show with their names."""
    shutil.copy(small_clip(), tmp_path / "clip.mp4")
    shutil.copy(small_run() / "output.mp4", tmp_path / "generated.mp4")
    shutil.copytree(ROOT / "workflows", tmp_path / "workflows")
    assert invoke(["export", str(small_run()), "--to", str(tmp_path / "elsewhere")]).code == 0
    (tmp_path / "elsewhere" / "mask_skateboard").rename(tmp_path / "masks")
    for language, text in (block for page in PAGES for block in blocks(page)):
        if language == "toml" and (named := re.match(r"# (\w+\.toml)\n", text)):
            (tmp_path / named[1]).write_text(text)
    monkeypatch.setenv("SKATE_MODELS", str(tmp_path / "models"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def fitted(words: list[str], server: str) -> list[str]:
    """The command with the clip's own box, small models, a small window, and the test's server."""
    sam, sam_config = small_sam()
    found = []
    for before, word in zip(["", *words], words, strict=False):
        if before in ("--box", "--person-box"):
            word = BOX
        elif before == "--correct":
            word = f"{word.split(':')[0]}:{BOX}"
        elif before == "--server":
            word = server
        elif before == "--size":
            word = "160x96"
        found.append(word)
    if words[0] in ("run", "extract", "demo", "bench"):
        found += [*TINY, "--sam", sam, "--sam-config", sam_config]
    if words[0] == "analyse":
        found += ["--detector", "mini"]
    if words[0] in ("demo", "bench"):
        found += ["--frames", "9", "--clip-size", "160x90"]
    if words[0] in ("run", "generate") and "--server" in words and "--size" not in words:
        found += ["--size", "160x96"]
    if words[0] == "generate" and "--masks" in words:
        found += TINY[:4]
    if words[:2] == ["evaluate", "--original"] or "--masks" in words:
        found += ["--sam", sam, "--sam-config", sam_config]
    return found


def parses(words: list[str]) -> None:
    """Options and arguments are what the command takes; nothing is run."""
    command = cli.get_command(click.Context(cli), words[0])
    assert command is not None, f"no command is called {words[0]}"
    while isinstance(command, click.Group):
        words = words[1:]
        command = command.commands[words[0]]
    command.make_context(words[0], list(words[1:]))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_of(page: Path, desk: Path, server: str) -> None:
    lines = commands(page)
    runs = [skate_words(line) for line in lines if line.needs is None]
    if not any(words and words[0] in ("run", "extract") and "RUN" in words for words in runs):
        shutil.copytree(small_run(), desk / "RUN")
    for line in lines:
        words = skate_words(line)
        if line.needs is not None:
            if words:
                parses(words)
        elif words is None:
            other(line)
        else:
            result = invoke(fitted(words, server))
            allowed = ENDS.get(words[0], {0, 4} if words[:2] == ["models", "verify"] else {0})
            assert result.code in allowed, f"{line}\nexit {result.code}\n{result.out}{result.err}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_no_command_is_overlooked(page: Path) -> None:
    """A block holds commands that are known, and nothing else; or none, as drawings do."""
    for language, text in blocks(page):
        lines = shell_lines(text) if language not in NOT_SHELL else []
        known = [is_command(line) for line in lines]
        assert all(known) or not any(known), f"{page.name}: {lines[known.index(False)]}"
        if language not in ("", *NOT_SHELL):
            assert known and all(known), f"{page.name}: a block of {language} without a known command"
        if not any(known):
            begins = {line.split()[0] for line in lines}
            assert not begins & OTHER_PROGRAMS, f"{page.name}: commands that no test knows: {begins & OTHER_PROGRAMS}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_benches_named_in_prose(page: Path) -> None:
    for text in inline_commands(page):
        words = text.split()
        name = words[words.index("-m") + 1].replace(".", "/") + ".py" if "-m" in words else words[1]
        script = ROOT / name if (ROOT / name).is_file() else ROOT / name.removesuffix(".py") / "__main__.py"
        assert script.is_file(), f"{page.name}: `{text}`"
        for option in (word for word in words if word.startswith("--")):
            assert f'"{option}"' in script.read_text(encoding="utf-8"), f"{page.name}: `{text}`: {option}"


def other(line: Line) -> None:
    """What is not `skate`: targets of make that exist, files that exist, steps of installing."""
    if line.words[0] == "make":
        done = subprocess.run(["make", "-n", *line.words[1:]], cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{line}\n{done.stderr}"
        return
    if line.words[:3] == ("python", "-m", "pytest"):
        one_test(line)
        return
    words = [module_file(word) if before == "-m" else word for before, word in pairwise(line.words)]
    scripts = [ROOT / word for word in words if re.fullmatch(r"(bench|training)/.*\.py", word)]
    assert scripts or line.words[0] in BY_HAND, f"{line}: neither run nor marked with what it needs"
    for script in scripts:  # minutes long each: that it is there and knows its options has to do
        assert script.is_file(), f"{line}: {script.name} is not there"
        for option in (word for word in line.words if word.startswith("--")):
            assert f'"{option}"' in script.read_text(encoding="utf-8"), f"{line}: {option}"
    for word in line.words[1:]:
        if word.startswith("requirements/"):
            assert (ROOT / word).is_file(), f"{line}: {word} is not there"
    tool = Path(sys.executable).parent / Path(line.words[0]).name
    if tool.name in ("uv", "pre-commit") and tool.exists():
        subcommand = [word for word in line.words[1:3] if re.fullmatch("[a-z]+", word)]
        done = subprocess.run([tool, *subcommand, "--help"], capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{line}\n{done.stderr}"


def module_file(name: str) -> str:
    """Where `python -m NAME` begins."""
    path = name.replace(".", "/")
    return f"{path}/__main__.py" if (ROOT / path).is_dir() else f"{path}.py"


def one_test(line: Line) -> None:
    """The file is there, and holds a test of that name."""
    path = ROOT / line.words[3]
    assert path.is_file(), f"{line}: {path.name} is not there"
    if "-k" in line.words:
        name = line.words[line.words.index("-k") + 1]
        assert re.search(rf"def test_\w*{name}", path.read_text(encoding="utf-8")), f"{line}: no test {name}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_named_in_prose_exist(page: Path) -> None:
    for text in inline_code(page):
        words = text.split()
        if words[0] == "make" and len(words) > 1:
            done = subprocess.run(["make", "-n", *words[1:]], cwd=ROOT, capture_output=True, text=True, check=False)
            assert done.returncode == 0, f"{page.name}: `{text}`: {done.stderr}"
        if words[0] == "skate" and len(words) > 1:
            command = cli if words[1].startswith("--") else cli.get_command(click.Context(cli), words[1])
            assert command is not None, f"{page.name}: `{text}`"
            if command is not cli and isinstance(command, click.Group) and len(words) > 2:
                command = command.commands.get(words[2])
                assert command is not None, f"{page.name}: `{text}`"
            if words[1:3] == ["bench", "fidelity"]:
                command = fidelity_command
            options = {flag for item in command.get_params(click.Context(command)) for flag in item.opts}
            unknown = {word for word in words if word.startswith("--")} - options
            assert not unknown, f"{page.name}: `{text}`: {unknown}"


def every_option() -> set[str]:
    """Of every command."""
    stack = [cli.get_command(click.Context(cli), name) for name in cli.list_commands(click.Context(cli))]
    found: set[str] = set()
    while stack:
        command = stack.pop()
        if isinstance(command, click.Group):
            stack += list(command.commands.values())
        elif command is not None:
            found |= {
                f for item in command.get_params(click.Context(command)) for f in (*item.opts, *item.secondary_opts)
            }
    return {flag for flag in found | {item.opts[0] for item in fidelity_command.params} if flag.startswith("--")}


def test_every_option_is_named_on_some_page() -> None:
    pages = "\n".join(page.read_text(encoding="utf-8") for page in (*PAGES, ROOT / "workflows" / "README.md"))
    named = set(re.findall(r"--[a-z][a-z-]*", pages))
    assert len(every_option()) > 80 and every_option() <= named, every_option() - named


def test_options_named_in_prose_exist() -> None:
    known = {
        "--help",
        "--version",
        "--build-arg",
        "--gpus",
        "--lowvram",
        "--cache-none",
        "--listen",
        "--no-deps",
        "--editable",
        "--extra",
        "--add-host",
    }
    known |= every_option()
    for page in (
        ROOT / "README.md",
        ROOT / "CONTRIBUTING.md",
        *(ROOT / "docs" / f"{name}.md" for name in ("formats", "install", "python-api")),
    ):
        for text in inline_code(page):
            for flag in re.findall(r"^--[a-z-]+", text):
                assert flag in known, f"{page.name}: {flag}"
