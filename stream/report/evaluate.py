"""The IoU gate alone: on a finished run, or on a picture made elsewhere from exported masks."""

import json
import math
import shlex
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from stages._sam.model import SamModel
from stages._sam.prompts import PromptSchedule
from stages._sam.reverse import ReverseTracker
from stages._video.plain import plain_frames
from stages.base import Array
from stages.device import use_device
from stages.given import read_masks
from stages.prompts import Correction, ObjectPrompt
from stages.score import ScoreConfig, ScoreStage
from storage.errors import InputError, RunDirectoryError
from storage.records import Record, segment_of
from storage.rundir import RunReader
from storage.verify import same_file
from stream.engine.executor import Executor
from stream.engine.source import FrameSource
from stream.engine.tasks import Scratch, Task
from stream.engine.windows import committed_windows
from stream.options.assembly import decode_config, resolve_models, sam_config
from stream.options.config import RunConfig
from stream.options.recorded import read_run

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
        _check_segment(path, record)
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
    stage = ScoreStage(ScoreConfig(config.prompt, config.correct, path / "segments", limit), model)
    source = FrameSource(run, decode_config(config))
    with closing(model), Executor(run, [stage], source) as executor, Scratch() as beside:
        for window in committed_windows(log, config.plan)[:windows]:
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


def _check_segment(path: Path, record: Record) -> None:
    """A segment that is damaged may still decode, and its IoU would be wrong without a word."""
    name = f"segments/{segment_of(record)}"
    if not same_file(path / name, record["info"]["sha256"]):
        raise RunDirectoryError(
            f"{path / name}: is missing or damaged (not the bytes in the journal): `skate resume {path}` makes it again"
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


def read_reference(metadata: Path) -> tuple[Reference, dict[str, Any]]:
    """The reference and the models named in an exported `tracking_metadata.json`; the masks lie beside it.

    Raises:
        InputError: when the file is not what `skate export` writes.
    """
    try:
        values = json.loads(metadata.read_text(encoding="utf-8"))
        mask = values["config"]["prompt"]["mask_png"]
        if mask is not None:  # named as it lies beside the metadata, wherever both are now
            values["config"]["prompt"]["mask_png"] = str((metadata.parent / mask).resolve())
        prompt = RunConfig.from_json(values["config"]).prompt
        corrections = RunConfig.from_json(values["config"]).correct
        untracked = tuple((int(a), int(b)) for a, b in values["untracked"]["object"])
        frames = int(values["video"]["frames"])
        masks = metadata.parent / "mask_skateboard"
    except OSError as error:
        raise InputError(
            f"--metadata {metadata}: cannot be read ({error.strerror}): give an export's tracking_metadata.json"
        ) from error
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise InputError(
            f"--metadata {metadata}: is not what `skate export` wrote: give its tracking_metadata.json"
        ) from error
    return Reference(masks, prompt, corrections, untracked, frames), values["config"]


def evaluate_video(reference: Reference, generated: Path, model: SamModel, threshold: float) -> Iterator[FrameIou]:
    """Track the object in a generated video and compare it with the reference, frame by frame, in flat memory.

    Raises:
        InputError: when video and masks differ in size or length.
    """
    tracker = ReverseTracker(model, PromptSchedule(reference.prompt, reference.corrections))
    tracker.add_untracked(reference.untracked)
    frames = plain_frames(generated)
    masks = read_masks(reference.masks)
    model.load()
    index = 0
    for pieces in _paired(frames, masks, reference, generated):
        found = tracker.score([frame for frame, _ in pieces], [mask for _, mask in pieces], None, min(16, len(pieces)))
        for value in found.iou:
            yield FrameIou(index, value, passes(value, threshold))
            index += 1
    if reference.frames is not None and index != reference.frames:
        raise InputError(f"--generated {generated}: has {index} frames, the masks have {reference.frames}")


def _paired(
    frames: Iterable[Array], masks: Iterable[Array], reference: Reference, generated: Path
) -> Iterator[list[tuple[Array, Array]]]:
    """Frames and masks in pieces; only a clip shorter than `PIECE_FRAMES` has a short first piece."""
    frame_source, mask_source = iter(frames), iter(masks)
    piece: list[tuple[Array, Array]] = []
    count = 0
    while True:
        frame, mask = next(frame_source, None), next(mask_source, None)
        if frame is None or mask is None:
            break
        if frame.shape[0] - mask.shape[0] not in (0, 1) or frame.shape[1] - mask.shape[1] not in (0, 1):
            raise InputError(
                f"--generated {generated}: is {frame.shape[1]}x{frame.shape[0]}, "
                f"the masks are {mask.shape[1]}x{mask.shape[0]}"
            )
        piece.append((np.ascontiguousarray(frame[: mask.shape[0], : mask.shape[1]]), mask))
        count += 1
        if len(piece) == PIECE_FRAMES:
            yield piece
            piece = []
    if piece:
        yield piece
    if frame is not None or mask is not None:
        longer, shorter = ("masks", "video") if frame is None else ("video", "masks")
        raise InputError(
            f"--generated {generated}: the {longer} go on after frame {count}, where the {shorter} end: "
            f"both must be of the same length ({reference.masks})"
        )
