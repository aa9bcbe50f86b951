"""Every recipe on the test server: what goes in, is kept and comes out; what its model is shown; what is refused."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from fake_comfy import FakeComfy, Identity
from fake_comfy.generators import frame_slots
from fake_comfy.others import frames_of_rows, mask_rows
from fake_comfy.scene import Array, Picturing, config, make_scene, windows
from fake_comfy.vace import nearest_exact

from stages.base import Inputs
from stages.blend import BlendConfig, BlendStage
from stages.comfyui import ComfyStage
from stages.recipes.animate import CARRIED, face_video, mask_for_version
from stages.recipes.cogvideox import NEWER
from stages.recipes.material import Conditioning, Material
from stages.recipes.registry import FAMILIES, HELPERS, RECIPES, Wanted, choose
from stages.recipes.scail import PALETTE, identities
from stages.server import transport
from stages.vace.condition import Guides
from stages.vace.continuity import sampled_frames, slot_frames, union_by_slot
from storage.errors import InputError, UsageError
from stream.engine.windows import WindowPlan

SIZE = (64, 64)  # multiples of 32, which SCAIL-2 needs
VERSIONS = ("0.3.64", "0.36.0", "0.38.1")  # the last whose mask is early, one in between, the first where it is right


@pytest.fixture(scope="module")
def look(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A picture of the new look, transparent around the subject."""
    path = tmp_path_factory.mktemp("look") / "look.png"
    picture = np.full((40, 30, 4), 90, np.uint8)
    picture[..., 3] = 255
    picture[:, :10, 3] = 0
    cv2.imwrite(str(path), picture)
    return str(path)


def options(name: str, look: str) -> dict[str, Any]:
    reference = {} if RECIPES[name].reference == "none" else {"reference": look}
    return {"workflow": name, "size": SIZE, **reference}


@pytest.mark.parametrize("name", RECIPES)
def test_the_identity_gives_the_source_back_in_every_pixel(name: str, look: str) -> None:
    """Three windows of 17 frames, the last shifted back; each given what is generated already."""
    scene = make_scene(36, 64, 64)
    plan = windows(36)
    done: list[Array] = []
    overlap, kept = scene.frames[:0], []
    generator = Identity(scene.frames, [window.read.start for window in plan])
    with FakeComfy(generator) as server, BlendStage(BlendConfig(17, 5)) as blend:
        with Picturing(config(server.address, **options(name, look))) as stage:
            for window in plan:
                before = np.concatenate(done) if done else scene.frames[:0]
                tail = np.concatenate([before[window.read.start :], overlap]) if done else before
                output = stage.process(window, scene.inputs(window, tail))
                kept.append(output.info["kept_frames"])
                assert output.arrays["raw"].shape == (17, 64, 64, 3)
                given = {**scene.inputs(window).arrays, "raw": output.arrays["raw"], "overlap": overlap}
                blended = blend.process(window, Inputs(given))
                done.append(blended.arrays["generated"])
                overlap = blended.arrays["overlap"]
        assert np.array_equal(np.concatenate(done), scene.frames)
        lengths = [value for node in server.prompts[0].values() for key, value in node["inputs"].items()
                   if key in ("length", "num_frames")]  # fmt: skip
        assert set(lengths) == {21 if name == "void" else 17}, "VOID has an even number of latents"
    expected = {"wan-animate": [0, 5, 5], "scail2": [0, 5, 5], "cogvideox-fun": [0, 0, 0], "void": [0, 0, 0]}
    assert kept == expected.get(name, [0, 4, 10])


