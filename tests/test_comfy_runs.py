"""Whole runs against the test server, through the command line: identity, two servers, resume, variations by a loop."""

import json
import threading
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from _runs import invoke, small_models
from fake_comfy import FakeComfy, Faults, Identity
from fake_comfy.generators import window_number
from fake_comfy.interpreter import OnDisk
from fake_comfy.vace import Conditioning

from stages.base import Array, Inputs, Window
from stages.comfyui import ComfyStage
from stages.poses.openpose_json import pose_keypoint_chunks
from stages.recipes.conditioner import Shown
from stages.region import dilate_mask
from stages.video.plain import plain_frames
from storage.rundir import RunReader
from stream.demo import DemoConfig, Scene
from stream.demo.clip import write_clip
from stream.engine.windows import WindowPlan, committed_windows

CLIP = DemoConfig(frames=41, width=96, height=64, seed=2)
PLAN = WindowPlan(17, 5)


class Given:
    """A clip with true masks and poses as files, and the options of a run on them."""

    def __init__(self, folder: Path) -> None:
        self.clip = folder / "clip.mp4"
        write_clip(CLIP, self.clip)
        scene = Scene(CLIP)
        masks = folder / "masks"
        masks.mkdir()
        poses = []
        for t in range(CLIP.frames):
            frame = scene.frame(t)
            cv2.imwrite(str(masks / f"frame_{t:05d}.png"), frame.object_mask.astype(np.uint8) * 255)
            score = frame.joints_visible[:, None].astype(np.float32)
            poses.append(np.concatenate([frame.joints, score], axis=1))
        (folder / "pose.json").write_text("".join(pose_keypoint_chunks(poses, CLIP.height, CLIP.width)))
        tracking = ["--masks", str(masks), "--pose", str(folder / "pose.json")]
        sizes = ["--window", "17", "--overlap", "5", "--size", "96x64", "--reskin", "object"]
        self.options = [*tracking, *sizes, *small_models(folder)[:4], "--keep", "all", "--timeout", "60"]
        self.options += ["--prompt", "a robot", "--view", "full"]

    def run(self, out: Path, *servers: FakeComfy, more: tuple[str, ...] = ()) -> Any:
        addresses = [word for server in servers for word in ("--server", server.address)]
        return invoke(["generate", str(self.clip), "--out", str(out), *self.options, *addresses, *more])


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> Given:
    return Given(tmp_path_factory.mktemp("given"))


def generated(run: Path) -> Array:
    return RunReader(run).arrays.read("generated", 0, CLIP.frames)


def hosts(run: Path) -> list[str]:
    return [record["info"].get("server") for record in RunReader(run).log.of("generate")]


@pytest.mark.parametrize("continuity", ["tail", "blend"])
def test_the_identity_generator_gives_the_source_back(given: Given, tmp_path: Path, continuity: str) -> None:
    """From a server that saves its pictures, of which none is left, and from one that sends them."""
    source = np.stack(list(plain_frames(given.clip)))
    starts, saves = [window.read.start for window in PLAN.windows(CLIP.frames)], continuity == "tail"
    without = frozenset(["SaveImageWebsocket"] if saves else [])
    with FakeComfy(Identity(source, starts), without=without) as server:
        files = server.executor.files.output = OnDisk(tmp_path / "output")
        more = ("--continuity", continuity, "--comfy-output", str(tmp_path / "output"))
        result = given.run(tmp_path / "run", server, more=more)
        assert result.code in (0, 1), result.err
    assert np.array_equal(generated(tmp_path / "run"), source)
    assert len(files) == (17 * len(starts) if saves else 0) and not list((tmp_path / "output/skate").iterdir())


class Watching(Identity):
    """Gives the source back, and remembers what it was shown: masks `[n, h, w]` by window."""

    shown: dict[int, Array]

    def __call__(self, positive: Conditioning, seed: int, graph: Any) -> Array:
        vars(self).setdefault("shown", {})[window_number(graph)] = positive.contexts[0].mask
        return super().__call__(positive, seed, graph)


@pytest.mark.parametrize("continuity", ["tail", "blend"])
def test_no_window_spans_a_cut_and_no_tail_crosses_one(given: Given, tmp_path: Path, continuity: str) -> None:
    cuts = tmp_path / "cuts.txt"
    cuts.write_text("20\n")
    source, windows = np.stack(list(plain_frames(given.clip))), list(PLAN.windows(CLIP.frames, [20]))
    made = Watching(source, [window.read.start for window in windows])
    more = ("--continuity", continuity, "--cuts", str(cuts), "--json")
    with FakeComfy(made) as server, FakeComfy(made) as second:
        result = given.run(tmp_path / "run", server, *([second] if continuity == "blend" else []), more=more)
        assert result.code in (0, 1), result.err
    log = RunReader(tmp_path / "run").log
    assert committed_windows(log) == windows
    assert [tuple(window.read) for window in windows] == [(0, 17), (3, 20), (20, 37), (24, 41)]
    carried = [False, True, False, True] if continuity == "tail" else [False] * 4
    assert [record["info"]["kept_frames"] > 0 for record in log.of("generate")] == carried
    assert [not made.shown[index][0].any() for index in range(4)] == carried, "kept frames have nothing to regenerate"
    assert np.array_equal(generated(tmp_path / "run"), source)
    assert json.loads(result.out.splitlines()[-1])["shots"] == [[0, 20], [20, 41]]


