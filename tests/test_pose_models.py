"""Sessions, detector and estimator against plain rtmlib on the same files."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import rtmlib
from _pose_fixture import DETECTOR, POSE, paint_clip, pose_config, write_detector
from onnx import TensorProto, helper

from stages.base import Array
from stages.models.registry import packaged
from stages.pose import PoseStage
from stages.poses.detector import PersonDetector
from stages.poses.estimator import PoseEstimator, crop_box, normalisation_table, normalise
from stages.poses.onnx import SessionOptions, open_session
from storage.errors import EnvironmentFault
from stream.demo import DemoConfig, Scene

ONE_THREAD, ON_GPU = SessionOptions(threads=1), SessionOptions("cuda", threads=1)


@pytest.fixture(scope="module")
def frames() -> Array:
    """[6, 360, 640, 3] uint8 RGB of the demo clip."""
    scene = Scene(DemoConfig(seed=2))
    return np.stack([scene.frame(7 * t).image for t in range(6)])


@pytest.fixture(scope="module")
def estimator() -> PoseEstimator:
    return PoseEstimator(open_session(POSE, ONE_THREAD), POSE, 4)


def detector(path: str, threshold: float = 0.3) -> PersonDetector:
    return PersonDetector(open_session(path, ONE_THREAD), path, threshold)


def test_crops_equal_rtmlibs_bit_for_bit(frames: Array) -> None:
    model = rtmlib.RTMPose(POSE, model_input_size=(192, 256), backend="onnxruntime")
    rng = np.random.default_rng(3)
    table, planes = normalisation_table(), np.empty((3, 256, 192), np.float32)
    for frame in frames:
        corner = rng.uniform(-50, 500, 2)
        box = np.concatenate([corner, corner + rng.uniform(5, 400, 2)]).astype(np.float32)
        theirs, centre, scale = model.preprocess(np.ascontiguousarray(frame[..., ::-1]), box)
        crop, our_centre, our_scale = crop_box(frame, box, (192, 256))
        normalise(crop, table, planes)
        assert np.array_equal(planes, theirs.transpose(2, 0, 1).astype(np.float32))
        assert np.array_equal(centre, our_centre) and np.array_equal(scale, our_scale)


def test_keypoints_equal_rtmlibs(frames: Array, estimator: PoseEstimator) -> None:
    model = rtmlib.Wholebody(det=DETECTOR, det_input_size=(640, 640), pose=POSE, pose_input_size=(192, 256))
    ours = detector(DETECTOR)
    found = [ours(frame) for frame in frames]
    assert all(len(boxes) == 1 for boxes in found)
    keypoints = estimator(list(frames), [boxes[0] for boxes in found])
    for frame, row in zip(frames, keypoints, strict=True):
        points, scores = model(np.ascontiguousarray(frame[..., ::-1]))
        assert np.allclose(points[0], row[:, :2], atol=1e-3) and np.allclose(scores[0], row[:, 2], atol=1e-5)


def test_a_row_does_not_depend_on_its_batch(frames: Array, estimator: PoseEstimator) -> None:
    boxes = [np.array([x, 60, x + 200, 330], np.float32) for x in (20, 90, 150, 210, 300, 380)]
    together = estimator(list(frames), boxes)
    assert together.dtype == np.float32 and together[..., 2].min() >= 0 and together[..., 2].max() <= 1
    for k, (frame, box) in enumerate(zip(frames, boxes, strict=True)):
        assert np.array_equal(estimator([frame], [box])[0], together[k])
    assert np.array_equal(estimator(list(frames)[::-1], boxes[::-1])[::-1], together)
    assert estimator([], []).shape == (0, 133, 3)


@pytest.mark.parametrize("layout", ["boxes", "raw"])
def test_both_layouts_give_the_same_boxes(tmp_path: Path, layout: str) -> None:
    pictures, joints = paint_clip(1, [lambda t: (140.0, 330.0), lambda t: (480.0, 330.0)])
    found = detector(write_detector(tmp_path / "tints.onnx", layout))(pictures[0])
    assert found.dtype == np.float32 and found.shape == (2, 4)
    for box, puppet in zip(found[np.argsort(found[:, 0])], joints[0], strict=True):
        assert box[:2] == pytest.approx(puppet.min(axis=0), abs=25)
        assert box[2:] == pytest.approx(puppet.max(axis=0), abs=25)


def test_nothing_is_printed(capfd: pytest.CaptureFixture[str], frames: Array) -> None:
    with PoseStage(pose_config()):
        pass
    assert capfd.readouterr() == ("", "")


def test_nobody_is_told_of_it(tmp_path: Path) -> None:
    """ONNX Runtime's telemetry would lay down a number of this machine before it sends anything."""
    code = f"from stages.poses.onnx import SessionOptions, open_session; open_session({DETECTOR!r}, SessionOptions())"
    quiet = {"ORT_DISABLE_TELEMETRY", "ORT_RUNNING_UNIT_TESTS", "XDG_CACHE_HOME"}
    ours = {name: value for name, value in os.environ.items() if name not in quiet and "CI" not in name}
    given = {**ours, "HOME": str(tmp_path), "PYTHONPATH": str(Path(__file__).resolve().parents[1])}
    subprocess.run([sys.executable, "-P", "-c", code], env=given, check=True)
    assert not list(tmp_path.rglob("*"))


def test_a_missing_file_is_named_and_never_fetched(tmp_path: Path) -> None:
    for option in ("pose_path", "detector_path"):
        with pytest.raises(EnvironmentFault, match=r"nowhere\.onnx") as caught:
            PoseStage(pose_config(**{option: str(tmp_path / "nowhere.onnx")})).open()
        assert caught.value.exit_code == 4 and "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"not a model", b"\x08\x07" * 50])
