"""The generators by name: what `--generator` chooses from, and the windows that each takes. Nothing heavy is loaded."""

import importlib
from dataclasses import dataclass


@dataclass(frozen=True)
class Geometry:
    """The windows that a generator takes; a run is refused, or covered, accordingly.

    Attributes:
        frame_step: a window has `frame_step * n + 1` frames; shorter ones are padded for the generator alone.
        size_step: the sides of its pictures are multiples of it, pixels; `--size` must be.
        fps: rate of the videos that it was trained on; None: it knows none.
    """

    frame_step: int
    size_step: int = 1
    fps: float | None = None


@dataclass(frozen=True)
class GeneratorKind:
    """One choice of `--generator`.

    Attributes:
        target: `module:class` of its stage.
        geometry: of its windows.
        on_servers: whether it works on servers (`--server`).
        reseeds: whether another seed makes another picture, so that a window can be tried again.
    """

    target: str
    geometry: Geometry
    on_servers: bool = False
    reseeds: bool = False

    def load(self) -> type:
        """The class of its stage; imported now."""
        module, _, name = self.target.partition(":")
        found: type = getattr(importlib.import_module(module), name)
        return found


GENERATORS = {
    # Wan 2.1 VACE: the VAE has a temporal stride of 4, and a spatial one of 8 times patches of 2.
    "comfyui": GeneratorKind("stages.comfyui:ComfyStage", Geometry(4, 16, fps=16.0), on_servers=True, reseeds=True),
    # Any window would do; it takes those of the real one, whose windows it is there to show.
    "preview": GeneratorKind("stages.preview:PreviewStage", Geometry(4)),
}
