"""The person's region from its skeleton: against the demo's true person, in proportion, and from pictures alone."""

import numpy as np
import pytest

from stages.base import Array
from stages.poses.draw import draw, draw_as_vace
from stages.poses.silhouette import silhouette, standing_height, stroke_silhouette
from stream.demo import DemoConfig, Scene

HEIGHT, WIDTH = 360, 640


@pytest.fixture(scope="module")
def people() -> list[tuple[Array, Array]]:
    """Keypoints `[133, 3]` and the true mask `[H, W]` of the demo's person, twelve poses."""
    found = []
    for seed in (1, 2):
        scene = Scene(DemoConfig(frames=121, width=WIDTH, height=HEIGHT, seed=seed))
        for frame in (scene.frame(t) for t in range(0, 121, 20)):
            keypoints = np.column_stack([frame.joints, frame.joints_visible]).astype(np.float32)
            if frame.person_mask.sum() > 1000:
                found.append((keypoints, frame.person_mask))
    assert len(found) >= 10
    return found


def covered(region: Array, person: Array) -> tuple[float, float]:
    """The person's share that lies in the region, and the region's size in persons."""
    return float((region & person).sum() / person.sum()), float(region.sum() / person.sum())


def test_capsules_cover_the_person_and_little_else(people: list[tuple[Array, Array]]) -> None:
    for keypoints, person in people:
        share, size = covered(silhouette(keypoints, HEIGHT, WIDTH), person)
        assert share > 0.93 and size < 1.4


def test_without_hands_feet_and_face(people: list[tuple[Array, Array]]) -> None:
    for keypoints, person in people:
        body = keypoints.copy()
        body[17:] = 0
        share, size = covered(silhouette(body, HEIGHT, WIDTH), person)
        assert share > 0.85 and size < 1.4


def test_thickened_strokes_cover_the_person(people: list[tuple[Array, Array]]) -> None:
    for keypoints, person in people:
        for picture in (draw(keypoints, HEIGHT, WIDTH, "controlnet"), draw_as_vace(keypoints, HEIGHT, WIDTH)):
            share, size = covered(stroke_silhouette(picture), person)
            assert share > 0.93 and size < 2.5


@pytest.mark.parametrize("scale", [0.5, 3.0])
def test_the_region_grows_with_the_person(people: list[tuple[Array, Array]], scale: float) -> None:
    keypoints, _ = people[0]
    scaled = keypoints.copy()
    scaled[:, :2] = (scaled[:, :2] + 0.5) * scale - 0.5
    assert standing_height(scaled) == pytest.approx(scale * standing_height(keypoints), rel=1e-3)
    size = (int(HEIGHT * scale), int(WIDTH * scale))
    area = silhouette(scaled, *size).sum() / silhouette(keypoints, HEIGHT, WIDTH).sum()
    assert area == pytest.approx(scale**2, rel=0.1)


def test_one_wrong_joint_does_not_blow_it_up(people: list[tuple[Array, Array]]) -> None:
    keypoints, _ = people[0]
    wrong = keypoints.copy()
    wrong[9, :2] = (WIDTH - 1, 0)  # a wrist in the corner
    assert standing_height(wrong) < 1.2 * standing_height(keypoints)


def test_nobody_is_no_region(people: list[tuple[Array, Array]]) -> None:
    keypoints, _ = people[0]
    alone, faint, far, nan = (keypoints.copy() for _ in range(4))
    alone[np.arange(133) != 9] = 0  # a wrist alone
    faint[:, 2] = 0.29
    far[:, :2] = 1e30
    nan[:, :2] = np.nan
    for points in (np.zeros((133, 3), np.float32), alone, faint, far, nan):
        assert not silhouette(points, 40, 60).any() and standing_height(points) == 0
    assert not stroke_silhouette(np.zeros((40, 60, 3), np.uint8)).any()


def test_a_person_partly_out_of_the_picture(people: list[tuple[Array, Array]]) -> None:
    keypoints, _ = people[0]
    moved = keypoints.copy()
    moved[:, 0] += WIDTH - keypoints[5:17, 0].mean()  # half of it
    region = silhouette(moved, HEIGHT, WIDTH)
    assert 0.2 < region.sum() / silhouette(keypoints, HEIGHT, WIDTH).sum() < 0.8
    moved[:, 0] += WIDTH
    assert not silhouette(moved, HEIGHT, WIDTH).any()
