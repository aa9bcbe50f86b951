"""What every stage has in common: the window it works on, what it returns, and the state it carries.

A stage is `open()`, `process(window, inputs)`, `finish()`, `close()`. Its output depends on its config, its inputs and
its carried state alone. It never touches the run directory: `stream` commits what it returns. (Exceptions, whose job is
I/O: decode reads the video, sink writes a segment, score reads one, the ComfyUI client talks to its server.)
"""

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

import numpy as np

from storage.closing import Closing
from storage.errors import RunDirectoryError
from storage.spans import Span

if TYPE_CHECKING:
    from stages.views.lens import Lens

Array = np.ndarray[Any, np.dtype[Any]]
Json = Any  # what json.dumps takes; numbers, strings, lists and dicts
Shape = tuple[int | Literal["height", "width"], ...]


@dataclass(frozen=True)
class Window:
    """One step of the chain (see the picture in `stream/engine/windows.py`).

    Attributes:
        index: k, counted from 0.
        read: the source frames generation sees, `[start, stop)`; decode, pose and track never see them twice.
        new: frames seen first in this window; decode, pose and track write these.
        final: frames that no later window changes any more; blend, sink and score write these.
        last: whether the clip ends with this window.
        padded_frames: length of the generated window, 4n+1, >= `read.frames` (more only in a very short shot).
        shot: number of its shot (what lies between hard cuts, which no window spans), counted from 0.
        shot_start: that shot's first frame.
        cut: whether a hard cut follows, and with it another shot.
    """

    index: int
    read: Span
    new: Span
    final: Span
    last: bool
    padded_frames: int
    shot: int = 0
    shot_start: int = 0
    cut: bool = False

    @property
    def begins_shot(self) -> bool:
        """Whether it is the first window of its shot."""
        return self.final.start == self.shot_start

    @property
    def ends_shot(self) -> bool:
        """Whether it is the last window of its shot."""
        return self.last or self.cut


@dataclass(frozen=True)
class Inputs:
    """What a stage is given for a window.

    Attributes:
        arrays: by name, each cut to the span that the stage's `reads` declares; frames first.
        info: by stage name, the `info` that the stages named in `facts` committed for this window.
        folder: where files lie that one stage writes and another reads (segments).
        lens: what a generator's frames, masks and keypoints are seen through; None: they are the source's.
        conditioned: what the generator's `condition` gave of this window; None: nobody asked it.
    """

    arrays: Mapping[str, Array] = field(default_factory=dict)
    info: Mapping[str, Mapping[str, Json]] = field(default_factory=dict)
    folder: Path = Path()
    lens: "Lens | None" = None
    conditioned: object = None


@dataclass(frozen=True)
class Output:
    """What a stage returns for a window.

    Attributes:
        arrays: by name, as declared in the stage's `writes`; frames first.
        info: small facts (JSON) that go into the commit record, e.g. the person's box, a segment's name and digest.
    """

    arrays: Mapping[str, Array] = field(default_factory=dict)
    info: Mapping[str, Json] = field(default_factory=dict)


@dataclass
class State:
    """Base of the explicit, bounded, versioned state that a stage carries from window to window.

    Subclasses are dataclasses whose fields are numpy arrays, dicts of numpy arrays by string, or JSON values
    (tuples come back as lists: convert them in `__post_init__`). Stored without pickle.
    """

    version: ClassVar[int] = 1

    def to_parts(self) -> tuple[dict[str, Json], dict[str, Array]]:
        """`(values, arrays)`: JSON values by field, arrays by `field` or `field/key`."""
        values: dict[str, Json] = {"__version__": self.version}
        arrays: dict[str, Array] = {}
        for item in dataclasses.fields(self):
            value = getattr(self, item.name)
            if isinstance(value, np.ndarray):
                arrays[item.name] = value
            elif isinstance(value, dict) and value and all(isinstance(v, np.ndarray) for v in value.values()):
                arrays.update({f"{item.name}/{key}": array for key, array in value.items()})
            else:
                values[item.name] = value
        return values, arrays

    @classmethod
    def from_parts(cls, values: Mapping[str, Json], arrays: Mapping[str, Array]) -> Self:
        """The inverse of `to_parts`.

        Raises:
            RunDirectoryError: when the state was written by another version of this class.
        """
        found = values.get("__version__")
        if found != cls.version:
            raise RunDirectoryError(
                f"carried state {cls.__name__} has version {found}, this program reads {cls.version}: "
                "finish the run with the version that began it, or start anew with --overwrite"
            )
        fields: dict[str, Any] = {key: value for key, value in values.items() if key != "__version__"}
        for key, array in arrays.items():
            name, _, inner = key.partition("/")
            if inner:
                fields.setdefault(name, {})[inner] = array
            else:
                fields[name] = array
        return cls(**fields)


@dataclass
class NoState(State):
    """For a stage that carries nothing."""