@pytest.mark.parametrize(
    ("name", "more"),
    [
        *((name, {}) for name in ("vace-two-contexts", "wan-animate", "scail2", "cogvideox-fun", "void")),
        ("vace", {"object_guide": "depth"}),
        ("vace", {"continuity": "blend"}),
    ],
)
def test_a_window_conditioned_ahead_sends_the_same_to_the_byte(
    name: str, look: str, more: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """And nothing of it is encoded again but where frames of the window before are put in."""
    scene, window = make_scene(41, 64, 64), windows(41)[1]
    inputs = scene.inputs(window, scene.frames[:5] + np.uint8(9))
    alone = Inputs({key: values for key, values in inputs.arrays.items() if key not in ("generated", "overlap")})
    encoded: list[int] = []
    encode = transport._encode_group

    def counting(frames: Array) -> list[bytes]:
        encoded.append(len(frames))
        return encode(frames)

    monkeypatch.setattr(transport, "_encode_group", counting)
    sent = []
    with FakeComfy() as server, ComfyStage(config(server.address, **options(name, look), **more)) as stage:
        for conditioned in (None, stage.condition(window, alone)):
            encoded.clear()
            output = stage.process(window, replace(inputs, conditioned=conditioned))
            sent.append((dict(server.executor.files.input), output.arrays["made"], output.info["kept_frames"]))
    (plain, made, kept), (ahead, also_made, also_kept) = sent
    assert plain == ahead and np.array_equal(made, also_made) and kept == also_kept
    assert len(plain) >= 1 and (not kept or encoded) and all(count in (5, 12) for count in encoded)
    assert bool(kept) == bool(encoded) or name == "wan-animate", "its mask is fitted to the server"


@pytest.mark.parametrize("name", RECIPES)
def test_what_a_server_lacks_is_named(name: str, look: str) -> None:
    vae = {"cogvideox-fun": "t5xxl_fp8_e4m3fn.safetensors", "vace-wrapper": "Wan2_1_VAE_bf16.safetensors",
           "void": "cogvideox_vae.safetensors"}  # fmt: skip
    lacks = vae.get(name, "wan_2.1_vae.safetensors")
    with FakeComfy(without=frozenset([lacks])) as server, pytest.raises(InputError, match=lacks):
        ComfyStage(config(server.address, **options(name, look))).open()


# --- VACE: mask frames by latent slot ---


def leaking_slots(objects: Array, sent: Array) -> int:
    """Latent slots of WanVaceToVideo whose mask leaves out a pixel of the object that their frames show."""
    slots = frame_slots(len(objects))
    masks = sent[nearest_exact(len(objects))]
    return sum(bool((objects[slots == slot] & ~masks[slot]).any()) for slot in range(len(masks)))


def test_a_fast_board_leaks_into_no_slot() -> None:
    """A board of 10 pixels that moves 8 a frame: with the masks as they are it leaks, with the union into no slot."""
    objects = np.zeros((81, 16, 700), np.bool_)
    for index in range(81):
        objects[index, 5:9, 8 * index : 8 * index + 10] = True
    before, after = leaking_slots(objects, objects), leaking_slots(objects, union_by_slot(objects))
    print(f"slots that a fast board leaks into: {before} of 21 before, {after} after")
    assert (before, after) == (21, 0)


@pytest.mark.parametrize("length", [9, 17, 33, 49, 81])
def test_the_union_is_of_the_slots_frames_and_of_the_one_that_it_reads(length: int) -> None:
    region = np.random.default_rng(length).random((length, 3, 4)) < 0.2
    sent = union_by_slot(region)
    reads = sampled_frames(length)
    assert reads == nearest_exact(length).tolist()
    for slot, read in enumerate(reads):
        frames = slot_frames(slot)
        assert frame_slots(length).tolist().count(slot) == len(frames)
        assert np.array_equal(sent[read], region[frames.start : frames.stop].any(axis=0) | region[read])
    others = [index for index in range(length) if index not in reads]
    assert np.array_equal(sent[others], region[others])


@pytest.mark.parametrize("workflow", ["vace", "vace-wrapper", "vace-two-contexts"])
def test_the_server_reads_masks_without_a_leak(workflow: str) -> None:
    scene = make_scene(17, 64, 64)
    window = windows(17)[0]
    given = {"workflow": workflow, "size": SIZE, "dilate": (0, 0)}
    with FakeComfy() as server, ComfyStage(config(server.address, **given)) as stage:
        stage.process(window, scene.inputs(window))
        load = server.executor.interpreter._load
        sent = load(server.prompts[0]["3"]["inputs"]["file"])[..., 0] > 0.5
    both = scene.objects | scene.persons
    assert leaking_slots(both, sent) == 0 < leaking_slots(both, both)


@pytest.mark.parametrize("workflow", ["vace", "vace-two-contexts", "vace-wrapper"])
def test_depth_is_made_by_the_server_inside_the_object_alone(workflow: str) -> None:
    scene = make_scene(17, 64, 64)
    window = windows(17)[0]
    given = {"workflow": workflow, "size": SIZE, "object_guide": "depth", "reskin": "object"}
    with FakeComfy() as server, ComfyStage(config(server.address, **given)) as stage:
        stage.process(window, scene.inputs(window))
        results, graph = server.executor.interpreter, server.prompts[0]
        laid = results.cache[results.signature(graph, "depth_of_the_object")][0]
        control = results._load(graph["1"]["inputs"]["file"])
    grey = scene.frames.mean(axis=3, keepdims=True) / 255
    assert np.allclose(laid[scene.objects], np.repeat(grey, 3, axis=3)[scene.objects], atol=1e-5)
    assert np.array_equal(laid[~scene.objects], control[~scene.objects])
    without = frozenset(["DepthAnythingV2Preprocessor"])
    with FakeComfy(without=without) as server, pytest.raises(InputError, match="install comfyui_controlnet_aux"):
        ComfyStage(config(server.address, **given)).open()
    with pytest.raises(InputError, match="takes no control video"):
        choose(Wanted("cogvideox-fun", depth=True))


# --- Wan-Animate ---


def material(**given: Any) -> Material:
    scene = make_scene(17, 64, 64)
    plain = {
        "frames": scene.frames,
        "keypoints": scene.keypoints,
        "objects": scene.objects,
        "persons": scene.persons,
        "region": scene.objects | scene.persons,
        "length": 17,
        "size": SIZE,
        "guides": Guides(fill="black", object_guide="none", pose_style="wan-animate"),
    }
    return Material(**{**plain, **given})


def shown(given: Material, tail: Array) -> Conditioning:
    """What Animate is shown of a window whose first frames are made already."""
    family = RECIPES["wan-animate"].family
    return family.carry(family.condition(given), tail, SIZE)


def asked_for(given: Conditioning, version: str) -> Array:
    """`[17, h, w]` bool: what a server of this version is asked to make anew, by its own arithmetic."""
    mask = mask_for_version(given, tuple(map(int, version.split(".")))).videos["mask"]
    rows = mask_rows(mask.astype(np.float32) / 255, 17, given.kept, version == "0.38.1")
    return np.asarray(frames_of_rows(rows) > 0.5)


@pytest.mark.parametrize("carried", [0, CARRIED])
@pytest.mark.parametrize("version", VERSIONS)
def test_animates_mask_lies_on_its_frames(version: str, carried: int) -> None:
    """At 0.3.64 the node takes the mask 3 frames early; the last 3 frames it has no mask for are made anew whole."""
    tail = make_scene(17, 64, 64).frames[: carried and carried + 2]
    given = shown(material(), tail)
    assert given.kept == carried
    region = material().region.copy()
    region[:carried] = False
    asked = asked_for(given, version)
    end = 17 if version == "0.38.1" else 14
    assert not (region[:end] & ~asked[:end]).any(), "nothing of the person is kept"
    if version != "0.36.0":
        assert np.array_equal(asked[:end], region[:end]), "and nothing beside it is made anew"
    if version == "0.3.64":
        rows = mask_rows(given.videos["mask"].astype(np.float32) / 255, 17, carried, right=False)
        early = frames_of_rows(rows) > 0.5
        assert not np.array_equal(early[:end], region[:end]), "sent as it is it would lie elsewhere"


def test_animate_is_shown_skeleton_background_face_and_the_frames_before() -> None:
    points = make_scene(17, 64, 64).keypoints.copy()
    points[:, 23:91, :2] = np.stack(np.meshgrid(np.arange(20, 24), np.arange(10, 27)), -1).reshape(68, 2)
    tail = make_scene(17, 64, 64).frames[:7] + np.uint8(1)
    given = shown(material(keypoints=points, channels=frozenset(["face", "before"])), tail)
    region = material().region
    assert np.array_equal(given.videos["before"], tail[:5])
    background = given.videos["background"]
    assert np.array_equal(background[:5], tail[:5]) and (background[5:][region[5:]] == 0).all()
    assert np.array_equal(background[5:][~region[5:]], material().frames[5:][~region[5:]])
    face = given.videos["face"]
    assert face.shape == (17, 512, 512, 3)
    crop = material().frames[0, 18, 22]  # the middle of the points
    assert np.abs(face[0, 256, 256].astype(int) - crop).max() <= 64 and face.any()
    hidden = points.copy()
    hidden[:, 23:91, 2] = 0
    nobody = RECIPES["wan-animate"].family.condition(material(keypoints=hidden, channels=frozenset(["face"])))
    assert not nobody.videos["face"].any()


@pytest.mark.parametrize("right", [True, False])
@pytest.mark.parametrize("version", [(), (0, 36, 0)])
def test_of_a_version_that_may_read_masks_early_or_not_nothing_of_the_person_is_kept(
    version: tuple[int, ...], right: bool
) -> None:
    given = shown(material(), make_scene(17, 64, 64).frames[:0])
    sent = mask_for_version(given, version)
    rows = mask_rows(sent.videos["mask"].astype(np.float32) / 255, 17, 0, right=right)
    assert not (material().region[:14] & ~(frames_of_rows(rows)[:14] > 0.5)).any()
    assert {name for name, video in given.videos.items() if video is not sent.videos[name]} == {"mask"}


def test_the_face_is_that_of_who_is_nearest_square_with_some_room() -> None:
    """26 pixels for a face of 10 x 20, its middle in the middle, of the last of several persons."""
    rows, columns = np.mgrid[:96, :128].astype(np.uint8)
    frame = np.stack([columns, rows, rows * 0], -1)[None]
    people = np.zeros((1, 2, 133, 3), np.float32)
    people[0, 0, 23:91] = (90.0, 20.0, 1.0)
    people[0, 1, 23:91, 2] = 1
    people[0, 1, 23:91, :2] = np.stack([np.linspace(20, 30, 68), np.linspace(40, 60, 68)], -1)
    people[0, 1, 23, 2] = 0.2  # it is not seen, and does not count
    people[0, 1, 23, :2] = 100
    face = face_video(frame, people)
    assert np.array_equal(face, face_video(frame, people[:, 1]))
    low, high = 25 - 13, 25 + 13
    assert np.abs(face[0, 256, [1, 256, 511], 0].astype(int) - (low, 25, high)).max() <= 1
    assert np.abs(face[0, [1, 256, 511], 256, 1].astype(int) - (50 - 13, 50, 50 + 13)).max() <= 1


def test_a_window_is_padded_by_reflection_in_everything_that_is_sent() -> None:
    """Of a clip that ends within it; of pictures that are wider than high."""
    scene = make_scene(14, 64, 96)
    ours = {"frames": scene.frames, "keypoints": scene.keypoints, "objects": scene.objects, "persons": scene.persons,
            "region": scene.objects | scene.persons, "length": 21, "size": (96, 64),
            "channels": frozenset(["face", "pose"])}  # fmt: skip
    order = [*range(14), *range(12, 5, -1)]
    for family in {id(recipe.family): recipe.family for recipe in RECIPES.values()}.values():
        given = family.condition(material(**ours))
        assert given.length == 21
        for channel, video in given.videos.items():
            assert len(video) == 21 and (channel == "face" or video.shape[1:3] == (64, 96)), channel
            if channel == "pose":
                rows = np.flatnonzero(video[0].any(axis=(1, 2)))
                assert rows[0] <= 12 and 44 <= rows[-1] <= 52, "from the head at 9 to the hands at 48"
            if channel != "mask" and family.name != "vace":  # whose mask is wider on frames that a slot reads
                assert np.array_equal(video, video[:14][order]), (family.name, channel)


# --- SCAIL-2 ---


@pytest.mark.parametrize(("available", "kept"), [(0, 0), (4, 1), (5, 5), (9, 5)])
def test_scail_goes_on_from_at_most_five_frames_as_a_video_of_their_own(available: int, kept: int) -> None:
    """4n+1 of them, which its VAE encodes: `previous_frame_count` is 5."""
    family = RECIPES["scail2"].family
    given, tail = family.condition(material()), make_scene(17, 64, 64).frames[:available] + np.uint8(1)
    found = family.carry(given, tail, SIZE)
    assert found.kept == kept and set(found.videos) - set(given.videos) == ({"before"} if kept else set())
    assert not kept or np.array_equal(found.videos["before"], tail[:kept])
    assert all(np.array_equal(found.videos[channel], video) for channel, video in given.videos.items())


def test_sizes_and_rates_are_those_of_nodes_and_models() -> None:
    """`step` of the nodes' width and height, the rates their models were trained on."""
    found = {family.name: family.geometry for family in FAMILIES.values()}
    assert {name: (geometry.size_step, geometry.fps) for name, geometry in found.items()} == {
        "vace": (16, 16), "wan-animate": (16, 16), "scail2": (32, 16), "cogvideox-fun": (16, 8), "void": (16, 12),
    }  # fmt: skip


def test_scail_is_shown_the_source_and_pure_colours() -> None:
    given = RECIPES["scail2"].family.condition(material())
    assert np.array_equal(given.videos["driving"], material().frames)
    colours = given.videos["identities"]
    assert {tuple(colour) for colour in colours.reshape(-1, 3)} == {PALETTE[0], PALETTE[1], (255, 255, 255)}
    assert (colours[material().persons] == PALETTE[0]).all()
    board = material().objects & ~material().persons
    assert (colours[board] == PALETTE[1]).all()
    nobody = RECIPES["scail2"].family.condition(material(persons=material().persons & False))
    assert (nobody.videos["identities"][material().objects] == PALETTE[1]).all(), "the same where nobody is in sight"
    objects = replace(material().guides, skeleton=False)  # as of `--reskin object`
    alone = RECIPES["scail2"].family.condition(material(persons=material().persons & False, guides=objects))
    assert (alone.videos["identities"][material().objects] == PALETTE[0]).all(), "who is alone is the first"
    both = np.ones((1, 2, 2), np.bool_)
    assert (identities([both, both], (1, 2, 2)) == PALETTE[0]).all(), "the first wins where two overlap"


def test_scails_reference_stands_in_its_colour_on_black(look: str) -> None:
    scene = make_scene(17, 64, 64)
    with FakeComfy() as server, ComfyStage(config(server.address, **options("scail2", look))) as stage:
        stage.process(windows(17)[0], scene.inputs(windows(17)[0]))
        graph = server.prompts[0]
        data = server.executor.files.input[graph["9"]["inputs"]["image"]]
    mask = np.asarray(cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR))[..., ::-1]
    assert {tuple(colour) for colour in mask.reshape(-1, 3)} == {PALETTE[0], (0, 0, 0)}
    assert (mask[32, 40] == PALETTE[0]).all() and not mask[32, 12].any() and not mask[:, 0].any()
    assert "previous_frames" not in graph["20"]["inputs"], "the first window has none before it"


