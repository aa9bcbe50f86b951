"""Changing a workflow before it is filled in: other model files, LoRAs, settings, a reference. Pure functions."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from stages.server.graph import Graph, above, by_class, free_id, users
from stages.server.inject import set_steps
from stages.server.lora import Lora
from stages.server.wiring import LORA_NODES, MODEL_LOADERS, SHIFTS, TITLES, LoraNode
from stages.server.workflow import CROP, ENLARGED, Workflow, find_points
from storage.errors import InputError, UsageError

GGUF = ".gguf"
EXPERTS = ("high", "low")
"""Words in the names of files for one of Wan 2.2's two experts."""
DEPTH_NODE = "DepthAnythingV2Preprocessor"  # of Fannovel16/comfyui_controlnet_aux
SAMPLING = ("sampler_name", "scheduler")


def _edited(workflow: Workflow, graph: Graph, *notes: str) -> Workflow:
    points = find_points(graph, workflow.name)
    return replace(workflow, graph=graph, points=points, notes=(*workflow.notes, *notes))


def model_loaders(workflow: Workflow) -> list[str]:
    """The nodes that load what is sampled: the first sampler's first."""
    found = []
    for sampler in workflow.points.samplers:
        found += [node for node in above(workflow.graph, sampler) if _loads_model(workflow.graph, node)]
    return list(dict.fromkeys(found or [node for node in workflow.graph if _loads_model(workflow.graph, node)]))


def _loads_model(graph: Graph, node: str) -> bool:
    return graph[node]["class_type"] in MODEL_LOADERS


def with_models(workflow: Workflow, files: Sequence[str]) -> Workflow:
    """The workflow with other model files; a GGUF file brings the loader that reads it.

    Args:
        files: one, or one a loader (two experts: the one for high noise first).

    Raises:
        UsageError: another number of files than loaders. InputError: the workflow loads no model that is known.
    """
    if not files:
        return workflow
    loaders = model_loaders(workflow)
    if not loaders:
        known = ", ".join(MODEL_LOADERS)
        raise InputError(f"--model: workflow {workflow.name} has none of the nodes {known}: change the file in it")
    if len(files) != len(loaders):
        named = ",".join(f"FILE{index + 1}" for index in range(len(loaders)))
        raise UsageError(
            f"--model {','.join(files)}: {workflow.name} loads {len(loaders)} models: give --model {named}"
        )
    graph = workflow.copy_graph()
    for node, file in zip(loaders, files, strict=True):
        if file.endswith(GGUF) and graph[node]["class_type"] == "UNETLoader":
            graph[node]["class_type"] = "UnetLoaderGGUF"
            graph[node]["inputs"] = {"unet_name": file}
        elif not file.endswith(GGUF) and graph[node]["class_type"].startswith("UnetLoaderGGUF"):
            graph[node]["class_type"] = "UNETLoader"
            graph[node]["inputs"] = {"unet_name": file, "weight_dtype": "default"}
        else:
            graph[node]["inputs"][MODEL_LOADERS[graph[node]["class_type"]]] = file
    return _edited(workflow, graph)


def with_loras(workflow: Workflow, loras: Sequence[Lora]) -> Workflow:
    """The workflow with LoRAs: loaders that it has take the first ones, others are put behind the model's loader.

    A file with `high` or `low` in its name goes to that one of two experts, every other one to both.

    Raises:
        InputError: the workflow loads no model that is known.
    """
    if not loras:
        return workflow
    graph = workflow.copy_graph()
    loaders = model_loaders(workflow)
    if not loaders:
        raise InputError(f"--lora: workflow {workflow.name} has no model loader that is known: add the LoRA in it")
    for index, loader in enumerate(loaders):
        kind = LORA_NODES[graph[loader]["class_type"]]
        fitting = [item for item in loras if len(loaders) == 1 or _expert(item.file) in (None, index)]
        there = [node for node in by_class(graph, kind.node) if _between(graph, loader, node, kind)]
        for node, item in zip(there, fitting, strict=False):
            graph[node]["inputs"].update({kind.file: item.file, kind.strength: item.strength})
        _insert(graph, loader, kind, fitting[len(there) :])
    return _edited(workflow, graph)


