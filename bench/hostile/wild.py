"""A server that speaks no protocol, or too much of one."""

import random
import socket
import threading
from typing import Self

OK = b"HTTP/1.1 200 OK\r\n"
HEADS: dict[str, bytes] = {
    "silence": b"",
    "noise": bytes(range(256)) * 4,
    "a banner": b"SSH-2.0-OpenSSH_9.6\r\n",
    "a TLS alert": b"\x15\x03\x01\x00\x02\x02\x28",
    "half a status": b"HTTP/1.1 ",
    "an odd status": b"HTTP/1.1 99999 \x1b[2J\r\n\r\n",
    "another version": b"HTTP/9.9 200 OK\r\nContent-Length: 2\r\n\r\n{}",
    "continued": b"HTTP/1.1 100 Continue\r\n\r\n" * 3,
    "a lying length": OK + b"Content-Length: 99999999999999\r\n\r\n{}",
    "a negative length": OK + b"Content-Length: -5\r\n\r\n{}",
    "an endless length": OK + b"Content-Length: " + b"9" * 4000 + b"\r\n\r\n{}",
    "two lengths": OK + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
    "no number": OK + b"Content-Length: abc\r\n\r\n{}",
    "bad chunks": OK + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n",
    "huge chunks": OK + b"Transfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n{}",
    "a header flood": OK + b"X: y\r\n" * 300 + b"\r\n{}",
    "a long header": OK + b"X: " + b"y" * 100_000 + b"\r\n\r\n{}",
    "no colon": OK + b"nonsense\r\n\r\n{}",
    "null letters": OK + b"X\0: \0\r\n\r\n\0",
    "a socket": b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n\x81\x7f"
    + b"\xff" * 8,
}


class Raw:
    """Answers every connection with the same head, and goes on with `more` at intervals; used as a context manager.

    Attributes:
        address: HOST:PORT. sent: bytes that went out behind the heads.
    """

    def __init__(self, head: bytes, more: bytes = b"", pause: float = 0.0) -> None:
        self._head, self._more, self._pause = head, more, pause
        self.sent, self._stopped = 0, threading.Event()

    def __enter__(self) -> Self:
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._socket.getsockname()[1]}"
        threading.Thread(target=self._serve, daemon=True).start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stopped.set()
        self._socket.close()

    def _serve(self) -> None:
        while not self._stopped.is_set():
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            threading.Thread(target=self._answer, args=(connection,), daemon=True).start()

    def _answer(self, connection: socket.socket) -> None:
        with connection:
            try:
                connection.settimeout(5)
                connection.recv(65536)
                connection.sendall(self._head)
                sent = 0
                while self._more and sent < 64 << 20 and not self._stopped.wait(self._pause):
                    connection.sendall(self._more)
                    sent += len(self._more)
                    self.sent += len(self._more)
            except OSError:
                return


class Wild(Raw):
    """Raw with a head and more by chance.

    Attributes:
        name: of what it answers.
    """

    def __init__(self, rng: random.Random) -> None:
        self.name = rng.choice(list(HEADS))
        super().__init__(HEADS[self.name], rng.choice((b"", b"", b" ", b"x" * 65536)), rng.choice((0.0, 0.05)))
