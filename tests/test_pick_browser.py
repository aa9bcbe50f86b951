"""The page of `skate pick` in a real headless Chromium, by real clicks and keys. Skipped where none is installed."""

import io
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import requests
from _browser import Browser
from _runs import invoke
from _small_run import small_run, small_sam
from PIL import Image

from stages.base import Array
from stages.picture import mask_box
from storage.rundir import RunReader
from stream.demo import DemoConfig, Scene
from stream.demo.clip import write_clip
from stream.options.scene import read_scene
from stream.pick.desk import Desk
from stream.pick.sam import still_sam
from stream.pick.serve import Served, serve
from stream.pick.tracked import Tracked

CLIP = DemoConfig(frames=12, width=320, height=180)
SIZE = (1280, 720)


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("pick") / "clip.mp4"
    write_clip(CLIP, path)
    return path


@pytest.fixture
def desk(clip: Path, tmp_path: Path) -> Iterator[Desk]:
    found = Desk(clip, tmp_path / "clip.scene.toml", still_sam("mini", None, "cpu"))
    found.prepare(0)  # the model is loaded
    yield found
    found.close()


@pytest.fixture
def served(desk: Desk) -> Iterator[Served]:
    found = serve(desk)
    yield found
    found.close()


def on_screen(browser: Browser, x: float, y: float) -> tuple[float, float]:
    """Where a pixel of the clip is in the page."""
    left, top, width, clip_width = browser.ask(
        "(() => { const r = document.querySelector('#view').getBoundingClientRect(); "
        "return [r.x, r.y, r.width, document.querySelector('#view').width]; })()"
    )
    return left + x * width / clip_width, top + y * width / clip_width


def shown(browser: Browser) -> Array:
    """The page as it looks, `[h, w, 3]` uint8."""
    return np.asarray(Image.open(io.BytesIO(browser.screenshot())).convert("RGB"))


def keep(picture: Array, name: str) -> None:
    """For looking at, and for the documents."""
    if os.environ.get("SKATE_SCREENSHOTS"):
        Image.fromarray(picture).save(Path(os.environ["SKATE_SCREENSHOTS"]) / f"{name}.png")


def fits(browser: Browser) -> bool:
    """Whether nothing hangs out of the window."""
    return bool(browser.ask("document.documentElement.scrollWidth <= innerWidth && "
                            "document.documentElement.scrollHeight <= innerHeight"))  # fmt: skip


@pytest.mark.parametrize("dark", [False, True])
def test_a_newcomers_path(tmp_path: Path, clip: Path, desk: Desk, served: Served, dark: bool) -> None:
    truth = Scene(CLIP).frame(0)
    board, person = mask_box(truth.object_mask), mask_box(truth.person_mask)
    with Browser(tmp_path / "profile", *SIZE, dark) as browser:
        browser.visit(served.address)
        browser.until("document.querySelector('#shot').textContent === 'shot 1 of 1'")
        assert browser.ask("document.title") == "clip.mp4: skate pick" and fits(browser)
        # Click the board: its mask comes, and the name is asked for.
        y, x = np.argwhere(truth.object_mask).mean(0)
        browser.mouse(on_screen(browser, x, y))
        browser.until("document.querySelector('#status').textContent.startsWith('Mask of')")
        assert browser.ask("document.activeElement.id") == "subjectName"
        browser.write("board")
        browser.click("#prompt")
        browser.write("a neon hoverboard")
        browser.press("Enter")
        browser.until("document.querySelectorAll('#subjects button').length === 1")
        # Drag a box around the skater.
        browser.mouse(on_screen(browser, *person[:2]), on_screen(browser, 160, 90), on_screen(browser, *person[2:]))
        browser.until("document.querySelector('#status').textContent.startsWith('Mask of')")
        assert browser.ask("document.querySelector('#x1').valueAsNumber") == pytest.approx(person[0], abs=1)
        browser.write("skater")
        browser.ask("document.querySelector('#kind').value = 'person'")
        keep(shown(browser), f"pick{'-dark' * dark}")
        browser.click("#take")
        browser.until("document.querySelectorAll('#subjects button').length === 2")
        # Who holds the board; then save by the keyboard.
        browser.click("#subjects li:first-child button")
        browser.ask("document.querySelector('#holder').value = 'skater'")
        browser.click("#take")
        browser.press("s", modifiers=2)
        browser.until("!document.querySelector('#saved').hidden")
        command = str(browser.ask("document.querySelector('#command').textContent"))
        picture = shown(browser)
        assert browser.problems == [] and fits(browser)
        assert all(url.startswith((served.address[:20], "blob:", "data:")) for url in browser.requests)
    paper = picture[5, 5]
    assert (paper.max() < 60) if dark else (paper.min() > 240)
    # Closing the page has ended nothing.
    base, _, token = served.address.partition("/?token=")
    assert requests.get(f"{base}/api/clip", headers={"X-Skate-Token": token}, timeout=30).status_code == 200
    cast = read_scene(desk.target)
    assert [(one.name, one.kind, one.held_by) for one in cast.subjects] == [
        ("board", "object", "skater"), ("skater", "person", None),
    ]  # fmt: skip
    prompt = cast.subjects[0].prompt
    assert prompt is not None and np.allclose(prompt.points, [(x, y, 1)], atol=1)
    assert cast.reskins[0].prompt == "a neon hoverboard" and board[0] <= x <= board[2]
    if not dark:
        sam, sam_config = small_sam()
        words = command.replace("runs/clip", str(tmp_path / "made")).split()
        assert words[:2] == ["skate", "run"]
        done = invoke(["extract", *words[2:], "--window", "9", "--overlap", "3", "--sam", sam,
                       "--sam-config", sam_config, "--pose", "mini", "--detector", "mini"])  # fmt: skip
        assert done.code == 0, done.err
        assert RunReader(tmp_path / "made").arrays.frames("masks/board") == CLIP.frames


