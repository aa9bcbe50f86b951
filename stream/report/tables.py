"""Plain tables for a terminal."""

from collections.abc import Sequence

from storage.boundary import visible


def text_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Left-aligned columns, two spaces apart, a line of dashes below the header; no trailing blanks."""
    header, *rows = [[visible(cell) for cell in line] for line in (header, *rows)]
    widths = [max(len(line[column]) for line in (header, *rows)) for column in range(len(header))]
    lines = [header, ["-" * width for width in widths], *rows]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )
