"""JSON of keypoints: every index, joint by joint, on the demo puppet, and the rules of the readers."""

import json
from pathlib import Path

import numpy as np
import pytest

from stages.base import Array
from stages.poses.openpose_json import cmu_frame, pose_keypoint, pose_keypoint_chunks
from stages.poses.openpose_read import read_poses
from storage.errors import InputError
from stream.demo import DemoConfig, Scene

# OpenPose's names in OpenPose's order (doc/02_output.md), and COCO-WholeBody's number of each (None: made of two).
BODY_25: dict[str, int | tuple[int, int]] = {
    "Nose": 0, "Neck": (5, 6), "RShoulder": 6, "RElbow": 8, "RWrist": 10, "LShoulder": 5, "LElbow": 7, "LWrist": 9,
    "MidHip": (11, 12), "RHip": 12, "RKnee": 14, "RAnkle": 16, "LHip": 11, "LKnee": 13, "LAnkle": 15, "REye": 2,
    "LEye": 1, "REar": 4, "LEar": 3, "LBigToe": 17, "LSmallToe": 18, "LHeel": 19, "RBigToe": 20, "RSmallToe": 21,
    "RHeel": 22,
}  # fmt: skip
COCO_18 = [name for name in BODY_25 if name != "MidHip"][:18]


@pytest.fixture(scope="module")
def puppet() -> Array:
    """[133, 3] true joints of the demo puppet, each with a score of its own."""
    joints = Scene(DemoConfig(frames=1, seed=1)).frame(0).joints
    return np.column_stack([joints, np.linspace(0.4, 1.0, 133)]).astype(np.float32)


def place(puppet: Array, source: int | tuple[int, int]) -> Array:
    points = puppet[[source] if isinstance(source, int) else list(source)].astype(float)
    return np.array([*points[:, :2].mean(axis=0), points[:, 2].min()])


def triples(values: list[float]) -> Array:
    return np.array(values).reshape(-1, 3)


def test_cmu_joint_by_joint(puppet: Array) -> None:
    frame = cmu_frame(puppet)
    (person,) = frame["people"]
    assert frame["version"] == 1.3
    body = triples(person["pose_keypoints_2d"])
    assert len(body) == 25
    for found, (name, source) in zip(body, BODY_25.items(), strict=True):
        assert found == pytest.approx(place(puppet, source), abs=1e-3), name
    face = triples(person["face_keypoints_2d"])
    assert len(face) == 70
    assert face == pytest.approx(puppet[[*range(23, 91), 2, 1]], abs=1e-3)  # then the right eye, the left eye
    assert triples(person["hand_left_keypoints_2d"]) == pytest.approx(puppet[91:112], abs=1e-3)
    assert triples(person["hand_right_keypoints_2d"]) == pytest.approx(puppet[112:133], abs=1e-3)


def test_left_and_right_are_the_persons_own(puppet: Array) -> None:
    body = dict(zip(BODY_25, triples(cmu_frame(puppet)["people"][0]["pose_keypoints_2d"]), strict=True))
    for part in ("Shoulder", "Hip", "Eye", "Ear", "BigToe"):  # the puppet faces the camera
        assert body[f"L{part}"][0] > body[f"R{part}"][0], part


def test_pose_keypoint_joint_by_joint(puppet: Array) -> None:
    frame = pose_keypoint(puppet, 360, 640)
    assert (frame["canvas_height"], frame["canvas_width"]) == (360, 640)
    (person,) = frame["people"]
    body = triples(person["pose_keypoints_2d"])
    assert len(person["pose_keypoints_2d"]) == 54 and len(person["face_keypoints_2d"]) == 210
    assert len(person["hand_left_keypoints_2d"]) == len(person["hand_right_keypoints_2d"]) == 63
    for found, name, score in zip(body, COCO_18, person["pose_scores"], strict=True):
        wanted = place(puppet, BODY_25[name])
        assert found == pytest.approx([*wanted[:2], 1.0], abs=1e-3), name  # the reader drops anything below 1.0
        assert score == pytest.approx(wanted[2], abs=1e-3)
    face = triples(person["face_keypoints_2d"])
    assert face[:, :2] == pytest.approx(puppet[[*range(23, 91), 2, 1], :2], abs=1e-3) and (face[:, 2] == 1.0).all()


def test_missing_points_and_parts(puppet: Array) -> None:
    points = puppet.copy()
    points[91:112, 2] = 0.29  # below the threshold: no left hand
    points[5] = 0  # no left shoulder, so no neck
    (person,) = pose_keypoint(points, 360, 640)["people"]
    assert person["hand_left_keypoints_2d"] is None and person["hand_left_scores"] is None
    body = triples(person["pose_keypoints_2d"])
    assert not body[COCO_18.index("Neck")].any() and not body[COCO_18.index("LShoulder")].any()
    (theirs,) = cmu_frame(points)["people"]
    assert triples(theirs["hand_left_keypoints_2d"])[:, 2] == pytest.approx(0.29)  # true confidences there
    nobody = np.zeros((133, 3), np.float32)
    assert pose_keypoint(nobody, 4, 6) == {"people": [], "canvas_height": 4, "canvas_width": 6}
    assert cmu_frame(nobody)["people"] == []


@pytest.mark.parametrize("frames", [0, 1, 3])
def test_a_clip_is_written_in_pieces(puppet: Array, frames: int) -> None:
    pieces = list(pose_keypoint_chunks((puppet for _ in range(frames)), 360, 640))
    clip = json.loads("".join(pieces))
    assert len(clip) == frames and len(pieces) == frames + 1
    assert all(frame == json.loads(json.dumps(pose_keypoint(puppet, 360, 640))) for frame in clip)


@pytest.mark.parametrize("text", ["[" * 200_000, '[{"people": [' + "[" * 900 + "]" * 900 + "]}]"])
def test_poses_nested_too_deeply_are_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "pose.json").write_text(text)
    with pytest.raises(InputError, match=r"--pose .*pose\.json: (is no JSON|an entry is neither)") as caught:
        list(read_poses(tmp_path / "pose.json"))
    assert "\n" not in str(caught.value)