def test_all_of_it_by_the_keyboard(tmp_path: Path, desk: Desk, served: Served) -> None:
    """Frames, a box in numbers, name, save: no mouse."""
    box = mask_box(Scene(CLIP).frame(1).object_mask)
    with Browser(tmp_path / "profile", *SIZE) as browser:
        browser.visit(served.address)
        browser.until("document.querySelector('#shot').textContent === 'shot 1 of 1'")
        frame = "document.querySelector('#number').valueAsNumber"
        for key, modifiers, at in (("ArrowRight", 0, 1), ("ArrowRight", 8, 11), ("Home", 0, 0), ("End", 0, 11),
                                   ("PageUp", 0, 0), ("ArrowLeft", 0, 0), ("ArrowRight", 0, 1)):  # fmt: skip
            browser.press(key, modifiers)
            browser.until(f"{frame} === {at}")
        for field, value in zip(("x1", "y1", "x2", "y2"), box, strict=True):
            browser.ask(f"document.querySelector('#{field}').focus()")
            browser.write(f"{value:g}")
        browser.press("Tab")
        browser.press("Enter")
        browser.until("document.querySelector('#status').textContent.startsWith('Mask of')")
        browser.write("Board 1")  # no name: nothing is added
        browser.press("Enter")
        assert browser.ask("document.querySelectorAll('#subjects button').length") == 0
        browser.ask("document.querySelector('#subjectName').value = ''")
        browser.write("board-1")
        browser.press("Enter")
        browser.until("document.querySelectorAll('#subjects button').length === 1")
        browser.press("s", modifiers=2)
        browser.until("!document.querySelector('#saved').hidden")
        assert browser.problems == []
    prompt = read_scene(desk.target).subjects[0].prompt
    assert prompt is not None and prompt.frame == 1 and prompt.box == box


def test_the_worst_frames_of_a_run_are_corrected(tmp_path: Path) -> None:
    run = Tracked(small_run())
    desk = Desk(run.video, tmp_path / "run.toml", still_sam("mini", None, "cpu"), run)
    served, worst = serve(desk), run.worst()
    first = next(each for each in worst if each.name == "object" and each.frame > 0)
    try:
        with Browser(tmp_path / "profile", *SIZE) as browser:
            browser.visit(served.address)
            browser.until("document.querySelectorAll('#worst button').length > 0")
            assert browser.ask("document.querySelector('#number').valueAsNumber") == worst[0].frame
            browser.click(f"#worst li:nth-child({worst.index(first) + 1}) button")
            browser.until(f"document.querySelector('#redone').textContent.includes('frame {first.frame} has frames')")
            browser.mouse(on_screen(browser, 60, 70), on_screen(browser, 80, 75), on_screen(browser, 100, 82))
            browser.until("document.querySelector('#status').textContent.startsWith('Mask of')")
            keep(shown(browser), "pick-run")
            browser.click("#correct")
            browser.until("document.querySelectorAll('#corrections li').length === 1")
            browser.click("#save")
            browser.until("!document.querySelector('#saved').hidden")
            assert f"--overwrite --correct object@{first.frame}:60,70,100,82" in browser.ask(
                "document.querySelector('#command').textContent"
            )
            assert browser.problems == []
    finally:
        served.close()
        desk.close()


def test_a_wrong_token_shows_no_page(tmp_path: Path, served: Served) -> None:
    with Browser(tmp_path / "profile", *SIZE) as browser:
        browser.visit(served.address[:-1])
        assert browser.ask("document.querySelector('canvas')") is None and "token" in browser.ask(
            "document.body.innerText"
        )
