"""The mini detector and pose model, through unmodified rtmlib, on frames that went through a lossy encoder."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import onnxruntime as ort
import pytest
from rtmlib import YOLOX, RTMPose

from stream.demo import DemoConfig, Scene
from stream.demo.clip import write_clip
from stream.demo.puppet import Array
from training.build_mini_pose import DETECTOR_SIDE, POSE_SIZE, TARGET, build_detector, build_pose, build_raw_detector

SEEN = 0.3
CLIPS = Path(os.environ.get("SKATE_CLIPS", Path(__file__).resolve().parents[2] / "shared" / "clips"))


def _decode(path: Path, every: int) -> Iterator[tuple[int, Array]]:
    """Every so many-th frame as BGR."""
    with av.open(str(path)) as container:
        for index, frame in enumerate(container.decode(video=0)):
            if index % every == 0:
                yield index, np.ascontiguousarray(frame.to_ndarray(format="rgb24")[..., ::-1])


@pytest.fixture(scope="module")
def detector() -> Any:
    return YOLOX(str(TARGET / "detector.onnx"), (DETECTOR_SIDE, DETECTOR_SIDE))


@pytest.fixture(scope="module")
def pose() -> Any:
    return RTMPose(str(TARGET / "pose.onnx"), POSE_SIZE)


def _measure(config: DemoConfig, folder: Path, every: int, detector: Any, pose: Any) -> dict[str, float]:
    """Mean error, recall, hidden joints that were reported (share), whole puppets missed, boxes without a puppet."""
    path = folder / f"{config.seed}.mp4"
    write_clip(config, path)
    scene = Scene(config)
    errors: list[Array] = []
    count = dict.fromkeys(("visible", "seen", "hidden", "ghosts", "missed", "phantom"), 0)
    for t, image in _decode(path, every):
        truth = scene.frame(t)
        boxes = detector(image)
        visible = truth.joints_visible
        count["visible"] += int(visible.sum())
        if len(boxes) == 0:
            inside = (truth.joints >= 0) & (truth.joints < (config.width, config.height))
            count["missed"] += bool(inside.all())
            continue
        count["phantom"] += not truth.person_mask.any()
        keypoints, scores = pose(image, boxes[:1])
        reported = scores[0] > SEEN
        errors.append(np.linalg.norm(keypoints[0] - truth.joints, axis=1)[reported & visible])
        count["seen"] += int((reported & visible).sum())
        count["hidden"] += int((~visible).sum())
        count["ghosts"] += int((reported & ~visible).sum())
    return {
        "error": float(np.concatenate(errors).mean()),
        "recall": count["seen"] / count["visible"],
        "ghosts": count["ghosts"] / max(1, count["hidden"]),
        "missed": count["missed"],
        "phantom": count["phantom"],
    }


def _assert_bounds(found: dict[str, float]) -> None:
    assert found["error"] <= 1.5
    assert found["recall"] >= 0.97
    assert found["ghosts"] <= 0.15  # of joints beyond the picture's edge, where the disc still shows
    assert found["missed"] == 0
    assert found["phantom"] == 0


def test_shipped_files_are_what_the_script_builds() -> None:
    for name, model in (("detector.onnx", build_detector()), ("pose.onnx", build_pose())):
        assert (TARGET / name).read_bytes() == model.SerializeToString(deterministic=True)


def test_joints_of_a_lossy_clip(tmp_path: Path, detector: Any, pose: Any) -> None:
    _assert_bounds(_measure(DemoConfig(frames=150, seed=2), tmp_path, 12, detector, pose))


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2, 3, 4, 5])
def test_joints_of_every_demo_seed(seed: int, tmp_path: Path, detector: Any, pose: Any) -> None:
    _assert_bounds(_measure(DemoConfig(seed=seed), tmp_path, 1, detector, pose))


def test_joints_of_a_small_clip(tmp_path: Path, detector: Any, pose: Any) -> None:
    found = _measure(DemoConfig(frames=49, width=320, height=180, seed=2), tmp_path, 8, detector, pose)
    _assert_bounds(found)


def _whole(scene: Scene, config: DemoConfig, frames: range, detector: Any, pose: Any) -> dict[str, tuple[float, float]]:
    """Mean error and recall of every puppet by name, on the frames where no other overlaps it; every one is found."""
    errors: dict[str, list[Array]] = {name: [] for name in scene.skaters}
    seen, visible = dict.fromkeys(scene.skaters, 0), dict.fromkeys(scene.skaters, 0)
    for t in frames:
        truth = scene.truth(t)
        image = cv2.imdecode(cv2.imencode(".jpg", scene.frame(t).image[..., ::-1])[1], cv2.IMREAD_COLOR)
        assert image is not None
        boxes = detector(image)
        assert len(boxes) <= config.skaters  # nobody who is not there
        for person in truth.skaters:
            around = cv2.dilate(person.amodal.astype(np.uint8), np.ones((9, 9), np.uint8)).astype(bool)
            others = [other.amodal for other in truth.skaters if other.name != person.name]
            if not person.joints_visible.all() or any((around & other).any() for other in others):
                continue
            middle = person.joints.mean(0)
            own = [b for b in boxes if (b[:2] < middle).all() and (middle < b[2:]).all()]
            assert own, (t, person.name)
            keypoints, scores = pose(image, own[:1])
            reported = scores[0] > SEEN
            errors[person.name].append(np.linalg.norm(keypoints[0] - person.joints, axis=1)[reported])
            seen[person.name] += int(reported.sum())
            visible[person.name] += len(reported)
    return {
        name: (float(np.concatenate(found).mean()), seen[name] / visible[name])
        for name, found in errors.items()
        if found
    }


def test_joints_of_three_puppets(detector: Any, pose: Any) -> None:
    config = DemoConfig(seed=1, skaters=3, boards=3)
    found = _whole(Scene(config), config, range(0, 201, 12), detector, pose)
    assert len(found) == 3
    for name, (error, recall) in found.items():
        assert error <= 2.0 and recall >= 0.95, name


@pytest.mark.parametrize(
    "config",
    [
        DemoConfig(seed=2, size=0.5),
        DemoConfig(seed=3, size=0.75, skaters=2),
        DemoConfig(seed=2, width=1280, height=720, camera="far"),
        DemoConfig(seed=2, camera="handheld", skaters=5, boards=1),
    ],
    ids=["half", "two", "far", "five"],
)
def test_joints_of_puppets_of_other_sizes(config: DemoConfig, detector: Any, pose: Any) -> None:
    found = _whole(Scene(config), config, range(0, 90, 30), detector, pose)
    assert found
    for name, (error, recall) in found.items():
        assert error <= 2.0 and recall >= 0.95, name


def test_covered_joints_score_low(detector: Any, pose: Any) -> None:
    frame = Scene(DemoConfig(seed=4)).frame(0)
    image = np.ascontiguousarray(frame.image[..., ::-1])
    box = detector(image)[:1]
    x, y = np.round(frame.joints[13]).astype(int)
    image[y - 9 : y + 10, x - 9 : x + 10] = 90
    _, scores = pose(image, box)
    assert scores[0, 13] < SEEN
    others = np.delete(np.arange(133), 13)
    assert (scores[0, others] > SEEN).all()


def test_nobody_there(detector: Any) -> None:
    rng = np.random.default_rng(0)
    plain = np.full((360, 640, 3), 114, np.uint8)
    noise = rng.integers(0, 256, (360, 640, 3), dtype=np.uint8)
    violet = np.full((360, 640, 3), (148, 40, 92), np.uint8)  # the body's colour, but no joints
    for image in (plain, noise, violet):
        assert len(detector(image)) == 0


@pytest.mark.parametrize("name", ["skateboarder.mp4", "juggle.mp4"])
def test_no_puppet_in_natural_pictures(name: str, detector: Any) -> None:
    if not (CLIPS / name).is_file():
        pytest.skip("real clips are not here: set SKATE_CLIPS")
    assert [t for t, image in _decode(CLIPS / name, 10) if len(detector(image))] == []


def test_layout_without_nms_gives_the_same_box(tmp_path: Path, detector: Any) -> None:
    image = np.ascontiguousarray(Scene(DemoConfig()).frame(0).image[..., ::-1])
    (tmp_path / "raw.onnx").write_bytes(build_raw_detector().SerializeToString(deterministic=True))
    raw = YOLOX(str(tmp_path / "raw.onnx"), (640, 640))
    assert raw.session.get_outputs()[0].shape == [1, 8400, 85]
    assert np.abs(raw(image)[0] - detector(image)[0]).max() < 6
    raw.det_mode = "multiclass"
    assert raw(image)[1].tolist() == [0]


def test_pose_takes_any_batch(pose: Any) -> None:
    frame = Scene(DemoConfig(seed=3)).frame(0)
    image = np.ascontiguousarray(frame.image[..., ::-1])
    crops = [pose.preprocess(image, box)[0] for box in ([200, 90, 440, 330], [180, 80, 450, 340])]
    batch = np.stack(crops).transpose(0, 3, 1, 2).astype(np.float32)
    session: ort.InferenceSession = pose.session
    together = session.run(None, {"input": batch})
    for i in range(2):
        alone = session.run(None, {"input": batch[i : i + 1]})
        for a, b in zip(together, alone, strict=True):
            assert np.allclose(a[i], b[0], atol=1e-6)
