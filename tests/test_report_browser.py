"""The report page of a real run, in a real headless Chromium. Skipped where none is installed."""

import io
import os
from pathlib import Path

import numpy as np
import pytest
from _browser import Browser
from _small_run import small_run
from PIL import Image

IMAGES = "[...document.images].map(i => [i.alt, i.complete, i.naturalWidth, i.naturalHeight, i.clientWidth])"


@pytest.mark.parametrize(("width", "dark"), [(1200, False), (1200, True), (420, False)])
def test_report_page(tmp_path: Path, width: int, dark: bool) -> None:
    page = small_run() / "report" / "index.html"
    with Browser(tmp_path / "profile", width, 900, dark) as browser:
        browser.open(page)
        text = browser.ask("document.body.innerText")
        for expected in ("Gate failed", "IoU over time", "Worst, median and best frame", "Memory and time per window",
                         "Frames that fail the gate", "Windows", "Tracking", "Made with", "preview"):  # fmt: skip
            assert expected in text
        images = browser.ask(IMAGES)
        assert [image[0] for image in images] == [
            "IoU over time", "Worst, median and best frame", "Memory and time per window",
        ]  # fmt: skip
        for _, complete, natural_width, natural_height, shown in images:
            assert complete and natural_width > 400 and natural_height > 200
            assert 0 < shown <= min(width, natural_width) and shown > 0.6 * min(width, natural_width)
        assert images[0][2:4] == [1100, 473]
        assert browser.ask("document.documentElement.scrollWidth") <= width  # nothing hangs out at the side
        assert browser.ask("document.title") == small_run().name
        picture = np.asarray(Image.open(io.BytesIO(browser.screenshot())).convert("RGB"))
        assert browser.problems == []
        assert [url for url in browser.requests if not url.startswith(("data:", "file:"))] == []
    paper = picture[2, 2]
    assert (paper.max() < 60) if dark else (paper.min() > 240)
    assert picture.shape[1] == width and len(np.unique(picture.reshape(-1, 3), axis=0)) > 500
    if os.environ.get("SKATE_SCREENSHOTS"):  # to look at
        Image.fromarray(picture).save(Path(os.environ["SKATE_SCREENSHOTS"]) / f"report-{width}{'-dark' * dark}.png")