def _expert(file: str) -> int | None:
    """Which of two experts a file is for, by a word of its name; None where it is for both."""
    words = file.lower().replace("-", "_").replace(".", "_").split("_")
    return next((index for index, name in enumerate(EXPERTS) if name in words or f"{name}noise" in words), None)


def _between(graph: Graph, loader: str, node: str, kind: LoraNode) -> bool:
    """Whether a LoRA's node belongs to this model."""
    return node in above(graph, loader) if kind.into is not None else loader in above(graph, node)


def _insert(graph: Graph, loader: str, kind: LoraNode, loras: Sequence[Lora]) -> None:
    """Put LoRAs behind those that are there, in the order given."""
    for item in loras:
        node = free_id(graph, f"{loader}_lora")
        inputs: dict[str, Any] = {kind.file: item.file, kind.strength: item.strength}
        if kind.into is None:
            last = _last_lora(graph, loader, kind)
            for at, name in users(graph, last, 0):
                graph[at]["inputs"][name] = [node, 0]
            inputs[kind.previous] = [last, 0]
        else:
            there = graph[loader]["inputs"].get(kind.into)
            if isinstance(there, list):
                inputs[kind.previous] = there
            graph[loader]["inputs"][kind.into] = [node, 0]
        graph[node] = {"class_type": kind.node, "_meta": {"title": f"LoRA {item}"}, "inputs": inputs}


def _last_lora(graph: Graph, loader: str, kind: LoraNode) -> str:
    """The loader, or the last of the LoRAs that hang on it one behind the other."""
    following = next((at for at, _ in users(graph, loader, 0) if graph[at]["class_type"] == kind.node), None)
    return loader if following is None else _last_lora(graph, following, kind)


@dataclass(frozen=True)
class Settings:
    """How a recipe samples; None leaves what the graph has.

    Attributes:
        steps, cfg: of the sampler. shift: of the schedule.
        sampler, scheduler: by the sampler node's own names.
        loras: files that these settings are made for.
        source: where the values come from.
    """

    steps: int | None = None
    cfg: float | None = None
    shift: float | None = None
    sampler: str | None = None
    scheduler: str | None = None
    loras: tuple[Lora, ...] = ()
    source: str = ""


def with_settings(workflow: Workflow, settings: Settings) -> Workflow:
    """The workflow sampling so, its LoRAs included."""
    graph = workflow.copy_graph()
    if settings.steps is not None:
        set_steps(workflow, graph, settings.steps)
    for node, name in workflow.points.cfg if settings.cfg is not None else ():
        graph[node]["inputs"][name] = settings.cfg
    for node, name in _shifts(graph) if settings.shift is not None else ():
        graph[node]["inputs"][name] = settings.shift
    for node in workflow.points.samplers:
        for name, value in zip(SAMPLING, (settings.sampler, settings.scheduler), strict=True):
            if value is not None and name in graph[node]["inputs"]:
                graph[node]["inputs"][name] = value
    return with_loras(_edited(workflow, graph), settings.loras)


def _shifts(graph: Graph) -> Iterator[tuple[str, str]]:
    for node_id, node in graph.items():
        if node["class_type"] in SHIFTS:
            yield node_id, SHIFTS[node["class_type"]]


def with_reference(workflow: Workflow) -> Workflow:
    """The workflow with a loader for a picture of the new look, where its model takes one and it has none yet."""
    taken = workflow.points.wiring.takes.get("reference")
    if taken is None or "reference" in workflow.points.loaders:
        return workflow
    graph = workflow.copy_graph()
    node = free_id(graph, "reference")
    title = {"title": TITLES["reference"]}
    graph[node] = {"class_type": "LoadImage", "_meta": title, "inputs": {"image": "skate_reference.png"}}
    for context in workflow.points.contexts:  # on both contexts or on neither: it adds a latent to each
        graph[context]["inputs"][taken] = [node, 0]
    return _edited(workflow, graph)


