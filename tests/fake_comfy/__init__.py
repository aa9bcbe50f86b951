"""A ComfyUI server for tests: the protocol of 0.3.64, a small interpreter of the graph, and faults on schedule."""

from fake_comfy.faults import Faults
from fake_comfy.generators import Identity, Paint, Shift
from fake_comfy.server import FakeComfy

__all__ = ["FakeComfy", "Faults", "Identity", "Paint", "Shift"]
