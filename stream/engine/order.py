"""In which order windows pass through nodes: one that reads ahead works behind, a generator may begin early."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping

from stages.base import Window


def done_by(
    lags: Mapping[str, int], windows: Iterable[Window], work: Callable[[str, Window], None]
) -> Iterator[Window]:
    """Windows that all these nodes have done: one that reads the window after works a window behind the others.

    Args:
        lags: by node, in order, how many windows it works behind. windows: in order.
        work: lets a node do a window.
    """
    most = max(lags.values(), default=0)
    seen: deque[Window] = deque(maxlen=most + 1)
    for window in windows:
        seen.append(window)
        for name, lag in lags.items():
            if lag < len(seen):
                work(name, seen[-1 - lag])
        if len(seen) > most:
            yield seen[0]
    for behind in reversed(range(min(most, len(seen)))):  # the clip has ended: nothing comes behind the last window
        for name, lag in lags.items():
            if most - lag <= behind:
                work(name, seen[-1 - behind])
        yield seen[-1 - behind]


def begun_early(windows: Iterable[Window], ahead: int, begin: Callable[[Window], None]) -> Iterator[Window]:
    """The windows, while as many later ones as `ahead` have been begun."""
    waiting: deque[Window] = deque()
    for window in windows:
        waiting.append(window)
        if ahead:
            begin(window)
        if len(waiting) > ahead:
            yield waiting.popleft()
    yield from waiting
