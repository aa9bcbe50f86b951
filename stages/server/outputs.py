"""Which node of a graph gives the pictures that were made; where a video is made of them, they are saved instead."""

from collections.abc import Iterable

from stages.server.graph import Graph, above, by_class, by_title, titled
from stages.server.wiring import PICTURE_OUTPUTS, SENDS_PICTURES, VIDEO_OUTPUTS, WIRINGS
from storage.errors import InputError

OUTPUT = "skate output"


def output_node(graph: Graph) -> str | None:
    """The one of that title, else the first that saves pictures of what was made; or one that nothing is linked to yet,
    of which a server tells what it lacks."""
    bare = [node for node in by_class(graph, *PICTURE_OUTPUTS) if not above(graph, node)]
    return by_title(graph, OUTPUT) or next(iter([*_made(graph, PICTURE_OUTPUTS), *bare]), None)


def _made(graph: Graph, classes: Iterable[str]) -> list[str]:
    """The nodes of these classes that show what was made: a preview of the control video hangs on no conditioning."""
    contexts = set(by_class(graph, *(wiring.node for wiring in WIRINGS)))
    return [node for node in by_class(graph, *classes) if contexts.intersection(above(graph, node))]


def save_pictures(graph: Graph, name: str) -> tuple[str, ...]:
    """Have the pictures that a video is made of saved as they are, in place of the video; what is lost by that. Those
    that are sent are saved too: which of the two is done is decided by the server.

    Raises:
        InputError: the title stands on a node that gives neither pictures nor a video.
    """
    for node_id in by_class(graph, SENDS_PICTURES):
        inputs = {**graph[node_id]["inputs"], "filename_prefix": "skate/window"}
        graph[node_id] = {**graph[node_id], "class_type": "SaveImage", "inputs": inputs}
    for node_id in _videos(graph):
        video = graph[node_id]["class_type"]
        pictures = graph[node_id]["inputs"].get(VIDEO_OUTPUTS[video])
        if not isinstance(pictures, list):
            continue
        gone = [node_id, *(node for node in graph if node_id in above(graph, node))]
        called = graph[gone[-1]]["class_type"]
        for node in gone:
            del graph[node]
        graph[node_id] = {
            "class_type": "SaveImage",
            "_meta": {"title": OUTPUT},
            "inputs": {"images": pictures, "filename_prefix": "skate/window"},
        }
        return (
            f"{called} (node {node_id}) makes a video, which loses pixels: SaveImage saves its pictures instead; "
            "the video itself, its rate and its sound are not made",
        )
    output = by_title(graph, OUTPUT)
    if output is not None and not _takes_pictures(graph, output):
        raise InputError(
            f"--workflow {name}: node {output} ({graph[output]['class_type']}), titled '{OUTPUT}', gives no pictures: "
            "give that title to a SaveImage"
        )
    return ()


def _takes_pictures(graph: Graph, node: str) -> bool:
    return isinstance(graph[node]["inputs"].get("images"), list)


def _videos(graph: Graph) -> list[str]:
    """The nodes that make a video of what is wanted; none where its pictures are saved."""
    node = by_title(graph, OUTPUT)
    if node is None:
        return [] if _made(graph, PICTURE_OUTPUTS) else _made(graph, VIDEO_OUTPUTS)
    return [at for at in (node, *above(graph, node)) if graph[at]["class_type"] in VIDEO_OUTPUTS]


def doubts(graph: Graph, titles: Iterable[str]) -> tuple[str, ...]:
    """What a graph leaves open, and how it is taken: several nodes of one title, several that save pictures."""
    named = {title: titled(graph, title) for title in (*titles, OUTPUT)}
    found = [
        f"nodes {', '.join(nodes)} are all titled '{title}': node {nodes[0]} is taken"
        for title, nodes in named.items()
        if len(nodes) > 1
    ]
    saved = [] if named[OUTPUT] else _made(graph, PICTURE_OUTPUTS)
    if len(saved) > 1:
        others = ", ".join(f"{node} ({graph[node]['class_type']})" for node in saved[1:])
        found.append(
            f"the pictures of node {saved[0]} ({graph[saved[0]]['class_type']}) are taken, not those of {others}: "
            f"title the right one '{OUTPUT}'"
        )
    return tuple(found)
