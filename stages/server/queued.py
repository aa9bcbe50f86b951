"""Jobs in a server's queue: what they are called, and where they stand."""

import uuid
from dataclasses import dataclass
from typing import Literal

from stages.server.answers import Listed


@dataclass(frozen=True)
class Place:
    """Where a job stands in the server's queue.

    Attributes:
        state: running or pending.
        others_running: whether the server works on somebody's job right now that is not this one.
    """

    state: Literal["running", "pending"]
    others_running: bool


@dataclass(frozen=True)
class Job:
    """A job's names.

    Attributes:
        prompt_id: a UUID in its canonical form, which newer servers demand. Before 0.3.45 a server passes it over and
            chooses one itself: the one in its answer is the job's.
        client_id: of the websocket that listens for this job alone; whatever the server calls the job, this stays.
    """

    prompt_id: str
    client_id: str

    def is_listed(self, item: Listed) -> bool:
        """Whether an item of the queue or the history is this job."""
        return item.prompt_id == self.prompt_id or item.extra.client_id == self.client_id


def new_job() -> Job:
    """Names that nobody used yet."""
    return Job(str(uuid.uuid4()), uuid.uuid4().hex)
