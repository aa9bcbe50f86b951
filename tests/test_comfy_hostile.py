"""A server that answers with anything at all: wrong shapes, endless bodies, slow ones, escape sequences.

Each ends in the right pictures, or in exit code 5 and one line that names the server and the field; memory and time are
bounded. `stages/server/answers.py` says what is read.
"""

import json
import math
import socket
import struct
import threading
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from fake_comfy import FakeComfy
from fake_comfy.scene import Array, config, make_scene, windows

from bench.hostile.wild import Raw
from stages.comfyui import ComfyStage
from stages.server.address import parse_server
from stages.server.answers import Message
from stages.server.client import ComfyClient, Timeouts
from stages.server.progress import BoundedSocket, Listener, ProgressSocket
from stages.server.wire import Wire
from storage.errors import GeneratorError, InputError, SkateError

SCENE = make_scene(17)
WINDOW = windows(17)[0]
JSON = "is this a ComfyUI server"


def generate(server: FakeComfy, **given: Any) -> Array:
    with ComfyStage(config(server.address, **given)) as stage:
        return stage.process(WINDOW, SCENE.inputs(WINDOW)).arrays["made"]


@pytest.fixture(scope="module")
def clean() -> Iterator[Array]:
    with FakeComfy() as server:
        yield generate(server)


def told(error: pytest.ExceptionInfo[SkateError]) -> str:
    """The line, which is one and not long."""
    text = str(error.value)
    assert "\n" not in text and len(text) < 1000 and text.isprintable()
    return text


SHAPES = ["[]", "null", '"text"', "3", "[1]", "not json", "", '{"a": NaN}', "\ud800".encode("utf-8", "surrogatepass")]
EMPTY = '{"queue_running": [], "queue_pending": []}'


@pytest.mark.parametrize("body", SHAPES, ids=range(len(SHAPES)))
@pytest.mark.parametrize("path", ["/object_info", "/system_stats", "/features", "/upload/image", "/prompt", "/queue"])
def test_an_answer_of_another_shape_is_one_line(path: str, body: str | bytes) -> None:
    with FakeComfy() as server:
        server.instead[path] = body
        with pytest.raises(GeneratorError) as caught:
            generate(server)
        assert server.address in told(caught) and path in told(caught) and JSON in told(caught)


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        ("/queue", '{"queue_running": [1], "queue_pending": []}', r"queue_running\[0\]: expected array"),
        ("/queue", '{"queue_running": [[1]], "queue_pending": []}', r"queue_running\[0\]: expected array of at least"),
        (
            "/queue",
            '{"queue_running": [[1, 2, {}, {}]], "queue_pending": []}',
            r"queue_running\[0\]\[1\]: expected",
        ),
        ("/queue", '{"queue_running": 3, "queue_pending": []}', "queue_running: expected array"),
        ("/queue", "{}", "missing required field queue_running"),
        ("/prompt", '{"prompt_id": [], "node_errors": {}}', "prompt_id: expected str"),
        ("/prompt", '{"prompt_id": "x", "node_errors": {"1": 3}}', r"node_errors\[\.\.\.\]: expected object"),
        ("/upload/image", '{"name": 3}', "name: expected str"),
        ("/upload/image", '{"name": "%s"}' % ("x" * 2000), "name: expected str of length <= 1000"),
        ("/features", '{"max_upload_size": "abc"}', "max_upload_size: expected int"),
        ("/features", '{"max_upload_size": 1e400}', "max_upload_size: number out of range"),
        ("/features", '{"max_upload_size": %s}' % ("9" * 5000), "max_upload_size: "),
        ("/system_stats", '{"devices": [3]}', r"devices\[0\]: expected object"),
        ("/system_stats", '{"devices": [{"vram_total": "8 GB"}]}', r"devices\[0\]\.vram_total: expected int"),
        ("/system_stats", '{"system": []}', "system: expected object"),
    ],
)
def test_the_line_names_the_field(path: str, body: str, field: str) -> None:
    with FakeComfy() as server:
        server.instead[path] = body
        with pytest.raises(GeneratorError, match=field) as caught:
            generate(server)
        assert server.address in told(caught)


@pytest.mark.parametrize(
    ("entry", "field"),
    [
        ([], "expected object, got array"),
        ({"status": {"messages": [1]}}, r"status\.messages\[0\]: expected array"),
        ({"status": {"messages": [["execution_error", 3]]}}, "execution_error: the whole: expected object"),
        ({"status": {"messages": [["execution_error", {"node_id": {}}]]}}, "execution_error: node_id: expected"),
        ({"outputs": []}, "outputs: expected object"),
        ({"outputs": {"30": 3}}, "node 30: the whole: expected object"),
        ({"outputs": {"30": {"images": [{"subfolder": ""}]}}}, r"images\[0\]: object missing required field filename"),
        ({"outputs": {"30": {"images": 3}}}, "node 30: images: expected array"),
        ({"outputs": {"99": "a custom node's own"}}, "gave 0 pictures, 17 are needed"),
        ({"status": None, "outputs": {}}, "without an execution_success message"),
    ],
)
def test_an_entry_of_the_history_of_another_shape(entry: Any, field: str) -> None:
    good = {"status_str": "success", "completed": True, "messages": [["execution_success", {}]]}
    with FakeComfy(without=frozenset(["SaveImageWebsocket"])) as server:
        bent = entry if isinstance(entry, list) or "status" in entry else {"status": good, **entry}
        server.entry = bent
        with pytest.raises(GeneratorError, match=field) as caught:
            generate(server)
        told(caught)


