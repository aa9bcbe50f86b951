"""Where the time of a run goes: exclusive seconds by section, from timers put around named functions.

Nothing in the program knows of these timers: `Clock.watching` swaps the functions of `SECTIONS` for timed ones while a
bench runs, and puts them back. A section's seconds leave out the sections called inside it, so they add up.
"""

import functools
import importlib
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

COMPUTE = ("ONNX Runtime", "SAM 2.1", "generator")
"""Sections that are the models' own work; the rest of the run is overhead."""

ONCE = ("starting", "loading models", "join and report")
"""Sections that a run has once, however long it is."""

ENGINE = ("waiting for decode", "store: read", "store: compress and write", "store: journal and fsync", "store: drop")
"""Sections that exist because the run is windowed, stored and can be resumed; with what is in no section."""


@dataclass(frozen=True)
class Section:
    """A function whose time is counted under a name.

    Attributes:
        target: `module:name` or `module:Class.method`.
        name: several sections may share one.
        whole: sections called inside it are counted as part of it.
    """

    target: str
    name: str
    whole: bool = False


SECTIONS = (
    Section("stages.poses.onnx:Session.run", "ONNX Runtime"),
    Section("stages.sam.session:ObjectSession.step", "SAM 2.1"),
    Section("stages.preview:PreviewStage.process", "generator"),
    Section("stages.server.job:execute", "generator"),
    Section("stream.run.lifecycle:resolve_models", "starting"),
    Section("stream.run.lifecycle:make_manifest", "starting", whole=True),
    Section("stream.run.lifecycle:announce_plan", "starting"),
    Section("stages.pose:PoseStage.open", "loading models"),
    Section("stages.sam.model:SamModel.load", "loading models"),
    Section("stream.engine.ahead:DecodeAhead.take", "waiting for decode"),
    Section("stream.engine.lanes:Lanes.ended", "waiting for the lanes"),
    Section("stream.engine.ahead:DecodeAhead.hand_over", "decode waiting for the stages"),
    Section("stages.decode:DecodeStage.process", "decode"),
    Section("stages.pose:PoseStage.process", "pose, beside the model"),
    Section("stages.sam.frames:prepare_image", "resizing for SAM 2.1"),
    Section("stages.track:TrackStage.process", "track, beside the model"),
    Section("stages.comfyui:ComfyStage.process", "ComfyUI's input and output"),
    Section("stages.comfyui:ComfyStage.condition", "ComfyUI's input and output"),
    Section("stages.composite:CompositeStage.process", "composite"),
    Section("stages.blend:BlendStage.process", "blend"),
    Section("stages.sink:SinkStage.process", "encode"),
    Section("stages.score:ScoreStage.process", "score, beside the model"),
    Section("storage.arrays:RunArrays.read", "store: read"),
    Section("storage.arrays:RunArrays.read_block", "store: read"),
    Section("storage.arrays:RunArrays.read_state", "store: read"),
    Section("stream.engine.source:FrameSource.read", "store: read"),
    Section("storage.rundir:store", "store: compress and write"),
    Section("storage.rundir:RunDirectory.commit", "store: journal and fsync"),
    Section("storage.rundir:RunDirectory.drop", "store: drop"),
    Section("stream.run.lifecycle:finish_run", "join and report", whole=True),
)


class Clock:
    """Exclusive seconds by section and thread, the one that made it and others."""

    def __init__(self) -> None:
        self._main = threading.get_ident()
        self._local = threading.local()
        self._seconds: dict[int, dict[str, float]] = defaultdict(lambda: defaultdict(float))
        self._lock = threading.Lock()
        self._computing = 0  # threads in which models are at work now
        self._computing_since = 0.0
        self._computed = 0.0

    def seconds(self, main: bool = True) -> dict[str, float]:
        """By section so far, of the own thread or of the others; a section that has not ended yet is not in it."""
        found: dict[str, float] = defaultdict(float)
        for thread, sections in list(self._seconds.items()):
            if (thread == self._main) == main:
                for name, seconds in list(sections.items()):
                    found[name] += seconds
        return dict(found)

    def of_this_thread(self) -> dict[str, float]:
        """By section so far, of the thread that asks."""
        return dict(self._seconds[threading.get_ident()])

    @property
    def computed(self) -> float:
        """Seconds in which a model was at work, in whichever thread: two at once count once."""
        return self._computed

    @contextmanager
    def section(self, name: str, whole: bool = False) -> Iterator[None]:
        """Count what happens inside under this name; where `whole`, with the sections inside it."""
        stack: list[float] = getattr(self._local, "stack", None) or self._new_stack()
        if getattr(self._local, "whole", False):
            yield
            return
        self._local.whole = whole
        stack.append(0.0)
        self._synchronise()
        begun = time.perf_counter()
        if name in COMPUTE:
            self._at_work(+1)
        try:
            yield
        finally:
            self._synchronise()
            spent = time.perf_counter() - begun
            own = spent - stack.pop()
            stack[-1] += spent
            self._local.whole = False
            self._seconds[threading.get_ident()][name] += own
            if name in COMPUTE:
                self._at_work(-1)

    def _at_work(self, change: int) -> None:
        """A model begins (+1) or has ended (-1) its work in this thread."""
        with self._lock:
            now = time.perf_counter()
            if self._computing:
                self._computed += now - self._computing_since
            self._computing += change
            self._computing_since = now

    def _synchronise(self) -> None:
        """CUDA kernels run on after the call that started them: wait, so that they count where they belong.

        Only in the own thread: in another one it would wait for what the own thread started meanwhile, and undo the
        overlap that is to be measured.
        """
        torch = sys.modules.get("torch")
        if threading.get_ident() == self._main and torch is not None and torch.cuda.is_initialized():
            torch.cuda.synchronize()

    def _new_stack(self) -> list[float]:
        self._local.stack = [0.0]
        stack: list[float] = self._local.stack
        return stack

    @contextmanager
    def watching(self, sections: tuple[Section, ...] = SECTIONS) -> Iterator[None]:
        """Time these functions until the end of the `with`."""
        undo: list[tuple[Any, str, Any]] = []
        try:
            for section in sections:
                module, _, path = section.target.partition(":")
                owner: Any = importlib.import_module(module)
                *outer, attribute = path.split(".")
                for name in outer:
                    owner = getattr(owner, name)
                function = vars(owner)[attribute]
                undo.append((owner, attribute, function))
                setattr(owner, attribute, self._timed(section, function))
            yield
        finally:
            for owner, attribute, function in reversed(undo):
                setattr(owner, attribute, function)

    def _timed(self, section: Section, function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def timed(*args: Any, **kwargs: Any) -> Any:
            with self.section(section.name, section.whole):
                return function(*args, **kwargs)

        return timed


def compute_seconds(seconds: Mapping[str, float]) -> float:
    """The models' share of a clock's seconds."""
    return sum(seconds.get(name, 0.0) for name in COMPUTE)


def difference(later: Mapping[str, float], earlier: Mapping[str, float]) -> dict[str, float]:
    """What was added from one reading to the next, by section."""
    return {name: value - earlier.get(name, 0.0) for name, value in later.items() if value > earlier.get(name, 0.0)}
