"""What is carried of several persons from window to window: by a new stage in each as by one stage."""

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from stages.base import Array, Inputs, Window
from stages.crowd import HORIZON, CrowdConfig, CrowdPoseStage
from stages.poses.models import PoseModels
from storage.spans import Span

FRAMES, CUT = 70, 61
HIDDEN = range(20, 56)  # the first person is behind something
FOUND = (27, 39)  # and is detected all the same, each time less than 13 frames after the last
TOO_LATE = 54


def box_at(name: str, frame: int) -> tuple[int, int, int, int]:
    """Of a mask. The first one stands still while it is hidden."""
    left = 10 + 2 * min(frame, HIDDEN[0]) if name == "one" else 290 - 3 * (frame % 17)
    return left, 20, left + 24, 90


def masks_of(frames: range) -> dict[str, Array]:
    found = {name: np.zeros((len(frames), 120, 340), bool) for name in ("one", "two")}
    for index, frame in enumerate(frames):
        for name, masks in found.items():
            if name == "two" or frame not in HIDDEN:
                left, top, right, bottom = box_at(name, frame)
                masks[index, top:bottom, left:right] = True
    return found


class Crowd(CrowdPoseStage):
    """With models that know where everybody is. A frame's number stands in its first pixel."""

    def open(self) -> None:
        self._detector, self._estimator = self.detect, self.estimate  # type: ignore[assignment]

    def detect(self, frame: Array) -> Array:
        number = int(frame[0, 0, 0])
        shown = [name for name in ("one", "two") if name == "two" or number not in HIDDEN]
        shown += ["one"] * (number in (*FOUND, TOO_LATE))
        return np.array([np.add(box_at(name, number), (-9, -4, 3, 2)) for name in shown], np.float32)

    def estimate(self, frames: Sequence[Array], boxes: Sequence[Array]) -> list[Array]:
        found = []
        for frame, box in zip(frames, boxes, strict=True):
            number, points = int(frame[0, 0, 0]), np.ones((133, 3), np.float32)
            share = np.random.default_rng(1).uniform(0.3, 0.7, (133, 2))
            points[:, :2] = (
                box[:2] + share * (box[2:] - box[:2]) + np.random.default_rng(number).normal(0, 0.4, (133, 2))
            )
            points[17:23, 1] = 88 - 25 * (number // 24 % 2)  # feet on the ground, and off it
            points[17:23, 0] = 100 + 2.9 * max(0, number % 12 - 4)  # still, then faster than contact begins, and lasts
            found.append(points)
        return found


@pytest.mark.parametrize("smooth", ["none", "one-euro"])
@pytest.mark.parametrize("length", [1, 7])
def test_a_fresh_stage_goes_on_as_one_that_saw_it_all(smooth: str, length: int) -> None:
    config = CrowdConfig(PoseModels("", ""), ("one", "two"), 3, smooth, reset_on_cut=True)

    def made(afresh: bool) -> dict[str, Array]:
        stage, found = Crowd(config), list[dict[str, Array]]()
        stage.open()
        for start in range(0, FRAMES, length):
            span = Span(start, min(start + length, FRAMES))
            frames = np.zeros((span.frames, 120, 340, 3), np.uint8)
            frames[:, 0, 0, 0] = range(*span)
            arrays: dict[str, Any] = {f"masks/{name}": each for name, each in masks_of(range(*span)).items()}
            arrays |= {"frames": frames, "times": np.arange(*span) / 24}
            cuts = [CUT] if span.start <= CUT < span.stop else []
            window = Window(start // length, span, span, span, span.stop == FRAMES, length)
            found.append(dict(stage.process(window, Inputs(arrays, {"decode": {"cuts": cuts}})).arrays))
            if afresh:
                values, state = stage.get_state().to_parts()
                stage = Crowd(config)
                stage.open()
                stage.set_state(json.loads(json.dumps(values)), {name: each.copy() for name, each in state.items()})
        return {name: np.concatenate([each[name] for each in found]) for name in found[0]}

    whole, pieces = made(False), made(True)
    for name in whole:
        assert np.array_equal(whole[name], pieces[name]), name
    seen = np.flatnonzero(whole["keypoints/one"][:, :, 2].any(axis=1))
    assert seen.tolist() == [frame for frame in range(FRAMES) if frame not in HIDDEN or frame in FOUND]
    assert TOO_LATE - FOUND[-1] > HORIZON > FOUND[1] - FOUND[0] - 1
    assert 0 < whole["contacts/two"].sum() < whole["contacts/two"].size
