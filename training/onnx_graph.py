"""A few lines around `onnx.helper`: running names, so that the same script gives the same bytes."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

OPSET, IR_VERSION = 17, 9
Array = np.ndarray[Any, np.dtype[Any]]
Dims = list[int | str]


class GraphWriter:
    """Collects the nodes of one graph; every method returns the name of the tensor that it makes."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def const(self, value: Any, dtype: type = np.float32) -> str:
        """A constant tensor."""
        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(np.asarray(value, dtype)), name))
        return name

    def op(self, kind: str, *inputs: str, out: str | None = None, **attributes: Any) -> str:
        """One operator with a single output."""
        name = out or f"t{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [name], **attributes))
        return name

    def ints(self, *values: int) -> str:
        """A constant int64 vector (axes, shapes)."""
        return self.const(values, np.int64)

    def total(self, tensor: str, *axes: int, keep: bool = False) -> str:
        """Sum over axes."""
        return self.op("ReduceSum", tensor, self.ints(*axes), keepdims=int(keep))

    def scaled(self, tensor: str, low: float, high: float) -> str:
        """0 at `low`, 1 at `high`, linear between, clipped."""
        shifted = self.op("Mul", self.op("Sub", tensor, self.const(low)), self.const(1.0 / (high - low)))
        return self.op("Clip", shifted, self.const(0.0), self.const(1.0))

    def mean_pool(self, tensor: str, side: int) -> str:
        """Mean of a square neighbourhood, same size; what lies outside counts as 0."""
        return self.op(
            "AveragePool", tensor, kernel_shape=[side, side], pads=[side // 2] * 4, strides=[1, 1], count_include_pad=1
        )

    def max_pool(self, tensor: str, side: int) -> str:
        """Maximum of a square neighbourhood, same size."""
        return self.op("MaxPool", tensor, kernel_shape=[side, side], pads=[side // 2] * 4, strides=[1, 1])

    def above(self, tensor: str, limit: float) -> str:
        """1.0 where the tensor is above `limit`, else 0.0."""
        return self.op("Cast", self.op("Greater", tensor, self.const(limit)), to=TensorProto.FLOAT)

    def model(
        self, name: str, inputs: dict[str, Dims], outputs: dict[str, tuple[int, Dims]], note: str
    ) -> onnx.ModelProto:
        """The checked model; inputs are float32, outputs `(TensorProto type, dims)`."""
        graph = helper.make_graph(
            self.nodes,
            name,
            [helper.make_tensor_value_info(k, TensorProto.FLOAT, dims) for k, dims in inputs.items()],
            [helper.make_tensor_value_info(k, kind, dims) for k, (kind, dims) in outputs.items()],
            self.constants,
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], producer_name="skate-mini")
        model.ir_version = IR_VERSION
        model.doc_string = note
        onnx.checker.check_model(model, full_check=True)
        return model


def save(model: onnx.ModelProto, path: Path) -> int:
    """Write the model; returns its size in bytes."""
    data = model.SerializeToString(deterministic=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return len(data)
