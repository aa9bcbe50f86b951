"""Servers in a thread: one in front of a real S3 server that fails on purpose, one that is deaf, and a plain one."""

import http.client
import random
import sys
import threading
from collections import Counter
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

FAULTS = Counter({"503 before": 6, "503 after": 6, "cut": 6, "closed": 6, "slow": 6})
SILENT = Counter({"hung": 1, "hung after": 1, "stalled": 1})  # each takes the client's patience
IN_A_ROW = 5
SLOW_SECONDS = 0.05
Answer = tuple[int, bytes, dict[str, str]]  # status, body, headers


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exception(), ConnectionError):  # a client that gave up is what is wanted
            super().handle_error(request, client_address)


class _Served:
    """A server in a thread; used as a context manager."""

    def __init__(self, handler: type[BaseHTTPRequestHandler]) -> None:
        self._server = _Server(("127.0.0.1", 0), handler)
        self.address = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class Shelf(_Served):
    """Gives the files of a folder."""

    def __init__(self, folder: Path) -> None:
        class Handler(SimpleHTTPRequestHandler):
            def __init__(self, *given: Any) -> None:
                super().__init__(*given, directory=str(folder))

            def log_message(self, format: str, *args: Any) -> None:
                pass

        super().__init__(Handler)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def answer(
        self, status: int, data: bytes = b"", headers: dict[str, str] | None = None, cut: int | None = None
    ) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data if cut is None else data[:cut])
        if cut is not None:
            self.close_connection = True

    def body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))


class Faulty(_Served):
    """In front of a server: about a third of the requests go wrong, in ways that a seed decides.

    Args:
        behind: address of the server. kinds: how often which way, dealt as a deck of cards; at most `IN_A_ROW` of them
            for one request. always: every request goes wrong in this way, behind so many good ones.
        bend: what becomes of the answer to a request that is "bent".

    Attributes:
        faults: how many so far, by kind. requests: all of them.
    """

    def __init__(
        self,
        behind: str,
        kinds: Counter[str] = FAULTS,
        seed: int = 0,
        share: float = 0.33,
        always: str | None = None,
        good: int = 0,
        bend: Callable[[Answer], Answer] = lambda answer: answer,
    ) -> None:
        self.faults: Counter[str] = Counter()
        self.requests = 0
        self._ended = threading.Event()
        running: Counter[str] = Counter()
        deck: list[str] = []
        chance, guard, host = random.Random(seed), threading.Lock(), urlsplit(behind)

        def choose(what: str) -> str | None:
            with guard:
                self.requests += 1
                fault = always if self.requests > good else None
                if always is None and running[what] < IN_A_ROW and chance.random() < share:
                    if not deck:
                        deck.extend(chance.sample([*kinds.elements()], kinds.total()))
                    fault = deck.pop()
                running[what] = running[what] + 1 if fault else 0
                self.faults.update([fault] if fault else [])
                return fault

        ended = self._ended

        class Handler(_Handler):
            def _pass(self) -> None:
                data = self.body()
                fault = choose(f"{self.command} {self.path}")
                if fault == "503 before":
                    return self.answer(503, b"<Error><Code>SlowDown</Code></Error>")
                if fault == "closed":
                    self.close_connection = True
                    return None
                if fault == "hung":
                    return self._hang()
                connection = http.client.HTTPConnection(str(host.hostname), host.port)
                connection.request(self.command, self.path, data or None, dict(self.headers))
                found = connection.getresponse()
                content = found.read()
                connection.close()
                if fault == "503 after":  # it was done, and nobody is told
                    return self.answer(503, b"<Error><Code>InternalError</Code></Error>")
                if fault == "hung after":
                    return self._hang()
                if fault == "slow":
                    ended.wait(SLOW_SECONDS)
                kept = {"connection", "content-length", "transfer-encoding", "date", "server"}
                headers = {name: value for name, value in found.getheaders() if name.lower() not in kept}
                if fault == "bent":
                    return self.answer(*bend((found.status, content, headers)))
                if self.command == "HEAD":
                    self.send_response(found.status)
                    for name, value in found.getheaders():
                        if name.lower() not in kept - {"content-length"}:
                            self.send_header(name, value)
                    self.end_headers()
                    return None
                if fault not in ("cut", "stalled"):
                    return self.answer(found.status, content, headers)
                self.close_connection = True
                if content:  # else all of the answer is lost
                    self.answer(found.status, content, headers, len(content) // 2)
                return self._hang() if fault == "stalled" else None

            def _hang(self) -> None:
                """Say no more, and keep the connection, until whoever asked has given up."""
                self.wfile.flush()
                self.close_connection = True
                ended.wait(10)

            do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = _pass

        super().__init__(Handler)

    def __exit__(self, *error: object) -> None:
        self._ended.set()
        super().__exit__(*error)


class Deaf(_Served):
    """Takes every write, whatever `If-None-Match` says, as some S3-compatible servers do."""

    def __init__(self) -> None:
        objects: dict[str, bytes] = {}

        class Handler(_Handler):
            def do_PUT(self) -> None:
                objects[self.path] = self.body()
                self.answer(200, headers={"ETag": '"1"'})

            def do_GET(self) -> None:
                if "list-type" in self.path:
                    return self.answer(200, b"<ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>")
                return self.answer(*((200, objects[self.path]) if self.path in objects else (404, b"")))

            def do_HEAD(self) -> None:
                headers = {"ETag": '"1"', "Last-Modified": "Sun, 22 Nov 2026 04:00:00 GMT"}
                self.answer(200 if self.path in objects else 404, headers=headers)

            def do_DELETE(self) -> None:
                self.answer(204)

            def do_POST(self) -> None:
                self.body()
                self.answer(200, b"<DeleteResult><Deleted><Key>a</Key></Deleted></DeleteResult>")

        super().__init__(Handler)
