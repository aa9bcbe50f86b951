"""The recipes by name, and what a `--workflow` comes to: a recipe, or a file of the user's own."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from stages.choices import PROFILES
from stages.recipes.animate import ANIMATE_RECIPES
from stages.recipes.cogvideox import COGVIDEOX_RECIPES
from stages.recipes.recipe import Family, Lora, Recipe
from stages.recipes.scail import SCAIL_RECIPES
from stages.recipes.vace import VACE_RECIPES
from stages.recipes.void import VOID_RECIPES
from stages.server.edit import (
    model_files,
    with_depth,
    with_loras,
    with_models,
    with_reference,
    with_settings,
    with_upscale,
)
from stages.server.graph import Graph, titled
from stages.server.workflow import Workflow, load_workflow
from storage.errors import InputError, UsageError

ALL = (*VACE_RECIPES, *ANIMATE_RECIPES, *SCAIL_RECIPES, *COGVIDEOX_RECIPES, *VOID_RECIPES)
RECIPES = {item.name: item for item in ALL}
DEFAULT = "vace"
FINDING, COMPLETING = "sam3-detect", "amodal-vace"
HELPERS = {
    FINDING: "finds what --find says on single pictures; it generates nothing",
    COMPLETING: "paints what others hide of a subject and gives its mask (--amodal); its pictures are not kept",
}
"""Graphs that are no generator's, and what they do."""
FAMILIES = {item.family.name: item.family for item in RECIPES.values()}


@dataclass(frozen=True)
class Wanted:
    """What of a generator was asked for.

    Attributes:
        workflow: a recipe's name, or a file; None: the default recipe.
        reference: whether there is a picture of the new look.
        models: files in place of the graph's. loras: beside what a profile brings.
        profile: None leaves the graph's settings.
        depth: whether the server is to make a depth map of the object.
        upscale: a model that enlarges the pictures in the end.
    """

    workflow: str | None = None
    reference: bool = False
    models: tuple[str, ...] = ()
    loras: tuple[Lora, ...] = ()
    profile: str | None = None
    depth: bool = False
    upscale: str | None = None


@dataclass(frozen=True)
class Chosen:
    """A recipe and its graph, with the files and settings that were asked for."""

    recipe: Recipe
    family: Family
    workflow: Workflow


def graph_file(name: str) -> Path:
    """The graph of a recipe, in an installed package or in the source tree."""
    here = Path(__file__).resolve().parent.parent
    for folder in (here / "workflows", here.parent / "workflows"):
        if (folder / f"{name}.json").is_file():
            return folder / f"{name}.json"
    raise InputError(f"workflow {name} is not among those that come with skate: {', '.join(RECIPES)}")


def helper_graph(name: str) -> Graph:
    """The graph of one of the `HELPERS`."""
    found: Graph = json.loads(graph_file(name).read_text(encoding="utf-8"))
    return found


def workflow_file(workflow: str) -> Path:
    """The file of a recipe's graph, or the one that is named."""
    return graph_file(workflow) if workflow in RECIPES else Path(workflow)


def own_workflow(path: str) -> Chosen:
    """A file of the user's own, as a recipe without profiles.

    Raises:
        InputError: it is none that can be filled in.
    """
    if "/" not in path and "." not in path and not Path(path).exists():
        raise InputError(f"--workflow {path}: is neither a recipe ({', '.join(RECIPES)}) nor a file: give one of them")
    workflow = load_workflow(Path(path))
    family = FAMILIES[workflow.points.wiring.family]
    takes = "taken" if "reference" in workflow.points.loaders else "none"
    return Chosen(Recipe(path, "a workflow of one's own", family, "", takes), family, workflow)


def plain(workflow: str | None) -> Chosen:
    """A recipe or a file as it is.

    Raises:
        InputError: as `own_workflow`.
    """
    name = workflow or DEFAULT
    if name not in RECIPES:
        return own_workflow(name)
    recipe = RECIPES[name]
    return Chosen(recipe, recipe.family, load_workflow(graph_file(name), name))


def choose(wanted: Wanted) -> Chosen:
    """What was asked for, with its files, settings and reference in the graph.

    Raises:
        UsageError: a profile that it does not have, or another number of models than it loads.
        InputError: the file is unusable, or takes a reference and gets none, or the other way round.
    """
    found = plain(wanted.workflow)
    recipe, workflow = found.recipe, found.workflow
    _check_reference(recipe, workflow, wanted.reference)
    if wanted.reference:
        workflow = with_reference(workflow)
    if wanted.depth:
        workflow = with_depth(workflow)
    workflow = with_models(workflow, wanted.models)
    if wanted.profile is not None:
        if recipe.name not in RECIPES:
            named = ", ".join(PROFILES)
            raise UsageError(f"--profile {wanted.profile}: {recipe.name} is a file: {named} are of the recipes alone")
        workflow = with_settings(workflow, recipe.settings(wanted.profile))
    workflow = with_loras(workflow, wanted.loras)
    if wanted.upscale is not None:
        workflow = with_upscale(workflow, wanted.upscale)
    return Chosen(recipe, recipe.shown(wanted.models), workflow)


def _check_reference(recipe: Recipe, workflow: Workflow, given: bool) -> None:
    if given and "reference" not in workflow.points.wiring.takes:
        raise InputError(f"--reference: {recipe.name} takes no picture of the new look: leave it out")
    if given and recipe.name not in RECIPES and "reference" not in workflow.points.loaders:
        raise InputError(f"--reference: {recipe.name} has no LoadImage that feeds reference_image: see workflows/")
    if not given and (recipe.reference == "needed" or titled(workflow.graph, "skate reference")):
        raise InputError(f"--workflow {recipe.name} takes a reference image: give --reference IMAGE")


def own_text(workflow: Workflow) -> bool:
    """Whether a workflow says itself what to make: its positive text is neither empty nor the packaged graphs'.

    Text that another node makes, or that stands in a node that is not known, is its own.
    """
    if workflow.points.prompt is None:
        return True
    at, packaged = workflow.points.prompt, load_workflow(graph_file(DEFAULT))
    assert packaged.points.prompt is not None
    ours = packaged.graph[packaged.points.prompt[0]]["inputs"][packaged.points.prompt[1]]
    return workflow.graph[at[0]]["inputs"].get(at[1]) not in ("", None, ours)


def files_of(name: str, profiles: Sequence[str] = ()) -> list[str]:
    """The model files that the graph of a recipe or a helper names, and those of these profiles' LoRAs."""
    if name in HELPERS:
        return model_files(helper_graph(name))
    recipe = RECIPES[name]
    files = model_files(load_workflow(graph_file(name)).graph)
    loras = [lora.file for profile in profiles if profile in recipe.profiles for lora in recipe.profiles[profile].loras]
    return list(dict.fromkeys([*files, *loras]))
