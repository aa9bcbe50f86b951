"""Pictures that a server sends over the websocket: exactly those that it would save, with nothing left there."""

import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from fake_comfy import ERAS, FakeComfy, Faults
from fake_comfy.interpreter import OnDisk
from fake_comfy.scene import Array, config, make_scene, windows

from stages.comfyui import ComfyStage, StepProgress
from stages.generator import Request
from stages.recipes.registry import graph_file
from stages.region import region
from stages.resize import resize_frames
from stages.server.answers import Image
from stages.server.leftovers import delete_saved
from stages.through import ThroughStage
from storage.errors import GeneratorError, Interrupted, UsageError

SCENE = make_scene(17)
WINDOW = windows(17)[0]
pytestmark = [pytest.mark.usefixtures("era"), pytest.mark.parametrize("era", ERAS, indirect=True)]
SAVES = frozenset(["SaveImageWebsocket"])
"""What a server lacks that saves its pictures, and does not send them."""


@pytest.fixture(scope="module")
def saved() -> Iterator[Array]:
    """The window, its pictures saved and fetched."""
    with FakeComfy(without=SAVES) as server:
        yield generate(server)
        assert len(server.executor.files.output) == 17 and "GET /view" in server.seen


def generate(server: FakeComfy, **given: Any) -> Array:
    """One window."""
    with ComfyStage(config(server.address, **given)) as stage:
        return stage.process(WINDOW, SCENE.inputs(WINDOW)).arrays["made"]


def outputs(server: FakeComfy) -> list[str]:
    """Of every graph: how it gives its pictures."""
    return [node["class_type"] for graph in server.prompts for node in graph.values() if "Save" in node["class_type"]]


def test_they_are_those_that_are_saved_and_nothing_is_left(saved: Array) -> None:
    with FakeComfy() as server, ComfyStage(config(server.address)) as stage:
        output = stage.process(WINDOW, SCENE.inputs(WINDOW))
        assert np.array_equal(output.arrays["made"], saved) and output.info["pictures"] == "sent"
        assert not server.executor.files.output and "GET /view" not in server.seen
        assert outputs(server) == ["SaveImageWebsocket"]


def test_a_lost_connection_asks_for_the_pictures_alone(saved: Array) -> None:
    """Also when it is lost while the model samples: what was computed is in the server's cache."""
    for fault in ("drop_in_pictures", "drop_websocket"):
        with FakeComfy(faults=Faults().on_runs(fault)) as server:
            assert np.array_equal(generate(server), saved)
            assert outputs(server) == ["SaveImageWebsocket"] * 2 and not server.executor.files.output
            assert server.executor.executed.count("KSampler") == 1, fault


def test_where_no_connection_lasts_they_are_saved(saved: Array) -> None:
    with FakeComfy(faults=Faults().on_runs(*["drop_in_pictures"] * 3)) as server:
        assert np.array_equal(generate(server), saved)
        assert outputs(server) == ["SaveImageWebsocket"] * 3 + ["SaveImage"]
        assert server.executor.executed.count("KSampler") == 1
    with FakeComfy(faults=Faults().on_requests("/ws", [403])) as server:
        assert np.array_equal(generate(server), saved) and outputs(server) == ["SaveImage"]


def test_a_server_without_a_cache_saves_after_the_first_lost_connection(
    saved: Array, monkeypatch: pytest.MonkeyPatch
) -> None:
    with FakeComfy(faults=Faults().on_runs("drop_in_pictures", None)) as server:
        kept, count = server.executor.interpreter.signature, itertools.count()
        monkeypatch.setattr(
            server.executor.interpreter, "signature", lambda graph, node: f"{kept(graph, node)} {next(count)}"
        )
        with ComfyStage(config(server.address)) as stage:
            for _ in range(2):
                assert np.array_equal(stage.process(WINDOW, SCENE.inputs(WINDOW)).arrays["made"], saved)
        assert outputs(server) == ["SaveImageWebsocket", "SaveImageWebsocket", "SaveImage"]
        assert server.executor.executed.count("KSampler") == 3


def test_a_server_whose_node_sends_nothing_is_asked_to_save_from_then_on(saved: Array) -> None:
    with FakeComfy(faults=Faults().on_runs("sends_nothing")) as server, ComfyStage(config(server.address)) as stage:
        for _ in range(2):
            assert np.array_equal(stage.process(WINDOW, SCENE.inputs(WINDOW)).arrays["made"], saved)
        assert outputs(server) == ["SaveImageWebsocket", "SaveImage", "SaveImage"]


