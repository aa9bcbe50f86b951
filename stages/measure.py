"""The interaction in the finished picture against that in the source: metrics, frame by frame."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import ClassVar

import numpy as np

from stages.base import Array, Inputs, Json, Output, Port, Read, Stage, State, Window
from stages.fidelity.metric import View
from stages.fidelity.registry import SUBJECTS, metrics, names_of
from stages.fidelity.sight import COLUMNS, Sight, nothing_seen, sight_of
from stages.gate import Bound
from stages.metrics import flag_spans
from stages.poses.skeleton import JOINTS
from stages.video.segment import read_segment
from storage.errors import RunDirectoryError

METRICS = {subject: f"metrics/{subject}" for subject in SUBJECTS}
SIGHTS = ("sights/source", "sights/result")
RESULT_KEYPOINTS = "sights/keypoints"
_NAN = float("nan")


@dataclass(frozen=True)
class MeasureConfig:
    """What is measured.

    Attributes:
        gate: what a frame must hold; where it does not, it stands in `info["failed"]`.
    """

    gate: tuple[Bound, ...] = ()


@dataclass
class MeasureState(State):
    """What measuring carries.

    Attributes:
        source, result: [K] float64, the sights of the last frame.
        cuts: first frames behind hard cuts that are decoded and not yet measured.
        values, arrays: of the stage that finds the poses in the result.
    """

    source: Array = field(default_factory=lambda: nothing_seen().row)
    result: Array = field(default_factory=lambda: nothing_seen().row)
    cuts: list[int] = field(default_factory=list)
    values: dict[str, Json] = field(default_factory=dict)
    arrays: dict[str, Array] = field(default_factory=dict)


class MeasureStage(Stage):
    """Looks at the encoded result as the source was looked at, and compares the two.

    Writes `metrics/object` and `metrics/person` `[n, M] float32`, and `sights/source`, `sights/result` `[n, K] float32`
    that they are made of; the names of the M and K stand in their attributes; NaN where there is nothing to measure;
    and `sights/keypoints` `[n, 133, 3] float32`, the person's in the result (as `keypoints/person`).
    Info: `failed`: absolute half-open spans of the frames that do not hold the gate.

    Args:
        poses: as the source's were found: a stage that reads `frames`, `times` and perhaps `masks/person`, and writes
            `keypoints/person`, of this stage alone. None: poses were made elsewhere, and nobody can tell those of the
            result.

    Raises:
        RunDirectoryError: a segment that is missing, damaged, or of another length or size.
    """

    name: ClassVar[str] = "measure"
    lane = "gpu"
    reads = (
        *(Read(name, "final") for name in ("frames", "times", "keypoints/person", "iou")),
        *(Read(f"{group}/{name}", "final") for group in ("masks", "found") for name in SUBJECTS),
    )
    writes = (
        *(Port(METRICS[s], "final", (len(names_of(s)),), "float32", fill=_NAN, names=names_of(s)) for s in SUBJECTS),
        *(Port(name, "final", (len(COLUMNS),), "float32", fill=_NAN, names=COLUMNS) for name in SIGHTS),
        Port(RESULT_KEYPOINTS, "final", (JOINTS, 3), "float32"),
    )
    facts = ("decode", "sink")
    weights = "pose"

    def __init__(self, config: MeasureConfig, poses: Callable[[], Stage] | None) -> None:
        self.config = config
        self._make = poses
        self._poses: Stage | None = None
        self._source, self._result = nothing_seen(), nothing_seen()
        self._cuts: list[int] = []

    def open(self) -> None:
        """Load the pose models."""
        if self._make is not None:
            self._poses = self._make()
            self._poses.open()

    def process(self, window: Window, inputs: Inputs) -> Output:
        """Measure the window's final frames."""
        given, span = inputs.arrays, window.final
        frames, masks = given["frames"], given["masks/object"]
        path = inputs.folder / str(inputs.info["sink"]["segment"])
        size = inputs.info["sink"].get("size")
        made = np.stack(list(read_segment(path, masks.shape[1], masks.shape[2], size)))
        if len(made) != span.frames:
            raise RunDirectoryError(f"segment {path} holds {len(made)} of {span.frames} frames: redo its window")
        self._cuts = [frame for frame in self._cuts if frame >= span.start]
        self._cuts += inputs.info.get("decode", {}).get("cuts", ())  # of the new frames, which run ahead
        keypoints = self._keypoints(window, made, given)
        values = {subject: np.full((span.frames, len(names_of(subject))), np.nan, np.float32) for subject in SUBJECTS}
        sights = [np.full((span.frames, len(COLUMNS)), np.nan, np.float32) for _ in SIGHTS]
        if window.begins_shot:
            self._source, self._result = nothing_seen(), nothing_seen()
        for index, seconds in enumerate(given["times"].tolist()):
            source = self._view(given, "masks", frames, given["keypoints/person"], index, self._source, seconds)
            result = self._view(given, "found", made, keypoints, index, self._result, seconds)
            self._source, self._result = source.sight, result.sight
            sights[0][index], sights[1][index] = source.sight.row, result.sight.row
            if not math.isnan(given["iou"][index]):  # on untracked frames there is nothing to compare
                for subject in SUBJECTS:
                    values[subject][index] = self._values(subject, source, result)
        arrays = {METRICS[subject]: values[subject] for subject in SUBJECTS} | dict(zip(SIGHTS, sights, strict=True))
        arrays[RESULT_KEYPOINTS] = keypoints
        return Output(arrays, {"failed": flag_spans(failing(self.config.gate, values), span.start)})

    def _values(self, subject: str, source: View, result: View) -> list[float]:
        """A subject's metrics of a frame; those of poses are NaN where nobody can tell the result's."""
        asked = (metrics()[name] for name in names_of(subject))
        return [math.nan if each.poses and self._poses is None else each.value(source, result) for each in asked]

    def _view(
        self, given: Mapping[str, Array], group: str, pictures: Array, keypoints: Array, index: int, before: Sight,
        seconds: float,
    ) -> View:  # fmt: skip
        masks = [given[f"{group}/{name}"][index] for name in SUBJECTS]
        sight = sight_of(before, masks[0], keypoints[index], seconds, masks[1])
        return View(masks[0], masks[1], keypoints[index], sight, before, pictures[index])

    def _keypoints(self, window: Window, made: Array, given: Mapping[str, Array]) -> Array:
        """[n, 133, 3] float32 of the person in the result; zeros where the poses were made elsewhere."""
        if self._poses is None:
            return np.zeros((len(made), JOINTS, 3), np.float32)
        arrays = {"frames": made, "times": given["times"], "masks/person": given["found/person"]}
        shown = Inputs(arrays, {"decode": {"cuts": self._cuts}})
        found = self._poses.process(replace(window, new=window.final), shown)
        return found.arrays["keypoints/person"]

    def leave_gpu(self) -> None:
        """Drop the pose models' memory until they are asked again."""
        if self._poses is not None:
            self._poses.leave_gpu()

    def close(self) -> None:
        """Drop the pose models."""
        if self._poses is not None:
            self._poses.close()

    def get_state(self) -> MeasureState:
        """A copy of what is carried."""
        values, arrays = ({}, {}) if self._poses is None else self._poses.get_state().to_parts()
        return MeasureState(self._source.row.copy(), self._result.row.copy(), list(self._cuts), values, arrays)

    def set_state(self, values: Mapping[str, Json], arrays: Mapping[str, Array]) -> None:
        """Take a state back."""
        state = MeasureState.from_parts(values, arrays)
        self._source, self._result = Sight(state.source.copy()), Sight(state.result.copy())
        self._cuts = list(state.cuts)
        if self._poses is not None:
            self._poses.set_state(state.values, state.arrays)

    def peak_bytes(self, height: int, width: int, window_frames: int) -> tuple[int, int]:
        """Projected `(ram_bytes, vram_bytes)`: the window's frames of source and result, four masks each, and the
        pose models once more."""
        ram, vram = (0, 0) if self._make is None else self._make().peak_bytes(height, width, 0)
        return ram + window_frames * height * width * 10 + height * width * 20, vram


def failing(gate: tuple[Bound, ...], values: Mapping[str, Array]) -> Array:
    """[n] bool: the frames that do not hold a gate, by the arrays of `metrics/SUBJECT`."""
    wrong = np.zeros(len(values["object"]), bool)
    for bound in gate:
        subject = metrics()[bound.metric].subject
        wrong |= bound.fails(values[subject][:, names_of(subject).index(bound.metric)])
    return wrong
