"""A synthetic skate clip whose masks and joints are known, for the demo, the tests and the training."""

from stream.demo.look import Look
from stream.demo.scene import TRAINING_SEED_BASE, DemoConfig, DemoFrame, Scene

__all__ = ["TRAINING_SEED_BASE", "DemoConfig", "DemoFrame", "Look", "Scene"]
