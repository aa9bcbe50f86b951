"""HOTA, IDF1 and identity switches, checked against cases that were worked out by hand from TrackEval's definitions."""

import json
from pathlib import Path
from typing import cast

import cv2
import numpy as np
import pytest
from _runs import invoke

from bench.identities import ious_by_company, joints_right
from stages.base import Array
from stages.prompts import ObjectPrompt
from stages.subjects import OBJECT, PERSON, Subject
from storage.arrays import RunArrays
from stream.demo import DemoConfig, Scene
from stream.demo.group import compare_group, truth_subjects
from stream.demo.identities import Identities
from stream.options.recorded import read_run


def masks(*columns: int | None) -> list[Array]:
    """One mask each, four pixels in a column of its own; None: empty."""
    found = []
    for column in columns:
        mask = np.zeros((4, 8), bool)
        if column is not None:
            mask[:, column] = True
        found.append(mask)
    return found


def gathered(*frames: tuple[list[Array], list[Array]]) -> Identities:
    found = Identities()
    for truth, tracks in frames:
        found.add(truth, tracks)
    return found


def test_all_right() -> None:
    scores = gathered(*[(masks(0, 3), masks(0, 3))] * 5).scores()
    assert scores.hota == pytest.approx(1.0)
    assert (scores.idf1, scores.switches) == (1.0, 0)


def test_two_that_swap_half_way() -> None:
    """4 frames, swapped after 2: every detection is right. Each of the four pairs matches 2 of 4 frames: its
    association is 2 / (4 + 4 - 2) = 1/3, so HOTA = sqrt(1 * 1/3); IDTP = 4 of 8: IDF1 = 0.5; each is switched once."""
    right, swapped = (masks(0, 3), masks(0, 3)), (masks(0, 3), masks(3, 0))
    scores = gathered(right, right, swapped, swapped).scores()
    assert scores.hota == pytest.approx(np.sqrt(1 / 3))
    assert (scores.idf1, scores.switches) == (0.5, 2)


def test_one_that_is_lost() -> None:
    """Found in 3 of 4 frames, never elsewhere: DetA = 3/4, AssA = 3 / (4 + 3 - 3) = 3/4: HOTA = 3/4; IDF1 = 6/7."""
    scores = gathered(*[(masks(0), masks(0))] * 3, (masks(0), masks(None))).scores()
    assert scores.hota == pytest.approx(0.75)
    assert scores.idf1 == pytest.approx(6 / 7)
    assert scores.switches == 0


def test_a_mask_half_as_large() -> None:
    """IoU 1/2: matched at the ten alphas 0.05 to 0.5, where HOTA is 1, and at none of the nine above."""
    half = masks(0)[0].copy()
    half[2:] = False
    scores = gathered(*[(masks(0), [half])] * 3).scores()
    assert scores.hota == pytest.approx(10 / 19)
    assert scores.idf1 == 1.0


def test_something_that_is_not_there() -> None:
    """Two false ones beside two right ones: DetA = 2/4, AssA = 2 / (2 + 4 - 2) = 1/2; IDF1 = 2 * 2 / (2 + 4)."""
    frames = [(masks(0), masks(0))] * 2 + [(masks(None), masks(0))] * 2
    scores = gathered(*frames).scores()
    assert scores.hota == pytest.approx(0.5)
    assert scores.idf1 == pytest.approx(2 / 3)


def test_a_switch_over_a_gap_counts_and_a_gap_alone_does_not() -> None:
    seen, gap = (masks(0, 5), masks(0, None)), (masks(None, 5), masks(None, None))
    assert gathered(seen, gap, seen).scores().switches == 0
    assert gathered(seen, gap, (masks(0, 5), masks(None, 0))).scores().switches == 1


def test_who_was_matched_stays_so_while_it_matches() -> None:
    """Both tracks lie on the true one: the one that had it keeps it, though the other fits better."""
    whole, part = masks(0)[0], masks(0)[0].copy()
    part[3:] = False
    assert gathered(([whole], [whole, part]), ([whole], [part, whole])).scores().switches == 0


def test_nothing_to_find_and_slivers_that_are_not_asked_for() -> None:
    assert gathered(([np.zeros((4, 8), bool)], masks(None))).scores().hota == 1.0
    found = Identities()
    found.add(masks(0), masks(None), least=5)
    assert found.scores().idf1 == 1.0


CLIP = DemoConfig(frames=9, width=320, height=180, skaters=2, boards=2)


class TrueMasks:
    """In place of a run's arrays: the true masks, or those of another subject."""

    def __init__(self, instead: dict[str, str]) -> None:
        self._scene, self._instead = Scene(CLIP), instead

    def read(self, name: str, start: int, stop: int) -> Array:
        own = name.removeprefix("masks/")
        return np.stack([self._scene.masks(t)[self._instead.get(own, own)] for t in range(start, stop)])


def test_a_clip_of_several_against_its_truth() -> None:
    names = ["board", "board-2", "skater", "skater-2"]
    assert [subject.name for subject in truth_subjects(Scene(CLIP))] == names
    right = compare_group(Scene(CLIP), names, cast(RunArrays, TrueMasks({})))
    assert right.ious == dict.fromkeys(names, (1.0, 1.0))
    assert right.to_json()["id_switches"] == 0 and right.to_json()["idf1"] == 1.0
    swapped = {"skater": "skater-2", "skater-2": "skater"}
    wrong = compare_group(Scene(CLIP), names, cast(RunArrays, TrueMasks(swapped)))
    assert wrong.ious["board"] == (1.0, 1.0) and wrong.ious["skater"][0] < 0.5


