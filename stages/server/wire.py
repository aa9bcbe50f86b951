"""One HTTP request to a server and its whole answer, within bounds of bytes and of time."""

import math
import time
from dataclasses import dataclass
from typing import Any

import requests
import urllib3

from stages.http import Sending, timely_session
from stages.server.address import Address
from storage.boundary import MB, MOST_BYTES
from storage.errors import GeneratorError

CHUNK_BYTES = 2**16
TOO_MANY = 429
TRANSIENT = (requests.ConnectionError, requests.Timeout)
"""What may be over when the same is asked again."""


@dataclass(frozen=True)
class Reply:
    """An answer: HTTP status, the reason beside it, and the body."""

    status: int
    reason: str
    body: bytes

    @property
    def passing(self) -> bool:
        """Whether it says that the same may be answered later: 5xx, or 429 of a proxy that lets through so many."""
        return self.status >= 500 or self.status == TOO_MANY

    @property
    def text(self) -> str:
        """The body as text; what is no UTF-8 is replaced."""
        return self.body.decode("utf-8", "replace")


class Wire:
    """A session with one server. Redirects and proxies are off: no other host is ever contacted."""

    def __init__(self, address: Address, connect: float, request: float) -> None:
        """
        Args:
            connect, request: seconds for a connection, and for an answer: to begin, and then to end.
        """
        self._address = address
        self._wait = (connect, request)
        self._sending = Sending()
        self._session = timely_session(self._sending)
        self._session.trust_env = False
        # A body that unpacks to a thousand times its size would be in memory before it is measured.
        self._session.headers["Accept-Encoding"] = "identity"

    def close(self) -> None:
        """Close kept connections."""
        self._session.close()

    def ask(
        self,
        method: str,
        path: str,
        most_bytes: int = MOST_BYTES,
        wait: tuple[float, float] | None = None,
        left: float = math.inf,
        **body: Any,
    ) -> Reply:
        """One request.

        Args:
            most_bytes: of the answer. wait: instead of the session's. left: seconds that any part of it may take at
                most, and that sending the body may take. body: as `requests` takes it.

        Raises:
            requests.ConnectionError, requests.Timeout: see `TRANSIENT`.
            GeneratorError: the answer is longer.
        """
        connect, answering = wait or self._wait
        wait = min(connect, left), min(answering, left)
        self._sending.seconds = wait[1] if math.isinf(left) else left
        url = self._address.http + path
        try:
            answer = self._session.request(method, url, allow_redirects=False, stream=True, timeout=wait, **body)
        except (requests.ConnectionError, requests.Timeout):
            raise
        except (
            requests.RequestException,
            ValueError,
        ) as error:  # a head of two lengths, or that leads to "http://[::1"
            raise requests.ConnectionError(error) from error
        with answer:
            try:
                content = self._content(answer, path, most_bytes, wait[1])
            except urllib3.exceptions.ReadTimeoutError as error:
                raise requests.ReadTimeout(str(error)) from error
            except (urllib3.exceptions.HTTPError, OSError) as error:
                raise requests.ConnectionError(error) from error
            return Reply(answer.status_code, str(answer.reason or ""), content)

    def _content(self, answer: requests.Response, path: str, most_bytes: int, allowed: float) -> bytes:
        found, until = bytearray(), time.monotonic() + allowed
        while chunk := answer.raw.read1(CHUNK_BYTES, decode_content=False):
            found += chunk
            if len(found) > most_bytes:
                raise GeneratorError(
                    f"ComfyUI at {self._address.host} answers {path} with more than {most_bytes / MB:.0f} MB: "
                    "is this a ComfyUI server?"
                )
            if time.monotonic() > until:
                raise requests.ReadTimeout(f"the answer did not end within {allowed:g} s")
        return bytes(found)