# --- enlarged ---


def test_what_was_made_is_enlarged_before_it_is_composited() -> None:
    """Of a source twice the generator's size: pictures come back at the source's, the region is as wide as without."""
    scene = make_scene(17, 128, 128)
    window = windows(17)[0]
    given = {"size": SIZE, "dilate": (3, 3), "steps": 1}
    results = []
    for upscale in (None, "RealESRGAN_x2plus.pth"):
        with FakeComfy() as server, Picturing(config(server.address, **given, upscale=upscale)) as stage:
            made = stage.generator.process(window, scene.inputs(window)).arrays["made"]
            results.append((made, stage.process(window, scene.inputs(window)).arrays["raw"]))
            classes = [node["class_type"] for node in server.prompts[0].values()]
            assert ("ImageUpscaleWithModel" in classes) == (upscale is not None)
    (small, plain), (large, enlarged) = results
    assert small.shape == (17, 64, 64, 3) and large.shape == (17, 128, 128, 3)
    where = (scene.objects | scene.persons).any(axis=0)  # what lies around it is resized here
    assert np.array_equal(large[:, where], small.repeat(2, axis=1).repeat(2, axis=2)[:, where])
    changed = [(raw != scene.frames).any(axis=3) for raw in (plain, enlarged)]
    assert (changed[0] ^ changed[1]).mean() < 0.02, "the ring is counted in the generator's pixels"
    with FakeComfy() as server, pytest.raises(InputError, match=r"none\.pth is missing: .*models/upscale_models"):
        ComfyStage(config(server.address, **given, upscale="none.pth")).open()


