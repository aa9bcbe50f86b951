"""A person whom others hide in part: capsules around joints, the hidden ones carried by the motion of those seen."""

from dataclasses import dataclass, field, replace

import numpy as np

from stages.amodal.shape import DAMPING, GAP, HORIZON, touches
from stages.base import Array
from stages.poses.silhouette import FARTHEST, SEEN, silhouette, standing_height
from stages.poses.skeleton import JOINTS
from stages.region import bounding_box

NEAR = 0.04  # of the height, as much as half a forearm is wide: a joint so near to somebody may be hidden there


@dataclass(frozen=True)
class Body:
    """What is carried of a person.

    Attributes:
        points: [133, 2] float64, where each joint is, pixels; known: [133] bool, which ever were seen.
        seen: [133] bool, which were on the last frame.
        step: [2] float64, how those moved that two frames show.
        unseen: frames since anything of the person was seen.
    """

    points: Array = field(default_factory=lambda: np.zeros((JOINTS, 2)))
    known: Array = field(default_factory=lambda: np.zeros(JOINTS, bool))
    seen: Array = field(default_factory=lambda: np.zeros(JOINTS, bool))
    step: Array = field(default_factory=lambda: np.zeros(2))
    unseen: int = 0


def follow(before: Body, visible: Array, others: Array, keypoints: Array) -> tuple[Body, Array]:
    """One frame on; `visible`, `others` and what comes back as `stages.amodal.shape.follow` has them.

    Args:
        keypoints: [133, 3] float32, x, y in pixels, score.
    """
    now = _without_astray(_moved(before, keypoints), visible, others)
    shown = bounding_box(visible, GAP)
    if shown is None:
        now = Body(now.points, now.known, now.seen, now.step, before.unseen + 1)
        if now.unseen > HORIZON:
            return Body(), np.zeros(visible.shape, bool)
    elif not touches(visible[shown], others[shown]):
        return now, visible.copy()
    drawn = silhouette(np.column_stack([now.points, now.known]).astype(np.float32), *visible.shape)
    return now, visible | (drawn & others)


def _moved(before: Body, keypoints: Array) -> Body:
    """The joints of this frame; those it does not show have moved as the others did."""
    places = np.asarray(keypoints[:, :2], np.float64)
    seen = (keypoints[:, 2] >= SEEN) & (np.abs(places) < FARTHEST).all(axis=1)
    both = seen & before.seen
    step = np.median((places - before.points)[both], axis=0) if both.any() else DAMPING * before.step
    return Body(np.where(seen[:, None], places, before.points + step), before.known | seen, seen, step)


def _without_astray(body: Body, visible: Array, others: Array) -> Body:
    """Without the joints that are not seen where nobody could hide them: they are not where they were carried to, and
    are known again once they are seen. What lies outside the picture nobody can see; that stays."""
    hidden = np.flatnonzero(body.known & ~body.seen)
    if not len(hidden):
        return body
    (height, width), known = visible.shape, body.known.copy()
    reach = int(np.ceil(NEAR * standing_height(np.column_stack([body.points, body.known]))))
    for joint in hidden:
        x, y = (int(value) for value in np.round(body.points[joint]))
        if 0 <= x < width and 0 <= y < height:
            around = np.s_[max(0, y - reach) : y + reach + 1, max(0, x - reach) : x + reach + 1]
            known[joint] = bool(visible[around].any() or others[around].any())
    return replace(body, known=known)
