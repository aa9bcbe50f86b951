"""ComfyUI stage end to end on the fake server: continuity, colour drift, exactness, workflows, state."""

import json
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from fake_comfy import FakeComfy, Identity, Shift
from fake_comfy.generators import Generator
from fake_comfy.scene import Array, Picturing, Scene, config, make_scene, windows

from stages.base import Inputs
from stages.blend import BlendConfig, BlendStage
from stages.comfyui import ComfyConfig, ComfyStage
from stages.generator import Request
from stages.matching import Look
from stages.recipes.registry import graph_file
from stages.region import region
from stages.server.transport import encode_png
from stages.vace.continuity import window_seed
from storage.errors import InputError

SCENE = make_scene(41)


def run(scene: Scene, settings: ComfyConfig, inspect: Callable[[int, Array], None] | None = None) -> Array:
    """The blended clip, each window given what is already generated at its start."""
    done: list[Array] = []
    overlap = scene.frames[:0]
    with Picturing(settings) as stage, BlendStage(BlendConfig(17, 5)) as blend:
        for window in windows(len(scene.frames)):
            before = np.concatenate(done) if done else scene.frames[:0]
            tail = np.concatenate([before[window.read.start :], overlap]) if done else before
            raw = stage.process(window, scene.inputs(window, tail)).arrays["raw"]
            if inspect is not None:
                inspect(window.index, raw)
            given = {**scene.inputs(window).arrays, "raw": raw, "overlap": overlap}
            blended = blend.process(window, Inputs(given)).arrays
            done.append(blended["generated"])
            overlap = blended["overlap"]
    return np.concatenate(done)


@pytest.mark.parametrize("count", [9, 10, 17, 29, 33, 41])
@pytest.mark.parametrize("continuity", ["tail", "blend"])
def test_identity_gives_the_source_back(count: int, continuity: str) -> None:
    scene = make_scene(count)
    starts = [window.read.start for window in windows(count)]
    with FakeComfy(Identity(scene.frames, starts)) as server:
        assert np.array_equal(run(scene, config(server.address, continuity=continuity)), scene.frames)


def test_a_shifted_last_window_keeps_more() -> None:
    last = windows(36)[-1]
    assert last.read.start == 19 and last.final.start == 24
    with FakeComfy() as server, ComfyStage(config(server.address)) as stage:
        tail = SCENE.frames[19 : 24 + 5]
        info = stage.process(last, SCENE.inputs(last, tail)).info
        assert info["kept_frames"] == 10  # slots 0, 1, 2 read frames 1, 5, 8


def test_uploads_and_values_arrive_unchanged() -> None:
    window = windows(41)[1]
    tail = np.random.default_rng(0).integers(0, 256, (5, 48, 64, 3), dtype=np.uint8)
    with FakeComfy() as server, ComfyStage(config(server.address, prompt="robot", seed=7, cfg=3.5)) as stage:
        output = stage.process(window, SCENE.inputs(window, tail), Request(2, strength=0.6))
        graph = server.prompts[0]
        load = server.executor.interpreter._load
        control = np.round(load(graph["1"]["inputs"]["file"]) * 255).astype(np.uint8)
        mask = np.round(load(graph["3"]["inputs"]["file"])[..., 0] * 255).astype(np.uint8)
    assert np.array_equal(control[:4], tail[:4]) and not mask[:4].any() and set(np.unique(mask)) == {0, 255}
    keep = mask == 0
    keep[:4] = False
    assert np.array_equal(control[keep], SCENE.frames[slice(*window.read)][keep])
    sampler, vace = graph["21"]["inputs"], graph["20"]["inputs"]
    assert sampler["seed"] == output.info["seed"] == window_seed(7, 1, 2) and sampler["cfg"] == 3.5
    assert vace["strength"] == 0.6 and vace["length"] == 17 and graph["14"]["inputs"]["text"] == "robot"


