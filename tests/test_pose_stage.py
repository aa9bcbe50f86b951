"""The pose stage on puppets: the right person, no phantom, the same bits however the clip is cut."""

import os
from dataclasses import replace
from functools import cache
from pathlib import Path

import av
import numpy as np
import pytest
from _pose_fixture import DETECTOR, joined, paint_clip, pose_config, run_clip, run_windows, write_detector

from stages.base import Array
from stages.pose import PoseConfig, PoseStage
from stages.poses.likest import likest, torso_look
from stages.prompts import Box, ObjectPrompt
from storage.errors import InputError, UsageError
from stream.demo import DemoConfig, Scene

CLIPS = Path(os.environ.get("SKATE_CLIPS", Path(__file__).resolve().parents[2] / "shared" / "clips"))
LEAVING = (106, 136)  # the rider leaves the picture and returns
FEET: Box = (80, 325, 200, 345)  # a board under a puppet that stands at (140, 330)


def errors(keypoints: Array, joints: Array) -> Array:
    """[T] mean distance of the seen joints to a puppet's, NaN where none is seen."""
    distance = np.linalg.norm(keypoints[..., :2] - joints, axis=-1)
    distance[keypoints[..., 2] < 0.3] = np.nan
    with np.errstate(invalid="ignore"):
        return np.array([np.nan if np.isnan(row).all() else np.nanmean(row) for row in distance])


