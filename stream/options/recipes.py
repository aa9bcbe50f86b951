"""What a run takes over from its recipe where nothing else is asked for: windows, and how the region is filled."""

from typing import TYPE_CHECKING, Any

from stages.generators import default_generator
from stages.region import REMOVE
from storage.errors import UsageError

if TYPE_CHECKING:
    from stages.recipes.recipe import Family
    from stages.recipes.registry import Wanted

WITHOUT: dict[str, Any] = {
    "window": 81,
    "overlap": 21,
    "pose_style": "vace",
    "object_guide": "scribble",
    "fill": "",
    "region": "tight",
}
"""By option, for runs whose generator is no recipe."""
ALONE = ("workflow", "profile", "model", "lora", "upscale", "comfy-output")
"""Options that only a generator on a server has."""


def wanted(given: dict[str, Any]) -> "Wanted":
    """What of a generator the options ask for."""
    from stages.recipes.registry import Wanted

    return Wanted(
        given.get("workflow"),
        given.get("reference") is not None,
        tuple(given.get("model") or ()),
        tuple(given.get("lora") or ()),
        given.get("profile"),
        given.get("object_guide") == "depth",
        given.get("upscale"),
    )


def settle(given: dict[str, Any], family: "Family | None" = None) -> None:
    """Fill in, in place, what was left open: None.

    Args:
        given: options by parameter; those that are not in it are left out.
        family: of the generator; None where it is no recipe.
    """
    if "model" in given:
        given["model"] = given["model"] or ()
    for name, plain in WITHOUT.items():
        if name not in given or given[name] is not None:
            continue
        if family is None:
            given[name] = plain
        else:
            given[name] = family.frames if name == "window" else getattr(family, name)


def check_family(named: str, family: "Family", given: dict[str, Any]) -> None:
    """Refuse windows, a size and a choice of what is regenerated that the model does not know.

    Raises:
        UsageError: with what to give instead.
    """
    from stages.recipes.registry import RECIPES
    from stages.vace.sizes import check_size

    if given.get("window") is not None:
        family.check_window(named, given["window"], given.get("overlap") or 0)
    if given.get("size") is not None:
        check_size(given["size"], family.geometry.size_step)
    removing = given.get("reskin") == REMOVE
    if family.removes and not removing:
        raise UsageError(f"--workflow {named} makes nothing new: it is for --reskin {REMOVE}")
    if removing and not family.removes:
        can = next(recipe.name for recipe in RECIPES.values() if recipe.family.removes)
        raise UsageError(
            f"--reskin {REMOVE}: {named} draws the subjects anew: give --workflow {can}, or --generator "
            f"{default_generator(False, removing=True)} without --server and --workflow"
        )
    if not family.objects and given.get("reskin") == "object":
        raise UsageError(f"--reskin object: {named} makes persons alone: give --reskin person, or another --workflow")
