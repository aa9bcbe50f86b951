"""Builds the mini detector and the mini pose model: ONNX graphs written by hand that read the demo puppet's colours.

    python -m training.build_mini_pose            writes stages/models/mini/{detector,pose}.onnx

Nothing is learned. Both graphs measure how near each pixel is to known colours, in a space where brightness counts for
less than colour (a disc that is shaded, blurred or compressed keeps its hue), and take centres of mass:

    detector  picture -> body colours -> a box for each of them, if there is enough of it and painted joints lie on it
    pose      crop -> its body colour -> 17 colours near it -> 17 positions -> x `puppet.MATRIX` -> 133 -> SimCC curves

Every puppet of a clip has a body colour of its own (`puppet.BODY_RGBS`): by it the detector tells them apart, and the
pose model takes no joint of a puppet that only reaches into the crop.

They have the inputs and outputs of the real models, so that rtmlib's `YOLOX` and `RTMPose` run them unmodified, on BGR
pictures as rtmlib expects. Nothing else in the world looks like the puppet: on natural pictures they find nobody.
"""

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper

from stream.demo.puppet import ANCHOR_JOINTS, ANCHOR_RGB, BODY_RGBS, JOINTS, MATRIX
from training.onnx_graph import Array, GraphWriter, save

TARGET = Path(__file__).resolve().parents[1] / "stages" / "models" / "mini"
DETECTOR_SIDE = 640
POSE_SIZE = (192, 256)  # width, height
# mmpose's normalisation, as `rtmlib.RTMPose` applies it to BGR
_MEAN = np.array([123.675, 116.28, 103.53])
_STD = np.array([58.395, 57.12, 57.375])
# SimCC's label widths at 256x192 (RTMPose, arXiv 2303.07399: sigma 4.9 and 5.66, two bins a pixel)
_SIGMAS = (4.9, 5.66)

# BGR 0..1 -> brightness (BT.601) at a third of its weight, and the two colour differences.
_LUMA = np.array([0.114, 0.587, 0.299])
_FEATURES = np.stack([0.35 * _LUMA, np.array([1.0, 0, 0]) - _LUMA, np.array([0, 0, 1.0]) - _LUMA])

_POSE_REACH, _POSE_POOL, _POSE_GATE = 0.30, 5, 9
_POSE_SCORE = (0.22, 0.5)
_BODY_REACH, _ANCHOR_REACH = 0.13, 0.26
_BODY_PIXELS = (60.0, 160.0)
_ANCHORS_FOUND = (3.5, 7.0)
# Share of its box that a body fills: puppets 0.05 (half hidden) to 0.25; colours strewn over a natural picture 0.02.
_BODY_SHARE = (0.03, 0.045)
_TOP_SCORE = 0.95
# Of the crop's pixels: how far around the own body joints count, and how much body tells whose crop it is.
_OWN_REACH, _OWN_PIXELS = 25, 40.0


def _bgr(colours: tuple[tuple[int, ...], ...]) -> Array:
    return np.array(colours, float)[:, ::-1] / 255.0


def _nearness(graph: GraphWriter, bgr: str, colours: Array, reach: float) -> str:
    """`[N, 3, H, W]` BGR 0..1 -> `[N, C, H, W]`: 1 on a colour, falling to 0 at distance `reach`."""
    known = colours @ _FEATURES.T
    features = graph.op("Conv", bgr, graph.const(_FEATURES[:, :, None, None]), kernel_shape=[1, 1])
    square = graph.total(graph.op("Mul", features, features), 1, keep=True)
    stacked = graph.op("Concat", features, square, axis=1)
    # 1 - |f - c|^2 / reach^2 = (2 f.c - |f|^2) / reach^2 + (1 - |c|^2 / reach^2): one 1x1 convolution
    weights = np.concatenate([2 * known, -np.ones((len(known), 1))], 1) / reach**2
    offset = 1 - (known**2).sum(1) / reach**2
    near = graph.op("Conv", stacked, graph.const(weights[:, :, None, None]), graph.const(offset), kernel_shape=[1, 1])
    return graph.op("Relu", near)


