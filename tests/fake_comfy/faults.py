"""What goes wrong, and when: by request and by executed prompt, each list used up from the front."""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field

RUN_FAULTS = (
    "drop_websocket",  # all sockets are closed abruptly in the middle of sampling
    "late_history",  # execution_success a while before the history has the entry
    "out_of_memory",
    "disk_full",
    "error",
    "interrupted",  # somebody else presses the cross
    "restart",  # queue, history, cache and connections are gone; answers again after a moment
    "die",  # never answers again
    "hang",  # runs until it is interrupted
    "stale_cache",  # everything is cached: old file names, and the files are gone
    "one_missing",  # a picture fewer
    "drop_in_pictures",  # all sockets are closed abruptly after the third picture that is sent
    "sends_nothing",  # SaveImageWebsocket tells nobody
    "other_previews",  # another node sends PNG previews between the pictures
)


@dataclass
class Faults:
    """The schedule.

    Attributes:
        runs: one entry an executed prompt: a name of RUN_FAULTS, or None for a clean run.
        requests: by path, one entry a request: an HTTP status, "drop" (connection cut before anything is done),
            "lost" (done, but the answer never arrives), a float (seconds of delay), or None.
    """

    runs: deque[str | None] = field(default_factory=deque)
    requests: dict[str, deque[int | float | str | None]] = field(default_factory=dict)

    def on_runs(self, *names: str | None) -> "Faults":
        """Schedule by executed prompt."""
        unknown = {name for name in names if name is not None} - set(RUN_FAULTS)
        if unknown:
            raise ValueError(f"unknown faults {sorted(unknown)}")
        self.runs.extend(names)
        return self

    def on_requests(self, path: str, actions: Iterable[int | float | str | None]) -> "Faults":
        """Schedule by request of a path, e.g. "/upload/image"."""
        self.requests.setdefault(path, deque()).extend(actions)
        return self

    def next_run(self) -> str | None:
        """The fault of the prompt that starts now."""
        return self.runs.popleft() if self.runs else None

    def next_request(self, path: str) -> int | float | str | None:
        """The fault of a request that has come in."""
        queue = self.requests.get(path)
        return queue.popleft() if queue else None
