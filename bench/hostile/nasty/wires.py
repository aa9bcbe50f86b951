"""Servers that hardly speak HTTP: a wire between this program and a sound ComfyUI that bends what passes."""

import base64
import contextlib
import gzip
import hashlib
import http.client
import socket
import struct
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from fake_comfy import FakeComfy

from bench.hostile.nasty.impostors import SERVER_FAILED, generated, honest, made_by
from bench.hostile.nasty.looked import WELL, nth
from bench.hostile.trial import Trial

Way = Callable[[bytes], Iterator[bytes]]
JSON = b"Content-Type: application/json\r\n"
LENGTHY = 4.0


def sound(body: bytes, *more: bytes, status: bytes = b"200 OK", version: bytes = b"HTTP/1.1") -> bytes:
    """A sound answer, with further header lines."""
    lines = b"".join(line + b"\r\n" for line in more)
    return b"%s %s\r\n%s%sContent-Length: %d\r\n\r\n" % (version, status, JSON, lines, len(body)) + body


def chunks(body: bytes, size: int) -> bytes:
    """Chunked."""
    parts = [body[at : at + size] for at in range(0, len(body), size)]
    return b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"


def head(*lines: bytes, status: bytes = b"200 OK") -> bytes:
    """A head alone."""
    return b"HTTP/1.1 " + status + b"\r\n" + b"".join(line + b"\r\n" for line in (JSON.strip(), *lines)) + b"\r\n"


def trickled(data: bytes, seconds: float) -> Iterator[bytes]:
    """A byte at a time."""
    for at in range(len(data)):
        yield data[at : at + 1]
        time.sleep(seconds)


def silent(data: bytes) -> Iterator[bytes]:
    """And then nothing for long."""
    yield data
    time.sleep(3 * LENGTHY)


def once(make: Callable[[bytes], bytes]) -> Way:
    """All at once."""
    return lambda body: iter([make(body)])


def redirect(status: bytes, to: str) -> Way:
    """To another place; PORT is a port on which nobody may be asked."""
    return once(lambda body: head(b"Location: " + to.encode(), b"Content-Length: 0", status=status))


@cache
def bomb() -> bytes:
    """256 MB of nothing in 256 kB."""
    return gzip.compress(bytes(256 << 20))


