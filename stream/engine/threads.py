"""How many threads torch computes with: as many as the run was begun with, or sums end in other last bits."""

from collections.abc import Iterator
from contextlib import contextmanager


def threads() -> int:
    """How many it takes now: as many as there are cores that may be used, or `OMP_NUM_THREADS`."""
    import torch

    return torch.get_num_threads()


@contextmanager
def computing_with(count: int) -> Iterator[None]:
    """Have torch take so many, until the block ends."""
    import torch

    before = threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