def test_names_on_the_server_are_used_again() -> None:
    with FakeComfy() as server:
        run(SCENE, config(server.address))
        assert len(server.executor.files.input) == 2 and all(
            n.startswith("skate/") for n in server.executor.files.input
        )


def test_what_was_uploaded_is_emptied_in_the_end() -> None:
    with FakeComfy() as server:
        with ComfyStage(config(server.address)) as stage:
            window = windows(41)[0]
            stage.process(window, SCENE.inputs(window))
            assert all(server.executor.files.input.values())
        assert list(server.executor.files.input.values()) == [b"", b""]


def test_a_server_that_is_gone_in_the_end_is_not_waited_for() -> None:
    with FakeComfy() as server, ComfyStage(config(server.address)) as stage:
        window = windows(41)[0]
        stage.process(window, SCENE.inputs(window))
        server.away_until = time.monotonic() + 60
        seen, began = len(server.seen), time.monotonic()
        stage.close()
        assert len(server.seen) - seen <= 2 and time.monotonic() - began < 5


def test_attempts_differ_and_repeat() -> None:
    window = windows(17)[0]
    with FakeComfy() as server, Picturing(config(server.address)) as stage:
        requests = (Request(), Request(), Request(1), Request(1, dilate=(12, 12)))
        inputs = SCENE.inputs(window)
        first, again, other, wider = (stage.process(window, inputs, given).arrays["raw"] for given in requests)
    assert np.array_equal(first, again) and not np.array_equal(first, other)
    source = SCENE.frames[:17]
    assert (wider != source).any(axis=3).sum() > (other != source).any(axis=3).sum()


def test_dilation_is_in_pixels_of_the_generated_size() -> None:
    """Twice the source's size: 8 pixels there are 4 of the source, 4 are 2; the mask that is sent shows 8 and 4."""
    window = windows(17)[0]
    with FakeComfy() as server, Picturing(config(server.address, size=(128, 96), dilate=(8, 4))) as stage:
        raw = stage.process(window, SCENE.inputs(window)).arrays["raw"]
        load = server.executor.interpreter._load
        sent = load(server.prompts[0]["3"]["inputs"]["file"])[..., 0] > 0.5
    inputs = SCENE.inputs(window).arrays
    allowed = region(inputs["masks/object"], inputs["masks/person"], "both", (4.0, 2.0))
    assert ((raw != inputs["frames"]).any(axis=3) <= allowed).all()
    board, skater = (inputs[name][0] for name in ("masks/object", "masks/person"))
    left = 2 * np.flatnonzero(board.any(axis=0))[0]  # of the board, and of the skater's middle, at the generated size
    assert np.flatnonzero(sent[0, 2 * np.flatnonzero(board.any(axis=1))[-1]])[0] in range(left - 9, left - 6)
    left, row = 2 * np.flatnonzero(skater.any(axis=0))[0], 2 * int(np.flatnonzero(skater.any(axis=1)).mean())
    assert np.flatnonzero(sent[0, row])[0] in range(left - 5, left - 2)


def test_nothing_to_regenerate_asks_no_server() -> None:
    window = windows(17)[0]
    inputs = SCENE.inputs(window)
    empty = {name: values & False if name.startswith("masks") else values for name, values in inputs.arrays.items()}
    with FakeComfy() as server, Picturing(config(server.address)) as stage:
        output = stage.process(window, Inputs(arrays=empty))
        assert np.array_equal(output.arrays["raw"], SCENE.frames[:17]) and output.info["skipped"]
        assert not server.prompts


def test_restored_state_gives_the_same_bytes() -> None:
    plan = windows(41)
    tail = SCENE.frames[plan[1].read.start : plan[1].read.start + 5]
    with FakeComfy() as server:
        with Picturing(config(server.address)) as stage:
            stage.process(plan[0], SCENE.inputs(plan[0]))
            stage.process(plan[1], SCENE.inputs(plan[1], tail))
            values, arrays = stage.composite.get_state().to_parts()
            expected = stage.process(plan[2], SCENE.inputs(plan[2], tail)).arrays["raw"]
        with Picturing(config(server.address)) as stage:
            stage.composite.set_state(json.loads(json.dumps(values)), arrays)
            assert np.array_equal(stage.process(plan[2], SCENE.inputs(plan[2], tail)).arrays["raw"], expected)


