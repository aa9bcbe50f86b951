"""Runs of a scene: what is regenerated, in one generation or in one a subject, and what is said of each by name."""

import dataclasses
import itertools
import json
import shutil
from functools import cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from _runs import invoke
from _small_run import folder, small_clip, small_config, small_mask, small_sam
from test_subjects import BOX, SKATER_BOX, array_files

from stages.base import Array
from stages.poses.draw import draw, draw_as_vace, painted
from stages.prompts import Correction, ObjectPrompt
from stages.region import dilate_mask, nearness
from stages.subjects import OBJECT, PERSON, Reskin, Subject
from storage.durable import file_sha256
from storage.errors import InputError, Interrupted, UsageError
from storage.rundir import RunReader
from stream.engine.signals import Cancel
from stream.options.assembly import build_chain, resolve_models
from stream.options.config import RunConfig
from stream.options.passes import generations, passes_of
from stream.options.scene import MOST_SUBJECTS, Cast, write_scene
from stream.progress.events import Event, Reporter, WindowDone
from stream.report.closing import closing_text
from stream.report.evaluate import evaluate_run
from stream.run.lifecycle import start
from stream.run.redo import redo
from stream.run.variation import generate_from_run

SUBJECTS = (
    Subject("board", OBJECT, ObjectPrompt(box=BOX), held_by="skater"),
    Subject("skater", PERSON, ObjectPrompt(box=SKATER_BOX)),
    Subject("cone", OBJECT, ObjectPrompt(2, box=(5.0, 20.0, 50.0, 75.0))),
    Subject("rival", PERSON, ObjectPrompt(box=(90.0, 10.0, 120.0, 60.0))),
)
RESKINS = (
    Reskin("board", prompt="a neon board", dilate=3),
    Reskin("skater", prompt="a samurai", negative="blur"),
    Reskin("cone", False),
    Reskin("rival", prompt="a knight", negative="blur"),
)


def scene_config(passes: str = "together", **more: Any) -> RunConfig:
    """Two skaters, a board, and a cone that stays as it is; whoever is proved has a name."""
    asked = {"prompt": None, "scene": SUBJECTS, "reskins": RESKINS, "gated": ("board", "skater"), "keep": "all", **more}
    return dataclasses.replace(small_config("run"), passes=passes, **asked)


@cache
def scene_run(passes: str) -> Path:
    """A finished run."""
    out = folder() / f"scene-{passes}"
    start(scene_config(passes), out)
    return out


def read(run: Path, name: str) -> Array:
    return np.asarray(RunReader(run).arrays.read(name, 0, 21))


@pytest.mark.parametrize("passes", ["together", "each"])
def test_only_what_is_regenerated_changes(passes: str) -> None:
    run = scene_run(passes)
    before, after = read(run, "frames"), read(run, "generated")
    masks = {subject.name: read(run, f"masks/{subject.name}") for subject in SUBJECTS}
    changed = (before != after).any(-1)
    widths = {"board": 3, "skater": 8, "rival": 8}
    grown = {name: np.stack([dilate_mask(mask, width) for mask in masks[name]]) for name, width in widths.items()}
    chosen = masks["board"] | masks["skater"] | masks["rival"]
    allowed = np.logical_or.reduce(list(grown.values())) & (chosen | ~masks["cone"])
    assert not (changed & ~allowed).any()
    for name in widths:
        assert (changed & masks[name]).any(), f"{name} is as it was"


def test_each_has_a_generation_and_sees_the_one_before() -> None:
    run = RunReader(scene_run("each"))
    nodes = run.manifest["nodes"]
    made = [name for name in nodes if name.startswith("generate-")]
    assert made == ["generate-rival", "generate-skater", "generate-board"], "persons first, who is nearer last"
    before = run.arrays.read("frames", 0, 9)
    for name, own in itertools.pairwise(["", "rival", "skater", "board"]):
        seen = before if not name else run.arrays.read_block(f"raw-{name}", 0)
        raw, mask = run.arrays.read_block(f"raw-{own}", 0), run.arrays.read(f"masks/{own}", 0, 9)
        others = run.arrays.read("regions/all", 0, 9) & ~mask
        grown = np.stack([dilate_mask(each, 8) for each in mask])
        changed = (raw != seen).any(-1)
        assert changed.any() and not (changed & (~grown | others)).any()
    assert np.array_equal(run.arrays.read("views/generate-board", 0, 9).shape, (9, 2, 3))


