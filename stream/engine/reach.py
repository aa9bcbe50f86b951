"""How far a change reaches: from which window on each node has to be done again when another one's work changes."""

from collections.abc import Container, Mapping, Sequence

from stages.base import Read, Window
from stream.engine.chain import Chain, Node
from stream.engine.windows import beyond_shot, span_of


def void_from(chain: Chain, windows: Sequence[Window], changed: Mapping[str, int]) -> dict[str, int]:
    """By node, the first window that has to be done again.

    A node before the generators that looks into a changed window from the one before is done again there; what reads
    its work stands as long as that does not come out other (`stream.run.settle`).

    Args:
        windows: of the clip, as far as they are decoded.
        changed: by node, the first window in which it may give something else.
    """
    first, other = dict(changed), dict(changed)  # done again; may come out other
    before: tuple[dict[str, int], dict[str, int]] = {}, {}
    while before != (first, other):
        before = dict(first), dict(other)
        for node in chain:
            for index, looks_ahead in _reached(chain, windows, node, other):
                first[node.name] = min(index, first.get(node.name, index))
                if not looks_ahead or node.name in chain.making:
                    other[node.name] = min(index, other.get(node.name, index))
    return first


def with_dropped(chain: Chain, void: Mapping[str, int], dropped: Container[str]) -> dict[str, int]:
    """The same, and from which windows on those have to be done again whose frames these read and that are dropped:
    only the source can give its own anew.

    Args:
        dropped: arrays of which frames are.
    """
    found = dict(void)
    for node in reversed(tuple(chain)):
        for array, read in node.reads if node.name in found else ():
            writer = chain.writer(array)
            if writer is None or writer in void or array not in dropped or chain.is_source(array):
                continue
            first = max(0, found[node.name] + min(0, read.window) - 1)  # a last window looks back further
            found[writer] = min(first, found.get(writer, first))
    return found


def _reached(chain: Chain, windows: Sequence[Window], node: Node, other: Mapping[str, int]) -> list[tuple[int, bool]]:
    """The first windows in which a node reads something other, and whether that is of a window after."""
    found = [(other[name], False) for name in node.facts.values() if name in other]
    for array, read in node.reads:
        writer = chain.writer(array)
        since = other.get(writer or "", len(windows))
        reading = (window for window in windows if _reads(chain, windows, window, array, read, since))
        index = next((window.index for window in reading), None)
        if index is not None:
            found.append((index, read.window > 0))
        elif writer in other:  # what is not decoded yet
            found.append((len(windows), False))
    return found


def _reads(chain: Chain, windows: Sequence[Window], window: Window, array: str, read: Read, since: int) -> bool:
    """Whether a window reads, of this array, what windows from `since` on wrote."""
    port, offset = chain.port(array), 0 if read.span == "context" else read.window
    of = window.index + offset
    beyond = offset and beyond_shot(window, offset, lambda index: windows[index] if index < len(windows) else None)
    if since >= len(windows) or of >= len(windows) or beyond:
        return False
    if port.span == "window":
        return of >= since
    wanted = span_of(windows[of], read)
    return wanted.frames > 0 and wanted.stop > span_of(windows[since], port).start
