"""The worst moment of the interaction: which frame it is, and the frames around it as a strip."""

from collections.abc import Mapping, Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from stages.base import Array
from stages.gate import Bound
from storage.spans import Span
from stream.report.looks import Look, Looks
from stream.report.strips import fitted

BESIDE, STEP = 2, 3  # pictures to each side, frames from one to the next
_GAP, _CAPTION, _CELL = 6, 26, 320  # pixels
_LEAST = 100  # pixels of a column, so that the frame's number fits
_MARGIN = 0.15  # around the subjects


def worst_moment(values: Mapping[str, Array], bounds: Sequence[Bound]) -> tuple[int, tuple[str, ...]] | None:
    """The frame on which most metrics do not hold their bounds, and which; of equals that of the lowest IoU.

    Args:
        values: [T] by name of the metric, NaN where not measured; "iou" among them.

    Returns:
        None where every frame holds all of them.
    """
    wrong = np.stack([bound.fails(values[bound.metric]) for bound in bounds])
    count = wrong.sum(axis=0)
    if not count.any():
        return None
    frame = int(np.lexsort((np.nan_to_num(values["iou"], nan=1.0), -count))[0])
    return frame, tuple(bound.metric for bound, fails in zip(bounds, wrong[:, frame], strict=True) if fails)


def moment_strip(looks: Looks, frame: int, names: Sequence[str]) -> Array:
    """Source above, result below, from two pictures before the moment to two after it, cut out around the subjects;
    `[h, w, 3]` uint8 RGB."""
    wanted = [frame + STEP * place for place in range(-BESIDE, BESIDE + 1)]
    wanted = [each for each in wanted if 0 <= each < looks.frames]
    pairs = looks.each(Span(wanted[0], wanted[-1] + 1))
    shown = [(at, pair) for at, pair in enumerate(pairs, wanted[0]) if at in wanted]
    return _sheet([(f"frame {at}", pair, at == frame) for at, pair in shown], f"does not hold: {', '.join(names)}")


def _around(looks: Sequence[Look]) -> tuple[slice, slice]:
    """The part of the picture in which all masks lie, with a margin; all of it where there are none."""
    shown = np.any([look.object_mask | look.person_mask for look in looks], axis=0)
    rows, columns = np.flatnonzero(shown.any(axis=1)), np.flatnonzero(shown.any(axis=0))
    if not len(rows):
        return np.s_[:, :]
    margin = round(_MARGIN * max(rows[-1] - rows[0], columns[-1] - columns[0], _CELL // 4))
    return np.s_[max(0, rows[0] - margin) : rows[-1] + margin, max(0, columns[0] - margin) : columns[-1] + margin]


def _sheet(columns: Sequence[tuple[str, tuple[Look, Look], bool]], told: str) -> Array:
    around = _around([look for _, pair, _ in columns for look in pair])
    cells = [[fitted(look.drawn()[around], _CELL) for look in pair] for _, pair, _ in columns]
    height, width = cells[0][0].shape[:2]
    step = max(width, _LEAST) + _GAP
    size = (len(columns) * step + _GAP, 2 * _CAPTION + 2 * (height + _GAP))
    sheet = Image.new("RGB", size, (250, 250, 250))
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(15)
    draw.text((_GAP, _CAPTION // 2), told, fill=(200, 40, 0), font=font, anchor="lm")
    for place, ((caption, _, worst), pictures) in enumerate(zip(columns, cells, strict=True)):
        left = _GAP + place * step
        colour = (200, 40, 0) if worst else (20, 20, 20)
        draw.text((left, _CAPTION + _CAPTION // 2), caption, fill=colour, font=font, anchor="lm")
        for row, picture in enumerate(pictures):
            sheet.paste(Image.fromarray(picture), (left, 2 * _CAPTION + row * (height + _GAP)))
    return np.asarray(sheet)
