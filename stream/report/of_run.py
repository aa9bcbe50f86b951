"""The report of a run, from what is there: at its end, or at any time."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from stages.base import Array
from stages.baselines import BASELINES
from stages.fidelity.registry import SUBJECTS, array_of, metrics, names_of
from stages.fidelity.totals import interaction
from stages.gate import IOU, Bound
from stages.measure import METRICS, SIGHTS
from stages.motion import MotionStage
from stages.subjects import OBJECT
from storage.errors import RunDirectoryError
from storage.records import Record
from storage.rundir import RunReader
from storage.spans import Span
from stream.engine.source import FrameSource
from stream.engine.windows import committed_windows, shots_of
from stream.options.assembly import decode_config
from stream.options.config import RunConfig
from stream.options.pairs import Pair, pairs_of
from stream.options.passes import named
from stream.options.recorded import read_run
from stream.report.collect import GateColumn, facts, frame_table, shortfall
from stream.report.looks import Looks
from stream.report.moment import moment_strip, worst_moment
from stream.report.seen import SeenPictures
from stream.report.segments import segment_frames
from stream.report.strips import StripRow, shown_arrays
from stream.report.summary import Summary
from stream.report.write import write_report


def report_run(path: Path, config: RunConfig | None = None, title: str | None = None) -> Summary:
    """Write `report/` of the run in `path`; returns the values of `summary.json`.

    Raises:
        RunDirectoryError: when nothing is decoded yet, or another process has replaced what was read.
    """
    config = config or read_run(path)[1]
    run = RunReader(path)
    with run.standing(end=True):  # whoever finishes it writes its report
        return _report(run, config, title)


def _report(run: RunReader, config: RunConfig, title: str | None) -> Summary:
    path = run.path
    log, nodes = run.log, run.manifest["nodes"]
    decoded, tracked = log.of("decode"), log.of("track")
    if not decoded:
        raise RunDirectoryError(f"{path}: nothing is decoded yet, there is nothing to report: `skate resume {path}`")
    frames = int(tracked[-1]["span"][1]) if tracked else 0  # what is not tracked yet has nothing to show
    windows = committed_windows(log)
    finals = [window.final for window in windows]
    subjects = tuple(subject.name for subject in config.subjects)
    times, visible = np.zeros(0), np.zeros((0, len(subjects)), dtype=bool)
    if frames:
        times = run.arrays.read("times", 0, frames)
        visible = np.stack([run.arrays.read(f"visible/{name}", 0, frames) for name in subjects], axis=1)
    known = dataclasses.replace(
        facts({stage: log.of(stage) for stage in nodes}, finals[: max(1, len(tracked))], subjects),
        shots=shots_of(windows),
        attempts=[_attempt(item) for items in log.attempts.values() for item in items],
        complete=decoded[-1]["info"]["last"] and all(log.done(stage) == len(decoded) for stage in nodes),
        generates=config.generates,
        gates=config.judges and bool(config.proved),
        claimed_frames=run.manifest["video"].get("claimed_frames"),
        cut_short=_shortfall(run, config, decoded[-1]),
    )
    judged = gate_columns(run, config, frames), baselines_in(run, frames)
    table = frame_table(times, visible, log.of("score"), subjects, *judged)
    table = dataclasses.replace(table, subject_scores=subject_scores_in(run, subjects, frames), proved=config.proved)
    known = dataclasses.replace(known, **interaction_in(run, config))
    pictures = _Pictures(run, config)
    about = {
        "input": Path(config.video).name,
        "generator": config.generator if config.generates else "none",
        "SAM 2.1": Path(config.sam).name,
        "pose": Path(config.pose).name,
        "detector": Path(config.detector).name,
        "device": config.device,
        **run.manifest["versions"],
    }

    def moment() -> Array | None:
        return worst_of(run, config)

    def seen() -> list[tuple[int, Array]]:
        return SeenPictures(run, config).shown() if config.has_view else []

    run.store.folder("report")  # what else may stand under that name is refused
    return write_report(
        run.store.below("report"), table, known, config.iou_bound, pictures.of, seen, title or path.name, about, moment,
        lambda: run.check_stands(end=True),
    )  # fmt: skip


def _scored(run: RunReader, array: str, frames: int, column: str | None = None) -> Array:
    """`[frames]` float64 of an array, or a named column of it, that may not be there to the end, or at all; NaN where
    it is not."""
    found = np.full(frames, np.nan)
    if column is not None:
        found[:] = _columns(run, array, frames, [column])[:, 0]
    elif known := _known(run, array, frames):
        found[:known] = run.arrays.read(array, 0, known)
    return found


def _columns(run: RunReader, array: str, frames: int, names: Sequence[str]) -> Array:
    """`[frames, len(names)]` float32: named columns of an array; NaN where it ends before, and of names that it
    does not have: a run may be older than a metric."""
    found = np.full((frames, len(names)), np.nan, np.float32)
    if known := _known(run, array, frames):
        stored, values = run.arrays.layout.arrays[array].names, run.arrays.read(array, 0, known)
        for place, name in enumerate(names):
            if name in stored:
                found[:known, place] = values[:, stored.index(name)]
    return found


def _known(run: RunReader, array: str, frames: int) -> int:
    """How many of so many frames an array has; 0 where there is none of it."""
    return min(frames, run.arrays.frames(array)) if array in run.arrays.layout.arrays else 0


def baselines_in(run: RunReader, frames: int) -> dict[str, Array]:
    """The baselines of a run, `[frames]` by name, NaN where they are not scored yet; none where it has none."""
    if "baselines" not in run.manifest["nodes"]:
        return {}
    known = {name: array for name, array in BASELINES.items() if array in run.arrays.layout.arrays}
    return {name: _scored(run, array, frames) for name, array in known.items()}


def subject_scores_in(run: RunReader, subjects: tuple[str, ...], frames: int) -> dict[str, Array]:
    """Each subject's own IoU `[frames]`, NaN where it is not scored; none where nothing is generated."""
    arrays = {name: f"scores/{name}" for name in subjects if f"scores/{name}" in run.arrays.layout.arrays}
    return {name: _scored(run, array, frames) for name, array in arrays.items()}


