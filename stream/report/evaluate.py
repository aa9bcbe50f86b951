"""The IoU gate alone: on a finished run, or on a picture made elsewhere from exported masks."""

import math
import shlex
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Annotated, Any

import cv2
import numpy as np
from msgspec import Meta, Struct

from stages.base import Array
from stages.device import use_device
from stages.given import first_prompt, read_masks
from stages.order import frame_files
from stages.prompts import Correction, ObjectPrompt
from stages.sam.model import SamModel
from stages.sam.prompts import PromptSchedule
from stages.sam.reverse import ReverseTracker
from stages.score import ScoreConfig, ScoreStage
from stages.track import TrackStage
from stages.video.plain import plain_frames
from storage.boundary import parse, read_regular
from storage.errors import InputError, RunDirectoryError, UsageError
from storage.records import Record
from storage.rundir import RunReader
from storage.spans import Span
from stream.engine.chain import Chain
from stream.engine.executor import Executor
from stream.engine.source import FrameSource
from stream.engine.tasks import Scratch, Task
from stream.engine.windows import committed_windows
from stream.options.assembly import decode_config, resolve_models, sam_config
from stream.options.config import RunConfig
from stream.options.recorded import read_run

MOST_STRETCH = 1.1  # of width against height: generators round sides to multiples of 16 and more
PIECE_FRAMES = 16  # scored at a time, so that lines appear while the video is still being read


@dataclass(frozen=True)
class FrameIou:
    """One scored frame: its number, its IoU (NaN on an untracked frame), and whether it passes."""

    frame: int
    iou: float
    passed: bool

    def __str__(self) -> str:
        if math.isnan(self.iou):
            return f"Frame {self.frame:04d}: IoU = untracked"
        return f"Frame {self.frame:04d}: IoU = {self.iou:.4f} [{'PASS' if self.passed else 'FAIL'}]"


def passes(iou: float, threshold: float) -> bool:
    """Above the threshold, or untracked (there is nothing to compare)."""
    return math.isnan(iou) or iou > threshold


def evaluate_run(path: Path, threshold: float | None = None) -> Iterator[FrameIou]:
    """Score the segments of a run again, window by window, as the run did.

    Raises:
        RunDirectoryError: when nothing was generated, or a segment is not the one that was recorded.
    """
    manifest, config = read_run(path)
    run = RunReader(path)
    log = run.log
    windows = log.done("sink")
    if windows == 0 and not config.generates:
        raise RunDirectoryError(f"{path}: nothing was generated in it: `skate generate {path} --out RUN2` first")
    if windows == 0:
        raise RunDirectoryError(f"{path} has no encoded window to evaluate: `skate resume {path}` first")
    for record in log.of("sink"):
        _check_segment(run, record)
    limit = config.iou_threshold if threshold is None else threshold
    models = resolve_models(config, only=("sam",))
    for name, (_, digest) in models.decisive().items():
        if digest != manifest["decisive"].get(name, (None, None))[1]:
            raise RunDirectoryError(
                f"{path}: the {name} ({config.sam}) are not those that it was tracked with: their sha256 is "
                f"{digest[:12]}..: put the file back that the run was begun with"
            )
    use_device(config.device)
    model = SamModel(sam_config(config, models))
    stage = ScoreStage(ScoreConfig(config.prompt, config.correct, run.store.path("segments"), limit), model)
    chain, source = Chain([stage], given=TrackStage.writes), FrameSource(run, decode_config(config))
    with closing(model), Executor(run, chain, source) as executor, Scratch() as beside:
        for window in committed_windows(log)[:windows]:
            scores = executor.run(Task(stage.name, window), into=beside).output.arrays["iou"]
            beside.forget(window.index)
            for offset, value in enumerate(scores.tolist()):
                yield FrameIou(window.final.start + offset, value, passes(value, limit))


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


@dataclass(frozen=True)
class Reference:
    """Masks of the source's object and what is needed to track it again.

    Attributes:
        masks: a folder of PNGs in order of the numbers in their names, or a video; white (>= 128) is the object.
        prompt, corrections: as the source was tracked with.
        untracked: half-open spans without a tracked object.
        frames: how many there must be, None where it is not known beforehand.
    """

    masks: Path
    prompt: ObjectPrompt
    corrections: tuple[Correction, ...] = ()
    untracked: tuple[tuple[int, int], ...] = ()
    frames: int | None = None


