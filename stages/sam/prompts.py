"""The user's prompts, checked against the clip and brought into the form the predictor takes."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

from stages.base import Array
from stages.picture import WHITE, read_mask
from stages.prompts import Box, Correction, ObjectPrompt, Pointing, check_box, check_box_inside
from stages.subjects import OBJECT, PERSON, Subject
from storage.boundary import read_input
from storage.errors import InputError, UsageError


@dataclass(frozen=True)
class Words:
    """How the parts of a prompt are called where they were given; `correct` has the frame behind it."""

    box: str = "--box"
    point: str = "--point"
    mask: str = "--object-mask"
    frame: str = "--prompt-frame"
    correct: str = "--correct"


def words_of(subject: Subject, scene: bool = False) -> Words:
    """The options' names for the two that the options make, the scene file's for all others.

    Args:
        scene: whether a scene file says who there is; it may use these two names as well.
    """
    if subject.name == OBJECT and not scene:
        return Words()
    if subject.name == PERSON and not scene:
        return Words(box="--person-box")
    who = f"subject '{subject.name}':"
    return Words(f"{who} box", f"{who} point", f"{who} mask", f"{who} frame", f"{who} correction on frame")


@dataclass(frozen=True)
class SamPrompt:
    """One prompt of one object on one frame: exactly one of a box (x1, y1, x2, y2 px), points (x, y, label) or a
    `[H, W] bool` mask."""

    box: Box | None = None
    points: tuple[tuple[float, float, int], ...] = ()
    mask: Array | None = None


@dataclass(frozen=True)
class PromptSchedule:
    """A subject's prompt and its corrections.

    A correction at F means: tracked to F-1, the box given on the still untracked frame F, continued from F.

    Raises:
        UsageError: for what cannot be, whatever the clip.
    """

    prompt: ObjectPrompt
    corrections: tuple[Correction, ...] = ()
    words: Words = Words()

    def __post_init__(self) -> None:
        labels = [label for _, _, label in self.prompt.points]
        if any(label not in (0, 1) for label in labels):
            raise UsageError(f"{self.words.point} labels are 1 (on the object) or 0 (not on it), got {labels}")
        if labels and 1 not in labels:
            raise UsageError(f"{self.words.point}: at least one point must lie on the object (label 1)")
        seen = {self.prompt.frame}
        for correction in self.corrections:
            told = f"{self.words.correct} {correction.frame}:"
            if correction.box is not None:
                check_box(told, correction.box)
            elif correction.points and 1 not in [label for _, _, label in correction.points]:
                raise UsageError(f"{told} at least one point must lie on it (+x,y)")
            if correction.frame < self.prompt.frame:
                raise UsageError(f"{told} before the prompt frame {self.prompt.frame}, where tracking begins")
            if correction.frame in seen:
                raise UsageError(f"{told} that frame already has a prompt: give one a frame")
            seen.add(correction.frame)

    @classmethod
    def of(cls, subject: Subject, scene: bool = False) -> Self | None:
        """The schedule of a subject; None: nobody points at it. `scene` as in `words_of`."""
        return None if subject.prompt is None else cls(subject.prompt, subject.corrections, words_of(subject, scene))

    def boxes(self) -> list[tuple[str, Box]]:
        """Every box with the option it came from."""
        first = [(self.words.box, self.prompt.box)] if self.prompt.box is not None else []
        later = [(f"{self.words.correct} {c.frame}:", c.box) for c in self.corrections]
        return first + [(told, box) for told, box in later if box is not None]

    def points(self) -> list[tuple[str, float, float]]:
        """Every point with the option it came from."""
        first = [(self.words.point, x, y) for x, y, _ in self.prompt.points]
        return first + [(f"{self.words.correct} {c.frame}:", x, y) for c in self.corrections for x, y, _ in c.points]

    def check_inside(self, height: int, width: int) -> None:
        """Refuse prompts that do not lie on the upright frame, and an unusable mask.

        Raises:
            InputError: naming the option, its value and the frame's size.
        """
        for option, box in self.boxes():
            check_box_inside(option, box, width, height)
        for option, x, y in self.points():
            if not (0 <= x <= width and 0 <= y <= height):
                raise InputError(
                    f"{option} {x:g},{y:g} lies outside the {width}x{height} frame: "
                    "read the point from `skate frame VIDEO --at N --to PNG`"
                )
        for pointing in (self.prompt, *self.corrections):
            if pointing.mask_png is not None:
                self._mask(pointing, height, width)

    def check_length(self, clip_frames: int) -> None:
        """Refuse prompts past the clip's end.

        Raises:
            InputError: naming the option, its frame and the clip's length.
        """
        if self.prompt.frame >= clip_frames:
            raise InputError(
                f"{self.words.frame} {self.prompt.frame} is past the end: "
                f"the clip has {clip_frames} frames, 0 to {clip_frames - 1}"
            )
        for correction in self.corrections:
            if correction.frame >= clip_frames:
                raise InputError(
                    f"{self.words.correct} {correction.frame} is past the end: "
                    f"the clip has {clip_frames} frames, 0 to {clip_frames - 1}"
                )

    def at(self, frame: int, height: int, width: int) -> SamPrompt | None:
        """The prompt that applies on this frame, if any.

        Raises:
            InputError: it is a mask that is unusable.
        """
        for pointing in (self.prompt, *self.corrections):
            if pointing.frame == frame:
                mask = None if pointing.mask_png is None else self._mask(pointing, height, width)
                return SamPrompt(pointing.box, pointing.points, mask)
        return None

    def _mask(self, pointing: Pointing, height: int, width: int) -> Array:
        assert pointing.mask_png is not None
        told = self.words.mask if pointing is self.prompt else f"{self.words.correct} {pointing.frame}: mask"
        return load_mask(pointing.mask_png, pointing.mask_digest, height, width, told)


def load_mask(path: str, digest: str | None, height: int, width: int, option: str = "--object-mask") -> Array:
    """A PNG as `[H, W] bool`, True where it is white (>= 128).

    Raises:
        InputError: when it cannot be read, has another size, is empty, or is not the file the run was begun with.
    """
    what = f"{option} {path}"
    content = read_input(path, what)
    found = hashlib.sha256(content).hexdigest()
    if digest is not None and found != digest:
        raise InputError(f"{what} has sha256 {found}, the run was begun with {digest}: put the old file back")
    needed = f"give a mask of the upright frame's size, {width}x{height}"
    mask = read_mask(content, what, height * width, needed)
    if mask.shape != (height, width):
        raise InputError(f"{what} is {mask.shape[1]}x{mask.shape[0]}: {needed}")
    if not mask.any():
        raise InputError(f"{what} is empty: it has no pixel of {WHITE} or more")
    return mask


def point_arrays(points: Sequence[tuple[float, float, int]]) -> tuple[Array, Array]:
    """`[P, 2] float32` coordinates in pixels and `[P] int32` labels."""
    return (
        np.array([(x, y) for x, y, _ in points], dtype=np.float32).reshape(-1, 2),
        np.array([label for _, _, label in points], dtype=np.int32),
    )
