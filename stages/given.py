"""Pose and masks made elsewhere, in the places of the pose and track stages.

Both read a folder or a file in step with the video, so memory stays flat and a resumed run skips to where it stands.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import ClassVar

import cv2
import numpy as np

from stages.base import MASK, Array, Inputs, Json, Output, Port, Read, Stage, State, Window
from stages.order import frame_files
from stages.picture import WHITE, mask_box, read_mask
from stages.poses.draw import painted
from stages.poses.openpose_read import read_poses
from stages.poses.pictures import SkeletonPictures, picture_files
from stages.poses.silhouette import silhouette, standing_height, stroke_silhouette
from stages.prompts import ObjectPrompt
from stages.video.limits import DEFAULT_MAX_PIXELS, VideoLimits
from stages.video.plain import plain_frames
from storage.boundary import read_input
from storage.errors import InputError


def read_masks(path: Path, max_pixels: int = DEFAULT_MAX_PIXELS) -> Iterator[Array]:
    """Masks `[H, W]` bool in order of frames: from a folder of PNGs in order of their numbers, or from a video.

    Raises:
        InputError: when there is nothing readable, or a mask of more than `max_pixels`.
    """
    if not path.is_dir():
        for frame in plain_frames(path, VideoLimits(max_pixels)):
            yield frame[..., 0] >= WHITE
        return
    files = frame_files(path, ".png")
    if not files:
        raise InputError(f"{path}: has no PNG in it")
    for file in files:
        yield read_mask(read_input(file, str(file)), str(file), max_pixels, "give masks of the video's size")


def first_prompt(
    masks: Path, max_pixels: int = DEFAULT_MAX_PIXELS, option: str = "--masks", first: int = 0, stop: int | None = None
) -> ObjectPrompt:
    """A box around the object on the first frame that has one, of those from `first` to before `stop`.

    Raises:
        InputError: when no mask has a pixel, or one has more than `max_pixels`.
    """
    if not masks.exists():
        raise InputError(f"{option} {masks}: no such folder or video")
    for index, mask in enumerate(islice(read_masks(masks, max_pixels), stop)):
        if index >= first and mask.any():
            return ObjectPrompt(frame=index, box=mask_box(mask))
    within = "no mask" if first == 0 and stop is None else f"no mask from frame {first} on, as far as is judged,"
    raise InputError(f"{option} {masks}: {within} has a white pixel: white (>= {WHITE}) is the object")


def check_first(masks: Path, persons: Path | None, size: tuple[int, int], max_pixels: int = DEFAULT_MAX_PIXELS) -> None:
    """Refuse masks whose first is of another size than the video, before anything is begun.

    Raises:
        InputError: naming both sizes.
    """
    for path, option in ((masks, "--masks"), (persons, "--person-masks")):
        if path is not None:
            next(_sized_masks(path, option, size, max_pixels), None)


def file_counts(masks: Path, persons: Path | None, pose: Path) -> dict[str, int]:
    """How many files each folder holds, by option: there must be one a frame. Videos and JSON lists are not counted."""
    counts = {}
    for option, path in (("--masks", masks), ("--person-masks", persons), ("--pose", pose)):
        if path is not None and path.is_dir():
            poses = option == "--pose" and not picture_files(path)
            counts[option] = len(frame_files(path, ".json" if poses else ".png"))
    return counts


def has_person(pose: Path, person_masks: Path | None, max_pixels: int = DEFAULT_MAX_PIXELS) -> bool:
    """Whether a person's region can be had on any frame; reads no further than the first.

    Raises:
        InputError: when what is read is unusable.
    """
    if person_masks is not None:
        return any(mask.any() for mask in read_masks(person_masks, max_pixels))
    if picture_files(pose):
        return any(painted(picture).any() for picture in SkeletonPictures(pose, max_pixels).each())
    return any(standing_height(keypoints) > 0 for keypoints in read_poses(pose))


@dataclass
class GivenState(State):
    """How many frames have been taken."""

    next_frame: int = 0


class _Series:
    """Items that are read in step with the video, one a frame."""

    def __init__(self, path: Path, option: str, read: Callable[[], Iterator[Array]]) -> None:
        self._path = path
        self._option = option
        self._read = read
        self._items: Iterator[Array] = iter(())

    def begin(self, frame: int = 0) -> None:
        """Read on from this frame."""
        self._items = self._read()
        for _ in range(frame):
            next(self._items, None)

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
        if window.last and next(self._items, None) is not None:
            raise InputError(
                f"{self._option} {self._path}: goes on after {window.new.stop} frames, where the video ends: "
                "give one a frame"
            )
        return np.stack(items)


class _Given(Stage):
    """Takes what was made elsewhere from readers that run in step with the video."""

    def __init__(self, *series: _Series) -> None:
        self._series = series
        self._next_frame = 0

    def open(self) -> None:
        """Begin at the first frame."""
        self._begin(0)

    def _begin(self, frame: int) -> None:
        for series in self._series:
            series.begin(frame)
        self._next_frame = frame

    def take(self, window: Window) -> list[Array]:
        """The new frames' items of every series."""
        taken = [series.take(window) for series in self._series]
        self._next_frame = window.new.stop
        return taken

    def get_state(self) -> GivenState:
        """How far the readers are."""
        return GivenState(self._next_frame)

    def set_state(self, values: Mapping[str, Json], arrays: Mapping[str, Array]) -> None:
        """Skip to where the state was taken."""
        self._begin(GivenState.from_parts(values, arrays).next_frame)