@pytest.fixture(scope="module")
def tints(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Detectors of both layouts that tell puppets of three colours apart."""
    folder = tmp_path_factory.mktemp("detectors")
    return {layout: write_detector(folder / f"{layout}.onnx", layout) for layout in ("boxes", "raw")}


@cache
def demo(start: int, stop: int) -> tuple[Array, Array, Array, Box]:
    """Frames of the demo clip: pictures, joints, their visibility, the board's box on the first of them."""
    scene = Scene(DemoConfig(seed=1))
    shown = [scene.frame(t) for t in range(start, stop)]
    ys, xs = np.nonzero(shown[0].object_mask)
    box = (float(xs.min()), float(ys.min()), float(xs.max() + 1), float(ys.max() + 1))
    images, joints, visible = (
        np.stack(x) for x in zip(*((s.image, s.joints, s.joints_visible) for s in shown), strict=True)
    )
    return images, joints, visible, box


@pytest.mark.parametrize("detect_every", [1, 3])
def test_demo_joints_are_found(detect_every: int) -> None:
    images, joints, visible, box = demo(0, 60)
    keypoints = joined(run_clip(pose_config(prompt=ObjectPrompt(box=box), detect_every=detect_every), images))
    seen = (keypoints[..., 2] > 0.3) & visible
    whole = visible[:, :17].all(axis=1)
    assert np.linalg.norm(keypoints[..., :2] - joints, axis=-1)[seen].mean() <= 1.0
    assert seen.sum() >= 0.97 * visible.sum()
    assert ((keypoints[whole][..., 2] > 0.3).sum(axis=1) >= 100).all(), "a frame with the whole puppet was missed"


@pytest.mark.parametrize("detect_every", [1, 3])
@pytest.mark.parametrize("cuts", [(10, 17), (1, 2, 3, 20, 21)])
def test_windows_change_no_bit(detect_every: int, cuts: tuple[int, ...]) -> None:
    images, _, _, box = demo(*LEAVING)
    config = pose_config(prompt=ObjectPrompt(box=box), detect_every=detect_every, smooth="one-euro")
    whole, cut = run_clip(config, images), run_clip(config, images, cuts)
    assert np.array_equal(joined(whole), joined(cut))
    assert np.array_equal(joined(whole, "contacts/person"), joined(cut, "contacts/person"))
    assert [o.info["person"] for o in cut if o.info["person"]] == [whole[0].info["person"]]
    assert sum(o.info["persons_seen"] for o in cut) == whole[0].info["persons_seen"]


@pytest.mark.parametrize("layout", ["boxes", "raw"])
@pytest.mark.parametrize("detect_every", [1, 3])
def test_crossing(tints: dict[str, str], layout: str, detect_every: int) -> None:
    frames, joints = paint_clip(36, [lambda t: (140.0 + 10 * t, 330.0), lambda t: (500.0 - 10 * t, 328.0)])
    config = pose_config(detector_path=tints[layout], detect_every=detect_every)
    keypoints = joined(run_clip(config, frames))
    apart = np.abs(joints[:, 0, 0, 0] - joints[:, 1, 0, 0]) > 150
    ours = errors(keypoints, joints[:, 0])[apart]
    assert apart[-5:].all() and apart[:5].all()
    assert (ours < 2.0).all(), ours


def test_somebody_walks_through(tints: dict[str, str]) -> None:
    frames, joints = paint_clip(34, [lambda t: (300.0, 330.0), lambda t: (640.0 - 20 * t, 340.0)])
    config = pose_config(detector_path=tints["boxes"], prompt=ObjectPrompt(box=(240, 325, 360, 345)))
    keypoints = joined(run_clip(config, frames))
    apart = np.abs(joints[:, 0, 0, 0] - joints[:, 1, 0, 0]) > 150
    assert (errors(keypoints, joints[:, 0])[apart] < 2.0).all()
    passing = np.abs(joints[:, 0, 0, 0] - joints[:, 1, 0, 0]) < 50
    stranger = errors(keypoints, joints[:, 1])[~passing]
    assert not (stranger < 20).any(), "the stranger was taken for the person"


def test_absence_and_return(tints: dict[str, str]) -> None:
    def walk(t: int) -> tuple[float, float] | None:
        return (140.0 - 25 * t, 330.0) if t < 9 else None if t < 24 else (140.0 + 25 * (t - 30.0), 330.0)

    frames, joints = paint_clip(40, [walk, lambda t: (480.0, 330.0)])
    outputs = run_clip(pose_config(detector_path=tints["boxes"]), frames)
    keypoints = joined(outputs)
    assert not keypoints[9:24].any(), "a skeleton while the person is away"
    inside = np.array([t < 3 or t > 30 for t in range(40)])
    assert (errors(keypoints, joints[:, 0])[inside] < 2.0).all()
    assert outputs[0].info["person"]["frame"] == 0


def test_nobody_means_no_skeleton() -> None:
    rng = np.random.default_rng(1)
    frames = rng.integers(0, 255, (6, 360, 640, 3), np.uint8)
    (output,) = run_clip(pose_config(smooth="one-euro"), frames)
    assert not output.arrays["keypoints/person"].any() and not output.arrays["contacts/person"].any()
    assert output.info == {"person": None, "again": [], "persons_seen": 0}


def test_other_classes_and_weak_detections_are_no_persons(tmp_path: Path) -> None:
    frames, joints = paint_clip(2, [lambda t: (140.0, 330.0), lambda t: (480.0, 330.0)])
    for layout in ("boxes", "raw"):
        cats = write_detector(tmp_path / "cats.onnx", layout, classes=(15, 0, 0))
        keypoints = joined(run_clip(pose_config(detector_path=cats), frames))
        assert (errors(keypoints, joints[:, 1]) < 2.0).all(), f"{layout}: the cat at the board was chosen"
        weak = write_detector(tmp_path / "weak.onnx", layout, score=0.5)
        assert not joined(run_clip(pose_config(detector_path=weak, score_threshold=0.6), frames)).any()
        assert joined(run_clip(pose_config(detector_path=weak, score_threshold=0.4), frames)).any()


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"prompt": ObjectPrompt(box=(490, 325, 610, 345))}, 1),
        ({"prompt": ObjectPrompt(points=((540.0, 335.0, 1), (20.0, 20.0, 0)))}, 1),
        ({"person_box": (500.0, 180.0, 600.0, 335.0)}, 1),
        ({}, 0),
    ],
)
def test_choice(tints: dict[str, str], options: dict[str, object], expected: int) -> None:
    frames, joints = paint_clip(1, [lambda t: (140.0, 330.0), lambda t: (550.0, 330.0), lambda t: (345.0, 300.0)])
    keypoints = joined(run_clip(pose_config(detector_path=tints["boxes"], **options), frames))
    assert errors(keypoints, joints[:, expected])[0] < 2.0


def test_nobody_is_followed_before_the_prompt_frame_and_a_late_comer_is_chosen(tints: dict[str, str]) -> None:
    frames, joints = paint_clip(12, [lambda t: (140.0, 330.0) if t >= 7 else None, lambda t: (480.0, 330.0)])
    prompt = ObjectPrompt(frame=5, box=FEET)
    only_ours = write_detector(Path(tints["boxes"]).with_name("ours.onnx"), "boxes", classes=(0, 15, 15))
    for path, first, who in ((tints["boxes"], 5, 1), (only_ours, 7, 0)):
        outputs = run_clip(pose_config(detector_path=path, prompt=prompt, detect_every=3), frames, (4, 6))
        keypoints = joined(outputs)
        assert not keypoints[:first].any()
        assert (errors(keypoints, joints[:, who])[first:] < 2.0).all()
        (person,) = (o.info["person"] for o in outputs if o.info["person"])
        x1, y1, x2, y2 = person["box"]
        assert person["frame"] == first and x1 < joints[first, who, 11, 0] < x2 and y1 < joints[first, who, 11, 1] < y2


