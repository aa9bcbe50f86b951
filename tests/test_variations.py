"""Another variation, tracking made elsewhere, single windows again: what is reused is reused to the byte."""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from _runs import BOX, CLIP_OPTIONS, invoke, small_clip, small_models
from _zygote import shared_zygote

from storage.rundir import RunReader

TRACKED = (
    "times",
    "keypoints/person",
    "contacts/person",
    "masks/object",
    "masks/person",
    "visible/object",
    "visible/person",
)


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_clip(tmp_path_factory.mktemp("clip"))


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    return small_models(tmp_path_factory.mktemp("sam"))


@pytest.fixture(scope="module")
def kept(clip: Path, models: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run that kept everything."""
    out = tmp_path_factory.mktemp("kept") / "run"
    result = invoke(["run", str(clip), "--out", str(out), *BOX, *models, *CLIP_OPTIONS, "--keep", "all"])
    assert result.code in (0, 1), result.err
    return out


def arrays(run: Path, names: tuple[str, ...]) -> dict[str, Any]:
    reader = RunReader(run)
    frames = reader.arrays.frames("times")
    return {name: reader.arrays.read(name, 0, frames) for name in names}


def same(first: Path, second: Path, names: tuple[str, ...]) -> bool:
    a, b = arrays(first, names), arrays(second, names)
    return all(np.array_equal(a[name], b[name], equal_nan=a[name].dtype.kind == "f") for name in names)


def test_prompts_queued_by_a_loop_reuse_the_tracking(clip: Path, models: list[str], tmp_path: Path) -> None:
    tracked = tmp_path / "tracked"
    assert invoke(["extract", str(clip), "--out", str(tracked), *BOX, *models, *CLIP_OPTIONS]).code == 0
    for seed in ("1", "2"):
        out = tmp_path / f"variation{seed}"
        result = invoke(["generate", str(tracked), "--out", str(out), "--seed", seed, "--json"])
        assert result.code in (0, 1), result.err
        done = {json.loads(line).get("stage") for line in result.out.splitlines()}
        assert not done & {"decode", "pose", "track"}, "tracking is not done again"
        assert same(tracked, out, TRACKED)
        assert invoke(["status", str(out), "--verify"]).code == 0
    outputs = [(tmp_path / f"variation{seed}" / "output.mp4").read_bytes() for seed in "12"]
    assert outputs[0] != outputs[1]


def test_a_variation_is_what_a_run_with_those_options_would_be(
    kept: Path, clip: Path, models: list[str], tmp_path: Path
) -> None:
    assert invoke(["generate", str(kept), "--out", str(tmp_path / "a"), "--seed", "3"]).code in (0, 1)
    whole = ["run", str(clip), "--out", str(tmp_path / "b"), *BOX, *models, *CLIP_OPTIONS, "--seed", "3"]
    assert invoke(whole).code in (0, 1)
    assert (tmp_path / "a" / "output.mp4").read_bytes() == (tmp_path / "b" / "output.mp4").read_bytes()


def test_what_a_variation_cannot_change_is_refused(kept: Path, tmp_path: Path) -> None:
    result = invoke(["generate", str(kept), "--out", str(tmp_path / "x"), "--window", "13"])
    assert result.code == 2 and "--window: stays as in" in result.err
    result = invoke(["generate", str(kept), "--out", str(tmp_path / "x"), "--masks", str(tmp_path)])
    assert result.code == 2 and "--masks and --pose belong together" in result.err
    assert not (tmp_path / "x").exists()


def test_tracking_made_elsewhere(kept: Path, clip: Path, models: list[str], tmp_path: Path) -> None:
    assert invoke(["export", str(kept), "--to", str(tmp_path / "export")]).code == 0
    masks, pose = tmp_path / "export" / "mask_skateboard", tmp_path / "export" / "pose.json"
    given = ["--masks", str(masks), "--pose", str(pose), *models[:4], *CLIP_OPTIONS]
    result = invoke(["generate", str(clip), "--out", str(tmp_path / "given"), *given])
    assert result.code in (0, 1), result.err
    assert same(kept, tmp_path / "given", ("times", "masks/object"))
    again = invoke(["generate", str(clip), "--out", str(tmp_path / "given"), *given, "--json"])
    assert [json.loads(line)["event"] for line in again.out.splitlines()] == ["done"]

    sorted(masks.iterdir())[-1].unlink()
    short = invoke(["generate", str(clip), "--out", str(tmp_path / "short"), *given])
    assert short.code == 3 and "ends after 19 frames, the video goes on" in short.err


def test_redo_changes_that_window_and_what_depends_on_it(kept: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(kept, run)
    before = arrays(run, ("generated",))["generated"]
    result = invoke(["redo", str(run), "--windows", "1", "--seed", "9"])
    assert result.code in (0, 1), result.err
    assert result.err.index("generating again: windows 1, counted from 0") < result.err.index("blend     window 2 of")
    after = arrays(run, ("generated",))["generated"]
    changed = np.flatnonzero((before != after).any(axis=(1, 2, 3)))
    # window 1 of 9 frames with 4 of overlap: generated [5, 14), so blended frames 5 to 13 may differ, and no other
    assert changed.size and changed.min() >= 5 and changed.max() < 14
    assert same(kept, run, TRACKED)
    assert invoke(["status", str(run), "--verify"]).code == 0
    reader = RunReader(run)
    assert reader.log.commits["generate", 1]["info"]["request"] == {"number": 0, "seed": 9, "text": ""}


def test_a_redone_window_that_is_damaged_is_repaired_as_it_was_redone(kept: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(kept, run)
    assert invoke(["redo", str(run), "--windows", "1", "--seed", "9"]).code in (0, 1)
    file = run / "run.zarr" / "blocks" / "raw" / "1"
    whole = file.read_bytes()
    file.unlink()
    assert invoke(["resume", str(run)]).code in (0, 1)
    assert file.read_bytes() == whole


@pytest.mark.parametrize(("windows", "message"), [("9", "has windows 0 to 3"), ("x", "give numbers with commas")])
def test_redo_refuses_windows_that_are_none(kept: Path, windows: str, message: str) -> None:
    result = invoke(["redo", str(kept), "--windows", windows])
    assert result.code == 2 and message in result.err


def test_redo_of_a_run_that_kept_nothing_is_that_of_one_that_kept_everything(
    kept: Path, clip: Path, models: list[str], tmp_path: Path
) -> None:
    frugal, whole = tmp_path / "frugal", tmp_path / "whole"
    assert invoke(["run", str(clip), "--out", str(frugal), *BOX, *models, *CLIP_OPTIONS]).code in (0, 1)
    shutil.copytree(kept, whole)
    for run in (frugal, whole):
        assert invoke(["redo", str(run), "--windows", "1", "--seed", "5"]).code in (0, 1)
        assert invoke(["status", str(run), "--verify"]).code == 0
    assert (frugal / "output.mp4").read_bytes() == (whole / "output.mp4").read_bytes()


def test_a_redo_behind_an_interrupted_one_of_a_run_that_kept_nothing(
    clip: Path, models: list[str], tmp_path: Path
) -> None:
    """The first was killed when its window was in place and nothing of what depends on it was made."""
    ended, killed = tmp_path / "ended", tmp_path / "killed"
    for run in (ended, killed):
        assert invoke(["run", str(clip), "--out", str(run), *BOX, *models, *CLIP_OPTIONS]).code in (0, 1)
    last = str(len(list((ended / "segments").glob("*.mp4"))) - 1)
    assert int(last) >= 2
    assert invoke(["redo", str(ended), "--windows", "0", "--seed", "5"]).code in (0, 1)
    assert shared_zygote().run(["redo", str(killed), "--windows", "0", "--seed", "5"], fault="redo.placed").code == -9
    for run in (ended, killed):
        found = invoke(["redo", str(run), "--windows", last, "--seed", "7"])
        assert found.code in (0, 1), found.err
        assert invoke(["status", str(run), "--verify"]).code == 0
    assert (ended / "output.mp4").read_bytes() == (killed / "output.mp4").read_bytes()


def test_an_interrupted_redo_is_finished_by_resume(kept: Path, tmp_path: Path) -> None:
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    for run in (killed, whole):
        shutil.copytree(kept, run)
    assert invoke(["redo", str(whole), "--windows", "0,2", "--seed", "9"]).code in (0, 1)
    command = [sys.executable, "-m", "stream.cli", "redo", str(killed), "--windows", "0,2", "--seed", "9"]
    environment = {**os.environ, "SKATE_FAULT": "generate.journal", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, timeout=120, check=False)
    assert done.returncode == -signal.SIGKILL
    assert invoke(["resume", str(killed)]).code in (0, 1)
    assert (killed / "output.mp4").read_bytes() == (whole / "output.mp4").read_bytes()
    assert same(whole, killed, ("generated", "iou"))


def test_a_variation_leaves_folders_beside_it_alone_and_finds_nothing_damaged(kept: Path, tmp_path: Path) -> None:
    beside = tmp_path / "x.partial"
    beside.mkdir()
    (beside / "thesis.txt").write_text("years of work")
    result = invoke(["generate", str(kept), "--out", str(tmp_path / "x"), "--seed", "4"])
    assert result.code in (0, 1) and "damaged" not in result.err
    assert (beside / "thesis.txt").exists() and {path.name for path in tmp_path.iterdir()} == {"x", "x.partial"}


def test_a_renamed_video_is_the_same_input_and_stays_known(clip: Path, models: list[str], tmp_path: Path) -> None:
    first, second = tmp_path / "a.mp4", tmp_path / "b.mp4"
    shutil.copy(clip, first)
    options = ["--out", str(tmp_path / "run"), *BOX, *models, *CLIP_OPTIONS]
    assert invoke(["run", str(first), *options]).code in (0, 1)
    first.rename(second)
    assert invoke(["run", str(second), *options]).code in (0, 1)
    assert invoke(["resume", str(tmp_path / "run")]).code in (0, 1)


def test_redo_of_an_extracted_run_says_what_is_missing(clip: Path, models: list[str], tmp_path: Path) -> None:
    assert invoke(["extract", str(clip), "--out", str(tmp_path / "x"), *BOX, *models, *CLIP_OPTIONS]).code == 0
    for command in (["redo", str(tmp_path / "x"), "--windows", "0"], ["evaluate", str(tmp_path / "x")]):
        result = invoke(command)
        assert result.code == 6 and "nothing was generated in it" in result.err


def test_keeping_everything_from_now_on_finds_nothing_missing(clip: Path, models: list[str], tmp_path: Path) -> None:
    options = ["run", str(clip), "--out", str(tmp_path / "run"), *BOX, *models, *CLIP_OPTIONS]
    assert invoke(options).code in (0, 1)
    again = invoke([*options, "--keep", "all"])
    assert again.code in (0, 1) and "damaged" not in again.err and "repairing" not in again.err


@pytest.mark.parametrize("fault", [None, "generate.journal#2"])
def test_overwriting_a_run_forgets_what_redo_replaced(
    kept: Path, clip: Path, models: list[str], tmp_path: Path, fault: str | None
) -> None:
    fresh, run = tmp_path / "fresh", Path(shutil.copytree(kept, tmp_path / "run"))
    assert invoke(["redo", str(run), "--windows", "1", "--seed", "9"]).code in (0, 1)
    options = [str(clip), *BOX, *models, *CLIP_OPTIONS, "--keep", "all", "--prompt", "x", "--seed", "20"]
    assert invoke(["run", *options, "--out", str(fresh)]).code in (0, 1)
    overwrite = ["run", *options, "--out", str(run), "--overwrite"]
    if fault is None:
        assert invoke(overwrite).code in (0, 1)
    else:
        environment = {**os.environ, "SKATE_FAULT": fault, "OMP_NUM_THREADS": "1"}
        killed = subprocess.run([sys.executable, "-m", "stream.cli", *overwrite], env=environment, check=False)
        assert killed.returncode == -signal.SIGKILL
    resumed = invoke(["resume", str(run)])
    assert resumed.code in (0, 1), resumed.err
    assert (run / "output.mp4").read_bytes() == (fresh / "output.mp4").read_bytes()
