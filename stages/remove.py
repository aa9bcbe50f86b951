"""The subjects vanish: what is behind them stands in their place. No model, no weights, deterministic.

Two passes over a shot, the second one so far behind the first that it knows what the next windows show. Where a
subject casts a shadow beyond the region, that stays: `--dilate` grows the region.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Self

from stages.base import Inputs, Output, Read, Window
from stages.generator import GeneratorStage, Request, StepProgress
from stages.plates.behind import behind, come_in, keys_in
from stages.plates.names import KNOWN, PART, PATH, PICTURES, PLACES
from stages.region import DILATE, bounding_box

AHEAD = 8  # windows: 480 frames at the defaults
MARGIN = 3  # px beyond the region


@dataclass(frozen=True)
class RemoveConfig:
    """What is removed is both subjects.

    Attributes:
        dilate: widths of the rings around object and person, pixels.
    """

    dilate: tuple[int, int] = DILATE


class RemoveStage(GeneratorStage):
    """Puts the plates in the place of object and person, as they are known `AHEAD` windows later in the shot.

    In `info` `never_seen`: the share of their pixels that no frame showed, and that are inpainted.
    """

    name = "generate"
    reads = (
        Read("frames", "read"),
        Read("masks/object", "read"),
        Read("masks/person", "read"),
        Read(PATH, "read"),
        Read(PART, "read"),
        *(
            Read(array, "window", later, name=f"{array}/{later}")
            for later in range(AHEAD + 1)
            for array in (PICTURES, KNOWN, PLACES)
        ),
    )
    scales = "pixels"

    def __init__(self, config: RemoveConfig) -> None:
        super().__init__()
        self.config = config

    @classmethod
    def from_options(cls, options: Mapping[str, Any], progress: Callable[[StepProgress], None]) -> Self:
        """The stage, closed, for a run with these options; it has no steps to tell of."""
        return cls(RemoveConfig(options["dilate"]))

    def process(self, window: Window, inputs: Inputs, request: Request = Request()) -> Output:  # noqa: B008 - frozen
        """Return `made` `[read.frames, H, W, 3]` uint8 RGB: the background around and behind the subjects, the source's
        pixels elsewhere."""
        arrays = inputs.arrays
        names = [f"/{later}" for later in range(AHEAD + 1)]
        learnt = len(arrays[f"{PICTURES}{names[-1]}"]) > 0 and not window.begins_shot
        keys, before = keys_in(arrays, names), keys_in(arrays, names[:-1]) if learnt else []
        made = arrays["frames"].copy()
        subjects = arrays["masks/object"] | arrays["masks/person"]
        margin = max(self.config.dilate if request.dilate is None else request.dilate) + MARGIN
        pixels = unseen = 0
        lying = zip(made, subjects, arrays[PATH], arrays[PART], strict=True)
        for at, (picture, taken, path, part) in enumerate(lying, window.read.start - window.new.start):
            box = bounding_box(taken, margin)
            if box is None:
                continue
            share = come_in(at, window.new.frames)
            picture[box], known = behind(keys, path, int(part), box, taken.shape, before, share)
            pixels += int(taken[box].sum())
            unseen += int((taken[box] & ~known).sum())
        return Output({"made": made}, {"never_seen": round(unseen / max(1, pixels), 6)})

    def peak_bytes(self, height: int, width: int, window_frames: int) -> tuple[int, int]:
        """Projected peak (RAM, VRAM): the window's frames, masks and what is made, and plates of 9 windows."""
        plates = 4 * (AHEAD + 1) * height * width * 4
        return (window_frames * height * width * 8 + plates + height * width * 12 if window_frames else 0), 0
