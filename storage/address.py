"""Where a run is: a folder, or `s3://BUCKET/PREFIX/RUN`."""

import re
from pathlib import Path
from typing import TYPE_CHECKING

from storage.errors import UsageError

SCHEME = "s3:"
NEXT = "next"  # what `--overwrite` makes of a run grows under this name in it
_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_PART = re.compile(r"(?!\.\.?$)[A-Za-z0-9_.@=+-]{1,128}")

if TYPE_CHECKING:
    _Base = Path
else:
    _Base = type(Path())


class BucketPath(_Base):
    """The address of a run in a bucket, or of a part of it: joined and printed as a path, never opened as one.

    Everything that takes a run takes a `Path`; what lies there is reached by `storage.backend.open_store` alone, so a
    file that is opened around it is a fault of the program and says so.
    """

    __slots__ = ()

    def __str__(self) -> str:
        return f"{SCHEME}//{'/'.join(self.parts[1:])}"

    def __fspath__(self) -> str:
        raise TypeError(f"{self} is no file: it is reached by storage.backend.open_store")

    def absolute(self) -> "BucketPath":
        """The same: it is."""
        return self

    @property
    def run(self) -> "BucketPath":
        """The run's own address, also of what grows under `next/` in it."""
        return BucketPath(*self.parts[:-1]) if self.name == NEXT else self

    @property
    def bucket(self) -> str:
        """Of the run."""
        return self.parts[1]

    @property
    def prefix(self) -> str:
        """Of the run's names in the bucket."""
        return "/".join(self.run.parts[2:])


def run_path(text: str | Path) -> Path:
    """The address that somebody gave for a run.

    Raises:
        UsageError: when it names a bucket and cannot be a run in it.
    """
    if isinstance(text, Path):
        return text
    scheme, mark, rest = text.partition("//")
    if scheme.lower() != SCHEME or not mark:
        return Path(text)
    bucket, *parts = rest.rstrip("/").split("/")
    if not _BUCKET.fullmatch(bucket) or not parts or not all(map(_PART.fullmatch, parts)):
        raise UsageError(
            f"'{text[:200]}' is no address of a run in a bucket: write s3://BUCKET/RUN or s3://BUCKET/PREFIX/RUN, in "
            "letters, digits and _.@=+-"
        )
    if parts[-1] == NEXT:
        raise UsageError(f"'{text[:200]}': a run in a bucket cannot be called {NEXT}: choose another name")
    return BucketPath(SCHEME, bucket, *parts)
