"""The server of the page: on 127.0.0.1 alone, until it is interrupted."""

import logging
import secrets
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from storage.errors import EnvironmentFault
from stream.pick.desk import Desk

HOST = "127.0.0.1"
GRACE_SECONDS = 5  # for what is being answered when it ends


@dataclass
class Served:
    """A server in a thread.

    Attributes:
        address: of the page, with its token.
    """

    address: str
    _server: Any = field(repr=False)
    _thread: threading.Thread = field(repr=False)

    def wait(self) -> None:
        """Until it ends."""
        while self._thread.is_alive():
            self._thread.join(0.5)

    def close(self) -> None:
        """End it: what is being answered is answered first, unless that takes long."""
        logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)  # who is cut off then is no fault to be told of
        self._server.should_exit = True
        self._thread.join()


def serve(desk: Desk, port: int = 0) -> Served:
    """Begin to serve a desk's page; the shots are looked for meanwhile.

    Args:
        port: 0: any that is free.

    Raises:
        EnvironmentFault: the extra `web` is not installed, or the port is taken.
    """
    try:
        import uvicorn

        from stream.pick.app import make_app
    except ModuleNotFoundError as error:
        raise EnvironmentFault(
            f"skate pick needs {error.name}, which is not installed: pip install 'skate-physics-preserver[web]'"
        ) from error
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((HOST, port))
        listening.listen()  # who opens the page at once waits
    except OSError as error:
        listening.close()
        raise EnvironmentFault(f"--port {port}: {error.strerror}: give another, or leave it out") from error
    found: int = listening.getsockname()[1]
    token = secrets.token_urlsafe(24)
    config = uvicorn.Config(
        make_app(desk, found, token), log_level="warning", access_log=False, server_header=False, lifespan="off",
        timeout_graceful_shutdown=GRACE_SECONDS,
    )  # fmt: skip
    server = uvicorn.Server(config)
    thread = threading.Thread(target=_run, args=(server, listening), name="page", daemon=True)
    thread.start()
    desk.shots.begin()
    return Served(f"http://{HOST}:{found}/?token={token}", server, thread)


def _run(server: Any, listening: socket.socket) -> None:
    try:
        server.run(sockets=[listening])
    finally:
        listening.close()


def until_interrupted(served: Served, told: Callable[[], None]) -> None:
    """Serve until Ctrl-C, which is how it ends; then say what there is to say."""
    try:
        served.wait()
    except KeyboardInterrupt:
        pass
    finally:
        served.close()
    told()