@pytest.mark.parametrize(
    ("bent", "field"),
    [
        (3, "/object_info of WanVaceToVideo: the whole: expected object"),
        ({"input": []}, "WanVaceToVideo: input: expected object"),
        ({"input": {"required": 3}}, r"WanVaceToVideo: input\.required: expected object"),
        ({"output": "x"}, "WanVaceToVideo: output: expected array"),
    ],
)
def test_a_node_of_another_shape(bent: Any, field: str) -> None:
    with FakeComfy() as server:
        server.info["Unused"] = bent  # somebody's custom node that no workflow here needs
        generate(server)
        server.info["WanVaceToVideo"] = bent
        with pytest.raises((GeneratorError, InputError), match=field):
            generate(server)


def test_a_refusal_of_another_shape_is_told_in_the_servers_words() -> None:
    with FakeComfy() as server:
        for body in ('{"error": "out of paper"}', '{"error": {"message": "out of paper"}, "node_errors": {"1": 2}}'):
            server.instead["/prompt"] = body
            server.statuses["/prompt"] = 400
            with pytest.raises(GeneratorError, match=r"refuses the workflow: .*out of paper"):
                generate(server)


def test_what_a_server_says_does_nothing_to_a_terminal() -> None:
    with FakeComfy() as server:
        server.statuses["/prompt"] = 400
        evil = "\u001b[2J\u001b]0;pwned\u0007\u202e" + "x" * 2_000_000
        server.instead["/prompt"] = json.dumps({"error": {"message": evil}, "node_errors": {evil: {"errors": [{}]}}})
        with pytest.raises(GeneratorError, match="refuses the workflow") as caught:
            generate(server)
        told(caught)


MESSAGES = [
    "not json", "[]", "3", '{"type": 3}', '{"data": {}}', '{"type": "progress", "data": 3}', "[" * 100_000,
    '{"type": "progress", "data": {"prompt_id": 3}}', '{"type": "progress", "data": {"value": "abc"}}',
    '{"type": "executing", "data": {"node": {}}}', '{"type": "progress", "data": {"value": 1e400}}',
]  # fmt: skip


def test_messages_that_cannot_be_read_are_passed_over_and_counted(
    clean: Array, caplog: pytest.LogCaptureFixture
) -> None:
    with FakeComfy() as server:
        server.says = MESSAGES
        assert np.array_equal(generate(server), clean)
        assert "messages could not be read" in caplog.text


def test_each_message_that_cannot_be_read_counts_once() -> None:
    progress = ProgressSocket(parse_server("127.0.0.1:9"), "client", 1.0)
    steps: list[tuple[int, int]] = []
    listener = Listener(progress, "job", frozenset(["21"]), lambda *step: steps.append(step), lambda *_: None)

    def hear(text: str) -> bool:
        message = progress.read(text.encode(), Message)
        return message is not None and listener.take(message)

    for text in [*MESSAGES, '{"type": "custom.thing", "data": [1, 2]}', '{"type": "status", "data": null}']:
        assert not hear(text)
    assert progress.unread == len(MESSAGES) and not steps
    assert not hear('{"type": "progress", "data": {"prompt_id": "job", "node": 21, "value": 1.0, "max": 4}}')
    assert steps == [(1, 4)] and hear('{"type": "executing", "data": {"prompt_id": "job", "node": null}}')


OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"


@pytest.mark.parametrize("framing", [b"Connection: close\r\n\r\n", b"Transfer-Encoding: chunked\r\n\r\n"])
def test_an_endless_answer_ends(monkeypatch: pytest.MonkeyPatch, framing: bytes) -> None:
    more = b" " * 65536 if b"close" in framing else b"10000\r\n" + b" " * 65536 + b"\r\n"
    monkeypatch.setattr(Wire.ask, "__defaults__", (2**20, None, math.inf))
    with Raw(OK + framing, more) as server:
        client = ComfyClient(parse_server(server.address), Timeouts(patience=0.1), threading.Event())
        with pytest.raises(GeneratorError, match=r"answers /queue with more than 1 MB"):
            client.place("x")
        client.close()
        assert server.sent < 8 * 2**20


