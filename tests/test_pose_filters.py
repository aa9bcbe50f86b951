"""One-Euro filter, foot contact, and the place of a prompt: pure functions on made-up numbers."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from stages.base import Array
from stages.poses.contact import Ground, foot_contacts, no_ground
from stages.poses.place import prompt_box
from stages.poses.smooth import BETA, MIN_CUTOFF_HZ, SPEED_CUTOFF_HZ, no_filter, one_euro
from stages.prompts import ObjectPrompt
from storage.errors import InputError

TALL, STEP = 200.0, 1 / 24


def smoothed(points: Array, scores: Array | None = None, step: float = STEP) -> Array:
    """[T, J, 2] -> the same, filtered one by one."""
    state, out = no_filter(points.shape[1]), []
    for t, row in enumerate(points):
        seen = np.ones(len(row)) if scores is None else scores[t]
        state, keypoints = one_euro(state, np.column_stack([row, seen]).astype(np.float32), t * step, TALL)
        out.append(keypoints[:, :2])
    return np.array(out)


def test_noise_at_rest_shrinks_and_a_fast_joint_hardly_lags() -> None:
    rng = np.random.default_rng(1)
    still = 100 + rng.normal(0, 1.5, (80, 50, 2))
    assert np.diff(smoothed(still), axis=0)[5:].std() < 0.8 * np.diff(still, axis=0)[5:].std()
    assert abs(smoothed(still)[10:] - 100).mean() < 0.9 * abs(still[10:] - 100).mean()
    moving = np.linspace(0, 400, 40)[:, None, None].repeat(2, axis=2)  # 1.2 heights a second
    assert abs(smoothed(moving)[5:] - moving[5:]).max() < 2.0


def test_one_step_is_the_papers_formula() -> None:
    points = np.array([[[10.0, 20.0]], [[13.0, 24.0]]])

    def weight(cutoff: float) -> float:
        return 1 / (1 + 1 / (2 * np.pi * cutoff * STEP))

    speed = weight(SPEED_CUTOFF_HZ) * np.hypot(3, 4) / STEP
    share = weight(MIN_CUTOFF_HZ + BETA * speed / TALL)
    assert smoothed(points)[1, 0] == pytest.approx([10 + 3 * share, 20 + 4 * share], abs=1e-5)


def test_a_joint_out_of_sight_is_forgotten() -> None:
    points = np.array([[[0.0, 0]], [[0, 0]], [[100, 0]], [[100, 0]]])
    found = smoothed(points, np.array([[1], [0.1], [1], [1]]))
    assert found[2, 0].tolist() == [100, 0], "starts anew where it is seen again"


def test_variable_frame_times_weigh_by_time() -> None:
    points = np.array([[[0.0, 0]], [[10.0, 0]]])
    assert smoothed(points, step=1.0)[1, 0, 0] > smoothed(points, step=0.01)[1, 0, 0]
    assert smoothed(points, step=0.0)[1, 0].tolist() == [10, 0], "no time passed: nothing to weigh"


def standing(left: tuple[float, float], right: tuple[float, float], hips: tuple[float, float] = (100, 100)) -> Array:
    points = np.zeros((133, 3), np.float32)
    points[17:20] = (*left, 1)
    points[20:23] = (*right, 1)
    points[[11, 12]] = (*hips, 1)
    return points


def contacts(frames: list[Array], start: Ground | None = None) -> list[list[bool]]:
    state, found = start or no_ground(), []
    for t, keypoints in enumerate(frames):
        state = foot_contacts(state, keypoints, t * STEP, TALL)
        found.append(state.contacts.tolist())
    return found


def test_standing_and_one_foot_lifted() -> None:
    frames = [standing((80, 300), (120, 300))] * 4 + [
        standing((80, 300 - min(40, 20 * k)), (120, 300)) for k in range(6)
    ]
    found = contacts(frames)
    assert found[3] == [True, True] and found[-1] == [False, True]
    assert found[0] == [False, False], "one frame gives no speed"


def test_riding_counts_as_standing_and_a_jump_does_not() -> None:
    riding = [standing((80 + 30 * t, 300), (120 + 30 * t, 300), (100 + 30 * t, 100)) for t in range(8)]
    assert contacts(riding)[-1] == [True, True], "3.6 heights a second, with the board under the feet"
    up = [0, 20, 36, 48, 56, 60, 60, 56, 48, 36, 20, 0, 0, 0, 0]
    jump = [standing((80, 300 - h), (120, 300 - h), (100, 100 - h)) for h in (0, 0, 0, *up)]
    found = contacts(jump)
    assert found[2] == [True, True] and found[7:11] == [[False, False]] * 4 and found[-1] == [True, True]


def test_hysteresis() -> None:
    def lifted(height: float) -> list[Array]:
        return [standing((80, 300), (120, 300))] * 4 + [standing((80, 300 - height), (120, 300))] * 4

    between = 0.06 * TALL  # above NEAR, below FAR
    assert contacts(lifted(between))[-1][0], "lasts"
    never = [standing((80, 300 - between), (120, 300))] * 6
    assert not contacts(never)[-1][0], "does not begin"


def test_a_foot_not_seen_has_no_contact() -> None:
    frames = [standing((80, 300), (120, 300)) for _ in range(6)]
    for keypoints in frames[3:]:
        keypoints[20:22, 2] = 0  # one point of three is not enough
    assert contacts(frames)[-1] == [True, False]
    assert contacts([np.zeros((133, 3), np.float32)] * 3) == [[False, False]] * 3


def test_place_of_a_prompt(tmp_path: Path) -> None:
    assert prompt_box(ObjectPrompt(box=(1, 2, 3, 4))) == (1, 2, 3, 4)
    assert prompt_box(ObjectPrompt(points=((5, 9, 1), (7, 6, 1), (0, 0, 0)))) == (5, 6, 7, 9)
    mask = np.zeros((20, 30), np.uint8)
    mask[4:9, 11:17] = 255
    mask[0, 0] = 127
    cv2.imwrite(str(tmp_path / "mask.png"), mask)
    assert prompt_box(ObjectPrompt(mask_png=str(tmp_path / "mask.png"))) == (11, 4, 17, 9)
    cv2.imwrite(str(tmp_path / "black.png"), mask * 0)
    (tmp_path / "text.png").write_text("no picture")
    for name, words in (("black.png", "black"), ("text.png", "cannot be read"), ("none.png", "No such file")):
        with pytest.raises(InputError, match=words):
            prompt_box(ObjectPrompt(mask_png=str(tmp_path / name)))
    with pytest.raises(InputError, match="no --point"):
        prompt_box(ObjectPrompt(points=((0, 0, 0),)))
