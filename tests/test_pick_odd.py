"""`skate pick` in odd circumstances: names that are no text, several pages at once, an end in the middle."""

import os
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event
from typing import Any

import pytest
from _runs import small_clip
from test_pick import Page

from storage.errors import InputError
from stream.options.scene import read_scene
from stream.pick.desk import Desk
from stream.pick.sam import still_sam
from stream.pick.serve import serve


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_clip(tmp_path_factory.mktemp("pick"))


def test_pages_that_save_at_once_leave_one_whole_scene(clip: Path, tmp_path: Path) -> None:
    desk = Desk(clip, tmp_path / "made.toml", still_sam("mini", None, "cpu"))
    names = [f"board{number}" for number in range(8)]

    def save(name: str) -> None:
        for _ in range(20):
            assert desk.save([{"name": name, "kind": "object", "box": [1, 1, 9, 9]}])

    with ThreadPoolExecutor(len(names)) as pages:
        list(pages.map(save, names))
    assert read_scene(desk.target).subjects[0].name == desk.subjects[0]["name"]
    assert [path.name for path in tmp_path.iterdir()] == ["made.toml"]
    desk.close()


def test_ending_it_while_a_mask_is_made_is_no_fault(
    clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("stream.pick.serve.GRACE_SECONDS", 1)
    desk = Desk(clip, tmp_path / "made.toml", still_sam("mini", None, "cpu"))
    asked, go_on = Event(), Event()

    def endless(*_: Any) -> None:
        asked.set()
        go_on.wait(30)
        raise InputError("ended")

    monkeypatch.setattr(desk, "mask", endless)
    served = serve(desk)
    page = Page(served)
    with ThreadPoolExecutor(1) as pages:
        waiting = pages.submit(page.ask, "/api/mask", {"frame": 0, "box": [1, 1, 9, 9]})
        assert asked.wait(30)
        served.close()
        go_on.set()
        assert waiting.exception() is not None or waiting.result().status_code >= 400
    desk.close()
    assert capfd.readouterr().err == ""


@pytest.mark.skipif(sys.platform != "linux", reason="only there does a file system hold any name")
def test_a_clip_whose_name_is_no_text_is_shown(clip: Path, tmp_path: Path) -> None:
    strange = tmp_path / os.fsdecode(b"cl\xffip.mp4")
    strange.symlink_to(clip)
    desk = Desk(strange, strange.with_suffix(".toml"), still_sam("mini", None, "cpu"))
    served = serve(desk)
    page = Page(served)
    try:
        facts = page.ask("/api/clip")
        assert facts.status_code == 200 and facts.json()["name"] == strange.name
        board = {"name": "board", "kind": "object", "box": [1, 1, 9, 9]}
        saved = page.ask("/api/save", {"subjects": [board]})
        assert saved.status_code == 200 and saved.json()["target"] == str(desk.target)
        for more in ({"prompt": "\ud800"}, {"kind": "\ud800"}, {"\ud800": 1}):
            told = page.ask("/api/save", {"subjects": [board | more]})
            assert told.status_code == 400 and "is no UTF-8" in told.json()["error"], told.text
        assert read_scene(desk.target).subjects[0].name == "board"
    finally:
        served.close()
        desk.close()