def test_a_picture_is_bounded_by_its_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stages.server.pictures.BESIDE_PICTURE_BYTES", 0)
    with FakeComfy(without=frozenset(["SaveImageWebsocket"])) as server:
        server.instead["/view"] = b"x" * (8 * 64 * 48 + 1)
        with pytest.raises(GeneratorError, match="answers /view with more than"):
            generate(server)


def test_an_answer_that_unpacks_to_more_is_not_unpacked() -> None:
    """1 MB of gzip can be 1 GB: it is not asked for, and not unpacked when it comes."""
    with Raw(OK + b"Content-Encoding: gzip\r\nContent-Length: 3\r\n\r\n\x1f\x8b\x08") as server:
        client = ComfyClient(parse_server(server.address), Timeouts(patience=0.1), threading.Event())
        with pytest.raises(GeneratorError, match="answer to GET /queue: is no JSON"):
            client.place("x")
        client.close()


@pytest.mark.parametrize(
    "head",
    [
        OK + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
        b"HTTP/1.1 302 Found\r\nLocation: http://[::1\r\nContent-Length: 0\r\n\r\n",
    ],
)
def test_a_head_that_makes_no_sense_is_no_answer(head: bytes) -> None:
    with Raw(head) as server:
        client = ComfyClient(parse_server(server.address), Timeouts(patience=0.1), threading.Event())
        with pytest.raises(SkateError, match=server.address):
            client.place("x")
        client.close()


def test_an_answer_that_drips_ends_in_time() -> None:
    """A byte now and then is no silence: the socket's own timeout never comes."""
    with Raw(OK + b"Connection: close\r\n\r\n", b" ", pause=0.05) as server:
        client = ComfyClient(parse_server(server.address), Timeouts(request=0.4, patience=0.1), threading.Event())
        began = time.monotonic()
        with pytest.raises(GeneratorError, match=r"did not end within 0\.4 s"):
            client.place("x")
        client.close()
        assert time.monotonic() - began < 10


@pytest.mark.parametrize(
    "head", [b"HTTP/1.1 200 OK\r\nX: ", b"HTTP/1.1 ", b"HTTP/1.1 200 OK\r\n"], ids=["a header", "the status", "headers"]
)
def test_a_head_that_drips_ends_in_time(head: bytes) -> None:
    more = b"a: b\r\n" if head.endswith(b"OK\r\n") else b" "
    with Raw(head, more, pause=0.05) as server:
        client = ComfyClient(parse_server(server.address), Timeouts(request=0.4, patience=0.1), threading.Event())
        began = time.monotonic()
        with pytest.raises(GeneratorError, match="does not answer GET /queue"):
            client.place("x")
        client.close()
        assert time.monotonic() - began < 10


def test_a_handshake_that_drips_ends_in_time() -> None:
    """Then progress is followed by polling alone."""
    with Raw(b"HTTP/1.1 101 Switching Protocols\r\nX: ", b" ", pause=0.05) as server:
        progress = ProgressSocket(parse_server(server.address), "client", 0.4)
        began = time.monotonic()
        progress.connect()
        assert not progress.connected and time.monotonic() - began < 10


def test_a_request_never_takes_longer_than_a_window_may() -> None:
    assert config("127.0.0.1:1", timeout_s=20.0, request_s=120.0).timeouts().request == 20.0


def listening(server: Raw, monkeypatch: pytest.MonkeyPatch) -> ProgressSocket:
    """A progress socket whose connection is the server's, without a handshake."""
    host, _, port = server.address.partition(":")
    connection = socket.create_connection((host, int(port)))
    connection.sendall(b"hello")
    inner = BoundedSocket()
    inner.sock, inner.connected = connection, True
    monkeypatch.setattr("websocket.create_connection", lambda *_, **__: inner)
    progress = ProgressSocket(parse_server(server.address), "client", 1.0)
    progress.connect()
    return progress


@pytest.mark.parametrize(
    ("head", "more"),
    [
        (b"\x81\x7f" + struct.pack("!Q", 2**62), b" " * 65536),  # one message of 2^62 bytes
        (b"\x01\x7e\xff\xff" + b" " * 65535, b"\x00\x7e\xff\xff" + b" " * 65535),  # a message of endless parts
    ],
    ids=["a length of 2^62", "endless parts"],
)
def test_a_message_without_end_closes_the_socket(head: bytes, more: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stages.server.progress.MOST_BYTES", 2**20)
    with Raw(head, more) as server:
        progress = listening(server, monkeypatch)
        deadline = time.monotonic() + 20
        while progress.connected and time.monotonic() < deadline:
            assert progress.receive(0.2) is None
        assert not progress.connected and server.sent < 8 * 2**20


def test_a_message_that_drips_does_not_hold_the_watch_up(monkeypatch: pytest.MonkeyPatch) -> None:
    with Raw(b"\x81\x7e\xff\xff", b" ", pause=0.02) as server:
        progress = listening(server, monkeypatch)
        began = time.monotonic()
        assert progress.receive(0.3) is None
        assert time.monotonic() - began < 5 and progress.connected
        progress.close()
