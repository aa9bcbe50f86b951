"""`comparison.mp4`: source, what was tracked on it, and the result, side by side. Streamed, in flat memory."""

import dataclasses
import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from stages.base import Array
from stages.sink import write_segment
from storage.errors import RunDirectoryError
from storage.rundir import RunReader
from storage.spans import Span
from stream.engine.source import FrameSource
from stream.options.assembly import decode_config, encoder_settings
from stream.options.config import RunConfig
from stream.report.collect import failing
from stream.report.of_run import gate_columns
from stream.report.segments import segment_frames
from stream.report.strips import COLUMNS, StripRow, fitted, overlay, shown_arrays

CELL_WIDTH = 960  # pixels; three of them stay within what every player decodes
BAND = 28  # pixels of caption above the pictures
CRF = 20
PIECE_FRAMES = 12  # read at a time
PAPER, INK, RED = (16, 16, 16), (235, 235, 235), (255, 110, 80)


def write_comparison(run: RunReader, config: RunConfig, target: Path) -> int:
    """Write every frame that is scored so far (encoded, where nothing is gated); returns how many.

    Left to right: source, masks and skeleton on it, result; above them the frame's number, time and IoU (red where it
    fails the gate). Pictures wider than 960 px are reduced to that.

    Raises:
        RunDirectoryError: when nothing is scored yet.
        InputError: when dropped frames have to be decoded again and the input is not what it was.
        OSError: when the file cannot be written.
    """
    scored = run.log.of("score" if config.judges else "sink")
    if not scored:
        raise RunDirectoryError(
            f"{run.path}: nothing is scored yet, there is nothing to compare: `skate resume {run.path}`"
        )
    frames = int(scored[-1]["span"][1])
    video = run.manifest["video"]
    cell_height = fitted(np.zeros((video["height"], video["width"], 3), np.uint8), CELL_WIDTH).shape[0]
    encoder = dataclasses.replace(
        encoder_settings(video, config.fps),
        width=3 * min(CELL_WIDTH, video["width"]),
        height=BAND + cell_height,
        crf=CRF,
    )
    write_segment(target, _sheets(run, config, frames), run.arrays.read("times", 0, frames), encoder)
    return frames


def _sheets(run: RunReader, config: RunConfig, frames: int) -> Iterator[Array]:
    """Each frame's sheet, `[BAND + h, 3 * w, 3]` uint8 RGB."""
    results = _results(run)
    wrong = failing(gate_columns(run, config, frames)) if config.judges else np.zeros(frames, bool)
    source = FrameSource(run, decode_config(config))
    for start in range(0, frames, PIECE_FRAMES):
        span = Span(start, min(frames, start + PIECE_FRAMES))
        shown = {name: run.arrays.read(array, *span) for name, array in shown_arrays(config).items()}
        times = run.arrays.read("times", *span)
        scores = run.arrays.read("iou", *span) if config.judges else np.full(span.frames, np.nan)
        pictures = source.read(span)
        for offset in range(span.frames):
            iou = float(scores[offset])
            row = StripRow(
                caption=caption(start + offset, float(times[offset]), iou, config.judges),
                source=pictures[offset],
                **{name: values[offset] for name, values in shown.items()},
                result=next(results),
                failed=bool(wrong[start + offset]),
            )
            yield sheet(row)


def _results(run: RunReader) -> Iterator[Array]:
    """The encoded frames in order, `[H, W, 3]` uint8 RGB."""
    for record in run.log.of("sink"):
        yield from segment_frames(run, record)


def caption(frame: int, seconds: float, iou: float, judged: bool = True) -> str:
    """What stands above the result."""
    score = ("untracked" if math.isnan(iou) else f"IoU {iou:.3f}") if judged else "not gated"
    return f"frame {frame}, {seconds:.2f} s, {score}"


def sheet(row: StripRow) -> Array:
    """Source, overlay and result of one frame under a caption, `[BAND + h, 3 * w, 3]` uint8 RGB."""
    cells = [fitted(picture, CELL_WIDTH) for picture in (row.source, overlay(row), row.result)]
    width = cells[0].shape[1]
    band = Image.new("RGB", (3 * width, BAND), PAPER)
    draw, font = ImageDraw.Draw(band), ImageFont.load_default(14)
    titles = [*COLUMNS[:2], f"{COLUMNS[2]}: {row.caption}"]
    for column, title in enumerate(titles):
        colour = RED if row.failed and column == 2 else INK
        draw.text((column * width + 8, BAND // 2), title, fill=colour, font=font, anchor="lm")
    return np.concatenate([np.asarray(band), np.concatenate(cells, axis=1)])
