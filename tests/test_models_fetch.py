"""The downloader against a local HTTP server that misbehaves in every way a real one does."""

import hashlib
import io
import threading
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import requests

from stages.models import fetch as fetching
from stages.models.fetch import address, fetch
from stages.models.table import Archive, ModelFile
from stages.models.verify import verify
from storage.errors import EnvironmentFault, UsageError

BODY = bytes(range(256)) * 12_000  # 3 MB: several pieces


@dataclass
class Behaviour:
    """What the server does; the requests it has seen."""

    files: dict[str, bytes] = field(default_factory=dict)
    ranges: bool = True
    etag: str | None = '"one"'
    short_answers: int = 0  # so many answers end after half of what they promised
    status: int | None = None
    redirect: str | None = None
    requests: list[tuple[str, str | None]] = field(default_factory=list)


class Handler(BaseHTTPRequestHandler):
    behaviour: Behaviour

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def do_GET(self) -> None:
        b = self.behaviour
        wanted = self.headers.get("Range")
        b.requests.append((self.path, wanted))
        if b.redirect:
            self.send_response(302)
            self.send_header("Location", b.redirect)
            self.end_headers()
            return
        body = b.files.get(self.path)
        if b.status or body is None:
            self.send_error(b.status or 404)
            return
        start = 0
        if wanted and b.ranges and self.headers.get("If-Range", b.etag) == b.etag:
            start = int(wanted.removeprefix("bytes=").rstrip("-"))
            if start >= len(body):
                self.send_response(416)
                self.send_header("Content-Range", f"bytes */{len(body)}")
                self.end_headers()
                return
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
        else:
            self.send_response(200)
        if b.etag:
            self.send_header("ETag", b.etag)
        rest = body[start:]
        self.send_header("Content-Length", str(len(rest)))
        self.end_headers()
        if b.short_answers > 0:
            b.short_answers -= 1
            rest = rest[: len(rest) // 2]
        self.wfile.write(rest)


@pytest.fixture
def server() -> Iterator[tuple[Behaviour, str]]:
    behaviour = Behaviour(files={"/weights.pt": BODY})
    handler = type("BoundHandler", (Handler,), {"behaviour": behaviour})
    http = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield behaviour, f"http://127.0.0.1:{http.server_address[1]}"
    http.shutdown()
    thread.join()
    http.server_close()


@pytest.fixture(autouse=True)
def direct(monkeypatch: pytest.MonkeyPatch) -> None:
    """No proxy of the machine stands between the test and its server."""
    monkeypatch.setenv("NO_PROXY", "*")


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def plain(base: str, **changes: Any) -> ModelFile:
    model = ModelFile("tiny", "sam", "weights.pt", f"{base}/weights.pt", len(BODY), sha256(BODY), "MIT", "this test")
    return replace(model, **changes)


def zipped(base: str, **changes: Any) -> ModelFile:
    model = ModelFile(
        "pose-x", "pose", "pose-x.onnx", f"{base}/pose-x.zip", None, None, "MIT", "this test", archive=Archive(None)
    )
    return replace(model, **changes)


def zip_of(entries: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in entries.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def names_in(folder: Path) -> set[str]:
    """What lies in the folder beside the locks."""
    return {path.name for path in folder.iterdir() if not path.name.endswith(".lock")}


def test_a_file_is_fetched_once(server: tuple[Behaviour, str], tmp_path: Path) -> None:
    behaviour, base = server
    path, fetched = fetch(plain(base), tmp_path, pause_seconds=0)
    assert fetched and path.read_bytes() == BODY
    assert names_in(tmp_path) == {"weights.pt"}
    assert fetch(plain(base), tmp_path, pause_seconds=0) == (path, False)
    assert len(behaviour.requests) == 1


def test_a_short_body_is_continued(server: tuple[Behaviour, str], tmp_path: Path) -> None:
    behaviour, base = server
    behaviour.short_answers = 2
    path, _ = fetch(plain(base), tmp_path, pause_seconds=0)
    assert path.read_bytes() == BODY
    assert [wanted is not None for _, wanted in behaviour.requests] == [False, True, True]


def test_a_body_that_stays_short_is_kept_for_the_next_time(server: tuple[Behaviour, str], tmp_path: Path) -> None:
    behaviour, base = server
    behaviour.short_answers = 99
    with pytest.raises(EnvironmentFault, match=r"cannot fetch .*kept and continued next time.*HTTPS_PROXY"):
        fetch(plain(base), tmp_path, pause_seconds=0)
    held = (tmp_path / "weights.pt.partial").stat().st_size
    assert 0 < held < len(BODY) and not (tmp_path / "weights.pt").exists()
    behaviour.short_answers = 0
    behaviour.requests.clear()
    path, _ = fetch(plain(base), tmp_path, pause_seconds=0)
    assert path.read_bytes() == BODY and behaviour.requests == [("/weights.pt", f"bytes={held}-")]


def test_a_kill_in_the_middle_is_resumed(
    server: tuple[Behaviour, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    behaviour, base = server

    def killed(self: Any, n: float = 1) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("stages.models.fetch.tqdm.update", killed)
        with pytest.raises(KeyboardInterrupt):
            fetch(plain(base), tmp_path, pause_seconds=0)
    held = (tmp_path / "weights.pt.partial").stat().st_size
    assert 0 < held < len(BODY)
    path, _ = fetch(plain(base), tmp_path, pause_seconds=0)
    assert path.read_bytes() == BODY and behaviour.requests[-1][1] == f"bytes={held}-"


def test_a_file_that_changed_meanwhile_is_fetched_whole(server: tuple[Behaviour, str], tmp_path: Path) -> None:
    behaviour, base = server
    behaviour.short_answers = 99
    model = plain(base, sha256=None, size_bytes=None)
    with pytest.raises(EnvironmentFault):
        fetch(model, tmp_path, pause_seconds=0)
    behaviour.short_answers, behaviour.etag = 0, '"two"'
    behaviour.files["/weights.pt"] = BODY[::-1]
    path, _ = fetch(model, tmp_path, pause_seconds=0)
    assert path.read_bytes() == BODY[::-1]


@pytest.mark.parametrize("length", [1000, len(BODY)])
def test_a_partial_of_other_content_is_noticed(server: tuple[Behaviour, str], tmp_path: Path, length: int) -> None:
    behaviour, base = server
    (tmp_path / "weights.pt.partial").write_bytes(b"x" * length)
    path, _ = fetch(plain(base), tmp_path, pause_seconds=0)
    assert path.read_bytes() == BODY
    assert [wanted for _, wanted in behaviour.requests] == [f"bytes={length}-", None]


def test_a_complete_partial_needs_no_bytes(server: tuple[Behaviour, str], tmp_path: Path) -> None:
    behaviour, base = server
    (tmp_path / "weights.pt.partial").write_bytes(BODY)
    path, _ = fetch(plain(base), tmp_path, pause_seconds=0)
    assert path.read_bytes() == BODY and len(behaviour.requests) == 1


def test_a_server_without_ranges(server: tuple[Behaviour, str], tmp_path: Path) -> None:
    behaviour, base = server
    behaviour.ranges, behaviour.etag, behaviour.short_answers = False, None, 1
    path, _ = fetch(plain(base), tmp_path, pause_seconds=0)
    assert path.read_bytes() == BODY


def test_without_validator_and_hash_nothing_is_continued(server: tuple[Behaviour, str], tmp_path: Path) -> None:
    behaviour, base = server
    behaviour.etag, behaviour.short_answers = None, 1
    path, _ = fetch(plain(base, sha256=None), tmp_path, pause_seconds=0)
    assert path.read_bytes() == BODY and [wanted for _, wanted in behaviour.requests] == [None, None]


def test_a_wrong_hash_is_refused_and_forgotten(server: tuple[Behaviour, str], tmp_path: Path) -> None:
    _, base = server
    with pytest.raises(EnvironmentFault, match=rf"has sha256 {sha256(BODY)}, expected {'0' * 64}: not used"):
        fetch(plain(base, sha256="0" * 64), tmp_path, pause_seconds=0)
    assert names_in(tmp_path) == set()


def test_another_length_is_refused_before_the_body(server: tuple[Behaviour, str], tmp_path: Path) -> None:
    _, base = server
    with pytest.raises(EnvironmentFault, match=f"offers {len(BODY)} bytes, 7 expected"):
        fetch(plain(base, size_bytes=7), tmp_path, pause_seconds=0)
    assert names_in(tmp_path) == set()


def test_a_wrong_file_stays_until_the_right_one_is_there(server: tuple[Behaviour, str], tmp_path: Path) -> None:
    behaviour, base = server
    (tmp_path / "weights.pt").write_bytes(b"x" * len(BODY))
    assert verify(plain(base), tmp_path).status == "damaged"
    behaviour.status = 503
    with pytest.raises(EnvironmentFault, match="503"):
        fetch(plain(base), tmp_path, pause_seconds=0)
    assert (tmp_path / "weights.pt").read_bytes() == b"x" * len(BODY)
    behaviour.status = None
    assert fetch(plain(base), tmp_path, pause_seconds=0)[1] and verify(plain(base), tmp_path).ok


def test_404_says_so_at_once(server: tuple[Behaviour, str], tmp_path: Path) -> None:
    behaviour, base = server
    with pytest.raises(EnvironmentFault, match=r"answers 404 Not Found.*--mirror") as caught:
        fetch(plain(base, url=f"{base}/gone.pt"), tmp_path, pause_seconds=0)
    assert len(behaviour.requests) == 1 and "\n" not in str(caught.value)


def test_no_connection(tmp_path: Path) -> None:
    with pytest.raises(EnvironmentFault, match=r"no connection to 127\.0\.0\.1") as caught:
        fetch(plain("http://127.0.0.1:9"), tmp_path, pause_seconds=0)
    assert "\n" not in str(caught.value) and str(tmp_path / "weights.pt") in str(caught.value)


@pytest.mark.parametrize("target", ["file:///etc/hostname", "ftp://127.0.0.1/x"])
def test_redirects_stay_on_http(server: tuple[Behaviour, str], tmp_path: Path, target: str) -> None:
    behaviour, base = server
    behaviour.redirect = target
    with pytest.raises(EnvironmentFault, match=r"leads to no http\(s\) address"):
        fetch(plain(base), tmp_path, pause_seconds=0)


def test_the_mirror_has_the_same_names(server: tuple[Behaviour, str], tmp_path: Path) -> None:
    behaviour, base = server
    behaviour.files = {"/some/where/weights.pt": BODY}
    path, _ = fetch(plain("http://127.0.0.1:9"), tmp_path, mirror=f"{base}/some/where/", pause_seconds=0)
    assert path.read_bytes() == BODY


def test_the_proxy_of_the_environment(
    server: tuple[Behaviour, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    behaviour, base = server
    behaviour.files = {"http://models.invalid/weights.pt": BODY}  # a proxy is asked for the whole address
    monkeypatch.delenv("NO_PROXY")
    monkeypatch.setenv("no_proxy", "")
    monkeypatch.setenv("http_proxy", base)
    path, _ = fetch(plain("http://models.invalid"), tmp_path, pause_seconds=0)
    assert path.read_bytes() == BODY


@pytest.mark.parametrize("mirror", ["ftp://host/x", "file:///tmp", "host/path", "http://"])
def test_mirrors_are_http(mirror: str) -> None:
    with pytest.raises(UsageError, match="--mirror"):
        address("https://host/file.pt", mirror)


def test_an_unpinned_hash_is_recorded_and_checked_from_then_on(server: tuple[Behaviour, str], tmp_path: Path) -> None:
    _, base = server
    model = plain(base, sha256=None)
    path, _ = fetch(model, tmp_path, pause_seconds=0)
    assert (tmp_path / "weights.pt.sha256").read_text() == f"{sha256(BODY)}  weights.pt\n"
    assert verify(model, tmp_path).ok
    path.write_bytes(b"y" + BODY[1:])
    assert verify(model, tmp_path).status == "damaged"
    (tmp_path / "weights.pt.sha256").unlink()
    assert verify(model, tmp_path).status == "unverified"


def test_only_the_member_leaves_the_zip(server: tuple[Behaviour, str], tmp_path: Path) -> None:
    behaviour, base = server
    content = zip_of({"../../evil.txt": b"1", "/abs/evil.txt": b"2", "../up/end2end.onnx": BODY, "deploy.json": b"{}"})
    behaviour.files["/pose-x.zip"] = content
    folder = tmp_path / "a" / "b" / "models"
    model = zipped(base, archive=Archive(sha256(content), len(content)), sha256=sha256(BODY), size_bytes=len(BODY))
    path, _ = fetch(model, folder, pause_seconds=0)
    assert path == folder / "pose-x.onnx" and path.read_bytes() == BODY
    assert [item.name for item in tmp_path.rglob("*") if item.is_file() and item.suffix != ".lock"] == ["pose-x.onnx"]


BAD_ZIPS = {
    "no member": (zip_of({"model.onnx": b"1"}), "holds 0 files called end2end.onnx"),
    "two members": (zip_of({"a/end2end.onnx": b"1", "b\\end2end.onnx": b"2"}), "holds 2 files called end2end.onnx"),
    "another length": (zip_of({"end2end.onnx": b"1234"}), "has 4 bytes, 5 expected"),
    "no zip": (b"<html>not found</html>", "damaged or unusable zip"),
    "cut": (zip_of({"end2end.onnx": b"12345"})[:-30], "damaged or unusable zip"),
}


@pytest.mark.parametrize("case", BAD_ZIPS)
def test_unusable_zips(server: tuple[Behaviour, str], tmp_path: Path, case: str) -> None:
    behaviour, base = server
    behaviour.files["/pose-x.zip"], message = BAD_ZIPS[case]
    with pytest.raises(EnvironmentFault, match=message):
        fetch(zipped(base, size_bytes=5), tmp_path, pause_seconds=0)
    assert names_in(tmp_path) == set()


def test_a_member_with_another_hash(server: tuple[Behaviour, str], tmp_path: Path) -> None:
    behaviour, base = server
    behaviour.files["/pose-x.zip"] = zip_of({"m/end2end.onnx": b"12345"})
    with pytest.raises(EnvironmentFault, match=r"end2end\.onnx in .*has sha256"):
        fetch(zipped(base, sha256="0" * 64), tmp_path, pause_seconds=0)
    assert names_in(tmp_path) == set()


def test_a_zip_bomb_is_not_unpacked(
    server: tuple[Behaviour, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    behaviour, base = server
    monkeypatch.setattr("stages.models.archive.MAX_BYTES", 1000)
    behaviour.files["/pose-x.zip"] = zip_of({"end2end.onnx": bytes(100_000)})
    with pytest.raises(EnvironmentFault, match="100000 bytes"):
        fetch(zipped(base), tmp_path, pause_seconds=0)


def test_more_bytes_than_any_model_has(
    server: tuple[Behaviour, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, base = server
    monkeypatch.setattr(fetching, "MAX_BYTES", 1000)
    with pytest.raises(EnvironmentFault, match=f"offers {len(BODY)} bytes, 1000 expected"):
        fetch(plain(base, size_bytes=None), tmp_path, pause_seconds=0)


def test_two_processes_do_not_write_one_file(server: tuple[Behaviour, str], tmp_path: Path) -> None:
    from filelock import FileLock

    _, base = server
    with (
        FileLock(tmp_path / ".weights.pt.lock"),
        pytest.raises(EnvironmentFault, match="being fetched by another process"),
    ):
        fetch(plain(base), tmp_path, pause_seconds=0)


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(EnvironmentFault, match="cannot be written"):
        fetch(plain("http://127.0.0.1:9"), tmp_path / "file" / "models", pause_seconds=0)


def test_no_room(server: tuple[Behaviour, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, base = server
    usage = type("Usage", (), {"free": 10})
    monkeypatch.setattr("shutil.disk_usage", lambda folder: usage)
    with pytest.raises(EnvironmentFault, match="10 B free"):
        fetch(plain(base), tmp_path, pause_seconds=0)


@pytest.mark.parametrize("given", ["²", "-1", "ten", "9" * 5000])
def test_headers_that_hold_no_number_count_as_missing(given: str) -> None:
    """Headers are latin-1, whose superscripts `isdigit` takes for digits."""
    response = requests.Response()
    response.headers["Content-Length"] = given
    response.headers["Content-Range"] = f"bytes {given}/10"
    assert fetching._content_length(response) is None
    assert fetching._content_range(response) == (-1, None)
    response.headers["Content-Range"] = f"bytes 5-9/{given}"
    assert fetching._content_range(response) == (5, None)


@pytest.mark.parametrize("note", ["[]", '"x"', "[" * 100_000, '{"url": 3}', '{"validator": "€"}', "{", ""])
def test_a_damaged_note_counts_as_none(server: tuple[Behaviour, str], tmp_path: Path, note: str) -> None:
    _, base = server
    model = plain(base)
    fetch(model, tmp_path, pause_seconds=0)
    download = fetching.Download("x", f"{base}/x", tmp_path / "x.partial", None, None)
    download.partial.write_bytes(b"some")
    text = note.replace('"validator"', f'"url": "{download.url}", "validator"')
    download.note.write_text(text, encoding="utf-8")
    assert fetching._resumption(download) == (0, {})
