"""What runs out or is not there: files, memory, room, terminals, folders, words of a locale."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from time import monotonic
from typing import Any

from _zygote import Ended

from bench.hostile.nasty.clocks import HOOKS, finished, same
from bench.hostile.nasty.looked import WELL, call, noted, nth
from bench.hostile.trial import OF_A_MACHINE, Trial, is_table, untold

Given = dict[str, Any]
LATIN = "resum\u00e9-\u65e5\u672c\U0001f6f9"
FORKED: dict[str, Given] = {
    "files of 0 bytes": {"limits": {"RLIMIT_FSIZE": 0}},
    "files of 1 kB": {"limits": {"RLIMIT_FSIZE": 1 << 10}},
    "files of 4 kB": {"limits": {"RLIMIT_FSIZE": 4 << 10}},
    "files of 20 kB": {"limits": {"RLIMIT_FSIZE": 20 << 10}},
    "files of 100 kB": {"limits": {"RLIMIT_FSIZE": 100 << 10}},
    "8 open files": {"limits": {"RLIMIT_NOFILE": 8}},
    "16 open files": {"limits": {"RLIMIT_NOFILE": 16}},
    "24 open files": {"limits": {"RLIMIT_NOFILE": 24}},
    "32 open files": {"limits": {"RLIMIT_NOFILE": 32}},
    "64 open files": {"limits": {"RLIMIT_NOFILE": 64}},
    "a second of processor": {"limits": {"RLIMIT_CPU": 120}},
    "a stack of 512 kB": {"limits": {"RLIMIT_STACK": 512 << 10}},
    "no locked memory": {"limits": {"RLIMIT_MEMLOCK": 0}},
    "no core": {"limits": {"RLIMIT_CORE": 0}},
    "no home": {"environment": {"HOME": None, "XDG_CACHE_HOME": None, "XDG_CONFIG_HOME": None}},
    "home is a file": {"environment": {"HOME": "/etc/passwd", "XDG_CACHE_HOME": None}},
    "home is nowhere": {"environment": {"HOME": "/proc/nowhere", "XDG_CACHE_HOME": None}},
    "cache is a file": {"environment": {"XDG_CACHE_HOME": "/etc/passwd"}},
    "cache is relative": {"environment": {"XDG_CACHE_HOME": "cache"}},
    "no temporary folder": {"environment": {"TMPDIR": "/absent"}},
    "temporary folder is a file": {"environment": {"TMPDIR": "/etc/passwd"}},
    "models are a file": {"environment": {"SKATE_MODELS": "/etc/passwd"}},
    "models are nowhere": {"environment": {"SKATE_MODELS": "/proc/nowhere"}},
    "models are nothing": {"environment": {"SKATE_MODELS": ""}},
    "umask 777": {"mask": 0o777},
    "umask 0": {"mask": 0},
    "umask 277": {"mask": 0o277},
    "a column": {"environment": {"COLUMNS": "1", "LINES": "1"}},
    "columns of nothing": {"environment": {"COLUMNS": "0"}},
    "columns below": {"environment": {"COLUMNS": "-3"}},
    "columns in words": {"environment": {"COLUMNS": "wide"}},
    "a billion columns": {"environment": {"COLUMNS": "1000000000"}},
    "dumb": {"environment": {"TERM": "dumb"}},
    "no terminal": {"environment": {"TERM": None, "NO_COLOR": "1"}},
    "forced colours": {"environment": {"FORCE_COLOR": "1", "CLICOLOR_FORCE": "1", "PY_COLORS": "1"}},
    "stdout full": {"full": [1]},
    "stderr full": {"full": [2]},
    "both full": {"full": [1, 2]},
    "nowhere": {"gone": True},
    "no path": {"environment": {"PATH": ""}},
    "dead proxies": {"environment": {"HTTP_PROXY": "http://127.0.0.1:9", "ALL_PROXY": "socks5://127.0.0.1:9"}},
    "threads in words": {"environment": {"OMP_NUM_THREADS": "many", "MKL_NUM_THREADS": "-1"}},
    "a zone of nonsense": {"environment": {"TZ": ":/etc/passwd"}},
    "an unknown fault": {"environment": {"SKATE_FAULT": "nothing.of#the#kind"}},
    "a traceback wanted": {"environment": {"SKATE_TRACEBACK": "0"}},
    "a backend of nonsense": {"environment": {"MPLBACKEND": "nonsense", "MPLCONFIGDIR": "/proc/nowhere"}},
    "wgetrc": {"environment": {"NO_PROXY": "*", "no_proxy": "[::"}},
}
WHAT = ("resume", "export", "report", "frame", "status")
SILENT = ("stdout full", "stderr full", "both full", "files of 0 bytes", "files of 1 kB", "files of 4 kB")
FRESH: dict[str, dict[str, str | None]] = {
    "C": {"LC_ALL": "C", "LANG": None},
    "POSIX, strict": {"LC_ALL": "POSIX", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"},
    "a locale of nonsense": {"LC_ALL": "xx_YY.nonsense"},
    "ascii": {"PYTHONIOENCODING": "ascii"},
    "cp1252": {"PYTHONIOENCODING": "cp1252"},
    "utf-16": {"PYTHONIOENCODING": "utf-16"},
    "optimised": {"PYTHONOPTIMIZE": "2"},
    "warnings are errors": {"PYTHONWARNINGS": "error"},
    "nothing at all": {},
    "one column": {"COLUMNS": "1"},
    "threads in words": {"OMP_NUM_THREADS": "many"},
    "no home": {"HOME": None, "XDG_CACHE_HOME": None},
}
ASKED = (
    ["--help"], ["run", "--help-all"], ["status", "RUN"], ["frame", "NAMED", "--to", "ROOM/\u65e5.png"],
    ["status", "ROOM/\u65e5\u672c\U0001f6f9"], ["models", "list"], ["workflows", "show", "vace"],
)  # fmt: skip
STREAMS = (
    "0<&-",
    "1>&-",
    "2>&-",
    "0<&- 1>&- 2>&-",
    "1>/dev/full",
    "2>/dev/full",
    "1>/dev/full 2>/dev/full",
    "0</dev/zero",
)
RESUMED = -1  # in place of the number of what is asked
ALL: tuple[tuple[str, str, int], ...] = (
    *(("forked", name, 0) for name in FORKED),
    *(("forked", name, 1) for name in FORKED),
    *(("fresh", name, index) for index, name in enumerate(FRESH)),
    *(("fresh", name, index + 3) for index, name in enumerate(FRESH)),
    *(("streams", name, index) for index, name in enumerate(STREAMS)),
    *(("streams", name, RESUMED) for name in STREAMS),
)


def attempt(trial: Trial, room: Path) -> None:
    """Whatever is missing, the run is finished with the right bytes once it is there again."""
    (kind, name, number), _ = nth(trial, ALL)
    KINDS[kind](trial, room, name, number)


def _forked(trial: Trial, room: Path, name: str, number: int) -> None:
    given = dict(FORKED[name])
    what = "resume" if number == 0 else WHAT[1 + list(FORKED).index(name) % (len(WHAT) - 1)]
    if given.get("gone"):
        (room / "here").mkdir()
        given["folder"] = str(room / "here")
    run = trial.world.copied(trial.world.unfinished if what == "resume" else trial.world.finished, room / "run")
    to = room / ("exported" if what == "export" else "frame.png")
    words = {
        "export": ["export", str(run), "--to", str(to)],
        "frame": ["frame", str(trial.world.case.video), "--to", str(to)],
    }.get(what, [what, str(run)])
    hook = (f"{HOOKS}:surroundings", given)
    if name in SILENT:
        ended = trial.world.zygote.run(words, limit=60.0, hook=hook)
        trial.calls.append((words, ended.code))
        noted(trial, ended.output)
        trial.expect(not ended.timed_out and "Traceback" not in ended.output, f"{ended.output[-800:]!r}")
        trial.expect(ended.code in (0, 1, 4, 6), f"ends with {ended.code}: {ended.output[-300:]!r}")
    else:
        ended = call(trial, words, models=True, hook=hook)
        trial.expect(ended.code in (0, 1, 2, 3, 4, 6), f"ends with {ended.code}")
    for path in room.rglob("*"):
        if not path.is_symlink():
            path.chmod(0o755 if path.is_dir() else 0o644)
    if ended.code == 0 and what in ("export", "frame"):
        trial.expect(to.exists() and (to.is_file() or any(to.iterdir())), f"{what} ends with 0 and wrote nothing")
    if ended.code not in (0, 1) and what == "frame":
        trial.expect(not to.exists(), "a frame that failed is there")
    if what == "resume" and ended.code not in WELL:
        finished(trial, run)
    else:
        same(trial, run)


def _fresh_run(words: list[str], environment: dict[str, str | None], streams: str = "") -> Ended:
    """A process of its own, by a shell where its streams are to be closed."""
    whole = {key: value for key, value in {**os.environ, **environment}.items() if value is not None}
    command = [sys.executable, "-c", "import sys; from stream.cli import main; sys.exit(main(sys.argv[1:]))", *words]
    if streams:
        command = ["sh", "-c", f'exec "$@" {streams}', "sh", *command]
    begun = monotonic()
    try:
        done = subprocess.run(
            command, env=whole, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=120
        )
        output, code, late = done.stdout, done.returncode, False
    except subprocess.TimeoutExpired as error:
        output, code, late = error.stdout or b"", -9, True
    encoding = "utf-16" if environment.get("PYTHONIOENCODING") == "utf-16" else "utf-8"
    return Ended(code, output.decode(encoding, "replace"), monotonic() - begun, 0.0, 0, late)


def _asked(trial: Trial, room: Path, number: int) -> list[str]:
    named = room / f"{LATIN}.mp4"
    named.write_bytes(trial.world.case.video.read_bytes())
    run = trial.world.copied(trial.world.finished, room / LATIN)
    names = {"RUN": str(run), "NAMED": str(named)}
    return [names.get(word, word.replace("ROOM", str(room))) for word in ASKED[number % len(ASKED)]]


def _fresh(trial: Trial, room: Path, name: str, number: int) -> None:
    words = _asked(trial, room, number)
    ended = _fresh_run(words, FRESH[name])
    trial.calls.append((words, ended.code))
    noted(trial, ended.output)
    found = untold(ended, OF_A_MACHINE, is_table(words, ended))
    trial.expect(not found, f"{name}: {'; '.join(found)}: {ended.output[-1500:]!r}")


def _resumed(trial: Trial, room: Path) -> Path:
    return trial.world.copied(trial.world.unfinished, room / "run")


def _streams(trial: Trial, room: Path, name: str, number: int) -> None:
    run = _resumed(trial, room) if number == RESUMED else None
    words = ["resume", str(run)] if run else _asked(trial, room, number)
    ended = _fresh_run(words, {}, name)
    trial.calls.append((words, ended.code))
    noted(trial, ended.output)
    trial.expect(
        "Traceback" not in ended.output and "Exception ignored" not in ended.output, f"{ended.output[-800:]!r}"
    )
    trial.expect(ended.code in (0, 1, 2, 3, 4, 6) and not ended.timed_out, f"{name}: ends with {ended.code}")
    if run is not None and ended.code in WELL:
        same(trial, run)
    elif run is not None:
        finished(trial, run)


KINDS: dict[str, Callable[[Trial, Path, str, int], None]] = {"forked": _forked, "fresh": _fresh, "streams": _streams}
