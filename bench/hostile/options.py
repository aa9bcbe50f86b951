"""Odd values for every option of every command, as click itself knows them."""

import random
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import click

from bench.hostile import odd
from bench.hostile.trial import Trial
from stream.cli import cli

SERVES = ("pick",)  # goes on until it is stopped: what it is given is refused before
HEAVY = ("bench", "bench fidelity", "demo")  # minutes where it is accepted
NETWORK = ("models fetch",)  # nothing of it may leave this machine
PLACES = frozenset(("--out", "--to", "--write-config", "--write-scene", "--truth", "--record", "--csv", "--scratch"))


@cache
def commands() -> dict[str, tuple[click.Parameter, ...]]:
    """Every command that is no group, by its words, with its parameters."""
    return dict(_commands(cli, ()))


def _commands(group: click.Group, words: tuple[str, ...]) -> Iterator[tuple[str, tuple[click.Parameter, ...]]]:
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        if isinstance(command, click.Group):
            yield from _commands(command, (*words, name))
        else:
            yield " ".join((*words, name)), tuple(command.get_params(context))


def plain(name: str, trial: Trial, room: Path) -> list[str]:
    """Words of a command that would do little: what is there already is compared with, and nothing long begins."""
    world = trial.world
    run, none = str(world.finished), str(room / "none.mp4")
    begin = [str(world.case.video), "--out", run, *world.case.options]

    def write(file: str) -> str:
        return str(room / file)

    return {
        "run": ["run", *begin],
        "extract": ["extract", *begin],
        "generate": ["generate", run, "--out", str(world.kept)],
        "resume": ["resume", write("no-run")],
        "redo": ["redo", write("no-run")],
        "status": ["status", run],
        "report": ["report", write("no-run")],
        "evaluate": ["evaluate", "--metadata", str(world.exported / "none.json"), "--generated", none],
        "export": ["export", run, "--to", write("exported")],
        "analyse": ["analyse", none, "--to", write("scene.toml")],
        "pick": ["pick", none],
        "frame": ["frame", str(world.case.video), "--at", "2", "--to", write("frame.png")],
        "check": ["check", "--sam", "mini", "--pose", "mini", "--detector", "mini", "--device", "cpu"],
        "demo": ["demo", "--out", run, "--frames", "3", "--clip-size", "96x64"],
        "bench": ["bench", none, "--out", write("bench")],
        "bench fidelity": ["bench", "fidelity", "--out", str(world.case.video)],
        "models list": ["models", "list"],
        "models fetch": ["models", "fetch", "none", "--mirror", "http://127.0.0.1:9/"],
        "models verify": ["models", "verify", "mini"],
        "workflows list": ["workflows", "list"],
        "workflows show": ["workflows", "show", "vace"],
        "workflows check": ["workflows", "check", "vace", "--server", "127.0.0.1:9"],
        "batch run": ["batch", "run", write("jobs.toml"), "--out", write("batch")],
        "batch status": ["batch", "status", write("batch")],
        "batch plan": ["batch", "plan", write("jobs.toml")],
    }[name]


def attempt(trial: Trial, room: Path) -> None:
    """One command with one to three odd options, or words that are none."""
    rng = trial.rng
    known = commands()
    name = rng.choice((*known, "run", "run", "run", "generate", "evaluate"))
    words = plain(name, trial, room)
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        words = _bent(words, name, known[name], rng, room)
    trial.skate(words, models=name in ("run", "extract", "generate", "evaluate", "analyse", "check"))


def _bent(
    words: list[str], name: str, parameters: tuple[click.Parameter, ...], rng: random.Random, room: Path
) -> list[str]:
    how = rng.random()
    options = [item for item in parameters if isinstance(item, click.Option)]
    if how < 0.06:
        at = rng.randrange(1, len(words) + 1)
        return [*words[:at], odd.given_text(rng), *words[at:]]
    if how < 0.1 and len(words) > 1:
        at = rng.randrange(1, len(words))
        return [*words[:at], *words[at + 1 :]]
    if how < 0.16 and len(words) > len(name.split()) and name not in (*HEAVY, *NETWORK, *SERVES):
        at = rng.randrange(len(name.split()), len(words))
        return [*words[:at], odd.given_text(rng), *words[at + 1 :]]
    chosen = rng.choice(options)
    flag = rng.choice((*chosen.opts, *chosen.secondary_opts))
    if name in HEAVY and flag in ("--out", "--overwrite", "--help"):
        return words  # a demo anywhere else would be made
    if name in NETWORK and flag in ("--all", "--for", "--mirror"):
        return words
    if chosen.is_flag:
        return [*words, flag if rng.random() < 0.9 else f"{flag}={odd.given_text(rng)}"]
    value = _value(flag, chosen, rng, room)
    return [*words, flag, value] if rng.random() < 0.8 else [*words, f"{flag}={value}"]


def _value(flag: str, option: click.Option, rng: random.Random, room: Path) -> str:
    if flag in PLACES:  # nothing is written outside the attempt's own folder
        name = odd.given_text(rng)
        return f"{room}/{name}" if "/" not in name and name.strip(".") else str(room / "odd")
    if isinstance(option.type, click.Choice) and rng.random() < 0.2:
        return odd.as_given(odd.bent_text(str(rng.choice(list(option.type.choices))), rng))
    if isinstance(option.default, (str, int, float)) and rng.random() < 0.2:
        return odd.as_given(odd.bent_text(str(option.default), rng))
    return odd.given_text(rng)
