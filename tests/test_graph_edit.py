"""Other models, LoRAs, settings and a reference in a graph; graphs that end in a video or sample in other ways."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from fake_comfy.schema import object_info, validate

from stages.choices import PROFILES
from stages.recipes.registry import RECIPES, Wanted, choose, plain
from stages.server.edit import evaluations, model_loaders, with_loras, with_models, with_settings
from stages.server.inject import Values, inject
from stages.server.lora import Lora
from stages.server.validate import check_workflow
from stages.server.wiring import PICTURES, TITLES
from stages.server.workflow import Workflow, parse_workflow
from storage.errors import InputError, UsageError

VALUES = Values(width=96, height=64, length=17, seed=1, prefix="p")
FILES = {channel: (f"{channel}.{'png' if channel in PICTURES else 'mkv'}",) for channel in TITLES}
UPLOADED = {names[0] for names in FILES.values()}
A, B = Lora("a.safetensors", 0.5), Lora("b.safetensors")


def fits(workflow: Workflow, *loras: str) -> bool:
    """Whether the test server, which validates as ComfyUI does, takes it."""
    info = object_info(loras=loras)
    check_workflow(workflow, info, "test")
    error, node_errors, _ = validate(inject(workflow, VALUES, FILES), info, UPLOADED)
    return error is None and not node_errors


def chain(graph: dict[str, Any], node: str, link: str) -> list[str]:
    """The classes from a node upwards through one input each."""
    found = []
    while True:
        found.append(graph[node]["class_type"])
        value = graph[node]["inputs"].get(link)
        if not isinstance(value, list):
            return found
        node = value[0]


@pytest.mark.parametrize("name", RECIPES)
def test_a_lora_is_put_in_where_there_is_none(name: str) -> None:
    workflow = with_loras(plain(name).workflow, [A, B])
    assert fits(workflow, A.file, B.file)
    with pytest.raises(InputError, match=r"model file b\.safetensors is missing: .*models/(CogVideo/)?loras"):
        check_workflow(workflow, object_info(loras=[A.file]), "test")


def test_loras_stand_in_order_behind_each_other_and_what_is_there_takes_the_first() -> None:
    workflow = with_loras(plain("vace").workflow, [A, B])
    sampling = workflow.graph["13"]["inputs"]["model"][0]
    assert chain(workflow.graph, sampling, "model") == ["LoraLoaderModelOnly", "LoraLoaderModelOnly", "UNETLoader"]
    assert workflow.graph[sampling]["inputs"]["lora_name"] == B.file, "the last one next to its users"
    again = with_loras(workflow, [Lora("c"), Lora("d"), Lora("e")])
    files = [node["inputs"].get("lora_name") for node in again.graph.values()]
    assert sorted(file for file in files if file) == ["c", "d", "e"]
    assert workflow.graph == with_loras(plain("vace").workflow, [A, B]).graph, "the workflow itself stays as it is"


def test_two_experts_get_their_own() -> None:
    high, low, both = Lora("x_high_noise.safetensors"), Lora("x_low_noise.safetensors"), Lora("style.safetensors")
    graph = with_loras(plain("vace-22").workflow, [high, low, both]).graph
    files = []
    for sampler in ("21", "24"):
        node, found = graph[sampler]["inputs"]["model"][0], []
        while "model" in graph[node]["inputs"]:
            node = graph[node]["inputs"]["model"][0]
            found.append(graph[node]["inputs"].get("lora_name"))
        files.append([name for name in found if name])
    assert files == [[both.file, high.file], [both.file, low.file]]


@pytest.mark.parametrize("name", [name for name, recipe in RECIPES.items() if name != "cogvideox-fun"])
def test_another_model(name: str) -> None:
    workflow = plain(name).workflow
    count = len(model_loaders(workflow))
    files = [f"mine{index}.safetensors" for index in range(count)]
    graph = with_models(workflow, files).graph
    assert {value for node in graph.values() for value in node["inputs"].values() if str(value) in files} == set(files)
    with pytest.raises(UsageError, match=rf"loads {count} models: give --model FILE1"):
        with_models(workflow, [*files, "one more"])


def test_a_gguf_file_brings_its_loader_and_the_other_way_round() -> None:
    quantised = with_models(plain("vace-22").workflow, ["h.gguf", "l.gguf"])
    loaders = [quantised.graph[node] for node in model_loaders(quantised)]
    assert [node["class_type"] for node in loaders] == ["UnetLoaderGGUF"] * 2
    assert [node["inputs"] for node in loaders] == [{"unet_name": "h.gguf"}, {"unet_name": "l.gguf"}]
    whole = with_models(plain("vace-gguf").workflow, ["wan2.1_vace_14B_fp16.safetensors"])
    assert fits(whole) and whole.graph["10"]["class_type"] == "UNETLoader"


def profiles() -> list[tuple[str, str]]:
    return [(name, profile) for name, recipe in RECIPES.items() for profile in recipe.profiles]


@pytest.mark.parametrize(("name", "profile"), profiles())
def test_profiles_are_refused_without_their_lora_and_taken_with_it(name: str, profile: str) -> None:
    recipe = RECIPES[name]
    settings = recipe.settings(profile)
    workflow = with_settings(plain(name).workflow, settings)
    files = [lora.file for lora in settings.loras]
    assert fits(workflow, *files)
    assert (profile == "fast") == bool(files)
    if files:
        assert settings.steps is not None and settings.steps <= 8 and settings.cfg == 1.0
        with pytest.raises(InputError, match="models/loras"):
            check_workflow(workflow, object_info(), "test")
    for node, key in workflow.points.steps:
        assert workflow.graph[node]["inputs"][key] == settings.steps
    for node, key in workflow.points.cfg:
        assert workflow.graph[node]["inputs"][key] == settings.cfg
    shifts = {node["inputs"]["shift"] for node in workflow.graph.values() if "shift" in node["inputs"]}
    assert settings.shift is None or shifts == {settings.shift}


def test_a_profile_that_is_not_there() -> None:
    assert set(RECIPES["vace"].profiles) == set(PROFILES)
    with pytest.raises(UsageError, match="cogvideox-fun has quality, balanced: give one of these"):
        choose(Wanted("cogvideox-fun", profile="fast"))


@pytest.mark.parametrize(("steps", "boundary"), [(20, 9), (8, 4), (4, 2), (2, 1), (1, 1)])
def test_two_experts_share_the_steps_at_the_boundary(steps: int, boundary: int) -> None:
    """At shift 5 noise falls below 0.875 after 5/12 of the steps: sigma = 5 t / (1 + 4 t)."""
    graph = inject(plain("vace-22").workflow, Values(96, 64, 17, 1, "p", steps=steps), FILES)
    first, second = graph["21"]["inputs"], graph["24"]["inputs"]
    assert (first["start_at_step"], first["end_at_step"], second["start_at_step"]) == (0, boundary, boundary)
    assert first["steps"] == second["steps"] == steps and second["end_at_step"] == 10000


def test_how_often_the_model_is_run() -> None:
    """Guidance runs it twice a step; two experts share the steps."""
    assert evaluations(plain("vace").workflow, None, None) == 50
    assert evaluations(plain("vace").workflow, 4, 1.0) == 4
    assert evaluations(plain("vace-22").workflow, None, None) == 40


def test_every_recipe_takes_a_reference_where_its_model_can() -> None:
    for name, recipe in RECIPES.items():
        if recipe.reference == "none":
            with pytest.raises(InputError, match="takes no picture of the new look"):
                choose(Wanted(name, reference=True))
            continue
        workflow = choose(Wanted(name, reference=True)).workflow
        assert "reference" in workflow.points.loaders and fits(workflow)
        for context in workflow.points.contexts:
            assert workflow.points.wiring.takes["reference"] in workflow.graph[context]["inputs"]
        if recipe.reference == "needed":
            with pytest.raises(InputError, match="give --reference IMAGE"):
                choose(Wanted(name))


def test_titles_of_another_shape_are_none(tmp_path: Path) -> None:
    graph = copy.deepcopy(plain("vace").workflow.graph)
    metas: tuple[object, ...] = ([], None, "skate reference", {"title": ["skate reference"]})
    for meta in metas:
        for node in graph.values():
            node["_meta"] = meta
        path = tmp_path / "own.json"
        path.write_text(json.dumps(graph))
        assert choose(Wanted(str(path))).recipe.name == str(path)


def video_graph(ending: str) -> dict[str, Any]:
    """The default graph, ending in a video."""
    graph = copy.deepcopy(plain("vace").workflow.graph)
    del graph["30"]
    if ending == "VHS_VideoCombine":
        graph["31"] = {"class_type": ending, "inputs": {"images": ["23", 0], "frame_rate": 16, "loop_count": 0}}
        graph["31"]["inputs"] |= {"filename_prefix": "x", "format": "video/h264-mp4", "pingpong": False}
        graph["31"]["inputs"] |= {"save_output": True}
    else:
        graph["31"] = {"class_type": "CreateVideo", "inputs": {"images": ["23", 0], "fps": 16}}
        graph["32"] = {"class_type": ending, "inputs": {"video": ["31", 0], "filename_prefix": "x"}}
        graph["32"]["inputs"] |= {"format": "auto", "codec": "auto"}
    return graph


@pytest.mark.parametrize("ending", ["VHS_VideoCombine", "SaveVideo"])
def test_a_graph_that_ends_in_a_video_gives_its_pictures(ending: str) -> None:
    workflow = parse_workflow(video_graph(ending), "mine")
    saved = workflow.graph[workflow.points.output]
    assert saved["class_type"] == "SaveImage" and saved["inputs"]["images"] == ["23", 0]
    assert not [node for node in workflow.graph.values() if node["class_type"] in (ending, "CreateVideo")]
    assert fits(workflow) and ending in workflow.notes[0] and "loses pixels" in workflow.notes[0]


def custom_graph(cfg: bool = True) -> dict[str, Any]:
    """The default graph, sampling with SamplerCustomAdvanced."""
    graph = copy.deepcopy(plain("vace").workflow.graph)
    guider: dict[str, Any] = {"model": ["13", 0], "positive": ["20", 0], "negative": ["20", 1], "cfg": 6.0}
    if not cfg:
        guider = {"model": ["13", 0], "conditioning": ["20", 0]}
    schedule = {"model": ["13", 0], "scheduler": "simple", "steps": 25, "denoise": 1.0}
    graph["40"] = {"class_type": "RandomNoise", "inputs": {"noise_seed": 0}}
    graph["41"] = {"class_type": "CFGGuider" if cfg else "BasicGuider", "inputs": guider}
    graph["42"] = {"class_type": "KSamplerSelect", "inputs": {"sampler_name": "uni_pc"}}
    graph["43"] = {"class_type": "BasicScheduler", "inputs": schedule}
    inputs = {"noise": ["40", 0], "guider": ["41", 0], "sampler": ["42", 0], "sigmas": ["43", 0]}
    graph["21"] = {"class_type": "SamplerCustomAdvanced", "inputs": {**inputs, "latent_image": ["20", 2]}}
    return graph


def test_a_custom_sampler_takes_seed_steps_and_guidance() -> None:
    workflow = parse_workflow(custom_graph(), "mine")
    assert fits(workflow) and workflow.points.samplers == ("21",)
    graph = inject(workflow, Values(96, 64, 17, 12, "p", "text", "not", 3, 2.5), FILES)
    assert graph["40"]["inputs"]["noise_seed"] == 12 and graph["43"]["inputs"]["steps"] == 3
    assert graph["41"]["inputs"]["cfg"] == 2.5 and graph["14"]["inputs"]["text"] == "text"


def test_steps_and_guidance_never_vanish_without_a_word() -> None:
    workflow = parse_workflow(custom_graph(cfg=False), "mine")
    with pytest.raises(InputError, match=r"--cfg: workflow mine has no node that takes a guidance"):
        inject(workflow, Values(96, 64, 17, 12, "p", cfg=2.0), FILES)
    graph = custom_graph()
    graph["43"]["inputs"].pop("steps")
    with pytest.raises(InputError, match=r"--steps: workflow mine has no node that takes a number of steps"):
        inject(parse_workflow(graph, "mine"), Values(96, 64, 17, 12, "p", steps=2), FILES)
