"""What an export says of a run without what is of this machine, and the masks that lie beside it."""

from pathlib import Path
from typing import Any

from stages.subjects import OBJECT, PERSON, Subject

PROMPT_MASK = "prompt_mask.png"  # of the plain options' object
SUBJECT_MASK = "prompt_mask_{}.png"  # of a scene's subject
CORRECTION_MASK = "correction_mask_{}_{}.png"  # on a frame, of a subject


def portable_config(config: dict[str, Any]) -> dict[str, Any]:
    """A run's config without what is of this machine: files by name, prompts' masks as they lie in the export."""
    names = ("video", "masks", "person_masks", "pose_file", "reference", "workflow", "amodal")
    files = {name: Path(config[name]).name for name in names if config.get(name)}
    found = {**config, **files, "prompt": _portable(config["prompt"], PROMPT_MASK), "server": []}
    found |= {
        key: [_portable(item, CORRECTION_MASK.format(item["frame"], name)) for item in config.get(key) or ()]
        for key, name in (("correct", OBJECT), ("correct_person", PERSON))
    }
    for reskin in found.get("reskins") or ():
        reskin["reference"] = reskin["reference"] and Path(reskin["reference"]).name
    for subject in found.get("scene") or ():
        name = subject["name"]
        subject["prompt"] = _portable(subject["prompt"], SUBJECT_MASK.format(name))
        subject["corrections"] = [
            _portable(item, CORRECTION_MASK.format(item["frame"], name)) for item in subject["corrections"]
        ]
    return found


def _portable(pointing: dict[str, Any] | None, mask: str) -> dict[str, Any] | None:
    return {**pointing, "mask_png": mask} if pointing is not None and pointing.get("mask_png") is not None else pointing


def given_masks(subject: Subject) -> dict[int | None, str]:
    """The masks that a subject is given by: of its corrections by frame, of its prompt by None."""
    found: dict[int | None, str] = {}
    for pointing in (subject.prompt, *subject.corrections):
        if pointing is not None and pointing.mask_png is not None:
            found[None if pointing is subject.prompt else pointing.frame] = pointing.mask_png
    return found
