"""Fetching videos by address: http(s) alone, into the folder alone, with plain errors."""

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from stages.decode import fetch_video
from storage.errors import EnvironmentFault, InputError


class FakeError(Exception):
    """In place of yt-dlp's."""


def install(monkeypatch: pytest.MonkeyPatch, suffixes: list[str], outside: Path | None = None) -> list[dict[str, Any]]:
    """Put a fake yt-dlp in place that 'downloads' a file for each suffix; gives the options it was made with."""
    seen: list[dict[str, Any]] = []

    class Client:
        def __init__(self, options: dict[str, Any]) -> None:
            seen.append(options)

        def __enter__(self) -> "Client":
            return self

        def __exit__(self, *_: object) -> None:
            pass

        def extract_info(self, address: str, download: bool) -> dict[str, Any]:
            if "broken" in address:
                raise FakeError("ERROR: HTTP\nError 404")
            paths = [Path(seen[-1]["outtmpl"]["default"] % {"ext": suffix}) for suffix in suffixes]
            paths = [outside] if outside is not None else paths
            for path in paths:
                path.write_bytes(b"video")
            return {"requested_downloads": [{"filepath": str(path)} for path in paths]}

    module, utils = ModuleType("yt_dlp"), ModuleType("yt_dlp.utils")
    utils.YoutubeDLError = FakeError  # type: ignore[attr-defined]
    module.YoutubeDL, module.utils = Client, utils  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "yt_dlp", module)
    monkeypatch.setitem(sys.modules, "yt_dlp.utils", utils)
    return seen


@pytest.mark.parametrize(
    "address",
    ["file:///etc/passwd", "ftp://host/a.mp4", "concat://a", "http:///a.mp4", "https://", "rtmp://h/a", "-x://h"],
)
def test_other_schemes_are_refused(tmp_path: Path, address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = install(monkeypatch, ["mp4"])
    with pytest.raises(InputError, match="http"):
        fetch_video(address, tmp_path)
    assert not seen


def test_a_missing_yt_dlp_names_the_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "yt_dlp", None)
    with pytest.raises(EnvironmentFault, match=r"pip install .*\[url\]"):
        fetch_video("https://host/watch?v=1", tmp_path)


def test_it_is_fetched_once_at_1080_lines_at_most(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = install(monkeypatch, ["webm"])
    folder = tmp_path / "run%(id)s" / "input"
    first = fetch_video("https://host/watch?v=1", folder)
    assert first.parent == folder and first.read_bytes() == b"video"
    assert "height<=1080" in seen[0]["format"] and seen[0]["noplaylist"]
    assert fetch_video("https://host/watch?v=1", folder) == first and len(seen) == 1
    assert fetch_video("https://host/watch?v=2", folder) != first and len(seen) == 2


def test_failures_are_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, ["mp4"])
    with pytest.raises(InputError, match="404") as caught:
        fetch_video("https://host/broken", tmp_path)
    assert "\n" not in str(caught.value)
    install(monkeypatch, ["mp4", "webm"])
    with pytest.raises(InputError, match="2 videos"):
        fetch_video("https://host/list", tmp_path)


def test_a_file_outside_the_folder_is_not_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, [], outside=tmp_path / "elsewhere.mp4")
    with pytest.raises(InputError, match="0 videos"):
        fetch_video("https://host/watch?v=1", tmp_path / "input")
