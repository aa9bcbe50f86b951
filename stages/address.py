"""http(s) addresses that a person gave, checked before any client sees them: clients fail on them in their own ways."""

import ipaddress
import re
from urllib.parse import SplitResult, urlsplit

_ASCII_NAME = re.compile(r"[0-9A-Za-z_.-]+")


def split_address(text: str) -> SplitResult:
    """The parts of an address whose host is an IP address or a name that can be looked up (or is missing).

    Raises:
        ValueError: with what is wrong with it.
    """
    if any(character.isspace() or not character.isprintable() for character in text):
        raise ValueError("it has a space or a control character in it")
    parts = urlsplit(text)
    host = parts.hostname or ""
    if ":" in host:
        ipaddress.IPv6Address(host)
    elif host:
        try:
            name = host.encode("idna").decode("ascii")
        except UnicodeError as error:
            raise ValueError(f"its host is no name ({error})") from error
        if not _ASCII_NAME.fullmatch(name):
            raise ValueError("its host is no name")
    parts.port  # noqa: B018 - raises where it is no port
    return parts
