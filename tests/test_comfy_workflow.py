"""ComfyUI workflows: the packaged ones against the schema, injection, refusal of what cannot run."""

import copy
import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fake_comfy.schema import UNETS, WAN_VAE, object_info, validate

from stages.recipes.registry import RECIPES, plain
from stages.server.address import parse_server
from stages.server.client import DEFAULT_UPLOAD_LIMIT_BYTES, ComfyClient, Timeouts
from stages.server.inject import Values, inject
from stages.server.queued import Job
from stages.server.validate import check_workflow
from stages.server.wire import Reply, Wire
from stages.server.wiring import LOADERS, PICTURES, TITLES
from stages.server.workflow import Workflow, load_workflow, parse_workflow
from storage.errors import GeneratorError, InputError

VALUES = Values(
    width=96,
    height=64,
    length=17,
    seed=12,
    prefix="skate/x",
    prompt="chrome robot",
    negative="blur",
    steps=3,
    cfg=2.5,
    strength=0.8,
)
FILES = {channel: (f"skate/{channel}.{'png' if channel in PICTURES else 'mkv'}",) for channel in TITLES}
UPLOADED = {names[0] for names in FILES.values()} | {"skate/c1.mkv", "skate/c2.mkv"}


def load(name: str) -> Workflow:
    return plain(name).workflow


@pytest.mark.parametrize("newer", [False, True])
@pytest.mark.parametrize("name", RECIPES)
def test_packaged_workflows_validate(name: str, newer: bool) -> None:
    workflow, info = load(name), object_info(newer=newer)
    check_workflow(workflow, info, "test")
    graph = inject(workflow, VALUES, FILES)
    error, node_errors, good = validate(graph, info, UPLOADED)
    assert error is None and not node_errors and good == [workflow.points.output]
    assert all(node["_meta"]["title"] for node in workflow.graph.values())
    assert workflow.graph == load(name).graph, "injection wrote into the template"


@pytest.mark.parametrize("name", RECIPES)
def test_what_0_3_64_runs_without_other_nodes(name: str) -> None:
    packages = [
        item for item in RECIPES[name].packages if "Wrapper" in item
    ]  # the others' nodes are in its schema here
    if not packages and name not in ("scail2", "void"):
        check_workflow(load(name), object_info(core=True), "test")
        return
    with pytest.raises(InputError, match=r"is missing: install (a newer ComfyUI|ComfyUI-(WanVideo|CogVideoX)Wrapper)"):
        check_workflow(load(name), object_info(core=True), "test")


@pytest.mark.parametrize("name", RECIPES)
def test_values_arrive(name: str) -> None:
    workflow = load(name)
    graph, points = inject(workflow, VALUES, FILES), workflow.points
    wiring = points.wiring
    for context in points.contexts:
        sizes = [graph[context]["inputs"][key] for key, which in wiring.size.items() if which != "length"]
        assert sizes == ([96, 64] if wiring.size else [])
    strong = graph[points.contexts[0]]["inputs"]
    assert wiring.strength is None or strong[wiring.strength] == 0.8
    values = [[graph[node]["inputs"][key] for node, key in at] for at in (points.seed, points.steps, points.cfg)]
    count = 2 if name == "vace-22" else 1
    assert values == [[12] * count, [3] * count, [2.5] * count]
    assert points.prompt and points.negative
    texts = [graph[node]["inputs"][key] for node, key in (points.prompt, points.negative)]
    assert texts == ["chrome robot", "blur"]
    assert graph[points.output]["inputs"]["filename_prefix"].startswith("skate/x")
    for channel, loader in points.loaders.items():
        field = LOADERS[graph[loader]["class_type"]]
        assert graph[loader]["inputs"][field] == FILES[channel][0]
    lengths = [node["inputs"].get(key) for node in graph.values() for key in ("length", "num_frames")]
    assert set(lengths) == {17, None}
    assert set(points.loaders) >= set(wiring.needed) - {"reference"}
    assert ("pose" in points.loaders) == (name in ("vace-two-contexts", "wan-animate", "cogvideox-fun"))


def test_none_leaves_the_workflows_own_values() -> None:
    workflow = load("vace")
    graph = inject(workflow, Values(64, 48, 17, 1, "p"), FILES)
    assert graph["21"]["inputs"]["steps"] == 25 and graph["20"]["inputs"]["strength"] == 1.0
    assert graph["14"]["inputs"]["text"] == workflow.graph["14"]["inputs"]["text"]


def test_parts_are_joined_in_order() -> None:
    parts = ("skate/control.mkv", "skate/c1.mkv", "skate/c2.mkv")
    graph = inject(load("vace"), VALUES, {"control": parts, "mask": ("skate/mask.mkv",)})
    error, node_errors, _ = validate(graph, object_info(), UPLOADED)
    assert error is None and not node_errors

    def names(link: list[Any]) -> list[str]:
        node = graph[link[0]]
        if node["class_type"] == "ImageBatch":
            return names(node["inputs"]["image1"]) + names(node["inputs"]["image2"])
        return [graph[node["inputs"]["video"][0]]["inputs"]["file"]]

    assert names(graph["20"]["inputs"]["control_video"]) == ["skate/control.mkv", "skate/c1.mkv", "skate/c2.mkv"]


