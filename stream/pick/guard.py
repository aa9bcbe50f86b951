"""Who may talk to the page's server: a browser on this machine that was given the address with the token, and nobody
else. Other pages in the same browser can send requests here, but neither know the token nor pass for this page."""

import hmac
import json
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import parse_qs

MOST_BODY_BYTES = 1_000_000
TOKEN_HEADER = b"x-skate-token"

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

SECURITY = [
    (b"cache-control", b"no-store"),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"x-frame-options", b"DENY"),
]


class Guard:
    """Refuses what does not come from the page, before anything reads it.

    - `Host` must be this server's: another name that leads here (DNS rebinding) is refused.
    - `Origin`, where there is one, must be this server's, and `Sec-Fetch-Site` must not tell of another site.
    - The token must stand in the address (for the page itself) or in `X-Skate-Token` (for all else).
    - A body must be JSON, with its length, which is bounded.

    Args:
        app: what is guarded. port: of the server. token: that the address has.
    """

    def __init__(self, app: App, port: int, token: str) -> None:
        self._app = app
        self._hosts = {f"{name}:{port}".encode() for name in ("127.0.0.1", "localhost")}
        self._token = token.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})
            return
        refusal = self._refusal(scope)
        if refusal is not None:
            await _answer(send, *refusal)
            return
        read = 0

        async def bounded() -> Message:
            nonlocal read
            message = await receive()
            read += len(message.get("body", b""))
            # More than was announced: the server itself cuts that off, this is for one that does not.
            return message if read <= MOST_BODY_BYTES else {"type": "http.disconnect"}

        async def hardened(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", []), *SECURITY]
            await send(message)

        await self._app(scope, bounded, hardened)

    def _refusal(self, scope: Scope) -> tuple[int, str] | None:
        """Status and words; None: it may pass."""
        headers: dict[bytes, list[bytes]] = {}
        for name, value in scope["headers"]:
            headers.setdefault(name.lower(), []).append(value)
        if headers.get(b"host", []) not in [[host] for host in self._hosts]:
            return 403, "another host"
        origins = {b"http://" + host for host in self._hosts}
        if any(origin not in origins for origin in headers.get(b"origin", [])):
            return 403, "another origin"
        if any(site not in (b"same-origin", b"none") for site in headers.get(b"sec-fetch-site", [])):
            return 403, "another site"
        if not self._knows_token(scope, headers):
            return 403, "a wrong token: open the address that `skate pick` printed"
        if scope["method"] not in ("GET", "POST"):
            return 405, "GET and POST alone"
        if scope["method"] == "POST":
            return _body_refusal(headers)
        return None

    def _knows_token(self, scope: Scope, headers: dict[bytes, list[bytes]]) -> bool:
        if scope["path"] == "/":
            given = [text.encode() for text in parse_qs(scope["query_string"].decode("latin-1")).get("token", [])]
        else:
            given = headers.get(TOKEN_HEADER, [])
        return len(given) == 1 and hmac.compare_digest(given[0], self._token)


def _body_refusal(headers: dict[bytes, list[bytes]]) -> tuple[int, str] | None:
    if headers.get(b"content-type", [b""])[0].split(b";")[0].strip() != b"application/json":
        return 415, "JSON alone"
    length = headers.get(b"content-length", [b""])[0]
    if not length.isdigit():
        return 411, "a body has its length"
    return (413, f"at most {MOST_BODY_BYTES} bytes") if len(length) > 9 or int(length) > MOST_BODY_BYTES else None


async def _answer(send: Send, status: int, words: str) -> None:
    body = json.dumps({"error": words}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode()), *SECURITY]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
