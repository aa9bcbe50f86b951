"""A result judged as a run judges its own: encoded, tracked with the source's prompts, measured against the source."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Self

import numpy as np

from stages.base import Array, Inputs, Json, Stage, Window
from stages.device import use_device
from stages.fidelity.registry import SUBJECTS, metrics, names_of
from stages.measure import METRICS, SIGHTS
from stages.sam.model import SamModel
from stages.score import FOUND, ScoreStage
from stages.video.encode import write_segment
from stages.video.segment import read_segment
from storage.rundir import RunReader
from storage.spans import Span
from stream.engine.source import FrameSource
from stream.engine.windows import committed_windows
from stream.options.assembly import (
    Models,
    decode_config,
    encoder_settings,
    measure_stage,
    resolve_models,
    sam_config,
    score_config,
)
from stream.options.recorded import read_run

Segment = Callable[[Window, Path], Path]
"""(window, folder) -> the file with its final frames, written into the folder or there already."""


@dataclass(frozen=True)
class Judged:
    """What was found in a result.

    Attributes:
        values: [T, M] float32, the metrics in order of `metrics()`; NaN where there is nothing to measure.
        source, result: [T, K] float32, the sights of both.
        found: [2, T, H, W] bool, object and person in the result.
        size: [T] float64, of the planted fault, in its unit; 0 without one, NaN where its subject hardly shows.
        true_iou: [T] float64, of the object's true masks before and after the fault.
    """

    values: Array
    source: Array
    result: Array
    found: Array
    size: Array = field(default_factory=lambda: np.zeros(0))
    true_iou: Array = field(default_factory=lambda: np.zeros(0))

    def of(self, metric: str) -> Array:
        """[T] values of a metric."""
        column: Array = self.values[:, list(metrics()).index(metric)]
        return column

    def save(self, path: Path) -> None:
        """Write it as an `.npz`, whole or not at all."""
        packed = {**{item.name: getattr(self, item.name) for item in fields(self)}, "found": np.packbits(self.found)}
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".part.npz")
        np.savez_compressed(partial, shape=np.array(self.found.shape), **packed)
        partial.replace(path)

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read it back."""
        with np.load(path) as held:
            shape = held["shape"]
            bits = np.unpackbits(held["found"], count=int(np.prod(shape)))
            whole = {item.name: held[item.name] for item in fields(cls)}
            return cls(**(whole | {"found": bits.reshape(shape).astype(bool)}))


class Judge:
    """Judges results of one tracked clip; the models are those of its run.

    Args:
        run: the finished run of the clip.
        shared: the SAM 2.1 of another judge, whose config is the same.

    Attributes:
        frames: [T, H, W, 3] uint8 RGB, the source as it was decoded.
    """

    def __init__(self, run: Path, shared: SamModel | None = None) -> None:
        manifest, self.config = read_run(run)
        self.run = RunReader(run)
        self.windows = committed_windows(self.run.log)
        self.models: Models = resolve_models(self.config)
        use_device(self.config.device)
        self.model = shared or SamModel(sam_config(self.config, self.models))
        self._encoder = encoder_settings(manifest["video"], self.config.fps)
        self._source = FrameSource(self.run, decode_config(self.config))
        self._infos = {node: self.run.log.of(node) for node in manifest["nodes"]}
        self.frames = self._source.read(Span(0, self.windows[-1].final.stop))
        self._times = self.run.arrays.read("times", 0, len(self.frames))

    def of_run(self) -> Judged:
        """The run's own result."""
        return self._judged(lambda window, _: self.run.store.path(f"segments/{self._info('sink', window)['segment']}"))

    def of(self, frames: Array) -> Judged:
        """A result `[T, H, W, 3]` uint8 RGB of the clip's size."""

        return self._judged(lambda window, folder: self._encode(frames, window, folder))

    def _encode(self, frames: Array, window: Window, folder: Path) -> Path:
        path, span = folder / f"{window.index}.mp4", window.final
        write_segment(path, frames[span.start : span.stop], self._times[span.start : span.stop], self._encoder)
        return path

    def encoded(self, frames: Array) -> Array:
        """The frames `[T, H, W, 3]` uint8 RGB as they come out of the run's encoder, window by window."""
        height, width = frames.shape[1:3]
        with TemporaryDirectory(prefix="skate-fidelity-") as folder:
            paths = [self._encode(frames, window, Path(folder)) for window in self.windows]
            return np.stack([frame for path in paths for frame in read_segment(path, height, width)])

    def made(self) -> Array:
        """The run's own result, `[T, H, W, 3]` uint8 RGB."""
        height, width = self.frames.shape[1:3]
        paths = [self.run.store.path(f"segments/{self._info('sink', window)['segment']}") for window in self.windows]
        return np.stack([frame for path in paths for frame in read_segment(path, height, width)])

    def masks(self) -> dict[str, Array]:
        """By "object" and "person", `[T, H, W]` bool, as the source was tracked."""
        return {name: self.run.arrays.read(f"masks/{name}", 0, len(self.frames)) for name in SUBJECTS}

    def _info(self, node: str, window: Window) -> Mapping[str, Any]:
        info: Mapping[str, Any] = self._infos[node][window.index]["info"]
        return info

    def _judged(self, segment: Segment) -> Judged:
        with (
            ScoreStage(score_config(self.config), self.model) as score,
            measure_stage(self.config, self.models) as measure,
            TemporaryDirectory(prefix="skate-fidelity-") as folder,
        ):
            pieces = [self._window(score, measure, window, segment(window, Path(folder))) for window in self.windows]
        values, source, result, found = (list(part) for part in zip(*pieces, strict=True))
        return Judged(
            np.concatenate(values), np.concatenate(source), np.concatenate(result), np.concatenate(found, axis=1)
        )

    def _window(self, score: Stage, measure: Stage, window: Window, path: Path) -> tuple[Array, ...]:
        infos: dict[str, Mapping[str, Json]] = {node: self._info(node, window) for node in self._infos}
        infos["sink"] = {"segment": path.name}
        given = {read.key: self._read(read.port, window.final) for read in score.reads}
        scored = score.process(window, Inputs(given, infos, path.parent)).arrays
        given |= {read.key: self._read(read.port, window.final) for read in measure.reads if read.port not in scored}
        found = measure.process(window, Inputs(given | dict(scored), infos, path.parent)).arrays
        by_name = {
            name: found[METRICS[subject]][:, place]
            for subject in SUBJECTS
            for place, name in enumerate(names_of(subject))
        }
        values = np.stack([by_name[name] for name in metrics()], axis=1)
        masks = np.stack([scored[f"{FOUND}{subject}"] for subject in SUBJECTS])
        return values, *(found[name] for name in SIGHTS), masks

    def _read(self, name: str, span: Span) -> Array:
        if name == "frames":
            return self.frames[span.start : span.stop]
        return self.run.arrays.read(name, span.start, span.stop)
