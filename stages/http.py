"""A session for HTTP(S) in which an answer's head ends in time: a byte now and then is no silence to a socket."""

import http.client
import io
import time
from socket import socket
from typing import Any

import requests
import urllib3
from requests.adapters import HTTPAdapter

WITHOUT_TIMEOUT_S = 60.0  # of a socket that was given none


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


class _Connection(urllib3.connection.HTTPConnection):
    response_class = _Answer


class _TlsConnection(urllib3.connection.HTTPSConnection):
    response_class = _Answer


class _Pool(urllib3.HTTPConnectionPool):
    ConnectionCls = _Connection


class _TlsPool(urllib3.HTTPSConnectionPool):
    ConnectionCls = _TlsConnection


class _Adapter(HTTPAdapter):
    def init_poolmanager(self, *sizes: Any, **more: Any) -> None:
        super().init_poolmanager(*sizes, **more)
        self.poolmanager.pool_classes_by_scheme = {"http": _Pool, "https": _TlsPool}

    def proxy_manager_for(self, *proxy: Any, **more: Any) -> Any:
        manager = super().proxy_manager_for(*proxy, **more)
        manager.pool_classes_by_scheme = {"http": _Pool, "https": _TlsPool}
        return manager


def timely_session() -> requests.Session:
    """A session whose read timeout holds for the whole head of an answer too (at most twice as long).

    A body is read by the caller, piece by piece, by a clock of its own.
    """
    session = requests.Session()
    for scheme in ("http://", "https://"):
        session.mount(scheme, _Adapter())
    return session
