"""Working through a batch with Ray Core: workers that keep weights warm take a few windows of a job at a time.

    driver   jobs in turn --piece--> worker 1 .. N     what a piece hands over: the job's words, and how it ended
    worker   opens the run, goes on from its journal, ends behind some windows; nothing of the clip passes through Ray

State lies in the run directory, so any worker takes the next piece. A worker that dies loses what it had not committed:
another takes its place, and the piece is done again. The folder must be one that all machines see under the same path.
"""

import importlib
import importlib.util
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from storage.errors import EnvironmentFault
from stream.batch.jobs import Batch, Ended, Job
from stream.batch.work import done_before, without_tracking
from stream.run.children import Made, Tell

LOCAL = "local"
PIECE_WINDOWS = 8  # a piece: long beside opening a run, short beside what a lost worker may cost
MOST_DEATHS = 5  # of a job's workers without a window between them: then it is the job that kills them
LOOK_SECONDS = 20.0  # between looks whether the cluster is still there

Piece = Callable[[Job, Path, int, str | None], Made | None]
"""Does so many windows of a job: how it ended, or None: there is more. The last: the server to go to, None: its own."""


class Pool:
    """The servers of all jobs, each lent to one piece at a time, the one that waited longest first."""

    def __init__(self, jobs: Sequence[Job]) -> None:
        self._free = deque(dict.fromkeys(server for job in jobs for server in servers_of(job)))

    def lend(self, job: Job) -> tuple[bool, str | None]:
        """Whether the job can go on now, and with which server; None where it needs none."""
        own = servers_of(job)
        if not own:
            return True, None
        found = next((server for server in self._free if server in own), None)
        if found is not None:
            self._free.remove(found)
        return found is not None, found

    def take_back(self, server: str | None) -> None:
        """Behind all others."""
        if server is not None:
            self._free.append(server)


def servers_of(job: Job) -> list[str]:
    """The job's own `--server`s."""
    return [value for name, value in zip(job.words, job.words[1:], strict=False) if name == "--server"]


class Turns:
    """The jobs under way, in turn: who goes on next, and what became of the others. It knows nothing of Ray.

    Args:
        jobs: all, in order. ended: by name those that are done. note: keeps how one ended.
    """

    def __init__(self, jobs: Sequence[Job], ended: Mapping[str, Ended], note: Callable[[Job, Made], Ended]) -> None:
        self._jobs = jobs
        self._ended = dict(ended)
        self._note = note
        self._pool = Pool(jobs)
        self._waiting = deque(job for job in jobs if job.name not in self._ended)
        self._lent: dict[str, str | None] = {}
        self._deaths: dict[str, int] = {}

    @property
    def over(self) -> bool:
        """Whether all have ended."""
        return len(self._ended) == len(self._jobs)

    def next(self) -> tuple[Job, str | None] | None:
        """A job that can go on, with its server; None where none can now."""
        for _ in range(len(self._waiting)):
            job = self._waiting.popleft()
            if job.looks and job.source not in self._ended:
                self._waiting.append(job)
                continue
            failed = without_tracking(job, self._ended)
            if failed is not None:
                self._end(job, failed)
                continue
            can, server = self._pool.lend(job)
            if can:
                self._lent[job.name] = server
                return job, server
            self._waiting.append(job)
        return None

    def went(self, job: Job, made: Made | None) -> None:
        """A piece of it is done: how the job ended, or None: there is more."""
        self._pool.take_back(self._lent.pop(job.name))
        self._deaths.pop(job.name, None)
        if made is None:
            self._waiting.append(job)
        else:
            self._end(job, made)

    def died(self, job: Job, why: str) -> None:
        """The worker died of it, or beside it."""
        self._pool.take_back(self._lent.pop(job.name))
        self._deaths[job.name] = self._deaths.get(job.name, 0) + 1
        if self._deaths[job.name] < MOST_DEATHS:
            self._waiting.append(job)
            return
        told = f"its worker died {MOST_DEATHS} times in turn ({why}): what is committed is kept"
        self._end(job, Made(job.name, EnvironmentFault.exit_code, None, told))

    def _end(self, job: Job, made: Made) -> None:
        self._ended[job.name] = self._note(job, made)

    def ended(self) -> list[Ended]:
        """How each ended, in order."""
        return [self._ended[job.name] for job in self._jobs]


