"""A stage from outside: it stands in the middle of the chain, carries state, and writes arrays that nobody knew."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from stages.base import PICTURE, Array, Inputs, Json, Output, Port, Read, Stage, State, Window
from stream.engine.chain import Chain


@dataclass
class Mean(State):
    """The running mean of all frames so far."""

    value: float = 0.0


class Brightness(Stage):
    """How bright each frame is, smoothed over the clip, and the frames dimmed by it."""

    name = "brightness"
    reads = (Read("frames", "new"), Read("masks/object", "new"))
    writes = (
        Port("brightness/mean", "new", (3,), "float32"),
        Port("dimmed", "new", PICTURE, "uint8", "until_read"),
    )

    def __init__(self) -> None:
        self.state = Mean()

    def process(self, window: Window, inputs: Inputs) -> Output:
        frames = inputs.arrays["frames"]
        means = frames.mean(axis=(1, 2), dtype=np.float64).astype(np.float32)
        for mean in means:
            self.state = Mean(0.9 * self.state.value + 0.1 * float(mean.mean()))
        return Output({"brightness/mean": means + np.float32(self.state.value), "dimmed": frames // 2})

    def get_state(self) -> Mean:
        return Mean(self.state.value)

    def set_state(self, values: Mapping[str, Json], arrays: Mapping[str, Array]) -> None:
        self.state = Mean.from_parts(values, arrays)


def install() -> None:
    """In a forked child: have it stand behind tracking in every chain."""
    from stream.options.assembly import build_chain
    from stream.run import lifecycle

    def build(*given: Any) -> Chain:
        nodes = list(build_chain(*given))
        return Chain([*nodes[:3], Brightness(), *nodes[3:]])

    vars(lifecycle)["build_chain"] = build
