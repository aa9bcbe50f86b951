"""The IoU gate alone: on a finished run, or on a picture made elsewhere from exported masks."""

import math
import shlex
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import cv2
import numpy as np

from stages.base import Array, Stage, Window, above
from stages.baselines import BASELINES, CEILING, BaselineStage
from stages.crowd import crowd_ports
from stages.decode import DecodeStage
from stages.device import use_device
from stages.fidelity.registry import array_of, metrics, names_of
from stages.gate import IOU, Gate
from stages.given import read_masks
from stages.models.registry import Kind
from stages.pose import PoseStage
from stages.sam.model import SamModel
from stages.sam.prompts import PromptSchedule
from stages.sam.reverse import ReverseTracker
from stages.score import ScoreStage
from stages.subjects import OBJECT, Subject
from stages.track import track_ports
from stages.video.plain import plain_frames
from stages.views.names import view_ports
from storage.errors import InputError, RunDirectoryError, UsageError
from storage.records import Record
from storage.rundir import RunReader
from storage.spans import Span
from stream.engine.chain import Chain, Node
from stream.engine.executor import Executor
from stream.engine.source import FrameSource
from stream.engine.tasks import Scratch, Task
from stream.engine.windows import committed_windows
from stream.options.assembly import (
    baseline_stages,
    decode_config,
    measuring_nodes,
    resolve_models,
    sam_config,
    score_config,
)
from stream.options.config import RunConfig
from stream.options.pairs import pairs_of
from stream.options.passes import subject_names
from stream.options.recorded import read_run
from stream.options.working import at_work
from stream.report.reference import Reference, count_masks, cut

MOST_STRETCH = 1.1  # of width against height: generators round sides to multiples of 16 and more
PIECE_FRAMES = 16  # scored at a time, so that lines appear while the video is still being read


@dataclass(frozen=True)
class FrameIou:
    """One scored frame: its number, its IoU (NaN on an untracked frame), and whether it passes.

    Attributes:
        baselines: by name, the IoU and whether it is above the threshold; None where they are not judged.
    """

    frame: int
    iou: float
    passed: bool
    baselines: Mapping[str, tuple[float, bool]] | None = None

    @property
    def by_tracker(self) -> bool | None:
        """Of a failing frame, whether the ceiling fails there too; None where that is not known."""
        return None if self.passed or self.baselines is None else not self.baselines[CEILING][1]

    def __str__(self) -> str:
        if math.isnan(self.iou):
            return f"Frame {self.frame:04d}: IoU = untracked"
        blame = {None: "", True: " by the tracker", False: " by the generator"}[self.by_tracker]
        return f"Frame {self.frame:04d}: IoU = {self.iou:.4f} [{'PASS' if self.passed else 'FAIL'}]{blame}"


def passes(iou: float, threshold: float) -> bool:
    """Above the threshold, or untracked (there is nothing to compare)."""
    return math.isnan(iou) or bool(above(iou, threshold))