@pytest.mark.parametrize("detect_every", [1, 3])
def test_behind_a_cut_the_person_is_chosen_anew(tints: dict[str, str], detect_every: int) -> None:
    cut = 13
    frames, joints = paint_clip(24, [lambda t: (120, 300) if t < cut else (520, 300)])
    frames[cut:][frames[cut:] == 70] = 200  # another place, in another light
    config = pose_config(
        detector_path=tints["boxes"],
        prompt=ObjectPrompt(box=(100, 280, 140, 310)),
        detect_every=detect_every,
        on_cut="reset",
    )
    whole = run_clip(config, frames)
    (first,), (second,) = [whole[0].info["person"]], whole[0].info["again"]
    assert (first["frame"], second["frame"]) == (0, cut)
    assert first["box"][2] < 320 < second["box"][0]
    keypoints = joined(whole)
    seen = keypoints[..., 2] > 0.3
    assert seen[cut:].sum() > 0.8 * seen[:cut].sum() * (24 - cut) / cut
    assert np.linalg.norm(keypoints[..., :2] - joints[:, 0], axis=-1)[seen].mean() < 2.0
    for edges in ((10, 17), (cut,), (5, cut + 1)):
        parts = run_clip(config, frames, edges)
        assert np.array_equal(joined(parts), keypoints)
        assert np.array_equal(joined(parts, "contacts/person"), joined(whole, "contacts/person"))
        chosen = [found for o in parts for found in (o.info["person"], *o.info["again"]) if found]
        assert chosen == [first, second]
    ignoring = run_clip(replace(config, on_cut="ignore"), frames)
    assert ignoring[0].info["again"] == []


@pytest.mark.parametrize("detect_every", [1, 3])
@pytest.mark.parametrize("given", ["object", "person_box"])
@pytest.mark.parametrize("cut", [5, 10])
def test_up_to_the_prompt_frame_the_prompt_chooses_whatever_cuts_there_are(
    tints: dict[str, str], cut: int, given: str, detect_every: int
) -> None:
    """A cut before the prompt frame, or on it; the object (or the box) is beside the one or the other of two people."""
    frames, joints = paint_clip(16, [lambda t: (140.0, 330.0), lambda t: (480.0, 330.0)])
    frames[cut:][frames[cut:] == 70] = 200
    for who, x in enumerate((140.0, 480.0)):
        board = (x - 30, 325.0, x + 30, 345.0)
        config = pose_config(
            detector_path=tints["boxes"],
            prompt=ObjectPrompt(frame=10, box=board if given == "object" else (300.0, 325.0, 320.0, 345.0)),
            person_box=(x - 60, 120.0, x + 60, 340.0) if given == "person_box" else None,
            detect_every=detect_every,
            on_cut="reset",
        )
        (whole,) = run_clip(config, frames)
        (ignoring,) = run_clip(replace(config, on_cut="ignore"), frames)
        assert whole.info == ignoring.info and whole.info["person"]["frame"] == 10 and whole.info["again"] == []
        assert (errors(whole.arrays["keypoints/person"], joints[:, who])[10:] < 2.0).all()
        for edges in ((cut,), (10,), (cut + 1, 11), tuple(range(1, 16))):
            parts = run_clip(config, frames, edges)
            assert np.array_equal(joined(parts), joined([whole]))
            assert [o.info["person"] for o in parts if o.info["person"]] == [whole.info["person"]]


def test_cuts_before_and_behind_the_prompt_frame(tints: dict[str, str]) -> None:
    """The prompt chooses at its frame, behind the second cut the look of that person, though another is larger."""
    frames, _ = paint_clip(16, [lambda t: (140.0, 330.0), lambda t: (480.0, 330.0)])
    far, _ = paint_clip(16, [lambda t: None, lambda t: (480.0, 330.0)], tall=110.0)
    frames[:, :, 320:] = far[:, :, 320:]  # the right one is the smaller, and the prompt's
    frames[3:12, :170] = 200  # above their heads
    config = pose_config(prompt=ObjectPrompt(frame=7, box=(450.0, 325.0, 510.0, 345.0)), on_cut="reset")
    config = replace(config, detector_path=tints["boxes"])
    (whole,) = run_clip(config, frames)
    first, (second,) = whole.info["person"], whole.info["again"]
    assert (first["frame"], second["frame"]) == (7, 12) and min(second["box"][0], first["box"][0]) > 320
    for edges in ((7,), (12,), (5, 13), tuple(range(1, 16))):
        parts = run_clip(config, frames, edges)
        assert np.array_equal(joined(parts), joined([whole]))
        assert [f for o in parts for f in (o.info["person"], *o.info["again"]) if f] == [first, second]


