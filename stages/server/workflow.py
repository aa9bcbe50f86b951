"""Workflow files: reading, recognising the UI's own format, and finding the nodes that values go into.

A node is found by its title first (`_meta.title`), then by class type: the loader that feeds an input is found by
following the links upwards from the node that takes the control video, because a graph has several loaders of one
class. Which classes take what stands in `wiring`.
"""

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from stages.server.graph import Graph, Place, above, by_class, by_title, links, titled, upstream
from stages.server.outputs import OUTPUT, doubts, output_node, save_pictures
from stages.server.wiring import (
    LOADERS,
    PICTURES,
    SAMPLERS,
    TEXTS,
    TITLES,
    VIDEO_LOADERS,
    WIRINGS,
    SamplerInputs,
    Wiring,
)
from storage.boundary import parse, read_input
from storage.errors import InputError

Json = Any

PROMPT, NEGATIVE, SAMPLER = "skate prompt", "skate negative", "skate sampler"
VACE, VACE_POSE = "skate vace", "skate vace pose"
CROP, ENLARGED = "skate crop", "skate enlarged"
MAX_DEPTH = 100
"""Levels of a workflow file; real ones have about 8."""


@dataclass(frozen=True)
class Points:
    """The places that values are injected into.

    Attributes:
        wiring: what the graph's conditioning node takes.
        contexts: the nodes of that class, the one that takes the masks first.
        loaders: channel -> node that loads it.
        samplers: those that make the output, in the file's order.
        seed, steps, cfg: a place for each sampler that has one.
        output: the node whose pictures are fetched.
        prompt, negative: where the texts go; None where a graph has no such place.
        crop, enlarged: the node that cuts out what is enlarged, and the one whose enlarged pictures are fetched; None
            where nothing is enlarged.
    """

    wiring: Wiring
    contexts: tuple[str, ...]
    loaders: Mapping[str, str]
    samplers: tuple[str, ...]
    output: str
    seed: tuple[Place, ...] = ()
    steps: tuple[Place, ...] = ()
    cfg: tuple[Place, ...] = ()
    prompt: Place | None = None
    negative: Place | None = None
    crop: str | None = None
    enlarged: str | None = None


@dataclass(frozen=True)
class Workflow:
    """A workflow in API format and its injection points.

    Attributes:
        notes: what a person should know of how it is taken, a line each.
    """

    name: str
    graph: Graph
    points: Points
    notes: tuple[str, ...] = field(default=())

    def copy_graph(self) -> Graph:
        """A graph to write values into."""
        return copy.deepcopy(self.graph)


def loads_lora(workflow: Workflow) -> bool:
    """Whether any node of it loads a LoRA, of whatever package the node is."""
    return any("lora" in node["class_type"].lower() for node in workflow.graph.values())


def load_workflow(path: Path, name: str | None = None) -> Workflow:
    """Read a workflow file.

    Args:
        path: of the file.
        name: what messages call it; its path without.

    Raises:
        InputError: when it cannot be read, is in the UI's format, or lacks a node that values go into.
    """
    text = read_input(path, f"--workflow {path}", "give a workflow's JSON")
    data: Json = parse(text, object, f"--workflow {path}", InputError, "use Workflow > Export (API)")
    _check_depth(data, str(path))
    return parse_workflow(data, name or str(path))


def _check_depth(data: Json, name: str) -> None:
    """Refuse, as the parser does at about 1000 levels, what copying and sending would be too deep for."""
    level = [data]
    for _ in range(MAX_DEPTH):
        inner = [item.values() if isinstance(item, dict) else item for item in level if isinstance(item, (dict, list))]
        if not inner:
            return
        level = [value for values in inner for value in values]
    raise InputError(f"--workflow {name}: nested more than {MAX_DEPTH} levels deep: use Workflow > Export (API)")


def parse_workflow(data: Json, name: str) -> Workflow:
    """Check the form of a workflow and find its injection points.

    A graph that ends in a video gets a SaveImage for the video's pictures, since they are wanted as they are.

    Raises:
        InputError: as `load_workflow`.
    """
    if isinstance(data, dict) and isinstance(data.get("nodes"), list):
        raise InputError(
            f"--workflow {name}: saved in the ComfyUI editor's own format, which servers do not run: "
            "open it in ComfyUI and choose Workflow > Export (API)"
        )
    if isinstance(data, dict) and isinstance(data.get("prompt"), dict):
        data = data["prompt"]
    if not isinstance(data, dict) or not data or not all(_is_node(node) for node in data.values()):
        raise InputError(
            f"--workflow {name}: not in ComfyUI's API format (an object of nodes with class_type and inputs): "
            "choose Workflow > Export (API) in ComfyUI"
        )
    graph: Graph = {str(key): copy.deepcopy(node) for key, node in data.items()}
    _check_links(graph, name)
    notes = save_pictures(graph, name)
    notes += doubts(graph, (*TITLES.values(), PROMPT, NEGATIVE))
    return Workflow(name, graph, find_points(graph, name), notes)