def evaluate_run(
    path: Path, threshold: float | None = None, gate: Gate | None = None, baselines: bool = False
) -> Iterator[FrameIou]:
    """Score the segments of a run again, window by window, as the run did.

    Args:
        threshold, gate: in place of the run's.
        baselines: whether the source itself and a blur are judged too: three times the tracking.

    Raises:
        RunDirectoryError: when nothing was generated, or a segment is not the one that was recorded.
        UsageError: when its subjects are removed, or none is gated.
    """
    manifest, config = read_run(path)
    run = RunReader(path)
    log = run.log
    windows = log.done("sink")
    if config.generates and not config.judges:
        raise UsageError(f"{path}: its subjects are removed, and a removed subject is never gated")
    if config.generates and not config.proved:
        raise UsageError(f"{path}: no subject that stays in the picture is to be gated: there is nothing to judge")
    if windows == 0 and not config.generates:
        raise RunDirectoryError(f"{path}: nothing was generated in it: `skate generate {path} --out RUN2` first")
    if windows == 0:
        raise RunDirectoryError(f"{path} has no encoded window to evaluate: `skate resume {path}` first")
    for record in log.of("sink"):
        _check_segment(run, record)
    config = replace(
        at_work(config, manifest["video"]),
        iou_threshold=config.iou_threshold if threshold is None else threshold,
        gate=gate or config.gate,
        baselines=baselines,
    )
    needed: tuple[Kind, ...] = ("sam", "pose", "detector") if config.measures and config.chain != "given" else ("sam",)
    models = resolve_models(config, only=needed)
    for name, (_, digest) in models.decisive().items():
        if digest != manifest["decisive"].get(name, (None, None))[1]:
            raise RunDirectoryError(
                f"{path}: the {name} ({_named(config, name)}) are not those that it was tracked with: their sha256 is "
                f"{digest[:12]}..: put the file back that the run was begun with"
            )
    use_device(config.device)
    model = SamModel(sam_config(config, models))
    stages: list[Stage | Node] = [ScoreStage(score_config(config), model)]
    stages += measuring_nodes(config, models)
    stages += baseline_stages(config, manifest, model)
    names = subject_names(config)
    posed = PoseStage.writes if config.scene is None else crowd_ports(config.persons)
    given = [*DecodeStage.writes, *posed, *track_ports(names), *view_ports(names)]
    chain, source = Chain(stages, given=given), FrameSource(run, decode_config(config))
    with run.standing(), closing(model), Executor(run, chain, source) as executor, Scratch() as beside:
        for window in committed_windows(log)[:windows]:
            found = {name: executor.run(Task(name, window), into=beside).commit.arrays for name in chain.names}
            beside.forget(window.index)
            yield from _judged(config, found, window)


def _judged(config: RunConfig, found: Mapping[str, Mapping[str, Array]], window: Window) -> Iterator[FrameIou]:
    """The window's final frames, by what the stages found."""
    values = found[ScoreStage.name]["iou"]
    wrong = np.zeros(len(values), bool)
    for bound in config.bounds:
        if bound.metric == IOU:
            wrong |= bound.fails(values)
            continue
        place = names_of(metrics()[bound.metric].subject).index(bound.metric)
        for pair in pairs_of(config):
            wrong |= bound.fails(found[pair.node][pair.arrays[array_of(bound.metric)]][:, place])
    for offset, value in enumerate(values.tolist()):
        passed = math.isnan(value) or not wrong[offset]
        row = FrameIou(window.final.start + offset, value, passed)
        if BaselineStage.name in found:
            others = {name: float(found[BaselineStage.name][array][offset]) for name, array in BASELINES.items()}
            judged = {name: (iou, passes(iou, config.iou_bound)) for name, iou in others.items()}
            row = replace(row, baselines=judged)
        yield row


def _named(config: RunConfig, identity: str) -> str:
    """As it was asked for: the model whose "weights" or "config" this is."""
    return str(getattr(config, identity.split()[0]))


def left_to_encode(path: Path) -> str | None:
    """What a verdict on this run leaves out, None where all of it is encoded."""
    log = RunReader(path).log
    decoded, encoded = log.of("decode"), log.done("sink")
    if decoded and decoded[-1]["info"]["last"] and encoded == len(decoded):
        return None
    total = str(len(decoded)) if decoded and decoded[-1]["info"]["last"] else f"{len(decoded)} or more"
    return f"{encoded} of {total} windows are encoded so far: `skate resume {shlex.quote(str(path))}` goes on"


def _check_segment(run: RunReader, record: Record) -> None:
    """A segment that is damaged may still decode, and its IoU would be wrong without a word."""
    name = f"segments/{record['info']['segment']}"
    if run.store.digest(name, "sha256") != record["info"]["sha256"]:
        raise RunDirectoryError(
            f"{run.store.where(name)}: is missing or damaged (not the bytes in the journal): "
            f"`skate resume {run.path}` makes it again"
        )


