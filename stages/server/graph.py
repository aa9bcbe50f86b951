"""Reading a graph in ComfyUI's API format: nodes by id, and the links between them. Pure functions."""

from collections.abc import Iterator, Mapping
from typing import Any

Json = Any
Graph = dict[str, dict[str, Json]]
Place = tuple[str, str]
"""A node's id and one of its inputs."""


def links(node: Mapping[str, Json]) -> Iterator[tuple[str, str, int]]:
    """`(input name, linked node, its output)` of every input that is a link."""
    for name, value in node["inputs"].items():
        if isinstance(value, list) and len(value) == 2 and isinstance(value[1], int):
            yield name, str(value[0]), value[1]


def titled(graph: Graph, title: str) -> list[str]:
    """The nodes of this title, in any case."""
    found = []
    for node_id, node in graph.items():
        meta = node.get("_meta")
        if isinstance(meta, dict) and str(meta.get("title", "")).strip().lower() == title:
            found.append(node_id)
    return found


def by_title(graph: Graph, title: str) -> str | None:
    """The first node of this title, in any case."""
    return next(iter(titled(graph, title)), None)


def by_class(graph: Graph, *classes: str) -> list[str]:
    """Nodes of these classes, in the file's order."""
    return [node_id for node_id, node in graph.items() if node["class_type"] in classes]


def above(graph: Graph, node_id: str, input_name: str | None = None) -> list[str]:
    """The nodes that feed an input, or any of a node's inputs; breadth first, the nearest first."""
    queue = [source for name, source, _ in links(graph[node_id]) if input_name in (None, name)]
    found = list(dict.fromkeys(queue))
    queue = list(found)
    while queue:
        for _, source, _ in links(graph[queue.pop(0)]):
            if source not in found:
                found.append(source)
                queue.append(source)
    return found


def upstream(graph: Graph, node_id: str, input_name: str, classes: tuple[str, ...]) -> str | None:
    """The nearest node of these classes that feeds an input."""
    return next((node for node in above(graph, node_id, input_name) if graph[node]["class_type"] in classes), None)


def users(graph: Graph, node_id: str, output: int) -> list[Place]:
    """Where an output goes in."""
    return [
        (node, name)
        for node in graph
        for name, source, slot in links(graph[node])
        if (source, slot) == (node_id, output)
    ]


def free_id(graph: Graph, wanted: str) -> str:
    """An id that no node has: `wanted`, or with a number behind it."""
    name, count = wanted, 1
    while name in graph:
        count += 1
        name = f"{wanted}{count}"
    return name