def drift(generator: Generator, scene: Scene) -> Array:
    """Mean RGB of the region's core, window by window."""
    levels = []

    def inspect(index: int, raw: Array) -> None:
        window = windows(len(scene.frames))[index]
        levels.append(raw[scene.objects[slice(*window.read)]].mean(axis=0))

    with FakeComfy(generator) as server:
        run(scene, config(server.address, reskin="object", object_guide="none", dilate=(0, 0)), inspect)
    return np.array(levels)


def test_colour_drift_over_20_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = make_scene(17 + 19 * 12)
    assert len(windows(len(scene.frames))) == 20
    shift = (4 / 255, -3 / 255, 4 / 255)  # whole levels: kept frames come back in 8 bits
    matched = [drift(Shift(shift, everywhere), scene) for everywhere in (True, False)]
    monkeypatch.setattr("stages.composite.look", lambda *_: Look())
    unmatched = drift(Shift(shift), scene)
    before = np.abs(unmatched[-1] - unmatched[0])
    assert before == pytest.approx((19 * 4, 19 * 3, 19 * 4), abs=2)
    for levels in matched:  # with and without a shift outside the region that gives it away
        after = np.abs(levels - levels[0]).max(axis=0)
        print(f"drift over 20 windows: unmatched {before.round(1)}, matched at most {after.round(1)} (8-bit RGB)")
        assert (after <= 0.1 * before).all()


@pytest.mark.parametrize("name", ["vace", "vace-gguf", "vace-vhs", "vace-two-contexts"])
def test_packaged_workflows_run(name: str) -> None:
    window = windows(17)[0]
    with FakeComfy() as server:
        path = str(graph_file(name))
        with Picturing(config(server.address, workflow=path)) as stage:
            raw = stage.process(window, SCENE.inputs(window)).arrays["raw"]
        assert raw.shape == (17, 48, 64, 3) and (raw != SCENE.frames[:17]).any()
        assert len(server.executor.files.input) == (3 if name == "vace-two-contexts" else 2)


def test_reference(tmp_path: Path) -> None:
    window = windows(17)[0]
    picture = tmp_path / "look.png"
    picture.write_bytes(encode_png(np.full((30, 30, 3), 99, np.uint8)))
    with FakeComfy() as server:
        with ComfyStage(config(server.address, reference=str(picture))) as stage:
            assert stage.process(window, SCENE.inputs(window)).arrays["made"].shape == (17, 48, 64, 3)
        assert server.prompts[0]["reference"]["inputs"]["image"].endswith("_reference.png")
        for given, told in (
            ({"workflow": str(graph_file("vace-reference"))}, "give --reference"),
            ({"workflow": str(graph_file("vace")), "reference": str(picture)}, "no LoadImage"),
        ):
            with pytest.raises(InputError, match=told):
                ComfyStage(config(server.address, **given)).open()


def test_another_size_than_the_source() -> None:
    window = windows(17)[0]
    with FakeComfy() as server, Picturing(config(server.address, size=(96, 80))) as stage:
        raw = stage.process(window, SCENE.inputs(window)).arrays["raw"]
        made = stage.generator.process(window, SCENE.inputs(window)).arrays["made"]
    assert made.shape == (17, 80, 96, 3), "a generator gives back what it made"
    changed = (raw != SCENE.frames[:17]).any(axis=3)
    assert raw.shape == (17, 48, 64, 3) and changed.any()


def test_projected_memory_covers_what_is_held() -> None:
    ram, vram = ComfyStage(config("127.0.0.1:1")).peak_bytes(1080, 1920, 81)
    assert vram == 0 and ram > 81 * 1080 * 1920 * (3 + 3 + 4)
