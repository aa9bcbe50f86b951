"""`--continuity latent`: what a window hands to the next lies on the server as latents."""

import json
from pathlib import Path

import numpy as np
import pytest
from fake_comfy import Drift, FakeComfy
from fake_comfy.scene import config, make_scene, windows

from stages.base import Output
from stages.comfyui import ComfyStage
from stages.prompts import ObjectPrompt
from stages.recipes.registry import plain
from stages.server.latent import Carried, Latents, places
from stages.server.transport import encode_png
from stages.vace.carry import LatentState
from storage.errors import InputError, UsageError
from stream.options.config import RunConfig

SCENE = make_scene(53)
PLAN = windows(53, 33, 13)
MASKS, STARTS = SCENE.objects | SCENE.persons, [window.read.start for window in PLAN]
DRIFT = Drift(MASKS, np.ones((53, 3)), STARTS, (6.0, -5.0, 7.0))


def two_windows(stage: ComfyStage) -> tuple[Output, Output]:
    """The second is given what the first made of the overlap."""
    first = stage.process(PLAN[0], SCENE.inputs(PLAN[0]))
    return first, stage.process(PLAN[1], SCENE.inputs(PLAN[1], first.arrays["made"][20:]))


@pytest.mark.parametrize("workflow", ["vace", "vace-vhs", "vace-two-contexts", "reference"])
def test_slots_are_taken_over_as_they_are(workflow: str, tmp_path: Path) -> None:
    """Also with a reference, whose slot lies in front, and with two contexts."""
    look = tmp_path / "look.png"
    look.write_bytes(encode_png(np.full((48, 64, 3), 99, np.uint8)))
    given = {"workflow": "vace", "reference": str(look)} if workflow == "reference" else {"workflow": workflow}
    with FakeComfy(DRIFT) as server, ComfyStage(config(server.address, continuity="latent", **given)) as stage:
        first, second = two_windows(stage)
        graph = server.prompts[1]
    slots = second.info["carried_slots"]
    assert first.info["carried_slots"] == 0 and slots >= 2
    loads = [node["inputs"]["latent"] for node in graph.values() if node["class_type"] == "LoadLatent"]
    assert loads == [first.info["latent"]]
    held = slice(1, 4 * slots + 1)
    assert np.array_equal(second.arrays["made"][held], first.arrays["made"][20:][held]), (
        "as the window before made them"
    )


def test_through_the_vae_once_more_they_move_on() -> None:
    with FakeComfy(DRIFT) as server, ComfyStage(config(server.address, continuity="tail")) as stage:
        first, second = two_windows(stage)
    again = second.arrays["made"][1:9].astype(int) - first.arrays["made"][21:29]
    assert again.mean(axis=(0, 1, 2)) == pytest.approx((6, -5, 7), abs=2)


def test_what_is_carried_is_a_state() -> None:
    with FakeComfy(DRIFT) as server:
        settings = config(server.address, continuity="latent")
        with ComfyStage(settings) as stage:
            stage.process(PLAN[0], SCENE.inputs(PLAN[0]))
            values, arrays = stage.get_state().to_parts()
            expected = stage.process(PLAN[1], SCENE.inputs(PLAN[1], SCENE.frames[20:33]))
        with ComfyStage(settings) as stage:
            stage.set_state(json.loads(json.dumps(values)), arrays)
            again = stage.process(PLAN[1], SCENE.inputs(PLAN[1], SCENE.frames[20:33]))
        assert np.array_equal(expected.arrays["made"], again.arrays["made"]) and again.info["carried_slots"] >= 2
        assert values["server"] == server.address and values["slots"] == 9


def test_only_whole_slots_of_the_same_server_are_taken_over() -> None:
    state = LatentState("a:1", "x.latent [output]", 0, 9)
    assert state.latents(PLAN[1], 10, 33, "a:1") == Latents(9, Carried("x.latent [output]", 6, 2))
    assert state.latents(PLAN[1], 4, 33, "a:1").carried is None, "slot 0 alone"
    assert state.latents(PLAN[1], 17, 33, "a:1").carried is None, "more than the window before made"
    shifted = windows(52, 33, 13)[-1]
    assert shifted.read.start % 4 and state.latents(shifted, 10, 33, "a:1").carried is None
    assert LatentState().latents(PLAN[1], 10, 33, "a:1") == Latents(9)
    with pytest.raises(UsageError, match="lie on ComfyUI at a:1, not at b:2: give --server a:1"):
        LatentState("a:1", "x", 0, 9).latents(PLAN[1], 10, 33, "b:2")
    mask = Latents(5, Carried("x", 4, 2)).noise_mask(1)
    assert mask[:, 0, 0].tolist() == [255, 255, 0, 0, 255, 255]


def test_what_cannot_hand_latents_on_is_refused() -> None:
    with pytest.raises(UsageError, match=r"--continuity latent: .* give one --server, or --continuity tail"):
        config("a:1", "b:2", continuity="latent")
    with pytest.raises(UsageError, match=r"share 20 do not begin .* give --overlap 21"):
        RunConfig(ObjectPrompt(box=(1, 2, 30, 40)), continuity="latent", overlap=20)
    for name in ("wan-animate", "scail2", "cogvideox-fun", "void", "vace-wrapper", "vace-22"):
        with pytest.raises(
            InputError, match=f"--continuity latent: {name} has no single sampler .* give --continuity tail"
        ):
            places(plain(name).workflow)
    without = frozenset(["LoadLatent", "LatentCut"])
    with FakeComfy(without=without) as server, pytest.raises(InputError, match=r"LatentCut is missing.*LoadLatent is"):
        ComfyStage(config(server.address, continuity="latent")).open()
