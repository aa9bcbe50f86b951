"""VOID, which removes: what it is shown of a window, which of its pictures are taken, what is refused."""

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fake_comfy import FakeComfy
from fake_comfy.others import quadmask_levels
from fake_comfy.scene import config, make_scene, windows
from fake_comfy.schema import object_info
from fake_comfy.vace import Conditioning

from stages.base import Array
from stages.comfyui import ComfyStage
from stages.recipes.material import Material
from stages.recipes.registry import RECIPES, graph_file, plain
from stages.recipes.void import AFFECTED, KEPT, REMOVED, VOID
from stages.region import region
from stages.server.validate import check_workflow, problems
from stages.server.workflow import load_workflow, parse_workflow
from stages.vace.condition import Guides
from storage.errors import GeneratorError, InputError, UsageError
from stream.options.recipes import check_family

SIZE = (64, 64)


def material(length: int = 17, frames: int = 17) -> Material:
    scene = make_scene(frames, 64, 64)
    allowed = region(scene.objects, scene.persons, "both", (4, 4))
    seen = scene.frames, scene.keypoints, scene.objects, scene.persons
    return Material(*seen, allowed, length, SIZE, Guides())


def test_it_is_shown_the_source_and_a_mask_of_what_goes_what_that_affects_and_what_stays() -> None:
    given = material()
    made = VOID.condition(given)
    assert (made.kept, made.length, set(made.videos)) == (0, 21, {"source", "quadmask"})
    assert np.array_equal(made.videos["source"][:17], given.frames)
    mask, subjects = made.videos["quadmask"][:17], given.objects | given.persons
    assert (mask[subjects] == REMOVED).all() and (mask[given.region & ~subjects] == AFFECTED).all()
    assert (mask[~given.region] == KEPT).all() and (given.region & ~subjects).any()
    levels = quadmask_levels(mask.astype(np.float32) / 255)
    assert np.allclose(np.unique(levels), [0, 128 / 255, 1]), "the server draws them to these levels and no others"


@pytest.mark.parametrize(("length", "made"), [(17, 21), (45, 45), (49, 53), (77, 77), (81, 85), (85, 85)])
def test_windows_have_an_even_number_of_latents(length: int, made: int) -> None:
    """As `_valid_void_length` of comfy_extras/nodes_void.py has it; it would cut others short."""
    assert VOID.condition(material(length)).length == made
    assert ((made - 1) // 4 + 1) % 2 == 0


class Numbered:
    """Frame t has level t everywhere."""

    def __call__(self, positive: Conditioning, seed: int, graph: Any) -> Array:
        shape = positive.contexts[0].inactive.shape
        return np.broadcast_to(np.arange(shape[0], dtype=np.float32)[:, None, None, None] / 255, shape)


def test_the_three_frames_that_are_decoded_ahead_are_left_out() -> None:
    scene, window = make_scene(17, 64, 64), windows(17)[0]
    given = {"workflow": "void", "size": SIZE}
    with FakeComfy(Numbered()) as server, ComfyStage(config(server.address, **given)) as stage:
        made = stage.process(window, scene.inputs(window)).arrays["made"]
    assert made[:, 0, 0, 0].tolist() == list(range(17))


def test_a_graph_that_takes_them_is_refused(tmp_path: Path) -> None:
    graph = copy.deepcopy(plain("void").workflow.graph)
    graph["30"]["inputs"]["images"] = graph.pop("24")["inputs"]["image"]
    (tmp_path / "mine.json").write_text(json.dumps(graph))
    scene, window = make_scene(17, 64, 64), windows(17)[0]
    given = {"workflow": str(tmp_path / "mine.json"), "size": SIZE}
    with FakeComfy() as server, ComfyStage(config(server.address, **given)) as stage:
        wanted = pytest.raises(GeneratorError, match="gave 24 pictures, 21 are needed")
        with wanted:
            stage.process(window, scene.inputs(window))


def test_an_older_server_is_told_what_it_lacks() -> None:
    workflow = load_workflow(graph_file("void"), "void")
    with pytest.raises(InputError, match="VOIDInpaintConditioning is missing: install a newer ComfyUI") as refused:
        check_workflow(workflow, object_info(core=True), "box")
    assert "VOIDSampler" in str(refused.value) and "VOIDQuadmaskPreprocess" in str(refused.value)
    for file in ("void_pass1.safetensors", "cogvideox_vae.safetensors", "t5xxl_fp16.safetensors"):
        assert any(f"{file} is missing" in line for line in problems(workflow, object_info(frozenset([file]))))


def test_it_is_for_removal_and_removal_on_a_server_for_it() -> None:
    check_family("void", VOID, {"reskin": "remove", "window": 85, "size": (672, 384)})
    for reskin in ("both", "object", "person"):
        with pytest.raises(UsageError, match="--workflow void makes nothing new: it is for --reskin remove"):
            check_family("void", VOID, {"reskin": reskin})
    for name, recipe in RECIPES.items():
        if name != "void":
            told = f"--reskin remove: {name} draws the subjects anew: give --workflow void, or --generator plate"
            with pytest.raises(UsageError, match=told):
                check_family(name, recipe.family, {"reskin": "remove"})
    with pytest.raises(UsageError, match="--window 85 --overlap 21"):
        check_family("void", VOID, {"reskin": "remove", "window": 89})


def test_a_graph_of_ones_own_with_its_nodes_is_of_its_family() -> None:
    graph = {key: {**node, "_meta": {}} for key, node in plain("void").workflow.graph.items()}
    points = parse_workflow(graph, "mine").points
    assert points.wiring.family == "void" and points.loaders == {"source": "1", "quadmask": "3"}