def test_behind_a_cut_the_likest_is_taken_and_where_none_is_the_largest() -> None:
    rng = np.random.default_rng(1)
    image = rng.integers(90, 110, (90, 160, 3), dtype=np.uint8)
    boxes = np.array([[10, 10, 40, 80], [60, 5, 100, 85], [120, 20, 140, 70]], np.float32)
    for box, colour in zip(boxes.astype(int), ((200, 30, 30), (30, 30, 200), (200, 30, 30)), strict=True):
        image[box[1] : box[3], box[0] : box[2]] = colour
    red = torso_look(image, boxes[2])
    assert likest(image, boxes, red) == 0, "the larger of the two that are alike"
    assert likest(image, boxes[1:], red) == 1 and likest(image, boxes, np.empty(0, np.float32)) == 1
    image[10:80, 10:40] = image[20:70, 120:140] = (20, 200, 20)
    assert likest(image, boxes, red) == 1
    assert torso_look(image, np.array([3.0, 3.0, 8.0, 8.0])).size == 0


def test_leaving_between_detections_leaves_no_skeleton(tints: dict[str, str]) -> None:
    frames, _ = paint_clip(8, [lambda t: (140.0, 330.0) if t < 4 else None])
    keypoints = joined(run_clip(pose_config(detector_path=tints["boxes"], detect_every=6), frames))
    assert keypoints[:4, :17, 2].min() > 0.3 and not keypoints[4:].any()


def test_batch_size_changes_next_to_nothing() -> None:
    frames, _ = paint_clip(5, [lambda t: (140.0 + 9 * t, 330.0)])
    results = [joined(run_clip(pose_config(batch=batch), frames)) for batch in (1, 2, 5)]
    assert all(np.allclose(result, results[0], atol=1e-3) for result in results)


def test_state_is_bounded_and_not_shared() -> None:
    images, _, _, box = demo(*LEAVING)
    with PoseStage(pose_config(prompt=ObjectPrompt(box=box), smooth="one-euro")) as stage:
        run_windows(stage, images[:6], [0, 3])
        kept = stage.get_state()
        before = {name: array.copy() for name, array in kept.to_parts()[1].items()}
        run_windows(stage, images[:6], [3, 6])
        after = stage.get_state().to_parts()[1]
    assert all(np.array_equal(before[name], array, equal_nan=True) for name, array in kept.to_parts()[1].items())
    assert sum(array.nbytes for array in after.values()) < 8192
    assert {name: array.shape for name, array in after.items()} == {name: a.shape for name, a in before.items()}


def test_config_is_checked() -> None:
    for wrong in ({"smooth": "two"}, {"device": "tpu"}, {"detect_every": 0}, {"batch": 0}, {"score_threshold": 1.0}):
        with pytest.raises(UsageError):
            pose_config(**wrong)
    frames, _ = paint_clip(1, [])
    with PoseStage(pose_config(person_box=(600.0, 10.0, 700.0, 60.0))) as stage, pytest.raises(InputError):
        run_windows(stage, frames, [0, 1])


def test_peak_is_projected_without_opening() -> None:
    ram, vram = PoseStage(pose_config()).peak_bytes(1080, 1920, 81)
    assert ram > 81 * 1080 * 1920 * 3 and vram == 0
    config: PoseConfig = pose_config(device="cuda")
    assert PoseStage(config).peak_bytes(1080, 1920, 81)[1] > 0


@pytest.mark.parametrize("prompt_frame", [0, 4])
def test_people_of_a_real_clip_are_no_puppets(prompt_frame: int) -> None:
    path = CLIPS / "skateboarder.mp4"
    if not path.exists():
        pytest.skip(f"{path} is not there: set SKATE_CLIPS")
    with av.open(str(path)) as container:
        pictures = [
            frame.to_ndarray(format="rgb24") for frame, _ in zip(container.decode(video=0), range(8), strict=False)
        ]
    prompt = ObjectPrompt(frame=prompt_frame, box=(225, 395, 315, 490))
    (output,) = run_clip(pose_config(detector_path=DETECTOR, prompt=prompt), np.stack(pictures))
    assert not output.arrays["keypoints/person"].any(), "a phantom"
    assert output.info["person"] is None and len(output.arrays["keypoints/person"]) == len(pictures)