def interaction_in(run: RunReader, config: RunConfig) -> dict[str, Any]:
    """The sights of source and result, as far as they are measured, and what they come to; nothing without them. Of a
    scene what each pair comes to, by the object's name."""
    found = {pair.object: _of_pair(run, pair) for pair in pairs_of(config) if pair.node in run.manifest["nodes"]}
    known = {name: each for name, each in found.items() if each}
    if config.scene is None:
        return known.get(OBJECT, {})
    return {"interactions": {name: each["interaction"] for name, each in known.items()}}


def _motion_of(run: RunReader, pair: Pair) -> str | None:
    """The array that says how the background moves, of a generation of the pair if there is one; None: none does."""
    own = [named(MotionStage.name, name) for name in (pair.object, pair.person)]
    every = [name for name in run.manifest["nodes"] if name.partition("-")[0] == MotionStage.name]
    return min(every, key=lambda name: name not in own, default=None)


def _of_pair(run: RunReader, pair: Pair) -> dict[str, Any]:
    """What one pair comes to; nothing before a frame is measured."""
    arrays, (one, two), contacts = run.arrays, (pair.arrays[name] for name in SIGHTS), f"contacts/{pair.person}"
    if not (frames := arrays.frames(two)):
        return {}
    source, result = sights = arrays.read(one, 0, frames), arrays.read(two, 0, frames)
    values = _columns(run, pair.arrays[METRICS["object"]], frames, names_of("object"))
    known = contacts in arrays.layout.arrays
    grounded = np.asarray(arrays.read(contacts, 0, frames).any(axis=1)) if known else None
    motion_of = _motion_of(run, pair)
    motion = None if motion_of is None else arrays.read(motion_of, 0, frames)
    shots = shots_of(committed_windows(run.log))
    return {"sights": sights, "interaction": interaction(source, result, values, grounded, motion, shots=shots)}


def gate_columns(run: RunReader, config: RunConfig, frames: int) -> list[GateColumn]:
    """The metrics that a run is judged by, of so many frames, of several pairs the worst; NaN where they are not
    measured yet."""

    def column(bound: Bound) -> Array:
        if bound.metric == IOU:
            return _scored(run, IOU, frames)
        arrays = [pair.arrays[array_of(bound.metric)] for pair in pairs_of(config)]
        values = [_scored(run, array, frames, bound.metric) for array in arrays]
        worst: Array = (np.fmin if bound.high else np.fmax).reduce(values)
        return worst

    return [GateColumn(bound, column(bound)) for bound in config.bounds]


def _shortfall(run: RunReader, config: RunConfig, last: Record) -> str | None:
    """What the source lacks, from the last decoded window; None before its end is reached."""
    if not last["info"]["last"]:
        return None
    frames = int(last["span"][1])
    shown = float(run.arrays.read("times", frames - 1, frames)[0])
    return shortfall(run.manifest["video"], frames, shown, config.fps, last["info"].get("read_error"))


def _attempt(record: Record) -> dict[str, Any]:
    return {name: record[name] for name in ("window", "attempt", "iou_min")}


def worst_of(run: RunReader, config: RunConfig) -> Array | None:
    """The worst moment of the interaction as a picture; None where it was not measured, or nothing is wrong."""
    looks = Looks(run, config)
    if not looks.measured:
        return None
    asked = {bound.metric: bound for bound in config.bounds}
    bounds = [asked.get(name) or Bound(name, metric.bound, metric.high) for name, metric in metrics().items()]
    values: dict[str, Array] = {}
    for subject in SUBJECTS:  # of several pairs the worst, as `gate_columns` has it
        names = names_of(subject)
        read = [_columns(run, pair.arrays[METRICS[subject]], looks.measured, names) for pair in looks.pairs]
        for place, name in enumerate(names):
            worse = np.fmin if metrics()[name].high else np.fmax
            values[name] = worse.reduce([each[:, place] for each in read])
    found = worst_moment(values, bounds)
    return None if found is None else moment_strip(looks, *found)


class _Pictures:
    """Finds everything that the film strip shows of a frame."""

    def __init__(self, run: RunReader, config: RunConfig) -> None:
        self._run = run
        self._config = config
        self._source = FrameSource(run, decode_config(config))

    def of(self, frame: int) -> StripRow:
        """The pictures of one scored frame."""
        arrays = self._run.arrays
        return StripRow(
            source=self._source.read(Span(frame, frame + 1))[0],
            **{name: arrays.read(array, frame, frame + 1)[0] for name, array in shown_arrays(self._config).items()},
            result=self._result(frame),
        )

    def _result(self, frame: int) -> Array:
        """The frame as it stands in its encoded segment."""
        for record in self._run.log.of("sink"):
            start, stop = record["span"]
            if start <= frame < stop:
                for index, picture in enumerate(segment_frames(self._run, record)):
                    if start + index == frame:
                        return np.asarray(picture)
        raise RunDirectoryError(f"{self._run.path}: no segment holds frame {frame}: `skate resume {self._run.path}`")