@dataclass(frozen=True)
class _Found:
    """Tensors of shape [1] in model pixels."""

    x1: str
    y1: str
    x2: str
    y2: str
    score: str


def _solid(graph: GraphWriter, bgr: str, stride: int) -> str:
    """`[N, 3, H, W]` -> `[N, bodies, H / stride, W / stride]`: 1.0 where a pixel and most around it have the colour of
    a body."""
    near = graph.above(_nearness(graph, bgr, _bgr(BODY_RGBS), _BODY_REACH), 0.0)
    share = graph.op(
        "AveragePool", near, kernel_shape=[3, 3], pads=[1, 1, 1, 1], strides=[stride, stride], count_include_pad=1
    )
    return graph.above(share, 0.7)


def _find_puppets(graph: GraphWriter, picture: str, side: int) -> list[_Found]:
    """For every body colour the box around it, and how sure it is a puppet. Colours are compared in every pixel, the
    rest is done at half the side.
    """
    bgr = graph.op("Mul", picture, graph.const(1 / 255.0))
    solid = _solid(graph, bgr, 2)
    near_body = graph.max_pool(solid, 9)
    small = graph.op("AveragePool", bgr, kernel_shape=[2, 2], strides=[2, 2])
    anchors = _nearness(graph, small, _bgr(ANCHOR_RGB), _ANCHOR_REACH)
    places = np.arange(side // 2)
    weights = graph.const(side // 2 - places), graph.const(places + 1)
    pixels = graph.total(solid, 0, 2, 3)  # [bodies]
    found = []
    for index in range(len(BODY_RGBS)):
        body, near, count = (
            _one(graph, tensor, index, axis) for tensor, axis in ((solid, 1), (near_body, 1), (pixels, 0))
        )
        on_body = graph.op("Mul", anchors, near)
        strongest = graph.op("ReduceMax", on_body, axes=[2, 3], keepdims=0)  # [1, 17]
        discs = graph.total(graph.above(strongest, 0.35), 1)  # [1]
        sure = graph.op("Mul", graph.scaled(count, *_BODY_PIXELS), graph.scaled(discs, *_ANCHORS_FOUND))
        # The figure is body and discs; a column or row belongs to it with at least two pixels.
        figure = graph.op("Max", body, graph.above(graph.op("ReduceMax", on_body, axes=[1], keepdims=1), 0.3))
        x1, x2, y1, y2 = _edges(graph, figure, side // 2, weights)
        area = graph.op("Mul", graph.op("Sub", x2, x1), graph.op("Sub", y2, y1))  # in model pixels, body in cells of 4
        share = graph.op("Div", graph.op("Mul", count, graph.const(4.0)), graph.op("Max", area, graph.const(1.0)))
        sure = graph.op("Mul", sure, graph.scaled(share, *_BODY_SHARE))
        found.append(_Found(x1, y1, x2, y2, graph.op("Mul", sure, graph.const(_TOP_SCORE))))
    return found


def _one(graph: GraphWriter, tensor: str, index: int, axis: int) -> str:
    """The part `index` of an axis, kept as an axis of 1."""
    return graph.op("Slice", tensor, graph.ints(index), graph.ints(index + 1), graph.ints(axis))


def _edges(graph: GraphWriter, figure: str, half: int, weights: tuple[str, str]) -> list[str]:
    """Left, right, upper and lower edge in model pixels, each [1], of a mask `[1, 1, half, half]`, two cells wider.

    `weights`: `[half]` falling to 1, and rising from 1.
    """
    edges = []
    for axis in (2, 3):
        profile = graph.above(graph.total(figure, 0, 1, axis), 1.5)  # [half]
        first, last = (
            graph.op("ReduceMax", graph.op("Mul", profile, weight), axes=[0], keepdims=1) for weight in weights
        )
        low = graph.op("Sub", graph.op("Sub", graph.const(float(half)), first), graph.const(2.0))
        for edge in (graph.op("Max", low, graph.const(0.0)), graph.op("Add", last, graph.const(2.0))):
            edges.append(graph.op("Mul", edge, graph.const(2.0)))
    return edges


def build_detector(side: int = DETECTOR_SIDE) -> onnx.ModelProto:
    """The layout with NMS in the graph: input `[1, 3, side, side]` float32 BGR 0..255, outputs `dets` [1, N, 5]
    (x1, y1, x2, y2, score; model pixels) and `labels` [1, N]; N is at most the number of body colours.
    """
    graph = GraphWriter()
    found = _find_puppets(graph, "input", side)
    numbers = [value for one in found for value in (one.x1, one.y1, one.x2, one.y2, one.score)]
    rows = graph.op("Reshape", graph.op("Concat", *numbers, axis=0), graph.ints(1, len(found), 5))
    scores = graph.op("Concat", *(one.score for one in found), axis=0)
    graph.op("Compress", rows, graph.op("Greater", scores, graph.const(0.05)), out="dets", axis=1)
    first = graph.op("Slice", "dets", graph.ints(0), graph.ints(1), graph.ints(2))
    flat = graph.op("Squeeze", first, graph.ints(2))
    graph.op("Cast", graph.op("Mul", flat, graph.const(0.0)), out="labels", to=TensorProto.INT64)
    return graph.model(
        "mini-detector",
        {"input": [1, 3, side, side]},
        {"dets": (TensorProto.FLOAT, [1, "n", 5]), "labels": (TensorProto.INT64, [1, "n"])},
        "Finds the demo puppets by their colours. BGR 0..255.",
    )


def build_raw_detector(side: int = 640, classes: int = 80, label: int = 0) -> onnx.ModelProto:
    """The layout without NMS (DWPose's `yolox_l.onnx`): `output` [1, cells, 5 + classes], undecoded. At side 640 there
    are 8,400 cells. It has the first puppet alone; `label` is the class that it is called. For tests of the code that
    reads this layout.
    """
    graph = GraphWriter()
    found = _find_puppets(graph, "images", side)[0]
    stride, across = 32, side // 32
    before = sum((side // s) ** 2 for s in (8, 16))
    cells = before + across**2

    def centre_and_size(low: str, high: str) -> tuple[str, str, str]:
        middle = graph.op("Mul", graph.op("Add", low, high), graph.const(0.5 / stride))
        extent = graph.op("Mul", graph.op("Sub", high, low), graph.const(1 / stride))
        extent = graph.op("Max", extent, graph.const(1e-3))
        cell = graph.op("Clip", graph.op("Floor", middle), graph.const(0.0), graph.const(across - 1.0))
        return graph.op("Sub", middle, cell), graph.op("Log", extent), cell

    dx, log_width, column = centre_and_size(found.x1, found.x2)
    dy, log_height, line = centre_and_size(found.y1, found.y2)
    place = graph.op("Add", graph.op("Mul", line, graph.const(float(across))), column)
    index = graph.op("Cast", graph.op("Add", place, graph.const(float(before))), to=TensorProto.INT64)
    one_hot = graph.const(np.eye(classes)[label])
    row = graph.op("Concat", dx, dy, log_width, log_height, found.score, one_hot, axis=0)
    zero = numpy_helper.from_array(np.zeros(1, np.float32))
    table = graph.op("ConstantOfShape", graph.ints(cells, 5 + classes), value=zero)
    where = graph.op("Reshape", index, graph.ints(1, 1))
    filled = graph.op("ScatterND", table, where, graph.op("Reshape", row, graph.ints(1, 5 + classes)))
    graph.op("Unsqueeze", filled, graph.ints(0), out="output")
    return graph.model(
        "mini-detector-raw",
        {"images": [1, 3, side, side]},
        {"output": (TensorProto.FLOAT, [1, cells, 5 + classes])},
        "Finds the demo puppet by its colours, without NMS. BGR 0..255.",
    )


def _own_part(graph: GraphWriter, bgr: str, size: tuple[int, int]) -> str:
    """`[N, 1, H, W]`: 1 near the body that fills most of the crop's middle; 1 everywhere where no known body does."""
    width, height = size
    solid = _solid(graph, bgr, 1)
    across = 1 - 0.6 * np.abs(np.linspace(-1, 1, width))[None, None, None]
    down = 1 - 0.3 * np.abs(np.linspace(-1, 1, height))[None, None, :, None]
    weighted = graph.op("Mul", graph.op("Mul", solid, graph.const(across)), graph.const(down))
    mass = graph.total(weighted, 2, 3, keep=True)  # [N, bodies, 1, 1]
    most = graph.op("ReduceMax", mass, axes=[1], keepdims=1)
    chosen = graph.op("Cast", graph.op("Equal", mass, most), to=TensorProto.FLOAT)
    own = graph.total(graph.op("Mul", solid, chosen), 1, keep=True)
    nobody = graph.op("Cast", graph.op("Less", most, graph.const(_OWN_PIXELS)), to=TensorProto.FLOAT)
    reach, pad = _OWN_REACH, _OWN_REACH // 2
    rows = graph.op("MaxPool", own, kernel_shape=[1, reach], pads=[0, pad, 0, pad], strides=[1, 1])
    near = graph.op("MaxPool", rows, kernel_shape=[reach, 1], pads=[pad, 0, pad, 0], strides=[1, 1])
    return graph.op("Max", near, nobody)


def _anchor_positions(graph: GraphWriter, bgr: str, size: tuple[int, int]) -> tuple[str, str]:
    """`[N, 3, H, W]` -> positions `[N, 17, 2]` in crop pixels and scores `[N, 17]`."""
    width, height = size
    near = graph.op("Mul", _nearness(graph, bgr, _bgr(ANCHOR_RGB), _POSE_REACH), _own_part(graph, bgr, size))
    smooth = graph.mean_pool(near, _POSE_POOL)
    flat = graph.op("Flatten", graph.op("Reshape", smooth, graph.ints(-1, width * height)), axis=1)
    best = graph.op("ArgMax", flat, axis=1, keepdims=0)  # [N * 17]
    column = graph.op("Mod", best, graph.const(width, np.int64))
    line = graph.op("Div", best, graph.const(width, np.int64))
    peak = graph.op("ReduceMax", smooth, axes=[2, 3], keepdims=1)
    weight = graph.op("Relu", graph.op("Sub", smooth, graph.op("Mul", peak, graph.const(0.35))))
    # Only what lies around the strongest place counts: a like colour elsewhere pulls no centre away.
    shapes = (("x", column, width, (1, 1, 1, width)), ("y", line, height, (1, 1, height, 1)))
    for _, at, length, shape in shapes:
        place = graph.op("Cast", at, to=TensorProto.FLOAT)
        place = graph.op("Reshape", place, graph.ints(-1, len(ANCHOR_JOINTS), 1, 1))
        distance = graph.op("Abs", graph.op("Sub", graph.const(np.arange(length).reshape(shape)), place))
        inside = graph.op("Cast", graph.op("Less", distance, graph.const(_POSE_GATE + 0.5)), to=TensorProto.FLOAT)
        weight = graph.op("Mul", weight, inside)
    mass = graph.op("Add", graph.total(weight, 2, 3), graph.const(1e-9))
    centres = []
    for _, _, length, shape in shapes:
        moment = graph.total(graph.op("Mul", weight, graph.const(np.arange(length).reshape(shape))), 2, 3)
        centres.append(graph.op("Unsqueeze", graph.op("Div", moment, mass), graph.ints(2)))
    score = graph.scaled(graph.op("Squeeze", peak, graph.ints(2, 3)), *_POSE_SCORE)
    return graph.op("Concat", *centres, axis=2), score


def _inside_picture(graph: GraphWriter, bgr: str, joints: str, size: tuple[int, int]) -> str:
    """`[N, 133]`: 0 where a joint `[N, 133, 2]` lies on the black that pads a crop beyond the picture, else 1."""
    width, height = size
    lit = graph.above(graph.op("ReduceMax", bgr, axes=[1], keepdims=1), 1.5 / 255)
    solid = graph.above(graph.mean_pool(lit, 3), 0.4)
    flat = graph.op("Reshape", solid, graph.ints(-1, width * height))
    limit = graph.const([width - 1.0, height - 1.0])
    whole = graph.op("Floor", graph.op("Add", joints, graph.const(0.5)))
    place = graph.op("Min", graph.op("Max", whole, graph.const([0.0, 0.0])), limit)
    index = graph.total(graph.op("Mul", place, graph.const([1.0, float(width)])), 2)
    return graph.op("GatherElements", flat, graph.op("Cast", index, to=TensorProto.INT64), axis=1)


def build_pose(size: tuple[int, int] = POSE_SIZE) -> onnx.ModelProto:
    """A SimCC head: `input` [N, 3, H, W] float32 normalised BGR -> `simcc_x` [N, 133, 2W], `simcc_y` [N, 133, 2H]."""
    width, height = size
    graph = GraphWriter()
    scale, shift = (_STD / 255)[None, :, None, None], (_MEAN / 255)[None, :, None, None]
    bgr = graph.op("Add", graph.op("Mul", "input", graph.const(scale)), graph.const(shift))
    anchors, anchor_scores = _anchor_positions(graph, bgr, size)
    flat = graph.op("Reshape", anchors, graph.ints(-1, 2 * len(ANCHOR_JOINTS)))
    joints = graph.op("Reshape", graph.op("MatMul", flat, graph.const(MATRIX.T)), graph.ints(-1, JOINTS, 2))
    # A joint is as sure as the least sure of the painted joints that it hangs on.
    hangs_on = (np.abs(MATRIX).reshape(JOINTS, 2, -1, 2).max((1, 3)) > 1e-9).astype(float)
    each = graph.op("Max", graph.op("Unsqueeze", anchor_scores, graph.ints(1)), graph.const(1 - hangs_on[None]))
    least = graph.op("ReduceMin", each, axes=[2], keepdims=0)
    seen = graph.op("Mul", least, _inside_picture(graph, bgr, joints, size))
    score = graph.op("Unsqueeze", graph.op("Mul", seen, graph.const(_TOP_SCORE)), graph.ints(2))
    for axis, (length, name, sigma) in enumerate(zip(size, ("simcc_x", "simcc_y"), _SIGMAS, strict=True)):
        at = graph.op("Slice", joints, graph.ints(axis), graph.ints(axis + 1), graph.ints(2))
        off = graph.op("Sub", graph.const(np.arange(2 * length)[None, None]), graph.op("Mul", at, graph.const(2.0)))
        bell = graph.op("Exp", graph.op("Mul", graph.op("Mul", off, off), graph.const(-0.5 / sigma**2)))
        graph.op("Mul", bell, score, out=name)
    return graph.model(
        "mini-pose",
        {"input": ["batch", 3, height, width]},
        {
            "simcc_x": (TensorProto.FLOAT, ["batch", JOINTS, 2 * width]),
            "simcc_y": (TensorProto.FLOAT, ["batch", JOINTS, 2 * height]),
        },
        "Reads the 133 joints of the demo puppet from its colours. BGR, mmpose's normalisation.",
    )


def main() -> None:
    """Write both models."""
    parser = argparse.ArgumentParser(description="Build the mini detector and pose model.")
    parser.add_argument("--to", type=Path, default=TARGET, help="folder to write into")
    folder = parser.parse_args().to
    for name, model in (("detector.onnx", build_detector()), ("pose.onnx", build_pose())):
        print(f"{folder / name}: {save(model, folder / name)} bytes")


if __name__ == "__main__":
    main()
