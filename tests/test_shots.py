"""Shots in whole runs: told everywhere, the same after a kill; subjects behind cuts against the truth."""

import json
from pathlib import Path

import numpy as np
import pytest
from _clips import Clip, make
from _crash import Case, copied, differing, results
from _runs import invoke, small_models
from _zygote import shared_zygote

from stages.base import Array, Inputs
from stages.metrics import iou
from stages.picture import mask_box
from stages.prompts import ObjectPrompt
from stages.sam.model import SamConfig, SamModel
from stages.subjects import OBJECTS, plain_subjects
from stages.track import TrackConfig, TrackStage
from storage.rundir import read_log
from stream.demo import DemoConfig, Scene
from stream.engine.windows import WindowPlan, committed_windows
from stream.report.evaluate import evaluate_run

MINI = Path(__file__).parents[1] / "stages" / "models" / "mini"
FRAMES, CUT = 36, 17
BEFORE, BEHIND = (DemoConfig(FRAMES, 96, 64, seed=seed) for seed in (3, 2))
PLAN = WindowPlan(9, 3)
SHOTS = [[0, CUT], [CUT, FRAMES]]


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Case:
    """Two shots, with views and stabilising on."""
    folder = tmp_path_factory.mktemp("shots")
    scenes = Scene(BEFORE), Scene(BEHIND)

    def image(index: int, width: int, height: int) -> Array:
        if index < CUT:
            return scenes[0].frame(index).image
        return np.clip(scenes[1].frame(index).image.astype(np.int16) + 70, 0, 255).astype(np.uint8)

    video = make(folder / "clip.mp4", Clip(FRAMES, 96, 64), image)
    box = ",".join(f"{value:g}" for value in mask_box(scenes[0].frame(0).object_mask))
    views = ["--view", "follow", "--stabilise", "6", "--keep", "all"]
    options = ["--box", box, *small_models(folder), "--window", "9", "--overlap", "3", "--device", "cpu", *views]
    return Case(video, tuple(options))


@pytest.fixture(scope="module")
def finished(case: Case, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The run, and its last line."""
    run = tmp_path_factory.mktemp("run") / "run"
    result = shared_zygote().run(case.run(run, "--json"))
    assert result.code in (0, 1), result.output
    return run, next(line for line in reversed(result.output.splitlines()) if line.startswith("{"))


def test_shots_are_told_everywhere(finished: tuple[Path, str]) -> None:
    run, last = finished
    assert json.loads(last)["shots"] == SHOTS
    assert json.loads((run / "report" / "summary.json").read_text())["shots"] == SHOTS
    assert "Worked on as 2 shots: frames 0 to 16, 17 to 35." in (run / "report" / "index.html").read_text()
    assert json.loads(invoke(["status", str(run), "--json"]).out)["shots"] == SHOTS
    assert "shots     2, from frames 0, 17" in invoke(["status", str(run)]).out
    assert committed_windows(read_log(run)) == list(PLAN.windows(FRAMES, [CUT]))
    assert read_log(run).of("decode")[2]["info"]["cuts"] == [], "known one window ahead, told where it lies"


POINTS = ["decode.state#3", "view.arrays#4"]
MORE = [pytest.param(point, marks=pytest.mark.slow) for point in ("track.journal#4", "blend.state#3")]


@pytest.mark.parametrize("point", [*POINTS, *MORE])
def test_killed_with_shots_and_views_on_it_is_the_same(
    case: Case, finished: tuple[Path, str], tmp_path: Path, point: str
) -> None:
    run = tmp_path / "run"
    assert shared_zygote().run(case.run(run), fault=point).code == -9
    ended = shared_zygote().run(["resume", str(run)])
    assert ended.code in (0, 1), ended.output
    assert differing(results(run), results(finished[0])) == []


def test_repaired_and_scored_again_it_is_the_same(case: Case, finished: tuple[Path, str], tmp_path: Path) -> None:
    wanted, run = results(finished[0]), copied(finished[0], tmp_path)
    for key in ("masks/object/c.3.0.0", "generated/c.4.0.0.0", "frames/c.2.0.0.0"):
        (run / "run.zarr" / key).unlink()
    assert invoke(["resume", str(run)]).code in (0, 1)
    assert differing(results(run), wanted) == []
    told = [line.split(",")[2] for line in (run / "report" / "iou.csv").read_text().splitlines()[1:]]
    assert [f"{frame.iou:.6f}" for frame in evaluate_run(run)] == told


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(1, 6))
def test_behind_a_cut_subjects_are_found_again_and_nothing_wrong_is_kept(seed: int) -> None:
    scene = Scene(DemoConfig(201, 640, 360, camera="cuts", seed=seed))
    first, cuts = scene.frame(0), [shot.start for shot in scene.shots[1:]]
    box, person = mask_box(first.object_mask), mask_box(first.person_mask)
    config = TrackConfig(plain_subjects(ObjectPrompt(box=box), (), person), "split")
    found: dict[str, list[tuple[bool, bool]]] = {name: [] for name in OBJECTS}  # there, and it is the one
    with TrackStage(config, SamModel(SamConfig(MINI / "sam.safetensors", MINI / "sam.yaml"))) as stage:
        for window in WindowPlan().windows(201, cuts):
            shown = [scene.frame(t) for t in range(*window.new)]
            info = {"decode": {"cuts": [cut for cut in cuts if cut in range(*window.new)]}}
            made = stage.process(window, Inputs({"frames": np.stack([frame.image for frame in shown])}, info))
            for name in OBJECTS:
                for mask, frame in zip(made.arrays[f"masks/{name}"], shown, strict=True):
                    truth = frame.object_mask if name == "object" else frame.person_mask
                    found[name].append((bool(mask.any()), iou(truth, mask) > 0.5))
    for name, frames in found.items():
        again = [any(right for _, right in frames[cut : cut + 20]) for cut in cuts]
        assert sum(again) >= 0.8 * len(cuts), (name, again)
        wrong = "".join("x" if there and not right else "." for there, right in frames)
        assert "x" * 11 not in wrong, (name, wrong)
