"""The generators by name: what `--generator` chooses from, and the windows that each takes. Nothing heavy is loaded."""

import importlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stages.generator import GeneratorStage


@dataclass(frozen=True)
class Geometry:
    """The windows that a generator takes; a run is refused, or covered, accordingly.

    Attributes:
        frame_step: a window has `frame_step * n + 1` frames; shorter ones are padded for the generator alone.
        carried: the most frames at a window's start that it takes as made already (`--continuity tail`); None: as many
            as windows overlap.
        size_step: the sides of its pictures are multiples of it, pixels; `--size` must be.
        fps: rate of the videos that it was trained on; None: it knows none.
    """

    frame_step: int
    carried: int | None = 0
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
        drifts: whether colours move on the way through it, so that they are matched when its picture is composited.
        removes: whether it can do nothing but remove the subjects (`--reskin remove`), and looks at the clip itself.
    """

    target: str
    geometry: Geometry
    on_servers: bool = False
    reseeds: bool = False
    drifts: bool = False
    removes: bool = False

    def load(self) -> "type[GeneratorStage]":
        """The class of its stage; imported now."""
        module, _, name = self.target.partition(":")
        found: type[GeneratorStage] = getattr(importlib.import_module(module), name)
        return found


GENERATORS = {
    # Wan 2.1 VACE: the VAE has a temporal stride of 4, and a spatial one of 8 times patches of 2.
    "comfyui": GeneratorKind(
        "stages.comfyui:ComfyStage",
        Geometry(4, carried=None, size_step=16, fps=16.0),
        on_servers=True,
        reseeds=True,
        drifts=True,
    ),
    # Any window would do; it takes those of the real one, whose windows it is there to show.
    "preview": GeneratorKind("stages.preview:PreviewStage", Geometry(4)),
    "plate": GeneratorKind("stages.remove:RemoveStage", Geometry(4), removes=True),
}


def default_generator(servers: bool, removing: bool = False) -> str:
    """Taken where none is named: the first that works on servers where there are any, else the first that does not;
    where subjects are removed without a server, the first that does nothing else."""
    alone = removing and not servers
    return next(name for name, kind in GENERATORS.items() if (kind.on_servers, kind.removes) == (servers, alone))
