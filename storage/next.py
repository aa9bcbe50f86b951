"""`--overwrite`: the new run grows under `next/`, and takes the old one's place once it has finished.

    RUN/...         the old run, whole and readable
    RUN/next/...    a run of its own, with the same relative names; it begins as a clone of what still holds
    "switch"        one record in the old journal: from here on the new run is the one that counts
    then            each object is moved to its plain name, the journal last; what the old run alone had is deleted

Whoever opens the run next finishes a move that was killed. A store without renaming copies in place of moving.
"""

from pathlib import Path

from storage.address import NEXT as NEXT
from storage.backend import Backend, open_store
from storage.change import REDO, Change
from storage.errors import RunDirectoryError
from storage.faults import fault_point
from storage.journal import JOURNAL, MAX_BYTES, Journal, encode_line, read_records
from storage.log import CommitLog, read_log
from storage.manifest import is_run, read_manifest, write_manifest
from storage.records import segment_of
from storage.verify import metadata_of

_PAGE = f"{NEXT}/report/index.html"
# What the report of some runs alone has (stream/report/write.py, proof.py): the old one's would stand by the new page.
_SOMETIMES = tuple(
    f"report/{name}" for name in ("proof.mp4", "frames.png", "interaction.png", "moment.png", "views.png")
)


def pending(path: Path) -> bool:
    """Whether a new run has begun under `next/` and has not taken the old one's place; it may be damaged."""
    return is_run(path / NEXT)


def begin(path: Path, change: Change) -> Path:
    """Make the new run's directory under `next/` of the run in `path`, which is locked; returns it.

    What still holds after the change is in both: the store is asked for a second name rather than for a copy.

    Raises:
        RunDirectoryError: when it is another run by now than the change was found for.
    """
    if change.of is not None and read_manifest(path).get("config_digest") != change.of:
        raise changed_meanwhile(path)
    store = open_store(path)
    store.delete_all(NEXT)
    if not change.anew:
        log = change.preview(read_log(path))
        for key, task in log.writers.items():
            if not log.is_forgotten(task, key) and store.size(f"run.zarr/{key}") is not None:
                store.copy(f"run.zarr/{key}", f"{NEXT}/run.zarr/{key}")
        for segment in filter(None, map(segment_of, log.commits.values())):
            if store.size(f"segments/{segment}") is not None:
                store.copy(f"segments/{segment}", f"{NEXT}/segments/{segment}")
        for key in store.keys(REDO):  # of a `skate redo` that was killed: under way, or still to be moved to its place
            store.copy(key, f"{NEXT}/{key}")
        store.write(f"{NEXT}/{JOURNAL}", [store.read(JOURNAL, MAX_BYTES)])
        store.flush()
        with Journal(store.below(NEXT)) as journal:
            for record in change.records:
                journal.append(record)
    fault_point("next.cloned")
    write_manifest(path / NEXT, change.manifest)  # last: without it what lies there is no run
    return path / NEXT


def check_pending(path: Path) -> None:
    """See that the new run under `next/` of the run in `path`, which is locked, still waits to be gone on with.

    Raises:
        RunDirectoryError: when another process has finished it or given it up.
    """
    if not pending(path):
        raise changed_meanwhile(path)


def changed_meanwhile(path: Path) -> RunDirectoryError:
    """Models were loaded and the plan was made before the directory was locked."""
    return RunDirectoryError(
        f"{path}: another skate process has ended or replaced this run meanwhile: `skate status {path}` shows what is "
        "there now; where that is not what was asked for, give the command again"
    )


def give_up(path: Path) -> None:
    """Delete a new run that has not taken the old one's place."""
    open_store(path).delete_all(NEXT)


def switch(path: Path) -> None:
    """Let the new run, which is finished, take the place of the old one in `path`, which is locked."""
    store = open_store(path)
    if read_log(path / NEXT).finished is None:
        raise RunDirectoryError(f"{path / NEXT} is not finished: `skate resume {path}` first")
    fault_point("next.switch")
    try:
        with Journal(store) as journal:
            journal.append({"kind": "switch"})
    except RunDirectoryError:  # the old journal is damaged: nothing in it counts any more
        store.write(JOURNAL, [encode_line({"n": 0, "kind": "switch"})])
        store.flush()
    fault_point("next.switched")
    _move(store)


def finish_switch(path: Path) -> None:
    """Finish a move that was killed; nothing happens where there is none.

    Raises:
        RunDirectoryError: when another process is at it.
        EnvironmentFault: when nothing can be written there.
    """
    store = open_store(path)
    if not _switched(store):
        return
    with store.lock():
        if _switched(store):
            _move(store)


def _switched(store: Backend) -> bool:
    if store.size(f"{NEXT}/{JOURNAL}") is None:
        return False
    try:
        records = read_records(store)[0]
    except RunDirectoryError:  # whoever reads it says what is wrong
        return False
    return bool(records) and records[-1]["kind"] == "switch"


def _move(store: Backend) -> None:
    """Every object to its plain name, the report's page first, the journal last."""
    new = CommitLog(read_records(store.below(NEXT))[0])
    keys = sorted(store.keys(NEXT), key=lambda key: key != _PAGE)
    if _PAGE in keys:  # no file of the new report is moved yet: what has its name is of the old one
        for name in _SOMETIMES:
            if f"{NEXT}/{name}" not in keys:
                store.delete(name)
    for key in keys:
        name = key.removeprefix(f"{NEXT}/")
        if name not in (JOURNAL, ".lock"):
            store.move(key, name)
            fault_point("next.moved")
    old = CommitLog(read_records(store)[0])
    if old.finished is not None and new.finished is not None:
        for name in old.finished["files"].keys() - new.finished["files"].keys():
            store.delete(name)
    store.flush()
    fault_point("next.files")
    store.move(f"{NEXT}/{JOURNAL}", JOURNAL)
    store.flush()
    fault_point("next.journal")
    store.delete_all(NEXT)
    sweep(store, new)


def sweep(store: Backend, log: CommitLog) -> None:
    """Delete objects and segments that no commit holds: forgotten, void, or never committed."""
    objects = store.below("run.zarr")
    metadata = metadata_of(store, log).wanted
    for key in objects.keys(""):
        task = log.writers.get(key)
        if key not in metadata and (task is None or log.is_forgotten(task, key)):
            objects.delete(key)
    named = {f"segments/{segment_of(record)}" for record in log.commits.values()}
    for key in store.keys("segments"):
        if key.endswith(".mp4") and key not in named:
            store.delete(key)
