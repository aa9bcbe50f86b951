"""The pictures that nodes of a job give: sent over the websocket, or files that the history names.

    SaveImageWebsocket   sends them while it works; nothing is left on the server
    SaveImage            writes files, which /view gives once the job is done

A node gives its pictures in order. They are decoded in threads while others are on their way.
"""

from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Self

from stages.base import Array
from stages.server.graph import Graph
from stages.server.transport import decode_png
from stages.server.wiring import SENDS_PICTURES
from storage.boundary import MB

Put = Callable[[int, Array], None]
"""Takes a picture by its number: `[h, w, 3]` uint8 RGB. Called from several threads, each number once a submission."""

DECODERS = 2  # pictures decoded side by side
BYTES_PER_PIXEL = 8  # of the largest PNG: four channels of 16 bits, which nothing could compress
BESIDE_PICTURE_BYTES = 16 * MB  # the workflow that ComfyUI writes into a file


def most_bytes(max_pixels: int) -> int:
    """Of a picture of so many pixels; a longer one is none that was asked for."""
    return BYTES_PER_PIXEL * max_pixels + BESIDE_PICTURE_BYTES


def sent(graph: Graph, nodes: Sequence[str]) -> Graph:
    """The graph whose `nodes` send their pictures instead of saving them; the name that these would have had is a
    title, by which a person knows the job."""
    found = dict(graph)
    for node in nodes:
        inputs = graph[node]["inputs"]
        title = {"title": inputs.get("filename_prefix", node)}
        found[node] = {"class_type": SENDS_PICTURES, "_meta": title, "inputs": {"images": inputs["images"]}}
    return found


class Arriving:
    """Pictures on their way. A context manager.

    Args:
        puts: by node, what takes its pictures.
        count: how many each node gives.
        awaited: pixels of the largest one.
        max_pixels: that are decoded at most.
    """

    def __init__(self, puts: Mapping[str, Put], count: int, awaited: int, max_pixels: int) -> None:
        self._puts, self.count, self.awaited, self.max_pixels = puts, count, awaited, max_pixels
        self.came: Counter[str] = Counter()
        self._begun: deque[Future[None]] = deque()
        self._threads = ThreadPoolExecutor(DECODERS, thread_name_prefix="png")

    @property
    def nodes(self) -> tuple[str, ...]:
        """Whose pictures are awaited."""
        return tuple(self._puts)

    @property
    def complete(self) -> bool:
        """Whether all have come."""
        return all(self.came[node] == self.count for node in self._puts)

    def again(self) -> None:
        """All are to come once more."""
        self.finish()
        self.came.clear()

    def take(self, node: str, data: bytes, name: str = "") -> None:
        """A node's next picture. Of other nodes, and beyond the count, none is kept.

        Args:
            data: of its PNG. name: what messages call it.

        Raises:
            GeneratorError: an earlier one is no picture that was asked for.
        """
        put, index = self._puts.get(node), self.came[node]
        if put is None:
            return
        self.came[node] += 1
        if index < self.count:
            if len(self._begun) > DECODERS:
                self._begun.popleft().result()
            self._begun.append(self._threads.submit(self._decode, put, index, data, name or f"{node}[{index}]"))

    def _decode(self, put: Put, index: int, data: bytes, name: str) -> None:
        put(index, decode_png(data, name, self.max_pixels))

    def finish(self) -> None:
        """Wait until all that came are in their places; raises as `take`."""
        while self._begun:
            self._begun.popleft().result()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._threads.shutdown(cancel_futures=True)