def _is_node(node: Json) -> bool:
    return isinstance(node, dict) and isinstance(node.get("class_type"), str) and isinstance(node.get("inputs"), dict)


def _check_links(graph: Graph, name: str) -> None:
    for node_id, node in graph.items():
        for input_name, source, _ in links(node):
            if source not in graph:
                at = f"node {node_id}, input {input_name}"
                raise InputError(f"--workflow {name}: {at}: links to {source}, which is not in it: export it again")


def find_points(graph: Graph, name: str) -> Points:
    """The places of a graph that values go into.

    Raises:
        InputError: naming every one that it lacks.
    """
    output = output_node(graph)
    samplers = _samplers(graph, output)
    wiring, contexts = _contexts(graph)
    loaders = {} if not contexts else _loaders(graph, wiring, contexts[0])
    missing = [] if contexts else [f"{wiring.node} (title '{VACE}')"]
    missing += [
        f"a LoadVideo that feeds its {wiring.takes[channel]} (title '{TITLES[channel]}')"
        for channel in wiring.needed
        if channel not in loaders and channel not in ("reference", "reference mask")
    ]
    missing += [] if samplers else [f"KSampler (title '{SAMPLER}')"]
    missing += [] if output else [f"SaveImage (title '{OUTPUT}')"]
    if missing or output is None:
        raise InputError(
            f"--workflow {name}: lacks {'; '.join(missing)}: see workflows/README.md for what is filled in"
        )
    prompt = _text(graph, contexts[0], samplers, PROMPT, "positive", 0)
    negative = _text(graph, contexts[0], samplers, NEGATIVE, "negative", 1)
    return Points(
        wiring=wiring,
        contexts=tuple(contexts),
        loaders=loaders,
        samplers=samplers,
        output=output,
        seed=_places(graph, samplers, "seed"),
        steps=_places(graph, samplers, "steps"),
        cfg=_places(graph, samplers, "cfg"),
        prompt=prompt,
        negative=None if negative == prompt else negative,  # ConditioningZeroOut hangs on the encoder of the prompt
        crop=by_title(graph, CROP),
        enlarged=by_title(graph, ENLARGED),
    )


def _samplers(graph: Graph, output: str | None) -> tuple[str, ...]:
    """The samplers of that title, else those that the output hangs on, else the first that there is."""
    named = titled(graph, SAMPLER)
    made_by = [node for node in by_class(graph, *SAMPLERS) if output is not None and node in above(graph, output)]
    return tuple(named or made_by or by_class(graph, *SAMPLERS)[:1])


def _contexts(graph: Graph) -> tuple[Wiring, list[str]]:
    """The graph's conditioning nodes, the one that takes the masked source first; where it has none, VACE's wiring."""
    for wiring in WIRINGS:
        nodes = by_class(graph, wiring.node)
        if nodes:
            first = by_title(graph, VACE)
            masked = [node for node in nodes if wiring.takes.get("mask") in graph[node]["inputs"]]
            ordered = [*([first] if first in nodes else []), *masked, *nodes]
            return wiring, [node for node in dict.fromkeys(ordered) if node is not None]
    return WIRINGS[0], []


def _loaders(graph: Graph, wiring: Wiring, first: str) -> dict[str, str]:
    found = {channel: by_title(graph, title) for channel, title in TITLES.items()}
    for channel, input_name in wiring.takes.items():
        kinds = tuple(LOADERS) if channel in PICTURES else VIDEO_LOADERS
        found[channel] = found[channel] or upstream(graph, first, input_name, kinds)
    return {channel: node for channel, node in found.items() if node is not None}


def _inputs_of(sampler: Mapping[str, Json]) -> SamplerInputs:
    """Those of its class; of a class that is not known, what its inputs look like."""
    like = "KSamplerAdvanced" if "noise_seed" in sampler["inputs"] else "KSampler"
    return SAMPLERS.get(sampler["class_type"], SAMPLERS[like])


def _places(graph: Graph, samplers: tuple[str, ...], value: str) -> tuple[Place, ...]:
    found = []
    for sampler in samplers:
        at = getattr(_inputs_of(graph[sampler]), value)
        if isinstance(at, str):
            found.append((sampler, at))
            continue
        link, name = at
        holder = next((node for node in above(graph, sampler, link) if name in graph[node]["inputs"]), None)
        if holder is not None:
            found.append((holder, name))
    return tuple(dict.fromkeys(found))


def _text(graph: Graph, context: str, samplers: tuple[str, ...], title: str, link: str, which: int) -> Place | None:
    """Where a text goes: the encoder of that title, else the one that feeds the conditioning, else the sampler."""
    node = by_title(graph, title) or upstream(graph, context, link, tuple(TEXTS))
    for sampler in samplers:
        for name in (link, _inputs_of(graph[sampler]).text):
            node = node or upstream(graph, sampler, name, tuple(TEXTS))
    if node is None or graph[node]["class_type"] not in TEXTS:
        return None if node is None else (node, "text")
    return node, TEXTS[graph[node]["class_type"]][which]
