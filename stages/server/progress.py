"""Listening to a server: sampler steps, and pictures that it sends rather than saves. A job is judged from the history.

executing {node}                            a node begins
progress {node, value, max}                 a sampler's step; SaveImageWebsocket tells one before each picture
binary: event 1, format 2 (both big-endian u32), PNG      that picture; other formats are previews
"""

import math
import socket
import struct
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
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
Shown = Callable[[str, bytes], None]
DONE = ("execution_success", "execution_error", "execution_interrupted")
READ = ("progress", "executing", *DONE)
MOST_BYTES = 16 * MB  # of one message, where no pictures are awaited: the largest are previews of some 100 kB
PNG_PICTURE = struct.pack(">II", 1, 2)  # BinaryEventTypes.PREVIEW_IMAGE, and PNG: its previews are JPEG


@dataclass(frozen=True)
class Picture:
    """A picture that was sent: the bytes of its PNG."""

    data: bytes


class BoundedSocket(websocket.WebSocket):
    """A websocket whose messages end: by their size, whatever their header says, and by the clock.

    Attributes:
        received: bytes since the last whole message. most: that are taken.
        until: when to stop waiting for more (monotonic seconds).
    """

    received = 0
    most = MOST_BYTES
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
        if self.received > self.most:
            raise websocket.WebSocketProtocolException("the message is too long")
        return data


class ProgressSocket:
    """One websocket under a client id used once: a second socket under the same id would silence the first."""

    def __init__(self, address: Address, client_id: str, timeout: float, most_bytes: int = 0) -> None:
        """
        Args:
            timeout: for a connection, seconds. most_bytes: of the largest picture that is awaited.
        """
        self.client_id = client_id
        self._most = max(MOST_BYTES, most_bytes)
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
            found: Any = websocket.create_connection(
                self._url,
                timeout=self._timeout,
                class_=BoundedSocket,
                redirect_limit=0,
                http_no_proxy=["*"],
                suppress_origin=True,
            )
            found.most = self._most
            self._socket = found
        except (websocket.WebSocketException, OSError):
            self._socket = None

    def receive(self, wait: float) -> Message | Picture | None:
        """The next message within `wait` seconds; None when none came, it is neither, or the connection is gone."""
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
        if opcode == websocket.ABNF.OPCODE_BINARY and data.startswith(PNG_PICTURE):
            return Picture(bytes(data[len(PNG_PICTURE) :]))
        if opcode != websocket.ABNF.OPCODE_TEXT:
            return None
        return self.read(bytes(data), Message)

    def read(self, data: bytes, kind: type[T]) -> T | None:
        """A message or its data; None, counted, where it is not of this kind: it never ends a run."""
        try:
            return parse(data, kind, "message", GeneratorError)
        except GeneratorError:
            self.unread += 1
            return None

    def close(self) -> None:
        """Close; may be called twice."""
        if self._socket is not None:
            self._socket.shutdown()  # type: ignore[no-untyped-call]  # close() swallows Ctrl-C
            self._socket = None


class Listener:
    """What a job's messages say, passed on.

    Args:
        socket: connected before the job was submitted.
        prompt_id: the job's.
        samplers: nodes whose steps `told` is told.
        shown: told of every picture that came, and by which node.
    """

    def __init__(
        self, socket: ProgressSocket, prompt_id: str, samplers: frozenset[str], told: Step, shown: Shown
    ) -> None:
        self.socket = socket
        self.ended = False  # the job, as its messages say: all its pictures were sent before
        self._prompt_id, self._samplers, self._told, self._shown = prompt_id, samplers, told, shown
        self._node = ""  # that spoke last

    def hear(self, wait: float) -> bool:
        """Wait so many seconds for a message; True when it says that the job ended (the history may lag behind)."""
        heard = self.socket.receive(wait)
        if isinstance(heard, Picture):
            self._shown(self._node, heard.data)
            return False
        return heard is not None and self.take(heard)

    def take(self, message: Message) -> bool:
        """Pass a message on; as `hear`."""
        if message.type not in READ:
            return False
        data = self.socket.read(bytes(message.data), Progress)
        if data is None or data.prompt_id != self._prompt_id:
            return False
        self._node = "" if data.node is None else str(data.node)
        if message.type == "progress" and self._node in self._samplers:
            self._told(int(data.value), int(data.max))
        self.ended = message.type in DONE or (message.type == "executing" and data.node is None)
        return self.ended
