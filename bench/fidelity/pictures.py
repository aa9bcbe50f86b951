"""The benchmark's pictures: the curves, and each method's worst frame."""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from bench.fidelity.calibrate import CERTAIN
from bench.fidelity.clips import known
from bench.fidelity.judge import Judge, Judged
from bench.fidelity.measure import Set, Taken, frames_of, methods_of
from stages.base import Array
from stages.picture import mask_box

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Okabe and Ito's palette, solid and then dashed: told apart by colour-blind eyes too.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000", "#999999")
STYLES = ("-", "--", ":")
COLUMNS = 4  # of panels
SHOWN = 0.5  # a metric that never fires on this share of the frames has no line
CELL, CAPTION, GAP, MARGIN = 200, 22, 6, 45  # pixels


def curves_plot(curves: Mapping[str, Any]) -> bytes:
    """How often each metric fires as each fault grows, a panel a fault; a PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    rows = -(-len(curves) // COLUMNS)
    figure = Figure(figsize=(11, 2.1 * rows + 0.9), dpi=80, layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    panels: Any = figure.subplots(rows, COLUMNS, squeeze=False, sharey=True).ravel()
    looks: dict[str, tuple[str, str]] = {}
    for panel, (name, found) in zip(panels, curves.items(), strict=False):
        _panel(panel, name, found, looks)
    for panel in panels[len(curves) :]:
        panel.axis("off")
    lines = [panels[0].plot([], [], color=colour, linestyle=style)[0] for colour, style in looks.values()]
    figure.legend(lines, list(looks), loc="outside lower center", ncols=7, fontsize=8, frameon=False)
    figure.supylabel("share of frames that fire", fontsize=9)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()


def _panel(axes: "Axes", name: str, found: Mapping[str, Any], looks: dict[str, tuple[str, str]]) -> None:
    strengths = [abs(value) for value in found["strengths"]]
    for metric, shares in found["shares"].items():
        values = np.array([np.nan if share is None else share for share in shares], np.float64)
        if np.isnan(values).all() or np.nanmax(values) < SHOWN:
            continue
        place = len(looks)
        colour, style = looks.setdefault(metric, (COLOURS[place % len(COLOURS)], STYLES[place // len(COLOURS)]))
        axes.plot(range(len(values)), values, color=colour, linestyle=style, marker=".", markersize=4, linewidth=1.2)
    axes.axhline(CERTAIN, color="#bbbbbb", linewidth=0.8, zorder=0)
    axes.set_title(f"{name}: {found['unit']}", fontsize=8, loc="left")
    axes.set_xticks(range(len(strengths)), [f"{value:g}" for value in strengths], fontsize=7)
    axes.set_ylim(-0.03, 1.03)
    axes.tick_params(axis="y", labelsize=7)
    axes.spines[["top", "right"]].set_visible(False)


def methods_sheet(wanted: Set, taken: Taken, out: Path) -> Array:
    """The worst frame of each method on one clip, cut out around object and person: the source's object outlined in
    green, what was found in red; `[h, w, 3]` uint8 RGB."""
    judge, truth = Judge(out / "clips" / taken.clip.name), known(taken.clip.scene)
    masks = judge.masks()
    cells = []
    for method in methods_of(wanted, taken.clip):
        judged = taken.judged[method]
        frame = _worst(judged)
        picture = frames_of(wanted, taken.clip, method, judge, truth)[frame]
        around = masks["object"][frame] | masks["person"][frame] | judged.found[0, frame]
        caption = f"{method}: frame {frame}, IoU {judged.of('iou')[frame]:.3f}"
        cells.append((caption, _cut(picture, masks["object"][frame], judged.found[0, frame], around)))
    return _sheet(cells)


def _worst(judged: Judged) -> int:
    """The frame of the lowest IoU among those with the fault; of equals the first."""
    values = np.nan_to_num(judged.of("iou"), nan=2.0)
    return int(np.argmin(np.where(judged.size > 0, values, values + 2.0) if (judged.size > 0).any() else values))


def _cut(picture: Array, source: Array, found: Array, around: Array) -> Array:
    """A square cell."""
    drawn = picture.copy()
    for mask, colour in ((source, (0, 200, 80)), (found, (255, 50, 50))):
        outlines, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        cv2.drawContours(drawn, outlines, -1, colour, 1)
    box = mask_box(around if around.any() else np.ones_like(around))
    half = max(box[2] - box[0], box[3] - box[1]) / 2 + MARGIN / 2
    x, y = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
    matrix = np.array([[1.0, 0.0, half - x], [0.0, 1.0, half - y]]) * (CELL / (2 * half))
    return np.asarray(cv2.warpAffine(drawn, matrix, (CELL, CELL), flags=cv2.INTER_AREA))


def _sheet(cells: Sequence[tuple[str, Array]], columns: int = 6) -> Array:
    rows = -(-len(cells) // columns)
    size = (columns * (CELL + GAP) + GAP, rows * (CELL + CAPTION + GAP))
    sheet = Image.new("RGB", size, (250, 250, 250))
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(11)
    for place, (caption, cell) in enumerate(cells):
        left, top = GAP + place % columns * (CELL + GAP), place // columns * (CELL + CAPTION + GAP)
        draw.text((left, top + CAPTION // 2), caption, fill=(20, 20, 20), font=font, anchor="lm")
        sheet.paste(Image.fromarray(cell), (left, top + CAPTION))
    return np.asarray(sheet)
