"""Skeleton pictures: single pixels checked by hand, whole pictures against the rules written down once more, slowly."""

import colorsys
import math
import time

import cv2
import numpy as np
import pytest

from stages.base import Array
from stages.poses.draw import STYLES, draw, draw_as_vace
from storage.errors import UsageError
from stream.demo import DemoConfig, Scene

BLACK, WHITE, BLUE = (0, 0, 0), (255, 255, 255), (0, 0, 255)


def keypoints(points: dict[int, tuple[float, float]], score: float = 1.0) -> Array:
    """[133, 3] with these joints seen and no others."""
    made = np.zeros((133, 3), np.float32)
    for joint, place in points.items():
        made[joint] = (*place, score)
    return made


def pixel(picture: Array, x: int, y: int) -> tuple[int, ...]:
    return tuple(int(value) for value in picture[y, x])


def test_a_limb_and_its_joints_pixel_by_pixel() -> None:
    picture = draw(keypoints({6: (20, 30), 8: (60, 30)}), 60, 80, "controlnet")  # right shoulder and elbow
    assert pixel(picture, 40, 30) == (153, 102, 0)  # limb: 0.6 x (255, 170, 0)
    assert pixel(picture, 40, 34) == (153, 102, 0) and pixel(picture, 40, 26) == (153, 102, 0)  # half-width 4
    assert pixel(picture, 40, 35) == BLACK and pixel(picture, 40, 25) == BLACK
    assert pixel(picture, 20, 30) == (255, 170, 0) and pixel(picture, 24, 30) == (255, 170, 0)  # joint: radius 4
    assert pixel(picture, 25, 30) == (153, 102, 0) and pixel(picture, 15, 30) == BLACK
    assert pixel(picture, 60, 30) == (255, 255, 0) and pixel(picture, 60, 26) == (255, 255, 0)
    assert pixel(picture, 60, 25) == BLACK


def test_the_neck_is_half_way_and_needs_both_shoulders() -> None:
    both = draw(keypoints({5: (60, 30), 6: (20, 30)}), 60, 80, "controlnet")
    assert pixel(both, 40, 30) == (255, 85, 0)  # the neck's own colour, on top
    assert pixel(both, 30, 30) == (153, 0, 0) and pixel(both, 50, 30) == (153, 51, 0)  # to the right, to the left
    one = draw(keypoints({6: (20, 30)}), 60, 80, "controlnet")
    assert pixel(one, 40, 30) == BLACK and pixel(one, 20, 30) == (255, 170, 0)


def test_hands_face_and_threshold() -> None:
    points = keypoints({91: (20, 20), 92: (40, 20), 93: (40, 40), 23: (60, 20)})
    picture = draw(points, 60, 80, "controlnet")
    assert pixel(picture, 30, 20) == (255, 0, 0)  # first edge of a hand: hue 0
    assert pixel(picture, 40, 30) == (255, 77, 0)  # second: hue 1/20
    assert pixel(picture, 20, 20) == BLUE and pixel(picture, 16, 20) == BLUE and pixel(picture, 15, 20) == BLACK
    assert pixel(picture, 60, 20) == WHITE and pixel(picture, 63, 20) == WHITE and pixel(picture, 64, 20) == BLACK
    points[:, 2] *= 0.29
    assert not draw(points, 60, 80, "controlnet").any()
    assert not draw(keypoints({91: (0, 20), 23: (20, 0)}), 60, 80, "controlnet").any()  # first column and row: left out


def test_vace_swaps_red_and_blue_and_leaves_out_hands() -> None:
    points = keypoints({6: (20, 30), 8: (60, 30), 91: (20, 50), 92: (40, 50), 23: (70, 10)})
    picture = draw(points, 60, 80, "vace")
    assert pixel(picture, 40, 30) == (0, 102, 153) and pixel(picture, 20, 30) == (0, 170, 255)
    assert pixel(picture, 30, 50) == BLACK and pixel(picture, 70, 10) == WHITE


def test_wan_animate_is_thin_draws_toes_and_no_face() -> None:
    points = keypoints({15: (100, 400), 17: (160, 400), 18: (180, 400), 23: (300, 300), 91: (400, 100), 92: (440, 100)})
    picture = draw(points, 720, 1280, "wan-animate")  # stick 720 // 200 - 1 = 2
    assert pixel(picture, 135, 400) == (153, 0, 51)  # ankle to toes (170, 400): 0.6 x (255, 0, 85)
    assert pixel(picture, 135, 402) == (153, 0, 51) and pixel(picture, 135, 403) == BLACK
    assert pixel(picture, 170, 400) == (200, 200, 0) and pixel(picture, 172, 400) == (200, 200, 0)
    assert pixel(picture, 173, 400) == BLACK and pixel(picture, 300, 300) == BLACK
    assert pixel(picture, 420, 100) == (255, 0, 0) and pixel(picture, 420, 101) == BLACK  # line of one pixel
    points[:, 2] = 0.49
    assert not draw(points, 720, 1280, "wan-animate").any()


