"""Both models of pose: what finds persons, and what finds the joints of one."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from stages.base import Stage
from stages.poses.onnx import SessionOptions, open_session
from stages.poses.skeleton import JOINTS
from storage.errors import UsageError

if TYPE_CHECKING:
    from stages.poses.detector import PersonDetector
    from stages.poses.estimator import PoseEstimator

DEVICES = ("cpu", "cuda")
BATCH = {"cpu": 3, "cuda": 12}
"""Crops a run: divides the default windows' 81 and 60 new frames (cpu), or nearly (cuda), so that little is padding."""

SEEN = 0.3
SEEN_BODY_JOINTS = 4  # of 17: fewer in a crop that no detection vouches for, and nobody was there

RUNTIME_BYTES = 120 << 20  # ONNX Runtime and rtmlib themselves
CUDA_BYTES = 600 << 20  # a CUDA context and cuDNN's workspaces (estimated, not measured)
WEIGHT_COPIES = 2.5  # resident bytes per byte of model file: ONNX Runtime packs weights anew (measured: 2.2)
ACTIVATIONS = 20  # bytes of working memory per byte of float32 input (measured: 7 to 15)


@dataclass(frozen=True)
class PoseModels:
    """Which models, and how they work.

    Attributes:
        pose_path, detector_path: local `.onnx` files.
        device: "cpu" or "cuda".
        score_threshold: detections at or below it are dropped.
        pose_input, detector_input: (width, height) where a model leaves its input size open.
        batch: crops a run; None = by device.
        threads: threads inside one operator; 0 = one a core.
    """

    pose_path: str
    detector_path: str
    device: str = "cpu"
    score_threshold: float = 0.3
    pose_input: tuple[int, int] | None = None
    detector_input: tuple[int, int] | None = None
    batch: int | None = None
    threads: int = 0

    def __post_init__(self) -> None:
        if self.device not in DEVICES:
            raise UsageError(f"--device {self.device}: the pose stage runs on one of {', '.join(DEVICES)}")
        if self.batch is not None and self.batch < 1:
            raise UsageError(f"a batch of {self.batch} crops is below 1")
        if not 0.0 <= self.score_threshold < 1.0:
            raise UsageError(f"the detector's score threshold {self.score_threshold:g} is outside 0..1")

    @property
    def crops(self) -> int:
        """Crops a run."""
        return self.batch or BATCH[self.device]

    def open(self) -> "tuple[PersonDetector, PoseEstimator]":
        """Open both.

        Raises:
            EnvironmentFault: a model file is missing or unfit, or the device does not come up.
        """
        return self.open_detector(), self.open_pose()

    def open_detector(self) -> "PersonDetector":
        """Open what finds persons alone.

        Raises:
            EnvironmentFault: as `open`.
        """
        session = open_session(self.detector_path, SessionOptions(self.device, self.threads))
        from stages.poses.detector import PersonDetector

        return PersonDetector(session, self.detector_path, self.score_threshold, self.detector_input)

    def open_pose(self) -> "PoseEstimator":
        """Open what finds the joints alone.

        Raises:
            EnvironmentFault: as `open`.
        """
        session = open_session(self.pose_path, SessionOptions(self.device, self.threads))
        from stages.poses.estimator import PoseEstimator

        return PoseEstimator(session, self.pose_path, self.crops, self.pose_input)

    def peak_bytes(self, height: int, width: int, window_frames: int, persons: int = 1) -> tuple[int, int]:
        """Projected peak (RAM, VRAM): a window's frames, both models, what they work in, what they find of persons."""
        weights = sum(Path(p).stat().st_size for p in (self.pose_path, self.detector_path) if Path(p).is_file())
        pose_w, pose_h = self.pose_input or (288, 384)
        side_w, side_h = self.detector_input or (640, 640)
        inputs = 12 * (self.crops * pose_w * pose_h + side_w * side_h)
        models = int(WEIGHT_COPIES * weights) + ACTIVATIONS * inputs
        frames = window_frames * (height * width * 3 + persons * JOINTS * 12)
        if self.device == "cuda":
            return frames + RUNTIME_BYTES + weights + 2 * inputs, models + CUDA_BYTES
        return frames + RUNTIME_BYTES + models, 0


class PosingStage(Stage):
    """A stage that finds poses, with both models."""

    name: ClassVar[str] = "pose"
    lane = "gpu"

    def __init__(self, models: PoseModels) -> None:
        self._models = models
        self._detector: PersonDetector | None = None
        self._estimator: PoseEstimator | None = None

    def open(self) -> None:
        """Open both models.

        Raises:
            EnvironmentFault: a model file is missing or unfit, or the device does not come up.
        """
        self._detector, self._estimator = self._models.open()

    def leave_gpu(self) -> None:
        """Drop both models and their memory until they are asked again."""
        for model in (self._detector, self._estimator):
            if model is not None:
                model.session.leave_gpu()

    def close(self) -> None:
        """Drop the sessions."""
        self._detector = self._estimator = None
