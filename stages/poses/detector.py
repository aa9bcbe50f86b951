"""YOLOX person detector: rtmlib's letterbox, decoding and NMS over our own session.

Imports rtmlib: import this module only where a model is opened.
"""

import math
from typing import Any

import numpy as np
from rtmlib import YOLOX

from stages.base import Array
from stages.poses.onnx import Session
from storage.errors import EnvironmentFault

GREY = 114  # with which YOLOX's letterbox pads
PERSON = 0  # index of the class "person" in COCO
DEFAULT_SIDE = 640  # input side of YOLOX-m and larger, where the model leaves it open
STRIDES = (8, 16, 32)  # of the grids whose cells are the rows of the raw layout
NMS_IOU = 0.45  # rtmlib's and DWPose's


class PersonDetector(YOLOX):  # type: ignore[misc]  # rtmlib has no types
    """Boxes of the persons in a frame.

    rtmlib's constructor is not run: it would open a session of its own, print, and download what it does not find.
    Two layouts of models exist: `[1, N, 5]` boxes with their labels (NMS inside the model), whose labels and threshold
    rtmlib ignores, and `[1, A, 5 + classes]` raw, where rtmlib returns every class. Here both give persons above the
    threshold only.
    """

    def __init__(
        self, session: Session, path: str, score_threshold: float, side: tuple[int, int] | None = None
    ) -> None:
        """
        Args:
            session: of a YOLOX model.
            path: its file, for messages.
            score_threshold: detections at or below it are dropped, 0..1.
            side: input (width, height) where the model leaves it open; a fixed input size of the model wins.

        Raises:
            EnvironmentFault: when inputs or outputs are not those of a YOLOX detector.
        """
        self.session = session
        self.onnx_model = path
        width, height = _input_size(session, path, side)
        self.model_input_size = (height, width)  # rtmlib's order for detectors
        self.mean = self.std = None
        self.backend, self.device = "onnxruntime", "cpu"  # read by rtmlib's `inference`; the session decides
        self.det_mode, self.nms_thr, self.score_thr = "human", NMS_IOU, score_threshold
        declared = [list(output.shape) for output in session.get_outputs()]
        if not _fits(declared, self.model_input_size):
            raise _unfit(path, f"its outputs are {declared}")

    def __call__(self, frame: Array) -> Array:
        """Detect persons.

        Args:
            frame: [H, W, 3] uint8 RGB.

        Returns:
            [n, 4] float32: x1, y1, x2, y2 in pixels of the frame; n may be 0.
        """
        letterboxed, ratio = self.preprocess(self._wide_enough(frame))
        # Resizing works a channel at a time and pads with grey: reversing after it feeds the model BGR all the same.
        outputs = self.inference(letterboxed[..., ::-1])
        return self.person_boxes(outputs, ratio)

    def _wide_enough(self, frame: Array) -> Array:
        """The frame, with grey at its right or bottom where it is so narrow that letterboxing would leave no pixel."""
        sides = frame.shape[:2]
        least = math.ceil(max(side / room for side, room in zip(sides, self.model_input_size, strict=True))) + 1
        lacking = [max(0, least - side) for side in sides]
        if not any(lacking):
            return frame
        padded: Array = np.pad(frame, ((0, lacking[0]), (0, lacking[1]), (0, 0)), constant_values=GREY)
        return padded

    def person_boxes(self, outputs: list[Array], ratio: float) -> Array:
        """Boxes from the model's outputs, `[n, 4]` float32 in pixels of the frame.

        Raises:
            EnvironmentFault: when the outputs have neither of the two layouts.
        """
        first = outputs[0]
        shapes = [list(output.shape) for output in outputs]
        if not _fits(shapes, self.model_input_size):
            raise _unfit(self.onnx_model, f"its outputs are {shapes}")
        if first.shape[-1] == 5:
            rows = first[0][(outputs[1][0] == PERSON) & (first[0][:, 4] > self.score_thr)]
            boxes = rows[:, :4] / ratio
        else:
            boxes = self.postprocess(first[..., : 6 + PERSON].copy(), ratio)  # box, objectness, class "person" alone
        found: Array = np.asarray(boxes, np.float32).reshape(-1, 4)
        return found[(found[:, 2] > found[:, 0]) & (found[:, 3] > found[:, 1])]


def _input_size(session: Session, path: str, asked: tuple[int, int] | None) -> tuple[int, int]:
    """(width, height) of the model's input."""
    inputs = session.get_inputs()
    shape: list[Any] = list(inputs[0].shape) if len(inputs) == 1 else []
    if len(shape) != 4 or (isinstance(shape[1], int) and shape[1] != 3):
        raise _unfit(path, f"its input is {shape}")
    fallback = asked or (DEFAULT_SIDE, DEFAULT_SIDE)
    width = shape[3] if isinstance(shape[3], int) else fallback[0]
    height = shape[2] if isinstance(shape[2], int) else fallback[1]
    return width, height


def _fits(shapes: list[list[Any]], size: tuple[int, int]) -> bool:
    """Whether output shapes, declared (free axes by name) or found, have one of the two layouts."""
    first = shapes[0]
    if len(first) == 0:
        return True  # nothing declared: seen when it runs
    if len(first) != 3:
        return False
    height, width = size
    cells = sum((height // stride) * (width // stride) for stride in STRIDES)
    boxes = first[2] == 5 and len(shapes) >= 2
    raw = not isinstance(first[2], int) or first[2] > 5
    return boxes or (raw and (not isinstance(first[1], int) or first[1] == cells))


def _unfit(path: str, found: str) -> EnvironmentFault:
    return EnvironmentFault(
        f"{path} is no YOLOX person detector: {found}, wanted one image [1, 3, H, W] and either [1, N, 5] with labels "
        "or [1, A, 5 + classes]; give another --detector"
    )
