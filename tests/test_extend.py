"""Stages of a caller's own, put into the chain with `extend`: what others ask of the run they are in."""

from dataclasses import replace
from pathlib import Path

import numpy as np
from _small_run import small_config

from stages.base import PICTURE, Inputs, Output, Port, Read, Stage, Window
from stream.engine.chain import Chain, Node
from stream.run.lifecycle import start


class Mirror(Stage):
    """The frames as in a mirror, for the generator alone."""

    name = "mirror"
    reads = (Read("frames", "new"),)
    writes = (Port("mirrored", "new", PICTURE, "uint8", "until_read"),)

    def process(self, window: Window, inputs: Inputs) -> Output:
        return Output({"mirrored": np.ascontiguousarray(inputs.arrays["frames"][:, :, ::-1])})


def with_mirror(chain: Chain) -> Chain:
    """The chain whose generator sees the mirrored frames."""
    nodes = [Node(node.stage, bind={"frames": "mirrored"}) if node.name == "generate" else node for node in chain]
    return Chain([*nodes[: chain.names.index("generate")], Mirror(), *nodes[chain.names.index("generate") :]])


def test_frames_made_for_the_generator_and_let_go_of_are_made_again_for_another_one(tmp_path: Path) -> None:
    """`--overwrite` voided the generator alone, and ended in an error: they had been let go of."""
    config, run, other = replace(small_config(), view="full"), tmp_path / "run", tmp_path / "other"
    start(config, run, extend=with_mirror)
    start(replace(config, seed=1), run, overwrite=True, extend=with_mirror)
    start(replace(config, seed=1), other, extend=with_mirror)
    assert (run / "output.mp4").read_bytes() == (other / "output.mp4").read_bytes()
