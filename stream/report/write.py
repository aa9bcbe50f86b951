"""Writes the report's files, each whole or not at all."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from stages.base import Array
from storage.backend import Backend
from storage.errors import InputError
from stream.report.collect import Facts, FrameTable
from stream.report.figures import cost_plot, interaction_plot, iou_plot
from stream.report.html import report_page
from stream.report.strips import StripRow, contact_sheet, film_strip, png_bytes
from stream.report.summary import Summary, iou_csv, pick_frames, summarise


def write_report(
    store: Backend,
    table: FrameTable,
    known: Facts,
    threshold: float,
    pictures_of: Callable[[int], StripRow],
    seen: Callable[[], Sequence[tuple[int, Array]]],
    title: str,
    about: Mapping[str, str],
    moment: Callable[[], Array | None] = lambda: None,
    ready: Callable[[], None] = lambda: None,
) -> Summary:
    """Write `summary.json`, `iou.csv`, `index.html`, `iou.png`, `frames.png`, `cost.png`, and where there is something
    to show `interaction.png`, `moment.png` and `views.png`; returns the summary.

    Args:
        store: of the files; those of an earlier report are replaced.
        table, known: from `stream.report.collect`.
        threshold: of the gate.
        pictures_of: gives a frame by its number; asked for at most three, and for none where nothing was scored. Where
            it raises InputError, the source's frames being gone, the page says so in place of the film strip.
        seen: gives what the generator saw of some frames, by number; none where it saw the whole frame.
        title: of the page.
        about: what the run was made with, by name; shown on the page, not written into the summary.
        moment: gives the worst moment of the interaction as a picture, None where there is none.
        ready: called before the first file is replaced.
    """
    values = summarise(table, known, threshold)
    pictures = _plots(table, known, threshold)
    try:
        rows, views, worst = strip_rows(table, threshold, pictures_of), seen(), moment()
    except InputError as error:  # the clip was moved since: all but its pictures is still known
        rows, views, worst, about = [], [], None, {**about, "film strip": f"left out: {error}"}
    if rows:
        pictures["frames.png"] = ("Worst, median and best frame", png_bytes(film_strip(rows)))
    if worst is not None:
        pictures["moment.png"] = ("Worst moment of the interaction: source above, result below", png_bytes(worst))
    if views:
        pictures["views.png"] = ("What the generator saw", png_bytes(contact_sheet(views)))
    if known.windows:
        pictures["cost.png"] = ("Memory and time per window", cost_plot(known.windows))
    page = report_page(title, values, known.windows, dict(pictures.values()), about)
    ready()
    for name in {"moment.png", "views.png"} - pictures.keys():  # of an earlier report
        store.delete(name)
    for name, (_, data) in pictures.items():
        store.write(name, [data])
    store.write("iou.csv", [iou_csv(table).encode()])
    # A name that is not UTF-8 stands in it with escapes.
    store.write("index.html", [page.encode(errors="backslashreplace")])
    text = json.dumps(values.to_json(), indent=2, allow_nan=False) + "\n"
    store.write("summary.json", [text.encode()])
    store.flush()
    return values


def _plots(table: FrameTable, known: Facts, threshold: float) -> dict[str, tuple[str, bytes]]:
    """Heading and PNG of what is drawn over the frames, by file."""
    edges = [row.final.start for row in known.windows if row.final.start > 0]
    plot = iou_plot(
        table.iou,
        table.visible,
        threshold,
        edges,
        known.cuts,
        table.subjects,
        table.baselines,
        table.failing(threshold),
    )
    found = {"iou.png": ("IoU over time", plot)}
    if known.sights:
        found["interaction.png"] = ("Contact and angle over time", interaction_plot(*known.sights))
    return found


def strip_rows(table: FrameTable, threshold: float, pictures_of: Callable[[int], StripRow]) -> list[StripRow]:
    """The worst, the median and the best frame, captioned; none where nothing was scored."""
    rows, wrong = [], table.failing(threshold)
    for label, frame in pick_frames(table.iou, table.shows).items():
        iou = float(table.iou[frame])
        caption = f"{label}: frame {frame}, {float(table.times[frame]):.3f} s, IoU {iou:.4f}"
        rows.append(replace(pictures_of(frame), caption=caption, failed=bool(wrong[frame])))
    return rows
