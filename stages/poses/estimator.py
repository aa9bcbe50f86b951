"""RTMPose/DWPose over many crops a run: rtmlib's crop and decoding, float32 batches, our own session.

Imports rtmlib: import this module only where a model is opened.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from rtmlib import RTMPose
from rtmlib.tools.pose_estimation.pre_processings import bbox_xyxy2cs, top_down_affine

from stages.base import Array
from stages.poses.onnx import Session
from stages.poses.skeleton import JOINTS
from storage.errors import EnvironmentFault

MEAN = (123.675, 116.28, 103.53)  # ImageNet's, in rtmlib's channel order
STD = (58.395, 57.12, 57.375)
PADDING = 1.25  # of the box, as in rtmlib and mmpose


class PoseEstimator(RTMPose):  # type: ignore[misc]  # rtmlib has no types
    """133 keypoints a box, `batch` boxes a run.

    Every run has the same number of rows, the last one filled up with zeros: a row's result must not depend on how a
    clip was cut into windows, and kernels may sum in another order for another number of rows. rtmlib's constructor is
    not run (see `PersonDetector`).
    """

    def __init__(self, session: Session, path: str, batch: int, size: tuple[int, int] | None = None) -> None:
        """
        Args:
            session: of a SimCC model.
            path: its file, for messages.
            batch: rows of a run; a fixed batch axis of the model wins.
            size: input (width, height) where the model leaves it open; a fixed input size of the model wins.

        Raises:
            EnvironmentFault: when inputs or outputs are not those of a whole-body SimCC model.
        """
        self.session = session
        self.onnx_model = path
        self.model_input_size, fixed_batch = _input_size(session, path, size)
        self.batch = fixed_batch or batch
        self.mean, self.std = MEAN, STD
        self.backend, self.device = "onnxruntime", "cpu"  # rtmlib's attributes; the session decides
        self.to_openpose = False
        self._input = session.get_inputs()[0].name
        self._outputs = _output_names(session, path, self.model_input_size)
        self._table = normalisation_table()

    def __call__(self, frames: Sequence[Array], boxes: Sequence[Array]) -> Array:
        """Keypoints of one box in each frame.

        Args:
            frames: each [H, W, 3] uint8 RGB.
            boxes: each [4] float32: x1, y1, x2, y2 in pixels.

        Returns:
            [n, 133, 3] float32: x, y in pixels, score clipped to 0..1; all three 0 where the model saw nothing.
        """
        found = np.zeros((len(boxes), JOINTS, 3), np.float32)
        for start in range(0, len(boxes), self.batch):
            rows = slice(start, min(start + self.batch, len(boxes)))
            found[rows] = self._run(frames[rows], boxes[rows])
        return found

    def _run(self, frames: Sequence[Array], boxes: Sequence[Array]) -> Array:
        width, height = self.model_input_size
        crops = np.zeros((self.batch, 3, height, width), np.float32)
        centres, scales = np.zeros((2, len(boxes), 1, 2))
        for row, (frame, box) in enumerate(zip(frames, boxes, strict=True)):
            crop, centres[row, 0], scales[row, 0] = crop_box(frame, box, (width, height))
            normalise(crop, self._table, crops[row])
        simcc = self.session.run(self._outputs, {self._input: crops})
        points, scores = self.postprocess([axis[: len(boxes)] for axis in simcc], centres, scales)
        seen = np.clip(np.nan_to_num(scores), 0.0, 1.0)[..., None]
        keypoints: Array = np.concatenate([np.where(seen > 0, points, 0.0), seen], axis=-1).astype(np.float32)
        return keypoints


def crop_box(frame: Array, box: Array, size: tuple[int, int]) -> tuple[Array, Array, Array]:
    """rtmlib's crop: the box padded by a quarter, widened to the input's shape, warped.

    Returns:
        crop [height, width, 3] uint8 in the frame's channel order; its centre (x, y) and size (w, h) in the frame.
    """
    centre, scale = bbox_xyxy2cs(np.asarray(box), padding=PADDING)
    crop, scale = top_down_affine(size, scale, centre, frame)
    return crop, centre, scale


def normalisation_table() -> Array:
    """[3, 256] float32: what rtmlib's `(value - mean) / std` in float64 gives for every byte of a BGR channel."""
    mean, std = np.array(MEAN)[:, None], np.array(STD)[:, None]
    table: Array = ((np.arange(256)[None] - mean) / std).astype(np.float32)
    return table


def normalise(crop: Array, table: Array, out: Array) -> None:
    """Write an RGB crop [H, W, 3] uint8 as normalised BGR planes into `out` [3, H, W] float32."""
    for channel in range(3):
        np.take(table[channel], crop[..., 2 - channel], out=out[channel], mode="clip")


def _input_size(session: Session, path: str, asked: tuple[int, int] | None) -> tuple[tuple[int, int], int | None]:
    """((width, height), batch or None where it is free)."""
    inputs = session.get_inputs()
    shape: list[Any] = list(inputs[0].shape) if len(inputs) == 1 else []
    if len(shape) != 4 or (isinstance(shape[1], int) and shape[1] != 3):
        raise _unfit(path, f"its input is {shape}")
    height = shape[2] if isinstance(shape[2], int) else asked and asked[1]
    width = shape[3] if isinstance(shape[3], int) else asked and asked[0]
    if not (height and width):
        raise _unfit(path, f"it leaves its input size open ({shape})")
    return (width, height), shape[0] if isinstance(shape[0], int) else None


def _output_names(session: Session, path: str, size: tuple[int, int]) -> list[str]:
    """Names of the x and y output.

    Raises:
        EnvironmentFault: when a declared output is not [N, 133, twice the input's side].
    """
    outputs = session.get_outputs()
    fits = len(outputs) == 2 and all(
        len(output.shape) == 3
        and (not isinstance(output.shape[1], int) or output.shape[1] == JOINTS)
        and (not isinstance(output.shape[2], int) or output.shape[2] == 2 * side)
        for output, side in zip(outputs, size, strict=True)
    )
    if not fits:
        raise _unfit(path, f"its outputs are {[list(output.shape) for output in outputs]} for an input of {size}")
    return [output.name for output in outputs]


def _unfit(path: str, found: str) -> EnvironmentFault:
    return EnvironmentFault(
        f"{path} is no whole-body SimCC pose model: {found}, wanted an image [N, 3, H, W] and "
        f"[N, {JOINTS}, 2W], [N, {JOINTS}, 2H]; give another --pose"
    )
