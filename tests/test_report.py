"""The report: numbers, pictures and page, from made-up scores."""

import csv
import io
import json
import math
import re
import warnings
from dataclasses import replace
from html.parser import HTMLParser
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from stages.base import Array
from stages.fidelity.sight import COLUMNS
from storage.backend import open_store
from storage.errors import InputError
from storage.spans import Span
from stream.report import figures
from stream.report.by_shot import scores_by_shot, shot_rows
from stream.report.collect import Facts, FrameTable, Record, WindowRow, facts, frame_table, join_spans, shortfall
from stream.report.figures import cost_plot, interaction_plot, iou_plot
from stream.report.html import report_page
from stream.report.strips import StripRow, film_strip, overlay, png_bytes
from stream.report.summary import iou_csv, pick_frames, summarise
from stream.report.write import write_report

UNFOLLOWED = {"iou": None, "failed_frames": None, "occluded": None}
FINALS = [Span(0, 6), Span(6, 10)]
IOU = [None, 0.95, 0.97, 0.90, 0.5, 1.0, 0.99, 0.98, 0.8, 1.0]


def score_records() -> list[Record]:
    """Two windows of the score stage: frame 0 untracked, frames 3, 4 and 8 failing."""
    records: list[Record] = []
    for start, stop in FINALS:
        part = IOU[start:stop]
        info = {
            "iou": part,
            "boundary_f": part,
            "containment": part,
            "clipping": [None if value is None else 1 - value for value in part],
            "seam": {"edge": 3.0 if start else None, "inside_sum": 10.0, "inside_frames": 5},
        }
        records.append({"span": [start, stop], "seconds": 0.5, "info": info})
    return records


def all_records() -> dict[str, list[Record]]:
    """Commit records of the stages the report looks at."""
    lost = [[[4, 6]], [[6, 7]]]
    return {
        "decode": [
            {"span": [0, 8], "seconds": 0.1, "info": {"bad_frames": 2, "cuts": cuts}, "rss_bytes": 900_000_000}
            for cuts in ([], [5])
        ],
        "pose": [
            {"seconds": 1.0, "info": {"person": None}},
            {"seconds": 1.0, "info": {"person": {"frame": 7, "box": [1, 2, 3, 4]}}},
        ],
        "track": [
            {
                "seconds": 2.0,
                "info": {
                    "untracked": {"object": [] if index else [[0, 1]], "person": []},
                    "lost": {"object": lost[index], "person": []},
                },
            }
            for index in range(2)
        ],
        "score": score_records(),
    }


def table() -> FrameTable:
    """Ten frames."""
    visible = np.ones((10, 2), dtype=bool)
    visible[[0, 5, 9], 0] = False
    return frame_table(np.arange(10) / 24, visible, score_records())


def test_table_from_records() -> None:
    found = table()
    assert found.frames == 10 and math.isnan(found.iou[0]) and found.iou[4] == 0.5
    partial = frame_table(np.arange(10) / 24, found.visible, score_records()[:1])
    assert np.isnan(partial.iou[6:]).all() and partial.iou[5] == 1.0
    with pytest.raises(ValueError, match="other lengths"):
        FrameTable(np.zeros(3), np.ones((2, 2), dtype=bool), {"iou": np.zeros(3)})


def test_facts_from_records() -> None:
    found = facts(all_records(), FINALS)
    assert found.lost == {"object": [(4, 7)], "person": []}
    assert found.untracked == {"object": [(0, 1)], "person": []}
    assert found.cuts == [5] and found.bad_frames == 4
    assert found.person == {"frame": 7, "box": [1, 2, 3, 4]}
    assert found.windows[0] == WindowRow(
        Span(0, 6), {"decode": 0.1, "pose": 1.0, "track": 2.0, "score": 0.5}, {"decode": 900_000_000}
    )
    assert found.windows[0].rss_bytes == 900_000_000 and found.windows[0].vram_bytes is None
    assert join_spans([[[3, 5]], [[5, 7], [9, 10]]]) == [(3, 7), (9, 10)]
    # An interrupted run: fewer records than windows.
    assert facts({"decode": all_records()["decode"][:1]}, FINALS).windows[1].seconds == {}


