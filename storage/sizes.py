"""Sizes in bytes, read and written as people write them."""

import re

from storage.errors import UsageError

_UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}


def parse_size(text: str) -> int:
    """Bytes of "8GB", "512 MiB", "2e9" or "1500".

    Raises:
        UsageError: when the text is no size, or not positive.
    """
    match = re.fullmatch(r"\s*([0-9.]+(?:e[0-9]+)?)\s*([KMGT]?)(i?)B?\s*", text, flags=re.IGNORECASE)
    try:
        number = float(match[1]) if match else 0.0
    except ValueError:
        number = 0.0
    if match is None or number <= 0:
        raise UsageError(f"'{text}' is not a size: write for example 8GB, 7.5GiB or 512MB")
    unit = match[2].upper()
    base = 1024 ** "KMGT".find(unit) * 1024 if match[3] and unit else _UNITS[unit]
    return int(number * base)


def format_size(size_bytes: float) -> str:
    """Bytes as "1.4 GB" (decimal units, as `--vram` and `--ram` take them)."""
    value, unit = float(size_bytes), "B"
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if abs(value) < 1000 or unit == "TB":
            break
        value /= 1000
    return f"{value:.0f} {unit}" if unit in ("B", "kB") else f"{value:.1f} {unit}"
