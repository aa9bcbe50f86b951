"""Threads that carry attempts out, each with a world of its own; what they find comes in the order of the turns."""

import pkgutil
import tempfile
import threading
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Self

from _zygote import Zygote

from bench.hostile import ROOT, kinds
from bench.hostile.trial import Trial
from bench.hostile.world import World

PACKAGES = ("storage", "stages", "stream")
ALSO = ("bench.hostile.comfy", "bench.command", "_s3", "click._textwrap", "omegaconf", "requests", "safetensors.torch")
AHEAD = 100  # attempts for each thread at most that end before one begun earlier does, such as 40 kills


def modules() -> list[str]:
    """What an attempt may import: imported once, before all of them."""
    found = [item for name in PACKAGES for item in pkgutil.walk_packages([str(ROOT / name)], f"{name}.")]
    return [*(item.name for item in found if not item.name.endswith(".__main__")), *ALSO]


def carried_out(world: World, kind: str, number: int) -> Trial:
    """One attempt."""
    trial = Trial(world, kind, number)
    try:
        kinds.ATTEMPTS[kind](trial, next(world.room(kind)))
    except Exception as error:  # noqa: BLE001 - counted as one that did not hold; the trial goes on
        trial.fail(f"the attempt itself: {type(error).__name__}: {error}")
    for what in trial.wrong:
        print(f"--seed {world.seed} --only {kind} --first {number}: {what}", flush=True)
    return trial


class Workers:
    """So many threads. Used as a context manager; at its end what is at work is waited for."""

    def __init__(self, seed: int, jobs: int) -> None:
        self._seed, self._jobs = seed, jobs
        self._own = threading.local()
        self._stack, self._lock = ExitStack(), threading.Lock()

    def __enter__(self) -> Self:
        self._folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="skate-hostile-")))
        self._pool = ThreadPoolExecutor(self._jobs)
        return self

    def __exit__(self, *error: object) -> None:
        self._pool.shutdown(cancel_futures=True)
        self._stack.close()

    def each(self, turns: Iterator[tuple[str, int]]) -> Iterator[Trial]:
        """Carry out all of them, and give them in their order; some are begun before those before them are given."""
        ahead: deque[Future[Trial]] = deque()
        for kind, number in turns:
            ahead.append(self._pool.submit(self._attempt, kind, number))
            if len(ahead) >= (AHEAD * self._jobs if self._jobs > 1 else 1):
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()

    def _attempt(self, kind: str, number: int) -> Trial:
        if not hasattr(self._own, "world"):
            self._own.world = self._world()
        return carried_out(self._own.world, kind, number)

    def _world(self) -> World:
        zygote = Zygote(modules())
        with self._lock:  # ended in the order of worlds, then of the processes they use
            self._stack.callback(zygote.close)
        world = World(zygote, Path(tempfile.mkdtemp(dir=self._folder)), self._seed)
        with self._lock:
            self._stack.callback(world.close)
        return world