# --- windows ---


@pytest.mark.parametrize(
    ("name", "window", "told"),
    [("wan-animate", 81, "--window 77 --overlap 5"), ("scail2", 85, "--window 81 --overlap 5"),
     ("cogvideox-fun", 81, "--window 49 --overlap 13")],
)  # fmt: skip
def test_windows_that_a_model_cannot_make_are_refused(name: str, window: int, told: str) -> None:
    recipe = RECIPES[name]
    with pytest.raises(UsageError, match=told):
        recipe.family.check_window(name, window, 21)
    recipe.family.check_window(name, recipe.family.frames, recipe.family.overlap)


@pytest.mark.parametrize("name", [*RECIPES, "cogvideox-fun 1.5"])
def test_every_recipe_says_which_window_to_take(name: str) -> None:
    """Shorter than the run's window: refused with one that it makes; the others make any."""
    family = NEWER if name == "cogvideox-fun 1.5" else RECIPES[name].family
    WindowPlan(family.frames, family.overlap)  # what it takes over where nothing is asked for
    family.check_window(name, family.frames, family.overlap)
    if family.most is None:
        family.check_window(name, 161, 21)
        return
    with pytest.raises(UsageError, match=rf"--window {family.most + 4}: .* makes at most {family.most}") as refused:
        family.check_window(name, family.most + 4, 21)
    told = re.search(r"give --window (\d+) --overlap (\d+), or leave both out$", str(refused.value))
    assert told is not None
    window, overlap = map(int, told.groups())
    WindowPlan(window, overlap)
    family.check_window(name, window, overlap)


def test_the_newer_cogvideox_makes_even_numbers_of_latents() -> None:
    recipe = RECIPES["cogvideox-fun"]
    family = recipe.shown(("alibaba-pai/CogVideoX-Fun-V1.5-5b-Pose",))
    assert family is NEWER and family.frames == 77 and recipe.shown(()).frames == 49
    for length, made in ((77, 77), (81, 85), (49, 53)):
        given = family.condition(material(length=length))
        assert given.length == made and len(given.videos["pose"]) == made
    assert recipe.family.condition(material(length=49)).length == 49


def test_a_graph_for_every_recipe_and_a_recipe_for_every_graph() -> None:
    folder = Path(__file__).resolve().parents[1] / "workflows"
    assert {path.stem for path in folder.glob("*.json")} == set(RECIPES) | set(HELPERS)
