"""`skate workflows`: list, show, check."""

import json
from typing import TYPE_CHECKING, Any

import click

from stages.choices import PROFILES
from storage.errors import InputError
from stream.cli.options import JSON, GroupedCommand, option, stack
from stream.cli.say import say, say_text
from stream.options.values import choice

if TYPE_CHECKING:
    from stages.recipes.recipe import Recipe
    from stages.recipes.registry import Chosen


@click.group("workflows")
def workflows() -> None:
    """The recipes that `--workflow` takes by name: how long their windows are, what their models are shown, how they
    sample, and which files they need.
    """


@workflows.command("list", cls=GroupedCommand, short_help="Every recipe: window, carried frames, sizes, models.")
@stack([JSON])
def list_command(as_json: bool) -> int:
    """Every recipe. Frames: of a window. Carried: frames of the window before that it takes as they are; `overlap`: all
    that two windows share. Step: of --size, pixels.
    """
    from stages.recipes.registry import COMPLETING, DEFAULT, FINDING, RECIPES
    from stream.report.tables import text_table

    if as_json:
        for recipe in RECIPES.values():
            say(json.dumps(_row(recipe)))
        return 0
    rows = []
    for recipe in RECIPES.values():
        family = recipe.family
        carried = "overlap" if family.geometry.carried is None else str(family.geometry.carried)
        name = recipe.name + ("*" if recipe.name == DEFAULT else "")
        rows.append([name, str(family.frames), carried, str(family.geometry.size_step), recipe.reference, recipe.about])
    say_text(text_table(["name", "frames", "carried", "step", "reference", ""], rows))
    say(f"{FINDING}: what --find asks, {COMPLETING}: what --amodal does; `show` and `check` know both too")
    return 0


def _row(recipe: "Recipe") -> dict[str, Any]:
    """The JSON object of a recipe; the keys are fixed."""
    from stages.recipes.registry import files_of, plain

    family = recipe.family
    return {
        "name": recipe.name,
        "frames": family.frames,
        "carried": family.geometry.carried,
        "size_step": family.geometry.size_step,
        "fps": family.geometry.fps,
        "models": files_of(recipe.name),
        "nodes": sorted({node["class_type"] for node in plain(recipe.name).workflow.graph.values()}),
        "licence": recipe.licence,
    }


@workflows.command("show", cls=GroupedCommand, short_help="One recipe: what goes where, settings, files.")
@click.argument("name", metavar="NAME|FILE")
@stack([option("output", "--graph", is_flag=True, help="The graph alone, in API format: to save and change.")])
def show_command(name: str, graph: bool) -> int:
    """A recipe, or what becomes of a workflow FILE: which node takes what, how it samples, which files it needs."""
    from stages.recipes.registry import HELPERS, helper_graph, plain

    helps = name in HELPERS
    if graph:
        say_text(json.dumps(helper_graph(name) if helps else plain(name).workflow.graph, indent=1))
        return 0
    for line in [f"{name}: {HELPERS[name]}", *_needs(name)] if helps else _shown(plain(name)):
        say(line)
    return 0


def _shown(chosen: "Chosen") -> list[str]:
    from stages.recipes.registry import RECIPES

    recipe, family, points = chosen.recipe, chosen.family, chosen.workflow.points
    nodes = chosen.workflow.graph
    most = "" if family.most is None else f", at most {family.most}"
    carried = (
        "as many as two windows share" if family.geometry.carried is None else f"at most {family.geometry.carried}"
    )
    lines = [
        f"{recipe.name}: {recipe.about}",
        f"windows    {family.frames} frames{most}; shared {family.overlap}; taken over as they are: {carried}",
        f"size       multiples of {family.geometry.size_step}; made for {family.geometry.fps:g} frames/s",
        f"reference  {recipe.reference}",
    ]
    for channel, node in points.loaders.items():
        lines.append(f"takes      {channel}: node {node} ({nodes[node]['class_type']})")
    texts = (("prompt", points.prompt), ("negative", points.negative))
    lines.append(f"gives      pictures: node {points.output} ({nodes[points.output]['class_type']})")
    values = [(key, points.seed[:0] if at is None else (at,)) for key, at in texts]
    for key, at in (*values, ("seed", points.seed), ("steps", points.steps), ("cfg", points.cfg)):
        where = ", ".join(f"node {node}, {name}" for node, name in at) or "no node takes it"
        lines.append(f"value      {key}: {where}")
    lines += [f"note       {note}" for note in chosen.workflow.notes]
    if recipe.name not in RECIPES:
        return lines
    for profile, settings in recipe.profiles.items():
        loras = "".join(f", {lora}" for lora in settings.loras)
        lines.append(f"profile    {profile}: {settings.steps} steps, cfg {settings.cfg:g}{loras} ({settings.source})")
    return [*lines, *_needs(recipe.name, PROFILES, recipe.packages)]


def _needs(name: str, profiles: tuple[str, ...] = (), packages: tuple[str, ...] = ()) -> list[str]:
    from stages.recipes.files import server_files
    from storage.sizes import format_size

    lines = []
    for file in server_files(name, profiles):
        size = "size not known" if file.size_bytes is None else format_size(file.size_bytes)
        lines.append(f"file       models/{file.file_name} ({size}, {file.licence})")
    lines += [f"nodes      of {package}" for package in packages]
    more = " [--profile fast]" if profiles else ""
    return [*lines, f"get them   skate models fetch --for {name} --comfy DIR{more}"]


@workflows.command("check", cls=GroupedCommand, short_help="Whether a server has a recipe's nodes and model files.")
@click.argument("name", metavar="NAME|FILE")
@stack(
    [
        option("server", "--server", required=True, metavar="HOST:PORT", help="The ComfyUI server."),
        option("server", "--profile", type=choice(*PROFILES), help="With the settings and LoRAs of this profile."),
        JSON,
    ]
)
def check_command(name: str, server: str, profile: str | None, as_json: bool) -> int:
    """Ask a server whether it can run a recipe or a workflow FILE: every missing node and model file, and the command
    that gets it. Exit 3 if something is missing, 5 if the server does not answer.
    """
    import threading

    from stages.recipes.registry import HELPERS, RECIPES, Wanted, choose, helper_graph, plain
    from stages.server.address import parse_server
    from stages.server.client import ComfyClient, Timeouts
    from stages.server.validate import graph_problems, missing_files

    if name in HELPERS:
        graph = helper_graph(name)
    else:
        own = plain(name)
        reference = own.recipe.reference == "needed" or "reference" in own.workflow.points.loaders
        graph = choose(Wanted(name, reference, profile=profile)).workflow.graph
    client = ComfyClient(parse_server(server), Timeouts(connect=5, request=30, patience=0), threading.Event())
    try:
        info = client.object_info()
    finally:
        client.close()
    found, files = graph_problems(graph, info), missing_files(graph, info)
    command = None
    if files and name in (*RECIPES, *HELPERS):
        command = f"skate models fetch --for {name} --comfy DIR" + ("" if profile is None else f" --profile {profile}")
    if as_json:
        told = {"name": name, "server": server, "missing": found, "files": files, "command": command}
        say(json.dumps({"event": "checked", **told}))
    for line in () if as_json else found:
        say(line)
    if found:
        remedy = f"for the files run `{command}` there" if command else "install what is named"
        raise InputError(f"{name} cannot run on ComfyUI at {server} ({len(found)} things are missing): {remedy}")
    if not as_json:
        say(f"ok: {server} has all nodes and model files of {name}")
    return 0
