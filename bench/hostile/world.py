"""What attempts share: a clip, models, finished and unfinished runs, exports, and the process that is forked."""

import hashlib
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from functools import cached_property
from pathlib import Path
from typing import Any

from _crash import Case, make_case, results
from _zygote import Ended, Zygote

from storage.sizes import parse_size

FRAMES, SIZE, WINDOW, OVERLAP = 7, (96, 64), 5, 2
WELL = (0, 1)  # done, or the gate failed: masks by a random model mean nothing
_PLANNED = re.compile(r"^memory +RAM ([0-9.]+ [kMG]?B)", re.MULTILINE)
_RUN_KEPT = ("--keep", "all", "--comparison", "--view", "full")


def digests(folder: Path, without: tuple[str, ...] = ()) -> dict[str, str]:
    """sha256 of every regular file under a folder, by its path in it."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
    names = {str(path.relative_to(folder)): path for path in files}
    found = {name: path for name, path in names.items() if not name.startswith(without)} if without else names
    return {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in found.items()}


class World:
    """Made once, changed by nobody: every attempt works on copies in a folder of its own.

    Args:
        folder: where all of it lies. seed: of the whole trial. few: one finished and one unfinished run are enough.
    """

    def __init__(self, zygote: Zygote, folder: Path, seed: int, few: bool = False) -> None:
        self.zygote, self.folder, self.seed = zygote, folder, seed
        self.done: set[str] = set()  # what was made once
        self._few = few
        self._open: dict[str, Any] = {}
        self._stack = ExitStack()
        self.case: Case = make_case(folder / "case", FRAMES, SIZE, WINDOW, OVERLAP)
        self.plain_bytes = zygote.run(["--version"]).peak_rss_bytes
        begun = self.well(self.case.run(self.folder / "finished"))
        planned = _PLANNED.search(begun.output)
        assert planned is not None, begun.output
        self.planned_bytes = parse_size(planned[1].replace(" ", ""))
        self.finished = folder / "finished"

    def well(self, arguments: list[str], **given: object) -> Ended:
        """A call that nothing disturbs."""
        ended = self.zygote.run(arguments, **given)  # type: ignore[arg-type]
        assert ended.code in WELL, f"{arguments}: {ended.output}"
        return ended

    @property
    def models(self) -> list[str]:
        """The options that choose the models."""
        words = list(self.case.options)
        return words[words.index("--sam") : words.index("--window")]

    @property
    def box(self) -> str:
        """Around the object on the first frame."""
        return self.case.options[self.case.options.index("--box") + 1]

    @cached_property
    def wanted(self) -> dict[str, str]:
        """Digests of all that the finished run must hold."""
        return results(self.finished)

    @cached_property
    def kept(self) -> Path:
        """A finished run that keeps all frames, with a comparison and a view: more kinds of files."""
        if self._few:
            return self.finished
        self.well(self.case.run(self.folder / "kept", *_RUN_KEPT))
        return self.folder / "kept"

    @cached_property
    def unfinished(self) -> Path:
        """A run that was killed in its second window."""
        self._killed(self.case.run(self.folder / "unfinished"), "blend.begin#2")
        return self.folder / "unfinished"

    @cached_property
    def redoing(self) -> Path:
        """A run in the middle of a redo."""
        shutil.copytree(self.kept, self.folder / "redoing", ignore=shutil.ignore_patterns(".lock"))
        self._killed(["redo", str(self.folder / "redoing"), "--windows", "0", "--seed", "9"], "redo.journal")
        return self.folder / "redoing"

    @cached_property
    def growing(self) -> Path:
        """A run under which another one grows."""
        self.copied(self.finished, self.folder / "growing")
        again = self.case.run(self.folder / "growing", "--seed", "9", "--overwrite")
        self._killed(again, "blend.journal")
        return self.folder / "growing"

    @cached_property
    def extracted(self) -> Path:
        """Masks and poses of a clip of one window."""
        case = make_case(self.folder / "short", WINDOW, SIZE, WINDOW, OVERLAP)
        self.well(["extract", str(case.video), "--out", str(self.folder / "extracted"), *case.options])
        return self.folder / "extracted"

    @cached_property
    def exported(self) -> Path:
        """Everything that `skate export` writes of the finished run."""
        self.well(["export", str(self.finished), "--to", str(self.folder / "exported")])
        return self.folder / "exported"

    def runs(self) -> dict[str, Path]:
        """Every run directory, by what it is."""
        names = ("finished", "unfinished", "kept", "redoing", "growing", "extracted")
        return {name: getattr(self, name) for name in names[: 2 if self._few else None]}

    @staticmethod
    def copied(run: Path, to: Path) -> Path:
        """A copy of a run directory."""
        return Path(shutil.copytree(run, to, ignore=shutil.ignore_patterns(".lock")))

    def _killed(self, arguments: list[str], fault: str) -> None:
        ended = self.zygote.run(arguments, fault=fault)
        assert ended.code == -9, f"{fault} was not reached: {ended.output}"

    def place(self, kind: str) -> Path:
        """Where the attempts of a kind are made."""
        return self.folder / "rooms" / kind

    def room(self, kind: str) -> Iterator[Path]:
        """A folder for one attempt, emptied before the next."""
        room = self.place(kind)
        while True:
            shutil.rmtree(room, ignore_errors=True)
            room.mkdir(parents=True)
            yield room

    def kept_open(self, name: str, make: Callable[[], AbstractContextManager[Any]]) -> Any:
        """A server, begun once and ended with the world."""
        if name not in self._open:
            self._open[name] = self._stack.enter_context(make())
        return self._open[name]

    def close(self) -> None:
        """End what was begun."""
        self._stack.close()
