"""Puppets of several body colours, a detector that tells them apart, and a runner that cuts a clip into windows."""

import itertools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from stages.base import Array, Inputs, Output, Window
from stages.pose import PoseConfig, PoseStage
from stages.prompts import ObjectPrompt
from storage.spans import Span
from stream.demo.motion import Timeline
from stream.demo.painter import Brush, PuppetPainter
from stream.demo.puppet import Proportions, joints_from_anchors

MINI = Path(__file__).parents[1] / "stages" / "models" / "mini"
POSE, DETECTOR = str(MINI / "pose.onnx"), str(MINI / "detector.onnx")
TINTS = ((148, 92, 40), (40, 120, 92), (40, 60, 130))  # RGB
SIDE, MARGIN, FPS = 320, 6.0, 24.0
HEIGHT, WIDTH = 360, 640
CAT = 15  # an index of COCO that is no person's

Place = tuple[float, float] | None
Walk = Callable[[int], Place]


def figure(dx: float, dy: float, tall: float = 150.0) -> Array:
    """[17, 2] anchors of a standing puppet whose feet are at (dx, dy)."""
    anchors = Timeline(3, Proportions(), 640.0).moment(0.0).anchors
    return (anchors - [306.0, 294.0]) * (tall / 200.0) + [dx, dy]


def paint_clip(frames: int, walks: Sequence[Walk], tall: float = 150.0) -> tuple[Array, Array]:
    """A clip of puppets that stand where `walks` say (None: not there), later ones in front.

    Returns:
        frames [n, 360, 640, 3] uint8 RGB, and joints [n, puppets, 133, 2], NaN where a puppet is not there.
    """
    pictures = np.zeros((frames, HEIGHT, WIDTH, 3), np.uint8)
    joints = np.full((frames, len(walks), 133, 2), np.nan)
    for t in range(frames):
        canvas = np.full((HEIGHT, WIDTH, 4), 70, np.uint8)
        for k, walk in enumerate(walks):
            place = walk(t)
            if place is not None:
                anchors = figure(*place, tall)
                PuppetPainter(Brush(canvas), anchors, tall, TINTS[k], 0.075).draw()
                joints[t, k] = joints_from_anchors(anchors)
        pictures[t] = canvas[..., :3]
    return pictures, joints


