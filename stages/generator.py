"""What generators have in common: they make the picture of a window, as the config or a request says."""

import json
from abc import abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Self

from stages.base import Inputs, Json, Output, Port, Stage, Window


@dataclass(frozen=True)
class Request:
    """What one try at generating a window changes; None: as the run's config says.

    Attributes:
        number: of the attempt; another number is another seed.
        seed, text: in place of the config's.
        dilate: width of the ring around the object and around the person, pixels at the generator's size.
        strength: of the control.
    """

    number: int = 0
    seed: int | None = None
    text: str | None = None
    dilate: tuple[int, int] | None = None
    strength: float | None = None

    def to_info(self) -> dict[str, Json]:
        """As it stands in the info of a commit; `of` is the inverse."""
        changed = {name: value for name, value in vars(self).items() if value is not None}
        return {"request": json.loads(json.dumps(changed))}

    @classmethod
    def of(cls, info: Mapping[str, Json]) -> Self:
        """What was asked for when a window was committed with this info."""
        given = dict(info.get("request", {}))
        if "dilate" in given:
            given["dilate"] = tuple(given["dilate"])
        return cls(**given)


@dataclass(frozen=True)
class StepProgress:
    """So many of a generator's steps are done, of how many, in this attempt at a window, on this server."""

    window: int
    attempt: int
    step: int
    steps: int
    server: str


class GeneratorStage(Stage):
    """A stage that makes the picture: a window can be asked for otherwise than the config says.

    It writes `made` `[read.frames, h, w, 3]` uint8 RGB at its own size: the window as it made it, all of the picture.
    What of it goes back into the source, and how, is the composite's.

    Attributes:
        conditions: whether a part of its work, `condition`, needs nothing of the windows before.
    """

    conditions: bool = False

    def __init__(self) -> None:
        self.writes = (Port("made", "window", self._made_shape, "uint8", "passing"),)

    @classmethod
    def from_options(cls, options: Mapping[str, Any], progress: Callable[[StepProgress], None]) -> Self:
        """The stage, closed, for a run with these options by name; `progress` is told every step, from any thread."""
        return cls()

    @abstractmethod
    def process(self, window: Window, inputs: Inputs, request: Request = Request()) -> Output:
        """Generate a window as the config says, or as `request` changes that."""

    def condition(self, window: Window, inputs: Inputs) -> object:
        """Do ahead what needs nothing of the windows before, in another thread while one of them is being made.

        Args:
            inputs: without what is read of windows before.

        Returns:
            What `process` is to be given as `inputs.conditioned`. It gives the same without.
        """
        return None

    def conditioned_bytes(self, height: int, width: int, window_frames: int) -> int:
        """RAM that a window takes which is conditioned ahead, of frames of this size."""
        return 0

    def size_for(self, width: int, height: int) -> tuple[int, int]:
        """(width, height) of what it makes of frames of this size."""
        return width, height

    def works_at(self, width: int, height: int) -> tuple[int, int]:
        """(width, height) whose pixels `--dilate` is counted in: `size_for`, but where it enlarges in the end."""
        return self.size_for(width, height)

    def _made_shape(self, height: int, width: int) -> tuple[int, ...]:
        columns, rows = self.size_for(width, height)
        return rows, columns, 3

    @property
    def at_once(self) -> int:
        """Windows it may be given at a time, in threads: those that read no window before, or one of another shot."""
        return 1