def test_summary() -> None:
    values = json.loads(json.dumps(summarise(table(), facts(all_records(), FINALS), 0.9).to_json(), allow_nan=False))
    assert values["gate"] == "failed" and values["frames"] == 10 and values["windows"] == 2
    assert values["failed_frames"] == [[3, 5], [8, 9]] and values["failed_frames_count"] == 3
    assert values["iou"] == {"mean": 0.898889, "p5": 0.5, "p5_frame": 4, "min": 0.5, "min_frame": 4}
    assert values["clipping"] == {"mean": 0.101111, "p95": 0.5, "p95_frame": 4, "max": 0.5, "max_frame": 4}
    assert values["seam_ratio"] == 1.5
    assert values["object"] == {"visible_frames": 7, "lost": [[4, 7]], "untracked": [[0, 1]], "unlike": []} | UNFOLLOWED
    assert values["person_found"]["frame"] == 7 and values["bad_frames"] == 4 and values["cuts"] == [5]
    assert values["by_window"][1] == {
        "frames": [6, 10],
        "iou_mean": 0.9425,
        "iou_min": 0.8,
        "failed_frames": [[8, 9]],
    }


CLAIMS: dict[str, float | None] = {"claimed_frames": 30, "claimed_seconds": 1.25, "claimed_fps": 24.0}


def test_a_source_that_ends_early() -> None:
    assert shortfall(CLAIMS, 17, 16 / 24, None, None) == (
        "the header claims 30 frames, 17 could be decoded: the file may be cut off, fetch it again"
    )
    assert "claims 1.25 s, 0.75 s could" in (shortfall(CLAIMS, 9, 8 / 12, 12.0, None) or "")
    uncounted = {**CLAIMS, "claimed_frames": None}
    assert "claims 1.25 s, 0.71 s could" in (shortfall(uncounted, 17, 16 / 24, None, None) or "")
    assert "claims 30 frames" in (shortfall({**CLAIMS, "claimed_seconds": None}, 17, 16 / 24, None, None) or "")
    nothing = {**uncounted, "claimed_seconds": None}
    assert "after frame 16 with an error (broken)" in (shortfall(nothing, 17, 16 / 24, None, "broken") or "")
    page = report_page("x", summarise(table(), Facts(cut_short="a < b"), 0.4), [], {}, {})
    assert "The source is short: a &lt; b" in page and "is short" not in report_page(
        "x", summarise(table(), Facts(), 0.4), [], {}, {}
    )


@pytest.mark.parametrize(
    ("claims", "frames", "last", "fps", "error"),
    [
        ({}, 30, 29 / 24, None, None),
        ({}, 29, 28 / 24, None, "garbage at the end"),  # a header that claims one more
        ({"claimed_frames": 1}, 30, 29 / 24, None, None),
        ({}, 15, 14 / 12, 12.0, None),  # resampled
        ({}, 60, 59 / 48, 48.0, None),
        ({"claimed_seconds": 0.799}, 20, 19 / 24, None, None),  # trimmed by an edit list: the packets are still there
        ({"claimed_seconds": 4.0}, 30, 29 / 24, None, None),  # the last frame stands for long
        ({"claimed_frames": None, "claimed_seconds": None}, 17, 16 / 24, None, None),
    ],
)
def test_a_source_that_does_not_end_early(
    claims: dict[str, float | None], frames: int, last: float, fps: float | None, error: str | None
) -> None:
    assert shortfall({**CLAIMS, **claims}, frames, last, fps, error) is None


def with_memory() -> list[WindowRow]:
    """Two windows on a GPU; the second stage of the second was never reached."""
    rss, vram = {"pose": 10**9, "track": 2 * 10**9}, {"track": 3 * 10**9}
    first = WindowRow(Span(0, 6), {"pose": 1.0, "track": 2.0}, rss, vram)
    return [first, WindowRow(Span(6, 10), {"pose": 1.5}, {"pose": 15 * 10**8})]


def test_cost_by_window_and_stage() -> None:
    values = summarise(table(), Facts(windows=with_memory()), 0.9).to_json()["cost"]
    assert values["seconds"] == {"pose": 2.5, "track": 2.0}
    assert values["peak_rss_bytes"] == 2 * 10**9 and values["peak_vram_bytes"] == 3 * 10**9
    lower = WindowRow(Span(6, 10), {}, {"pose": 1}, {"track": 2})
    peaks = summarise(table(), Facts(windows=[lower, *with_memory(), lower]), 0.9).to_json()["cost"]
    assert (peaks["peak_rss_bytes"], peaks["peak_vram_bytes"]) == (2 * 10**9, 3 * 10**9)
    assert values["by_window"][1] == {"seconds": {"pose": 1.5}, "rss_bytes": {"pose": 15 * 10**8}, "vram_bytes": {}}
    page = report_page("x", summarise(table(), Facts(windows=with_memory()), 0.9), with_memory(), {}, {})
    cells = re.sub(r"\s*<[^>]+>\s*", "|", page)
    assert "|RAM||VRAM, peak|" in cells and "2.0 GB / 3.0 GB" in cells and "|1||1.5 GB||" in cells
    assert "Memory when a stage was done" in page
    assert "VRAM" not in report_page("x", summarise(table(), Facts(), 0.9), [], {}, {})


