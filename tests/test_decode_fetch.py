"""Videos by address: http(s) alone, into the folder alone, within bounds, with plain errors and nothing left behind.

The servers are local; yt-dlp is the real one, but for what only it could do wrong.
"""

import itertools
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from _clips import Clip, make
from _runs import CLIP_OPTIONS, invoke, small_models

from stages.decode import FetchLimits, fetch_video
from stages.video import fetch, fetch_child
from storage.errors import EnvironmentFault, InputError, SkateError, UsageError


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(tmp_path_factory.mktemp("clip") / "clip.mp4", Clip(frames=9))


@contextmanager
def serving(clip: Path) -> Iterator[str]:
    """The base of addresses: /clip.mp4, /endless.mp4, /announced.mp4 (a terabyte), /slow.mp4, /page (without end)."""
    ended = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            name = self.path.strip("/").partition(".")[0]
            if name not in ("clip", "endless", "announced", "slow", "page"):
                self.send_error(404)
                return
            self.send_response(200)
            self.send_header("Content-Type", "text/html" if name == "page" else "video/mp4")
            length = {"clip": clip.stat().st_size, "announced": 10**12, "slow": 10**6}.get(name)
            if length is not None:
                self.send_header("Content-Length", str(length))
            self.end_headers()
            try:
                for piece in self.body(name):
                    self.wfile.write(piece)
            except OSError:
                pass  # the client has gone, as it should

        def body(self, name: str) -> Iterator[bytes]:
            if name == "clip":
                yield clip.read_bytes()
                return
            yield b"<html>" if name == "page" else clip.read_bytes()
            while not ended.is_set():
                if name == "slow":
                    time.sleep(0.05)
                yield b"." if name == "slow" else b"<p>" * 2**16

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        ended.set()
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.mark.parametrize(
    "address",
    ["file:///etc/passwd", "ftp://host/a.mp4", "concat://a", "http:///a.mp4", "https://", "rtmp://h/a", "-x://h"],
)
def test_other_schemes_are_refused(tmp_path: Path, address: str) -> None:
    with pytest.raises(InputError, match="http"):
        fetch_video(address, tmp_path / "input")
    assert not (tmp_path / "input").exists()


@pytest.mark.parametrize(
    "address", ["http://[::1/x", "http://a b/x", "http://a..b/x", "http://h:x/", "http://\x1b[2J/"]
)
def test_what_is_no_address_is_refused(tmp_path: Path, address: str) -> None:
    with pytest.raises(UsageError, match="give the http"):
        fetch_video(address, tmp_path / "input")


def test_a_missing_yt_dlp_names_the_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "yt_dlp", None)
    with pytest.raises(EnvironmentFault, match=r"pip install .*\[url\]"):
        fetch_video("https://host/watch?v=1", tmp_path)


