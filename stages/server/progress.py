"""Listening for progress. The websocket is a convenience: a job is judged from the history alone."""

import math
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar
from urllib.parse import urlencode

import websocket

from stages.http import WITHOUT_TIMEOUT_S
from stages.server.address import Address
from stages.server.answers import Message, Progress
from storage.boundary import MB, parse
from storage.errors import GeneratorError

T = TypeVar("T")
Step = Callable[[int, int], None]
DONE = ("execution_success", "execution_error", "execution_interrupted")
READ = ("progress", "executing", *DONE)
MOST_BYTES = 16 * MB  # of one message: the largest are previews of some 100 kB


class BoundedSocket(websocket.WebSocket):
    """A websocket whose messages end: by their size, whatever their header says, and by the clock.

    Attributes:
        received: bytes since the last whole message. until: when to stop waiting for more (monotonic seconds).
    """

    received = 0
    until = math.inf

    def connect(self, url: str, **options: Any) -> None:
        """As `websocket.WebSocket.connect`; the server's side of the handshake has to end within the timeout."""
        # The socket's own timeout counts between two bytes.
        watch = threading.Timer(self.sock_opt.timeout or WITHOUT_TIMEOUT_S, self._end)
        watch.start()
        try:
            super().connect(url, **options)  # type: ignore[no-untyped-call]
        finally:
            watch.cancel()

    def _end(self) -> None:
        if self.sock is not None:
            with suppress(OSError):
                self.sock.shutdown(socket.SHUT_RDWR)

    def _recv(self, bufsize: int) -> bytes:
        if time.monotonic() > self.until:  # the socket's own timeout counts between two bytes; what came is kept
            raise websocket.WebSocketTimeoutException("the message did not end")
        data: bytes = super()._recv(bufsize)  # type: ignore[no-untyped-call]
        self.received += len(data)
        if self.received > MOST_BYTES:
            raise websocket.WebSocketProtocolException("the message is too long")
        return data


class ProgressSocket:
    """One websocket under a client id used once: a second socket under the same id would silence the first."""

    def __init__(self, address: Address, client_id: str, timeout: float) -> None:
        self.client_id = client_id
        self._url = f"{address.websocket}/ws?{urlencode({'clientId': client_id})}"
        self._timeout = timeout
        self._socket: BoundedSocket | None = None
        self.unread = 0  # messages that could not be read

    @property
    def connected(self) -> bool:
        """Whether messages can still come."""
        return self._socket is not None

    def connect(self) -> None:
        """Connect; on failure the job is followed by polling alone."""
        try:
            self._socket = websocket.create_connection(  # type: ignore[assignment]  # it is of class_
                self._url,
                timeout=self._timeout,
                class_=BoundedSocket,
                redirect_limit=0,
                http_no_proxy=["*"],
                suppress_origin=True,
            )
        except (websocket.WebSocketException, OSError):
            self._socket = None

    def receive(self, wait: float) -> Message | None:
        """The next message within `wait` seconds; None when none came, it is no message, or the connection is gone."""
        if self._socket is None:
            return None
        try:
            self._socket.settimeout(wait)
            self._socket.until = time.monotonic() + wait
            opcode, data = self._socket.recv_data()
            self._socket.received = 0
        except websocket.WebSocketTimeoutException:
            return None
        except (websocket.WebSocketException, OSError):
            self.close()
            return None
        if opcode == websocket.ABNF.OPCODE_CLOSE:
            self.close()
        if opcode != websocket.ABNF.OPCODE_TEXT:
            return None  # a preview picture: big-endian event number, then an image
        return self.read(bytes(data), Message)

    def read(self, data: bytes, kind: type[T]) -> T | None:
        """A message or its data; None, counted, where it is not of this kind: it never ends a run."""
        try:
            return parse(data, kind, "message", GeneratorError)
        except GeneratorError:
            self.unread += 1
            return None

    def step(self, message: Message, prompt_id: str, samplers: frozenset[str], told: Step) -> bool:
        """Pass a sampler's step on; True when the message says that the job ended (the history may lag behind)."""
        if message.type not in READ:
            return False
        data = self.read(bytes(message.data), Progress)
        if data is None or data.prompt_id != prompt_id:
            return False
        if message.type == "progress" and str(data.node) in samplers:
            told(int(data.value), int(data.max))
        return message.type in DONE or (message.type == "executing" and data.node is None)

    def close(self) -> None:
        """Close; may be called twice."""
        if self._socket is not None:
            self._socket.shutdown()  # type: ignore[no-untyped-call]  # close() swallows Ctrl-C
            self._socket = None
