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
    found = done_before(batch)
    try:
        for job in batch.jobs:
            if job.name in found:
                continue
            made = without_tracking(job, found)
            if made is None:
                made = children.follow(job.name, [*SKATE, *job.command(batch.folder)])
            found[job.name] = batch.note(job, made)
    except BaseException:
        children.stop()
        raise
    return [found[job.name] for job in batch.jobs]


def done_before(batch: Batch) -> dict[str, Ended]:
    """By name those that are done, with the options that they have now."""
    before = batch.ended()
    return {
        job.name: before[job.name]
        for job in batch.jobs
        if job.name in before
        and before[job.name].job == job
        and not before[job.name].message
        and read_status(batch.folder / job.name).state == "done"
    }


def without_tracking(job: Job, found: Mapping[str, Ended]) -> Made | None:
    """How a look ends whose job has failed."""
    if not job.looks or not found[job.source].message:
        return None
    return Made(job.name, found[job.source].code, None, f"takes the tracking of {job.source}, which failed")
