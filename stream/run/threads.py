"""How many threads torch computes with: as many as the run was begun with, or sums end in other last bits."""

from collections.abc import Iterator
from contextlib import contextmanager

from storage.rundir import Manifest


def threads() -> int:
    """How many it takes now: as many as there are cores that may be used, or `OMP_NUM_THREADS`."""
    import torch

    return torch.get_num_threads()


@contextmanager
def as_begun(manifest: Manifest) -> Iterator[None]:
    """Compute with as many as `run.json` says, until the block ends; a run of an older version says nothing."""
    wanted = manifest.get("threads")
    if wanted is None:
        yield
        return
    import torch

    before = threads()
    torch.set_num_threads(wanted)
    try:
        yield
    finally:
        torch.set_num_threads(before)
