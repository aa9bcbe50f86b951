"""One attempt: what it called, and what did not hold."""

import random
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from _zygote import Ended

from storage.errors import (
    EnvironmentFault,
    GeneratorError,
    InputError,
    Interrupted,
    RunDirectoryError,
    SkateError,
    UsageError,
)

if TYPE_CHECKING:
    from bench.hostile.world import World

REFUSED = (UsageError, InputError, EnvironmentFault, GeneratorError, RunDirectoryError, Interrupted)
GATE_FAILED, KILLED, FAULT = 1, -9, SkateError.exit_code
CODES = frozenset((0, GATE_FAILED, *(error.exit_code for error in REFUSED)))
MOST_OF_A_LINE = 2000  # characters of the line that says why
OF_A_MACHINE = 100 << 20  # bytes beyond what the plan says
MORE_ADDRESSES = 3 << 30  # bytes of address space beyond the forked process's: a bomb ends there, not the machine
SECONDS = 60.0  # within which any of these commands ends, on a busy machine too
_JSON_ERROR = re.compile(r'^\{"event": "error", "code": \d+, "message": ')


# A table that says what is missing or damaged, and a code with it: no other line is needed.
TABLES = {"batch plan": 4, "batch run": None, "status": 6, "check": None, "workflows check": None, "models verify": 4}


def is_table(arguments: Sequence[str], ended: Ended) -> bool:
    """Whether a command told in a table what its code stands for; a group of commands alone tells its help."""
    if ended.code == UsageError.exit_code and ended.output.startswith("Usage: ") and "\nCommands:\n" in ended.output:
        return True
    code = next((TABLES[name] for name in (arguments[0], " ".join(arguments[:2])) if name in TABLES), 0)
    return code in (None, ended.code) and "\nskate: " not in f"\n{ended.output}" and bool(ended.output.strip())


def untold(ended: Ended, most_bytes: int, table: bool = False) -> list[str]:
    """What of an ended command does not hold: it ends in time, with a code of ours, and one line that says why.

    Args:
        table: whether it told by itself what the code stands for.
    """
    found = []
    if ended.timed_out:
        found.append(f"did not end within {ended.seconds:.0f} s")
    elif ended.code not in CODES:
        found.append(f"exit code {ended.code}")
    if "Traceback (most recent call last)" in ended.output:
        found.append("a traceback")
    if ended.peak_rss_bytes > most_bytes:
        found.append(f"took {ended.peak_rss_bytes >> 20} MB, {most_bytes >> 20} MB are its bound")
    if any(not (letter.isprintable() or letter == "\n") for letter in ended.output):
        found.append("control characters in what it printed")
    if ended.code in CODES - {0, GATE_FAILED} and not (ended.timed_out or table):
        lines = [line for line in ended.output.splitlines() if line.startswith("skate: ") or _JSON_ERROR.match(line)]
        if len(lines) != 1 or ended.output.splitlines()[-1] != lines[0]:
            found.append(f"{len(lines)} lines say why it ended with {ended.code}")
        elif not 10 < len(lines[0]) < MOST_OF_A_LINE:
            found.append(f"the line has {len(lines[0])} characters")
    return found


class Trial:
    """One attempt of a kind; its number gives all its random choices.

    Attributes:
        rng: of this attempt alone. title: what it tries, where it has a name. wrong: what did not hold.
        calls: what was called, each with its exit code.
        kills: how often a process was killed on purpose. seconds, peak_bytes: the most that a call took.
        known: whether it met what SECURITY.md says is not defended against.
        of: how many numbers try everything once, where a kind has an end; else 0.
    """

    def __init__(self, world: "World", kind: str, number: int) -> None:
        self.world, self.kind, self.number = world, kind, number
        self.rng = random.Random(f"{world.seed} {kind} {number}")
        self.title = ""
        self.wrong: list[str] = []
        self.calls: list[tuple[list[str], int]] = []
        self.notes: list[str] = []
        self.kills = self.of = 0
        self.known = False
        self.seconds = self.peak_bytes = 0.0

    def skate(self, arguments: Sequence[str], *, models: bool = False, limit: float = SECONDS, **given: Any) -> Ended:
        """Call `skate` in a forked child and look at how it ended.

        Args:
            models: whether it may load models: then the plan of a run bounds its memory.
            limit: seconds. given: as `Zygote.run`.
        """
        given = {"folder": str(self.world.place(self.kind)), "memory_bytes": MORE_ADDRESSES, **given}
        arguments = [self._own(*pair) for pair in zip(["", *arguments], arguments, strict=False)]
        ended = self.world.zygote.run(arguments, limit=limit, **given)
        self.calls.append((list(arguments), ended.code))
        self.seconds, self.peak_bytes = max(self.seconds, ended.seconds), max(self.peak_bytes, ended.peak_rss_bytes)
        if ended.code == KILLED and not ended.timed_out and (given.get("fault") or given.get("kill_after")):
            self.kills += 1
            return ended
        bound = self.world.planned_bytes if models else self.world.plain_bytes
        found = untold(ended, bound + OF_A_MACHINE, is_table(arguments, ended))
        if found:
            self.fail(f"{'; '.join(found)}: {ended.output[-1500:]!r}")
        return ended

    def _own(self, before: str, word: str) -> str:
        """What is written to is a copy of the world's run: others begin with it too."""
        run = Path(word)
        if before != "--out" or run.parent != self.world.folder or not (run / "run.json").is_file():
            return word
        own = self.world.place(self.kind) / "own" / run.name
        return str(own if own.exists() else self.world.copied(run, own))

    def is_known(self, what: str) -> None:
        """What did not hold is what SECURITY.md says is not defended against."""
        self.wrong.clear()
        self.known = True
        self.notes.append(what)

    def fail(self, what: str) -> None:
        """Something did not hold."""
        self.wrong.append(f"{self.title}: {what}" if self.title else what)

    def expect(self, holds: bool, what: str) -> None:
        """Something has to hold."""
        if not holds:
            self.fail(what)

    @property
    def code(self) -> int:
        """Of the last call; 0 without one."""
        return self.calls[-1][1] if self.calls else 0
