"""Checking a workflow against a server's /object_info before anything is uploaded. Pure functions."""

from collections.abc import Iterator, Mapping
from typing import Any

from stages.server.answers import NodeInfo
from stages.server.graph import Graph
from stages.server.wiring import LOADERS
from stages.server.workflow import Workflow
from storage.boundary import convert
from storage.errors import GeneratorError, InputError

Json = Any

PACKAGES = {
    "WanVideo": "ComfyUI-WanVideoWrapper (kijai)",
    "CogVideo": "ComfyUI-CogVideoXWrapper (kijai)",
    "DepthAnything": "comfyui_controlnet_aux (Fannovel16)",
    "VHS_": "ComfyUI-VideoHelperSuite (Kosinkadink)",
    "GGUF": "ComfyUI-GGUF (city96)",
    "Wan": "a newer ComfyUI",
    "SAM3": "a newer ComfyUI",
    "VOID": "a newer ComfyUI",
}
MODEL_FOLDERS = {
    "unet_name": "models/diffusion_models",
    "clip_name": "models/text_encoders",
    "vae_name": "models/vae",
    "lora_name": "models/loras",
}
FOLDERS_OF = {
    ("CLIPVisionLoader", "clip_name"): "models/clip_vision",
    ("WanVideoModelLoader", "model"): "models/diffusion_models",
    ("LoadWanVideoT5TextEncoder", "model_name"): "models/text_encoders",
    ("WanVideoVAELoader", "model_name"): "models/vae",
    ("WanVideoLoraSelect", "lora"): "models/loras",
    ("CogVideoLoraSelect", "lora"): "models/CogVideo/loras",
    ("UpscaleModelLoader", "model_name"): "models/upscale_models",
    ("CheckpointLoaderSimple", "ckpt_name"): "models/checkpoints",
}
"""Where another class means another folder."""
NAMED = {**LOADERS, "LoadLatent": "latent"}
"""Inputs that take the name of a file which is there only once the graph is sent."""
EDITOR_ONLY = ("upload", "choose file to upload", "choose video to upload", "videopreview", "control_after_generate")
"""Widgets of the editor that its API export writes as inputs; servers ignore them."""


def missing_files(graph: Graph, object_info: Mapping[str, Json]) -> list[str]:
    """The model files that a graph names and a server has not, each once."""
    found = []
    for node in graph.values():
        name = node["class_type"]
        if name not in object_info:
            continue
        schema = info_of(name, object_info).input
        for key, spec in {**schema.required, **schema.optional}.items():
            options, value = options_of(spec), node["inputs"].get(key)
            if options is not None and _folder(name, key) and isinstance(value, str) and value not in options:
                found.append(value)
    return list(dict.fromkeys(found))


def problems(workflow: Workflow, object_info: Mapping[str, Json]) -> list[str]:
    """Every missing node, model file and input, a line each."""
    return graph_problems(workflow.graph, object_info)


def graph_problems(graph: Graph, object_info: Mapping[str, Json]) -> list[str]:
    """The same of a graph that is no generator's."""
    return list(_problems(graph, object_info))


def _folder(name: str, key: str) -> str | None:
    return FOLDERS_OF.get((name, key)) or MODEL_FOLDERS.get(key)


def check_workflow(workflow: Workflow, object_info: Mapping[str, Json], host: str) -> None:
    """Refuse a workflow that the server cannot run.

    Raises:
        InputError: with every missing node, model file and input.
    """
    found = problems(workflow, object_info)
    if found:
        raise InputError(f"--workflow {workflow.name} cannot run on ComfyUI at {host}: {'; '.join(found)}")


def _problems(graph: Graph, object_info: Mapping[str, Json]) -> Iterator[str]:
    missing = sorted({node["class_type"] for node in graph.values()} - set(object_info))
    for name in missing:
        package = next((text for part, text in PACKAGES.items() if part in name), "the custom node that has it")
        yield f"node {name} is missing: install {package}"
    for node_id, node in graph.items():
        if node["class_type"] in object_info:
            yield from _node_problems(node_id, node, graph, object_info)


