"""What a run takes over from its recipe, what is refused, what the plan says of it."""

import copy
import dataclasses
import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from fake_comfy.scene import config as comfy_config

from stages.choices import SHAPES
from stages.comfyui import ComfyStage
from stages.prompts import ObjectPrompt
from stages.recipes.registry import plain
from stages.region import region, shaped
from stages.server.lora import Lora
from stages.subjects import OBJECT, Reskin, Subject
from storage.errors import InputError, UsageError
from storage.rundir import Manifest
from stream.engine.chain import Node
from stream.options.config import RunConfig
from stream.options.settings import check_words, resolve_generator
from stream.options.values import FILES, LORA
from stream.plan.calibration import Calibration, calibration_keys, expected_seconds
from stream.plan.hints import workflow_hints
from stream.run.variation import varied

OPEN = dict.fromkeys(["window", "overlap", "fill", "object_guide", "region", "pose_style", "model", "profile"])
MANIFEST: Manifest = {"video": {"width": 1280, "height": 720}}
BOX = ObjectPrompt(box=(1.0, 2.0, 3.0, 4.0))
RUN = RunConfig(BOX, generator="comfyui", text="x", server=("a:1",))


@pytest.fixture(scope="module")
def look(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("look") / "look.png"
    cv2.imwrite(str(path), np.full((8, 8, 3), 9, np.uint8))
    return str(path)


def resolved(look: str, **given: Any) -> dict[str, Any]:
    options = {**OPEN, "server": ("a:1",), "text": "a robot", **given}
    if plain(given.get("workflow")).recipe.reference == "needed":
        options["reference"] = look
    resolve_generator(options)
    return options


def test_what_is_open_is_the_recipes(look: str) -> None:
    vace, animate = resolved(look), resolved(look, workflow="wan-animate")
    scail, cog = resolved(look, workflow="scail2"), resolved(look, workflow="cogvideox-fun")
    found = [(item["window"], item["overlap"]) for item in (vace, animate, scail, cog)]
    assert found == [(81, 21), (77, 5), (81, 5), (49, 13)]
    assert (vace["pose_style"], animate["pose_style"]) == ("vace", "wan-animate")
    assert (vace["object_guide"], vace["fill"], vace["region"], vace["model"]) == ("scribble", "", "tight", ())
    own = resolved(look, window=49, overlap=9, fill="grey", object_guide="none", region="box", pose_style="controlnet")
    assert (own["window"], own["overlap"], own["fill"], own["region"]) == (49, 9, "grey", "box")
    without: dict[str, Any] = {**OPEN, "server": ()}
    resolve_generator(without)
    assert (without["window"], without["pose_style"]) == (81, "vace")


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"workflow": "wan-animate", "window": 81}, r"at most 77 frames at a time: give --window 77 --overlap 5"),
        ({"workflow": "cogvideox-fun", "window": 81}, r"at most 49 .* --window 49 --overlap 13"),
        ({"workflow": "scail2", "size": (832, 464)}, r"--size 832x464: both sides must be multiples of 32"),
        ({"workflow": "wan-animate", "reskin": "object"}, "makes persons alone: give --reskin person"),
        ({"profile": "fast", "workflow": "cogvideox-fun"}, "cogvideox-fun has quality, balanced"),
        ({"model": ("a", "b")}, "loads 1 models: give --model FILE1"),
        ({"server": (), "profile": "fast"}, "--profile is for ComfyUI"),
        ({"server": (), "lora": (Lora("x"),)}, "--lora is for ComfyUI"),
    ],
)
def test_what_a_recipe_cannot_do_is_refused(look: str, given: dict[str, Any], told: str) -> None:
    with pytest.raises(UsageError, match=told):
        resolved(look, **given)


def test_a_name_is_a_recipe_and_a_path_a_file(look: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"neither a recipe \(vace, .*\) nor a file"):
        resolved(look, workflow="vace2")
    graph = plain("vace-14b").workflow.graph
    (tmp_path / "mine.json").write_text(json.dumps(graph))
    assert resolved(look, workflow=str(tmp_path / "mine.json"))["window"] == 81
    with pytest.raises(UsageError, match="is a file: quality, balanced, fast are of the recipes alone"):
        resolved(look, workflow=str(tmp_path / "mine.json"), profile="fast")


