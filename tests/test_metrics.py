"""Numbers of the gate on masks small enough to count by hand."""

import math
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import cv2
import numpy as np
import pytest

from stages.base import Inputs
from stages.blend import BlendConfig, BlendStage
from stages.metrics import (
    boundary_f,
    change_picture,
    clipping,
    containment,
    failed_spans,
    flag_spans,
    iou,
    mask_boundary,
    own_seam,
    region_change,
    rounded,
    seam_facts,
    seam_ratio,
    summarise_iou,
)
from storage.spans import Span
from stream.engine.windows import WindowPlan

Array = np.ndarray[Any, Any]


def box_mask(top: int, left: int, bottom: int, right: int, side: int = 40) -> Array:
    mask = np.zeros((side, side), dtype=bool)
    mask[top:bottom, left:right] = True
    return mask


EMPTY = box_mask(0, 0, 0, 0)


def test_iou() -> None:
    assert iou(EMPTY, EMPTY) == 1.0
    assert iou(EMPTY, box_mask(0, 0, 2, 2)) == 0.0
    assert iou(box_mask(0, 0, 4, 4), box_mask(0, 2, 4, 6)) == pytest.approx(8 / 24)


def test_containment_and_clipping() -> None:
    source, person = box_mask(0, 0, 4, 10), box_mask(0, 8, 4, 20)
    assert containment(source, EMPTY) == 1.0
    assert containment(source, box_mask(0, 5, 4, 15)) == 0.5
    assert clipping(source, EMPTY, person) == 0.0
    assert clipping(source, source, person) == 0.0  # the source's own overlap with the person is allowed
    assert clipping(source, box_mask(0, 5, 4, 15), person) == 0.5


def reference_boundary(mask: Array) -> Array:
    """DAVIS's `_seg2bmap`, pixel by pixel."""
    height, width = mask.shape
    out = np.zeros_like(mask)
    for y in range(height):
        for x in range(width):
            neighbours = [(y, x + 1), (y + 1, x), (y + 1, x + 1)]
            inside = [(a, b) for a, b in neighbours if a < height and b < width]
            out[y, x] = any(mask[y, x] != mask[a, b] for a, b in inside)
    return out


def test_mask_boundary_is_that_of_davis() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        mask = rng.random((9, 7)) > 0.5
        assert np.array_equal(mask_boundary(mask), reference_boundary(mask))


def test_boundary_f() -> None:
    square = box_mask(10, 10, 30, 30)
    assert boundary_f(EMPTY, EMPTY) == 1.0
    assert boundary_f(square, EMPTY) == 0.0 == boundary_f(EMPTY, square)
    assert boundary_f(square, square) == 1.0
    assert boundary_f(square, box_mask(11, 10, 31, 30)) == 1.0  # one pixel is within the tolerance at this size
    far = boundary_f(square, box_mask(10, 18, 30, 38))
    assert 0.3 < far < 0.8
    assert boundary_f(box_mask(0, 0, 8, 8), box_mask(25, 25, 35, 35)) == 0.0


def test_spans() -> None:
    assert flag_spans(np.array([], dtype=bool)) == []
    assert flag_spans(np.array([True, True, False, True]), 10) == [[10, 12], [13, 14]]
    values = np.array([0.95, 0.90, math.nan, 0.2, 0.3, 1.0])
    assert failed_spans(values, 0.90) == [[1, 2], [3, 5]]  # the gate is "above", and untracked frames fail nothing


def test_summary() -> None:
    values = np.concatenate([[math.nan], np.linspace(0.90, 1.0, 40)])
    values[7] = 0.5
    summary = summarise_iou(values, 0.90)
    assert summary.frames == 40
    assert (summary.minimum, summary.minimum_frame) == (0.5, 7)
    assert summary.p5_frame == 1
    assert summary.p5 == pytest.approx(0.90)
    assert summary.failed_frames == [[1, 2], [7, 8]]
    assert summary.passed is False
    assert summarise_iou(np.ones(3), 0.9).passed is True
    assert summarise_iou(np.full(3, math.nan), 0.9).passed is None


def test_seam() -> None:
    assert seam_ratio([]) is None
    assert seam_ratio([{"edge": None, "inside_sum": 8.0, "inside_frames": 4}]) is None
    windows: list[dict[str, Any]] = [
        {"edge": None, "inside_sum": 8.0, "inside_frames": 4},
        {"edge": 6.0, "inside_sum": 8.0, "inside_frames": 4},
    ]
    assert seam_ratio(windows) == 3.0
    own: list[dict[str, Any]] = [
        {"edge": None, "inside_sum": 4.0, "inside_frames": 4},
        {"edge": 3.0, "inside_sum": 4.0, "inside_frames": 4},
    ]
    assert seam_ratio(windows, own) == 1.0, "each window itself moves three times as much there"
    own[1]["edge"] = 1.0
    assert seam_ratio(windows, own) == 3.0
    assert seam_ratio(windows, own[:1]) == 3.0 == seam_ratio(windows, [own[0], {**own[1], "edge": None}])
    own[1] |= {"edge": 2.0, "added": 0.5}
    assert seam_ratio(windows, own) == 1.5 + 0.25


def test_a_seam_is_where_windows_are_crossfaded() -> None:
    changes = [9.0, 1.0, 1.0, 4.0, 6.0, 1.0, None]
    assert seam_facts(changes, (3, 4)) == {"edge": 5.0, "inside_sum": 3.0, "inside_frames": 3}
    assert seam_facts(changes, (0, 2)) == {"edge": 1.0, "inside_sum": 11.0, "inside_frames": 3}
    assert seam_facts(changes, (0, 0)) == {"edge": 9.0, "inside_sum": 13.0, "inside_frames": 5}
    assert seam_facts([None], (0, 0))["edge"] is None


