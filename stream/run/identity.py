"""What a run is: its config and the identities of all that it works from, and whether they fit together."""

import dataclasses
import hashlib
import json
import os
from pathlib import Path
from typing import Any

from stages.decode import DecodeStage
from stages.given import check_first, file_counts
from stages.sam.prompts import PromptSchedule
from storage.boundary import open_regular
from storage.durable import file_sha256
from storage.errors import InputError
from storage.rundir import FORMAT_VERSION, Manifest
from stream.engine.source import InputGuard
from stream.options.assembly import Models, decode_config
from stream.options.config import RunConfig
from stream.options.differences import config_digest
from stream.options.picturing import view_size
from stream.options.versions import versions
from stream.options.working import source_size


def make_manifest(config: RunConfig, models: Models, guard: InputGuard) -> Manifest:
    """What `run.json` holds: config, digest, identities of input and models, the video's properties, versions."""
    decisive: dict[str, tuple[str, Any]] = dict(config.decisive())
    decisive["input"] = ("decode", {"bytes": guard.bytes, "sha256": guard.sha256})
    decisive |= models.decisive()
    if config.reference is not None:
        decisive["reference"] = ("generate", _file_digest("--reference", config.reference))
    if config.workflow is not None:
        from stages.recipes.registry import workflow_file

        decisive["workflow"] = ("generate", _file_digest("--workflow", str(workflow_file(config.workflow))))
    if config.amodal is not None:
        from stages.completion import completing_file

        decisive["amodal workflow"] = ("occlusion", _file_digest("--amodal", str(completing_file(config.amodal))))
    if config.chain == "given":
        decisive["given masks"] = ("track", _tree_digest("--masks", str(config.masks)))
        if config.person_masks is not None:
            decisive["given person masks"] = ("track", _tree_digest("--person-masks", config.person_masks))
        decisive["given pose"] = ("pose", _tree_digest("--pose", str(config.pose_file)))
    with DecodeStage(decode_config(config)) as decode:
        properties = dataclasses.asdict(decode.properties)
    if config.has_view:
        size = view_size(config, (properties["width"], properties["height"]))
        decisive["view's picture"] = ("aim", {"size": size, "reskin": config.reskin})
    if config.keeps_plates:
        decisive["plates"] = ("motion", True)
    decisive = json.loads(json.dumps(decisive))
    return {
        "format": FORMAT_VERSION,
        "config": config.to_json(),
        "config_digest": config_digest(decisive),
        "decisive": decisive,
        "video": json.loads(json.dumps(properties)),
        "versions": versions(),
    }


def check_prompts(config: RunConfig, manifest: Manifest) -> None:
    """Refuse prompts that do not fit the frame before anything is written or loaded."""
    width, height = source_size(manifest["video"])
    given = config.given
    if given is not None:  # first: the prompt comes from them
        check_first(*given[:2], (width, height), config.max_pixels)
    for schedule in schedules(config):
        schedule.check_inside(height, width)


def schedules(config: RunConfig) -> list[PromptSchedule]:
    """Of every subject that is pointed at."""
    found = (PromptSchedule.of(subject, config.scene is not None) for subject in config.subjects)
    return [schedule for schedule in found if schedule is not None]


def check_length(config: RunConfig, frames: int) -> None:
    """Refuse what does not fit a clip that is decoded to its end already."""
    for schedule in schedules(config):
        schedule.check_length(frames)
    given = config.given
    for option, count in file_counts(*given).items() if given else ():
        if count != frames:
            raise InputError(f"{option}: has {count} files, the clip has {frames} frames: give one a frame")


def _file_digest(option: str, path: str) -> str:
    try:
        open_regular(Path(path)).close()  # a pipe or a device would have no end
        return file_sha256(Path(path))
    except OSError as error:
        raise InputError(f"{option} {path}: cannot be read ({error.strerror})") from error


def _tree_digest(option: str, path: str) -> str:
    """One digest over a file, or over the names and contents of a folder's files."""
    if not Path(path).is_dir():
        return _file_digest(option, path)
    total = hashlib.sha256()
    for file in sorted(Path(path).iterdir()):
        if file.is_file():
            total.update(os.fsencode(file.name) + f" {_file_digest(option, str(file))}\n".encode())
    return total.hexdigest()
