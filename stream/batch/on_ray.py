"""Working through a batch with Ray Core: workers that keep weights warm take a few windows of a job at a time.

    driver   jobs in turn --piece--> worker 1 .. N     what a piece hands over: the job's words, and how it ended
    worker   opens the run, goes on from its journal, ends behind some windows; nothing of the clip passes through Ray

State lies in the run directory, so any worker takes the next piece. A worker that dies loses what it had not committed:
another takes its place, and the piece is done again. The folder must be one that all machines see under the same path.
"""

import importlib
import importlib.util
from collections.abc import Callable, Sequence
from functools import partial
from math import ceil
from pathlib import Path
from typing import Any

from storage.errors import EnvironmentFault
from stream.batch.jobs import Batch, Ended, Job
from stream.batch.turns import Servers, Turns
from stream.batch.work import done_before
from stream.engine.arenas import ARENAS, give_back_free_memory
from stream.run.children import Made, Tell

LOCAL = "local"
PIECE_WINDOWS = 8  # a piece: long beside opening a run, short beside what a lost worker may cost
ALLOCATOR = {  # as `skate` itself has it: memory stays flat
    "MALLOC_ARENA_MAX": str(ARENAS), "NUMPY_MADVISE_HUGEPAGE": "0", "OMP_WAIT_POLICY": "passive",
}  # fmt: skip
LOOK_SECONDS = 20.0  # between looks whether the cluster is still there

Piece = Callable[[Job, Path, int, Servers], Made | None]
"""Does so many windows of a job with some of its servers: how it ended, or None: there is more."""


def work_on_ray(batch: Batch, tell: Tell, piece: Piece, address: str, workers: int | None, gpus: bool) -> list[Ended]:
    """Do every job; as `stream.batch.work.work_through`, by several workers at once.

    Args:
        tell: told a job's name and a line about each of its pieces.
        piece: does a piece; a function that a worker imports by its name.
        address: of a Ray cluster, or "local": one on this machine, for as long as this takes.
        workers: how many; None: one a GPU of the cluster where `gpus`, else one a CPU.
        gpus: whether a worker takes a GPU; where there are more workers than GPUs several share one.

    Raises:
        EnvironmentFault: Ray is not installed, the cluster is not there, or has no room for a worker.
    """
    ray = _connected(address, workers)
    try:
        there = int(ray.cluster_resources().get("GPU" if gpus else "CPU", 0))
        count = workers or there
        if count < 1:
            raise EnvironmentFault(f"--ray {address}: no {'GPU' if gpus else 'CPU'} in the cluster: give --workers")
        # Ray's own restarts would answer "unavailable" for a while to whoever comes next.
        environment = {"env_vars": ALLOCATOR}
        actor = ray.remote(
            runtime_env=environment, num_cpus=1, num_gpus=gpus / max(1, ceil(count / max(1, there))), max_restarts=0
        )(Worker)
        turns = Turns(batch.jobs, done_before(batch), batch.note, batch.commits)
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
            # By name: left alone it would join a cluster that runs here, or that once did.
            ray.init(address=LOCAL, num_cpus=workers, include_dashboard=False, **quiet)
        else:
            ray.init(address=address, **quiet)
    except (ConnectionError, RuntimeError, ValueError, OSError) as error:
        told = " ".join(str(error).split())[:200]
        raise EnvironmentFault(
            f"--ray {address}: the cluster cannot be reached ({told}): see that it runs; where "
            "it asks for a token, RAY_AUTH_MODE=token has to be set, and the token"
        ) from error
    return ray


class Worker:
    """A process of its own, for as long as the batch takes: it keeps the weights that it has loaded."""

    def __init__(self, piece: Piece) -> None:
        from stages.sam.model import WARM

        WARM.keep()
        self._piece = piece

    def work(self, job: Job, folder: Path, servers: Servers) -> Made | None:
        """Do a piece of a job."""
        made = self._piece(job, folder, PIECE_WINDOWS, servers)
        give_back_free_memory()
        return made


def _drive(ray: Any, turns: Turns, new_worker: Callable[[], Any], count: int, folder: Path, tell: Tell) -> list[Ended]:
    idle = [new_worker() for _ in range(count)]
    under_way: dict[Any, tuple[Any, Job]] = {}
    while not turns.over:
        while idle and (going := turns.next(len(idle))) is not None:
            job, servers = going
            worker = idle.pop()
            under_way[worker.work.remote(job, folder, servers)] = worker, job
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
        told = "a piece is done" if made is None else made.message or "done"
        tell(job.name, told if turns.went(job, made) or made is None else f"{told}; goes on with another server")
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
