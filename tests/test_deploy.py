"""The files of docs/deploy: they are YAML, and every `skate` in them is a command that this program takes."""

import re
import shlex
from collections.abc import Iterator
from typing import Any

import click
import pytest
import yaml
from _documents import ROOT

from stream.cli import cli

FILES = sorted((ROOT / "docs" / "deploy").glob("*.yaml"))


def texts(value: Any) -> Iterator[str]:
    """All strings in it."""
    if isinstance(value, str):
        yield value
    for each in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from texts(each)


def commands() -> Iterator[tuple[str, list[str]]]:
    """By file the words of every `skate`."""
    for file in FILES:
        for text in texts(list(yaml.safe_load_all(file.read_text(encoding="utf-8")))):
            for line in re.findall(r"^skate (.*?)(?: \|\| .*)?$", text, re.MULTILINE):
                yield file.name, shlex.split(re.sub(r"\$(\w+)", "1", line))


def test_each_page_has_its_file() -> None:
    page = (ROOT / "docs" / "deploy.md").read_text(encoding="utf-8")
    assert [file.name for file in FILES] == ["kuberay-job.yaml", "ray-cluster.yaml", "skypilot.yaml"]
    assert all(f"(deploy/{file.name})" in page for file in FILES)


@pytest.mark.parametrize(("file", "words"), list(commands()))
def test_commands_are_the_programs_own(file: str, words: list[str]) -> None:
    found: click.Command = cli
    while isinstance(found, click.Group):
        command = found.get_command(click.Context(found), words.pop(0))
        assert command is not None
        found = command
    found.make_context("skate", words)


def test_files_that_begin_a_batch_do() -> None:
    assert [name for name, _ in commands()] == ["kuberay-job.yaml", "skypilot.yaml"]


def test_ray_is_the_version_that_the_extra_asks_for() -> None:
    """On all machines of a cluster it is the same."""
    (wanted,) = re.findall(r'ray = \["(ray.*)"\]', (ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    for file in FILES:
        for version in re.findall(r'"(ray(?:\[\w+\])?[<>=].*?)"', file.read_text(encoding="utf-8")):
            assert version.replace("[default]", "") == wanted, file.name
    job = next(yaml.safe_load_all((ROOT / "docs" / "deploy" / "kuberay-job.yaml").read_text(encoding="utf-8")))
    assert wanted.startswith(f"ray>={job['spec']['rayClusterSpec']['rayVersion'].removesuffix('.0')}")
