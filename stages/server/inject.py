"""Writing a window's values into a workflow. Pure functions on the graph."""

from dataclasses import dataclass

from stages.server.workflow import LOADERS, VACE_POSE, Graph, Workflow, by_title, links
from storage.errors import GeneratorError, InputError


@dataclass(frozen=True)
class Values:
    """What goes into a workflow for one window; None leaves the workflow's own value.

    Attributes:
        width, height: pixels, multiples of 16.
        length: frames, 4n+1.
        seed: of the sampler.
        prefix: of the output files; a fresh one for each try, or a cached run answers with the names of old files.
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


@dataclass(frozen=True)
class Files:
    """Names of the uploaded files as the server gave them; the control video may lie in several parts."""

    control: tuple[str, ...]
    mask: str
    pose: tuple[str, ...] = ()
    reference: str | None = None


def inject(workflow: Workflow, values: Values, files: Files) -> Graph:
    """The graph to submit.

    Raises:
        InputError: when a text has to go into an input that is linked to another node, or there is no node for it.
    """
    graph, points = workflow.copy_graph(), workflow.points
    for node in points.vace:
        graph[node]["inputs"].update(width=values.width, height=values.height, length=values.length, batch_size=1)
    if values.strength is not None:
        pose_context = by_title(graph, VACE_POSE)
        for node in points.vace:
            if node != pose_context:
                graph[node]["inputs"]["strength"] = values.strength
    sampler = graph[points.sampler]["inputs"]
    sampler["noise_seed" if "noise_seed" in sampler else "seed"] = values.seed
    for name, value in (("steps", values.steps), ("cfg", values.cfg)):
        if value is not None:
            sampler[name] = value
    _set_text(workflow, graph, points.prompt, "--prompt", values.prompt)
    _set_text(workflow, graph, points.negative, "--negative", values.negative)
    _set_prefix(graph, values.prefix)
    _set_video(graph, points.control, files.control)
    _set_video(graph, points.mask, (files.mask,))
    if points.pose is not None:
        _set_video(graph, points.pose, files.pose)
    if points.reference is not None and files.reference is not None:
        graph[points.reference]["inputs"][LOADERS["LoadImage"]] = files.reference
    return graph


def _set_text(workflow: Workflow, graph: Graph, node: str | None, option: str, text: str | None) -> None:
    if text is None:
        return
    if node is None or not isinstance(graph[node]["inputs"].get("text"), str):
        raise InputError(
            f"{option}: workflow {workflow.name} has no CLIPTextEncode whose text can be set: "
            f"title one 'skate {option.strip('-')}', or leave {option} out"
        )
    graph[node]["inputs"]["text"] = text


def _set_prefix(graph: Graph, prefix: str) -> None:
    """Every node that writes files gets the fresh prefix (SaveImage, and what a user's workflow saves beside it)."""
    for node_id, node in graph.items():
        if isinstance(node["inputs"].get("filename_prefix"), str):
            node["inputs"]["filename_prefix"] = f"{prefix}_{node_id}"


def _set_video(graph: Graph, loader: str, names: tuple[str, ...]) -> None:
    """Point a loader at a file; several parts are loaded by copies of it and joined by ImageBatch (exact: one size)."""
    field = LOADERS.get(graph[loader]["class_type"])
    if field is None:
        raise InputError(f"node {loader} ({graph[loader]['class_type']}) loads no upload: use {', '.join(LOADERS)}")
    graph[loader]["inputs"][field] = names[0]
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
        graph[copies[loader]]["inputs"][field] = name
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