def test_pictures_of_other_nodes_are_none_of_ours(saved: Array) -> None:
    with FakeComfy(faults=Faults().on_runs("other_previews")) as server:
        assert np.array_equal(generate(server), saved) and outputs(server) == ["SaveImageWebsocket"]


def test_their_progress_is_no_samplers_step() -> None:
    steps: list[StepProgress] = []
    with FakeComfy() as server, ComfyStage(config(server.address, steps=2), steps.append) as stage:
        stage.process(WINDOW, SCENE.inputs(WINDOW))
    assert [(item.step, item.steps) for item in steps] == [(1, 2), (2, 2)]


def test_too_few_are_refused_and_a_lost_server_is_waited_for(saved: Array) -> None:
    short, told = FakeComfy(faults=Faults().on_runs("one_missing")), "node 30 gave 16 pictures, 17 are needed"
    with short as server, pytest.raises(GeneratorError, match=told):
        generate(server)
    with FakeComfy(faults=Faults().on_runs("restart", "drop_in_pictures")) as server:
        assert np.array_equal(generate(server), saved), "after a restart all is made again"


def test_an_interrupt_between_pictures_ends_the_job(monkeypatch: pytest.MonkeyPatch) -> None:
    with FakeComfy() as server, ComfyStage(config(server.address)) as stage:
        sent, count = server.send_bytes, [0]

        def send_bytes(client_id: str | None, data: bytes) -> None:
            count[0] += 1
            sent(client_id, data)
            if count[0] == 12:
                stage.interrupt()

        monkeypatch.setattr(server, "send_bytes", send_bytes)
        with pytest.raises(Interrupted):
            stage.process(WINDOW, SCENE.inputs(WINDOW))


def test_a_workflow_that_sends_them_itself_is_taken(tmp_path: Path, saved: Array) -> None:
    graph = json.loads(graph_file("vace").read_text())
    graph["30"] = {"class_type": "SaveImageWebsocket", "inputs": {"images": graph["30"]["inputs"]["images"]}}
    own = tmp_path / "own.json"
    own.write_text(json.dumps(graph))
    for without, outcome in ((frozenset[str](), "SaveImageWebsocket"), (SAVES, "SaveImage")):
        with FakeComfy(without=without) as server:
            assert np.array_equal(generate(server, workflow=str(own)), saved) and outputs(server) == [outcome]


# --- a part enlarged ---


@pytest.mark.parametrize("source", [(192, 256), (180, 240)], ids=["twice", "1.875 times"])
def test_the_box_around_the_region_is_enlarged_alone(source: tuple[int, int]) -> None:
    scene = make_scene(17, *source)
    made = {}
    for without in (frozenset[str](), SAVES):
        for upscale in (None, "RealESRGAN_x2plus.pth"):
            given: dict[str, Any] = {"size": (128, 96), "dilate": (2, 2), "steps": 1, "upscale": upscale}
            with FakeComfy(without=without) as server, ComfyStage(config(server.address, **given)) as stage:
                output = stage.process(WINDOW, scene.inputs(WINDOW))
                made[upscale] = output.arrays["made"]
                (graph,) = server.prompts
                assert bool(server.executor.files.output) == bool(without)
        (crop,) = (node["inputs"] for node in graph.values() if node["class_type"] == "ImageCrop")
        left, top, width, height = (crop[name] for name in ("x", "y", "width", "height"))
        assert width * height < 0.8 * 128 * 96, "not the whole picture"
        small, large = made[None], made["RealESRGAN_x2plus.pth"]
        assert large.shape == (17, *source, 3)
        plain = resize_frames(small, (source[1], source[0]))
        changed = (large != plain).any(axis=(0, 3))
        rows, columns = np.flatnonzero(changed.any(axis=1)), np.flatnonzero(changed.any(axis=0))
        times = source[1] / 128
        assert left * times <= columns[0] and columns[-1] < (left + width) * times, "outside it is as it was made"
        assert top * times <= rows[0] and rows[-1] < (top + height) * times
        allowed = np.asarray(region(scene.objects, scene.persons, "both", (4.0, 4.0)).any(axis=0))
        inside = np.zeros((96, 128), bool)
        inside[top : top + height, left : left + width] = True
        around = cv2.erode(np.pad(inside, 20, mode="edge").astype(np.uint8), np.ones((33, 33), np.uint8))[
            20:-20, 20:-20
        ]
        shown = cv2.resize(around, source[::-1], interpolation=cv2.INTER_NEAREST) > 0
        assert not (allowed & ~shown).any(), "all that may change lies well within"
        inside = cv2.resize(inside.astype(np.uint8), source[::-1], interpolation=cv2.INTER_NEAREST) > 0
        if times == 2.0:
            twice = small.repeat(2, axis=1).repeat(2, axis=2)
            assert np.array_equal(large[:, inside], twice[:, inside])
        moved = np.roll(large, 1, axis=2)[:, inside].astype(int) - plain[:, inside]
        away = large[:, inside].astype(int) - plain[:, inside]
        assert np.abs(away).mean() < np.abs(moved).mean(), "in its place"


