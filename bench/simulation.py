"""A batch on a cluster that is not there, by discrete events: the same ones for the same seed.

Which job goes on next with which server is decided by the scheduler itself (`stream/batch/turns.py`); what a piece of a
job takes, what fails, and how long it is away then are numbers.
"""

import dataclasses
import heapq
import math
import random
import time
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

from storage.errors import GeneratorError
from stream.batch.jobs import Ended, Job
from stream.batch.on_ray import PIECE_WINDOWS
from stream.batch.turns import Turns
from stream.run.children import Made

MINUTE = 60.0


@dataclasses.dataclass(frozen=True)
class Costs:
    """What things take; seconds, where nothing else is said.

    Attributes:
        generate: a window on a server. before: a window's decoding, pose and tracking. between: from a generated window
            to the next one's begin. behind: what is left of a window then.
        open: a run, at the begin of a piece. finish: a clip: joining, report. dispatch: of the driver, a piece.
        worker_hours, server_hours: between two losses of one. worker_away, server_away: until there is another.
        refused: until a piece whose server is gone says so at its begin. patience: until it does in the middle.
        requests: to the store by kind ("put", "get", ...): a clip, a window, opening a run, and then a window in it.
        spread: of what a piece takes, as a share: its standard deviation.
        stored: bytes that a window sends to the store. kept: of them those that stay.
    """

    generate: float
    before: float
    between: float
    behind: float
    open: float = 0.0
    finish: float = 0.0
    dispatch: float = 0.0
    worker_hours: float = math.inf
    server_hours: float = math.inf
    worker_away: float = 0.0
    server_away: float = 0.0
    refused: float = 10.0
    patience: float = 120.0
    requests: Mapping[str, tuple[float, float, float, float]] = dataclasses.field(default_factory=dict)
    spread: float = 0.0
    stored: float = 0.0
    kept: float = 0.0

    def piece(self, first: int, windows: int, last: bool, slower: float = 1.0) -> tuple[float, list[float]]:
        """What a piece of a clip takes, and when in it each of its windows counts.

        Args:
            first: its first window: all but a clip's own first is tracked before. windows: none where a worker was lost
                at the very end. last: whether the clip ends with it. slower: how many times longer servers take.
        """
        begin = self.open + (0.0 if first else self.before)
        each = max(self.generate * slower + self.between, self.before + self.behind)  # the next is tracked beside
        counts = [begin + (place + 1) * each + self.behind for place in range(windows)]
        return (counts or [begin])[-1] + (self.finish if last else 0.0), counts


@dataclasses.dataclass(frozen=True)
class Piece:
    """One that is under way: of which job, where, from when, and when in it its windows count."""

    job: Job
    servers: tuple[str, ...]
    begun: float
    counts: Sequence[float]


