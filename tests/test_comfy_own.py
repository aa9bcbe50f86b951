"""Workflows of a user's own, as the editor exports them: previews, videos, loaders with cuts, others' nodes."""

import copy
from pathlib import Path
from typing import Any

import pytest
from _runs import invoke
from fake_comfy import FakeComfy
from fake_comfy.schema import object_info, validate
from test_comfy_workflow import FILES, UPLOADED, VALUES, load

from stages.base import Json
from stages.comfyui import ComfyConfig, ComfyStage
from stages.server.client import ComfyClient
from stages.server.inject import inject
from stages.server.validate import check_workflow
from stages.server.workflow import Workflow, parse_workflow
from storage.errors import InputError

PREVIEW = {"class_type": "PreviewImage", "inputs": {"images": ["2", 0]}}  # of the control video


def untitled(name: str = "vace") -> dict[str, Json]:
    data = copy.deepcopy(load(name).graph)
    for node in data.values():
        node["_meta"] = {"title": node["class_type"]}
    return data


def as_video(data: dict[str, Json], title: str = "") -> dict[str, Json]:
    """The graph with a video in place of its pictures."""
    data["30"] = {"class_type": "CreateVideo", "inputs": {"images": data["30"]["inputs"]["images"], "fps": 16.0}}
    saves = {"video": ["30", 0], "filename_prefix": "video/ComfyUI", "format": "auto", "codec": "auto"}
    data["31"] = {"class_type": "SaveVideo", "_meta": {"title": title}, "inputs": saves}
    return data


def pictures_of(workflow: Workflow) -> list[Any]:
    output = workflow.graph[workflow.points.output]
    assert output["class_type"] == "SaveImage"
    return list(output["inputs"]["images"])


@pytest.mark.parametrize("result", ["pictures", "video"])
def test_a_preview_of_the_control_video_is_not_taken_for_the_result(result: str) -> None:
    data = {"2000": PREVIEW, "2001": PREVIEW | {"class_type": "SaveWEBM"}, **untitled()}
    made = data["30"]["inputs"]["images"]
    workflow = parse_workflow(as_video(data) if result == "video" else data, "mine")
    assert pictures_of(workflow) == made and workflow.points.output == "30"


def test_without_anything_that_shows_the_result_it_is_refused() -> None:
    data = {"2000": PREVIEW, **untitled()}
    del data["30"]
    with pytest.raises(InputError, match=r"lacks SaveImage \(title 'skate output'\)"):
        parse_workflow(data, "mine")


def test_a_title_on_a_video_means_its_pictures() -> None:
    data = untitled()
    made = data["30"]["inputs"]["images"]
    workflow = parse_workflow(as_video(data, "Skate Output"), "mine")
    assert pictures_of(workflow) == made and "SaveVideo (node 30) makes a video" in workflow.notes[0]


def test_a_title_on_what_gives_no_pictures_is_refused() -> None:
    data = untitled()
    data["23"]["_meta"]["title"] = "skate output"
    with pytest.raises(InputError, match=r"node 23 \(VAEDecode\), titled 'skate output', gives no pictures"):
        parse_workflow(data, "mine")


def test_what_a_graph_leaves_open_is_told() -> None:
    data = copy.deepcopy(load("vace").graph)
    data["77"] = copy.deepcopy(data["1"])
    found = parse_workflow(data, "mine")
    assert found.notes == ("nodes 1, 77 are all titled 'skate control video': node 1 is taken",)
    data = untitled()
    data["31"] = {"class_type": "PreviewImage", "inputs": data["30"]["inputs"]}
    (note,) = parse_workflow(data, "mine").notes
    assert note.startswith("the pictures of node 30 (SaveImage) are taken, not those of 31 (PreviewImage)")
    data["30"]["_meta"]["title"] = "skate output"
    assert parse_workflow(data, "mine").notes == ()


def test_a_loader_that_cuts_and_resamples_gives_all_frames_of_what_is_uploaded() -> None:
    data = untitled("vace-vhs")
    whole = copy.deepcopy(data)
    for loader in ("1", "3"):
        data[loader]["inputs"] |= {"force_rate": 24, "skip_first_frames": 10, "frame_load_cap": 16}
        data[loader]["inputs"] |= {"select_every_nth": 2, "custom_width": 512, "format": "AnimateDiff"}
    files = FILES | {"control": ("skate/control.mkv", "skate/c1.mkv")}
    graph = inject(parse_workflow(data, "mine"), VALUES, files)
    assert graph == inject(parse_workflow(whole, "mine"), VALUES, files)
    del data["1"]["inputs"]["format"]  # older ones have none
    assert "format" not in inject(parse_workflow(data, "mine"), VALUES, FILES)["1"]["inputs"]