def test_ious_where_somebody_else_is_and_where_nobody_is() -> None:
    """Its own rider over a board does not count; another board does, if only by a pixel; slivers are not asked for."""

    class Placed:
        config = CLIP
        at = (  # of each frame: x and width of the board, of its rider, of another board
            ((10, 20), (15, 10), (100, 20)),
            ((10, 20), (15, 10), (30, 20)),
            ((10, 20), (15, 10), (29, 20)),
            ((10, 2), (15, 10), (10, 20)),
        )

        def __len__(self) -> int:
            return len(self.at)

        def masks(self, t: int) -> dict[str, Array]:
            found = {name: np.zeros((CLIP.height, CLIP.width), bool) for name in ("board", "skater", "board-2")}
            for name, (x, width) in zip(found, self.at[t], strict=True):
                found[name][50:60, x : x + width] = True
            return found

    class Halved(Placed):
        """Of the masks of the third frame half."""

        def read(self, name: str, start: int, stop: int) -> Array:
            found = self.masks(start)[name.removeprefix("masks/")]
            found[55:] &= start != 2
            return found[None]

    prompt = ObjectPrompt(0, (10.0, 50.0, 30.0, 60.0))
    subjects = (Subject("board", OBJECT, prompt, held_by="skater"), Subject("skater", PERSON, prompt))
    found = ious_by_company(cast(Scene, Placed()), subjects, cast(RunArrays, Halved()))
    assert found == {
        "iou_apart": {"board": 1.0, "skater": 0.8333},  # 1, 1 and 0.5; the board is his own
        "iou_overlapping": {"board": 0.5, "skater": 1.0},
    }
    alone = ious_by_company(cast(Scene, Placed()), subjects[1:], cast(RunArrays, Halved()))
    assert alone["iou_overlapping"] == {"skater": pytest.approx(3.5 / 4)}, "a board that nobody holds"


def test_a_subject_alone_in_its_clip() -> None:
    scene = Scene(CLIP)
    for name in ("board-2", "skater"):
        alone = scene.alone(name)
        masks, visible = alone.masks(4), scene.masks(4)[name]
        assert masks[name][visible].all() and sum(mask.any() for mask in masks.values()) == 1
        plate = scene.truth(4).plate.astype(int)
        far = cv2.dilate(masks[name].astype(np.uint8), np.ones((41, 81), np.uint8)) == 0  # its shadow and the grain
        assert np.abs(alone.picture(4) - plate)[far].max() <= 12
    assert np.array_equal(scene.picture(4), scene.frame(4).image) and scene.masks(4)["skater-2"].any()


def test_joints_go_to_the_right_person_or_not() -> None:
    scene, names = Scene(CLIP), ("skater", "skater-2")

    class Joints(TrueMasks):
        def read(self, name: str, start: int, stop: int) -> Array:
            own = name.removeprefix("keypoints/")
            persons = {person.name: person for person in scene.truth(start).skaters}
            person = persons[self._instead.get(own, own)]
            return np.column_stack([person.joints, np.ones(133)])[None].astype(np.float32)

    right = joints_right(scene, names, cast(RunArrays, Joints({})))
    assert right["apart"] == 1.0 and right["overlapping"] in (0.0, 1.0) and right["asked_apart"] > 100
    swapped = joints_right(scene, names, cast(RunArrays, Joints(dict(zip(names, reversed(names), strict=True)))))
    assert swapped["apart"] < 0.1
    assert sum(swapped[f"asked_{kind}"] for kind in ("apart", "overlapping")) == sum(
        right[f"asked_{kind}"] for kind in ("apart", "overlapping")
    )


def test_the_demo_of_several_follows_them_by_name(tmp_path: Path) -> None:
    """A track that is never right is no fault here: the masks are of the small models, the clip is tiny."""
    words = ["demo", "--out", str(tmp_path / "demo"), "--skaters", "2", "--boards", "2", "--frames", "5"]
    words += ["--clip-size", "320x180", "--window", "5", "--overlap", "1", "--memory", "distractor-aware", "--json"]
    done = invoke(words)
    assert done.code in (0, 1), done.err
    truth = json.loads(done.out.splitlines()[-1])["truth"]
    assert set(truth["subjects"]) == {"board", "board-2", "skater", "skater-2"}
    assert 0 <= truth["hota"] <= 1 and 0 <= truth["idf1"] <= 1 and truth["id_switches"] >= 0
    manifest, config = read_run(tmp_path / "demo-subjects")
    assert (config.chain, config.memory) == ("extract", "distractor-aware")
    assert (config.track_view, config.sam) == ("chase", "mini-groups")
    assert {subject.name: subject.held_by for subject in config.subjects} == {
        "board": "skater", "board-2": "skater-2", "skater": None, "skater-2": None,
    }  # fmt: skip
    assert manifest["nodes"] == ["decode", "track", "pose", "occlusion"]