def test_retries_redo_and_overwrite_with_shots(given: Given, tmp_path: Path) -> None:
    run, cuts = tmp_path / "run", tmp_path / "cuts.txt"
    cuts.write_text("20\n")
    with FakeComfy() as server:
        result = given.run(run, server, more=("--cuts", str(cuts), "--retries", "1"))
        assert result.code in (0, 1), result.err
        tried = {index for index, attempts in RunReader(run).log.attempts.items() if attempts}
        assert tried and committed_windows(RunReader(run).log) == list(PLAN.windows(CLIP.frames, [20]))
        before = generated(run)
        assert invoke(["redo", str(run), "--windows", "2", "--seed", "9"]).code in (0, 1)
        changed = (generated(run) != before).any(axis=(1, 2, 3))
        assert changed[20:37].any() and not changed[:20].any(), "its shot alone"
        result = given.run(run, server, more=("--on-cut", "ignore", "--overwrite"))
        assert result.code in (0, 1), result.err
    assert committed_windows(RunReader(run).log) == list(PLAN.windows(CLIP.frames))
    assert json.loads(invoke(["status", str(run), "--json"]).out)["shots"] == [[0, 41]]


def same(one: Path, two: Path) -> None:
    """Every array that stays, and the output, are the same bytes."""
    runs = RunReader(one), RunReader(two)
    for name in runs[0].arrays.layout.arrays:
        first, second = (run.arrays.read(name, run.log.dropped.get(name, 0), CLIP.frames) for run in runs)
        assert np.array_equal(first, second, equal_nan=first.dtype.kind == "f"), name
    assert (one / "output.mp4").read_bytes() == (two / "output.mp4").read_bytes()


def test_three_servers_one_dying_give_what_one_gives(given: Given, tmp_path: Path) -> None:
    blend = ("--continuity", "blend")
    with FakeComfy() as lone:
        assert given.run(tmp_path / "lone", lone, more=(*blend, "--ahead", "0")).code in (0, 1)
    dying = Faults().on_runs(None, "die")
    with FakeComfy(step_seconds=0.5) as first, FakeComfy(faults=dying) as second, FakeComfy() as third:
        result = given.run(tmp_path / "three", first, second, third, more=blend)
        assert result.code in (0, 1), result.err
    same(tmp_path / "lone", tmp_path / "three")
    assert {first.address, third.address} <= set(hosts(tmp_path / "three"))


@pytest.mark.slow
@pytest.mark.parametrize("continuity", ["tail", "blend"])
def test_the_bytes_do_not_depend_on_how_far_ahead(given: Given, tmp_path: Path, continuity: str) -> None:
    """With attempts at windows that fail, too."""
    more = ("--continuity", continuity, "--retries", "1", "--iou-threshold", "0.999")
    for ahead in ("0", "1", "2"):
        with FakeComfy() as server:
            result = given.run(tmp_path / ahead, server, more=(*more, "--ahead", ahead))
            assert result.code in (0, 1), result.err
        assert RunReader(tmp_path / ahead).log.attempts, "some windows were tried again"
        same(tmp_path / "0", tmp_path / ahead)


def test_a_run_that_lost_its_server_resumes_on_another(given: Given, tmp_path: Path) -> None:
    with FakeComfy() as lone:
        assert given.run(tmp_path / "lone", lone).code in (0, 1)
    with FakeComfy(faults=Faults().on_runs(None, "error")) as broken:
        result = given.run(tmp_path / "run", broken)
        assert result.code == 5 and len(result.err.strip().splitlines()[-1]) < 600
    status = json.loads(invoke(["status", str(tmp_path / "run"), "--json"]).out)
    assert status["state"] == "interrupted" and status["done"]["generate"] == 1
    with FakeComfy() as other:
        result = given.run(tmp_path / "run", other)
        assert result.code in (0, 1), result.err
        assert len(other.prompts) == status["windows"] - 1, "what was generated is not generated again"
    assert np.array_equal(generated(tmp_path / "lone"), generated(tmp_path / "run"))
    assert (tmp_path / "lone" / "output.mp4").read_bytes() == (tmp_path / "run" / "output.mp4").read_bytes()


def test_prompts_queued_by_a_loop(given: Given, tmp_path: Path) -> None:
    with FakeComfy() as server:
        assert given.run(tmp_path / "first", server).code in (0, 1)
        for name in ("samurai", "robot in the rain"):
            out = tmp_path / name.replace(" ", "_")
            # neither generator nor server is named again: they are the run's
            result = invoke(["generate", str(tmp_path / "first"), "--out", str(out), "--prompt", name])
            assert result.code in (0, 1), result.err
            texts = json.dumps(server.prompts[-1])
            assert name in texts
    assert not np.array_equal(generated(tmp_path / "samurai"), generated(tmp_path / "robot_in_the_rain"))


