"""Workflow files: reading, recognising the UI's own format, and finding the nodes that values go into.

A node is found by its title first (`_meta.title`), then by class type: the loader that feeds an input is found by
following the links upwards from WanVaceToVideo, because a graph has several loaders of one class.
"""

import copy
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from storage.boundary import parse, read_regular
from storage.errors import InputError

Json = Any
Graph = dict[str, dict[str, Json]]

CONTROL, MASK, POSE, REFERENCE = "skate control video", "skate control mask", "skate pose video", "skate reference"
PROMPT, NEGATIVE, SAMPLER = "skate prompt", "skate negative", "skate sampler"
VACE, VACE_POSE, OUTPUT = "skate vace", "skate vace pose", "skate output"

LOADERS = {"LoadVideo": "file", "VHS_LoadVideo": "video", "LoadImage": "image"}
"""Classes that read an uploaded file, and the input that takes its name."""
SAMPLERS = ("KSampler", "KSamplerAdvanced")
OUTPUTS = ("SaveImage", "PreviewImage")
MAX_DEPTH = 100
"""Levels of a workflow file; real ones have about 8."""
PACKAGED = ("vace_template", "vace_gguf", "vace_reference", "vace_vhs", "vace_two_contexts")


@dataclass(frozen=True)
class Points:
    """The nodes that values are injected into, by id; None where a workflow has no such node."""

    control: str
    mask: str
    vace: tuple[str, ...]
    sampler: str
    output: str
    pose: str | None = None
    reference: str | None = None
    prompt: str | None = None
    negative: str | None = None


@dataclass(frozen=True)
class Workflow:
    """A workflow in API format and its injection points."""

    name: str
    graph: Graph
    points: Points

    def copy_graph(self) -> Graph:
        """A graph to write values into."""
        return copy.deepcopy(self.graph)


def own_text(workflow: Workflow) -> bool:
    """Whether a workflow says itself what to make: its positive text is neither empty nor the packaged graphs'.

    Text that another node makes, or that stands in a node that is not known, is its own.
    """
    if workflow.points.prompt is None:
        return True
    text = workflow.graph[workflow.points.prompt]["inputs"].get("text")
    packaged = load_workflow(packaged_workflow("vace_template"))
    assert packaged.points.prompt is not None
    return text not in ("", None, packaged.graph[packaged.points.prompt]["inputs"]["text"])


def loads_lora(workflow: Workflow) -> bool:
    """Whether any node of it loads a LoRA, of whatever package the node is."""
    return any("lora" in node["class_type"].lower() for node in workflow.graph.values())


def packaged_workflow(name: str) -> Path:
    """The file of a workflow that comes with this program, in an installed package or in the source tree."""
    here = Path(__file__).resolve().parent.parent
    for folder in (here / "workflows", here.parent / "workflows"):
        if (folder / f"{name}.json").is_file():
            return folder / f"{name}.json"
    raise InputError(f"workflow {name} is not among those that come with skate: {', '.join(PACKAGED)}")


def load_workflow(path: Path) -> Workflow:
    """Read a workflow file.

    Raises:
        InputError: when it cannot be read, is in the UI's format, or lacks a node that values go into.
    """
    try:
        text = read_regular(path)
    except OSError as error:
        raise InputError(f"--workflow {path}: cannot be read ({error.strerror}): give a workflow's JSON") from error
    data: Json = parse(text, object, f"--workflow {path}", InputError, "use Workflow > Export (API)")
    _check_depth(data, str(path))
    return parse_workflow(data, str(path))


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
    graph: Graph = {str(key): node for key, node in data.items()}
    _check_links(graph, name)
    return Workflow(name, graph, _find_points(graph, name))


def _is_node(node: Json) -> bool:
    return isinstance(node, dict) and isinstance(node.get("class_type"), str) and isinstance(node.get("inputs"), dict)


def links(node: Mapping[str, Json]) -> Iterator[tuple[str, str, int]]:
    """`(input name, linked node, its output)` of every input that is a link."""
    for name, value in node["inputs"].items():
        if isinstance(value, list) and len(value) == 2 and isinstance(value[1], int):
            yield name, str(value[0]), value[1]


