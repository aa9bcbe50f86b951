"""`index.html`: the report as one file that opens from disk. No script, no network, pictures inside."""

import base64
from collections.abc import Container, Mapping, Sequence
from html import escape

from stages.fidelity.totals import Flight, Interaction
from storage.boundary import visible_lines
from storage.sizes import count_of, format_size
from stream.report.by_shot import shot_rows
from stream.report.collect import WindowRow
from stream.report.summary import Summary

_MAX_ROWS = 200  # a page of an hour of video stays readable; iou.csv and summary.json have everything

THEME = """
:root { color-scheme: light dark; --ink: #1c1f23; --soft: #5d6670; --line: #d9dde2; --page: #ffffff; --box: #f5f6f8;
  --good: #00795a; --bad: #b84300; }
@media (prefers-color-scheme: dark) { :root { --ink: #e7eaee; --soft: #a2abb5; --line: #3a4048; --page: #16191d;
  --box: #1f2329; --good: #37c79b; --bad: #ff8a4c; } }
.soft { color: var(--soft); } .good { color: var(--good); } .bad { color: var(--bad); }
"""
_STYLE = """
body { margin: 0 auto; padding: 1.5rem; max-width: 70rem; font: 16px/1.5 system-ui, sans-serif; color: var(--ink);
  background: var(--page); }
h1 { font-size: 1.5rem; margin: 0 0 .25rem; } h2 { font-size: 1.1rem; margin: 2rem 0 .5rem; }
p { margin: .25rem 0; }
.verdict { font-size: 1.15rem; font-weight: 600; }
.numbers { display: grid; grid-template-columns: repeat(auto-fit, minmax(10.5rem, 1fr)); gap: .75rem; margin: 1rem 0; }
.numbers div { background: var(--box); border-radius: .5rem; padding: .6rem .8rem; }
.numbers b { display: block; font-size: 1.35rem; font-variant-numeric: tabular-nums; }
img { max-width: 100%; height: auto; border: 1px solid var(--line); border-radius: .4rem; background: #fff; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .9rem; }
th, td { text-align: right; padding: .25rem .5rem; border-bottom: 1px solid var(--line); white-space: nowrap; }
th:first-child, td:first-child, .facts td { text-align: left; } th { color: var(--soft); font-weight: 600; }
"""


def report_page(
    title: str,
    values: Summary,
    windows: Sequence[WindowRow],
    pictures: Mapping[str, bytes],
    about: Mapping[str, str],
) -> str:
    """The page.

    Args:
        title: of the run.
        values: what `summarise` gives.
        windows: cost by window.
        pictures: PNGs by the heading that stands above them, in order.
        about: what the run was made with, by name (video, generator, models ...).

    Returns:
        HTML text, UTF-8.
    """
    parts = [
        f"<h1>{escape(title)}</h1>",
        _verdict(values),
        _numbers(values),
        *(_picture(heading, data) for heading, data in pictures.items()),
        _section("Frames that fail the gate", _failures(values)),
        _section("Shots and subjects", _shot_table(values)),
        _section("Windows, counted from 0", _window_table(values, windows)),
        _section("Memory when a stage was done with its window", _memory_table(windows)),
        _section("Interaction", _interactions(values)),
        _section("Tracking", _tracking(values)),
        _section("Made with", table(["", ""], [[name, text] for name, text in about.items()], "facts")),
    ]
    return page(title, "\n".join(part for part in parts if part))


def page(title: str, body: str, style: str = _STYLE) -> str:
    """A whole page that loads nothing from anywhere; `body` and `style` are HTML and CSS."""
    return visible_lines(
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<link rel="icon" href="data:,">\n'  # or a browser asks for one and logs an error
        f"<title>{escape(title)}</title>\n<style>{THEME}{style}</style>\n</head>\n<body>\n{body}\n</body>\n</html>\n"
    )


def _verdict(values: Summary) -> str:
    count = values.failed_frames_count
    asked = ", ".join(
        f"{'an IoU' if name == 'iou' else name} {'above' if gated.high else 'up to'} {gated.bound:g}"
        for name, gated in values.gated_by.items()
    )
    alone = list(values.gated_by) == ["iou"]
    missing = f"are not above {values.gated_by['iou'].bound:g}" if alone else f"do not hold {asked}"
    text, kind = {
        "passed": (f"Gate passed: every scored frame has {asked}", "good"),
        "failed": (f"Gate failed: {count} of {values.frames_scored} frames {missing}", "bad"),
    }.get(values.gate or "", ("Not scored: poses and masks only", "soft"))
    if values.gate is None and values.generates:
        text = "Not scored yet" if not values.complete else "Nothing to score: the object is tracked nowhere"
        text = text if values.gated_by else "Nothing is gated: the subjects are removed, or not to be gated"
    if values.gate == "passed" and values.object is not None and not values.object.visible_frames:
        text, kind = "Gate passed, but the object was never seen: give another box, points or a correction", "bad"
    if values.gate == "failed" and values.failed_by is not None:
        text += f": {values.failed_by['generator']} by the generator, {values.failed_by['tracker']} by the tracker"
    if values.unmeasured:
        text += f". Not measured on any frame: {', '.join(values.unmeasured)}"
    facts = f"{count_of(values.frames, 'frame')} in {count_of(values.windows, 'window')}"
    if not values.complete:
        facts += ". The run is not finished: this is what is there so far"
    short = f'\n<p class="bad">The source is short: {escape(values.cut_short)}</p>' if values.cut_short else ""
    return f'<p class="verdict {kind}">{text}</p>\n<p class="soft">{facts}</p>{short}'


