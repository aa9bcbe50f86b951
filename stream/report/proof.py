"""`proof.mp4`: source and result with all that was found in both, and the state of the gate, frame by frame.

Streamed, in flat memory: pictures a few at a time, numbers a row a frame.
"""

import dataclasses
import functools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from stages.base import Array, above
from stages.baselines import CEILING
from stages.metrics import flag_spans
from stages.sink import write_segment
from storage.errors import RunDirectoryError
from storage.rundir import RunReader
from storage.spans import Span
from stream.options.assembly import encoder_settings
from stream.options.config import RunConfig
from stream.report.closing import why_ungated
from stream.report.collect import GateColumn, failing
from stream.report.looks import OFF, ON, Look, Looks
from stream.report.of_run import baselines_in, gate_columns
from stream.report.strips import fitted

PROOF = "proof.mp4"
CELL_WIDTH = 960  # pixels at most; two of them stay within what every player decodes
LEAST_WIDTH = 480  # of a cell, so that the lines fit
LINE, STRIPE, CRF = 24, 12, 20  # pixels of a line of text and of the timeline
LONG = "00.000"  # a value as long as most are: those of all frames stand at one place
PAPER, INK, DIM, GOOD, BAD = (16, 16, 16), (235, 235, 235), (90, 90, 90), ON, OFF


@dataclass(frozen=True)
class Verdicts:
    """The gate, frame by frame.

    Attributes:
        gate: its metrics. iou: [T], NaN where untracked.
        ceiling: [T], the untouched source's IoU, None where it was not judged. threshold: of the IoU.
        times: [T] seconds.
    """

    gate: Sequence[GateColumn]
    iou: Array
    ceiling: Array | None
    threshold: float
    times: Array

    @functools.cached_property
    def failing(self) -> Array:
        """[T] bool."""
        return failing(self.gate)

    def state(self, frame: int) -> tuple[str, tuple[int, int, int]]:
        """What the gate says of a frame, and its colour."""
        if math.isnan(self.iou[frame]):
            return "untracked", DIM
        if not self.failing[frame]:
            return "PASS", GOOD
        if self.ceiling is None:
            return "FAIL", BAD
        ceiling = self.ceiling[frame]
        by_tracker = not math.isnan(ceiling) and not above(ceiling, self.threshold)
        return f"FAIL by the {'tracker' if by_tracker else 'generator'}", BAD

    def values(self, frame: int) -> Iterator[tuple[str, tuple[int, int, int]]]:
        """Each metric with its value, red where it does not hold."""
        for column in self.gate:
            value = float(column.values[frame])
            shown = "-" if math.isnan(value) else f"{value:.3f}"
            yield f"{column.bound.metric} {shown}", BAD if column.failing[frame] else INK
        if self.ceiling is not None and not math.isnan(self.ceiling[frame]):
            yield f"ceiling {self.ceiling[frame]:.3f}", DIM


def write_proof(run: RunReader, config: RunConfig, target: Path) -> int:
    """Write every frame that is scored so far; returns how many.

    Left the source, right the result: masks, skeletons (the result's where the gate asks for more than the IoU), a ring
    around each foot, green on the object and red off it. Above them the frame's number, its time and the gate's state;
    below them the value of each metric of the gate and a timeline of the clip, red where it fails.

    Raises:
        RunDirectoryError: when nothing is scored yet.
        InputError: when dropped frames have to be decoded again and the input is not what it was.
        OSError: when the file cannot be written.
    """
    looks = Looks(run, config)
    if not looks.frames and not config.judges:
        raise RunDirectoryError(
            f"{run.path}: nothing is scored in it ({why_ungated(config)}): there is nothing to prove"
        )
    if not looks.frames:
        raise RunDirectoryError(
            f"{run.path}: nothing is scored yet, there is nothing to prove: `skate resume {run.path}`"
        )
    video, times = run.manifest["video"], run.arrays.read("times", 0, looks.frames)
    ceiling = baselines_in(run, looks.frames).get(CEILING)
    iou = run.arrays.read("iou", 0, looks.frames)
    verdicts = Verdicts(gate_columns(run, config, looks.frames), iou, ceiling, config.iou_bound, times)
    height, width = fitted(np.zeros((video["height"], video["width"], 3), np.uint8), CELL_WIDTH).shape[:2]
    whole = 2 * max(LEAST_WIDTH, width)
    places = _places(verdicts, whole)
    lines = 2 + places[-1][0]
    encoder = dataclasses.replace(
        encoder_settings(video, config.fps), width=whole, height=lines * LINE + STRIPE + height, crf=CRF
    )
    pairs = enumerate(looks.each(Span(0, looks.frames)))
    timeline = _timeline(verdicts.failing, whole)

    def sheets() -> Iterator[Array]:
        with run.standing():  # what has changed meanwhile leaves no file
            for frame, pair in pairs:
                yield _sheet(verdicts, frame, pair, timeline, places)

    write_segment(target, sheets(), times, encoder)
    return looks.frames