def _check_links(graph: Graph, name: str) -> None:
    for node_id, node in graph.items():
        for input_name, source, _ in links(node):
            if source not in graph:
                at = f"node {node_id}, input {input_name}"
                raise InputError(f"--workflow {name}: {at}: links to {source}, which is not in it: export it again")


def by_title(graph: Graph, title: str) -> str | None:
    """The node of this title, in any case."""
    for node_id, node in graph.items():
        meta = node.get("_meta")
        if isinstance(meta, dict) and str(meta.get("title", "")).strip().lower() == title:
            return node_id
    return None


def by_class(graph: Graph, *classes: str) -> list[str]:
    """Nodes of these classes, in the file's order."""
    return [node_id for node_id, node in graph.items() if node["class_type"] in classes]


def upstream(graph: Graph, node_id: str, input_name: str, classes: tuple[str, ...]) -> str | None:
    """The nearest node of these classes that feeds an input, breadth first."""
    start = [source for name, source, _ in links(graph[node_id]) if name == input_name]
    queue, seen = start, set(start)
    while queue:
        current = queue.pop(0)
        if graph[current]["class_type"] in classes:
            return current
        for _, source, _ in links(graph[current]):
            if source not in seen:
                seen.add(source)
                queue.append(source)
    return None


def _find_points(graph: Graph, name: str) -> Points:
    contexts = _contexts(graph)
    sampler = by_title(graph, SAMPLER) or next(iter(by_class(graph, *SAMPLERS)), None)
    output = by_title(graph, OUTPUT) or next(iter(by_class(graph, *OUTPUTS)), None)
    first = contexts[0] if contexts else None

    def fed(title: str, input_name: str, classes: tuple[str, ...]) -> str | None:
        return by_title(graph, title) or (first and upstream(graph, first, input_name, classes))

    found = {
        f"WanVaceToVideo (title '{VACE}')": first,
        f"a LoadVideo that feeds its control_video (title '{CONTROL}')": fed(CONTROL, "control_video", tuple(LOADERS)),
        f"a LoadVideo that feeds its control_masks (title '{MASK}')": fed(MASK, "control_masks", tuple(LOADERS)),
        f"KSampler (title '{SAMPLER}')": sampler,
        f"SaveImage (title '{OUTPUT}')": output,
    }
    missing = [what for what, node in found.items() if node is None]
    if missing:
        raise InputError(
            f"--workflow {name}: lacks {'; '.join(missing)}: see workflows/README.md for what is filled in"
        )
    control, mask = list(found.values())[1:3]
    assert control is not None and mask is not None and sampler is not None and output is not None
    return Points(
        control=control,
        mask=mask,
        vace=tuple(contexts),
        sampler=sampler,
        output=output,
        pose=by_title(graph, POSE),
        reference=by_title(graph, REFERENCE) or (first and upstream(graph, first, "reference_image", ("LoadImage",))),
        prompt=fed(PROMPT, "positive", ("CLIPTextEncode",)),
        negative=fed(NEGATIVE, "negative", ("CLIPTextEncode",)),
    )


def _contexts(graph: Graph) -> list[str]:
    """The WanVaceToVideo nodes, the one that takes the greyed source first."""
    titled = by_title(graph, VACE)
    others = [node for node in by_class(graph, "WanVaceToVideo") if node != titled]
    masked = [node for node in others if "control_masks" in graph[node]["inputs"]]
    rest = [node for node in others if node not in masked]
    return ([titled] if titled else []) + masked + rest


def chosen_workflow(path: str | None, reference: str | None) -> Workflow:
    """The workflow in the file, else the packaged one that fits; checked against whether a reference is given.

    Raises:
        InputError: when it is unusable, or takes a reference and gets none, or the other way round.
    """
    workflow = load_workflow(Path(path) if path else packaged_workflow("vace_reference" if reference else PACKAGED[0]))
    if reference and workflow.points.reference is None:
        raise InputError(f"--reference: {workflow.name} has no LoadImage that feeds reference_image: see workflows/")
    if not reference and by_title(workflow.graph, REFERENCE) is not None:
        raise InputError(f"--workflow {workflow.name} takes a reference image: give --reference IMAGE")
    return workflow