def test_words_that_all_stand_in_swap_are_words() -> None:
    tracked = dataclasses.replace(RUN, text="", generator="preview", server=(), swap=(("object", "a log"),))
    assert varied(tracked, {"server": ("127.0.0.1:1",)}).swap == tracked.swap
    more = {"server": ("127.0.0.1:1",), "swap": (("person", "a monk"), ("object", "a keg"))}
    assert varied(tracked, more).swap == (("object", "a keg"), ("person", "a monk")), "of others they stay"
    with pytest.raises(UsageError, match="without a word"):
        varied(dataclasses.replace(tracked, swap=()), {"server": ("127.0.0.1:1",)})


def test_each_that_is_generated_for_itself_has_words(look: str) -> None:
    """The workflow's own text is of the clip, not of a subject who is named."""
    subjects = (Subject("board", OBJECT, BOX), Subject("cone", OBJECT, BOX), Subject("bag", OBJECT, BOX))
    one, two, off = Reskin("board", prompt="a log"), Reskin("cone"), Reskin("bag", on=False, prompt="a stone")
    scene = dataclasses.replace(RUN, prompt=None, text="", scene=subjects, reskins=(one, two, off), passes="each")
    with pytest.raises(UsageError, match=r"'cone' is generated without a word .* --swap cone=TEXT, or --prompt"):
        check_words(scene)
    check_words(dataclasses.replace(scene, passes="together"))
    for told in ({"text": "x"}, {"swap": (("cone", "x"),)}, {"reference": look}, {"generator": "preview"}):
        check_words(dataclasses.replace(scene, **told))
    with pytest.raises(UsageError, match="--server without a word of what to make"):
        check_words(dataclasses.replace(scene, passes="together", reskins=(Reskin("board"), two, off)))
    every = (one, dataclasses.replace(two, prompt="x"), off)
    with pytest.raises(UsageError, match=r"nothing says what {tree} becomes"):
        check_words(dataclasses.replace(scene, reskins=every, text="a {tree}"))


def test_another_recipe_takes_its_own_look(look: str) -> None:
    tracked = dataclasses.replace(RUN, object_guide="canny", profile="quality", window=49, overlap=9)
    same = varied(tracked, {"text": "y"})
    assert (same.object_guide, same.profile, same.window) == ("canny", "quality", 49)
    other = varied(tracked, {"workflow": "scail2", "reference": look})
    assert (other.object_guide, other.profile, other.window) == ("none", None, 49)
    with pytest.raises(UsageError, match="--window 77"):
        varied(RUN, {"workflow": "wan-animate", "reference": look})


def test_another_variation_is_made_where_the_run_was_as_far_as_that_can_do_it() -> None:
    here = RunConfig(BOX, generator="preview")
    assert varied(here, {"seed": 3}).generator == "preview"
    assert varied(here, {"reskin": "remove"}).generator == "plate"
    empty = dataclasses.replace(here, generator="plate", reskin="remove")
    assert (varied(empty, {}).generator, varied(empty, {"reskin": "both"}).generator) == ("plate", "preview")
    with pytest.raises(UsageError, match="give --workflow void, or --generator plate without --server"):
        varied(RUN, {"reskin": "remove"})
    removed = varied(RUN, {"reskin": "remove", "workflow": "void"})
    assert (removed.generator, removed.server) == ("comfyui", ("a:1",))
    removed = varied(RUN, {"reskin": "remove", "generator": "plate"})
    assert (removed.generator, removed.server) == ("plate", ())
    tried = dataclasses.replace(RUN, retries=2)
    assert (varied(tried, {}).retries, varied(tried, {"generator": "preview"}).retries) == (2, 0)
    given = dataclasses.replace(here, chain="given", masks="m", pose_file="p")
    assert varied(given, {}).chain == "given" and varied(dataclasses.replace(here, chain="extract"), {}).chain == "run"


