"""Masks that a generated video is judged by: those of a folder or a video, or an export with its metadata."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path
from tokenize import TokenError
from typing import Annotated, Any, TypeVar

import numpy as np
from msgspec import Meta, Struct

from stages.base import Array
from stages.given import first_prompt
from stages.order import frame_files
from stages.prompts import Correction, ObjectPrompt, Pointing
from stages.subjects import OBJECT
from storage.boundary import parse, read_input
from storage.errors import InputError, UsageError
from storage.spans import Span
from stream.options.config import RunConfig
from stream.report.export import VIEWS

P = TypeVar("P", bound=Pointing)


@dataclass(frozen=True)
class Reference:
    """Masks of the source's object and what is needed to track it again.

    Attributes:
        masks: a folder of PNGs in order of the numbers in their names, or a video; white (>= 128) is the object.
        prompt, corrections: as the source was tracked with.
        untracked: half-open spans without a tracked object.
        frames: how many there must be, None where it is not known beforehand.
        views: [T, 2, 3] float64, what the source was tracked through; None: the whole frame.
    """

    masks: Path
    prompt: ObjectPrompt
    corrections: tuple[Correction, ...] = ()
    untracked: tuple[tuple[int, int], ...] = ()
    frames: int | None = None
    views: Array | None = None


Frame = Annotated[int, Meta(ge=0, le=10**9)]


class Length(Struct, frozen=True):
    """Frames of the clip."""

    frames: Frame


class Metadata(Struct, frozen=True):
    """What is read of `tracking_metadata.json`; the config is checked by `RunConfig`. Untracked are half-open spans by
    subject."""

    config: dict[str, Any]
    untracked: dict[str, list[tuple[Frame, Frame]]]
    video: Length


def read_reference(metadata: Path) -> tuple[Reference, RunConfig]:
    """The reference, and the config with the models, of an exported `tracking_metadata.json`; the masks lie beside it.

    Raises:
        InputError: when the file is not what `skate export` writes.
    """
    what, remedy = f"--metadata {metadata}: is not what `skate export` wrote", "give its tracking_metadata.json"
    text = read_input(metadata, f"--metadata {metadata}", "give an export's tracking_metadata.json")
    found = parse(text, Metadata, what, InputError, remedy)
    try:
        config = RunConfig.from_json(found.config, f"{what}: config")
    except UsageError as error:
        raise InputError(f"{what}: config: {error}") from error
    prompt = config.prompt
    if prompt is None:
        names = ", ".join(subject.name for subject in config.subjects)
        raise InputError(
            f"--metadata {metadata}: is of a scene, whose subjects are judged one at a time from an export: give "
            f"--original {metadata.parent / 'mask_NAME'} in its place, NAME one of {names}"
        )
    if OBJECT not in found.untracked:
        raise InputError(f"{what}: untracked: lacks '{OBJECT}': {remedy}")

    def beside(given: P) -> P:  # masks are named as they lie beside the metadata, wherever both are now
        here = None if given.mask_png is None else str((metadata.parent / given.mask_png).resolve())
        return replace(given, mask_png=here)

    config = replace(config, prompt=beside(prompt), correct=tuple(map(beside, config.correct)))
    masks, untracked = metadata.parent / "mask_skateboard", tuple(found.untracked[OBJECT])
    views = read_views(metadata.parent / VIEWS, found.video.frames) if config.track_view != "full" else None
    return Reference(masks, beside(prompt), config.correct, untracked, found.video.frames, views), config


def read_views(path: Path, frames: int) -> Array:
    """The views that an export's object was tracked through, `[frames, 2, 3]` float64.

    Raises:
        InputError: when they are not there, or not what `skate export` writes.
    """
    try:
        file = BytesIO(read_input(path, str(path), "export the run again"))
        np.lib.format.read_magic(file)
        shape, _, dtype = np.lib.format.read_array_header_1_0(file)  # before anything of this size is made
        if shape != (frames, 2, 3) or dtype != np.float64:
            raise InputError(f"{path}: holds {dtype} {shape}, not {frames} views: export the run again")
        file.seek(0)
        views: Array = np.load(file, allow_pickle=False)
    except (ValueError, EOFError, TokenError) as error:
        raise InputError(f"{path}: is no array of views: export the run again") from error
    if not np.isfinite(views).all():
        raise InputError(f"{path}: holds numbers that are none: export the run again")
    return views


def count_masks(reference: Reference) -> int | None:
    """How many masks there are, None where only reading them tells.

    Raises:
        InputError: when files of an export are missing.
    """
    if not reference.masks.is_dir():
        return reference.frames
    count = len(frame_files(reference.masks, ".png"))
    if reference.frames not in (None, count):
        raise InputError(
            f"{reference.masks}: holds {count} masks, the metadata is of {reference.frames} frames: export it again"
        )
    return count


def cut(reference: Reference, frames: Span, tell: Callable[[str], None]) -> Reference:
    """The reference of these frames alone, counted from the first of them."""
    start, stop = frames
    prompt = reference.prompt
    if not start <= prompt.frame < stop:
        prompt = first_prompt(reference.masks, option="masks", first=start, stop=stop)
        tell(f"frame {reference.prompt.frame} of the prompt is not among these: {prompt_text(prompt)}")
    prompt = replace(prompt, frame=prompt.frame - start)
    corrections = [replace(item, frame=item.frame - start) for item in reference.corrections if item.frame < stop]
    clipped = [(max(a, start) - start, min(b, stop) - start) for a, b in reference.untracked]
    return replace(
        reference,
        prompt=prompt,
        corrections=tuple(item for item in corrections if item.frame > prompt.frame),
        untracked=tuple(span for span in clipped if span[0] < span[1]),
        frames=frames.frames,
        views=None if reference.views is None else reference.views[start:stop],
    )


def prompt_text(prompt: ObjectPrompt) -> str:
    """How the object was found that nobody pointed at."""
    box = ",".join(f"{value:g}" for value in prompt.box or ())
    return f"tracked from the box {box} around the first mask that is not empty, of frame {prompt.frame}"