def with_depth(workflow: Workflow) -> Workflow:
    """The workflow with the object's depth laid over the control video: made by a node of the server, of the source.

    Raises:
        InputError: its model takes no control video that a guide could stand in.
    """
    taken = workflow.points.wiring.takes.get("control")
    if taken is None:
        raise InputError(f"--object-guide depth: {workflow.name} takes no control video: give another guide, or none")
    graph = workflow.copy_graph()
    control = graph[workflow.points.contexts[0]]["inputs"][taken]
    source, objects = _video(graph, "source"), _video(graph, "objects")

    def add(name: str, kind: str, **inputs: Any) -> str:
        node = free_id(graph, name)
        graph[node] = {"class_type": kind, "_meta": {"title": name.replace("_", " ")}, "inputs": inputs}
        return node

    depth = add("depth", DEPTH_NODE, image=[source, 0], ckpt_name="depth_anything_v2_vits.pth", resolution=512)
    mask = add("object_mask", "ImageToMask", image=[objects, 0], channel="red")
    laid = add(
        "depth_of_the_object", "ImageCompositeMasked", destination=control, source=[depth, 0], mask=[mask, 0],
        x=0, y=0, resize_source=True,
    )  # fmt: skip
    graph[workflow.points.contexts[0]]["inputs"][taken] = [laid, 0]
    return _edited(workflow, graph)


def with_upscale(workflow: Workflow, model: str) -> Workflow:
    """The workflow with a part of its pictures enlarged by a model of the server's `models/upscale_models` and saved
    beside them; `inject` tells which part."""
    graph, output = workflow.copy_graph(), workflow.points.output
    loader, cut, larger, saver = (free_id(graph, name) for name in ("upscale_model", "crop", "upscaled", "enlarged"))
    pictures = graph[output]["inputs"]["images"]
    new: dict[str, tuple[str, str, dict[str, Any]]] = {
        loader: ("UpscaleModelLoader", loader, {"model_name": model}),
        cut: ("ImageCrop", CROP, {"image": pictures, "width": 16, "height": 16, "x": 0, "y": 0}),
        larger: ("ImageUpscaleWithModel", larger, {"upscale_model": [loader, 0], "image": [cut, 0]}),
        saver: ("SaveImage", ENLARGED, {"images": [larger, 0], "filename_prefix": "skate/enlarged"}),
    }
    for node, (kind, title, inputs) in new.items():
        graph[node] = {"class_type": kind, "_meta": {"title": title}, "inputs": inputs}
    return _edited(workflow, graph)


def _video(graph: Graph, channel: str) -> str:
    """Add a loader for a channel; the node that gives its frames."""
    loader, frames = free_id(graph, channel), free_id(graph, f"{channel}_frames")
    title = {"title": TITLES[channel]}
    graph[loader] = {"class_type": "LoadVideo", "_meta": title, "inputs": {"file": f"skate_{channel}.mkv"}}
    components = {"class_type": "GetVideoComponents", "_meta": {"title": f"{channel} frames"}}
    graph[frames] = {**components, "inputs": {"video": [loader, 0]}}
    return frames


def model_files(graph: Mapping[str, Any]) -> list[str]:
    """The files that a graph's loaders name, each once, in its order."""
    endings = (".safetensors", ".gguf", ".ckpt", ".pt", ".pth", ".sft", ".bin")
    values = [value for node in graph.values() for value in node["inputs"].values()]
    return list(dict.fromkeys(value for value in values if isinstance(value, str) and value.endswith(endings)))


def evaluations(workflow: Workflow, steps: int | None, cfg: float | None) -> int | None:
    """How often the model is run for a window: once a step, twice with guidance; None where the graph does not tell.

    Args:
        steps, cfg: in place of the graph's.
    """
    found = [workflow.graph[node]["inputs"].get(name) for node, name in workflow.points.steps[:1]]
    guided = [workflow.graph[node]["inputs"].get(name) for node, name in workflow.points.cfg[:1]]
    count = steps if steps is not None else next(iter(found), None)
    guidance = cfg if cfg is not None else next(iter(guided), 1.0)
    if not isinstance(count, int):
        return None
    return count * (1 if guidance == 1.0 else 2)