def test_what_is_said_goes_by_name(tmp_path: Path) -> None:
    run = scene_run("together")
    found = start(scene_config(), run)
    scores = {subject.name: read(run, f"scores/{subject.name}") for subject in SUBJECTS}
    own = found.subjects
    assert list(own) == list(scores)
    for name, values in scores.items():
        assert own[name]["iou_mean"] == pytest.approx(np.nanmean(values.astype(float)), abs=1e-6)
        failed = sum(stop - start for start, stop in own[name]["failed_frames"])
        assert failed == np.count_nonzero(values <= 0.9)
    assert np.array_equal(read(run, "iou"), np.fmin(scores["board"], scores["skater"]))
    worst = np.nanmin(read(run, "iou"))
    assert found.gate == "failed" and found.iou_min == pytest.approx(worst, abs=1e-6)
    header, first = (run / "report" / "iou.csv").read_text().splitlines()[:2]
    assert header.endswith(",rival_visible,board_iou,skater_iou,cone_iou,rival_iou")
    assert first.split(",")[-1] == f"{scores['rival'][0]:.6f}"
    said = closing_text(found)
    assert f"board    seen in {own['board']['frames']} of 21 frames" in said and "IoU mean" in said
    lines = list(evaluate_run(run))
    assert [line.iou for line in lines] == pytest.approx(read(run, "iou").tolist(), nan_ok=True)
    assert not any(line.passed for line in lines if line.iou == 0)


def test_another_variation_of_a_scene_with_nobody_proved_has_no_gate(tmp_path: Path) -> None:
    changes = {"reskin": "person", "swap": (("rival", "x"),), "gated": ()}
    found = generate_from_run(scene_run("together"), tmp_path / "out", changes)
    assert found.gate is None and found.subjects["rival"]["iou_mean"] is not None
    assert "gate     none: no subject that stays in the picture is to be gated" in closing_text(found)
    report = tmp_path / "out" / "report"
    assert "Nothing is gated: " in (report / "index.html").read_text()
    assert json.loads((report / "summary.json").read_text())["gated_by"] == {}
    with pytest.raises(UsageError, match="no subject that stays in the picture is to be gated"):
        list(evaluate_run(tmp_path / "out"))
    assert np.array_equal(read(tmp_path / "out", "masks/cone"), read(scene_run("together"), "masks/cone"))
    config = scene_config(gated=())
    assert config.proved == () and scene_config(gated=None).proved == ("board", "cone")
    chain = build_chain(config, resolve_models(config), RunReader(scene_run("together")).manifest, Reporter())
    assert [name for name in chain["score"].writes if name.startswith("scores/")] == [
        "scores/board", "scores/skater", "scores/cone", "scores/rival",
    ]  # fmt: skip


def test_a_run_of_a_scene_goes_on_with_the_same_bytes(tmp_path: Path) -> None:
    cancel, committed = Cancel(), itertools.count(1)

    def listen(event: Event) -> None:
        if isinstance(event, WindowDone) and next(committed) == 29:  # between two generations of a window
            cancel.cancel()

    with pytest.raises(Interrupted):
        start(scene_config("each"), tmp_path / "run", listener=listen, cancel=cancel)
    start(scene_config("each"), tmp_path / "run")
    assert array_files(tmp_path / "run") == array_files(scene_run("each"))
    assert (tmp_path / "run" / "output.mp4").read_bytes() == (scene_run("each") / "output.mp4").read_bytes()


def test_a_window_of_a_scene_is_made_again(tmp_path: Path) -> None:
    shutil.copytree(scene_run("each"), tmp_path / "run")
    before = RunReader(tmp_path / "run").arrays.read_block("raw-board", 1)
    found = redo(tmp_path / "run", [1], 7, None)
    after = RunReader(tmp_path / "run").arrays.read_block("raw-board", 1)
    assert found.frames == 21 and not np.array_equal(before, after)
    assert np.array_equal(read(tmp_path / "run", "masks/board"), read(scene_run("each"), "masks/board"))


def test_a_window_is_not_made_again_where_it_could_not_be_scored(tmp_path: Path) -> None:
    """A mask that somebody was pointed at by is gone: the result stays."""
    mask = tmp_path / "mask.png"
    shutil.copyfile(small_mask(), mask)
    given = Correction(14, mask_png=str(mask), mask_digest=file_sha256(mask))
    start(scene_config(scene=(dataclasses.replace(SUBJECTS[0], corrections=(given,)), *SUBJECTS[1:])), tmp_path / "run")
    mask.unlink()
    before = (tmp_path / "run" / "journal.jsonl").read_bytes()
    with pytest.raises(InputError, match=str(mask)):
        redo(tmp_path / "run", [1], 7, None)
    assert (tmp_path / "run" / "journal.jsonl").read_bytes() == before


