"""Names of the indices in COCO-WholeBody's 133 keypoints, and the OpenPose orders made of them.

Source of the order: jin-s13/COCO-WholeBody. Left and right are the person's own.
"""

import numpy as np

from stages.base import Array

JOINTS = 133
NOSE, LEFT_EYE, RIGHT_EYE, LEFT_EAR, RIGHT_EAR = range(5)
LEFT_SHOULDER, RIGHT_SHOULDER, LEFT_ELBOW, RIGHT_ELBOW, LEFT_WRIST, RIGHT_WRIST = range(5, 11)
LEFT_HIP, RIGHT_HIP, LEFT_KNEE, RIGHT_KNEE, LEFT_ANKLE, RIGHT_ANKLE = range(11, 17)
BODY = slice(0, 17)
LIMBS = {
    f"{side}_{joint}": index + offset
    for joint, index in (("shoulder", 5), ("elbow", 7), ("wrist", 9), ("hip", 11), ("knee", 13), ("ankle", 15))
    for offset, side in enumerate(("left", "right"))
}
"""The body's joints without its face, by name."""
LEFT_FOOT = slice(17, 20)  # big toe, small toe, heel
RIGHT_FOOT = slice(20, 23)
FACE = slice(23, 91)  # 68 points
LEFT_HAND = slice(91, 112)  # root, then thumb to little finger, four each
RIGHT_HAND = slice(112, 133)

OPENPOSE_18 = (0, None, 6, 8, 10, 5, 7, 9, 12, 14, 16, 11, 13, 15, 2, 1, 4, 3)
"""Source index of each of OpenPose's 18 (COCO) body joints; None = the neck, middle of the shoulders."""

BODY_25 = (0, None, 6, 8, 10, 5, 7, 9, None, 12, 14, 16, 11, 13, 15, 2, 1, 4, 3, 17, 18, 19, 20, 21, 22)
"""The same for OpenPose's BODY_25; the second None is the middle of the hips."""


def middle(keypoints: Array, first: int, second: int) -> Array:
    """[3]: the point half-way between two joints, with the lower of their scores."""
    joined: Array = (keypoints[first] + keypoints[second]) / 2
    joined[2] = min(keypoints[first, 2], keypoints[second, 2])
    if joined[2] <= 0:
        joined[:] = 0  # half of it was not seen: no place to speak of
    return joined


def openpose_body(keypoints: Array, order: tuple[int | None, ...] = OPENPOSE_18) -> Array:
    """Body joints in an OpenPose order.

    Args:
        keypoints: [133, 3], x, y, score.
        order: `OPENPOSE_18` or `BODY_25`.

    Returns:
        [len(order), 3] float64.
    """
    points = np.asarray(keypoints, np.float64)
    made = [middle(points, LEFT_SHOULDER, RIGHT_SHOULDER), middle(points, LEFT_HIP, RIGHT_HIP)]
    body: Array = np.stack([made.pop(0) if index is None else points[index] for index in order])
    return body