class Simulation:
    """A batch on a cluster.

    Args:
        clips: the windows of each. servers, workers: how many. seed: of what fails when.

    Attributes:
        now: seconds since it began. generated: of servers, on windows that count. worked: of workers, on pieces.
        full_until: when a worker and a server had nothing to do first. requests, by_minute: to the store.
        lost: what failed how often; and seconds of servers. thinking: this process's seconds in the scheduler.
    """

    def __init__(self, clips: Sequence[int], servers: int, workers: int, costs: Costs, seed: int = 1) -> None:
        names = [f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}:8188" for number in range(servers)]
        words = tuple(word for name in names for word in ("--server", name))
        jobs = [Job(f"clip{number}", "clip.mp4", words) for number in range(len(clips))]
        self.costs, self.workers = costs, workers
        began = time.perf_counter()
        self._turns = Turns(
            jobs, {}, lambda job, made: Ended(job, made.code, message=made.message), lambda job: self._done[job.name]
        )
        self.thinking = time.perf_counter() - began
        self._done = dict.fromkeys((job.name for job in jobs), 0)
        self._windows = dict(zip(self._done, clips, strict=True))
        self.now = self.generated = self.worked = 0.0
        self.full_until = math.inf
        self.pieces = 0
        self.requests: defaultdict[str, float] = defaultdict(float)
        self.by_minute: defaultdict[int, float] = defaultdict(float)
        self.lost: Counter[str] = Counter()
        self._driver_free = 0.0
        self._chance = random.Random(seed)
        self._away = dict.fromkeys(names, 0.0)  # until when
        self._fails = {name: self._chance_of(costs.server_hours) for name in names}
        self._events: list[tuple[float, int, str, Piece | None]] = []
        self._number = 0

    def _chance_of(self, hours: float) -> float:
        return math.inf if math.isinf(hours) else self._chance.expovariate(1 / (hours * 3600))

    def _at(self, when: float, what: str, piece: Piece | None = None) -> None:
        self._number += 1
        heapq.heappush(self._events, (when, self._number, what, piece))

    def run(self) -> "Simulation":
        """Until all clips have ended; returns itself."""
        idle = self.workers
        while not self._turns.over:
            while idle:
                began = time.perf_counter()
                going = self._turns.next(idle)
                self.thinking += time.perf_counter() - began
                if going is None:
                    self.full_until = min(self.full_until, self.now)
                    break
                idle -= 1
                self._begin(*going)
            self.now, _, what, piece = heapq.heappop(self._events)
            idle += 1 if piece is None else self._ended(what, piece)
        return self

    def _begin(self, job: Job, servers: tuple[str, ...]) -> None:
        """What will become of a piece that a worker is given now."""
        self._driver_free = max(self.now, self._driver_free) + self.costs.dispatch  # one after the other
        begun, costs, first = self._driver_free, self.costs, self._done[job.name]
        left = self._windows[job.name] - first
        slower = max(0.5, self._chance.gauss(1.0, costs.spread))
        took, counts = costs.piece(first, min(PIECE_WINDOWS, left), left <= PIECE_WINDOWS, slower)
        piece = Piece(job, servers, begun, counts)
        self.pieces += 1
        self._ask(begun, {kind: opening + there * first for kind, (_, _, opening, there) in costs.requests.items()})
        fails = {server: self._failing(server, begun) for server in servers}
        dies, server = begun + self._chance_of(costs.worker_hours), min(fails, key=fails.__getitem__)
        if any(self._away[each] > begun for each in servers):
            self._at(begun + costs.refused, "refused", piece)
        elif min(dies, fails[server]) >= begun + took:
            self._at(begun + took, "done", piece)
        elif dies < fails[server]:
            self._at(dies, "worker lost", piece)
        else:
            self._away[server] = fails[server] + costs.server_away
            self._fails[server] = self._away[server] + self._chance_of(costs.server_hours)
            self._at(fails[server] + costs.patience, "server lost", piece)

    def _failing(self, server: str, now: float) -> float:
        """When it fails next; what failed while nobody used it is away from then on."""
        while self._fails[server] < now:
            self._away[server] = self._fails[server] + self.costs.server_away
            self._fails[server] = self._away[server] + self._chance_of(self.costs.server_hours)
        return self._fails[server]

    def _ended(self, what: str, piece: Piece) -> int:
        """Tell the scheduler; how many workers have nothing to do then."""
        costs, name = self.costs, piece.job.name
        until = self.now - piece.begun - (costs.patience if what == "server lost" else 0.0)
        done = 0 if what == "refused" else sum(when <= until + 1e-6 for when in piece.counts)
        self._done[name] += done
        over = self._done[name] == self._windows[name] and what == "done"
        self.worked += self.now - piece.begun
        self.generated += done * costs.generate
        for when in piece.counts[:done]:
            self._ask(piece.begun + when, {kind: window for kind, (_, window, _, _) in costs.requests.items()})
        self._ask(self.now, {kind: clip * over for kind, (clip, _, _, _) in costs.requests.items()})
        if what == "done":
            self._turns.went(piece.job, Made(name, 0, {}, "") if over else None)
            return 1
        self.lost[what] += 1
        self.lost["server seconds"] += round(self.now - piece.begun - done * costs.generate)
        if what == "worker lost":
            self._turns.died(piece.job, what)
            self._at(self.now + costs.worker_away, "worker")
            return 0
        if self._turns.went(piece.job, Made(name, GeneratorError.exit_code, None, what)):
            self.lost["clips given up"] += 1
        return 1

    def _ask(self, when: float, requests: Mapping[str, float]) -> None:
        for kind, count in requests.items():
            self.requests[kind] += count
        self.by_minute[int(when // MINUTE)] += sum(requests.values())
