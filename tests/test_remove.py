"""`--reskin remove`: the subjects vanish, nothing is gated, and what contradicts it is refused."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from _crash import differing, results, shared_case
from _runs import invoke
from _small_run import FRAMES, small_clip, small_config, small_run
from _zygote import shared_zygote
from test_scene_runs import SUBJECTS, scene_config

from stages.plates.names import PICTURES
from stages.prompts import ObjectPrompt
from stages.region import dilate_mask
from stages.subjects import OBJECT, Reskin, Subject
from storage.errors import UsageError
from storage.rundir import RunReader
from stream.options.config import RunConfig
from stream.options.passes import passes_of, removed
from stream.options.scene import Cast, read_scene, write_scene
from stream.report.evaluate import evaluate_run
from stream.run.lifecycle import start


def removing(**changes: object) -> RunConfig:
    return replace(small_config(), reskin="remove", generator="plate", **changes)  # type: ignore[arg-type]


def test_what_is_removed_is_not_gated_and_nothing_else_changes(tmp_path: Path) -> None:
    result = start(removing(keep="all", comparison=True), tmp_path / "run")
    assert (result.gate, result.iou_mean, result.failed_frames) == (None, None, [])
    assert result.output is not None and result.output.is_file()
    reader = RunReader(tmp_path / "run")
    assert "score" not in reader.manifest["nodes"] and "iou" not in reader.arrays.layout.arrays
    frames, made = (reader.arrays.read(name, 0, FRAMES) for name in ("frames", "generated"))
    masks = reader.arrays.read("masks/object", 0, FRAMES) | reader.arrays.read("masks/person", 0, FRAMES)
    for t in range(FRAMES):
        outside = ~dilate_mask(masks[t], 8)
        assert np.array_equal(made[t][outside], frames[t][outside])
        assert not masks[t].any() or (made[t] != frames[t])[masks[t]].any()
    assert "the subjects are removed" in (tmp_path / "run" / "report" / "index.html").read_text()
    with pytest.raises(UsageError, match="never gated"):
        list(evaluate_run(tmp_path / "run"))
    # A tracked run is emptied, and filled again: the generator is the one for it, whichever made the run.
    empty, filled = tmp_path / "empty", tmp_path / "filled"
    again = invoke(["generate", str(small_run()), "--reskin", "remove", "--out", str(empty), "--keep", "all"])
    assert again.code == 0, again.err
    assert np.array_equal(RunReader(empty).arrays.read("generated", 0, FRAMES), made)
    back = invoke(["generate", str(empty), "--reskin", "both", "--out", str(filled)])
    assert back.code in (0, 1), back.err
    assert RunReader(filled).manifest["config"]["generator"] == "preview"


@pytest.mark.slow
def test_a_run_that_removes_goes_on_after_a_kill(tmp_path: Path) -> None:
    case, _, _ = shared_case()
    more = ("--reskin", "remove", "--json")
    ended = shared_zygote().run(case.run(tmp_path / "whole", *more))
    assert ended.code == 0, ended.output
    assert '"gate": null' in ended.output
    for point in ("plate.state#3", "generate.begin#2"):
        run = tmp_path / point
        assert shared_zygote().run(case.run(run, *more), fault=point).code == -9
        assert shared_zygote().run(["resume", str(run)]).code == 0
        assert differing(results(run), results(tmp_path / "whole")) == []
    assert RunReader(tmp_path / "whole").arrays.kept(PICTURES) == [], "plates go when they are read"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"generator": "preview"}, "cannot remove"),
        ({"reskin": "both"}, "--reskin remove"),
        ({"generator": "comfyui", "server": ("127.0.0.1:1",)}, "needs no server"),
        ({"baselines": True}, "never gated"),
        ({"view": "follow"}, "whole frame"),
        ({"stabilise": 10}, "whole frame"),
    ],
)
def test_what_contradicts_it_is_refused(changes: dict[str, object], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        replace(removing(), **changes)  # type: ignore[arg-type]


BOARD, SKATER, RIVAL = SUBJECTS[0], SUBJECTS[1], SUBJECTS[3]
HOW = (Reskin("board"), Reskin("skater", prompt="a knight", dilate=3), Reskin("rival", False))


def vanishing(**more: Any) -> RunConfig:
    """A scene in which the skater vanishes, the board is made anew, and the rival stays."""
    how = (
        Reskin("board", prompt="a neon board", dilate=3),
        Reskin("skater", "remove", dilate=5),
        Reskin("rival", False),
    )
    return scene_config(**{"scene": (BOARD, SKATER, RIVAL), "reskins": how, "gated": None, **more})


def test_one_of_a_scene_vanishes_before_another_is_regenerated(tmp_path: Path) -> None:
    result = start(vanishing(passes="each"), tmp_path / "run")
    reader = RunReader(tmp_path / "run")
    frames, made = (reader.arrays.read(name, 0, FRAMES) for name in ("frames", "generated"))
    masks = {name: reader.arrays.read(f"masks/{name}", 0, FRAMES) for name in ("board", "skater", "rival")}
    ring = np.stack([dilate_mask(mask, 5) for mask in masks["skater"]]) & ~masks["rival"]
    board = np.stack([dilate_mask(mask, 3) for mask in masks["board"]]) & ~masks["rival"]
    assert masks["skater"].any() and masks["board"].any()
    changed = (frames != made).any(-1)
    assert not (changed & ~(ring | board)).any() and changed[masks["skater"]].mean() > 0.9
    first = (reader.arrays.read_block("raw-skater", 1) != frames[6:15]).any(-1)
    assert first.any() and not (first & ~(ring & ~masks["board"])[6:15]).any(), "nobody else is touched with the skater"
    assert result.gate is not None and "iou_mean" in result.subjects["board"]
    assert "iou_mean" not in result.subjects["skater"] and "iou_mean" in result.subjects["rival"]
    assert "scores/skater" not in reader.arrays.layout.arrays


def test_a_window_that_is_tried_again_finds_its_plates(tmp_path: Path) -> None:
    result = start(vanishing(keep="none", retries=1, iou_threshold=0.9999), tmp_path / "run")
    reader = RunReader(tmp_path / "run")
    assert result.gate == "failed" and reader.log.attempts
    assert all("request" not in record["info"] for record in reader.log.of("generate-skater"))
    assert reader.arrays.kept(f"{PICTURES}-skater") == [2], "plates go when a window can no more be tried again"


def test_all_of_a_scene_vanish_by_one_option(tmp_path: Path) -> None:
    asked = replace(vanishing(), reskin="remove", generator="plate")
    (only,) = passes_of(asked)
    assert [who.name for who, _ in removed(only.config)] == ["board", "skater"] and only.name == ""
    assert not asked.judges and asked.proved == ()
    result = start(asked, tmp_path / "run")
    reader = RunReader(tmp_path / "run")
    assert result.gate is None and "score" not in reader.manifest["nodes"]
    frames, made = (reader.arrays.read(name, 0, FRAMES) for name in ("frames", "generated"))
    masks = {name: reader.arrays.read(f"masks/{name}", 0, FRAMES) for name in ("board", "skater", "rival")}
    changed = (frames != made).any(-1)
    assert changed[masks["board"] | masks["skater"]].mean() > 0.9
    assert not changed[masks["rival"] & ~masks["board"] & ~masks["skater"]].any()


def test_who_vanishes_is_never_gated_and_a_file_says_so_again(tmp_path: Path) -> None:
    how = (Reskin("board", "remove"), Reskin("skater", prompt="a knight"))
    cast = Cast((BOARD, SKATER), how)
    assert cast.gated == () and vanishing(scene=(BOARD, SKATER), reskins=how, gated=("board",)).proved == ()
    write_scene(tmp_path / "scene.toml", cast)
    assert 'reskin = "remove"' in (tmp_path / "scene.toml").read_text()
    assert read_scene(tmp_path / "scene.toml") == cast


def test_who_vanishes_by_the_plain_options_vanishes_by_the_scene_that_they_write(tmp_path: Path) -> None:
    target, box = tmp_path / "scene.toml", (60.0, 70.0, 100.0, 82.0)
    words = ["run", str(small_clip()), "--out", str(tmp_path / "out"), "--box", "60,70,100,82", "--reskin", "remove"]
    assert invoke([*words, "--write-scene", str(target)]).code == 0
    board = Subject(OBJECT, OBJECT, ObjectPrompt(0, box))
    assert read_scene(target) == Cast((board,), (Reskin(OBJECT, "remove"),), ())


@pytest.mark.parametrize(
    ("options", "wanted", "gated"),
    [
        ((), HOW, ("board", "skater")),
        (
            ("--reskin", "object", "--dilate", "5,9"),
            (Reskin("board", dilate=5), replace(HOW[1], on=False), Reskin("rival", False, dilate=9)),
            ("board", "skater"),
        ),
        (
            ("--reskin", "remove"),
            (Reskin("board", "remove"), replace(HOW[1], on="remove"), HOW[2]),
            (),
        ),
    ],
)
def test_options_beside_a_scene_are_in_the_scene_that_they_write(
    tmp_path: Path, options: tuple[str, ...], wanted: tuple[Reskin, ...], gated: tuple[str, ...]
) -> None:
    scene, target = tmp_path / "scene.toml", tmp_path / "written.toml"
    write_scene(scene, Cast((BOARD, SKATER, RIVAL), HOW, ("board", "skater")))
    words = ["run", str(small_clip()), "--out", str(tmp_path / "out"), "--scene", str(scene), *options]
    assert invoke([*words, "--write-scene", str(target)]).code == 0
    assert read_scene(target) == Cast((BOARD, SKATER, RIVAL), wanted, gated)
