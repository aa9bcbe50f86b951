"""Taking one file out of a zip that came over the network."""

import shutil
import zipfile
import zlib
from pathlib import Path

from storage.errors import EnvironmentFault

CHUNK_BYTES = 1 << 20
MAX_BYTES = 4 << 30  # no weight file of the table is larger than 1 GB: a server or a zip that offers more is wrong


class UnusableArchive(EnvironmentFault):
    """The zip is damaged, or does not hold what it must."""


def take_member(archive: Path, member: str, to: Path, size_bytes: int | None = None) -> None:
    """Copy the one file called `member`, in whatever folder, out of a zip to `to`. No path of the archive is used.

    A half-written `to` is removed. `zipfile` checks the member's CRC and never gives more bytes than its header says.

    Args:
        size_bytes: the length the member must have; None = any up to 4 GiB.

    Raises:
        UnusableArchive: when the zip is damaged, holds no or several such files, or one of another length.
    """
    try:
        with zipfile.ZipFile(archive) as opened:
            found = [item for item in opened.infolist() if item.filename.replace("\\", "/").split("/")[-1] == member]
            if len(found) != 1:
                raise UnusableArchive(f"{archive.name} holds {len(found)} files called {member}, exactly one expected")
            length, limit = found[0].file_size, MAX_BYTES if size_bytes is None else size_bytes
            if length > limit or (size_bytes is not None and length != size_bytes):
                raise UnusableArchive(f"{member} in {archive.name} has {length} bytes, {limit} expected")
            with opened.open(found[0]) as source, to.open("wb") as out:
                shutil.copyfileobj(source, out, CHUNK_BYTES)
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError) as error:
        to.unlink(missing_ok=True)
        raise UnusableArchive(f"{archive.name} is a damaged or unusable zip: {error}") from error
    except BaseException:
        to.unlink(missing_ok=True)
        raise