def test_each_shot_has_its_own_frames_failures_and_contact() -> None:
    none = math.nan
    iou = np.array([none, 0.95, 0.97, 0.90, 0.5, 1.0, 0.99, 0.98, 0.8, 1.0])
    sights = np.full((2, 10, len(COLUMNS)), none)
    sights[:, :, COLUMNS.index("left_contact")] = [[1, 1, 1, 1, 1, 1, 0, 0, 0, 0], [1, 1, 0, 0, 1, 1, 0, 0, 0, 1]]
    found = replace(table(), subject_scores={"object": iou, "person": np.full(10, none)})
    known = Facts(shots=[(0, 6), (6, 12), (12, 20)], sights=(sights[0], sights[1]))
    first, second = scores_by_shot(found, known, 0.9)
    assert (first.frames, second.frames) == ((0, 6), (6, 10)), "as far as there are frames"
    assert (first.failed_frames, second.failed_frames) == ([(3, 5)], [(8, 9)])
    assert (first.failed_by, second.failed_by) == ({"iou": 2}, {"iou": 1})
    own = second.subjects["object"]
    assert (own.iou_mean, own.iou_p5, own.iou_min, own.iou_min_frame) == (0.9425, 0.8, 0.8, 8)
    assert first.subjects["object"].iou_min_frame == 4 and first.subjects["person"].iou_min_frame is None
    assert (first.contact_f1, first.off_f1) == (0.8, 0.0) and (second.contact_f1, second.off_f1) == (0.0, 0.857143)
    assert shot_rows([first, second]) == [
        ["0 to 5", "object", "0.8640", "0.5000", "0.5000", "4", "2", "iou 2", "0.8000", "0.0000"],
        ["", "person", "", "", "", "", "", "", "", ""],
        ["6 to 9", "object", "0.9425", "0.8000", "0.8000", "8", "1", "iou 1", "0.0000", "0.8571"],
        ["", "person", "", "", "", "", "", "", "", ""],
    ]
    (whole,) = scores_by_shot(found, Facts(), 0.9)
    assert (
        whole.frames == (0, 10)
        and whole.contact_f1 is None
        and scores_by_shot(found, Facts(shots=[(0, 10)]), 0.9) == [whole]
    )
    assert scores_by_shot(frame_table(np.zeros(0), np.zeros((0, 2)), []), Facts(), 0.9) == []


def test_summary_of_what_was_only_tracked() -> None:
    values = summarise(frame_table(np.arange(4) / 24, np.ones((4, 2)), []), Facts(), 0.9)
    assert values.gate is None and values.iou.mean is None and values.clipping.max is None
    assert values.failed_frames == [] and values.seam_ratio is None and values.person_found is None
    assert "Nothing to score" in report_page("x", values, [], {}, {})
    masks_only = summarise(frame_table(np.arange(4) / 24, np.ones((4, 2)), []), Facts(generates=False), 0.9)
    assert "Not scored: poses and masks only" in report_page("x", masks_only, [], {}, {})
    begun = summarise(frame_table(np.zeros(0), np.zeros((0, 2)), []), Facts(complete=False), 0.9)
    page = report_page("x", begun, [], {}, {})
    assert "Not scored yet" in page and "The run is not finished" in page and begun.frames == 0
    assert summarise(table(), Facts(), 0.4).gate == "passed"


def test_a_gate_passed_over_nothing_is_no_success() -> None:
    unseen = frame_table(np.arange(10) / 24, np.zeros((10, 2)), score_records())
    page = report_page("x", summarise(unseen, Facts(), 0.4), [], {}, {})
    assert "Gate passed, but the object was never seen" in page and 'class="verdict bad"' in page
    assert "never seen" not in report_page("x", summarise(table(), Facts(), 0.4), [], {}, {})