Frame = Annotated[int, Meta(ge=0, le=10**9)]


class Spans(Struct, frozen=True):
    """Half-open spans of frames, of the object."""

    object: list[tuple[Frame, Frame]]


class Length(Struct, frozen=True):
    """Frames of the clip."""

    frames: Frame


class Metadata(Struct, frozen=True):
    """What is read of `tracking_metadata.json`; the config is checked by `RunConfig`."""

    config: dict[str, Any]
    untracked: Spans
    video: Length


def read_reference(metadata: Path) -> tuple[Reference, RunConfig]:
    """The reference, and the config with the models, of an exported `tracking_metadata.json`; the masks lie beside it.

    Raises:
        InputError: when the file is not what `skate export` writes.
    """
    what, remedy = f"--metadata {metadata}: is not what `skate export` wrote", "give its tracking_metadata.json"
    try:
        text = read_regular(metadata)
    except OSError as error:
        raise InputError(
            f"--metadata {metadata}: cannot be read ({error.strerror}): give an export's tracking_metadata.json"
        ) from error
    found = parse(text, Metadata, what, InputError, remedy)
    try:
        config = RunConfig.from_json(found.config, f"{what}: config")
    except UsageError as error:
        raise InputError(f"{what}: config: {error}") from error
    if config.prompt.mask_png is not None:  # named as it lies beside the metadata, wherever both are now
        mask = str((metadata.parent / config.prompt.mask_png).resolve())
        config = replace(config, prompt=replace(config.prompt, mask_png=mask))
    masks, untracked = metadata.parent / "mask_skateboard", tuple(found.untracked.object)
    return Reference(masks, config.prompt, config.correct, untracked, found.video.frames), config


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
    count = _count_masks(reference)
    if frames is not None:
        if count is not None and frames.stop > count:
            raise InputError(f"--frames {frames.start}:{frames.stop} is past the end: there are {count} masks")
        reference = _cut(reference, frames, tell)
        count = frames.frames
    schedule = PromptSchedule(reference.prompt, reference.corrections)
    if count is not None:
        schedule.check_length(count)
    start = frames.start if frames is not None else 0
    tracker = ReverseTracker(model, schedule)
    tracker.add_untracked(reference.untracked)
    masks = islice(read_masks(reference.masks), start, frames.stop if frames is not None else None)
    pairs = _Pairs(plain_frames(generated), masks, generated, tell)
    model.load()
    index = 0
    for pieces in pairs:
        found = tracker.score([frame for frame, _ in pieces], [mask for _, mask in pieces], None, min(16, len(pieces)))
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


def _count_masks(reference: Reference) -> int | None:
    """How many masks there are, None where only reading them tells.

    Raises:
        InputError: when files of an export are missing.
    """
    if not reference.masks.is_dir():
        return reference.frames
    count = len(frame_files(reference.masks, "*.png"))
    if reference.frames not in (None, count):
        raise InputError(
            f"{reference.masks}: holds {count} masks, the metadata is of {reference.frames} frames: export it again"
        )
    return count


def _cut(reference: Reference, frames: Span, tell: Callable[[str], None]) -> Reference:
    """The reference of these frames alone, counted from the first of them."""
    start, stop = frames
    prompt = reference.prompt
    if not start <= prompt.frame < stop:
        prompt = first_prompt(reference.masks, option="masks", first=start, stop=stop)
        tell(f"frame {reference.prompt.frame} of the prompt is not among these: {prompt_text(prompt)}")
    prompt = replace(prompt, frame=prompt.frame - start)
    corrections = [replace(item, frame=item.frame - start) for item in reference.corrections if item.frame < stop]
    clipped = [(max(a, start) - start, min(b, stop) - start) for a, b in reference.untracked]
    return replace(
        reference,
        prompt=prompt,
        corrections=tuple(item for item in corrections if item.frame > prompt.frame),
        untracked=tuple(span for span in clipped if span[0] < span[1]),
        frames=frames.frames,
    )


def prompt_text(prompt: ObjectPrompt) -> str:
    """How the object was found that nobody pointed at."""
    box = ",".join(f"{value:g}" for value in prompt.box or ())
    return f"tracked from the box {box} around the first mask that is not empty, of frame {prompt.frame}"


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