def test_other_words_for_a_window_are_of_whom_they_are_for(tmp_path: Path) -> None:
    """Who is made by words of its own is so again; nothing begins where all are, or for a name that is nobody's."""
    for text, told in (("a {tree}", "nothing says what {tree} becomes"), ("a bird", "made by words of its own")):
        with pytest.raises(UsageError, match=told):
            redo(scene_run("each"), [1], 7, text)
    assert RunReader(scene_run("each")).log.redo is None
    own = (RESKINS[0], Reskin("skater"), RESKINS[2], Reskin("rival"))
    start(scene_config("each", reskins=own), tmp_path / "run")
    redo(tmp_path / "run", [1], 7, "like {board}")
    log = RunReader(tmp_path / "run").log
    asked = {name: log.commits[f"generate-{name}", 1]["info"]["request"] for name in ("board", "skater", "rival")}
    assert {name: each["text"] for name, each in asked.items()} == {
        "board": "a neon board", "skater": "like a neon board", "rival": "like a neon board",
    }  # fmt: skip


def test_a_chain_of_as_many_generations_as_there_may_be() -> None:
    """Each of 32 sees the one before; what waits for what is known without going through all the ways there are."""
    named = [Subject(f"s{index}", PERSON, ObjectPrompt(box=BOX)) for index in range(MOST_SUBJECTS)]
    config = scene_config("each", scene=tuple(named), reskins=tuple(Reskin(each.name) for each in named), gated=())
    chain = build_chain(config, resolve_models(config), RunReader(scene_run("each")).manifest, Reporter())
    assert len(chain.generators) == MOST_SUBJECTS and chain.lag(chain.names[-1]) == chain.lag("generate-s0")


def test_words_of_one_generation() -> None:
    def text(**given: Any) -> str:
        (one,) = passes_of(scene_config(**given))
        return one.config.text

    assert text() == "a neon board, a samurai, a knight"
    assert text(text="{skater} riding {board}, {rival} behind") == "a samurai riding a neon board, a knight behind"
    assert text(swap=(("board", "a log"),)) == "a log, a samurai, a knight"
    assert text(text="{cone} and {board}", swap=(("cone", "a tree"),)) == "a tree and a neon board"
    (one,) = passes_of(scene_config(negative="rain"))
    assert (one.config.negative, one.config.dilate, one.config.keeps) == ("rain, blur", (3, 8), True)
    with pytest.raises(UsageError, match=r"nothing says what {cone} becomes"):
        text(text="{cone}")
    with pytest.raises(UsageError, match=r"--swap tree=\.\.\.: is the name of none of board, skater"):
        scene_config(swap=(("tree", "x"),))
    plain = dataclasses.replace(small_config(), text="{person} on {object}", swap=(("person", "x"), ("object", "y")))
    assert passes_of(plain)[0].config.text == "x on y"
    assert passes_of(dataclasses.replace(plain, text=""))[0].config.text == "x, y"
    assert passes_of(dataclasses.replace(plain, text="", reskin="object"))[0].config.text == "y"
    assert passes_of(dataclasses.replace(small_config(), text="a {b}"))[0].config.text == "a {b}"
    assert generations(scene_config(text="{board}!"))["generate"].text == "a neon board!"


def test_words_of_each_generation() -> None:
    reskins = (dataclasses.replace(RESKINS[0], reference="board.png"), RESKINS[1], RESKINS[2], Reskin("rival"))
    every = passes_of(scene_config("each", text="all of them: {board}", reskins=reskins, swap=(("skater", "a monk"),)))
    told = {one.name: (one.config.text, one.config.reference, one.config.dilate, one.config.reskin) for one in every}
    assert told == {
        "rival": ("all of them: a neon board", None, (8, 8), "person"),
        "skater": ("a monk", None, (8, 8), "person"),
        "board": ("a neon board", "board.png", (3, 3), "object"),
    }


def test_what_one_generation_cannot_give_is_refused() -> None:
    two = (dataclasses.replace(RESKINS[0], reference="a.png"), dataclasses.replace(RESKINS[1], reference="b.png"))
    with pytest.raises(UsageError, match="subjects board and skater have references of their own"):
        passes_of(scene_config(reskins=(*two, *RESKINS[2:])))
    with pytest.raises(UsageError, match="subjects skater and rival ask for dilate 2 and 8"):
        passes_of(scene_config(reskins=(RESKINS[0], dataclasses.replace(RESKINS[1], dilate=2), *RESKINS[2:])))
    with pytest.raises(UsageError, match="--passes each: is for the subjects of a --scene"):
        dataclasses.replace(small_config(), passes="each")
    with pytest.raises(UsageError, match="--passes each: latents"):
        scene_config("each", continuity="latent")


