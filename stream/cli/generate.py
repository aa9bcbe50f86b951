"""`skate generate`: another variation from tracking that is done."""

import json
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import click

from storage.address import run_path
from storage.errors import UsageError
from stream.cli.options import GroupedCommand, option, options_of, was_given
from stream.cli.run import carry_out
from stream.cli.say import say
from stream.options.table import GENERATION, GIVEN
from stream.options.values import FILE


@click.command("generate", cls=GroupedCommand)
@click.argument("source", metavar="RUN|VIDEO")
@options_of(GENERATION, GIVEN)
@option(
    "output",
    "--variations",
    type=FILE,
    metavar="FILE.toml",
    help="Several looks of a RUN (see above).",
)
def generate_command(source: str, variations: str | None, **options: Any) -> int:
    """Generate from tracking that is done.

    \b
    skate generate RUN --out RUN2 --prompt ...        masks and poses of an extracted or finished run
    skate generate VIDEO --masks ... --pose ... --out RUN2 ...    masks and poses made elsewhere
    skate generate RUN --variations FILE.toml --out DIR           several at once: a run each in DIR, and a page

    With RUN, options that are not given are those of RUN; its models and windows stay. FILE.toml has a table
    [[variation]] for each look: its name, and what it has otherwise (prompt, seed, workflow ...).
    """
    if variations is not None:
        return _variations(source, variations, run_path(options["out"]), options["as_json"])
    out, as_json, overwrite = run_path(options.pop("out")), options.pop("as_json"), options.pop("overwrite")
    masks, person_masks, pose_file = (options.pop(name) for name in ("masks", "person_masks", "pose_file"))
    if (masks is None) != (pose_file is None):
        raise UsageError("--masks and --pose belong together: give both with a VIDEO, or neither with a RUN")
    if masks is None and person_masks is not None:
        raise UsageError("--person-masks: belongs to a VIDEO with --masks and --pose; a RUN has its own")
    if masks is None and Path(source).is_file():
        raise UsageError(
            f"{source} is a video: give its tracking with --masks and --pose, or run it (`skate run`, `skate extract`) "
            "and give the run directory"
        )
    if masks is None:
        return _from_run(source, out, options, overwrite, as_json)
    from stages.order import order_note
    from stream.options.settings import given_config
    from stream.run.lifecycle import start

    persons = None if person_masks is None else Path(person_masks)
    config = given_config(source, Path(masks), persons, Path(pose_file), options, out)
    for folder, suffix in ((masks, ".png"), (person_masks, ".png"), (pose_file, ".json"), (pose_file, ".png")):
        note = None if folder is None else order_note(Path(folder), suffix)
        if note is not None:
            say(f"note: {note}", err=True)
    return carry_out(lambda listener: start(config, out, overwrite, listener), as_json)


def _variations(source: str, file: str, out: Path, as_json: bool) -> int:
    """Make all variations; returns the exit code: of the first that failed, else 1 where a gate did."""
    from stream.cli.files import read_variations, write_options
    from stream.options.recorded import read_run
    from stream.report.gallery import write_gallery
    from stream.run.children import SKATE, argument, continued_by_itself, whole_code
    from stream.run.variations import Workers

    context = click.get_current_context()
    wanted = read_variations(file, context.command)
    read_run(run_path(source))  # a RUN, or told so
    servers = context.params["server"] or ()
    with TemporaryDirectory(prefix="skate-variations-") as folder:
        common = str(Path(folder) / "common.toml")
        write_options(common, context, f"--variations {file}", without=("out",))  # each has a folder of its own
        command = [*SKATE, "generate", argument(source), "--config", common]
        with continued_by_itself():
            made = Workers(command, servers, partial(tell_line, "variation", as_json)).make(wanted, out)
    failed = {each.name: each.message for each in made if each.done is None}
    page = write_gallery(out, [each.name for each in made], failed)
    if as_json:
        ends = {each.name: each.done for each in made if each.done is not None}
        say(json.dumps({"event": "done", "variations": ends, "failed": failed, "page": str(page)}))
    else:
        for each in made:
            gate = None if each.done is None else each.done["gate"] or "none"
            told = each.message if each.done is None else f"gate {gate}, {each.done['seconds']:.0f} s"
            say(f"{each.name:<16} {told}")
        say(f"page     {page}")
    return whole_code(each.code for each in made)


def tell_line(kind: str, as_json: bool, name: str, line: str) -> None:
    """Tell a line of a process of that name and kind ("variation"): JSON of a window, or a note."""
    try:
        event = json.loads(line)
    except ValueError:
        event = None
    if not isinstance(event, dict):
        say(f"{name}: {line}", err=True)
    elif as_json:
        say(json.dumps({kind: name, **event}))
    elif event.get("event") == "window":
        first, stop = event["frames"]
        say(f"{name}: {event['stage']} window {event['index'] + 1}: frames {first}..{stop}", err=True)


def _from_run(source: str, out: Path, options: dict[str, Any], overwrite: bool, as_json: bool) -> int:
    from stream.run.variation import generate_from_run

    chosen = chosen_anew(source, options)
    return carry_out(lambda listener: generate_from_run(run_path(source), out, chosen, overwrite, listener), as_json)


def chosen_anew(source: str, options: dict[str, Any]) -> dict[str, Any]:
    """Of the options of the current command those that were given, to generate from a run.

    Raises:
        UsageError: for one that stays as tracking had it.
    """
    chosen = {name: value for name, value in options.items() if was_given(name)}
    if set(chosen) & {"max_fetch", "fetch_timeout"}:
        raise UsageError(f"--max-fetch and --fetch-timeout are for a VIDEO by address, {source} is a run directory")
    fixed = sorted(set(chosen) & {"window", "overlap", "sam", "sam_config", "device", "hdr", "on_cut", "cuts"})
    if fixed:
        raise UsageError(f"--{fixed[0].replace('_', '-')}: stays as in {source}, whose tracking is used again")
    return chosen
