"""Working through a batch on this machine, one job after the other."""

from collections.abc import Mapping

from stream.batch.jobs import Batch, Ended, Job
from stream.run.children import SKATE, Children, Made, Tell
from stream.run.status import read_status


def work_through(batch: Batch, tell: Tell) -> list[Ended]:
    """Do every job; returns how each ended, in order. What one fails of stops no other but looks at its tracking.

    A job that is there is continued; one that is done with the same options is passed over. So the same call again does
    nothing twice.

    Args:
        tell: told a job's name and each line of its process.

    Raises:
        KeyboardInterrupt: what is committed is kept.
    """
    children = Children(tell)
    before, found = batch.ended(), dict[str, Ended]()
    try:
        for job in batch.jobs:
            earlier = before.get(job.name)
            if earlier is not None and earlier.job == job and _is_done(batch, earlier):
                found[job.name] = earlier
                continue
            made = _without_tracking(job, found)
            if made is None:
                made = children.follow(job.name, [*SKATE, *job.command(batch.folder)])
            found[job.name] = batch.note(job, made)
    except BaseException:
        children.stop()
        raise
    return list(found.values())


def _is_done(batch: Batch, ended: Ended) -> bool:
    return not ended.message and read_status(batch.folder / ended.job.name).state == "done"


def _without_tracking(job: Job, found: Mapping[str, Ended]) -> Made | None:
    """How a look ends whose job has failed."""
    if not job.looks or not found[job.source].message:
        return None
    return Made(job.name, found[job.source].code, None, f"takes the tracking of {job.source}, which failed")