def test_what_to_avoid_never_takes_the_place_of_the_prompt() -> None:
    data = untitled()
    data["15"] = {"class_type": "ConditioningZeroOut", "inputs": {"conditioning": ["14", 0]}}
    workflow = parse_workflow(data, "mine")
    assert workflow.points.prompt == ("14", "text") and workflow.points.negative is None
    with pytest.raises(InputError, match="--negative: workflow mine has no CLIPTextEncode whose text can be set"):
        inject(workflow, VALUES, FILES)


def many_loras(module: str) -> tuple[Workflow, dict[str, Json]]:
    """A graph with rgthree's loader of any number of LoRAs, and a server's schema of it, which tells none of them."""
    data, info = untitled(), object_info()
    name = "Power Lora Loader (rgthree)"
    lora = {"on": True, "lora": "robe.safetensors", "strength": 1}
    data["60"] = {"class_type": name, "inputs": {"lora_1": lora, "➕ Add Lora": "", "model": ["10", 0]}}
    data["13"]["inputs"]["model"] = ["60", 0]
    schema = {"required": {}, "optional": {"model": ["MODEL"], "clip": ["CLIP"]}, "hidden": {}}
    info[name] = {"input": schema, "output": ["MODEL", "CLIP"], "python_module": module, "output_node": False}
    return parse_workflow(data, "mine"), info


def test_nodes_of_other_packages_may_take_more_than_their_schema_tells() -> None:
    workflow, info = many_loras("custom_nodes.rgthree-comfy")
    check_workflow(workflow, info, "box:8188")
    error, node_errors, _ = validate(inject(workflow, VALUES, FILES), info, UPLOADED)
    assert error is None and not node_errors
    with pytest.raises(InputError, match="unknown input lora_1"):
        check_workflow(*many_loras("comfy_extras.nodes_lora"), "box:8188")
    vhs, info = parse_workflow(untitled("vace-vhs"), "mine"), object_info()
    info["VHS_LoadVideo"]["python_module"] = "custom_nodes.vhs"
    vhs.graph["1"]["inputs"]["first"] = 1
    with pytest.raises(InputError, match="unknown input first"):
        check_workflow(vhs, info, "box:8188")


def test_a_required_input_that_grows_is_there_by_its_parts() -> None:
    data, info = untitled(), object_info()
    made = data["30"]["inputs"]["images"]
    data["40"] = {"class_type": "BatchImagesNode", "inputs": {"images.image0": made, "images.image1": made}}
    info["BatchImagesNode"] = {
        "input": {"required": {"images": ["COMFY_AUTOGROW_V3", {"template": {}}]}}, "output": ["IMAGE"]
    }  # fmt: skip
    check_workflow(parse_workflow(data, "mine"), info, "box:8188")
    data["40"]["inputs"] = {}
    with pytest.raises(InputError, match="required input images is missing"):
        check_workflow(parse_workflow(data, "mine"), info, "box:8188")


def test_a_file_that_takes_a_reference_is_checked_without_one(tmp_path: Path) -> None:
    path = tmp_path / "mine.json"
    path.write_text(invoke(["workflows", "show", "vace-reference", "--graph"]).out)
    assert "gives      pictures: node 30 (SaveImage)" in invoke(["workflows", "show", str(path)]).out
    with FakeComfy() as server:
        found = invoke(["workflows", "check", str(path), "--server", server.address])
    assert found.code == 0 and "has all nodes and model files of" in found.out, found.err


def test_a_picture_on_the_way_of_a_video_is_not_taken_for_its_loader() -> None:
    data = untitled()
    picture = {"class_type": "LoadImage", "inputs": {"image": "first.png"}}
    joined = {"class_type": "ImageBatch", "inputs": {"image1": ["50", 0], "image2": ["2", 0]}}
    mixed = {"50": picture, **data, "51": joined}
    mixed["20"]["inputs"]["control_video"] = ["51", 0]
    assert parse_workflow(mixed, "mine").points.loaders == {"control": "1", "mask": "3"}
    mixed["20"]["inputs"]["control_masks"] = ["50", 1]
    with pytest.raises(InputError, match="lacks a LoadVideo that feeds its control_masks"):
        parse_workflow(mixed, "mine")


def test_two_servers_behind_one_proxy_are_both_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def told(client: ComfyClient) -> dict[str, Json]:
        asked.append(client.address.http)
        return object_info()

    monkeypatch.setattr(ComfyClient, "object_info", told)
    stage = ComfyStage(ComfyConfig(servers=("http://box:80/a", "http://box:80/b")))
    stage.open()
    stage.close()
    assert asked == ["http://box:80/a", "http://box:80/b"]
