"""The background of each shot without its subjects."""

from collections.abc import Mapping
from typing import ClassVar

import numpy as np

from stages.base import Array, Inputs, Json, Output, Read, Stage, Window
from stages.plates.keys import Keeper, Plates
from stages.plates.names import KNOWN, PART, PATH, PICTURES, PLACES, PORTS
from stages.plates.samples import SAMPLES

EVERY = 4  # frames: one of so many is looked at


class PlateStage(Stage):
    """Keeps the key plates of each shot (`stages.plates.keys`).

    Writes a frame each `plate_path` `[n, 2, 3]` float64, the plane of the frame's stretch to the frame, and
    `plate_part` `[n]` int32, the stretch: frames of one are registered to each other. Of the window as a whole the
    plates that are known by its end and that it changed, with the one before them, and the first of these as it was
    before, from which it is faded over: `plates` `[k, H, W, 3]` uint8 RGB, `plates_known` `[k, H, W]` bool (the rest
    is inpainted), `plates_places` `[k, 3, 3]` (`Key.row`). In `info` `plates`: how many, and `holes`: the share of the
    last one that was never seen.
    """

    name: ClassVar[str] = "plate"
    reads = (
        Read("frames", "new"),
        Read("masks/object", "new"),
        Read("masks/person", "new"),
        Read("motion", "new"),
    )
    writes = PORTS
    scales = "pixels"
    of_variation = True

    def __init__(self) -> None:
        self._state = Plates()

    def process(self, window: Window, inputs: Inputs) -> Output:
        """Look at the window's new frames."""
        frames, motion = inputs.arrays["frames"], inputs.arrays["motion"]
        subjects = inputs.arrays["masks/object"] | inputs.arrays["masks/person"]
        keeper = Keeper(Plates() if window.begins_shot else self._state)
        path, part = np.empty((len(frames), 2, 3)), np.empty(len(frames), np.int32)
        for index, (frame, taken) in enumerate(zip(frames, subjects, strict=True)):
            keeper.follow(motion[index])
            if (window.new.start + index - window.shot_start) % EVERY == 0:
                keeper.look(frame, taken)
            path[index], part[index] = keeper.state.path, keeper.state.part
        keys = keeper.keys()
        self._state = keeper.state
        arrays: dict[str, Array] = {
            PATH: path,
            PART: part,
            PICTURES: np.stack([key.picture for key in keys]),
            KNOWN: np.stack([key.known for key in keys]),
            PLACES: np.stack([key.row for key in keys]),
        }
        return Output(
            arrays, {"plates": sum(not key.past for key in keys), "holes": round(1 - float(keys[-1].known.mean()), 6)}
        )

    def get_state(self) -> Plates:
        """What is known of the background; nothing writes to it afterwards."""
        return self._state

    def set_state(self, values: Mapping[str, Json], arrays: Mapping[str, Array]) -> None:
        """Take back what `get_state().to_parts()` gave."""
        self._state = Plates.from_parts(values, arrays)

    def peak_bytes(self, height: int, width: int, window_frames: int) -> tuple[int, int]:
        """Projected peak (RAM, VRAM): the window's frames and masks, samples twice, their median, and a few plates.

        Between windows samples and one plate: less than 8 frames.
        """
        one = height * width * 3
        held = (SAMPLES + 3) * one
        return held + (window_frames * height * width * 5 + (2 * SAMPLES + 9) * one if window_frames else 0), 0