def test_no_server_is_one_line(given: Given, tmp_path: Path) -> None:
    result = invoke(
        ["generate", str(given.clip), "--out", str(tmp_path / "run"), *given.options, "--server", "127.0.0.1:9"]
    )
    assert result.code == 5 and "127.0.0.1:9" in result.err.strip().splitlines()[-1]
    assert "Traceback" not in result.err


def control_shown(positive: Conditioning, seed: int, graph: Any) -> Array:
    """Gives back what it is shown: the control video."""
    context = positive.contexts[0]
    return np.asarray(np.clip(context.inactive + context.reactive - np.float32(0.5), 0, 1), np.float32)


def test_with_a_plate_the_model_is_shown_what_is_behind_the_board(given: Given, tmp_path: Path) -> None:
    scene, errors = Scene(CLIP), {}
    with FakeComfy(control_shown) as server:
        for fill in ("plate", "grey"):
            more = ("--fill", fill, "--object-guide", "none", "--continuity", "blend")
            assert given.run(tmp_path / fill, server, more=more).code in (0, 1)
            reader, found = RunReader(tmp_path / fill), []
            for t in range(CLIP.frames):
                board = scene.frame(t).object_mask & ~reader.arrays.read("masks/person", t, t + 1)[0]
                made = reader.arrays.read("generated", t, t + 1)[0]
                found.append(np.abs(made[board].astype(float) - scene.truth(t).plate[board]).ravel())
            errors[fill] = float(np.mean(np.concatenate(found)))
            assert ("plate" in reader.manifest["nodes"]) == (fill == "plate")
    assert errors["plate"] < 0.5 * errors["grey"], errors


def test_void_removes_the_subjects_and_nothing_is_gated(given: Given, tmp_path: Path) -> None:
    source, options = np.stack(list(plain_frames(given.clip))), ("--reskin", "remove", "--dilate", "4")
    with FakeComfy() as server:
        result = given.run(tmp_path / "run", server, more=(*options, "--workflow", "void", "--json"))
        assert result.code == 0, result.err
        assert json.loads(result.out.splitlines()[-1])["gate"] is None
        assert all(graph["20"]["class_type"] == "VOIDInpaintConditioning" for graph in server.prompts)
        refused = given.run(tmp_path / "other", server, more=(*options, "--workflow", "vace"))
        assert refused.code == 2 and "vace draws the subjects anew: give --workflow void" in refused.err
    reader, made = RunReader(tmp_path / "run"), generated(tmp_path / "run")
    assert "score" not in reader.manifest["nodes"]
    masks = reader.arrays.read("masks/object", 0, CLIP.frames) | reader.arrays.read("masks/person", 0, CLIP.frames)
    for frame, picture, mask in zip(source, made, masks, strict=True):
        assert np.array_equal(picture[~dilate_mask(mask, 4)], frame[~dilate_mask(mask, 4)])
        assert not mask.any() or (picture[mask] != frame[mask]).any(axis=-1).mean() > 0.9


def test_the_next_window_is_encoded_before_the_server_hands_out_one(
    given: Given, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All of it but its kept frames."""
    source, windows = np.stack(list(plain_frames(given.clip))), list(PLAN.windows(CLIP.frames))
    encoded: list[threading.Event] = [threading.Event() for _ in windows]
    condition = ComfyStage.condition

    def telling(stage: ComfyStage, window: Window, inputs: Inputs) -> Shown:
        shown = condition(stage, window, inputs)
        assert {channel: list(groups) for channel, groups in shown.encoded.items()} == {"control": [12], "mask": [12]}
        encoded[window.index].set()
        return shown

    class Waiting(Identity):
        def __call__(self, positive: Conditioning, seed: int, graph: Any) -> Array:
            behind = window_number(graph) + 1
            assert behind == len(windows) or encoded[behind].wait(60), "it never comes"
            return super().__call__(positive, seed, graph)

    monkeypatch.setattr(ComfyStage, "condition", telling)
    with FakeComfy(Waiting(source, [window.read.start for window in windows])) as server:
        result = given.run(tmp_path / "run", server)
        assert result.code in (0, 1), result.err
    assert [event.is_set() for event in encoded] == [False, True, True]
    assert np.array_equal(generated(tmp_path / "run"), source)


@pytest.mark.parametrize(("keep", "other"), [("none", ("--deflicker", "0.5")), ("all", ("--match-grain",))])
def test_what_finishes_a_window_is_seen_by_the_next_also_when_it_is_done_again(
    given: Given, tmp_path: Path, keep: str, other: tuple[str, ...]
) -> None:
    """The generator goes on from the finished frames of the window before: with others it makes other ones."""
    with FakeComfy() as server:
        kept, again = ("--keep", keep), ("--keep", keep, *other)
        assert given.run(tmp_path / "run", server, more=kept).code in (0, 1)
        ended = given.run(tmp_path / "run", server, more=(*again, "--overwrite"))
        assert ended.code in (0, 1), ended.err
        assert given.run(tmp_path / "at-once", server, more=again).code in (0, 1)
    found, wanted = ((tmp_path / name / "output.mp4").read_bytes() for name in ("run", "at-once"))
    assert found == wanted