def _node_problems(
    node_id: str, node: Mapping[str, Json], graph: Graph, object_info: Mapping[str, Json]
) -> Iterator[str]:
    name, inputs = node["class_type"], node["inputs"]
    schema = info_of(name, object_info).input
    required = schema.required
    known = {**required, **schema.optional, **schema.hidden}
    at = f"node {node_id} ({name})"
    given = {*inputs, *(key.split(".")[0] for key in inputs)}
    for key in required:
        if key not in given:
            yield f"{at}: required input {key} is missing"
    names = {*known, *_format_inputs(known), *EDITOR_ONLY}
    own = _may_take_more(name, object_info)
    for key, value in inputs.items():
        if key not in names and key.split(".")[0] not in known and not own:
            yield f"{at}: unknown input {key}"
        elif isinstance(value, list):
            yield from _link_problem(at, key, value, known.get(key), graph, object_info)
        elif key in known and NAMED.get(name) != key:
            yield from _value_problem(at, (name, key), value, known[key])


def _may_take_more(name: str, object_info: Mapping[str, Json]) -> bool:
    """Whether a node may have inputs that its schema does not tell, as many have that take any number of something
    (rgthree's Power Lora Loader). Of a package that graphs are filled in for an unknown input is an old or new name."""
    custom = info_of(name, object_info).python_module.startswith("custom_nodes.")
    return custom and not any(part in name for part in PACKAGES)


def info_of(name: str, object_info: Mapping[str, Json]) -> NodeInfo:
    """A node's part of /object_info.

    Raises:
        GeneratorError: it is something else.
    """
    return convert(object_info[name], NodeInfo, f"/object_info of {name}", GeneratorError, "is this a ComfyUI server?")


def _format_inputs(known: Mapping[str, Json]) -> set[str]:
    """Inputs that a choice brings with it (VHS_VideoCombine's formats)."""
    names: set[str] = set()
    for spec in known.values():
        extra = spec[1] if isinstance(spec, list) and len(spec) > 1 and isinstance(spec[1], dict) else {}
        formats = extra.get("formats")
        for widgets in formats.values() if isinstance(formats, dict) else ():
            if isinstance(widgets, list):
                names.update(str(widget[0]) for widget in widgets if isinstance(widget, list) and widget)
    return names


def options_of(spec: Json) -> list[Json] | None:
    """The choices of a combo in either form, `[[...], {...}]` or `["COMBO", {"options": [...]}]`; None for others."""
    if not isinstance(spec, list) or not spec:
        return None
    if isinstance(spec[0], list):
        return spec[0]
    if spec[0] == "COMBO" and len(spec) > 1 and isinstance(spec[1], dict):
        options = spec[1].get("options")
        return options if isinstance(options, list) else None
    return None


def _value_problem(at: str, of: tuple[str, str], value: Json, spec: Json) -> Iterator[str]:
    options = options_of(spec)
    if options is None or value in options:
        return
    folder = _folder(*of)
    if folder is not None:
        has = f" (it has {', '.join(map(str, options[:5]))}{', ...' if len(options) > 5 else ''})" if options else ""
        yield f"{at}: model file {value} is missing: put it into ComfyUI's {folder}{has}"
    else:
        yield f"{at}: {of[1]} is {value!r}, the server knows {', '.join(map(str, options[:8])) or 'none'}"


def _link_problem(
    at: str, key: str, value: list[Json], spec: Json, graph: Graph, object_info: Mapping[str, Json]
) -> Iterator[str]:
    if len(value) != 2 or not isinstance(value[1], int):
        yield f"{at}: input {key} is neither a value nor a link"
        return
    source = graph[str(value[0])]["class_type"]
    if source not in object_info:
        return  # told as a missing node
    outputs = info_of(source, object_info).output
    if not 0 <= value[1] < len(outputs):
        yield f"{at}: input {key} links to output {value[1]} of {source}, which has {len(outputs)}"
    elif not _fits(outputs[value[1]], spec):
        yield f"{at}: input {key} takes {spec[0]}, {source} gives {outputs[value[1]]}"


def _fits(given: Json, spec: Json) -> bool:
    """Whether an output type goes into an input: equal, a member of a union, or either is a wildcard or a combo."""
    wanted = spec[0] if isinstance(spec, list) and spec else "*"
    if not isinstance(wanted, str) or not isinstance(given, str):
        return True
    types = set(wanted.split(","))
    return bool(types & set(given.split(","))) or "*" in types or given == "*" or wanted.startswith("COMFY_")
