"""A `--server` value, read once; every URL the client ever opens is built from it."""

import ipaddress
import socket
from dataclasses import dataclass

from stages.address import split_address
from storage.errors import UsageError

DEFAULT_PORT = 8188  # ComfyUI's own default (comfy/cli_args.py)

HOST_OF_CONTAINER = "host.docker.internal"  # Docker's name, inside a container, of the machine that runs it


@dataclass(frozen=True)
class Address:
    """Where one ComfyUI server listens.

    Attributes:
        name: of the host alone, or its address.
        port: that it listens on.
        host: `host:port`, as it stands in messages and records.
        http: base of HTTP requests, without a trailing slash.
        websocket: base of the websocket, without a trailing slash.
    """

    name: str
    port: int
    host: str
    http: str
    websocket: str


def parse_server(text: str) -> Address:
    """Read `HOST`, `HOST:PORT`, `[V6]:PORT` or `http(s)://HOST[:PORT][/path]`.

    Raises:
        UsageError: when no host can be read from it, or the port is no port.
    """
    value = text.strip()
    try:
        parts = split_address(value if "://" in value else f"http://{value}")
        port = parts.port
    except ValueError as error:
        raise UsageError(f"--server {text[:60]!r}: {error}; give HOST:PORT, e.g. 127.0.0.1:{DEFAULT_PORT}") from error
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment or parts.username:
        raise UsageError(f"--server {text[:60]!r} names no server: give HOST:PORT, e.g. 127.0.0.1:{DEFAULT_PORT}")
    if port is None:
        port = 443 if parts.scheme == "https" else DEFAULT_PORT
    name = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    rest = f"{name}:{port}{parts.path.rstrip('/')}"
    return Address(
        parts.hostname,
        port,
        f"{name}:{port}",
        f"{parts.scheme}://{rest}",
        f"{'wss' if parts.scheme == 'https' else 'ws'}://{rest}",
    )


def on_this_machine(address: Address) -> bool:
    """Whether the server is reached over the loopback or an address of this machine, or is a container's host.

    A name that cannot be resolved is elsewhere. A tunnel's end here counts as here.
    """
    if address.name == HOST_OF_CONTAINER:
        return True
    import psutil

    try:
        found = {str(info[4][0]).partition("%")[0] for info in socket.getaddrinfo(address.name, None)}
    except (OSError, UnicodeError):
        return False
    own = {item.address.partition("%")[0] for items in psutil.net_if_addrs().values() for item in items}
    addresses = map(ipaddress.ip_address, found)
    return any(item.is_loopback or item.is_unspecified or str(item) in own for item in addresses)