def test_a_plain_link_is_fetched_once(clip: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run%(id)s" / "input"
    with serving(clip) as base:
        first = fetch_video(f"{base}/clip.mp4", folder)
    assert first.parent == folder and first.read_bytes() == clip.read_bytes()
    assert list(folder.iterdir()) == [first]
    assert fetch_video(f"{base}/clip.mp4", folder) == first, "the server is gone: it is not asked again"


@pytest.mark.parametrize(
    ("name", "limits", "message"),
    [
        ("none.mp4", FetchLimits(), "HTTP Error 404"),
        (
            "announced.mp4",
            FetchLimits(max_bytes=10**9),
            r"larger than the 1000000000 bytes that --max-fetch allows\): allow more",
        ),
        ("endless.mp4", FetchLimits(max_bytes=50_000_000), "--max-fetch"),
        ("slow.mp4", FetchLimits(total_seconds=4), "not fetched within 4 seconds: give more with --fetch-timeout"),
        ("page", FetchLimits(), "a page without an end"),
    ],
)
def test_what_has_no_end_is_refused_in_one_line(
    clip: Path, tmp_path: Path, name: str, limits: FetchLimits, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetch, "MEMORY_BYTES", 400_000_000)
    with serving(clip) as base, pytest.raises(InputError, match=message) as caught:
        fetch_video(f"{base}/{name}", tmp_path / "RUN" / "input", limits)
    assert "\n" not in str(caught.value) and str(caught.value).startswith(base)
    assert list(tmp_path.iterdir()) == [], "nothing is left behind"


@pytest.mark.parametrize("seconds", [0.0, -1.0, float("nan"), float("inf")])
def test_a_limit_of_time_is_a_time(seconds: float) -> None:
    with pytest.raises(UsageError, match="--fetch-timeout"):
        FetchLimits(total_seconds=seconds)


def test_a_run_from_an_address(clip: Path, tmp_path: Path) -> None:
    """Options too: an endless server is refused with exit code 3, a link is run."""
    options = ["--box", "5,5,30,30", *small_models(tmp_path), *CLIP_OPTIONS, "--max-fetch", "50MB"]
    with serving(clip) as base:
        refused = invoke(["extract", f"{base}/endless.mp4", "--out", str(tmp_path / "RUN"), *options])
        assert refused.code == 3 and len(refused.err.splitlines()) == 1 and not (tmp_path / "RUN").exists()
        done = invoke(["extract", f"{base}/clip.mp4", "--out", str(tmp_path / "RUN"), *options])
    assert done.code == 0 and "9 frames in" in done.out, done.err


def test_an_interrupted_download_leaves_nothing(clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    looks = itertools.count()

    def interrupted(pid: int) -> int:
        if next(looks) > 5:
            raise KeyboardInterrupt
        return 0

    monkeypatch.setattr(fetch, "_resident_bytes", interrupted)
    with serving(clip) as base, pytest.raises(KeyboardInterrupt):
        fetch_video(f"{base}/slow.mp4", tmp_path / "RUN" / "input")
    assert list(tmp_path.iterdir()) == []


class FakeError(Exception):
    """In place of yt-dlp's."""


def install(monkeypatch: pytest.MonkeyPatch, paths: list[Path], error: Exception | None = None) -> list[dict[str, Any]]:
    """Put a fake yt-dlp in place that 'downloads' these files; gives the options it was made with."""
    seen: list[dict[str, Any]] = []

    class Client:
        def __init__(self, options: dict[str, Any]) -> None:
            seen.append(options)

        def __enter__(self) -> "Client":
            return self

        def __exit__(self, *_: object) -> None:
            pass

        def extract_info(self, address: str, download: bool) -> dict[str, Any]:
            if error is not None:
                raise error
            return {"requested_downloads": [{"filepath": str(path)} for path in paths]}

    module, utils = ModuleType("yt_dlp"), ModuleType("yt_dlp.utils")
    utils.YoutubeDLError = utils.DownloadCancelled = FakeError  # type: ignore[attr-defined]
    module.YoutubeDL, module.utils = Client, utils  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "yt_dlp", module)
    monkeypatch.setitem(sys.modules, "yt_dlp.utils", utils)
    return seen


def test_one_stream_of_1080_lines_at_most_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = install(monkeypatch, [Path("a.webm")])
    assert fetch_child.download("https://host/watch?v=1", "100%/a", 60, 10) == {"paths": ["a.webm"]}
    (options,) = seen
    assert options["format"] == "bestvideo[height<=?1080]/best[height<=?1080]" and options["noplaylist"]
    assert options["outtmpl"]["default"] % {"ext": "webm"} == "100%/a.webm" and not options["enable_file_urls"]
    options["progress_hooks"][0]({"downloaded_bytes": 10})
    with pytest.raises(FakeError, match="--max-fetch"):
        options["progress_hooks"][0]({"downloaded_bytes": 3, "total_bytes": 11})


def test_what_yt_dlp_says_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, [], FakeError("ERROR: HTTP\nError 404"))
    assert fetch_child.download("https://host/a", "a", 60, 10) == {"error": "ERROR: HTTP Error 404"}
    install(monkeypatch, [], KeyError("a\nb"))
    assert "\n" not in fetch_child.download("https://host/a", "a", 60, 10)["error"]


@pytest.mark.parametrize(
    ("answer", "message"), [(["RUN/a.mp4", "RUN/b.mp4"], "2 videos"), (["elsewhere.mp4"], "0 videos"), ([], "0 videos")]
)
def test_only_one_file_of_the_folder_is_taken(
    answer: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def downloaded(address: str, target: Path, limits: FetchLimits) -> dict[str, Any]:
        paths = [target.parent / path[4:] if path.startswith("RUN/") else tmp_path / path for path in answer]
        for path in paths:
            path.write_bytes(b"video")
        return {"paths": [str(path) for path in paths]}

    monkeypatch.setattr(fetch, "_downloaded", downloaded)
    with pytest.raises(InputError, match=message):
        fetch_video("https://host/list", tmp_path / "input")
    assert not (tmp_path / "input").exists()


def test_a_child_that_dies_is_told_of(clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "dies.py").write_text("raise SystemExit(7)")
    monkeypatch.setattr(fetch, "_CHILD", tmp_path / "dies.py")
    with pytest.raises(SkateError, match="ended with code 7"):
        fetch_video("http://127.0.0.1:9/a.mp4", tmp_path / "input")
