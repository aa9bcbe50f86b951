"""ONNX files with random weights that cost what YOLOX-m and DWPose-l-384 cost: for timing without the real weights.

    python -m bench.random_pose_models DIR        writes DIR/detector-random.onnx and DIR/pose-random.onnx, 100 MB each

Both are plain stacks of 3x3 convolutions with the real input sizes, channel counts near the real ones, and the real
number of multiply-adds within 2 %: 36.9 G for the detector (YOLOX-m, arXiv 2107.08430: 73.8 GFLOPs) and 10.1 G for the
pose model (mmpose's table for RTMPose-l whole-body 384x288). The detector reports one box that it is told; the pose
model's SimCC curves are random functions of the crop.
"""

import argparse
from pathlib import Path

import numpy as np
from onnx import TensorProto

from training.onnx_graph import Array, GraphWriter, save

DETECTOR_SIDE = 640
POSE_SIZE = (288, 384)  # width, height
DETECTOR_CHANNELS, DETECTOR_DEPTHS = (48, 96, 192, 384, 768), (0, 4, 4, 4, 3)
POSE_CHANNELS, POSE_DEPTHS = (64, 128, 256, 512, 1024), (0, 2, 2, 2, 2)
JOINTS = 133
BOX = (235.0, 90.0, 410.0, 320.0)  # in the detector's 640 px input: where the demo's rider is


class _Backbone:
    """Convolutions with SiLU and shortcuts; counts its multiply-adds."""

    def __init__(self, graph: GraphWriter, seed: int) -> None:
        self.graph = graph
        self.rng = np.random.default_rng(seed)
        self.multiply_adds = 0

    def convolution(self, tensor: str, inner: int, outer: int, height: int, width: int, stride: int) -> str:
        """3x3, then SiLU; `height` and `width` are the output's."""
        weights: Array = self.rng.standard_normal((outer, inner, 3, 3)).astype(np.float32) * (1.6 / (3 * inner**0.5))
        self.multiply_adds += height * width * inner * outer * 9
        made = self.graph.op(
            "Conv", tensor, self.graph.const(weights), kernel_shape=[3, 3], pads=[1] * 4, strides=[stride] * 2
        )
        return self.graph.op("Mul", made, self.graph.op("Sigmoid", made))

    def features(self, tensor: str, size: tuple[int, int], channels: tuple[int, ...], depths: tuple[int, ...]) -> str:
        """Halve the picture five times; `depths[i]` blocks with a shortcut follow the i-th."""
        width, height = size
        inner = 3
        for outer, depth in zip(channels, depths, strict=True):
            width, height = width // 2, height // 2
            tensor = self.convolution(tensor, inner, outer, height, width, stride=2)
            for _ in range(depth):
                block = self.convolution(tensor, outer, outer, height, width, stride=1)
                tensor = self.graph.op("Add", tensor, self.graph.op("Mul", block, self.graph.const(0.3)))
            inner = outer
        return tensor


def write_detector(path: Path, box: tuple[float, float, float, float] = BOX) -> int:
    """Write the detector: `[1, 1, 5]` with its label. Returns its multiply-adds."""
    graph = GraphWriter()
    body = _Backbone(graph, seed=1)
    features = body.features("input", (DETECTOR_SIDE, DETECTOR_SIDE), DETECTOR_CHANNELS, DETECTOR_DEPTHS)
    mean = graph.op("Tanh", graph.op("ReduceMean", features, axes=[1, 2, 3], keepdims=0))
    moved = graph.op("Mul", graph.op("Reshape", mean, graph.ints(1, 1, 1)), graph.const([[[1e-3] * 4 + [0.0]]]))
    graph.op("Add", moved, graph.const([[[*box, 0.9]]]), out="dets")
    graph.op("Identity", graph.const([[0]], np.int64), out="labels")
    model = graph.model(
        "random_detector",
        {"input": [1, 3, DETECTOR_SIDE, DETECTOR_SIDE]},
        {"dets": (TensorProto.FLOAT, [1, 1, 5]), "labels": (TensorProto.INT64, [1, 1])},
        "random weights, for timing",
    )
    save(model, path)
    return body.multiply_adds


def write_pose(path: Path) -> int:
    """Write the pose model: `[N, 133, 576]`, `[N, 133, 768]`. Returns its multiply-adds for a crop."""
    graph = GraphWriter()
    body = _Backbone(graph, seed=2)
    width, height = POSE_SIZE
    features = body.features("input", POSE_SIZE, POSE_CHANNELS, POSE_DEPTHS)
    cells = (width // 32) * (height // 32)
    head: Array = body.rng.standard_normal((JOINTS, POSE_CHANNELS[-1], 1, 1)).astype(np.float32) / 32
    maps = graph.op("Conv", features, graph.const(head), kernel_shape=[1, 1])
    flat = graph.op("Reshape", maps, graph.ints(0, JOINTS, cells))
    for name, bins in (("simcc_x", 2 * width), ("simcc_y", 2 * height)):
        weights: Array = body.rng.standard_normal((cells, bins)).astype(np.float32) / cells**0.5
        graph.op("MatMul", flat, graph.const(weights), out=name)
    model = graph.model(
        "random_pose",
        {"input": ["batch", 3, height, width]},
        {
            "simcc_x": (TensorProto.FLOAT, ["batch", JOINTS, 2 * width]),
            "simcc_y": (TensorProto.FLOAT, ["batch", JOINTS, 2 * height]),
        },
        "random weights, for timing",
    )
    save(model, path)
    return body.multiply_adds


def main() -> None:
    """Write both files and say what they cost."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path)
    folder: Path = parser.parse_args().folder
    folder.mkdir(parents=True, exist_ok=True)
    for name, write in (("detector", write_detector), ("pose", write_pose)):
        path = folder / f"{name}-random.onnx"
        print(f"{path}: {write(path) / 1e9:.1f} G multiply-adds, {path.stat().st_size / 1e6:.0f} MB")


if __name__ == "__main__":
    main()
