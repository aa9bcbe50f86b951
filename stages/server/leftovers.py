"""Deleting what a server on this machine saved for us, once what was made of it is durable.

Its answers name the files, so that much is somebody else's word: nothing is deleted but plain pictures that lie in the
folder `skate` of the output folder that was named, under a name that we made up for them; no link is followed.
"""

import logging
import os
import re
import stat
import threading
from collections.abc import Iterable
from pathlib import Path

from stages.server.answers import Image
from stages.server.job import SUBFOLDER
from storage.errors import UsageError

logger = logging.getLogger("skate.comfyui")

OURS = re.compile(r"[0-9a-f]{12}_w\d{5}_a\d{1,6}_[\w.:-]{1,80}\.png")
"""What `run_job` calls a picture: its token, window, attempt, node, and the server's number."""


class Leftovers:
    """What servers saved of the windows that are not yet committed. Safe from several threads.

    Args:
        folder: the output folder of a ComfyUI on this machine; None: nothing is deleted.
    """

    def __init__(self, folder: str | None) -> None:
        self._folder = None if folder is None else Path(folder)
        self._saved: dict[int, list[Image]] = {}
        self._lock = threading.Lock()
        self._told = False

    def check(self) -> None:
        """Refuse what is no folder.

        Raises:
            UsageError: it is not there.
        """
        if self._folder is not None and not self._folder.is_dir():
            raise UsageError(
                f"--comfy-output {self._folder}: is no folder: give the folder `output` of the ComfyUI that runs on "
                "this machine, or leave it out"
            )

    def keep(self, window: int, images: Iterable[Image]) -> None:
        """Pictures were saved for a window."""
        if self._folder is not None:
            with self._lock:
                self._saved.setdefault(window, []).extend(images)

    def delete(self, window: int) -> None:
        """The window is committed: what was saved for it, in every try, is not needed any more."""
        with self._lock:
            images = self._saved.pop(window, [])
        if self._folder is None or not images:
            return
        if not delete_saved(self._folder, images) and not self._told:
            self._told = True
            logger.warning(
                "--comfy-output %s: has none of the pictures that ComfyUI saved: is it the folder of that server?",
                self._folder,
            )


def delete_saved(folder: Path, images: Iterable[Image]) -> int:
    """Delete these pictures of a server's output folder; how many were.

    What is not there, is no plain file, or has no name of ours is left alone. What cannot be deleted is told.
    """
    names = [image.filename for image in images if (image.type, image.subfolder) == ("output", SUBFOLDER)]
    names = [name for name in names if OURS.fullmatch(name)]
    deleted = 0
    try:
        top = os.open(folder / SUBFOLDER, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except FileNotFoundError:
        return 0
    except OSError as error:
        logger.warning("--comfy-output %s: %s: what the server saved stays", folder, error.strerror)
        return 0
    try:
        for name in names:
            deleted += _delete(top, name, folder)
    finally:
        os.close(top)
    return deleted


def _delete(top: int, name: str, folder: Path) -> bool:
    try:
        if not stat.S_ISREG(os.stat(name, dir_fd=top, follow_symlinks=False).st_mode):
            return False
        os.unlink(name, dir_fd=top)
    except FileNotFoundError:
        return False
    except OSError as error:
        logger.warning("--comfy-output %s: %s cannot be deleted: %s", folder, name, error.strerror)
        return False
    return True
