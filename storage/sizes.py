"""Sizes in bytes, read and written as people write them."""

import re

from storage.errors import UsageError

MOST = 2**63  # bytes: more than there is anywhere
_UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}


def parse_size(text: str) -> int:
    """Bytes of "8GB", "512 MiB", "2e9" or "1500".

    Raises:
        UsageError: when the text is no size, less than a byte, or more than there is anywhere.
    """
    match = re.fullmatch(r"\s*([0-9.]+(?:e[0-9]+)?)\s*([KMGT]?)(i?)B?\s*", text, flags=re.IGNORECASE)
    try:
        number = float(match[1]) if match else 0.0
    except ValueError:
        number = 0.0
    unit = match[2].upper() if match else ""
    base = 1024 ** ("KMGT".find(unit) + 1) if match and match[3] and unit else _UNITS[unit]
    if not 1 <= number * base < MOST:
        raise UsageError(f"'{text}' is not a size: write for example 8GB, 7.5GiB or 512MB")
    return int(number * base)


def count_of(number: int, noun: str) -> str:
    """A number of things as "1 frame", "2 frames"."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def format_size(size_bytes: float) -> str:
    """Bytes as "1.4 GB" (decimal units, as `--vram` and `--ram` take them)."""
    value, unit = float(size_bytes), "B"
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if abs(value) < 1000 or unit == "TB":
            break
        value /= 1000
    return f"{value:.0f} {unit}" if unit in ("B", "kB") else f"{value:.1f} {unit}"
