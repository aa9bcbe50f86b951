"""A session for HTTP(S) in which requests and the heads of answers end in time: a byte now and then is no silence to
a socket."""

import http.client
import io
import time
from collections.abc import Iterator
from dataclasses import dataclass
from socket import socket
from typing import Any

import requests
import urllib3
from requests.adapters import HTTPAdapter

WITHOUT_TIMEOUT_S = 60.0  # of a socket that was given none
PIECE_BYTES = 1 << 20
SLOW_SECONDS, LEAST_BYTES = 60.0, 1 << 16  # a server that sends less in that time only holds us up


class _Head:
    """A file whose lines must be read before a moment (monotonic seconds); the rest is the file's own."""

    def __init__(self, file: io.BufferedReader, until: float) -> None:
        self.file, self._until = file, until

    def readline(self, limit: int) -> bytes:
        """A line, or as much of it."""
        line = bytearray()
        while not line.endswith(b"\n") and len(line) < limit:
            if time.monotonic() > self._until:
                raise TimeoutError("the head of the answer did not end")
            there = self.file.peek(1)[: limit - len(line)]  # waits for one piece at most, as long as the socket does
            if not there:
                break
            line += self.file.read(there.find(b"\n") + 1 or len(there))
        return bytes(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.file, name)


class _Answer(http.client.HTTPResponse):
    def __init__(self, sock: socket, *options: Any, **more: Any) -> None:
        super().__init__(sock, *options, **more)
        self._wait = sock.gettimeout() or WITHOUT_TIMEOUT_S

    def begin(self) -> None:
        file: Any = self.fp
        head: Any = _Head(file, time.monotonic() + self._wait)
        self.fp = head
        super().begin()
        if self.fp is head:  # else the answer has no body and is closed already
            self.fp = file


@dataclass
class Sending:
    """How long a request's body may take on its way, seconds; looked at when that begins."""

    seconds: float = WITHOUT_TIMEOUT_S


class _Timely(urllib3.connection.HTTPConnection):
    """By itself a body would have to be gone within the time that a connection may take."""

    response_class = _Answer
    sending = Sending()

    def send(self, data: Any) -> None:
        if self.sock is not None:
            self.sock.settimeout(self.sending.seconds)  # for all of it: `sendall` counts so
        super().send(data)


class _TimelyTls(urllib3.connection.HTTPSConnection, _Timely):
    pass


class _Adapter(HTTPAdapter):
    def __init__(self, sending: Sending) -> None:
        kinds: dict[str, tuple[type, type]] = {
            "http": (urllib3.HTTPConnectionPool, _Timely),
            "https": (urllib3.HTTPSConnectionPool, _TimelyTls),
        }
        self._pools = {
            scheme: type("Pool", (pool,), {"ConnectionCls": type("Connection", (connection,), {"sending": sending})})
            for scheme, (pool, connection) in kinds.items()
        }
        super().__init__()

    def init_poolmanager(self, *sizes: Any, **more: Any) -> None:
        super().init_poolmanager(*sizes, **more)
        self.poolmanager.pool_classes_by_scheme = self._pools

    def proxy_manager_for(self, *proxy: Any, **more: Any) -> Any:
        manager = super().proxy_manager_for(*proxy, **more)
        manager.pool_classes_by_scheme = self._pools
        return manager


def timely_session(sending: Sending | None = None) -> requests.Session:
    """A session whose read timeout holds for the whole head of an answer too (at most twice as long).

    A body is read by the caller, piece by piece, by a clock of its own.

    Args:
        sending: of its requests, which go one after the other.
    """
    session = requests.Session()
    for scheme in ("http://", "https://"):
        session.mount(scheme, _Adapter(sending or Sending()))
    return session


def pieces(response: requests.Response) -> Iterator[bytes]:
    """A streamed body as it comes, unpacked by nobody.

    Raises:
        requests.RequestException: it does not end as it should, or hardly anything of it comes.
    """
    came, until = 0, time.monotonic() + SLOW_SECONDS
    try:
        while piece := response.raw.read1(PIECE_BYTES, decode_content=False):
            came += len(piece)
            if time.monotonic() > until:
                if came < LEAST_BYTES:
                    raise requests.ReadTimeout(f"{came} bytes in {SLOW_SECONDS:g} s", request=response.request)
                came, until = 0, time.monotonic() + SLOW_SECONDS
            yield piece
    except urllib3.exceptions.ReadTimeoutError as error:
        raise requests.ReadTimeout(str(error), request=response.request) from error
    except (urllib3.exceptions.HTTPError, TimeoutError) as error:
        raise requests.exceptions.ChunkedEncodingError(str(error), request=response.request) from error
