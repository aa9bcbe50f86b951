"""`skate analyse`: look through a clip, and write the scene that follows from it."""

import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from stages.decode import DecodeConfig
from stages.models.registry import check_content, resolve
from stages.poses.models import PoseModels
from storage.durable import write_atomic
from storage.errors import EnvironmentFault, InputError
from stream.analyse.propose import Proposal, camera_json, facts, propose
from stream.analyse.survey import Survey, survey
from stream.engine.windows import WindowPlan
from stream.options.scene import FORMS, write_scene
from stream.options.settings import resolve_device


@dataclass(frozen=True)
class Analysis:
    """What was found and written.

    Attributes:
        scene: the file. thumbnails: pictures of the persons by name.
    """

    scene: Path
    found: Survey
    proposal: Proposal
    thumbnails: dict[str, Path]
    resampled: float | None

    def to_json(self) -> dict[str, Any]:
        """The last line with `--json`."""
        found = self.found
        subjects = {subject.name: subject for subject in self.proposal.cast.subjects}
        persons = []
        for name, trace in self.proposal.people.items():
            prompt = subjects[name].prompt
            assert prompt is not None
            persons.append({
                "name": name, "frame": prompt.frame, "box": prompt.box, "sightings": len(trace.seen),
                "frames": [trace.seen[0].frame, trace.last.frame + 1], "thumbnail": str(self.thumbnails[name]),
            })  # fmt: skip
        return {
            "event": "done", "scene": str(self.scene), "size": list(found.size), "frames": found.frames,
            "fps": found.fps, "even": found.even, "shots": [list(shot) for shot in found.shots],
            "windows": WindowPlan().count(found.frames, found.cuts),
            "camera": [camera_json(camera) for camera in found.cameras], "persons": persons,
            "unsure": self.proposal.unsure,
        }  # fmt: skip

    def lines(self) -> list[str]:
        """For a person."""
        rows = facts(self.found, self.resampled)
        for subject in self.proposal.cast.subjects:
            trace = self.proposal.people[subject.name]
            told = f"{len(trace.seen)} sights, frames {trace.seen[0].frame} to {trace.last.frame}"
            rows.append(f"{subject.name:<8} {told}; {self.thumbnails[subject.name]}")
        rows += [f"unsure   {sentence}" for sentence in self.proposal.unsure]
        return [*rows, f"scene    {self.scene}"]


def check_target(target: Path, overwrite: bool) -> None:
    """Refuse a scene file that cannot be written before hours are spent.

    Raises:
        InputError: with what to give.
    """
    if target.suffix.lower() not in FORMS:
        raise InputError(f"--to {target}: is neither {' nor '.join(FORMS)} by its name: rename it")
    if target.exists() and not overwrite:
        raise InputError(f"--to {target}: is there already: give another name, or --overwrite")
    if not target.parent.is_dir():
        raise InputError(f"--to {target}: there is no folder {target.parent}: make it first")


def analyse(
    config: DecodeConfig,
    target: Path,
    detector: str,
    device: str = "auto",
    every: int = 4,
    seen: Callable[[int], None] = lambda frames: None,
) -> Analysis:
    """Look through the clip and write its scene, with pictures of the persons in a folder beside it.

    Args:
        target: the scene file to write. detector: of persons, a name or a path. device: "auto", "cpu" or "cuda".
        every: frames from one detection to the next. seen: told how many frames were looked at.

    Raises:
        InputError: the video cannot be used, or the file not be written. EnvironmentFault: no such model or device.
    """
    model = check_content(resolve("detector", detector))
    models = PoseModels("", str(model.path), resolve_device(device), detector_input=model.input_size)
    found = survey(config, models, every, seen)
    proposal = propose(found, config.path, detector, config.fps)
    folder = target.with_name(f"{target.stem}-persons")
    with _writing(folder):
        thumbnails = _write_thumbnails(folder, proposal)
    write_scene(target, proposal.cast, "--to", proposal.remarks)
    with _writing(folder):
        for old in set(folder.glob("person-*.png")) - set(thumbnails.values()):  # of what was there before
            old.unlink()
    return Analysis(target, found, proposal, thumbnails, config.fps)


@contextmanager
def _writing(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise EnvironmentFault(f"{folder}: {error.strerror}: choose a place that can be written") from error


def _write_thumbnails(folder: Path, proposal: Proposal) -> dict[str, Path]:
    """The pictures of the persons, each written whole or not at all."""
    written: dict[str, Path] = {}
    for name, trace in proposal.people.items():
        folder.mkdir(exist_ok=True)
        written[name] = folder / f"{name}.png"
        data = io.BytesIO()
        Image.fromarray(trace.thumbnail).save(data, format="PNG")
        write_atomic(written[name], data.getvalue())
    return written