def test_csv_is_exact() -> None:
    text = iou_csv(table())
    lines = text.split("\n")
    assert lines[0] == "frame,time_s,iou,boundary_f,containment,clipping,object_visible,person_visible"
    assert lines[1] == "0,0.000000,,,,,0,1"
    assert lines[5] == "4,0.166667,0.500000,0.500000,0.500000,0.500000,1,1"
    assert text.endswith("\n") and "\r" not in text
    assert [row["frame"] for row in csv.DictReader(io.StringIO(text))] == [str(t) for t in range(10)]


def test_frames_to_look_at() -> None:
    found = table()
    # Frames 5 and 9 score 1.0 because the object is in neither picture: nothing to see there.
    assert pick_frames(found.iou, found.visible[:, 0]) == {"worst": 4, "median": 1, "best": 6}
    assert pick_frames(found.iou, np.zeros(10, dtype=bool))["best"] == 5
    assert pick_frames(np.full(3, np.nan), np.ones(3, dtype=bool)) == {}
    even = np.array([0.7, 0.9, 0.6, 0.8, 0.9, 0.7])
    assert pick_frames(even, even > 0) == {"worst": 2, "median": 5, "best": 1}


def opened(data: bytes) -> Array:
    """A PNG's pixels, RGB."""
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


def near(picture: Array, colour: tuple[int, int, int]) -> int:
    """How many pixels have about this colour."""
    return int((np.abs(picture.astype(int) - np.array(colour)).max(axis=-1) < 12).sum())


def test_iou_plot_marks_failures() -> None:
    found = table()
    data = iou_plot(found.iou, found.visible, 0.9, [6], [5])
    picture = opened(data)
    assert picture.shape == (473, 1100, 3)
    passed = opened(iou_plot(np.full(10, 0.95), found.visible, 0.9, [6]))
    assert near(picture, (213, 94, 0)) > near(passed, (213, 94, 0)) + 50  # markers of the failing frames
    assert near(picture, (0, 114, 178)) > 300 and near(picture, (0, 158, 115)) > 1000
    assert data == iou_plot(found.iou, found.visible, 0.9, [6], [5])


@pytest.mark.parametrize("frames", [0, 1, 5000])
def test_iou_plot_of_any_length(frames: int) -> None:
    iou = np.full(frames, np.nan) if frames < 2 else 0.5 + 0.4 * np.sin(np.arange(frames) / 90)
    assert opened(iou_plot(iou, np.ones((frames, 2), dtype=bool), 0.9, [])).shape == (473, 1100, 3)


def test_a_foot_that_is_never_on_the_object_has_its_room_too() -> None:
    """The picture has the same parts in the same places whoever stands on what; nothing is warned of."""
    pictures = []
    for left, right in ((1.0, 1.0), (0.0, 1.0), (math.nan, math.nan)):
        sights = np.full((20, len(COLUMNS)), math.nan)
        sights[:, COLUMNS.index("left_contact")], sights[:, COLUMNS.index("right_contact")] = left, right
        sights[:, COLUMNS.index("angle")] = np.linspace(-40, 40, 20)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            pictures.append(np.asarray(Image.open(io.BytesIO(interaction_plot(sights, sights))).convert("L")))
    both, one, none = pictures
    assert both.shape == one.shape == none.shape == (462, 1100)
    lower = slice(190, None)
    assert np.array_equal(both[lower], none[lower]) and np.array_equal(both[lower], one[lower])
    assert np.array_equal(both[:190, :66], none[:190, :66]), "left and right stand at their rows"
    assert (both[:190] != one[:190]).any() and (one[:190] != none[:190]).any()


def test_each_of_many_subjects_has_room() -> None:
    def height(subjects: int) -> int:
        names = [*"abcdefghi"[:subjects]]
        return len(opened(iou_plot(np.ones(9), np.ones((9, subjects), bool), 0.9, [], subjects=names)))

    assert height(2) == 473 and height(9) > 473 + 7 * 25


def test_frames_to_look_at_show_who_is_judged() -> None:
    visible = np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1]], bool)
    table = replace(frame_table(np.arange(3) / 24, visible, [], ("a", "b", "c")), proved=("b", "c"))
    assert table.shows.tolist() == [False, True, True]
    assert not replace(table, proved=()).shows.any()