def write_detector(path: Path, layout: str, classes: Sequence[int] = (0, 0, 0), score: float = 0.9) -> str:
    """A YOLOX model that gives a box for each of TINTS it sees.

    Args:
        layout: "boxes" ([1, N, 5] with labels) or "raw" ([1, A, 85]).
        classes: COCO class reported for each tint.
        score: reported for what is seen.
    """
    nodes: list[onnx.NodeProto] = []
    constants: list[onnx.TensorProto] = []

    def const(value: object, kind: type = np.float32) -> str:
        constants.append(numpy_helper.from_array(np.asarray(value, kind), f"c{len(constants)}"))
        return constants[-1].name

    def op(kind: str, *inputs: str, out: str | None = None, **attributes: Any) -> str:
        name = out or f"n{len(nodes)}"
        nodes.append(helper.make_node(kind, list(inputs), [name], **attributes))
        return name

    picture = "images"
    slots: list[str] = []
    for tint in TINTS:
        colour = const(np.array(tint[::-1], np.float32)[None, :, None, None])
        far = op("ReduceMax", op("Abs", op("Sub", picture, colour)), axes=[1], keepdims=1)
        near = op("Cast", op("Less", far, const(14.0)), to=TensorProto.FLOAT)  # [1, 1, H, W]
        solid = op("AveragePool", near, kernel_shape=[3, 3], pads=[1] * 4)  # drops blends along an outline
        near = op("Squeeze", op("Cast", op("Greater", solid, const(0.99)), to=TensorProto.FLOAT), const([1], np.int64))
        ends = []
        for axis in (1, 2):
            line = op("ReduceMax", near, axes=[axis], keepdims=0)
            first = op("ReduceMax", op("Mul", line, const(np.arange(SIDE, 0, -1))), axes=[1], keepdims=0)
            last = op("ReduceMax", op("Mul", line, const(np.arange(1, SIDE + 1))), axes=[1], keepdims=0)
            ends.append((op("Sub", const(SIDE - MARGIN), first), op("Add", last, const(MARGIN))))
        seen = op("ReduceSum", near, const([1, 2], np.int64), keepdims=0)
        (x1, x2), (y1, y2) = ends
        found = op("Mul", op("Cast", op("Greater", seen, const(40.0)), to=TensorProto.FLOAT), const(score))
        slots.append(op("Unsqueeze", op("Concat", x1, y1, x2, y2, found, axis=0), const([0, 1], np.int64)))
    boxes = op("Concat", *slots, axis=1)  # [1, S, 5]
    if layout == "boxes":
        op("Identity", boxes, out="dets")
        op("Identity", const(np.array([classes]), np.int64), out="labels")
        shapes: list[tuple[str, int, list[str | int | None]]] = [
            ("dets", TensorProto.FLOAT, [1, "n", 5]),
            ("labels", TensorProto.INT64, [1, "n"]),
        ]
    else:
        _raw_rows(op, const, boxes, classes)
        shapes = [("output", TensorProto.FLOAT, [1, "anchors", 85])]
    graph = helper.make_graph(
        nodes,
        "tints",
        [helper.make_tensor_value_info(picture, TensorProto.FLOAT, [1, 3, SIDE, SIDE])],
        [helper.make_tensor_value_info(*shape) for shape in shapes],
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.save(model, path)
    return str(path)


def _raw_rows(op: Callable[..., str], const: Callable[..., str], boxes: str, classes: Sequence[int]) -> None:
    """Write corner boxes as the first cells of the stride-8 grid: offsets, logarithms of sizes, score, 80 classes."""

    def columns(start: int, stop: int) -> str:
        return op("Slice", boxes, const([start], np.int64), const([stop], np.int64), const([2], np.int64))

    low, high = columns(0, 2), columns(2, 4)
    cells = np.array([[[k, 0.0] for k in range(len(classes))]])
    middle = op("Sub", op("Div", op("Add", low, high), const(16.0)), const(cells))
    size = op("Log", op("Max", op("Div", op("Sub", high, low), const(8.0)), const(1e-3)))
    onehot = np.zeros((1, len(classes), 80))
    onehot[0, range(len(classes)), list(classes)] = 1.0
    rows = op("Concat", middle, size, columns(4, 5), const(onehot), axis=2)
    anchors = sum((SIDE // stride) ** 2 for stride in (8, 16, 32))
    op("Concat", rows, const(np.zeros((1, anchors - len(classes), 85))), axis=1, out="output")


def pose_config(**options: object) -> PoseConfig:
    """A config with the mini models and an object at the first puppet's feet; one thread."""
    given: dict[str, object] = {
        "pose_path": POSE,
        "detector_path": DETECTOR,
        "prompt": ObjectPrompt(box=(80, 325, 200, 345)),
        "threads": 1,
        **options,
    }
    return PoseConfig(**given)  # type: ignore[arg-type]


def run_windows(stage: PoseStage, frames: Array, cuts: Sequence[int], fresh: bool = False) -> list[Output]:
    """Run an opened stage over windows `[cuts[i], cuts[i+1])`; `fresh`: hand the state on through its stored form."""
    outputs = []
    hard = np.flatnonzero(np.abs(np.diff(frames.mean((1, 2, 3)))) > 27) + 1
    for k, (start, stop) in enumerate(itertools.pairwise(cuts)):
        span = Span(start, stop)
        window = Window(k, span, span, span, stop == cuts[-1], stop - start)
        info = {"decode": {"cuts": [int(cut) for cut in hard if start <= cut < stop]}}
        inputs = Inputs({"frames": frames[start:stop], "times": np.arange(start, stop) / FPS}, info)
        outputs.append(stage.process(window, inputs))
        if fresh:
            stage.set_state(*stage.get_state().to_parts())
    return outputs


def joined(outputs: Sequence[Output], name: str = "keypoints/person") -> Array:
    """One array over all windows."""
    return np.concatenate([output.arrays[name] for output in outputs])


def run_clip(config: PoseConfig, frames: Array, cuts: Sequence[int] = ()) -> list[Output]:
    """Open a stage and run it over the clip, whole or cut at `cuts`."""
    with PoseStage(config) as stage:
        return run_windows(stage, frames, [0, *cuts, len(frames)], fresh=bool(cuts))