# --- what was saved is deleted ---


def test_what_was_saved_is_deleted_once_it_is_committed(tmp_path: Path) -> None:
    output = tmp_path / "output"
    with FakeComfy(without=SAVES) as server:
        files = server.executor.files.output = OnDisk(output)
        (output / "skate/mine.png").write_bytes(b"mine")
        with ComfyStage(config(server.address, comfy_output=str(output))) as stage:
            for number in (0, 1):  # a second try
                stage.process(WINDOW, SCENE.inputs(WINDOW), Request(number=number))
            assert len(list((output / "skate").iterdir())) == 35 and len(files) == 34
            stage.committed(windows(45)[1])
            assert len(list((output / "skate").iterdir())) == 35, "another window's"
            ThroughStage(stage).committed(WINDOW)  # as a run through a view tells it
            assert [path.name for path in (output / "skate").iterdir()] == ["mine.png"]
        with ComfyStage(config(server.address)) as stage:
            stage.process(WINDOW, SCENE.inputs(WINDOW))
            stage.committed(WINDOW)
        assert len(list((output / "skate").iterdir())) == 18, "nobody named the folder"


def test_nothing_else_is_deleted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Whatever a server names: no link is followed, no other folder is looked into, no other name is ours."""
    output, ours = tmp_path / "output", "0123456789ab_w00000_a0_30_00001_.png"
    for folder in (output / "skate/deeper", output / "other", tmp_path / "elsewhere"):
        folder.mkdir(parents=True)
    kept = [output / ours, output / "other" / ours, output / "skate/deeper" / ours, tmp_path / "elsewhere" / ours]
    kept += [output / "skate/photo.png", output / "skate/0123456789ab_w00000_a0_30_00001_.latent"]
    for path in kept:
        path.write_bytes(b"x")
    link = output / "skate" / ours.replace("00001", "00002")
    link.symlink_to(tmp_path / "elsewhere" / ours)
    (output / "skate" / ours.replace("00001", "00003")).mkdir()
    (output / "skate" / ours).write_bytes(b"x")
    named = [
        Image(name, folder, kind)
        for name in (ours, link.name, ours.replace("00001", "00003"), "photo.png", kept[-1].name, f"../{ours}", "..")
        for folder in ("skate", "", "other", "skate/deeper", "skate/../../elsewhere", str(tmp_path / "elsewhere"))
        for kind in ("output", "input", "temp")
    ]
    assert delete_saved(output, named) == 1 and not (output / "skate" / ours).exists()
    assert all(path.exists() for path in kept) and link.is_symlink()
    (tmp_path / "linked").mkdir()
    (tmp_path / "linked/skate").symlink_to(tmp_path / "elsewhere")
    assert delete_saved(tmp_path / "linked", [Image(ours, "skate")]) == 0 and kept[3].exists()
    assert "what the server saved stays" in caplog.text


def test_a_wrong_folder_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with FakeComfy(without=SAVES) as server:
        with pytest.raises(UsageError, match=r"--comfy-output .*: is no folder: give the folder `output`"):
            ComfyStage(config(server.address, comfy_output=str(tmp_path / "none"))).open()
        with ComfyStage(config(server.address, comfy_output=str(tmp_path))) as stage:
            stage.process(WINDOW, SCENE.inputs(WINDOW))
            stage.committed(WINDOW)
    assert "has none of the pictures that ComfyUI saved" in caplog.text
