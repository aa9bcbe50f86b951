"""`--on-cut` on whole runs: a clip of two scenes with a hard cut between them, called as a person calls it."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from _clips import Clip, make
from _runs import CLIP, CLIP_OPTIONS, invoke

from stages.base import Array
from stages.picture import mask_box
from stream.demo import DemoConfig, Scene

CUT, FRAMES = 11, CLIP.frames
SECOND = replace(CLIP, seed=2)
MODELS = ["--sam", "mini", "--pose", "mini", "--detector", "mini"]


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    before, behind = Scene(CLIP), Scene(SECOND)

    def image(index: int, width: int, height: int) -> Array:
        if index < CUT:
            return before.frame(index).image
        return np.clip(behind.frame(index).image.astype(np.int16) + 70, 0, 255).astype(np.uint8)  # in another light

    path = tmp_path_factory.mktemp("cut") / "clip.mp4"
    return make(path, Clip(frames=FRAMES, width=CLIP.width, height=CLIP.height), image)


def board(scene: DemoConfig, frame: int) -> str:
    """The board's box on a frame of a scene, as options take it."""
    return ",".join(f"{value:g}" for value in mask_box(Scene(scene).frame(frame).object_mask))


def ran(clip: Path, out: Path, *options: str) -> dict[str, Any]:
    """The summary of a run that passed a low gate."""
    gate = ["--iou-threshold", "0.1"]
    result = invoke(["run", str(clip), "--out", str(out), *MODELS, *CLIP_OPTIONS, *gate, *options, "--json"])
    assert result.code == 0, result.err
    assert json.loads(result.out.splitlines()[-1])["frames"] == FRAMES
    assert f"Scene cuts at {CUT}." in (out / "report" / "index.html").read_text()
    summary: dict[str, Any] = json.loads((out / "report" / "summary.json").read_text())
    assert summary["complete"] and summary["gate"] == "passed" and summary["cuts"] == [CUT]
    return summary


def chosen(out: Path) -> list[int]:
    """The frames on which pose chose the person."""
    lines = [json.loads(line) for line in (out / "journal.jsonl").read_text().splitlines()]
    infos = [line["info"] for line in lines if line.get("stage") == "pose"]
    return [found["frame"] for info in infos for found in (info["person"], *info["again"]) if found is not None]


def test_reset_follows_the_person_chosen_anew_and_the_object_from_its_correction(clip: Path, tmp_path: Path) -> None:
    options = ["--on-cut", "reset", "--box", board(CLIP, 0), "--correct", f"15:{board(SECOND, 15)}"]
    summary = ran(clip, tmp_path, *options)
    assert summary["object"]["untracked"] == [[CUT, 15]] and summary["person"]["untracked"] == []
    assert chosen(tmp_path) == [0, CUT]


def test_stop_leaves_the_rest_untracked(clip: Path, tmp_path: Path) -> None:
    options = ["--on-cut", "stop", "--box", board(CLIP, 0), "--correct", f"15:{board(SECOND, 15)}"]
    summary = ran(clip, tmp_path, *options)
    assert summary["object"]["untracked"] == summary["person"]["untracked"] == [[CUT, FRAMES]]
    assert summary["frames_scored"] == CUT


@pytest.mark.parametrize("first", [CUT, 14])
def test_reset_with_a_cut_up_to_the_prompt_frame_changes_nothing(clip: Path, tmp_path: Path, first: int) -> None:
    options = ["--prompt-frame", str(first), "--box", board(SECOND, first)]
    reset = ran(clip, tmp_path / "reset", "--on-cut", "reset", *options)
    ignoring = ran(clip, tmp_path / "ignore", "--on-cut", "ignore", *options)
    for name in ("object", "person", "person_found", "iou"):
        assert reset[name] == ignoring[name]
    assert reset["object"]["untracked"] == reset["person"]["untracked"] == [[0, first]]
    assert chosen(tmp_path / "reset") == chosen(tmp_path / "ignore") == [first]
