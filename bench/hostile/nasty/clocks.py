"""Time and order: clocks that jump, two at once, folders that move, stamps from the future."""

import os
import shutil
import signal
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from time import monotonic, sleep

from _crash import differing, results
from _zygote import Ended, Zygote

from bench.hostile.nasty.hooks import CLOCKS
from bench.hostile.nasty.looked import WELL, call, noted, nothing_left, nth
from bench.hostile.trial import OF_A_MACHINE, Trial, untold

BUSY = 6
HOOKS = "bench.hostile.nasty.hooks"
STAMPS = (0, -1, 2**31, 2**33 + 5, 4_102_444_800)
SIGNALS = (
    [signal.SIGHUP], [signal.SIGTERM, signal.SIGTERM], [signal.SIGINT, signal.SIGTERM], [signal.SIGUSR1],
    [signal.SIGPIPE], [signal.SIGWINCH], [signal.SIGSTOP, signal.SIGCONT], [signal.SIGALRM], [signal.SIGQUIT],
    [signal.SIGINT] * 3, [signal.SIGXCPU], [signal.SIGCHLD, signal.SIGURG],
)  # fmt: skip
Act = Callable[[Trial, Path, Path], None]


def _asks(*words: str, codes: tuple[int, ...] = (0,)) -> Act:
    """A command on the run that is being written. RUN and ROOM stand for the folders."""

    def act(trial: Trial, room: Path, run: Path) -> None:
        said = [word.replace("RUN", str(run)).replace("ROOM", str(room)) for word in words]
        ended = call(trial, said, models=True)
        trial.expect(ended.code in codes, f"{said[0]} beside it ends with {ended.code}")

    return act


def _again(*more: str) -> Act:
    def act(trial: Trial, room: Path, run: Path) -> None:
        ended = call(trial, trial.world.case.run(run, *more), models=True)
        trial.expect(ended.code == BUSY, f"a second run beside it ends with {ended.code}")

    return act


def _copied(trial: Trial, room: Path, run: Path) -> None:
    shutil.copytree(run, room / "copy")
    ended = call(trial, ["resume", str(room / "copy")], models=True)
    trial.expect(ended.code in (*WELL, BUSY), f"a copy of a run under way ends with {ended.code}")
    if ended.code in WELL:
        same(trial, room / "copy")


def _moved(trial: Trial, room: Path, run: Path) -> None:
    run.rename(room / "elsewhere")


def _moved_and_back(trial: Trial, room: Path, run: Path) -> None:
    run.rename(room / "elsewhere")
    (room / "elsewhere").rename(run)


def _lock_gone(trial: Trial, room: Path, run: Path) -> None:
    (run / ".lock").unlink(missing_ok=True)


def _foreign(trial: Trial, room: Path, run: Path) -> None:
    for name in ("notes.txt", "segments/notes.txt", "run.zarr/notes.txt"):
        (run / name).write_text("a file of the user's own")


def _touched(trial: Trial, room: Path, run: Path) -> None:
    for file in run.rglob("*"):
        os.utime(file, (4_102_444_800, 4_102_444_800))


def _removed(trial: Trial, room: Path, run: Path) -> None:
    shutil.rmtree(run)


def _journal_gone(trial: Trial, room: Path, run: Path) -> None:
    (run / "journal.jsonl").unlink()


def _swapped(trial: Trial, room: Path, run: Path) -> None:
    run.rename(room / "elsewhere")
    trial.world.copied(trial.world.finished, run)