def test_a_file_that_is_no_model(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "broken.onnx"
    path.write_bytes(content)
    with pytest.raises(EnvironmentFault, match=r"broken\.onnx") as caught:
        open_session(str(path), ONE_THREAD)
    assert "\n" not in str(caught.value)


def test_a_model_whose_names_are_no_text(tmp_path: Path) -> None:
    """ONNX Runtime quotes them, and Python cannot decode what it says."""
    path = Path(write_passing(tmp_path / "broken.onnx", [1], [1]))
    path.write_bytes(path.read_bytes().replace(b"Identity", b"Identit\x80"))
    with pytest.raises(EnvironmentFault, match=r"broken\.onnx"):
        open_session(str(path), ONE_THREAD)


def write_passing(path: Path, inputs: list[str | int | None], outputs: list[str | int | None]) -> str:
    """A model of one Identity, with these shapes."""
    graph = helper.make_graph(
        [helper.make_node("Identity", ["x"], ["y"])],
        "passing",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, inputs)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, outputs)],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)
    return str(path)


def test_models_of_another_kind_are_refused(tmp_path: Path) -> None:
    other = write_passing(tmp_path / "other.onnx", [1, 3, 8, 8], [1, 3, 8, 8])
    flat = write_passing(tmp_path / "flat.onnx", [1, 7], [1, 7])
    for path in (other, flat, POSE):
        with pytest.raises(EnvironmentFault, match="no YOLOX person detector"):
            detector(path)
    with pytest.raises(EnvironmentFault, match=r"\[1, 9, 4\]"):
        detector(DETECTOR).person_boxes([np.zeros((1, 9, 4), np.float32)], 1.0)
    for path in (other, flat, DETECTOR):
        with pytest.raises(EnvironmentFault, match="no whole-body SimCC"):
            PoseEstimator(open_session(path, ONE_THREAD), path, 1)


def test_cuda_that_is_not_there_ends_with_exit_4() -> None:
    import onnxruntime

    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("this ONNX Runtime has CUDA")
    with pytest.raises(EnvironmentFault, match="--device cpu") as caught:
        PoseStage(pose_config(device="cuda")).open()
    assert caught.value.exit_code == 4


NO_DEVICE = (
    "/onnxruntime_src/onnxruntime/core/providers/cuda/cuda_call.cc:129 std::conditional_t<THRW, void, Status> "
    "onnxruntime::CudaCall(ERRTYPE, const char*) [with ERRTYPE = cudaError; bool THRW = true] CUDA failure 100: "
    "no CUDA-capable device is detected ; GPU=-1 ; hostname=here ; expr=cudaSetDevice(info_.device_id);"
)


@pytest.fixture
def a_gpu(monkeypatch: pytest.MonkeyPatch) -> type[Any]:
    """ONNX Runtime built with CUDA, as its Python layer sees it; the work is the CPU's."""
    import onnxruntime as ort

    create = ort.InferenceSession._create_inference_session

    class Gpu:
        fails: RuntimeError | None = None

        def open(self: Any, providers: Any, *options: Any) -> None:
            if "CPUExecutionProvider" not in providers[:1] and Gpu.fails is not None:
                self._fallback_providers = ["CPUExecutionProvider"]
                raise Gpu.fails
            create(self, ["CPUExecutionProvider"], *options)

    monkeypatch.setattr(ort, "get_available_providers", lambda: ["CUDAExecutionProvider", "CPUExecutionProvider"])
    monkeypatch.setattr(ort, "preload_dlls", lambda: print("Failed to load libcublasLt.so.13"))
    monkeypatch.setattr(ort.InferenceSession, "_create_inference_session", Gpu.open)
    monkeypatch.setattr(ort.InferenceSession, "get_providers", lambda self: ["CUDAExecutionProvider"])
    return Gpu


def test_a_gpu_that_fails_is_told_and_the_cpu_is_not_taken_instead(
    a_gpu: type[Any], capsys: pytest.CaptureFixture[str]
) -> None:
    a_gpu.fails = RuntimeError(NO_DEVICE)
    with pytest.raises(EnvironmentFault, match=r"cannot use the GPU.*: CUDA failure 100: no CUDA-capable") as caught:
        open_session(POSE, ON_GPU)
    assert caught.value.exit_code == 4 and "\n" not in str(caught.value)
    out, err = capsys.readouterr()
    assert out == "" and "libcublasLt" in err


def test_a_gpu_that_fails_while_it_works_is_told_too(
    a_gpu: type[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from onnxruntime.capi.onnxruntime_pybind11_state import EPFail

    session = open_session(write_passing(tmp_path / "same.onnx", [1], [1]), ON_GPU)

    class Fails:
        def __init__(self, inner: Any) -> None:
            self.inner = inner

        def __getattr__(self, name: str) -> Any:
            return getattr(self.inner, name)

        def run(self, *given: Any) -> None:
            raise EPFail("[ONNXRuntimeError] : 11 : EP_FAIL : CUDNN_FE failure 11: CUDNN_BACKEND_API_FAILED ; GPU=0")

    monkeypatch.setattr(session._inner, "_sess", Fails(session._inner._sess))
    with pytest.raises(EnvironmentFault, match="CUDNN_BACKEND_API_FAILED"):
        session.run(None, {"x": np.zeros(1, np.float32)})
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("shape", [(500, 1), (1, 500), (3, 3000), (4000, 2)])
def test_frames_too_narrow_to_letterbox_are_padded(shape: tuple[int, int]) -> None:
    """rtmlib would resize them to no pixel at all."""
    frame = np.full((*shape, 3), 90, np.uint8)
    boxes = detector(str(packaged("mini/detector.onnx")))(frame)
    assert boxes.shape[1:] == (4,)