def test_a_lora_is_written_with_its_strength() -> None:
    assert LORA.read("x.safetensors") == Lora("x.safetensors", 1.0)
    assert LORA.read("wan/x.safetensors:0.53") == Lora("wan/x.safetensors", 0.53)
    assert LORA.read(json.loads(LORA.write(Lora("x", 0.5)))) == Lora("x", 0.5)
    assert FILES.read("h.gguf, l.gguf") == ("h.gguf", "l.gguf") and FILES.read(json.loads(FILES.write(("a",)))) == (
        "a",
    )
    for bad in ("x:nan", "x:", ":1", "x:1e9", ""):
        with pytest.raises(ValueError):
            LORA.read(bad)


def test_a_run_keeps_its_loras_in_its_config() -> None:
    config = dataclasses.replace(RUN, lora=(Lora("x", 0.5),), model=("m",), profile="fast", workflow="vace-14b")
    assert RunConfig.from_json(json.loads(json.dumps(config.to_json()))) == config


# --- the plan ---


def seconds(**given: Any) -> float:
    """Of a frame, when a step without guidance takes a second."""
    config = dataclasses.replace(RUN, **given)
    nodes = [Node(ComfyStage(comfy_config("a:1")))]
    calibration = Calibration({calibration_keys(config, nodes)["generate"]: 1.0 / (1280 * 720)})
    found = expected_seconds(calibration, config, MANIFEST, nodes, 1)
    assert found is not None
    return found


def test_the_plans_time_follows_profile_steps_and_guidance() -> None:
    """Guidance runs the model twice a step."""
    assert seconds() == pytest.approx(50)  # the graph's: 25 steps at cfg 6
    assert seconds(workflow="vace-14b", profile="quality") == pytest.approx(60)
    assert seconds(workflow="vace-14b", profile="fast") == pytest.approx(4)
    assert seconds(workflow="vace-14b", profile="fast", steps=6) == pytest.approx(6)
    assert seconds(steps=10, cfg=1.0) == pytest.approx(10)


def test_the_plan_says_what_is_lost(tmp_path: Path, look: str) -> None:
    graph = copy.deepcopy(plain("vace").workflow.graph)
    images = graph.pop("30")["inputs"]["images"]
    inputs = {"images": images, "frame_rate": 16, "filename_prefix": "x"}
    graph["31"] = {"class_type": "VHS_VideoCombine", "inputs": inputs}
    (tmp_path / "mine.json").write_text(json.dumps(graph))
    (hint,) = workflow_hints(dataclasses.replace(RUN, workflow=str(tmp_path / "mine.json")))
    assert "VHS_VideoCombine (node 31) makes a video, which loses pixels" in hint
    (hint,) = workflow_hints(dataclasses.replace(RUN, workflow="wan-animate", reference=look))
    assert "shown nothing of the object" in hint and "--reskin person keeps the source's" in hint
    assert workflow_hints(RUN) == [] == workflow_hints(dataclasses.replace(RUN, generator="preview"))


# --- the region's shape ---


def test_shapes_of_the_region() -> None:
    mask = np.zeros((20, 30), np.bool_)
    mask[4, 5:15] = mask[4:12, 5] = True  # an L
    tight, hull, box = (shaped(mask, shape) for shape in SHAPES)
    assert np.array_equal(tight, mask) and box.sum() == 8 * 10 and box[4:12, 5:15].all()
    assert (mask <= hull).all() and (hull <= box).all() and mask.sum() < hull.sum() < box.sum()
    assert not shaped(np.zeros((5, 5), np.bool_), "hull").any()
    persons = np.zeros((1, 20, 30), np.bool_)
    persons[0, 15:18, 20:25] = True
    for shape in SHAPES:
        found = region(mask[None], persons, "both", (2.0, 1.0), shape)[0]
        assert (region(mask[None], persons, "both", (2.0, 1.0))[0] <= found).all()
    boxed = region(mask[None], persons, "both", (0.0, 0.0), "box")[0]
    assert np.array_equal(boxed, box | persons[0]), "each has a box of its own"
    kept = region(mask[None], mask[None] & (np.arange(30) < 8), "object", (0.0, 0.0), "box")[0]
    assert (mask <= kept).all()
