"""The command that makes a run again, from what the run recorded of its options."""

import dataclasses
import shlex
import tomllib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import click

from storage.errors import SkateError
from stream.cli.files import parameters_of, words_of
from stream.cli.run import extract_command, run_command
from stream.options.config import RunConfig
from stream.options.settings import config_from_options
from stream.options.table import OPTIONS, Option

POINTED = ("prompt", "correct", "correct_person", "person_box", "scene", "reskins", "gated")  # fields


def command_again(config: RunConfig, out: Path, pointing: Sequence[str]) -> str | None:
    """`skate run` or `skate extract` with all options of a run, `--overwrite`, and this pointing in place of the run's.

    It is tried before it is given: read as a command, it makes the same config. Options that change nothing there are
    left out.

    Args:
        out: the run. pointing: words, e.g. `--box 1,2,3,4` or `--scene FILE`.

    Returns:
        None where options cannot say it: of a run of given masks, and where files are gone, as those of `--cuts`.
    """
    command = {"run": run_command, "extract": extract_command}.get(config.chain)
    if command is None:
        return None
    first, last = [config.video, *pointing], ["--out", str(out), "--overwrite"]
    usual = command.make_context(config.chain, [*first, *last]).params
    others = [item for item in OPTIONS if getattr(config, item.parameter, None) != usual.get(item.parameter)]
    options = {item.key: words for item in others if (words := _words(item, config, command))}

    def makes_it(keys: Iterable[str]) -> bool:
        return _made(command, [*first, *(word for key in keys for word in options[key]), *last], config)

    if not makes_it(options):
        return None
    kept = list(options)
    for key in sorted(options, key=lambda key: key == "device"):  # last: without it each trial looks for a GPU
        fewer = [other for other in kept if other != key]
        kept = fewer if makes_it(fewer) else kept
    return shlex.join(["skate", config.chain, *first, *(word for key in kept for word in options[key]), *last])


def _words(item: Option, config: RunConfig, command: click.Command) -> list[str]:
    """An option of the run, as on the command line; nothing where the run has none such, or it points at subjects."""
    parameter, value = parameters_of(command).get(item.key), getattr(config, item.parameter, None)
    if parameter is None or item.parameter in POINTED or value in (None, (), ""):
        return []
    text = f"[{', '.join(map(item.kind.write, value))}]" if item.many else item.kind.write(value)
    return words_of("run.json", item.key, parameter, tomllib.loads(f"value = {text}")["value"])


def _made(command: click.Command, words: list[str], config: RunConfig) -> bool:
    """Whether a command of these words makes this config, but for what it points at."""
    try:
        given: dict[str, Any] = dict(command.make_context(config.chain, words).params)
        video, out = given.pop("video"), Path(given.pop("out"))
        for name in ("as_json", "overwrite", "write_scene"):
            given.pop(name)
        found = config_from_options(video, config.chain, given, out)
    except (SkateError, click.ClickException):
        return False
    same = POINTED if found.scene is None else (*POINTED, "cuts")
    return dataclasses.replace(config, **{name: getattr(found, name) for name in same}) == found
