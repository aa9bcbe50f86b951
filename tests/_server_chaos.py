"""A run whose ComfyUI server is killed at random times and started again, and the process of the run as well."""

import random
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from _crash import Case
from _zygote import Ended, Zygote
from fake_comfy.process import ServerProcess

STEPS = 2
MOST_RESUMES = 6
POINTS = tuple(f"generate.{name}" for name in ("begin", "arrays", "state", "journal"))


@dataclass(frozen=True)
class Disturbance:
    """What goes wrong in one trial; times are shares of what an undisturbed run takes.

    Attributes:
        server_kills: when the server is killed. away_seconds: until it is started again.
        elsewhere: then on another port; the run goes on with both named, the dead one first.
        process_kill: when the process of the run is killed, None: it is not. point: a fault point instead.
        patience: seconds the run waits for a dead server (120 without tests).
    """

    server_kills: tuple[float, ...]
    away_seconds: float
    elsewhere: bool
    process_kill: float | None
    point: str | None
    patience: float

    def __str__(self) -> str:
        parts = [f"server at {', '.join(f'{share:.2f}' for share in self.server_kills)}"]
        parts += ["elsewhere"] * self.elsewhere
        parts += [f"process at {self.process_kill:.2f}"] if self.process_kill is not None else []
        parts += [f"process at {self.point}"] if self.point is not None else []
        return ", ".join(parts)


def disturbances(count: int, rng: random.Random, windows: int) -> list[Disturbance]:
    """A third each: the server alone, server and process at random times, server and process at a fault point."""
    found = []
    for index in range(count):
        kind, patience = index % 3, rng.choice((0.3, 4.0, 4.0))
        found.append(
            Disturbance(
                server_kills=tuple(sorted(rng.uniform(0.1, 1.0) for _ in range(rng.choice((1, 1, 2))))),
                away_seconds=rng.uniform(0.0, 0.5),
                elsewhere=index % 4 == 3,
                process_kill=rng.uniform(0.1, 1.0) if kind == 1 else None,
                point=f"{rng.choice(POINTS)}#{rng.randint(1, windows)}" if kind == 2 else None,
                patience=patience,
            )
        )
    return found


@dataclass(frozen=True)
class Outcome:
    """How a trial went: kills of the server, whether the process was killed, exit codes in order, the last run."""

    server_kills: int
    killed: bool
    codes: tuple[int, ...]
    last: Ended

    @property
    def good(self) -> bool:
        """Whether every run ended as it may: killed by us, without a server (5), or well, and the last one well."""
        return self.codes[-1] in (0, 1) and set(self.codes[:-1]) <= {-9, 5} and "Traceback" not in self.last.output


def hasten(patience: float) -> None:
    """In the forked child: wait less long for a dead server, and look more often, than on a real network."""
    from stages.server import client
    from stages.vace.config import ComfyConfig

    def timeouts(self: ComfyConfig) -> client.Timeouts:
        return client.Timeouts(job=self.timeout_s, patience=patience, failover=min(0.3, patience), poll=0.1)

    ComfyConfig.timeouts = timeouts  # type: ignore[method-assign]


def comfy_case(case: Case) -> Case:
    """The same clip and models with the real generator; its servers are named at each start."""
    more = (
        "--generator",
        "comfyui",
        "--prompt",
        "a robot",
        "--steps",
        str(STEPS),
        "--size",
        "96x64",
        "--continuity",
        "tail",
    )
    return Case(case.video, (*case.options, *more))


def start(zygote: Zygote, case: Case, run: Path, addresses: list[str], patience: float = 4.0, **given: object) -> Ended:
    """Begin the run or go on with it, on these servers."""
    servers = [word for address in addresses for word in ("--server", address)]
    hook = ("_server_chaos:hasten", {"patience": patience})
    return zygote.run(case.run(run, *servers), hook=hook, **given)  # type: ignore[arg-type]


class Torment(threading.Thread):
    """Kills the server at the given times and starts it again, until the run it disturbs has ended; once at least."""

    def __init__(self, server: ServerProcess, what: Disturbance, seconds: float) -> None:
        super().__init__()
        self._server, self._what, self._seconds = server, what, seconds
        self._before = server.kills
        self._done = threading.Event()
        self.failure: AssertionError | None = None

    def run(self) -> None:
        """The thread."""
        begun = time.monotonic()
        try:
            for share in self._what.server_kills:
                late = self._done.wait(max(0.0, begun + share * self._seconds - time.monotonic()))
                if late and self._server.kills > self._before:
                    return  # the run has ended; a server that was not killed yet dies before it goes on
                self._server.kill()
                self._done.wait(self._what.away_seconds)
                self._server.start(self._what.elsewhere)
        except AssertionError as error:
            self.failure = error

    def end(self) -> None:
        """Wait for it; the server runs afterwards."""
        self._done.set()
        self.join()
        if self.failure is not None:
            raise self.failure


def disturbed(
    zygote: Zygote, case: Case, server: ServerProcess, run: Path, what: Disturbance, seconds: float
) -> Outcome:
    """Begin a run while server and process are killed, then go on with it until it ends well or `MOST_RESUMES` times.

    Args:
        seconds: what the run takes undisturbed.
    """
    kills, first = server.kills, server.address
    torment = Torment(server, what, seconds)
    after = what.process_kill * seconds if what.process_kill is not None else None
    torment.start()
    ended = start(zygote, case, run, [server.address], what.patience, fault=what.point, kill_after=after)
    torment.end()
    codes, killed = [ended.code], ended.code == -9
    while ended.code not in (0, 1) and len(codes) <= MOST_RESUMES:
        ended = start(zygote, case, run, list(dict.fromkeys([first, server.address])))
        codes.append(ended.code)
    return Outcome(server.kills - kills, killed, tuple(codes), ended)
