"""A generator that looks through a view: it is given the view's pictures, and never knows."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from stages.aim import Aim
from stages.base import Array, Inputs, Json, Output, Read, State, Window
from stages.generator import GeneratorStage, Request
from stages.views.lens import Views, lens
from stages.views.names import KEPT, VIEWS


class ThroughStage(GeneratorStage):
    """Another generator, behind a view.

    Frames, masks and keypoints of the source become those of the view's picture, which has the size of what the
    generator makes; what it makes is the view's picture. Where every view of a window shows the whole frame, it is
    given the source itself. What the window before made of the overlap is handed on in the view's pixels (`kept`),
    so that it is not resampled twice; frames that are blended already (in a shifted last window) are seen through
    the view.
    """

    def __init__(self, inner: GeneratorStage) -> None:
        self.inner = inner
        self.name = inner.name  # type: ignore[misc]
        self.lane, self.scales, self.weights = inner.lane, inner.scales, inner.weights
        self.conditions = inner.conditions
        self.facts = (*inner.facts, "aim")
        super().__init__()
        carries = any(read.port == "overlap" for read in inner.reads)
        self.reads = (*inner.reads, *([Read(KEPT, "window", -1)] if carries else []), Read(VIEWS, "read"))

    def size_for(self, width: int, height: int) -> tuple[int, int]:
        """(width, height) of what it makes, where the picture is not turned."""
        return self.inner.size_for(width, height)

    def works_at(self, width: int, height: int) -> tuple[int, int]:
        """(width, height) of the view's picture, where it is not turned."""
        return self.inner.works_at(width, height)

    @property
    def at_once(self) -> int:
        """As of the generator."""
        return self.inner.at_once

    def open(self) -> None:
        """Open the generator."""
        self.inner.open()

    def condition(self, window: Window, inputs: Inputs) -> Inputs:
        """What the generator is given, as far as it is known, and what it makes of that."""
        seen = self._seen(inputs)
        return replace(seen, conditioned=self.inner.condition(window, seen))

    def conditioned_bytes(self, height: int, width: int, window_frames: int) -> int:
        """The generator's for its own size, beside what it is given."""
        columns, rows = self.works_at(width, height)
        return self.inner.conditioned_bytes(rows, columns, window_frames) + window_frames * rows * columns * 6

    def process(self, window: Window, inputs: Inputs, request: Request = Request()) -> Output:  # noqa: B008 - frozen
        """Generate a window of the view's picture; one that is turned lies on its side in `made` (`Aim.stored`)."""
        ahead = inputs.conditioned if isinstance(inputs.conditioned, Inputs) else None
        found = self.inner.process(window, self._seen(inputs, ahead), request)
        return Output({"made": Aim.of(inputs).stored(found.arrays["made"])}, found.info)

    def _seen(self, inputs: Inputs, ahead: Inputs | None = None) -> Inputs:
        """What the generator is given: the view's picture in place of the source's.

        Args:
            ahead: what `condition` gave.
        """
        arrays, conditioned = dict(inputs.arrays), None if ahead is None else ahead.conditioned
        views, kept, frames, aim = arrays.pop(VIEWS), arrays.pop(KEPT, None), arrays["frames"], Aim.of(inputs)
        source = (frames.shape[2], frames.shape[1])
        through = lens(source, aim.sized(self.works_at(*source)), views)
        if not isinstance(through, Views):
            return Inputs(arrays, inputs.info, inputs.folder, conditioned=conditioned)
        if kept is not None and len(kept):
            arrays["overlap"] = aim.stored(kept)
        elif "overlap" in arrays:
            arrays["overlap"] = through.pictures(arrays["overlap"], len(arrays.get("generated", ())))
        if "generated" in arrays:
            arrays["generated"] = through.pictures(arrays["generated"])
        if ahead is not None:
            return Inputs({**arrays, **ahead.arrays}, inputs.info, inputs.folder, through, conditioned)
        arrays["frames"] = through.pictures(frames)
        for name in ("masks/object", "masks/person", "masks/all"):
            if name in arrays:
                arrays[name] = through.regions(arrays[name])
        if "keypoints/person" in arrays:
            arrays["keypoints/person"] = keypoints_through(arrays["keypoints/person"], views)
        return Inputs(arrays, inputs.info, inputs.folder, through, conditioned)

    def interrupt(self) -> bool:
        """Interrupt the generator."""
        return self.inner.interrupt()

    def leave_gpu(self) -> None:
        """Have the generator leave it."""
        self.inner.leave_gpu()

    def committed(self, window: Window) -> None:
        """Tell the generator."""
        self.inner.committed(window)

    def finish(self) -> None:
        """Tell the generator."""
        self.inner.finish()

    def close(self) -> None:
        """Close the generator."""
        self.inner.close()

    def get_state(self) -> State:
        """The generator's."""
        return self.inner.get_state()

    def set_state(self, values: Mapping[str, Json], arrays: Mapping[str, Array]) -> None:
        """The generator's."""
        self.inner.set_state(values, arrays)

    def peak_bytes(self, height: int, width: int, window_frames: int) -> tuple[int, int]:
        """The generator's for its own size, beside the source; a frame at twice its size, while it is resampled."""
        columns, rows = self.works_at(width, height)
        ram, vram = self.inner.peak_bytes(rows, columns, window_frames)
        one_frame = rows * columns * 70 if window_frames else 0
        return ram + window_frames * height * width * 5 + one_frame, vram


def keypoints_through(keypoints: Array, views: Array) -> Array:
    """`[n, ..., K, 3]` float32: x, y in the view's pixels; what has no score stays where it is."""
    points = keypoints.reshape(len(keypoints), -1, 3)
    moved = np.einsum("tij,tkj->tki", views[:, :, :2], points[..., :2].astype(np.float64)) + views[:, None, :, 2]
    found = points.copy()
    found[..., :2] = np.where(points[..., 2:] > 0, moved, points[..., :2])
    return found.reshape(keypoints.shape)