def _places(verdicts: Verdicts, width: int) -> list[tuple[int, float]]:
    """Where each metric's value stands on all frames, at last the ceiling's: its line, and how far from the left."""
    draw, font = ImageDraw.Draw(Image.new("RGB", (1, 1))), ImageFont.load_default(14)
    found, line, left = list[tuple[int, float]](), 0, 8.0
    ceiling = [] if verdicts.ceiling is None else [CEILING]
    for name in (*(column.bound.metric for column in verdicts.gate), *ceiling):
        room = float(draw.textlength(f"{name} {LONG}", font=font))
        if found and left + room > width:
            line, left = line + 1, 8.0
        found.append((line, left))
        left += room + 16
    return found


def _sheet(
    verdicts: Verdicts, frame: int, pair: tuple[Look, Look], timeline: Array, places: Sequence[tuple[int, float]]
) -> Array:
    """One frame's sheet, `[n * LINE + STRIPE + h, w, 3]` uint8 RGB."""
    width = timeline.shape[1]
    cells = [_centred(fitted(look.drawn(), CELL_WIDTH), width // 2) for look in pair]
    state, colour = verdicts.state(frame)
    head = _line(width, [("source", DIM, 0), ("result", DIM, width // 2)], frame, float(verdicts.times[frame]))
    _write(head, width // 2 + 80, state, colour)
    foot = Image.new("RGB", (width, LINE * (1 + places[-1][0])), PAPER)
    for (text, ink), (line, left) in zip(verdicts.values(frame), places, strict=False):
        _write(foot, left, text, ink, line)
    here = timeline.copy()
    column = round((frame + 0.5) / len(verdicts.times) * (width - 1))
    here[:, max(0, column - 1) : column + 2] = 255
    return np.concatenate([np.asarray(head), np.concatenate(cells, axis=1), np.asarray(foot), here])


def _line(
    width: int, titles: Sequence[tuple[str, tuple[int, int, int], int]], frame: int, seconds: float
) -> Image.Image:
    band = Image.new("RGB", (width, LINE), PAPER)
    for title, colour, left in titles:
        _write(band, left + 8, title, colour)
    _write(band, 80, f"frame {frame}, {seconds:.2f} s", INK)
    return band


def _write(band: Image.Image, left: float, text: str, colour: tuple[int, int, int], line: int = 0) -> None:
    """Write into a line."""
    place = (left, line * LINE + LINE // 2)
    ImageDraw.Draw(band).text(place, text, fill=colour, font=ImageFont.load_default(14), anchor="lm")


def _centred(picture: Array, width: int) -> Array:
    """A narrower picture in the middle of a cell."""
    spare = width - picture.shape[1]
    return np.pad(picture, ((0, 0), (spare // 2, spare - spare // 2), (0, 0))) if spare else picture


def _timeline(failing: Array, width: int) -> Array:
    """The whole clip as a bar, `[STRIPE, width, 3]` uint8 RGB, red where it fails."""
    bar = np.full((STRIPE, width, 3), DIM, np.uint8)
    for start, stop in flag_spans(failing):
        left, right = (round(frame / len(failing) * width) for frame in (start, stop))
        bar[:, left : max(right, left + 1)] = BAD
    return bar