ACTS: dict[str, Act] = {
    "status": _asks("status", "RUN", codes=(0, 6)),
    "status --json": _asks("status", "RUN", "--json", codes=(0, 6)),
    "status --verify": _asks("status", "RUN", "--verify", codes=(0, 6)),
    "report": _asks("report", "RUN", codes=(0, 3, 6)),
    "report --proof": _asks("report", "RUN", "--proof", codes=(0, 3, 6)),
    "export": _asks("export", "RUN", "--to", "ROOM/exported", codes=(0, 3, 6)),
    "evaluate": _asks("evaluate", "RUN", "--quiet", codes=(0, 1, 3, 6)),
    "resume": _asks("resume", "RUN", codes=(6,)),
    "redo": _asks("redo", "RUN", "--windows", "0", codes=(3, 6)),
    "redo --cancel": _asks("redo", "RUN", "--cancel", codes=(2, 3, 6)),
    "generate from it": _asks("generate", "RUN", "--out", "ROOM/made", "--seed", "3", codes=(0, 1, 3, 6)),
    "frame of nothing": _asks("frame", "RUN/output.mp4", "--to", "ROOM/f.png", codes=(0, 3)),
    "pick": _asks("pick", "RUN", "--scene", "ROOM/absent/x.toml", codes=(2, 3, 4, 6)),
    "run again": _again(),
    "run again with other options": _again("--seed", "8"),
    "overwritten": _again("--seed", "8", "--overwrite"),
    "demo into it": _asks("demo", "--out", "RUN", "--frames", "5", "--clip-size", "96x64", codes=(2, 6)),
    "export into it": _asks("export", "RUN", "--to", "RUN", codes=(2, 3, 6)),
    "analyse into it": _asks("frame", "RUN/input.mp4", "--to", "RUN/run.json", codes=(2, 3)),
    "copied": _copied,
    "moved": _moved,
    "moved and back": _moved_and_back,
    "its lock removed": _lock_gone,
    "files of others": _foreign,
    "touched": _touched,
    "removed": _removed,
    "its journal removed": _journal_gone,
    "another in its place": _swapped,
}
MAY_FAIL = ("moved", "removed", "its journal removed", "another in its place")
PLACES = ("a link", "a dangling link", "an empty folder", "a folder with a file", "through dots", "a trailing slash",
          "twice slashed", "a long path", "inside itself", "a file", "the clip itself", "a hidden name")  # fmt: skip
ALL: tuple[tuple[str, object], ...] = (
    *(("beside", (name, commits)) for name in ACTS for commits in (2, 12)),
    *(("clock", (name, moment)) for name in CLOCKS for moment in ("resume", "report", "export")),
    *(("stamps", stamp) for stamp in STAMPS),
    *(("signals", tuple(numbers)) for numbers in SIGNALS),
    *(("place", place) for place in PLACES),
)


def attempt(trial: Trial, room: Path) -> None:
    """One of them; whatever came, a plain `resume` ends with the bytes of the run that nobody disturbed."""
    (kind, what), _ = nth(trial, ALL)
    KINDS[kind](trial, room, what)


def same(trial: Trial, run: Path) -> None:
    """Every byte is that of the run that nothing disturbed."""
    other = differing(results(run), trial.world.wanted)
    trial.expect(not other, f"{run.name} differs in {other[:5]}")


def finished(trial: Trial, run: Path) -> None:
    """A plain resume brings it to its end."""
    ended = call(trial, ["resume", str(run)], models=True)
    trial.expect(ended.code in WELL, f"the resume afterwards ends with {ended.code}: {ended.output[-200:]}")
    if ended.code in WELL:
        same(trial, run)


def _unfinished(trial: Trial, room: Path) -> Path:
    return trial.world.copied(trial.world.unfinished, room / "run")


def _beside(trial: Trial, room: Path, what: tuple[str, int]) -> None:
    name, commits = what
    run, reached, go = room / "run", room / "reached", room / "go"
    second: Zygote = trial.world.kept_open("second", Zygote)
    ended: list[Ended] = []
    hook = (f"{HOOKS}:waits_at_commit", {"commits": commits, "reached": str(reached), "go": str(go)})
    thread = threading.Thread(
        target=lambda: ended.append(second.run(trial.world.case.run(run), limit=150.0, hook=hook))
    )
    thread.start()
    end = monotonic() + 60
    while not reached.exists() and thread.is_alive() and monotonic() < end:
        sleep(0.02)
    try:
        ACTS[name](trial, room, run)
    finally:
        go.write_text("")
        thread.join()
    noted(trial, ended[0].output)
    trial.calls.append((trial.world.case.run(run), ended[0].code))
    found = untold(ended[0], trial.world.planned_bytes + OF_A_MACHINE)
    trial.expect(not found, f"the run under way: {'; '.join(found)}: {ended[0].output[-1500:]!r}")
    if name not in MAY_FAIL:
        trial.expect(ended[0].code in WELL, f"the run under way ends with {ended[0].code}: {ended[0].output[-300:]}")
    if ended[0].code in WELL and (run / "output.mp4").exists():
        same(trial, run)
    if name == "moved" and (room / "elsewhere").exists():
        finished(trial, room / "elsewhere")
    if name == "another in its place":
        same(trial, run)
    if name == "files of others":
        trial.expect((run / "notes.txt").exists(), "a file of the user's own is gone")
    for path in (run, room / "copy", room / "exported", room / "made"):
        if path.is_dir() and name not in MAY_FAIL:
            nothing_left(trial, path)