def test_titles_go_before_class_types() -> None:
    data = copy.deepcopy(load("vace").graph)
    for node in data.values():
        node["_meta"] = {"title": "anything"}
    found = parse_workflow(data, "untitled").points
    assert found.loaders == {"control": "1", "mask": "3"}
    assert (found.prompt, found.negative) == (("14", "text"), ("15", "text"))
    data["99"] = copy.deepcopy(data["21"]) | {"_meta": {"title": "Skate Sampler"}}
    assert parse_workflow(data, "titled").points.samplers == ("99",)
    assert parse_workflow({"prompt": data}, "wrapped").points.samplers == ("99",)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("{", "no JSON"),
        ("[]", "API format"),
        ("{}", "API format"),
        (json.dumps({"nodes": [], "links": [], "version": 0.4}), r"Workflow > Export \(API\)"),
        (json.dumps({"1": {"class_type": "SaveImage", "inputs": {"images": ["7", 0]}}}), "links to 7"),
        (json.dumps({"1": {"class_type": "SaveImage", "inputs": {}}}), "lacks WanVaceToVideo.*LoadVideo.*KSampler"),
    ],
)
def test_bad_files_are_refused(tmp_path: Path, text: str, told: str) -> None:
    path = tmp_path / "w.json"
    path.write_text(text)
    with pytest.raises(InputError, match=told):
        load_workflow(path)


def test_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        load_workflow(tmp_path / "none.json")


@pytest.mark.parametrize(
    ("workflow", "without", "told"),
    [
        ("vace-vhs", "VHS_LoadVideo", "VHS_LoadVideo is missing: install ComfyUI-VideoHelperSuite"),
        ("vace-gguf", "UnetLoaderGGUF", "UnetLoaderGGUF is missing: install ComfyUI-GGUF"),
        ("vace", "WanVaceToVideo", "WanVaceToVideo is missing: install a newer ComfyUI"),
        ("vace", "wan_2.1_vae.safetensors", "wan_2.1_vae.safetensors is missing: put it into .*models/vae"),
        ("vace-gguf", "Wan2.1-VACE-1.3B-Q8_0.gguf", "Wan2.1-VACE-1.3B-Q8_0.gguf is missing: .*diffusion_models"),
    ],
)
def test_what_the_server_lacks_is_named(workflow: str, without: str, told: str) -> None:
    with pytest.raises(InputError, match=told):
        check_workflow(load(workflow), object_info(frozenset([without])), "box:8188")


def test_all_that_is_missing_is_listed_at_once() -> None:
    without = frozenset(["TrimVideoLatent", UNETS[0], WAN_VAE])
    with pytest.raises(InputError) as caught:
        check_workflow(load("vace"), object_info(without), "box:8188")
    assert all(name in str(caught.value) for name in without) and caught.value.exit_code == 3


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"colour": 1}, "node 21 .KSampler.: unknown input colour"),
        ({"sampler_name": "magic"}, "sampler_name is 'magic'"),
        ({"model": ["10", 4]}, "links to output 4 of UNETLoader"),
        ({"model": ["12", 0]}, "takes MODEL, VAELoader gives VAE"),
        ({"model": [1, 2, 3]}, "neither a value nor a link"),
        ({"steps": None}, "required input steps is missing"),
    ],
)
def test_inputs_the_server_does_not_know(change: dict[str, Any], told: str) -> None:
    data = copy.deepcopy(load("vace").graph)
    data["21"]["inputs"].update(change)
    data["21"]["inputs"] = {key: value for key, value in data["21"]["inputs"].items() if value is not None}
    with pytest.raises(InputError, match=told):
        check_workflow(parse_workflow(data, "mine"), object_info(), "box:8188")


def test_editor_widgets_and_new_combo_form_are_accepted() -> None:
    data = copy.deepcopy(load("vace-reference").graph)
    data["8"]["inputs"]["upload"] = "image"
    info = object_info()
    choices = info["CLIPLoader"]["input"]["required"]["clip_name"][0]
    info["CLIPLoader"]["input"]["required"]["clip_name"] = ["COMBO", {"options": choices}]
    check_workflow(parse_workflow(data, "mine"), info, "box:8188")
    info["CLIPLoader"]["input"]["required"]["clip_name"][1]["options"] = []
    with pytest.raises(InputError, match=r"umt5_xxl_fp8_e4m3fn_scaled.safetensors is missing"):
        check_workflow(parse_workflow(data, "mine"), info, "box:8188")


def test_text_that_cannot_be_set() -> None:
    data = copy.deepcopy(load("vace").graph)
    data["14"]["inputs"]["text"] = ["12", 0]
    with pytest.raises(InputError, match="--prompt: workflow mine has no CLIPTextEncode"):
        inject(parse_workflow(data, "mine"), VALUES, FILES)


@pytest.mark.parametrize("levels", [101, 980, 200_000])
def test_files_nested_too_deeply_are_refused(tmp_path: Path, levels: int) -> None:
    path = tmp_path / "workflow.json"
    path.write_text("[" * levels + "]" * levels)
    with pytest.raises(InputError, match=r"workflow\.json: .*nested .*deep.*: use Workflow > Export") as caught:
        load_workflow(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "ask",
    [
        ComfyClient.object_info,
        ComfyClient.upload_limit,
        lambda client: client.history("job"),
        lambda client: client.submit({}, Job("job", "client")),
    ],
)
@pytest.mark.parametrize("status", [200, 400])
def test_answers_nested_too_deeply(
    monkeypatch: pytest.MonkeyPatch, ask: Callable[[ComfyClient], object], status: int
) -> None:
    monkeypatch.setattr(Wire, "ask", lambda *_, **__: Reply(status, "", b"[" * 200_000))
    client = ComfyClient(parse_server("127.0.0.1:9"), Timeouts(), threading.Event())
    if status == 400 and ask is ComfyClient.upload_limit:
        assert ask(client) == DEFAULT_UPLOAD_LIMIT_BYTES
        return
    with pytest.raises(GeneratorError, match=r"is no JSON|the whole: expected|refuses") as caught:
        ask(client)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 700