def test_plots_of_a_long_clip_have_no_more_parts_than_those_of_a_short_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """An hour has thousands of windows; a part for each takes half a minute to draw."""
    parts: list[int] = []

    def counted(figure: Any) -> bytes:
        parts.append(sum(len(axes.get_children()) for axes in figure.axes))
        return b""

    monkeypatch.setattr(figures, "_png", counted)
    for count in (8, 200):
        frames = 6 * count
        iou = np.where(np.arange(frames) % 6, 0.95, 0.8)
        iou_plot(iou, np.ones((frames, 2), bool), 0.9, range(6, frames, 6), [6, 12])
        cost_plot([WindowRow(Span(6 * k, 6 * k + 6), {"decode": 1.0, "pose": 2.0}, {"pose": 9}) for k in range(count)])
    assert parts[:2] == parts[2:]


def test_cost_plot() -> None:
    rows = facts(all_records(), FINALS).windows
    assert opened(cost_plot(rows)).shape[1] == 1100
    assert near(opened(cost_plot(with_memory())), (0, 158, 115)) > 50  # the GPU's line
    assert opened(cost_plot([WindowRow(Span(0, 5), {"decode": 1.0})])).shape[0] < opened(cost_plot(rows)).shape[0]
    assert opened(cost_plot([])).shape[1] == 1100