def evaluate_video(
    reference: Reference,
    generated: Path,
    model: SamModel,
    threshold: float,
    frames: Span | None = None,
    tell: Callable[[str], None] = lambda note: None,
) -> Iterator[FrameIou]:
    """Track the object in a generated video and compare it with the reference, frame by frame, in flat memory.

    A video of another size is resampled to the masks'; of two lengths the common one is judged.

    Args:
        frames: of the masks' clip that the video shows, all of it; None: from frame 0 on, as far as both go.
        tell: called with what the verdict leaves out or rests on, a line each.

    Raises:
        InputError: when video and masks do not go together, or nothing is left to judge.
    """
    count = count_masks(reference)
    if frames is not None:
        if count is not None and frames.stop > count:
            raise InputError(f"--frames {frames.start}:{frames.stop} is past the end: there are {count} masks")
        reference = cut(reference, frames, tell)
        count = frames.frames
    subject = Subject(OBJECT, OBJECT, reference.prompt, reference.corrections)
    schedule = PromptSchedule(reference.prompt, reference.corrections)
    if count is not None:
        schedule.check_length(count)
    start = frames.start if frames is not None else 0
    tracker = ReverseTracker(model, (subject,), (OBJECT,), reference.views is not None)
    tracker.add_untracked({OBJECT: reference.untracked})
    masks = islice(read_masks(reference.masks), start, frames.stop if frames is not None else None)
    pairs = _Pairs(plain_frames(generated), masks, generated, tell)
    model.load()
    index = 0
    for pieces in pairs:
        views = None if reference.views is None else {OBJECT: reference.views[index : index + len(pieces)]}
        found = tracker.score(
            [frame for frame, _ in pieces], {OBJECT: [mask for _, mask in pieces]}, min(16, len(pieces)), views
        )
        for value in found.iou:
            yield FrameIou(start + index, value, passes(value, threshold))
            index += 1
    if pairs.longer is not None and frames is not None:
        found_there = f"{index} frames" if pairs.longer == "masks" else f"more than {index} frames"
        raise InputError(
            f"--generated {generated}: has {found_there}, --frames {frames.start}:{frames.stop} are {frames.frames}: "
            "give the frames that the video shows"
        )
    if pairs.longer == "masks":
        tell(f"the video ends after {index} frames, the masks go on: only these frames are judged")
    elif pairs.longer == "video":
        tell(f"the masks end after {index} frames, the video goes on: only these frames are judged")
    schedule.check_length(count or index)  # masks in a video tell their number only at their end


class _Pairs:
    """Frames and masks in pieces, as far as both go; only a clip shorter than `PIECE_FRAMES` has a short first piece.

    Attributes:
        longer: at the end, which of the two goes on: "video", "masks" or None.
    """

    def __init__(
        self, frames: Iterator[Array], masks: Iterator[Array], generated: Path, tell: Callable[[str], None]
    ) -> None:
        self.longer: str | None = None
        self._frames = frames
        self._masks = masks
        self._generated = generated
        self._tell = tell
        self._told = False

    def __iter__(self) -> Iterator[list[tuple[Array, Array]]]:
        piece: list[tuple[Array, Array]] = []
        while True:
            frame, mask = next(self._frames, None), next(self._masks, None)
            if frame is None or mask is None:
                break
            piece.append((self._fitted(frame, mask.shape[0], mask.shape[1]), mask))
            if len(piece) == PIECE_FRAMES:
                yield piece
                piece = []
        if piece:
            yield piece
        self.longer = "video" if frame is not None else "masks" if mask is not None else None

    def _fitted(self, frame: Array, height: int, width: int) -> Array:
        """The frame in the masks' size: without the padding of odd sides, else resampled.

        Raises:
            InputError: when it has another shape, so that it cannot show the same picture.
        """
        found_height, found_width = frame.shape[:2]
        if found_height - height in (0, 1) and found_width - width in (0, 1):
            return np.ascontiguousarray(frame[:height, :width])
        sizes = f"is {found_width}x{found_height}, the masks are {width}x{height}"
        stretch = found_width * height / (found_height * width)
        if not 1 / MOST_STRETCH <= stretch <= MOST_STRETCH:
            raise InputError(
                f"--generated {self._generated}: {sizes}, which is another shape: give the whole picture, not cropped"
            )
        if not self._told:
            self._tell(f"--generated {self._generated}: {sizes}: it is resampled to these")
            self._told = True
        smaller = found_height > height and found_width > width
        return cv2.resize(frame, (width, height), interpolation=cv2.INTER_AREA if smaller else cv2.INTER_CUBIC)
