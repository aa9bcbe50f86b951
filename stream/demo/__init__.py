"""A synthetic skate clip whose masks and joints are known, for the demo, the tests and the training."""

from stream.demo.look import Look
from stream.demo.scene import TRAINING_SEED_BASE, DemoConfig, DemoFrame, Scene
from stream.demo.truth import BoardTruth, PersonTruth, Truth

__all__ = [
    "TRAINING_SEED_BASE", "BoardTruth", "DemoConfig", "DemoFrame", "Look", "PersonTruth", "Scene", "Truth",
]  # fmt: skip
