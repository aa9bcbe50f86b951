"""`--amodal`: what others hide of a subject, completed by a workflow on a ComfyUI server."""

import copy
import json
import threading
from pathlib import Path

import cv2
import numpy as np
import pytest
from _crash import differing, results
from _runs import CLIP_OPTIONS, invoke, small_clip, small_models
from _zygote import shared_zygote
from fake_comfy import FakeComfy
from test_occlusion import bar, window_of

from stages.affine import apply, invert
from stages.base import Array, Inputs, Output
from stages.completion import AROUND, GREY, CompletionConfig, CompletionStage, completing_workflow, picture_of, spoken
from stages.occlusion import Hidden, OcclusionConfig, OcclusionStage
from stages.recipes.registry import COMPLETING, graph_file
from stages.server.client import ComfyClient
from stages.server.job import JobResult, Steps, WindowJob, run_job
from stages.views.look import mask_through
from storage.errors import InputError, Interrupted
from storage.rundir import RunReader
from stream.report.export import export_run

WHO = OcclusionConfig(("bar", "post"))
SIDE = 64


@pytest.fixture(scope="module")
def everywhere(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workflow that gives the control mask back: the subject is wherever it may be hidden."""
    graph = json.loads(graph_file("vace").read_text())
    graph["30"]["inputs"]["images"] = ["4", 0]
    path = tmp_path_factory.mktemp("workflow") / "everywhere.json"
    path.write_text(json.dumps(graph))
    return path


def given(frames: range) -> Inputs:
    """A bar that goes behind a post."""
    clip = [bar(t) for t in frames]
    whole, post = (np.stack(each) for each in zip(*clip, strict=True))
    shade = np.full((len(clip), 90, 160, 3), 90, np.uint8)
    shade[whole], shade[post] = (200, 40, 40), (30, 30, 160)
    return Inputs({"masks/bar": whole & ~post, "masks/post": post, "frames": shade})


def done(server: FakeComfy, workflow: str | Path, frames: range, before: range = range(6)) -> tuple[Output, Output]:
    """What is told with the server's help, and without, behind frames that show the bar whole."""
    how = CompletionConfig(str(workflow), (server.address,), side=SIDE)
    found = []
    for stage in (CompletionStage(WHO, how), OcclusionStage(WHO, lambda hidden: hidden.estimate)):
        with stage:
            stage.process(window_of(before.start, before.stop), given(before))
            found.append(stage.process(window_of(frames.start, frames.stop), given(frames)))
    return found[0], found[1]


def test_what_is_hidden_is_where_the_server_says_and_nowhere_else(everywhere: Path) -> None:
    frames = range(6, 26)
    with FakeComfy() as server:
        found, estimated = done(server, everywhere, frames)
        (uploaded,) = {name.rpartition("_")[0] for name in server.executor.files.input}
        assert server.seen.count("POST /prompt") >= 1 and server.seen.count("GET /object_info") == 1
    inputs = given(frames).arrays
    visible, post = inputs["masks/bar"], inputs["masks/post"]
    said, guess = found.arrays["amodal/bar"], estimated.arrays["amodal/bar"]
    missing = (guess & ~visible).sum(axis=(1, 2))
    hidden = missing > 8
    assert hidden.sum() >= 8 and (missing == 0).any()
    assert hidden.sum() <= found.info["completed"]["bar"] <= (missing > 0).sum() and uploaded.startswith("skate/skate_")
    assert not (visible & ~said).any() and not (said & ~visible & ~post).any()
    assert np.array_equal(said[missing == 0], guess[missing == 0])
    # "Wherever it may be" is more than the estimate, a little to all sides, and not the whole post.
    assert (said & post).sum() > 1.2 * (guess & post).sum() and (said & post).sum() < 0.6 * post.sum()
    assert (guess & post & ~said)[hidden].sum() < 0.03 * (guess & post).sum()
    assert np.array_equal(found.arrays["amodal/post"], post) and not found.arrays["occluded/post"].any()
    assert found.arrays["occluded/bar"].sum() > 0


def test_the_model_is_shown_the_subject_with_who_hides_it_greyed_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """In the packaged workflow; what SAM 3 finds elsewhere leaves the estimate as it was."""
    asked: list[WindowJob] = []

    def noted(client: ComfyClient, job: WindowJob, steps: Steps) -> JobResult:
        asked.append(job)
        return run_job(client, job, steps)

    monkeypatch.setattr("stages.completion.run_job", noted)
    frames = range(6, 26, 3)
    with FakeComfy() as server:
        found, estimated = done(server, COMPLETING, frames)
        ran = server.executor.executed
    assert {"WanVaceToVideo", "KSampler", "SAM3_Detect"} <= set(ran)
    (job,) = asked
    assert job.values.prompt == "a bar" and job.workflow.graph["25"]["inputs"]["text"] == "a bar"
    assert job.values.length == 9 and (job.values.width % 16, job.values.height % 16) == (0, 0)
    assert max(job.values.width, job.values.height) == SIDE
    control, mask = job.videos["control"], job.videos["mask"] > 0
    assert len(control) == len(mask) == 9 and (control[mask] == GREY).all()
    assert np.array_equal(control[6], control[8]) and mask[3].any() and not mask.all(axis=0).all()
    blue = (control[..., 2] > 120) & (control[..., 0] < 60)
    assert 0 < blue[3].sum() < 0.9 * mask[3].size / 3, "the post goes on beyond what is greyed out"
    assert found.info["completed"] in ({}, {"bar": 1}) or found.arrays["amodal/bar"].any()
    assert np.array_equal(found.arrays["amodal/post"], estimated.arrays["amodal/post"])


def test_of_a_window_in_which_nothing_is_hidden_nobody_is_asked(everywhere: Path) -> None:
    with FakeComfy() as server:
        found, estimated = done(server, everywhere, range(4, 8), before=range(4))
        assert not server.executor.files.input
    assert found.info["completed"] == {}
    assert all(np.array_equal(found.arrays[name], each) for name, each in estimated.arrays.items())


def test_the_picture_shows_all_of_it_and_what_is_around() -> None:
    inputs = given(range(20, 21)).arrays
    whole = bar(20)[0][None]
    hidden = Hidden("bar", window_of(20, 21), inputs["frames"], inputs["masks/bar"], inputs["masks/post"], whole, None)
    shown = picture_of(hidden, slice(0, 81), 128)
    assert shown is not None
    there = mask_through(whole[0], shown.view, (shown.control.shape[2], shown.control.shape[1]))
    rows, columns = np.flatnonzero(there.any(1)), np.flatnonzero(there.any(0))
    long = max(len(rows), len(columns))
    assert rows[0] >= AROUND * long - 2 and columns[0] >= AROUND * long - 2 and there.any()
    assert not (shown.regions[0] & mask_through(inputs["masks/bar"][0], shown.view, there.shape[::-1])).any()
    assert (there & shown.regions[0]).sum() > 0
    assert picture_of(Hidden("bar", hidden.window, hidden.frames, whole, hidden.others, whole, None),
                      slice(0, 81), 128) is None  # fmt: skip


def test_what_is_greyed_out_is_who_hides_it_near_what_is_hidden() -> None:
    """Grey is what lies on others, their rims too, and no further from what is hidden than a share of the side."""
    inputs, side = given(range(20, 21)).arrays, 128
    whole, post = bar(20)
    hidden = Hidden("bar", window_of(20, 21), inputs["frames"], whole[None] & ~post, post[None], whole[None], None)
    shown = picture_of(hidden, slice(0, 81), side)
    assert shown is not None
    size = shown.regions.shape[2], shown.regions.shape[1]
    corners = apply(invert(shown.view), np.array([[0, 0], [size[0], size[1]]]) - 0.5) + 0.5
    assert np.allclose(corners, np.round(corners), atol=1e-6), "its sides are scaled by themselves"
    rims, lacks = (mask_through(each, shown.view, size) for each in (post, whole & post))
    rims = cv2.dilate(rims.view(np.uint8), np.ones((5, 5), np.uint8)) > 0
    far = cv2.distanceTransform((~lacks).view(np.uint8), cv2.DIST_C, 3)
    wanted = rims & (far <= side / 16) & ~mask_through(whole & ~post, shown.view, size)
    assert np.array_equal(shown.regions[0], wanted)


def test_a_subject_is_called_by_the_words_of_its_name() -> None:
    assert [spoken(name) for name in ("board", "skater-2", "red_cone3")] == ["a board", "a skater", "a red cone"]


def test_what_cannot_complete_is_refused_in_a_line(tmp_path: Path, everywhere: Path) -> None:
    with pytest.raises(InputError, match=r"--amodal .*wan-animate.json: has WanAnimateToVideo: a workflow that takes"):
        completing_workflow(str(graph_file("wan-animate")))
    with pytest.raises(InputError, match=r"--amodal: --workflow nothing\.json: "):
        completing_workflow("nothing.json")
    with FakeComfy(without=frozenset(["SAM3_Detect"])) as server:
        stage = CompletionStage(WHO, CompletionConfig(COMPLETING, (server.address,)))
        with pytest.raises(InputError, match=r"SAM3_Detect is missing: .*models fetch --for amodal-vace"):
            stage.open()
        stage.close()
        clip, scene = small_clip(tmp_path), scene_file(tmp_path)
        command = ["extract", str(clip), "--out", str(tmp_path / "run"), *small_models(tmp_path)]
        told = invoke([*command, "--scene", str(scene), "--amodal", COMPLETING, "--server", server.address])
        assert told.code == 3 and "SAM3_Detect is missing" in told.err and "Traceback" not in told.err
        assert RunReader(tmp_path / "run").log.done("track") == 0, "before anything is tracked"
    told = invoke([*command, "--scene", str(scene), "--amodal", COMPLETING])
    assert told.code == 2 and "--amodal asks a ComfyUI server: give --server HOST:PORT" in told.err
    told = invoke([*command, "--box", "60,70,100,82", "--amodal", COMPLETING, "--server", "127.0.0.1:9"])
    assert told.code == 2 and "--amodal completes the subjects of a --scene" in told.err


def test_a_wait_for_the_server_can_be_ended(everywhere: Path) -> None:
    with FakeComfy(step_seconds=30.0) as server:
        stage = CompletionStage(WHO, CompletionConfig(str(graph_of_steps(everywhere)), (server.address,), side=SIDE))
        with stage:
            stage.process(window_of(0, 6), given(range(6)))
            threading.Timer(0.5, stage.interrupt).start()
            with pytest.raises(Interrupted):
                stage.process(window_of(6, 26), given(range(6, 26)))


def graph_of_steps(everywhere: Path) -> Path:
    """The same workflow with its sampler at work."""
    graph = copy.deepcopy(json.loads(everywhere.read_text()))
    graph["30"]["inputs"]["images"] = ["23", 0]
    path = everywhere.with_name("steps.json")
    path.write_text(json.dumps(graph))
    return path


def scene_file(folder: Path) -> Path:
    path = folder / "scene.toml"
    path.write_text(
        '[[subject]]\nname = "board"\nkind = "object"\nbox = [60, 70, 100, 82]\n\n'
        '[[subject]]\nname = "post"\nkind = "object"\nbox = [60, 20, 100, 75]\n'
    )
    return path


def read(run: Path, name: str) -> Array:
    return np.asarray(RunReader(run).arrays.read(name, 0, 20))


def command(folder: Path, server: FakeComfy, workflow: Path, out: Path) -> list[str]:
    return ["extract", str(small_clip(folder)), "--scene", str(scene_file(folder)), "--amodal", str(workflow),
            "--server", server.address, *small_models(folder), *CLIP_OPTIONS, "--out", str(out)]  # fmt: skip


def test_a_run_keeps_what_was_completed_and_its_export_writes_that(tmp_path: Path, everywhere: Path) -> None:
    out, target = tmp_path / "run", tmp_path / "exported"
    with FakeComfy() as server:
        told = invoke(command(tmp_path, server, everywhere, out))
        assert told.code == 0, told.err
        asked = len(server.executor.history)
    records = [record["info"]["completed"] for record in RunReader(out).log.of("occlusion")]
    assert asked == sum(len(each) for each in records) >= 1
    export_run(out, target, amodal=True)
    for name in ("board", "post"):
        files = sorted((target / f"amodal_{name}").glob("*.png"))
        masks = np.stack([np.asarray(cv2.imread(str(file), cv2.IMREAD_GRAYSCALE)) for file in files]) > 127
        assert np.array_equal(masks, read(out, f"amodal/{name}")) and not (read(out, f"masks/{name}") & ~masks).any()
    again = invoke([*command(tmp_path, FakeComfyNowhere(), everywhere, out)])  # type: ignore[arg-type]
    assert again.code == 0, "a finished run asks nobody"
    dry = invoke(["generate", str(out), "--out", str(tmp_path / "dry")])  # nor does a preview made from it
    assert dry.code in (0, 1) and "generator: preview\n" in dry.err, dry.err
    assert np.array_equal(read(tmp_path / "dry", "amodal/board"), read(out, "amodal/board"))


class FakeComfyNowhere:
    """A server that is not there."""

    address = "127.0.0.1:9"


@pytest.mark.slow
def test_a_run_killed_while_it_is_completed_comes_out_the_same(tmp_path: Path, everywhere: Path) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    with FakeComfy() as server:
        assert shared_zygote().run(command(tmp_path, server, everywhere, whole)).code == 0
        for point in ("occlusion.arrays", "occlusion.journal#2", "occlusion.state"):
            assert shared_zygote().run(command(tmp_path, server, everywhere, killed), fault=point).code == -9, point
        assert shared_zygote().run(["resume", str(killed)]).code == 0
    assert differing(results(killed, generated=False), results(whole, generated=False)) == []