@dataclass(frozen=True)
class Port:
    """An array that a stage writes.

    Attributes:
        name: as the stage calls it.
        span: "new" or "final": the frames of the window that it covers, each frame once in the clip; "window": an array
            of its own for every window.
        shape: of a frame's entry; "height" and "width" stand for the frame's sides in pixels; or what gives it for
            frames of this height and width.
        dtype, fill: of the array, and what stands for frames never written.
        names: of the entries of a frame's last axis, where they have names; they stand in the array's attributes.
        life: "kept": stays with the run; "until_read": dropped frame by frame once no later window reads it; "window":
            deleted once the windows that read it are done; "passing": so too, where `--keep` retains the other two.
    """

    name: str
    span: Literal["new", "final", "window"]
    shape: Shape | Callable[[int, int], tuple[int, ...]] = ()
    dtype: str = "uint8"
    life: Literal["kept", "until_read", "window", "passing"] = "kept"
    fill: float = 0.0
    names: tuple[str, ...] = ()

    def frame_shape(self, height: int, width: int) -> tuple[int, ...]:
        """The shape of a frame's entry for frames of this size."""
        if callable(self.shape):
            return self.shape(height, width)
        sides = {"height": height, "width": width}
        return tuple(sides[side] if isinstance(side, str) else side for side in self.shape)


@dataclass(frozen=True)
class Read:
    """What a stage reads of an array that another writes.

    Attributes:
        port: as the stage calls it.
        span: the frames of the window: "new", "read", "final", or "context" (those before its final ones that it sees:
            none, but for a last window that was shifted back); "window": an array of a window's own. Such an array is
            given whole, also where it is read as frames: it stands for the frames that the window reads.
        window: 0: of this window; -1: of the one before in its shot, no frames where there is none (a "context" is
            always of windows before); +n: of the n-th one after in its shot, no frames behind the last.
        name: under which it is given; "": the port's. For a stage that reads one array twice.
    """

    port: str
    span: Literal["new", "read", "final", "context", "window"]
    window: int = 0
    name: str = ""

    @property
    def key(self) -> str:
        """Its name among the inputs."""
        return self.name or self.port


PICTURE: Shape = ("height", "width", 3)
MASK: Shape = ("height", "width")


class Stage(Closing, ABC):
    """One stage of the chain. The constructor takes one frozen config and is cheap; weights load in `open`.

    Attributes (of the class, or of an instance where they depend on its config):
        name: the stage's name in the journal, unless a chain gives it another.
        reads, writes: the arrays, complete.
        facts: the stages whose facts (`info`) about the window it reads.
        weights: the model that it shares with other stages, by name; None: what it loads is its own.
        scales: whether a window takes time by its "pixels" (height times width) or by its "frames" alone.
        of_variation: whether another variation from the same tracking does it anew.
        lane: what it occupies while it works: this machine's cores alone ("cpu"); a model of ours, on the GPU where
            there is one ("gpu"); a server ("server"). Where a server works on our GPU, the last two take turns.
    """

    name: ClassVar[str]
    reads: tuple[Read, ...] = ()
    writes: tuple[Port, ...] = ()
    facts: tuple[str, ...] = ()
    weights: str | None = None
    scales: Literal["pixels", "frames"] = "frames"
    of_variation: bool = False
    lane: Literal["cpu", "gpu", "server"] = "cpu"

    def open(self) -> None:
        """Load what is heavy. Called once, before the first window."""

    @abstractmethod
    def process(self, window: Window, inputs: Inputs) -> Output:
        """Work on one window and return what is to be committed."""

    def interrupt(self) -> bool:
        """Have `process` in another thread end soon by raising; False: KeyboardInterrupt is to be raised there."""
        return False

    def leave_gpu(self) -> None:
        """Move weights off the GPU until they are needed again, so that another stage has the room."""

    def release(self) -> None:
        """Let go of weights that are shared: no stage of the chain needs them any more. `open` loads them anew."""

    def committed(self, window: Window) -> None:
        """What `process` returned for the window is durable. Called from another thread than that, and not after a kill
        in between."""

    def finish(self) -> None:
        """Called once after the last window, when nothing went wrong."""

    def close(self) -> None:
        """Release everything. Runs on every way out; may be called twice."""

    def get_state(self) -> State:
        """The state after the last processed window. It must not alias what later windows change."""
        return NoState()

    def set_state(self, values: Mapping[str, Json], arrays: Mapping[str, Array]) -> None:
        """Take back what `get_state().to_parts()` gave. Called after `open`, before `process`."""
        NoState.from_parts(values, arrays)

    def peak_bytes(self, height: int, width: int, window_frames: int) -> tuple[int, int]:
        """Projected peak `(ram_bytes, vram_bytes)` of this stage for one window of frames of this size."""
        return window_frames * height * width * 3, 0

    def __enter__(self) -> Self:
        self.open()
        return self


def above(values: Array | float, bound: float) -> Array:
    """Where values lie above a bound; both as float32, as values are stored: a share that is the bound's is not."""
    return np.asarray(np.float32(values) > np.float32(bound))
