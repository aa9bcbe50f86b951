"""Listening for progress. The websocket is a convenience: a job is judged from the history alone."""

import json
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlencode

import websocket

from stages._comfy.address import Address

Json = Any
Step = Callable[[int, int], None]
DONE = ("execution_success", "execution_error", "execution_interrupted")


class ProgressSocket:
    """One websocket under a client id used once: a second socket under the same id would silence the first."""

    def __init__(self, address: Address, client_id: str, timeout: float) -> None:
        self.client_id = client_id
        self._url = f"{address.websocket}/ws?{urlencode({'clientId': client_id})}"
        self._timeout = timeout
        self._socket: websocket.WebSocket | None = None

    @property
    def connected(self) -> bool:
        """Whether messages can still come."""
        return self._socket is not None

    def connect(self) -> None:
        """Connect; on failure the job is followed by polling alone."""
        try:
            self._socket = websocket.create_connection(
                self._url, timeout=self._timeout, redirect_limit=0, http_no_proxy=["*"], suppress_origin=True
            )
        except (websocket.WebSocketException, OSError):
            self._socket = None

    def receive(self, wait: float) -> Mapping[str, Json] | None:
        """The next JSON message within `wait` seconds; None when none came or the connection is gone."""
        if self._socket is None:
            return None
        try:
            self._socket.settimeout(wait)
            opcode, data = self._socket.recv_data()
        except websocket.WebSocketTimeoutException:
            return None
        except (websocket.WebSocketException, OSError):
            self.close()
            return None
        if opcode == websocket.ABNF.OPCODE_CLOSE:
            self.close()
            return None
        if opcode != websocket.ABNF.OPCODE_TEXT:
            return {}  # a preview picture: big-endian event number, then an image
        try:
            message = json.loads(data)
        except (ValueError, RecursionError):  # the latter: nested too deeply for the parser
            return {}
        return message if isinstance(message, dict) else {}

    def close(self) -> None:
        """Close; may be called twice."""
        if self._socket is not None:
            self._socket.shutdown()  # type: ignore[no-untyped-call]  # close() swallows Ctrl-C
            self._socket = None


def read_message(message: Mapping[str, Json], prompt_id: str, samplers: frozenset[str], step: Step) -> bool:
    """Pass a sampler's step on; True when the message says that the job ended (the history may lag behind)."""
    kind, data = message.get("type"), message.get("data")
    if not isinstance(data, dict) or data.get("prompt_id") != prompt_id:
        return False
    if kind == "progress" and str(data.get("node")) in samplers:
        step(int(data.get("value", 0)), int(data.get("max", 0)))
    return kind in DONE or (kind == "executing" and data.get("node") is None)