def described(points: Array, height: int, width: int, hands: bool) -> Array:
    """DWPose's picture from its description: limbs, the whole canvas dimmed, joints, hands, face."""
    canvas = np.zeros((height, width, 3), np.uint8)
    order = [0, -1, 6, 8, 10, 5, 7, 9, 12, 14, 16, 11, 13, 15, 2, 1, 4, 3]
    neck = (points[5] + points[6]) / 2
    neck[2] = min(points[5, 2], points[6, 2])
    body = [neck if joint < 0 else points[joint] for joint in order]
    seen = [joint[2] > 0.3 for joint in body]
    sequence = "2-3 2-6 3-4 4-5 6-7 7-8 2-9 9-10 10-11 2-12 12-13 13-14 2-1 1-15 15-17 1-16 16-18"
    wheel = [colorsys.hsv_to_rgb(k / 18, 1, 1) for k in range(18)]  # the palette: 18 steps, rounded to sixths
    colours = [tuple(round(round(v * 3) * 85) for v in rgb) for rgb in wheel]
    for pair, colour in zip(sequence.split(), colours, strict=False):
        a, b = (int(k) - 1 for k in pair.split("-"))
        if seen[a] and seen[b]:
            (xa, ya), (xb, yb) = body[a][:2], body[b][:2]
            turn = math.degrees(math.atan2(ya - yb, xa - xb))
            length = ((xa - xb) ** 2 + (ya - yb) ** 2) ** 0.5
            centre = (int((xa + xb) / 2), int((ya + yb) / 2))
            shape = cv2.ellipse2Poly(centre, (int(length / 2), 4), int(turn), 0, 360, 1)
            cv2.fillConvexPoly(canvas, np.array(shape), colour)
    canvas = (canvas * 0.6).astype(np.uint8)
    for joint, there, colour in zip(body, seen, colours, strict=True):
        if there:
            cv2.circle(canvas, (int(joint[0]), int(joint[1])), 4, colour, -1)
    for first in (91, 112) if hands else ():
        hand = [(int(x), int(y)) if s >= 0.3 else (0, 0) for x, y, s in points[first : first + 21]]
        edges = [(0 if j % 4 == 1 else j - 1, j) for j in range(1, 21)]
        for k, (a, b) in enumerate(edges):
            if min(*hand[a], *hand[b]) > 0:
                cv2.line(canvas, hand[a], hand[b], [255 * v for v in colorsys.hsv_to_rgb(k / 20, 1, 1)], 2)
        for place in hand:
            if min(place) > 0:
                cv2.circle(canvas, place, 4, (0, 0, 255), -1)
    for x, y, score in points[23:91]:
        if score >= 0.3 and int(x) > 0 and int(y) > 0:
            cv2.circle(canvas, (int(x), int(y)), 3, (255, 255, 255), -1)
    return canvas


@pytest.mark.parametrize("seed", range(6))
def test_pictures_equal_the_description(seed: int) -> None:
    rng = np.random.default_rng(seed)
    height, width = ((720, 1280), (360, 640), (333, 517))[seed % 3]
    points = np.column_stack([rng.uniform(-30, 1.05 * width, (133, 2)), rng.uniform(0, 1, 133)]).astype(np.float32)
    exact = points.astype(np.float64)
    assert np.array_equal(draw(points, height, width, "controlnet"), described(exact, height, width, hands=True))
    assert np.array_equal(draw(points, height, width, "vace"), described(exact, height, width, hands=False)[..., ::-1])


def demo_keypoints(height: int = 720, width: int = 1280) -> Array:
    joints = Scene(DemoConfig(frames=1, width=width, height=height, seed=1)).frame(0).joints
    return np.column_stack([joints, np.ones(133)]).astype(np.float32)


def test_vace_at_its_own_size_keeps_place_and_colours() -> None:
    points = demo_keypoints()
    small, large = draw_as_vace(points, 720, 1280), draw(points, 720, 1280, "vace")
    assert small.shape == large.shape and small.dtype == np.uint8
    assert 0.3 < small.any(axis=2).sum() / large.any(axis=2).sum() < 1.0  # 1024 / 720: lines are thinner


@pytest.mark.parametrize("size", [(832, 480), (480, 832), (624, 624), (1280, 720), (96, 64)])
def test_only_what_is_painted_is_reduced_and_every_pixel_is_as_of_the_whole(size: tuple[int, int]) -> None:
    width, height = size
    scale = 1024 / min(size)
    tall, wide = (round(side * scale / 64) * 64 for side in (height, width))
    rng = np.random.default_rng(7)
    for corner in ((0.0, 0.0), (0.5, 0.5), (0.97, 0.9)):
        points = np.ones((133, 3))
        points[:, :2] = (np.array(corner) + rng.normal(0, 0.1, (133, 2))) * size
        large = draw(points * (wide / width, tall / height, 1.0), tall, wide, "vace")
        whole = cv2.resize(large, size, interpolation=cv2.INTER_AREA)
        assert whole.any() and np.array_equal(draw_as_vace(points, height, width), whole)


def test_a_frame_without_the_person_is_black() -> None:
    for style in STYLES:
        assert not draw(np.zeros((133, 3), np.float32), 48, 64, style).any()
    with pytest.raises(UsageError, match="wan-animate"):
        draw(np.zeros((133, 3), np.float32), 48, 64, "openpose")


def test_ten_times_as_fast_as_rtmlib() -> None:
    from rtmlib import draw_skeleton
    from rtmlib.tools.pose_estimation.post_processings import convert_coco_to_openpose

    points = demo_keypoints()
    joints, scores = convert_coco_to_openpose(points[None, :, :2], points[None, :, 2])

    def seconds(style: str | None) -> float:
        start = time.process_time()
        if style is None:
            draw_skeleton(np.zeros((720, 1280, 3), np.uint8), joints, scores, openpose_skeleton=True, kpt_thr=0.3)
        else:
            draw(points, 720, 1280, style)
        return time.process_time() - start

    theirs = min(seconds(None) for _ in range(3))
    for style in STYLES:
        assert 10 * min(seconds(style) for _ in range(5)) < theirs, style
