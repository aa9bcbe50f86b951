"""What is pointed at in the video's own pixels, in those of the frames that are worked on (`--work-height`)."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, TypeVar

from stages.prompts import Box, Pointing
from stages.subjects import Subject
from storage.errors import UsageError
from stream.options.config import RunConfig

P = TypeVar("P", bound=Pointing)


def source_size(video: Mapping[str, Any]) -> tuple[int, int]:
    """(width, height) of a video's upright pictures, which its frames may be reduced from."""
    width, height = video.get("source") or (video["width"], video["height"])
    return int(width), int(height)


def frame_size(video: Mapping[str, Any]) -> tuple[int, int]:
    """(width, height) of a video's frames."""
    return int(video["width"]), int(video["height"])


def given_in_pixels(config: RunConfig) -> bool:
    """Whether masks are given, which are of the video's size: then every frame is."""
    subjects = config.scene or ()
    pointed = (config.prompt, *config.correct, *config.correct_person, *(one.prompt for one in subjects))
    corrections = (each for one in subjects for each in one.corrections)
    masks = (each.mask_png for each in (*pointed, *corrections) if each is not None)
    return config.chain == "given" or any(mask is not None for mask in masks)


def at_work(config: RunConfig, video: Mapping[str, Any]) -> RunConfig:
    """The config with its boxes and points in pixels of the frames.

    Args:
        video: its properties (`run.json`).

    Raises:
        UsageError: when a mask points at something: it is of the video's size.
    """
    source = video.get("source")
    if source is None:
        return config
    across, down = video["width"] / source[0], video["height"] / source[1]

    def box(given: Box) -> Box:
        x1, y1, x2, y2 = given
        return x1 * across, y1 * down, x2 * across, y2 * down

    def places(given: tuple[tuple[float, float, int], ...]) -> tuple[tuple[float, float, int], ...]:
        return tuple((x * across, y * down, label) for x, y, label in given)

    def pointed(given: P) -> P:
        if given.mask_png is not None:
            raise UsageError(f"--work-height: {given.mask_png} is of the video's size: give a box or points instead")
        return replace(given, box=None if given.box is None else box(given.box), points=places(given.points))

    def subject(given: Subject) -> Subject:
        prompt = None if given.prompt is None else pointed(given.prompt)
        return replace(given, prompt=prompt, corrections=tuple(map(pointed, given.corrections)))

    return replace(
        config,
        prompt=None if config.prompt is None else pointed(config.prompt),
        correct=tuple(map(pointed, config.correct)),
        correct_person=tuple(map(pointed, config.correct_person)),
        person_box=None if config.person_box is None else box(config.person_box),
        scene=None if config.scene is None else tuple(map(subject, config.scene)),
        view=config.view if isinstance(config.view, str) else box(config.view),
    )
