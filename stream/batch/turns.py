"""Jobs in turn among workers, and servers among jobs: who goes on next is a pure question. Nothing knows of Ray."""

from collections import defaultdict, deque
from collections.abc import Callable, Mapping, Sequence, Set
from itertools import islice

from storage.errors import EnvironmentFault, GeneratorError
from stream.batch.jobs import Ended, Job
from stream.batch.work import without_tracking
from stream.run.children import Made

MOST_DEATHS = 5  # of a job's workers without a commit between them: then it is the job that kills them
MOST_SERVERS = 5  # that failed a job without a commit between them: then it is the job that fails there

Servers = tuple[str, ...]


class Pool:
    """The servers of all jobs, each lent to one piece at a time, the one that waited longest first.

    One where something failed is lent only where no other is free, until something succeeds there.
    """

    def __init__(self, jobs: Sequence[Job]) -> None:
        self.free: dict[str, None] = {}  # in the order of their turn
        self._own: dict[str, frozenset[str]] = {}
        self._most: dict[str, int] = {}
        self._ailing: set[str] = set()
        same: dict[tuple[str, ...], frozenset[str]] = {}  # by words: with a thousand servers they are long
        most: dict[tuple[str, ...], int] = {}
        for job in jobs:
            if job.words not in same:
                servers = job.given("--server")
                self.free |= dict.fromkeys(servers)
                same[job.words], most[job.words] = frozenset(servers), most_servers(job)
            own = same[job.words]
            if not own and job.looks and not (job.given("--generator") or job.given("--reskin")):
                own = self._own[job.source]  # it goes to those of the run whose tracking it takes
            self._own[job.name], self._most[job.name] = own, most[job.words]

    def own(self, job: Job) -> frozenset[str]:
        """The servers that the job may have."""
        return self._own[job.name]

    def lend(self, job: Job, share: int = 1, tried: Set[str] = frozenset()) -> Servers | None:
        """What the job goes on with now, none of them where it needs none. None: it waits.

        Args:
            share: how many it may have, where it can use several. tried: those that failed it.
        """
        own = self.own(job)
        if not own:
            return ()
        able = (server for server in self.free if server in own and server not in tried)
        found = list(
            islice((server for server in able if server not in self._ailing), min(share, self._most[job.name]))
        )
        waits = tried and any(server not in tried and server not in self._ailing for server in own)
        if not found and not waits:  # what failed once waits for one that is well
            found = list(islice((server for server in self.free if server in own and server not in tried), 1))
        for server in found:
            del self.free[server]
        return tuple(found) or None

    def take_back(self, servers: Servers, well: bool | None) -> None:
        """Behind all others.

        Args:
            well: whether what was done there succeeded; None: nobody knows.
        """
        self.free.update(dict.fromkeys(servers))
        if well is not None:
            (self._ailing.difference_update if well else self._ailing.update)(servers)


def most_servers(job: Job) -> int:
    """How many servers the job can use at a time: one a window under way where windows do not depend on each other, or,
    where shots do not, one a window that waits (`--ahead`)."""
    ahead = job.given("--ahead")
    if ahead:
        return 1 + int(ahead[-1])
    return max(1, len(job.given("--server"))) if "blend" in job.given("--continuity") else 1


class Turns:
    """The jobs, in turn: who goes on next, and what became of the others.

    Those under way go on before others begin: few runs hold working frames at a time, and in the end it is not the last
    pieces of all long clips that are left.

    Args:
        jobs: all, in order. ended: by name those that are done. note: keeps how one ended.
        commits: how many a job's run has; asked where something failed.
    """

    def __init__(
        self,
        jobs: Sequence[Job],
        ended: Mapping[str, Ended],
        note: Callable[[Job, Made], Ended],
        commits: Callable[[Job], int] = lambda job: 0,
    ) -> None:
        self._jobs = jobs
        self._commits = commits
        self._seen: dict[str, int] = {}  # of commits, where something failed last
        self._ended = dict(ended)
        self._note = note
        self._pool = Pool(jobs)
        self._lent: dict[str, Servers] = {}
        self._deaths: dict[str, int] = {}
        self._failed: dict[str, set[str]] = {}
        self._begun: deque[Job] = deque()
        self._waiting: deque[Job] = deque()  # those not begun
        self._without = 0  # how many of those that wait need no server
        self._looks: dict[str, list[Job]] = defaultdict(list)  # by the job whose tracking they wait for
        for job in jobs:
            if job.name not in self._ended:
                if job.looks and job.source not in self._ended:
                    self._looks[job.source].append(job)
                else:
                    self._wait(job, self._waiting)

    @property
    def over(self) -> bool:
        """Whether all have ended."""
        return len(self._ended) == len(self._jobs)

    def next(self, workers: int = 1) -> tuple[Job, Servers] | None:
        """A job that can go on, with its servers; None where none can now.

        Args:
            workers: how many have nothing to do: as many jobs share the servers that are free.
        """
        if not self._without and not self._pool.free:
            return None
        share = max(1, len(self._pool.free) // max(1, min(workers, len(self._begun) + len(self._waiting))))
        for waiting in (self._begun, self._waiting):
            for place, job in enumerate(waiting):
                servers = self._pool.lend(job, share, self._failed.get(job.name, frozenset()))
                if servers is not None:
                    del waiting[place]
                    self._without -= not servers
                    self._lent[job.name] = servers
                    return job, servers
        return None

    def went(self, job: Job, made: Made | None) -> bool:
        """A piece of it is done.

        Args:
            made: how the job ended; None: there is more.

        Returns:
            Whether it has ended: what fails on one server is tried on others.
        """
        servers = self._lent.pop(job.name)
        there = made is not None and made.code == GeneratorError.exit_code
        self._pool.take_back(servers, not there if made is None or there or not made.message else None)
        if made is None:
            self._forgive(job)
            self._wait(job, self._begun)
            return False
        if there:
            self._look(job)
            failed = self._failed.setdefault(job.name, set())
            failed.update(servers)
            if failed < self._pool.own(job) and len(failed) < MOST_SERVERS:
                self._wait(job, self._begun)
                return False
        self._end(job, made)
        return True

    def died(self, job: Job, why: str) -> None:
        """The worker died of it, or beside it."""
        self._pool.take_back(self._lent.pop(job.name), None)
        self._look(job)
        self._deaths[job.name] = self._deaths.get(job.name, 0) + 1
        if self._deaths[job.name] < MOST_DEATHS:
            self._wait(job, self._begun)
            return
        told = f"its worker died {MOST_DEATHS} times in turn ({why}): what is committed is kept"
        self._end(job, Made(job.name, EnvironmentFault.exit_code, None, told))

    def _look(self, job: Job) -> None:
        """Something failed: what failed before does not count where anything was committed since."""
        commits = self._commits(job)
        if commits > self._seen.get(job.name, 0):
            self._forgive(job)
        self._seen[job.name] = commits

    def _forgive(self, job: Job) -> None:
        self._deaths.pop(job.name, None)
        self._failed.pop(job.name, None)

    def _wait(self, job: Job, waiting: deque[Job]) -> None:
        waiting.append(job)
        self._without += not self._pool.own(job)

    def _end(self, job: Job, made: Made) -> None:
        self._ended[job.name] = self._note(job, made)
        for look in self._looks.pop(job.name, []):
            failed = without_tracking(look, self._ended)
            if failed is None:
                self._wait(look, self._waiting)
            else:
                self._end(look, failed)

    def ended(self) -> list[Ended]:
        """How each ended, in order."""
        return [self._ended[job.name] for job in self._jobs]