@pytest.mark.parametrize("count", [1, 2, 9])
def test_windows_are_counted_by_whole_numbers(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    ticks: list[float] = []

    def looked_at(figure: Any) -> bytes:
        axes = figure.axes[-1]
        low, high = axes.get_xlim()
        ticks.extend(tick for tick in axes.get_xticks() if low <= tick <= high)
        return b""

    monkeypatch.setattr(figures, "_png", looked_at)
    cost_plot([WindowRow(Span(0, 5), {"decode": 1.0})] * count)
    assert 0 in ticks and all(tick == round(tick) for tick in ticks)


def test_no_two_stages_of_a_run_look_alike() -> None:
    def taken_by(slow: int) -> Array:
        seconds = {f"stage-{index}": float(index == slow) for index in range(13)}
        return opened(cost_plot([WindowRow(Span(0, 5), seconds)]))

    pictures = [taken_by(slow) for slow in range(13)]
    assert not any(np.array_equal(a, b) for a, b in combinations(pictures, 2))


def strip_row(failed: bool, width: int = 80, height: int = 50) -> StripRow:
    """A grey source with a mask, one bone, and a bright result."""
    thing, person = np.zeros((2, height, width), dtype=bool)
    thing[30:40, 10:40], person[5:25, 20:30] = True, True
    keypoints = np.zeros((133, 3), dtype=np.float32)
    keypoints[5], keypoints[6] = (50, 10, 0.9), (70, 20, 0.9)
    keypoints[7] = (np.nan, np.nan, 0.9)
    return StripRow(
        caption="worst: frame 4, IoU 0.5000",
        source=np.full((height, width, 3), 100, dtype=np.uint8),
        object_mask=thing,
        person_mask=person,
        keypoints=keypoints,
        result=np.full((height, width, 3), (10, 200, 30), dtype=np.uint8),
        failed=failed,
    )


def test_overlay_shows_masks_and_skeleton() -> None:
    row = strip_row(False)
    picture = overlay(row)
    assert picture[35, 25].tolist() == [(100 + 255) // 2, (100 + 140) // 2, 50]
    assert picture[12, 25].tolist() == [70, 120, 177]
    assert picture[15, 60].min() > 150  # the bone between the shoulders
    assert picture[45, 5].tolist() == [100, 100, 100] and row.source.max() == 100


def test_film_strip() -> None:
    sheet = film_strip([strip_row(True), strip_row(False)])
    assert sheet.shape == (26 + 2 * (26 + 50 + 6) + 6, 3 * 80 + 4 * 6, 3)
    assert near(sheet, (10, 200, 30)) == 2 * 80 * 50
    assert near(sheet[26:52], (200, 40, 0)) > 10 and near(sheet[26 + 82 : 26 + 82 + 26], (200, 40, 0)) == 0
    assert np.array_equal(opened(png_bytes(sheet)), sheet)
    assert film_strip([strip_row(False, 1000, 400)], cell_width=480).shape[1] == 3 * 480 + 4 * 6


class Page(HTMLParser):
    """What a page loads, and whether its elements close."""

    def __init__(self) -> None:
        super().__init__()
        self.sources: list[str] = []
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.sources += [value or "" for name, value in attrs if name in ("src", "href")]
        if tag not in ("meta", "link", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_page_is_self_contained() -> None:
    found, known = table(), facts(all_records(), FINALS)
    pictures = {"IoU over time": iou_plot(found.iou, found.visible, 0.9, [6])}
    text = report_page("<run> & more", summarise(found, known, 0.9), known.windows, pictures, {"video": "a<b.mp4"})
    page = Page()
    page.feed(text)
    assert page.open == [] and page.sources and all(source.startswith("data:") for source in page.sources)
    assert "http" not in text and "<script" not in text and "url(" not in text
    assert "&lt;run&gt; &amp; more" in text and "a&lt;b.mp4" in text and "<run>" not in text
    plain = re.sub(r"<[^>]+>", " ", text)
    assert "Gate failed: 3 of 9 frames are not above 0.9" in plain
    assert "frames 3 to 4, 8" in plain and "Lost in frames 4 to 6" in plain and "Not tracked in frame 0." in plain
    assert "4 damaged source frames" in plain


def test_of_many_windows_those_that_fail_are_shown() -> None:
    """Of 450 windows 200: the first ones, and the two further back that fail, in their order."""
    values = summarise(table(), facts(all_records(), FINALS), 0.9)
    scores = [replace(values.by_window[0], frames=Span(at, at + 1), failed_frames=[]) for at in range(450)]
    for index in (300, 420):
        scores[index] = replace(scores[index], failed_frames=[(index, index + 1)])
    costs = [WindowRow(Span(at, at + 1)) for at in range(450)]
    text = report_page("run", replace(values, by_window=scores), costs, {}, {})
    rows = re.findall(r"<tr><td>(\d+)</td><td>\d+ to \d+</td>", text)
    assert rows == [str(index) for index in (*range(198), 300, 420)]
    assert "and 250 more windows (see summary.json)" in text


def test_report_folder(tmp_path: Path) -> None:
    row = strip_row(False)
    asked: list[int] = []

    def pictures_of(frame: int) -> StripRow:
        asked.append(frame)
        return row

    def seen() -> list[tuple[int, Array]]:
        return [(number, row.source) for number in (0, 5, 9, 12, 20)]

    folder, known = tmp_path / "run" / "report", facts(all_records(), FINALS)
    for _ in range(2):  # again over what is there
        values = write_report(
            open_store(folder), table(), known, 0.9, pictures_of, seen, "run", {"generator": "preview"}
        )
    assert asked == [4, 1, 6] * 2
    assert json.loads((folder / "summary.json").read_text()) == json.loads(json.dumps(values.to_json()))
    names = ["cost.png", "frames.png", "index.html", "iou.csv", "iou.png", "summary.json", "views.png"]
    assert sorted(path.name for path in folder.iterdir()) == names
    assert (folder / "index.html").read_text().count("data:image/png") == 4
    assert "What the generator saw" in (folder / "index.html").read_text()
    write_report(open_store(folder), table(), known, 0.9, pictures_of, list, "run", {})
    assert not (folder / "views.png").exists()


def test_report_folder_of_what_was_only_tracked(tmp_path: Path) -> None:
    def refuse(frame: int) -> StripRow:
        raise AssertionError(f"frame {frame} was asked for")

    unscored = frame_table(np.arange(4) / 24, np.ones((4, 2)), [])
    values = write_report(
        open_store(tmp_path), unscored, Facts(), 0.9, refuse, list, "run\udcff", {"input": "bad\udcff.mp4"}
    )
    assert "bad\\udcff.mp4" in (tmp_path / "index.html").read_text(encoding="utf-8"), "a name that is not UTF-8"
    assert values.gate is None
    assert sorted(path.name for path in tmp_path.iterdir()) == ["index.html", "iou.csv", "iou.png", "summary.json"]


def test_report_folder_of_a_clip_that_was_moved(tmp_path: Path) -> None:
    def gone(frame: int) -> StripRow:
        raise InputError("clip.mp4: cannot be read (No such file or directory): bring it back, then go on")

    values = write_report(open_store(tmp_path), table(), facts(all_records(), FINALS), 0.9, gone, list, "run", {})
    assert values.gate == "failed"
    assert not (tmp_path / "frames.png").exists() and (tmp_path / "iou.png").exists()
    assert "left out: clip.mp4: cannot be read" in (tmp_path / "index.html").read_text()
