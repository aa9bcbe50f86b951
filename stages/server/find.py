"""A subject found by a text on one picture, by SAM 3 on a ComfyUI server (`workflows/sam3-detect.json`).

`SAM3_Detect` (comfy_extras/nodes_sam3.py) gives the mask of the one thing that fits the text best, or an empty one.
"""

import copy

from stages.base import Array
from stages.picture import read_mask
from stages.server.client import ComfyClient
from stages.server.follow import execute
from stages.server.graph import Graph
from stages.server.history import images
from stages.server.pictures import most_bytes
from stages.server.transport import encode_png
from stages.server.validate import graph_problems
from storage.errors import GeneratorError, InputError

PICTURE, TEXT, MASK = "skate picture", "skate text", "skate mask"  # titles of the nodes
SUBFOLDER = "skate"  # of the server's input folder


class Finder:
    """Asks one server.

    Args:
        client: of the server. graph: the workflow.

    Raises:
        InputError: the server lacks nodes or the model: each is named.
    """

    def __init__(self, client: ComfyClient, graph: Graph) -> None:
        self._client, self._graph = client, graph
        missing = graph_problems(graph, client.object_info())
        if missing:
            raise InputError(
                f"--find: ComfyUI at {client.address.host} cannot find subjects: {'; '.join(missing)} "
                "(`skate models fetch --for sam3-detect --comfy DIR` there gets the file)"
            )

    def mask(self, picture: Array, text: str) -> Array:
        """`[H, W]` bool: what fits the text on a picture `[H, W, 3]` uint8 RGB; nothing where nothing does.

        Raises:
            GeneratorError: the server failed, or gave something else.
        """
        with self._client.in_time():
            return self._found(picture, text)

    def _found(self, picture: Array, text: str) -> Array:
        client, graph = self._client, copy.deepcopy(self._graph)
        name = client.upload(f"{client.slot}_find.png", encode_png(picture), SUBFOLDER)
        graph[_titled(graph, PICTURE)]["inputs"]["image"] = name
        graph[_titled(graph, TEXT)]["inputs"]["text"] = text
        output = _titled(graph, MASK)
        saved = images(execute(client, graph, frozenset(), lambda step, total: None).entry, output)
        height, width = picture.shape[:2]
        what = f"ComfyUI at {client.address.host}: the mask of '{text[:60]}'"
        data = client.view(saved[0], most_bytes(height * width)) if len(saved) == 1 else None
        if data is None:
            raise GeneratorError(f"{what} is not there: see the server's log")
        found = read_mask(data, what, height * width)
        if found.shape != (height, width):
            raise GeneratorError(f"{what} is {found.shape[1]}x{found.shape[0]}, the picture {width}x{height}")
        return found

    def close(self) -> None:
        """Let the server go."""
        self._client.close()


def _titled(graph: Graph, title: str) -> str:
    """The node of that title; the packaged graph has it."""
    return next(node for node, values in graph.items() if values.get("_meta", {}).get("title") == title)