CHUNKED = b"Transfer-Encoding: chunked"
GOOD: dict[str, Way] = {
    "100 a thousand times": once(lambda body: b"HTTP/1.1 100 Continue\r\n\r\n" * 50 + sound(body)),
    "early hints": once(lambda body: b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" + sound(body)),
    "HTTP/1.0": once(lambda body: b"HTTP/1.0 200 OK\r\n\r\n" + body),
    "no reason": once(lambda body: sound(body, status=b"200 ")),
    "cookies": once(
        lambda body: sound(body, *[b"Set-Cookie: a%d=%s; Path=/" % (index, b"x" * 100) for index in range(20)])
    ),
    "headers in capitals": once(lambda body: sound(body).replace(b"Content-Length", b"CONTENT-LENGTH")),
    "chunks of a byte": once(lambda body: head(CHUNKED) + chunks(body, max(1, len(body) // 2000))),
    "no length": once(lambda body: head(b"Connection: close") + body),
}
BAD: dict[str, Way] = {
    "10,000 headers": once(lambda body: sound(body, *[b"X-%d: y" % index for index in range(10_000)])),
    "a header of a megabyte": once(lambda body: sound(body, b"X: " + b"y" * (1 << 20))),
    "headers without end": lambda body: (line for line in [b"HTTP/1.1 200 OK\r\n", *[b"X: y\r\n" * 1000] * 500]),
    "redirected to a file": redirect(b"302 Found", "file:///etc/passwd"),
    "redirected to elsewhere": redirect(b"302 Found", "http://127.0.0.1:PORT/queue"),
    "redirected for good": redirect(b"308 Permanent Redirect", "http://127.0.0.1:PORT/queue"),
    "redirected to gopher": redirect(b"307 Temporary Redirect", "gopher://127.0.0.1:PORT/x"),
    "redirected nowhere": once(lambda body: head(b"Content-Length: 0", status=b"301 Moved")),
    "redirected to itself": redirect(b"302 Found", "/queue"),
    "a bomb": once(lambda body: head(b"Content-Encoding: gzip", b"Content-Length: %d" % len(bomb())) + bomb()),
    "a bomb in chunks": once(lambda body: head(b"Content-Encoding: gzip", CHUNKED) + chunks(bomb(), 1 << 16)),
    "packed": once(lambda body: sound(gzip.compress(body), b"Content-Encoding: gzip")),
    "deflated": once(lambda body: sound(zlib.compress(body), b"Content-Encoding: deflate")),
    "packed twice": once(lambda body: sound(gzip.compress(gzip.compress(body)), b"Content-Encoding: gzip, gzip")),
    "said to be packed": once(lambda body: sound(body, b"Content-Encoding: gzip")),
    "packed unknown": once(lambda body: sound(body, b"Content-Encoding: zstd, br")),
    "a chunk of huge size": once(lambda body: head(CHUNKED) + b"ffffffffffffffff\r\n" + body),
    "a chunk below nothing": once(lambda body: head(CHUNKED) + b"-5\r\n" + body),
    "no last chunk": once(lambda body: head(CHUNKED) + chunks(body, 99)[:-5]),
    "chunks and a length": once(lambda body: head(CHUNKED, b"Content-Length: 3") + chunks(body, 999)),
    "chunks trickle": lambda body: trickled(head(CHUNKED) + chunks(body + b" " * 300, 1), 0.05),
    "the body trickles": lambda body: trickled(sound(body + b" " * 300), 0.05),
    "the head trickles": lambda body: trickled(sound(body, b"X: " + b"y" * 500), 0.05),
    "two lengths": once(lambda body: sound(body, b"Content-Length: 5")),
    "a length too long": once(lambda body: head(b"Content-Length: %d" % (len(body) + 50)) + body),
    "a length too short": once(lambda body: head(b"Content-Length: %d" % max(0, len(body) - 5)) + body),
    "a length below nothing": once(lambda body: head(b"Content-Length: -7") + body),
    "a length in words": once(lambda body: head(b"Content-Length: many") + body),
    "204": once(lambda body: b"HTTP/1.1 204 No Content\r\n\r\n"),
    "206": once(lambda body: sound(body[:10], status=b"206 Partial Content")),
    "304": once(lambda body: b"HTTP/1.1 304 Not Modified\r\n\r\n"),
    "401": once(lambda body: sound(b"no", b'WWW-Authenticate: Basic realm="x"', status=b"401 Unauthorized")),
    "407": once(lambda body: sound(b"no", status=b"407 Proxy Authentication Required")),
    "418": once(lambda body: sound(b"<html>\x1b[2J</html>", status=b"418 I'm a teapot")),
    "429": once(lambda body: sound(b"slow", b"Retry-After: 100000", status=b"429 Too Many Requests")),
    "503": once(lambda body: sound(b"later", b"Retry-After: Fri, 31 Dec 9999 23:59:59 GMT", status=b"503 Unavailable")),
    "999": once(lambda body: sound(body, status=b"999 What")),
    "a status of words": once(lambda body: sound(body, status=b"fine OK")),
    "another protocol": once(lambda body: b"SSH-2.0-OpenSSH_9.6\r\n"),
    "TLS": once(lambda body: b"\x15\x03\x01\x00\x02\x02\x46"),
    "HTTP/2": once(lambda body: b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    "HTTP/0.9": once(lambda body: body),
    "switching": once(lambda body: b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\n\r\n" + body),
    "a NUL in the head": once(lambda body: sound(body, b"X: a\0b")),
    "bare line feeds": once(lambda body: sound(body).replace(b"\r\n", b"\n")),
    "a folded header": once(lambda body: sound(body, b"X: a\r\n b\r\n\tc")),
    "a header without colon": once(lambda body: sound(body, b"no colon at all")),
    "UTF-16": once(lambda body: sound(body.decode("utf-8", "replace").encode("utf-16"), b"X-Charset: utf-16")),
    "a mark in front": once(lambda body: sound(b"\xef\xbb\xbf" + body)),
    "a charset of nonsense": once(lambda body: sound(body, b"Content-Type: application/json; charset=zip_codec")),
    "silence": lambda body: silent(b""),
    "half, then silence": lambda body: silent(sound(body)[: len(body) // 2 + 60]),
    "nothing": once(lambda body: b""),
}  # fmt: skip


def frame(code: int, data: bytes, final: bool = True, mask: bool = False, reserved: int = 0) -> bytes:
    """A websocket's."""
    first = bytes([(0x80 if final else 0) | reserved << 4 | code])
    size = len(data)
    short = bytes([(0x80 if mask else 0) | (size if size < 126 else 126 if size < 1 << 16 else 127)])
    length = b"" if size < 126 else struct.pack(">H", size) if size < 1 << 16 else struct.pack(">Q", size)
    return first + short + length + (bytes(4) if mask else b"") + data


def pings(seconds: float) -> Iterator[bytes]:
    """Nothing but pings."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        yield frame(9, b"x" * 125)
        time.sleep(0.01)


TEXT = b'{"type": "status", "data": {}}'
SOCKETS: dict[str, Callable[[], Iterator[bytes]]] = {
    "pings alone": lambda: pings(10),
    "1011": lambda: iter([frame(8, struct.pack(">H", 1011) + b"internal")]),
    "a close of one byte": lambda: iter([frame(8, b"\x03")]),
    "a close of no code": lambda: iter([frame(8, struct.pack(">H", 0))]),
    "closed at once": lambda: iter([]),
    "100,000 messages": lambda: iter([frame(1, TEXT) * 10_000] * 10),
    "a preview of 50 MB": lambda: iter([frame(2, b"\0\0\0\1\0\0\0\2" + bytes(50 << 20))]),
    "a preview of 2^60": lambda: iter([b"\x82\x7f" + struct.pack(">Q", 1 << 60) + bytes(1 << 20)]),
    "masked": lambda: iter([frame(1, TEXT, mask=True)]),
    "reserved bits": lambda: iter([frame(1, TEXT, reserved=4)]),
    "an unknown code": lambda: iter([frame(5, TEXT)]),
    "a ping in pieces": lambda: iter([frame(9, b"x", final=False), frame(0, b"y")]),
    "a ping of 200": lambda: iter([frame(9, b"x" * 200)]),
    "a text that is none": lambda: iter([frame(1, b"\xff\xfe\xfd")]),
    "a going on of nothing": lambda: iter([frame(0, TEXT)]),
    "pieces without end": lambda: iter(
        [frame(1, b"[", final=False), *[frame(0, b"[" * 1000, final=False) * 100] * 200]
    ),
    "pieces of nothing": lambda: iter([frame(1, b"", final=False), *[frame(0, b"", final=False) * 1000] * 100]),
    "a text begun twice": lambda: iter([frame(1, b"{", final=False), frame(1, TEXT)]),
    "HTML": lambda: iter([b"<html>gone</html>"]),
}
SHAKES: dict[str, bytes] = {
    "refused": b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n",
    "no upgrade": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}",
    "elsewhere": b"HTTP/1.1 302 Found\r\nLocation: ws://127.0.0.1:PORT/ws\r\nContent-Length: 0\r\n\r\n",
    "another key": b"HTTP/1.1 101 S\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: eA==\r\n\r\n",
    "cut": b"HTTP/1.1 101 Switch",
}
PATHS = ("/object_info", "/system_stats", "/features", "/upload/image", "/prompt", "/queue", "/history/")
ALL: tuple[tuple[str, str, str], ...] = (
    *(("good", name, PATHS[index % 7]) for index, name in enumerate([*GOOD] * 2)),
    *(("bad", name, PATHS[index % 7]) for index, name in enumerate(BAD)),
    *(("bad", name, PATHS[(3 * index + 4) % 7]) for index, name in enumerate(BAD)),
    *(("socket", name, "/ws") for name in SOCKETS),
    *(("shake", name, "/ws") for name in SHAKES),
)


class Wire:
    """Listens, passes on to a sound server, and bends the answers of one path."""

    def __init__(self, server: FakeComfy, path: str, kind: str, name: str) -> None:
        self.server, self.path, self.kind, self.name = server, path, kind, name
        self.asked_elsewhere = 0
        self._open = True
        self._listener, self._other = (socket.create_server(("127.0.0.1", 0)) for _ in range(2))
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self.port = str(self._other.getsockname()[1]).encode()
        for listener, answer in ((self._listener, self._answer), (self._other, self._elsewhere)):
            threading.Thread(target=self._accept, args=(listener, answer), daemon=True).start()

    def __enter__(self) -> "Wire":
        return self

    def __exit__(self, *error: object) -> None:
        self._open = False
        for listener in (self._listener, self._other):
            with contextlib.suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)
            listener.close()

    def _accept(self, listener: socket.socket, answer: Callable[[socket.socket], None]) -> None:
        while self._open:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=self._safely, args=(answer, connection), daemon=True).start()

    def _safely(self, answer: Callable[[socket.socket], None], connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError, http.client.HTTPException):
            connection.settimeout(30)
            answer(connection)
            connection.shutdown(socket.SHUT_WR)
            while connection.recv(1 << 16):
                pass

    def _elsewhere(self, connection: socket.socket) -> None:
        self.asked_elsewhere += 1
        connection.sendall(sound(b"{}"))

    def _answer(self, connection: socket.socket) -> None:
        file = connection.makefile("rb")
        method, path, _ = file.readline().decode("latin-1").split(" ")
        headers = http.client.parse_headers(file)
        body = file.read(int(headers.get("Content-Length", 0)))
        if headers.get("Upgrade", "").lower() == "websocket":
            self._socket(connection, headers)
            return
        behind = http.client.HTTPConnection(self.server.address, timeout=30)
        passed = {key: value for key, value in headers.items() if key.lower() not in ("host", "connection")}
        behind.request(method, path, body=body, headers=passed)
        answered = behind.getresponse()
        data = answered.read()
        if not path.startswith(self.path):
            status = f"{answered.status} {answered.reason}".encode()
            connection.sendall(sound(data, b"Connection: close", status=status))
            return
        for part in (GOOD.get(self.name) or BAD[self.name])(data):
            connection.sendall(part.replace(b"PORT", self.port))

    def _socket(self, connection: socket.socket, headers: Any) -> None:
        if self.kind == "shake":
            connection.sendall(SHAKES[self.name].replace(b"PORT", self.port))
            return
        if self.kind == "socket":
            digest = hashlib.sha1(
                headers["Sec-WebSocket-Key"].encode() + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
            ).digest()
            accepted = b"Sec-WebSocket-Accept: " + base64.b64encode(digest)
            lines = (b"HTTP/1.1 101 Switching Protocols", b"Upgrade: websocket", b"Connection: Upgrade", accepted)
            connection.sendall(b"\r\n".join(lines) + b"\r\n\r\n")
            for part in SOCKETS[self.name]():
                connection.sendall(part)
        else:
            connection.sendall(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")


def attempt(trial: Trial, room: Path) -> None:
    """One path is bent; nobody else is asked, and what means the same gives the same pictures."""
    (kind, name, path), _ = nth(trial, ALL)
    wanted = honest(trial)
    stored = frozenset({"SaveImageWebsocket"})  # the pictures come by /view: a websocket is not needed
    with FakeComfy(without=stored) as server, Wire(server, path, kind, name) as wire:
        code = generated(trial, room, wire.address, timeout=LENGTHY if kind == "bad" else 20.0)
        asked = wire.asked_elsewhere
    trial.expect(not asked, "another server was asked, by a redirect")
    if kind == "good":
        trial.expect(code in WELL, f"a sound answer ends with {code}")
    trial.expect(code in (*WELL, SERVER_FAILED), f"ends with {code}")
    if code in WELL:
        trial.expect(np.array_equal(made_by(trial, room / "made"), wanted), "other pictures came of it")