class GivenPoseStage(_Given):
    """Keypoints from files, as the pose stage would have written them; foot contacts are not known (false).

    Args:
        path: what `--pose` names; skeleton pictures give no keypoints (score 0), they are drawn as they are.
        size: (width, height) of the video.
    """

    name: ClassVar[str] = "pose"
    writes = (Port("keypoints/person", "new", (133, 3), "float32"), Port("contacts/person", "new", (2,), "bool"))

    def __init__(self, path: Path, size: tuple[int, int]) -> None:
        super().__init__(_Series(path, "--pose", partial(read_poses, path, size)))

    def process(self, window: Window, inputs: Inputs) -> Output:
        """The window's keypoints `[n, 133, 3]` float32."""
        (keypoints,) = self.take(window)
        seen = int((keypoints[:, :, 2].max(axis=1, initial=0.0) > 0).sum())
        contacts = np.zeros((len(keypoints), 2), bool)
        arrays: dict[str, Array] = {"keypoints/person": keypoints, "contacts/person": contacts}
        return Output(arrays, {"person": None, "persons_seen": seen})


class GivenMasksStage(_Given):
    """Masks made elsewhere, as the track stage would have written them.

    The object's are read; the person's too where they are given, else they are drawn around the skeleton: capsules
    around its limbs, or, where it is known as pictures alone, its strokes thickened. A drawn region leaves out the
    object's mask, which is known better.

    Args:
        masks: of the object: a folder of PNGs or a video. persons: of the person, or None.
        pose: what `--pose` names.
        prompt: of the object; frames before it are untracked.
        size: (width, height) of the video.
        max_pixels: width times height of the largest picture that is read.
    """

    name: ClassVar[str] = "track"
    reads = (Read("keypoints/person", "new"),)
    writes = (
        Port("masks/object", "new", MASK, "bool"),
        Port("masks/person", "new", MASK, "bool"),
        Port("visible/object", "new", (), "bool"),
        Port("visible/person", "new", (), "bool"),
    )

    def __init__(
        self,
        masks: Path,
        persons: Path | None,
        pose: Path,
        prompt: ObjectPrompt,
        size: tuple[int, int],
        max_pixels: int = DEFAULT_MAX_PIXELS,
    ) -> None:
        series = [_Series(masks, "--masks", partial(_sized_masks, masks, "--masks", size, max_pixels))]
        self._drawn = persons is None
        if persons is not None:
            read = partial(_sized_masks, persons, "--person-masks", size, max_pixels)
            series.append(_Series(persons, "--person-masks", read))
        elif picture_files(pose):
            series.append(_Series(pose, "--pose", partial(_stroke_masks, pose, size, max_pixels)))
        super().__init__(*series)
        self._prompt = prompt
        self._size = size

    def process(self, window: Window, inputs: Inputs) -> Output:
        """The window's masks `[n, H, W]` bool.

        Raises:
            InputError: when a mask cannot be read or has another size than the video.
        """
        objects, *rest = self.take(window)
        width, height = self._size
        persons = (
            rest[0] if rest else np.stack([silhouette(k, height, width) for k in inputs.arrays["keypoints/person"]])
        )
        if self._drawn:
            persons &= ~objects
        seen, person_seen = (np.asarray(masks.any(axis=(1, 2))) for masks in (objects, persons))
        new, begins = window.new, self._prompt.frame
        before = [[new.start, min(new.stop, begins)]] if begins > new.start else []
        return Output(
            {
                "masks/object": objects,
                "masks/person": persons,
                "visible/object": seen,
                "visible/person": person_seen,
            },
            {
                "stop": None,
                "untracked": {"object": before, "person": []},
                "lost": {"object": [], "person": []},
            },
        )


def _sized_masks(path: Path, option: str, size: tuple[int, int], max_pixels: int) -> Iterator[Array]:
    """Masks `[H, W]` bool of the video's size; a video of masks may be padded to even sides, as `skate export` does.

    Raises:
        InputError: when one has another size.
    """
    width, height = size
    for t, mask in enumerate(read_masks(path, max_pixels)):
        rows, columns = mask.shape
        padded = (height + height % 2, width + width % 2)
        if (rows, columns) != (height, width) and (path.is_dir() or (rows, columns) != padded):
            raise InputError(f"{option} {path}: frame {t} is {columns}x{rows}, the video is {width}x{height}")
        yield mask[:height, :width]


def _stroke_masks(folder: Path, size: tuple[int, int], max_pixels: int) -> Iterator[Array]:
    """Regions `[H, W]` bool around skeletons that are known as pictures alone.

    Raises:
        InputError: when a picture is unusable.
    """
    for picture in SkeletonPictures(folder, max_pixels).each(size):
        drawn = stroke_silhouette(picture).astype(np.uint8)
        yield cv2.resize(drawn, size, interpolation=cv2.INTER_NEAREST) > 0
