"""A new export takes the place of an older one once it is whole; until then every byte of the older one stays."""

import fnmatch
import shutil
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

from storage.building import building, left_behind
from storage.faults import fault_point

_NAME = "export"
_EARLIER = "earlier"  # what of the older one was moved out of the way, as long as it may have to be put back


@contextmanager
def in_place_of(target: Path, names: Collection[str], frames: Collection[str], last: str) -> Iterator[Path]:
    """A folder to write an export into, inside of `target`: what is there by these names is replaced in the end.

    What else lies in `target`, and in folders of these names, stays. Where something goes wrong all stays as it was;
    where the process is killed while it moves what is whole, the next one puts the older one back before it begins.

    Args:
        names: of files and folders that an export may have.
        frames: patterns of the files in the folders.
        last: the file without which it is no export.
    """
    with building(target, _NAME) as made:
        yield made
        (made / _EARLIER).mkdir()
        for name in names:
            _take_along(target / name, made / name, frames)
        new = sorted((path.name for path in made.iterdir() if path.name != _EARLIER), key=lambda name: name == last)
        old = sorted({path.name for path in target.iterdir()} & set(names), key=lambda name: name != last)
        try:
            for name in old:
                (target / name).rename(made / _EARLIER / name)
            fault_point("export.switch")
            for name in new:
                (made / name).rename(target / name)
        except BaseException:
            for name in reversed(new):
                if not (made / name).exists():
                    (target / name).rename(made / name)
            _put_back(made / _EARLIER, target, last)
            raise


def put_back(target: Path, last: str) -> None:
    """Make good what an export that was killed has left in `target`."""
    for left in left_behind(target, _NAME):
        if (left / _EARLIER).is_dir() and not (target / last).exists():
            _put_back(left / _EARLIER, target, last)


def _put_back(earlier: Path, target: Path, last: str) -> None:
    for path in sorted(earlier.iterdir(), key=lambda path: path.name == last):
        there = target / path.name
        if there.is_dir():
            shutil.rmtree(there)
        path.replace(there)


def _take_along(old: Path, new: Path, frames: Collection[str]) -> None:
    """Copy what is no frame of an export from its folder to the one that replaces it."""
    for path in old.iterdir() if old.is_dir() else ():
        if any(fnmatch.fnmatch(path.name, pattern) for pattern in frames):
            continue
        new.mkdir(exist_ok=True)
        if path.is_dir() and not path.is_symlink():
            shutil.copytree(path, new / path.name, symlinks=True)
        else:
            shutil.copy2(path, new / path.name, follow_symlinks=False)
