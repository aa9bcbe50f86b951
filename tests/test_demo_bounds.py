"""`skate demo` holds what it prints on five seeds, and the result reads as the source; large boards are followed."""

import json
from pathlib import Path

import numpy as np
import pytest
from _runs import invoke

from storage.rundir import RunReader
from stream.demo.scene import DemoConfig
from training.mini_sam.by_scale import FIRST_SEED, score_clip
from training.mini_sam.predict import SHIPPED, load_predictor


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2, 3, 4, 5])
def test_through_its_view_the_board_is_where_it_was(seed: int, tmp_path: Path) -> None:
    ended = invoke(["demo", "--clip-seed", str(seed), "--out", str(tmp_path / "run")])
    assert ended.code == 0, ended.out
    iou = RunReader(tmp_path / "run").arrays.read("iou", 0, 201)
    judged = iou[~np.isnan(iou)]
    assert (judged > 0.90).mean() >= 0.97 and judged.min() >= 0.85
    assert ("every frame passes the gate" in ended.out) == bool((judged > 0.90).all())


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2, 3, 4, 5])
def test_every_bound_holds(seed: int, tmp_path: Path) -> None:
    demo = ["demo", "--clip-seed", str(seed), "--track-view", "full", "--out", str(tmp_path / "run")]
    ended = invoke([*demo, "--json"])
    found = json.loads(ended.out.splitlines()[-1])
    assert ended.code == 0, (found["truth"], found["iou_mean"], found["iou_p5"])
    assert found["iou_mean"] >= 0.92 and found["iou_p5"] >= 0.87


@pytest.mark.slow
@pytest.mark.parametrize("size", [1.5, 2.0, 3.0])
def test_large_boards_are_followed(size: float) -> None:
    """Mean of the 20 clips of `training.mini_sam.by_scale`."""
    predictor = load_predictor(SHIPPED / "sam.yaml", SHIPPED / "sam.safetensors")
    clips = [DemoConfig(9, fps=12, seed=FIRST_SEED + k, size=size) for k in range(20)]
    assert np.nanmean([score_clip(predictor, clip)["board"] for clip in clips]) >= 0.87