def _numbers(values: Summary) -> str:
    boxes = []
    for name, label, low, worst in (
        ("iou", "IoU", "p5", "min"),
        ("boundary_f", "boundary F", "p5", "min"),
        ("containment", "containment", "p5", "min"),
        ("clipping", "clipping", "p95", "max"),
    ):
        found = vars(getattr(values, name))
        if found["mean"] is not None:
            detail = f"{low} {found[low]:.3f}, {worst} {found[worst]:.3f} at frame {found[f'{worst}_frame']}"
            boxes.append((f"{label}, mean", f"{found['mean']:.3f}", detail))
    if values.seam_ratio is not None:
        told = "change where windows are crossfaded / elsewhere, against each window's own; 1 = no seam"
        boxes.append(("seam ratio", f"{values.seam_ratio:.2f}", told))
    cells = (f"<div>{escape(a)}<b>{b}</b><span class='soft'>{escape(c)}</span></div>" for a, b, c in boxes)
    return f'<div class="numbers">{"".join(cells)}</div>' if boxes else ""


def _picture(heading: str, data: bytes) -> str:
    source = base64.b64encode(data).decode()
    return _section(heading, f'<img alt="{escape(heading, quote=True)}" src="data:image/png;base64,{source}">')


def _failures(values: Summary) -> str:
    if values.gate is None:
        return ""
    spans = values.failed_frames
    return f"<p>{_span_text(spans)}</p>" if spans else "<p>None.</p>"


def _interactions(values: Summary) -> str:
    """What source and result come to, of a scene pair by pair; nothing where it was not measured."""
    if values.interaction is not None:
        return _interaction(values.interaction)
    return "".join(f"<h3>{escape(name)}</h3>{_interaction(each)}" for name, each in values.interactions.items())


def _interaction(found: Interaction) -> str:
    contact = found.contact
    rows = [
        ["contact: precision, recall, F1", *map(_number, (contact.precision, contact.recall, contact.f1))],
        [
            "no contact: precision, recall, F1",
            *map(_number, (contact.off_precision, contact.off_recall, contact.off_f1)),
        ],
        ["changes of contact, without one like it", str(contact.changes), str(contact.missed), ""],
        ["their timing, frames: mean, bias", *map(_number, (contact.timing_frames, contact.timing_bias_frames)), ""],
        ["object lost, double: frames", str(found.presence.lost_frames), str(found.presence.double_frames), ""],
        [
            "clipping beyond the source's own: mean, worst",
            *map(_number, (found.presence.clipping_mean, found.presence.clipping_worst)),
            "",
        ],
        ["flips: source, result", f"{found.source_flips:g}", f"{found.result_flips:g}", ""],
        [
            "turned, degrees: source, result",
            f"{found.source_turned_degrees:.0f}",
            f"{found.result_turned_degrees:.0f}",
            "",
        ],
    ]
    flights = [[f"{item.start} to {item.stop - 1}", *map(_number, _residuals(item))] for item in found.flights]
    head = ["flight: px from a parabola", "person, source", "person, result", "object, source", "object, result"]
    return table(["", "", "", ""], rows) + table(head, flights)


def _residuals(flight: Flight) -> list[float | None]:
    return [flight.source_person_px, flight.result_person_px, flight.source_object_px, flight.result_object_px]


def _tracking(values: Summary) -> str:
    lines = []
    for name, found in values.subjects.items():
        line = f"The {name} was seen in {found.visible_frames} of {values.frames} frames."
        if found.iou is not None and found.iou.mean is not None:
            line += f" Its IoU in source and result: mean {found.iou.mean:.3f}, min {found.iou.min:.3f}."
        if found.lost:
            line += f" Lost in {_span_text(found.lost)}."
        if found.untracked:
            line += f" Not tracked in {_span_text(found.untracked)}."
        if found.unlike:
            line += f" Not recognised behind a cut in {_span_text(found.unlike)}."
        if found.occluded:
            line += f" Hidden by others in {_span_text(found.occluded)}."
        lines.append(line)
    if values.person_found is None:
        lines.append("No person was found by the pose models: the skeleton is empty.")
    lines.append(f"Scene cuts at {', '.join(map(str, values.cuts))}." if values.cuts else "No scene cut was seen.")
    if len(values.shots) > 1:
        lines.append(f"Worked on as {len(values.shots)} shots: {_span_text(values.shots)}.")
    if values.bad_frames:
        lines.append(f"Concealed by the last good one: {count_of(values.bad_frames, 'damaged source frame')}.")
    return "\n".join(f"<p>{escape(line)}</p>" for line in lines)