def test_what_a_crossfade_adds_is_counted_where_it_lies() -> None:
    """Of 12 final frames the windows share the first 9, and frames 4 to 6 are crossfaded."""
    levels = np.arange(12) * 3  # what the subject changes by itself, from frame to frame
    old, new = levels[:9] + 40, levels + 40 + np.array([90, 90, 90, 90, 8, 12, 10, 90, 90, 0, 0, 0])
    blended = np.where(np.arange(12) < 4, np.resize(old, 12), new)
    pictures = [np.full((len(each), 8, 10, 3), each[:, None, None, None], np.uint8) for each in (blended, old, new)]
    found = own_seam(pictures[0], pictures[1], pictures[2], np.ones((12, 8, 10), bool), (4, 7))
    assert found["added"] == 10 / 4, "30 levels between the windows' pictures, 3 frames, 4 steps"
    # Onto frames 4 to 7 the old pictures change by 3 each, the new by 79, 7, 1 and 83.
    assert found["edge"] == pytest.approx((41 + 5 + 2 + 43) / 4)
    changes = np.abs(np.diff(blended))[[0, 1, 2, 7, 8, 9, 10]]  # onto frames 1 to 3 and 8 to 11
    assert (found["inside_sum"], found["inside_frames"]) == (changes.sum(), 7)


def seam_of(differs: Callable[[Array, int], Array]) -> tuple[float | None, float | None]:
    """The seam ratio of a textured subject that moves faster where windows are crossfaded, before coding: against the
    rest alone, and against the windows' own. `differs`: what becomes of the pictures of a window of this number."""
    texture: Array = np.random.default_rng(3).integers(60, 180, (60, 90, 3)).astype(np.uint8)
    texture = cv2.GaussianBlur(texture, (0, 0), 1.5)
    frames, masks = np.zeros((24, 60, 90, 3), np.uint8), np.zeros((24, 60, 90), np.bool_)
    for index in range(24):
        left = index + 2 * min(max(index - 8, 0), 10)
        masks[index, 10:50, left : left + 40] = True
        frames[index, 10:50, left : left + 40] = texture[10:50, :40]
    blend, held = BlendStage(BlendConfig(17, 8)), frames[:0]
    last: Array | None = None
    seams: list[dict[str, Any]] = []
    own: list[Any] = []
    for window in WindowPlan(17, 8).windows(24):
        read, final = slice(*window.read), slice(*window.final)
        made = {"raw": differs(frames[read], window.index), "overlap": held}
        given = {"masks/object": masks[read], "masks/person": masks[read] & False}
        output: Any = blend.process(window, Inputs({**made, **given}))
        held, crossfade = output.arrays["overlap"], Span(*map(int, output.info["crossfade"]))
        shown = [change_picture(*pair) for pair in zip(output.arrays["generated"], masks[final], strict=True)]
        changes = [region_change(*pair) for pair in pairwise([*([] if last is None else [last]), *shown])]
        fade = crossfade.start - window.final.start, crossfade.stop - window.final.start
        seams.append(seam_facts(changes if last is not None else [None, *changes], fade))
        own.append(output.info["own_seam"])
        last = shown[-1]
    return seam_ratio(seams), seam_ratio(seams, own)


def test_what_moves_is_no_seam() -> None:
    """A subject that moves three times as fast in the crossfade, as both windows make it."""
    plain, mended = seam_of(lambda pictures, window: pictures)
    assert plain is not None and plain > 1.2
    assert mended == pytest.approx(1.0, abs=1e-6)


def test_a_seam_of_one_level_is_told() -> None:
    def brighter(levels: int) -> float:
        return seam_of(lambda pictures, window: pictures + np.uint8(levels * window))[1] or 0.0

    found = [brighter(levels) for levels in (1, 2, 4, 8)]
    assert 1.004 < found[0] < found[1] < found[2] < found[3] < 2
    assert found[3] - 1 == pytest.approx(8 * (found[0] - 1), rel=0.5), "in proportion"


def test_a_jump_of_the_picture_between_windows_is_told() -> None:
    shifted = seam_of(lambda pictures, window: np.roll(pictures, 2 * window, axis=2))[1]
    further = seam_of(lambda pictures, window: np.roll(pictures, 4 * window, axis=2))[1]
    assert shifted is not None and further is not None and 1.05 < shifted < further


def test_region_change_looks_at_the_region_alone() -> None:
    before = np.zeros((20, 30, 3), dtype=np.uint8)
    after = before.copy()
    after[:, 15:] = 90
    left, right = np.zeros((20, 30), dtype=bool), np.zeros((20, 30), dtype=bool)
    left[:, :15], right[:, 15:] = True, True
    assert region_change(change_picture(before, left), change_picture(after, left)) == 0.0
    assert region_change(change_picture(before, right), change_picture(after, right)) == 90.0
    nothing = np.zeros((20, 30), dtype=bool)
    assert region_change(change_picture(before, nothing), change_picture(after, nothing)) is None
    wide = change_picture(np.zeros((100, 1000, 3), dtype=np.uint8), np.ones((100, 1000), dtype=bool))
    assert wide.shape == (26, 256, 4)
    assert wide[..., 3].min() == 255


def test_rounded() -> None:
    assert rounded([0.12345678, math.nan]) == [0.123457, None]