def test_a_mask_by_which_passes_are_ordered_is_called_as_in_its_scene(tmp_path: Path) -> None:
    black = tmp_path / "black.png"
    assert cv2.imwrite(str(black), np.zeros((90, 160), np.uint8))
    board = dataclasses.replace(SUBJECTS[0], prompt=ObjectPrompt(mask_png=str(black)))
    with pytest.raises(InputError, match=f"^subject 'board': mask {black} is black: paint"):
        passes_of(scene_config("each", scene=(board, *SUBJECTS[1:])))


def test_the_nearest_is_drawn_last() -> None:
    points = np.zeros((2, 133, 3), np.float32)
    points[0, 5:17] = [[30 + 3 * k, 20 + 5 * k, 1] for k in range(12)]
    points[1, 5:17] = [[60 - 2 * k, 20 + 4 * k, 1] for k in range(12)]
    for style in ("controlnet", "vace", "wan-animate"):
        both, last = draw(points, 100, 120, style), draw(points[1], 100, 120, style)
        assert np.array_equal(both[painted(last)], last[painted(last)])
        assert (painted(both) & ~painted(last)).any()
    assert painted(draw_as_vace(points, 100, 120)).sum() > painted(draw_as_vace(points[1], 100, 120)).sum()
    near, far = np.zeros((2, 20, 20), bool)
    near[10:18, 3:6], far[2:12, 3:6] = True, True
    assert nearness(near) > nearness(far) > nearness(far & False)


def test_a_scene_on_the_command_line(tmp_path: Path) -> None:
    sam, config = small_sam()
    scene, again = tmp_path / "scene.toml", tmp_path / "again.toml"
    write_scene(scene, Cast(SUBJECTS, RESKINS, ("board", "skater")))
    out = ["--out", str(tmp_path / "out"), "--scene", str(scene)]
    assert invoke(["run", str(small_clip()), *out, "--write-scene", str(again)]).code == 0
    assert again.read_bytes() == scene.read_bytes() and not (tmp_path / "out").exists()
    models = ["--sam", sam, "--sam-config", config, "--pose", "mini", "--detector", "mini", "--keep", "all"]
    windows = ["--window", "9", "--overlap", "3", "--device", "cpu", "--json"]
    finished = ["--scene", str(scene), "--out", str(scene_run("together"))]
    found = invoke(["run", str(small_clip()), *finished, *models, *windows])
    assert found.code == 1, found.err
    last = json.loads(found.out.splitlines()[-1])
    assert list(last["subjects"]) == ["board", "skater", "cone", "rival"] and last["gate"] == "failed"
    exported = invoke(["export", str(scene_run("together")), "--to", str(tmp_path / "to")])
    assert exported.code == 0 and (tmp_path / "to" / "mask_cone").is_dir()
    cuts = invoke(["run", str(small_clip()), *finished, *models, *windows, "--cuts", str(cut_file(tmp_path))])
    assert cuts.code == 6 and "cuts: was null, now [9]" in cuts.out
    write_scene(scene, Cast(SUBJECTS, RESKINS, ("board", "skater"), (9,)))
    assert "cuts: was null, now [9]" in invoke(["run", str(small_clip()), *finished, *models, *windows]).out
    told = invoke(["run", str(small_clip()), *out, "--box", "1,2,3,4"])
    assert told.code == 2 and "--scene says what is followed: leave --box out" in told.err


def cut_file(folder: Path) -> Path:
    """As `--cuts` takes it."""
    path = folder / "cuts.txt"
    path.write_text("9\n")
    return path


def test_masks_of_a_scene_do_not_overlap() -> None:
    masks = [read(scene_run("together"), f"masks/{subject.name}") for subject in SUBJECTS]
    assert np.sum(masks, axis=0).max() == 1
    found = [read(scene_run("together"), f"found/{subject.name}") for subject in SUBJECTS]
    assert np.sum(found, axis=0).max() == 1


def test_who_is_left_no_pixel_is_lost_and_told_so(tmp_path: Path) -> None:
    twin = dataclasses.replace(SUBJECTS[0], name="twin")  # pointed at where the board is: one of both has nothing
    config = dataclasses.replace(small_config("extract"), prompt=None, scene=(SUBJECTS[0], SUBJECTS[1], twin))
    result = start(config, tmp_path / "run")
    shown = {name: read(tmp_path / "run", f"masks/{name}").any(axis=(1, 2)) for name in ("board", "twin")}
    assert sorted(flags.any() for flags in shown.values()) == [False, True]
    for name, flags in shown.items():
        assert np.array_equal(read(tmp_path / "run", f"visible/{name}"), flags)
        told = result.subjects[name]
        assert (told["frames"], told["lost_frames"]) == (flags.sum(), (~flags).sum())
