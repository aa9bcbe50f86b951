"""Pose and masks made elsewhere, in the places of the pose and track stages.

Both read a folder or a file in step with the video, so memory stays flat and a resumed run skips to where it stands.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import ClassVar

import cv2
import numpy as np

from stages._picture import decode_picture
from stages._pose.openpose_read import read_poses
from stages._video.limits import DEFAULT_MAX_PIXELS, VideoLimits
from stages._video.plain import plain_frames
from stages.base import Array, Inputs, Json, Output, Stage, State, Window
from stages.prompts import Box, ObjectPrompt
from storage.errors import InputError

WHITE = 128  # from here on a pixel of a mask picture is the object


def read_masks(path: Path, max_pixels: int = DEFAULT_MAX_PIXELS) -> Iterator[Array]:
    """Masks `[H, W]` bool in order of frames: from a folder of PNGs in order of their names, or from a video.

    Raises:
        InputError: when there is nothing readable, or a mask of more than `max_pixels`.
    """
    if not path.is_dir():
        for frame in plain_frames(path, VideoLimits(max_pixels)):
            yield frame[..., 0] >= WHITE
        return
    files = sorted(path.glob("*.png"))
    if not files:
        raise InputError(f"{path}: has no PNG in it")
    for file in files:
        try:
            data = file.read_bytes()
        except OSError as error:
            raise InputError(f"{file}: cannot be read ({error.strerror})") from error
        mask = decode_picture(data, cv2.IMREAD_GRAYSCALE, str(file), max_pixels, "give masks of the video's size")
        if mask is None:
            raise InputError(f"{file}: cannot be read as a PNG")
        yield mask >= WHITE


def first_prompt(masks: Path, max_pixels: int = DEFAULT_MAX_PIXELS) -> ObjectPrompt:
    """A box around the object on the first frame that has one: the prompt for scoring.

    Raises:
        InputError: when no mask has a pixel, or one has more than `max_pixels`.
    """
    if not masks.exists():
        raise InputError(f"--masks {masks}: no such folder or video")
    for index, mask in enumerate(read_masks(masks, max_pixels)):
        if mask.any():
            y, x = np.nonzero(mask)
            box: Box = (float(x.min()), float(y.min()), float(x.max() + 1), float(y.max() + 1))
            return ObjectPrompt(frame=index, box=box)
    raise InputError(f"--masks {masks}: no mask has a white pixel: white (>= {WHITE}) is the object")


@dataclass
class GivenState(State):
    """How many frames have been taken."""

    next_frame: int = 0


class _Given(Stage):
    """Takes one item a frame from a reader that runs in step with the video."""

    def __init__(self, path: Path, option: str, read: Callable[[Path], Iterator[Array]]) -> None:
        self._path = path
        self._option = option
        self._read = read
        self._items: Iterator[Array] = iter(())
        self._next_frame = 0

    def open(self) -> None:
        """Begin at the first item."""
        self._items = self._read(self._path)
        self._next_frame = 0

    def take(self, window: Window) -> Array:
        """The items of the window's new frames, `[n, ...]`.

        Raises:
            InputError: when there are fewer or more items than frames.
        """
        items = []
        for t in range(window.new.start, window.new.stop):
            item = next(self._items, None)
            if item is None:
                raise InputError(
                    f"{self._option} {self._path}: ends after {t} frames, the video goes on: give one a frame"
                )
            items.append(item)
        self._next_frame = window.new.stop
        if window.last and next(self._items, None) is not None:
            raise InputError(
                f"{self._option} {self._path}: goes on after {window.new.stop} frames, where the video ends: "
                "give one a frame"
            )
        return np.stack(items)

    def get_state(self) -> GivenState:
        """How far the reader is."""
        return GivenState(self._next_frame)

    def set_state(self, values: Mapping[str, Json], arrays: Mapping[str, Array]) -> None:
        """Skip to where the state was taken."""
        state = GivenState.from_parts(values, arrays)
        self.open()
        for _ in range(state.next_frame):
            next(self._items, None)
        self._next_frame = state.next_frame


class GivenPoseStage(_Given):
    """Keypoints from a file, as the pose stage would have written them; foot contacts are not known (false)."""

    name: ClassVar[str] = "pose"
    writes: ClassVar[Mapping[str, str]] = {"keypoints": "new", "contacts": "new"}

    def __init__(self, path: Path) -> None:
        super().__init__(path, "--pose", read_poses)

    def process(self, window: Window, inputs: Inputs) -> Output:
        """The window's keypoints `[n, 133, 3]` float32."""
        keypoints = self.take(window)
        seen = int((keypoints[:, :, 2].max(axis=1, initial=0.0) > 0).sum())
        contacts = np.zeros((len(keypoints), 2), bool)
        return Output({"keypoints": keypoints, "contacts": contacts}, {"person": None, "persons_seen": seen})


class GivenMasksStage(_Given):
    """The object's masks from a folder or video, as the track stage would have written them; no person's mask."""

    name: ClassVar[str] = "track"
    reads: ClassVar[Mapping[str, str]] = {"frames": "new"}
    writes: ClassVar[Mapping[str, str]] = {"masks/object": "new", "masks/person": "new", "visible": "new"}

    def __init__(self, path: Path, prompt: ObjectPrompt, max_pixels: int = DEFAULT_MAX_PIXELS) -> None:
        super().__init__(path, "--masks", partial(read_masks, max_pixels=max_pixels))
        self._prompt = prompt

    def process(self, window: Window, inputs: Inputs) -> Output:
        """The window's masks `[n, H, W]` bool.

        Raises:
            InputError: when a mask has another size than the video.
        """
        masks = self.take(window)
        wanted = inputs.arrays["frames"].shape[1:3]
        if masks.shape[1:] != wanted:
            raise InputError(
                f"--masks {self._path}: are {masks.shape[2]}x{masks.shape[1]}, the video is {wanted[1]}x{wanted[0]}"
            )
        present = masks.any(axis=(1, 2))
        new, begins = window.new, self._prompt.frame
        before = [[new.start, min(new.stop, begins)]] if begins > new.start else []
        return Output(
            {
                "masks/object": masks,
                "masks/person": np.zeros_like(masks),
                "visible": np.stack([present, np.zeros_like(present)], axis=1),
            },
            {
                "cuts": [],
                "stop": None,
                "untracked": {"object": before, "person": [list(new)]},
                "lost": {"object": [], "person": []},
            },
        )
