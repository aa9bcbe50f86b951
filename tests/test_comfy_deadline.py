"""All of a window has one deadline, whatever trickles; bodies end in time on their way there and back."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import requests
from fake_comfy import FakeComfy, Faults
from test_comfy_hostile import OK, generate
from test_models_fetch import names_in, plain

from bench.hostile.wild import Raw
from stages import http
from stages.http import pieces, timely_session
from stages.models.fetch import fetch
from stages.server.address import parse_server
from stages.server.client import ComfyClient, Timeouts
from storage.errors import EnvironmentFault, GeneratorError

SAVES = frozenset(["SaveImageWebsocket"])
BODY = b"x" * 8_000_000  # more than the sockets' buffers on the way take


@pytest.mark.parametrize("path", ["/view", "/queue"])
def test_answers_that_each_come_in_time_make_no_window_endless(path: str) -> None:
    slow: list[Any] = [0.3] * 1000
    with FakeComfy(faults=Faults().on_requests(path, slow), without=SAVES, step_seconds=0.2) as server:
        with pytest.raises(GeneratorError, match=r"within 1 s: raise --timeout"):
            generate(server, timeout_s=1.0, steps=10 if path == "/queue" else 1)
        assert server.executor.queue()[1] == []


def test_a_job_behind_others_has_all_of_its_time_left(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]
    monkeypatch.setattr("stages.server.client.time", SimpleNamespace(monotonic=lambda: now[0]))
    client = ComfyClient(parse_server("127.0.0.1:1"), Timeouts(job=50.0), threading.Event())
    with client.in_time():
        now[0] += 20.0
        assert client.left() == 30.0
        client.renew()
        assert client.left() == 50.0
        now[0] += 50.0
        with pytest.raises(GeneratorError, match=r"within 50 s: raise --timeout"):
            client.left()
    assert client.left() == float("inf"), "outside nothing hurries"


@contextmanager
def reader(after: threading.Event) -> Iterator[str]:
    """A server that reads nothing of a request before `after` is set; its address."""
    answer = b'{"name": "kept.mkv"}'

    def serve() -> None:
        connection, _ = listening.accept()
        with connection:
            if not after.wait(60):
                return
            came = 0
            while came < len(BODY) and (piece := connection.recv(2**20)):
                came += len(piece)
            connection.sendall(OK + b"Content-Length: %d\r\n\r\n" % len(answer) + answer)

    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"127.0.0.1:{listening.getsockname()[1]}"
        after.set()
        thread.join(60)


def uploading(address: str, job: float) -> ComfyClient:
    """A client whose connections have to stand within 0.2 s."""
    client = ComfyClient(parse_server(address), Timeouts(job=job, connect=0.2, patience=60.0), threading.Event())
    client._upload_limit = 2**30
    return client


def test_an_upload_may_take_longer_than_a_connection() -> None:
    after = threading.Event()
    with reader(after) as address:
        client = uploading(address, 60.0)
        timer = threading.Timer(1.0, after.set)
        timer.start()
        with client.in_time():
            assert client.upload("a.mkv", BODY, "skate") == "kept.mkv"
        client.close()


def test_an_upload_that_nobody_reads_ends_with_the_window() -> None:
    with reader(threading.Event()) as address:
        client = uploading(address, 0.5)
        with client.in_time(), pytest.raises(GeneratorError, match=r"within 0\.5 s"):
            client.upload("a.mkv", BODY, "skate")
        client.close()


def test_a_download_that_hardly_comes_ends(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("NO_PROXY", "*")
    monkeypatch.setattr(http, "SLOW_SECONDS", 0.3)
    with Raw(OK + b"Connection: close\r\n\r\n", b" ", pause=0.02) as server, timely_session() as session:
        answer = session.get(f"http://{server.address}/x", stream=True, timeout=(5, 5))
        with answer, pytest.raises(requests.ReadTimeout, match="bytes in"):
            list(pieces(answer))
        with pytest.raises(EnvironmentFault, match="did not answer in time"):
            fetch(plain(f"http://{server.address}", size_bytes=None), tmp_path, pause_seconds=0)


def test_what_sends_more_than_was_expected_leaves_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("NO_PROXY", "*")
    told = "sends more than the 100000 bytes expected"
    with Raw(OK + b"Connection: close\r\n\r\n", b"x" * 65536) as server, pytest.raises(EnvironmentFault, match=told):
        fetch(plain(f"http://{server.address}", size_bytes=100_000), tmp_path, pause_seconds=0)
    assert names_in(tmp_path) == set()
