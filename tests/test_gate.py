"""The gate fires: an output in which the object is elsewhere, larger, swapped or gone fails on those very frames.

Each test takes the demo's own export, tampers with the object on some frames of the result, and lets `skate evaluate`
judge it with the small SAM 2.1.
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pytest
from _runs import invoke

from stages.base import Array
from stages.given import read_masks
from stages.sink import EncoderSettings, write_segment
from stages.video.plain import plain_frames

FRAMES = 34
BAD = range(14, 26)
SLACK = 2


@dataclass(frozen=True)
class Exported:
    """A demo run of one short clip and its export."""

    output: Path
    folder: Path


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    folder = tmp_path_factory.mktemp("gate")
    demo = ["demo", "--out", str(folder / "run"), "--frames", str(FRAMES), "--clip-seed", "1", "--track-view", "full"]
    result = invoke([*demo, "--json"])
    assert result.code in (0, 1), result.err
    assert invoke(["export", str(folder / "run"), "--to", str(folder / "export")]).code == 0
    return Exported(folder / "run" / "output.mp4", folder / "export")


def without_object(frame: Array, mask: Array) -> Array:
    """The frame with the object painted over by what surrounds it."""
    wide = cv2.dilate(mask.astype(np.uint8), np.ones((9, 9), np.uint8))
    painted: Array = cv2.inpaint(frame, wide, 5, cv2.INPAINT_TELEA)
    return painted


def moved(frame: Array, mask: Array, matrix: Array) -> Array:
    """The frame with the object taken out and put back through a 2x3 affine matrix."""
    size = (frame.shape[1], frame.shape[0])
    picture = cv2.warpAffine(frame, matrix, size)
    place = cv2.warpAffine(mask.astype(np.uint8), matrix, size) > 0
    result = without_object(frame, mask)
    result[place] = picture[place]
    return result


def extent(mask: Array) -> tuple[float, float, float]:
    """Centre x, y and length (the longer side of the box) of a mask, pixels."""
    y, x = np.nonzero(mask)
    return float(x.mean()), float(y.mean()), float(max(np.ptp(x), np.ptp(y)) + 1)


def shifted(frame: Array, mask: Array) -> Array:
    third = extent(mask)[2] / 3
    return moved(frame, mask, np.array([[1.0, 0.0, third], [0.0, 1.0, 0.0]]))


def dilated(frame: Array, mask: Array) -> Array:
    x, y, _ = extent(mask)
    return moved(frame, mask, np.array([[1.5, 0.0, -0.5 * x], [0.0, 1.5, -0.5 * y]]))


def swapped(frame: Array, mask: Array) -> Array:
    x, y, _ = extent(mask)
    return moved(frame, mask, np.array([[1.0, 0.0, frame.shape[1] - 2 * x], [0.0, 1.0, -y / 2]]))


def gone(frame: Array, mask: Array) -> Array:
    return without_object(frame, mask)


def tampered(exported: Exported, change: Callable[[Array, Array], Array]) -> Iterator[Array]:
    masks = read_masks(exported.folder / "mask_skateboard")
    for index, (frame, mask) in enumerate(zip(plain_frames(exported.output), masks, strict=True)):
        yield change(frame.copy(), mask) if index in BAD and mask.any() else frame


@pytest.mark.parametrize("change", [shifted, dilated, swapped, gone])
def test_the_gate_fires_on_the_frames_that_are_wrong(
    exported: Exported, change: Callable[[Array, Array], Array], tmp_path: Path
) -> None:
    video = tmp_path / "tampered.mp4"
    write_segment(video, tampered(exported, change), np.arange(FRAMES) / 24, EncoderSettings(640, 360))
    metadata = str(exported.folder / "tracking_metadata.json")
    result = invoke(["evaluate", "--metadata", metadata, "--generated", str(video), "--json"])
    assert result.code == 1
    failed = {frame for start, stop in json.loads(result.out)["failed_frames"] for frame in range(start, stop)}
    assert set(range(BAD.start + SLACK, BAD.stop - SLACK)) <= failed


def test_the_readout_has_a_line_a_frame(exported: Exported) -> None:
    result = invoke(["evaluate", str(exported.output.parent), "--no-baselines"])
    lines = result.out.splitlines()
    assert [line[:11] for line in lines[:FRAMES]] == [f"Frame {t:04d}:" for t in range(FRAMES)]
    assert all("IoU = " in line and line.endswith(("[PASS]", "[FAIL]")) for line in lines[:FRAMES])
    assert lines[FRAMES].startswith("minimum: IoU")
    quiet = invoke(["evaluate", str(exported.output.parent), "--quiet", "--no-baselines"])
    assert quiet.out.splitlines() == lines[FRAMES:] and quiet.code == result.code
