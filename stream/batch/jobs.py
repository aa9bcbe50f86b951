"""Jobs, and what a batch's folder remembers of them.

jobs.toml --> Job, Job, ...     DIR/batch.json             the jobs
                                DIR/batch.ended/NAME.json  how one ended
                                DIR/NAME                   its run
"""

from collections.abc import Sequence
from itertools import pairwise, takewhile
from pathlib import Path

import msgspec

from storage.address import NEXT, BucketPath
from storage.backend import open_store
from storage.boundary import MB, parse
from storage.errors import RunDirectoryError, SkateError, UsageError
from storage.rundir import is_run, read_log
from stream.run.children import Made, argument

FILE, ENDED = "batch.json", "batch.ended"  # no job can have such a name
MOST_BYTES = 64 * MB  # some 100,000 jobs
FORMAT = 1


class Job(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A run of its own.

    Attributes:
        name: of its folder. source: the video, or the name of the job whose tracking it takes.
        words: options of `skate run`, or of `skate generate`, as on the command line.
        looks: whether it is another look of a job.
    """

    name: str
    source: str
    words: tuple[str, ...]
    looks: bool = False

    def command(self, folder: Path) -> list[str]:
        """`skate`'s words, less `skate` itself."""
        source = str(folder / self.source) if self.looks else self.source
        return ["generate" if self.looks else "run", argument(source), "--out", str(folder / self.name), *self.words]

    def given(self, option: str) -> list[str]:
        """Every value that it gives for an option."""
        return [value for name, value in pairwise(self.words) if name == option]

    def on(self, servers: Sequence[str]) -> "Job":
        """The same with these servers in place of its own."""
        before = ("", *self.words)
        words = [word for word, last in zip(self.words, before, strict=False) if "--server" not in (word, last)]
        return msgspec.structs.replace(self, words=(*words, *(word for each in servers for word in ("--server", each))))


class Ended(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How a job ended: as which, and its exit code; its gate and seconds where it was done, why where it was not."""

    job: Job
    code: int
    gate: str | None = None
    seconds: float = 0.0
    message: str = ""


class Kept(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`batch.json`.

    Attributes:
        jobs: those that are no looks without the words in `common`: with a thousand servers they are most of it.
    """

    format: int
    jobs: tuple[Job, ...]
    common: tuple[str, ...] = ()


class Batch:
    """A batch's folder.

    Attributes:
        folder: where the runs lie.
        jobs: in order, each behind the one whose tracking it takes.
    """

    def __init__(self, folder: Path, jobs: Sequence[Job]) -> None:
        self.folder = folder
        self.jobs = tuple(jobs)
        self._store = open_store(folder)

    def write(self) -> None:
        """Write `batch.json`, whole or not at all.

        Raises:
            UsageError: for a job whose run cannot have its name in a bucket.
        """
        if isinstance(self.folder, BucketPath) and any(job.name == NEXT for job in self.jobs):
            raise UsageError(f"a job in a bucket cannot be called {NEXT}: choose another name")
        side_by_side = zip(*(job.words for job in self.jobs if not job.looks), strict=False)
        common = tuple(words[0] for words in takewhile(lambda words: len(set(words)) == 1, side_by_side))
        self._put(FILE, Kept(FORMAT, tuple(_with_words(job, job.words[len(common) :]) for job in self.jobs), common))

    def note(self, job: Job, made: Made) -> Ended:
        """Keep how a job ended; durable when this returns."""
        done = made.done or {}
        ended = Ended(job, made.code, done.get("gate"), float(done.get("seconds", 0.0)), made.message)
        self._put(f"{ENDED}/{job.name}.json", ended)
        return ended

    def ended(self) -> dict[str, Ended]:
        """How those ended that have, by name.

        Raises:
            RunDirectoryError: when one of the files is damaged.
        """
        names = {f"{ENDED}/{job.name}.json": job.name for job in self.jobs}
        there = (key for key in self._store.keys(ENDED) if key in names)
        return {
            names[key]: parse(self._store.read(key, MB), Ended, self._store.where(key), RunDirectoryError)
            for key in there
        }

    def commits(self, job: Job) -> int:
        """How many its run has; 0 where there is no run, or none that can be read."""
        try:
            run = self.folder / job.name
            return len(read_log(run).commits) if is_run(run) else 0
        except SkateError:
            return 0

    def _put(self, key: str, value: msgspec.Struct) -> None:
        self._store.write(key, [msgspec.json.format(msgspec.json.encode(value)), b"\n"])
        self._store.publish()


def read_batch(folder: Path) -> Batch:
    """The batch in a folder.

    Raises:
        RunDirectoryError: when there is none, or its file is damaged.
    """
    store = open_store(folder)
    where = store.where(FILE)
    if store.size(FILE) is None:
        raise RunDirectoryError(f"{folder}: no batch lies there: `skate batch run JOBS.toml --out {folder}`")
    kept = parse(store.read(FILE, MOST_BYTES), Kept, where, RunDirectoryError, most_bytes=MOST_BYTES)
    if kept.format != FORMAT:
        raise RunDirectoryError(f"{where}: format {kept.format}, this version reads {FORMAT}")
    return Batch(folder, [_with_words(job, kept.common + job.words) for job in kept.jobs])


def _with_words(job: Job, words: tuple[str, ...]) -> Job:
    """A clip's job with other words; a look as it is."""
    return job if job.looks else msgspec.structs.replace(job, words=words)
