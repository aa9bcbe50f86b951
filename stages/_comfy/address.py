"""A `--server` value, read once; every URL the client ever opens is built from it."""

from dataclasses import dataclass
from urllib.parse import urlsplit

from storage.errors import UsageError

DEFAULT_PORT = 8188  # ComfyUI's own default (comfy/cli_args.py)


@dataclass(frozen=True)
class Address:
    """Where one ComfyUI server listens.

    Attributes:
        host: `host:port`, as it stands in messages and records.
        http: base of HTTP requests, without a trailing slash.
        websocket: base of the websocket, without a trailing slash.
    """

    host: str
    http: str
    websocket: str


def parse_server(text: str) -> Address:
    """Read `HOST`, `HOST:PORT`, `[V6]:PORT` or `http(s)://HOST[:PORT][/path]`.

    Raises:
        UsageError: when no host can be read from it, or the port is no port.
    """
    value = text.strip()
    parts = urlsplit(value if "://" in value else f"http://{value}")
    try:
        port = parts.port
    except ValueError as error:
        raise UsageError(f"--server {text!r}: {error}; give HOST:PORT, e.g. 127.0.0.1:{DEFAULT_PORT}") from error
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment or parts.username:
        raise UsageError(f"--server {text!r} names no server: give HOST:PORT, e.g. 127.0.0.1:{DEFAULT_PORT}")
    if port is None:
        port = 443 if parts.scheme == "https" else DEFAULT_PORT
    name = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    rest = f"{name}:{port}{parts.path.rstrip('/')}"
    return Address(
        f"{name}:{port}", f"{parts.scheme}://{rest}", f"{'wss' if parts.scheme == 'https' else 'ws'}://{rest}"
    )