def _clock(trial: Trial, room: Path, what: tuple[str, str]) -> None:
    name, moment = what
    hook = (f"{HOOKS}:clock", {"kind": name})
    if moment == "resume":
        run = _unfinished(trial, room)
        ended = call(trial, ["resume", str(run)], models=True, hook=hook)
        trial.expect(ended.code in WELL, f"resume ends with {ended.code}")
        same(trial, run)
        return
    run = trial.world.copied(trial.world.finished, room / "run")
    words = [moment, str(run), *(["--to", str(room / "exported")] if moment == "export" else [])]
    ended = call(trial, words, models=True, hook=hook)
    trial.expect(ended.code == 0, f"{moment} ends with {ended.code}")
    same(trial, run)


def _stamps(trial: Trial, room: Path, stamp: int) -> None:
    run, clip = _unfinished(trial, room), trial.world.case.video
    kept = clip.stat()
    try:
        for path in (*run.rglob("*"), clip):
            with suppress(OverflowError):
                os.utime(path, (stamp, stamp))
        finished(trial, run)
    finally:
        os.utime(clip, ns=(kept.st_atime_ns, kept.st_mtime_ns))


def _signals(trial: Trial, room: Path, numbers: tuple[int, ...]) -> None:
    run = _unfinished(trial, room)
    hook = (f"{HOOKS}:signalled", {"numbers": [int(one) for one in numbers], "seconds": 0.4})
    ended = trial.world.zygote.run(["resume", str(run)], limit=60.0, hook=hook)
    noted(trial, ended.output)
    trial.calls.append((["resume", str(run)], ended.code))
    trial.expect(not ended.timed_out, "a signal holds it up")
    trial.expect("Traceback" not in ended.output, f"a traceback: {ended.output[-500:]}")
    if ended.code >= 0:
        trial.expect(ended.code in (*WELL, 130), f"ends with {ended.code}: {ended.output[-300:]}")
    finished(trial, run)


def _place(trial: Trial, room: Path, place: str) -> None:
    (room / "real").mkdir()
    out = room / "out"
    if place in ("a link", "a dangling link"):
        out.symlink_to(room / ("real" if place == "a link" else "absent"))
    elif place in ("an empty folder", "a folder with a file"):
        out.mkdir()
        if place == "a folder with a file":
            (out / "notes.txt").write_text("mine")
    elif place == "a file":
        out.write_text("mine")
    shown = {
        "through dots": str(room / "real" / ".." / "out"), "a trailing slash": f"{out}/",
        "twice slashed": f"{room}//out", "a long path": str(room / ("d" * 200) / ("e" * 200) / "out"),
        "inside itself": str(trial.world.finished / "run.zarr"),
        "the clip itself": str(trial.world.case.video), "a hidden name": str(room / ".out"),
    }.get(place, str(out))  # fmt: skip
    ended = call(trial, trial.world.case.run(Path(shown) if place != "a trailing slash" else out), models=True)
    trial.expect(ended.code in (*WELL, 2, 4, 6), f"ends with {ended.code}")
    if place in ("a file", "inside itself", "the clip itself"):
        trial.expect(ended.code not in WELL, f"a run is made in {place}")
    if place in ("an empty folder", "through dots", "twice slashed", "a hidden name", "a long path"):
        trial.expect(ended.code in WELL, f"no run is made in {place}: {ended.output[-300:]}")
    if ended.code in WELL:
        same(trial, Path(shown))
    if place == "a folder with a file":
        trial.expect((out / "notes.txt").read_text() == "mine", "a file of the user's own is gone")
    same(trial, trial.world.finished)


KINDS: dict[str, Callable[..., None]] = {
    "beside": _beside, "clock": _clock, "stamps": _stamps, "signals": _signals, "place": _place,
}  # fmt: skip
