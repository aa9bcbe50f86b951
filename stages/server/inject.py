"""Writing a window's values into a workflow. Pure functions on the graph."""

from collections.abc import Mapping
from dataclasses import dataclass

from stages.server.graph import Graph, Place, by_title, links
from stages.server.wiring import LOADERS, LOADS_ALL, PICTURES
from stages.server.workflow import VACE_POSE, Workflow
from storage.errors import GeneratorError, InputError


@dataclass(frozen=True)
class Crop:
    """A part of a picture, pixels."""

    left: int
    top: int
    width: int
    height: int

    @property
    def edges(self) -> tuple[int, int, int, int]:
        """Left, top, right, bottom."""
        return self.left, self.top, self.left + self.width, self.top + self.height


@dataclass(frozen=True)
class Values:
    """What goes into a workflow for one window; None leaves the workflow's own value.

    Attributes:
        width, height: pixels, multiples of what the model takes.
        length: frames.
        seed: of the sampler.
        prefix: of the output files; a fresh one for each try, or a cached run answers with the names of old files.
        crop: of what is enlarged.
    """

    width: int
    height: int
    length: int
    seed: int
    prefix: str
    prompt: str | None = None
    negative: str | None = None
    steps: int | None = None
    cfg: float | None = None
    strength: float | None = None
    crop: Crop | None = None


Files = Mapping[str, tuple[str, ...]]
"""Names of the uploaded files as the server gave them, by channel; a video may lie in several parts."""


def inject(workflow: Workflow, values: Values, files: Files) -> Graph:
    """The graph to submit. What there is no file for is not linked.

    Raises:
        InputError: when a value has to go where the workflow has no place for it.
    """
    graph, points = workflow.copy_graph(), workflow.points
    sizes = {"width": values.width, "height": values.height, "length": values.length}
    for node in graph.values():
        own = points.wiring.size if node["class_type"] == points.wiring.node else {}
        for name, which in {**own, **points.wiring.size_of.get(node["class_type"], {})}.items():
            node["inputs"][name] = sizes[which]
        if own and "batch_size" in node["inputs"]:
            node["inputs"]["batch_size"] = 1
    if values.strength is not None and points.wiring.strength is not None:
        pose_context = by_title(graph, VACE_POSE)
        for context in points.contexts:
            if context != pose_context:
                graph[context]["inputs"][points.wiring.strength] = values.strength
    for at in points.seed:
        _set(graph, at, values.seed)
    if values.steps is not None:
        set_steps(workflow, graph, values.steps)
    if values.cfg is not None:
        _need(points.cfg, workflow, "--cfg", "a guidance (cfg)")
        for at in points.cfg:
            _set(graph, at, values.cfg)
    _set_text(workflow, graph, points.prompt, "--prompt", values.prompt)
    _set_text(workflow, graph, points.negative, "--negative", values.negative)
    _set_prefix(graph, values.prefix)
    if values.crop is not None and points.crop is not None:
        crop = values.crop
        part = {"x": crop.left, "y": crop.top, "width": crop.width, "height": crop.height}
        graph[points.crop]["inputs"].update(part)
    for channel, loader in points.loaders.items():
        names = files.get(channel, ())
        if names:
            _set_video(graph, loader, names)
        elif channel in points.wiring.takes and channel not in PICTURES:
            for context in points.contexts:
                graph[context]["inputs"].pop(points.wiring.takes[channel], None)
    return graph


def set_steps(workflow: Workflow, graph: Graph, steps: int) -> None:
    """Give every sampler as many steps; where two share them, each keeps its part (the boundary of two experts).

    Raises:
        InputError: the workflow has no place for it.
    """
    _need(workflow.points.steps, workflow, "--steps", "a number of steps")
    for node, name in workflow.points.steps:
        before, inputs = graph[node]["inputs"].get(name), graph[node]["inputs"]
        inputs[name] = steps
        for edge in ("start_at_step", "end_at_step"):
            at = inputs.get(edge)
            if isinstance(at, int) and isinstance(before, int) and 0 < at < before:
                inputs[edge] = min(steps, max(1, (2 * at * steps + before) // (2 * before)))


def _need(places: tuple[Place, ...], workflow: Workflow, option: str, what: str) -> None:
    if not places:
        raise InputError(f"{option}: workflow {workflow.name} has no node that takes {what}: leave {option} out")


def _set(graph: Graph, at: Place, value: object) -> None:
    graph[at[0]]["inputs"][at[1]] = value


def _set_text(workflow: Workflow, graph: Graph, at: Place | None, option: str, text: str | None) -> None:
    if text is None:
        return
    if at is None or not isinstance(graph[at[0]]["inputs"].get(at[1]), str):
        raise InputError(
            f"{option}: workflow {workflow.name} has no CLIPTextEncode whose text can be set: "
            f"title one 'skate {option.strip('-')}', or leave {option} out"
        )
    graph[at[0]]["inputs"][at[1]] = text


def _set_prefix(graph: Graph, prefix: str) -> None:
    """Every node that writes files gets the fresh prefix (SaveImage, and what a user's workflow saves beside it)."""
    for node_id, node in graph.items():
        if isinstance(node["inputs"].get("filename_prefix"), str):
            node["inputs"]["filename_prefix"] = f"{prefix}_{node_id}"


def _set_video(graph: Graph, loader: str, names: tuple[str, ...]) -> None:
    """Point a loader at a file; several parts are loaded by copies of it and joined by ImageBatch (exact: one size)."""
    file_input = LOADERS.get(graph[loader]["class_type"])
    if file_input is None:
        raise InputError(f"node {loader} ({graph[loader]['class_type']}) loads no upload: use {', '.join(LOADERS)}")
    whole = LOADS_ALL.get(graph[loader]["class_type"], {})
    graph[loader]["inputs"].update({name: value for name, value in whole.items() if name in graph[loader]["inputs"]})
    graph[loader]["inputs"][file_input] = names[0]
    if len(names) == 1:
        return
    frames, chain = _frames_output(graph, loader)
    joined: tuple[str, int] = frames
    users = [(node, name) for node in graph for name, source, slot in links(graph[node]) if (source, slot) == frames]
    for index, name in enumerate(names[1:], start=2):
        copies = {old: f"{old}_part{index}" for old in chain}
        for old, new in copies.items():
            node = {"class_type": graph[old]["class_type"], "inputs": dict(graph[old]["inputs"])}
            for input_name, source, slot in links(graph[old]):
                if source in copies:
                    node["inputs"][input_name] = [copies[source], slot]
            graph[new] = node
        graph[copies[loader]]["inputs"][file_input] = name
        batch = f"{loader}_join{index}"
        graph[batch] = {
            "class_type": "ImageBatch",
            "inputs": {"image1": [joined[0], joined[1]], "image2": [copies[frames[0]], frames[1]]},
        }
        joined = (batch, 0)
    for node_id, input_name in users:
        graph[node_id]["inputs"][input_name] = [joined[0], joined[1]]


def _frames_output(graph: Graph, loader: str) -> tuple[tuple[str, int], list[str]]:
    """Where the loader's frames come out, `(node, output)`, and the nodes up to there."""
    if graph[loader]["class_type"] != "LoadVideo":
        return (loader, 0), [loader]
    for node_id, node in graph.items():
        if node["class_type"] == "GetVideoComponents" and any(source == loader for _, source, _ in links(node)):
            return (node_id, 0), [loader, node_id]
    raise GeneratorError(f"node {loader}: no GetVideoComponents takes its video: it cannot be uploaded in parts")