def _span_text(spans: Sequence[Sequence[int]]) -> str:
    shown = [str(a) if b == a + 1 else f"{a} to {b - 1}" for a, b in spans[:_MAX_ROWS]]
    left = len(spans) - len(shown)
    return (
        f"frame{'s' if len(spans) > 1 or spans[0][1] > spans[0][0] + 1 else ''} "
        + ", ".join(shown)
        + (f" and {left} more spans (see iou.csv)" if left else "")
    )


def _shot_table(values: Summary) -> str:
    head = ["frames", "subject", "IoU mean", "p5", "min", "at frame", "failing", "by", "contact F1", "no contact F1"]
    return _long_table(head, shot_rows(values.by_shot), "rows")


def _window_table(values: Summary, windows: Sequence[WindowRow]) -> str:
    stages = list(dict.fromkeys(stage for row in windows for stage in row.seconds))
    memory = [
        (label, [None if row is None else format_size(row) for row in column])
        for label, column in (
            ("RAM", [row.rss_bytes for row in windows]),
            ("VRAM, peak", [row.vram_bytes for row in windows]),
        )
        if any(value is not None for value in column)
    ]
    head = ["window", "frames", "IoU mean", "IoU min", "failing", *(f"{stage}, s" for stage in stages)]
    rows, failed = [], set[int]()
    for index, (score, cost) in enumerate(zip(values.by_window, windows, strict=True)):
        start, stop = score.frames
        failing = sum(b - a for a, b in score.failed_frames)
        if failing:
            failed.add(index)
        row = [
            str(index),
            f"{start} to {stop - 1}",
            _number(score.iou_mean),
            _number(score.iou_min),
            str(failing),
        ]
        row += [f"{cost.seconds[stage]:.2f}" if stage in cost.seconds else "" for stage in stages]
        rows.append(row + [column[index] or "" for _, column in memory])
    return _long_table(head + [label for label, _ in memory], rows, first=failed)


def _memory_table(windows: Sequence[WindowRow]) -> str:
    """RAM by window and stage, with VRAM beside it where there is any."""
    stages = list(dict.fromkeys(stage for row in windows for stage in row.rss_by_stage))
    rows = []
    for index, row in enumerate(windows):
        cells = [str(index)]
        for stage in stages:
            found = [column[stage] for column in (row.rss_by_stage, row.vram_by_stage) if stage in column]
            cells.append(" / ".join(map(format_size, found)))
        rows.append(cells)
    if not stages:
        return ""
    vram = ", then the GPU's peak" if any(row.vram_by_stage for row in windows) else ""
    return f'<p class="soft">RAM of the process{vram}.</p>' + _long_table(["window", *stages], rows)


def _long_table(
    head: Sequence[str], rows: Sequence[Sequence[str]], what: str = "windows", first: Container[int] = ()
) -> str:
    """A table of at most `_MAX_ROWS` rows, of `first` before others, in their order; and how many more there are."""
    shown = sorted(sorted(range(len(rows)), key=lambda index: index not in first)[:_MAX_ROWS])
    left = len(rows) - len(shown)
    more = f'<p class="soft">and {left} more {what} (see summary.json)</p>' if left > 0 else ""
    return table(head, [rows[index] for index in shown]) + more


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"


def table(
    head: Sequence[str],
    rows: Sequence[Sequence[str]],
    kind: str = "numbers-table",
    links: Sequence[str | None] = (),
) -> str:
    """A table of texts; nothing where there are no rows.

    Args:
        kind: its CSS class. links: HTML that stands in a row's first cell in place of its text.
    """
    if not rows:
        return ""
    top = "".join(f"<th>{escape(name)}</th>" for name in head)
    lines = [[escape(cell) for cell in row] for row in rows]
    for line, link in zip(lines, links, strict=False):
        line[0] = link or line[0]
    body = "\n".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in line) + "</tr>" for line in lines)
    header = f"<thead><tr>{top}</tr></thead>\n" if any(head) else ""
    return f'<div class="scroll"><table class="{kind}">\n{header}<tbody>\n{body}\n</tbody></table></div>'


def _section(heading: str, content: str) -> str:
    return f"<h2>{escape(heading)}</h2>\n{content}" if content else ""