def work_on_ray(batch: Batch, tell: Tell, piece: Piece, address: str, workers: int | None, gpus: bool) -> list[Ended]:
    """Do every job; as `stream.batch.work.work_through`, by several workers at once.

    Args:
        tell: told a job's name and a line about each of its pieces.
        piece: does a piece; a function that a worker imports by its name.
        address: of a Ray cluster, or "local": one on this machine, for as long as this takes.
        workers: how many; None: one a GPU of the cluster where `gpus`, else one a CPU.
        gpus: whether every worker takes a GPU.

    Raises:
        EnvironmentFault: Ray is not installed, the cluster is not there, or has no room for a worker.
    """
    ray = _connected(address, workers)
    try:
        count = workers or int(ray.cluster_resources().get("GPU" if gpus else "CPU", 0))
        if count < 1:
            raise EnvironmentFault(f"--ray {address}: no {'GPU' if gpus else 'CPU'} in the cluster: give --workers")
        # Ray's own restarts would answer "unavailable" for a while to whoever comes next.
        actor = ray.remote(num_cpus=1, num_gpus=int(gpus), max_restarts=0)(Worker)
        turns = Turns(batch.jobs, done_before(batch), batch.note)
        return _drive(ray, turns, partial(actor.remote, piece), count, batch.folder.absolute(), tell)
    finally:
        ray.shutdown()


def _connected(address: str, workers: int | None) -> Any:
    if importlib.util.find_spec("ray") is None:
        raise EnvironmentFault(f"--ray {address}: Ray is not installed: `pip install skate-physics-preserver[ray]`")
    ray: Any = importlib.import_module("ray")
    quiet = {"log_to_driver": False, "logging_level": "ERROR"}
    try:
        if address == LOCAL:
            ray.init(num_cpus=workers, include_dashboard=False, **quiet)
        else:
            ray.init(address=address, **quiet)
    except (ConnectionError, RuntimeError, ValueError, OSError) as error:
        told = " ".join(str(error).split())[:200]
        raise EnvironmentFault(f"--ray {address}: the cluster cannot be reached ({told})") from error
    return ray


class Worker:
    """A process of its own, for as long as the batch takes: it keeps the weights that it has loaded."""

    def __init__(self, piece: Piece) -> None:
        from stages.sam.model import WARM

        WARM.keep()
        self._piece = piece

    def work(self, job: Job, folder: Path, server: str | None) -> Made | None:
        """Do a piece of a job."""
        return self._piece(job, folder, PIECE_WINDOWS, server)


def _drive(ray: Any, turns: Turns, new_worker: Callable[[], Any], count: int, folder: Path, tell: Tell) -> list[Ended]:
    idle = [new_worker() for _ in range(count)]
    under_way: dict[Any, tuple[Any, Job]] = {}
    while not turns.over:
        while idle and (going := turns.next()) is not None:
            job, server = going
            worker = idle.pop()
            under_way[worker.work.remote(job, folder, server)] = worker, job
        if not under_way:
            continue  # the last ones ended without a worker
        ready = _ready(ray, list(under_way))
        worker, job = under_way.pop(ready)
        try:
            made = ray.get(ready)
        except ray.exceptions.RayError as error:
            why = " ".join(str(error).split())[:200]
            tell(job.name, f"its worker died: {why}")
            turns.died(job, why)
            idle.append(new_worker())
            continue
        idle.append(worker)
        tell(job.name, "a piece is done" if made is None else made.message or "done")
        turns.went(job, made)
    return turns.ended()


def _ready(ray: Any, under_way: Sequence[Any]) -> Any:
    """One of them that has ended.

    Raises:
        EnvironmentFault: when the cluster is gone.
    """
    while True:
        ready, _ = ray.wait(under_way, num_returns=1, timeout=LOOK_SECONDS)
        if ready:
            return ready[0]
        if not any(node["Alive"] for node in ray.nodes()):
            raise EnvironmentFault("the Ray cluster is gone: what is committed is kept, the same command continues")
