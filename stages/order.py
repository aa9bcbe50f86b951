"""In which order the files of a folder are frames: by the numbers in their names."""

import re
from pathlib import Path

DIGITS = 5  # of a frame's number in an export; more where the clip has more frames


def number_digits(frames: int) -> int:
    """How many digits the numbers of a clip of so many frames are written with, so that text order is their order."""
    return max(DIGITS, len(str(frames - 1)))


def frame_files(folder: Path, suffix: str) -> list[Path]:
    """The folder's files of that suffix, in order: runs of digits in a name count as numbers, all else as text.

    Where numbers are padded to one width that is the order of the names; where they are not, mask_2 comes before
    mask_10, and frame_99999 before frame_100000. `.PNG` is `.png`; hidden files (macOS leaves `._mask_1.png` beside
    `mask_1.png` on disks of others) are none.
    """
    found = (path for path in folder.glob("*") if path.suffix.lower() == suffix and not path.name.startswith("."))
    return sorted(found, key=lambda path: (_parts(path.name), path.name))


def order_note(folder: Path, suffix: str) -> str | None:
    """What to tell of a folder whose names are in another order as text (as many loaders take them), else None."""
    if not folder.is_dir():
        return None
    files = frame_files(folder, suffix)
    as_text = sorted(files)
    if files == as_text:
        return None
    first = next(index for index, (one, other) in enumerate(zip(files, as_text, strict=True)) if one != other)
    return (
        f"{folder}: taken in order of the numbers in the names: {files[first].name} is frame {first} "
        f"(in order of the text it would be {as_text[first].name})"
    )


def _parts(name: str) -> list[str | int]:
    """Text and numbers in turn, text first, so that only like is compared with like."""
    return [int(part) if index % 2 else part for index, part in enumerate(re.split("([0-9]+)", name))]
