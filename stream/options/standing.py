"""Files by paths that are right from any folder: a run may be gone on with from another than it was begun in."""

import dataclasses
from pathlib import Path
from typing import Any

from stream.options.config import RunConfig

_ALWAYS_FILES = ("video", "masks", "person_masks", "pose_file", "comfy_output")


def standing(options: dict[str, Any]) -> dict[str, Any]:
    """The options with their files by paths that are right from any folder: a run may be gone on with from another.

    What is a name stays one, and so does what is not there, for the line that says so.
    """
    from stages.models.table import MODELS
    from stages.recipes.registry import COMPLETING, RECIPES

    names = {kind: [model.name for model in MODELS if model.kind == kind] for kind in ("sam", "pose", "detector")}
    names |= {"workflow": [*RECIPES], "amodal": [COMPLETING], "reference": [], "sam_config": []}
    found = {option: options[option] for option in names if options.get(option) is not None}
    moved = {option: str(Path(text).absolute()) for option, text in found.items()
             if text not in names[option] and Path(text).is_file()}  # fmt: skip
    return {**options, **moved}


def standing_config(config: RunConfig) -> RunConfig:
    """The same of a whole config, its clip among them, as a run is begun with it."""
    values = vars(config)
    found = {name: str(Path(values[name]).absolute()) for name in _ALWAYS_FILES if values[name]}
    return dataclasses.replace(config, **{**standing(values), **found})
