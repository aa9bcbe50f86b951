"""A ComfyUI server for tests: the protocol of old and new ones, a small graph interpreter, faults on schedule."""

from fake_comfy.faults import Faults
from fake_comfy.generators import Drift, Identity, Paint, Shift
from fake_comfy.server import ERAS, FakeComfy

__all__ = ["ERAS", "Drift", "FakeComfy", "Faults", "Identity", "Paint", "Shift"]
