"""Subjects with names: scene files, tracking and poses of all of them, what a run and an export hold of each."""

import dataclasses
import itertools
import json
from functools import cache
from pathlib import Path

import cv2
import numpy as np
import pytest
from _small_run import HEIGHT, WIDTH, folder, small_clip, small_config, small_mask

from stages.poses.assign import affinities, assign, best_pairs, disown
from stages.poses.skeleton import LEFT_HAND, RIGHT_HAND
from stages.prompts import Correction, ObjectPrompt
from stages.region import part_box
from stages.sam.prompts import PromptSchedule, SamPrompt
from stages.subjects import OBJECT, PERSON, Reskin, Sought, Subject
from storage.durable import file_sha256
from storage.errors import InputError, Interrupted, RunDirectoryError, UsageError
from storage.rundir import RunReader
from stream.cli.run import extract_command
from stream.demo import DemoConfig, Scene
from stream.demo.truth import PersonTruth
from stream.engine.signals import Cancel
from stream.options.config import RunConfig
from stream.options.scene import Cast, read_scene, write_scene
from stream.options.values import CORRECTION
from stream.progress.events import Event, WindowDone
from stream.report.closing import closing_text
from stream.report.export import export_run
from stream.report.reference import read_reference
from stream.run.lifecycle import start

BOX, SKATER_BOX = (60.0, 70.0, 100.0, 82.0), (60.0, 20.0, 100.0, 75.0)
SUBJECTS = (
    Subject("board", OBJECT, ObjectPrompt(box=BOX), (Correction(12, (61.5, 70.0, 100.0, 82.0)),)),
    Subject("skater", PERSON, ObjectPrompt(box=SKATER_BOX), (Correction(7, points=((70.5, 40.0, 1), (5.0, 5.0, 0))),)),
    Subject("board_2", OBJECT, ObjectPrompt(3, points=((70.25, 75.0, 1), (10.0, 10.0, 0)))),
    Subject("skater-2", PERSON, ObjectPrompt(11, box=(5.0, 20.0, 50.0, 75.0))),
)


@cache
def scene_run() -> Path:
    """A finished extraction of two objects and two persons, on different first frames."""
    out = folder() / "scene"
    start(dataclasses.replace(small_config("extract"), prompt=None, scene=SUBJECTS), out)
    return out


@pytest.mark.parametrize("form", [".toml", ".json"])
def test_what_is_written_is_read_as_the_same(tmp_path: Path, form: str) -> None:
    mask = ObjectPrompt(2, mask_png=str(small_mask()), mask_digest=file_sha256(small_mask()))
    again = Correction(9, mask_png=mask.mask_png, mask_digest=mask.mask_digest)
    by_text = Subject("by_text", OBJECT, corrections=(again,), find=Sought('a "long" board', 4))
    subjects = (*SUBJECTS, Subject("masked", OBJECT, mask, (again,), "skater"), by_text)
    look = Reskin("masked", False, 'a "red" board\n', "blur", str(small_mask()), file_sha256(small_mask()), 5)
    reskins = (Reskin("board", prompt="a neon board"), *(Reskin(s.name) for s in SUBJECTS[1:]), look, Reskin("by_text"))
    cast = Cast(subjects, reskins, ("board", "skater"), (5, 12))
    first, second = tmp_path / f"one{form}", tmp_path / f"two{form}"
    write_scene(first, cast)
    assert read_scene(first) == cast
    write_scene(second, read_scene(first))
    assert second.read_bytes() == first.read_bytes()


def test_a_mask_is_relative_to_the_file(tmp_path: Path) -> None:
    (tmp_path / "board.png").write_bytes(small_mask().read_bytes())
    (tmp_path / "scene.toml").write_text('[[subject]]\nname = "a"\nkind = "object"\nmask = "board.png"\n')
    (found,) = read_scene(tmp_path / "scene.toml").subjects
    assert found.prompt is not None
    assert (found.prompt.mask_png, found.prompt.mask_digest) == (
        str(tmp_path / "board.png"), file_sha256(small_mask()),
    )  # fmt: skip


GOOD = {"name": "a", "kind": "object", "box": [1, 2, 3, 4]}
BAD_SCENES = {
    "unknown key": ({"subject": [{**GOOD, "colour": "red"}]}, r"subject\[0\]: object contains unknown field colour"),
    "unknown table": ({"subject": [GOOD], "camera": {}}, "unknown field camera"),
    "nobody": ({"subject": []}, "subject: expected array of length >= 1"),
    "no name": ({"subject": [{"kind": "object", "box": [1, 2, 3, 4]}]}, r"subject\[0\]: .*missing required field name"),
    "bad name": ({"subject": [{**GOOD, "name": "A b"}]}, r"subject\[0\]\.name: .* \(it is 'A b'\)"),
    "bad kind": (
        {"subject": [{**GOOD, "kind": "dog"}]},
        r"subject\[0\]\.kind: invalid enum value 'dog'; give object, person",
    ),
    "a number without end": (
        {"subject": [{**GOOD, "frame": 10**400}]},
        r"subject\[0\]\.frame: [^(]*: docs/subjects.md",
    ),
    "a name without end": ({"subject": [{**GOOD, "name": 99 * "A"}]}, r"subject\[0\]\.name: [^(]*: docs/subjects.md"),
    "two of a name": ({"subject": [GOOD, GOOD]}, r"subject\[1\]\.name: 'a' is the name of another already"),
    "no prompt": (
        {"subject": [{"name": "a", "kind": "person"}]},
        r"\('a'\): needs exactly one of box, points, mask and find",
    ),
    "two prompts": ({"subject": [{**GOOD, "points": [[1, 1, 1]]}]}, "exactly one of box, points, mask and find"),
    "found and given": ({"subject": [{**GOOD, "find": "a board"}]}, "exactly one of box, points, mask and find"),
    "find": ({"subject": [{"name": "a", "kind": "object", "find": " "}]}, r"\('a'\): find: say what it is"),
    "inverted": ({"subject": [{**GOOD, "box": [3, 2, 1, 4]}]}, r"\('a'\): box 3,2,1,4 is empty or inverted"),
    "shares": ({"subject": [{**GOOD, "box": [0.1, 0.2, 0.6, 0.7]}]}, r"\('a'\): box 0.1,0.2,0.6,0.7 is smaller than a"),
    "three sides": ({"subject": [{**GOOD, "box": [3, 2, 1]}]}, r"subject\[0\]\.box: "),
    "a label": ({"subject": [{"name": "a", "kind": "object", "points": [[1, 1, 2]]}]}, r"subject\[0\]\.points"),
    "no mask": ({"subject": [{"name": "a", "kind": "object", "mask": "b.png"}]}, "b.png: no such file"),
    "correction": (
        {"subject": [{**GOOD, "frame": 5, "corrections": [{"frame": 4, "box": [1, 2, 3, 4]}]}]},
        "subject 'a': correction on frame 4: before the prompt frame 5",
    ),
    "neither": (
        {"subject": [{**GOOD, "corrections": [{"frame": 4}]}]},
        "a correction on frame 4 needs exactly one of a box, points and a mask",
    ),
    "no mask of a correction": (
        {"subject": [{**GOOD, "corrections": [{"frame": 4, "mask": "b.png"}]}]},
        "correction on frame 4: mask .*b.png: no such file",
    ),
    "off it": (
        {"subject": [{**GOOD, "corrections": [{"frame": 4, "points": [[1, 1, 0]]}]}]},
        "subject 'a': correction on frame 4: at least one point must lie on it",
    ),
    "held": ({"subject": [{**GOOD, "held_by": "b"}]}, r"subject\[0\]\.held_by: 'b' is no other person: there is none"),
    "held by itself": (
        {"subject": [{**GOOD, "kind": "person", "held_by": "a"}]},
        r"subject\[0\]\.held_by: 'a' is no other person: there is none",
    ),
    "removed and gated": (
        {"subject": [{**GOOD, "reskin": "remove", "gate": True}]},
        r"\('a'\): gate = true: .*never gated: leave one",
    ),
    "no text": ({"subject": [{**GOOD, "prompt": "\ud800"}]}, "is no JSON .*surrogates not allowed"),
    "a file's name without end": (
        {"subject": [{"name": "a", "kind": "object", "mask": 999 * "b"}]},
        r"\('a'\): mask .*: cannot be read \(File name too long\)",
    ),
    "a person called object": (
        {"subject": [{**GOOD, "kind": "person", "name": "object"}]},
        r"subject\[0\]\.name: a person called 'object' would be told as the object of a plain run: rename it",
    ),
    "the generator's views": (
        {"subject": [{**GOOD, "name": "generate"}]},
        r"subject\[0\]\.name: 'generate': the generator's own views",
    ),
    "one name for two, exported": (
        {"subject": [{**GOOD, "kind": "person"}, {**GOOD, "kind": "person", "name": "json_a"}]},
        "subjects 'a' and 'json_a': files that are exported of both would have one name: rename one",
    ),
    "one name for two, measured": (
        {
            "subject": [
                {**GOOD, "kind": "person"},
                {**GOOD, "name": "a-c"},
                *({**GOOD, "name": name, "held_by": "a"} for name in "bc"),
            ]
        },
        "subjects 'c' and 'a-c': what is measured of both",
    ),
    "reskin": ({"subject": [{**GOOD, "reskin": "yes"}]}, r"subject\[0\]\.reskin: .*; give true, false, remove"),
    "wide": ({"subject": [{**GOOD, "dilate": -1}]}, r"subject\[0\]\.dilate: "),
    "no reference": ({"subject": [{**GOOD, "reference": "b.png"}]}, "reference .*b.png: no such file"),
    "cuts": ({"subject": [GOOD], "clip": {"cuts": [9, 9]}}, r"clip\.cuts\[1\]: 9 is not above 9"),
}


@pytest.mark.parametrize("case", BAD_SCENES)
def test_bad_scenes_are_refused_by_key(tmp_path: Path, case: str) -> None:
    content, line = BAD_SCENES[case]
    path = tmp_path / "scene.json"
    path.write_text(json.dumps(content))
    with pytest.raises(InputError, match=line) as caught:
        read_scene(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)
    assert caught.value.exit_code == 3


@pytest.mark.parametrize(
    ("name", "text", "line"),
    [
        ("a.json", '{"subject": [\n {"name": "a",\n  "kind": "object",}]}', "line 3: is no JSON"),
        ("a.json", '{"subject": [{"name": "a", "kind": "object", "box": [1, 2, 3, NaN]}]}', "NaN is no number"),
        ("a.json", '{"subject": [{"name": "a", "kind": "object", "name": "b"}]}', "the key 'name' is there twice"),
        ("a.toml", '[[subject]]\nname = "a"\nkind =\n', "line 3: is no TOML"),
        ("a.toml", '[[subject]]\nname = "a"\nkind = "object"\nbox = [nan, 1, 2, 3]\n', r"subject\[0\]"),
        ("a.yaml", "", "is neither .toml nor .json by its name"),
    ],
)
def test_bad_files_are_refused_by_line(tmp_path: Path, name: str, text: str, line: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match=line):
        read_scene(tmp_path / name)


@pytest.mark.parametrize("name", ["board", OBJECT])
def test_a_box_outside_the_frame_names_its_subject(name: str, tmp_path: Path) -> None:
    wrong = Subject(name, OBJECT, ObjectPrompt(box=(60.0, 70.0, 1000.0, 82.0)))
    config = dataclasses.replace(small_config("extract"), prompt=None, scene=(wrong,))
    with pytest.raises(InputError, match=f"subject '{name}': box 60,70,1000,82 reaches outside the 160x90 frame"):
        start(config, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_scene_stands_alone() -> None:
    config = small_config("extract")
    with pytest.raises(UsageError, match="leave --box"):
        dataclasses.replace(config, scene=SUBJECTS)
    with pytest.raises(UsageError, match="two subjects of the scene have one name"):
        dataclasses.replace(config, prompt=None, scene=(SUBJECTS[0], SUBJECTS[0]))
    nobody = tuple(Reskin(subject.name, False) for subject in SUBJECTS)
    with pytest.raises(UsageError, match="nobody of the scene is to be regenerated"):
        dataclasses.replace(small_config("run"), prompt=None, scene=SUBJECTS, reskins=nobody)
    with pytest.raises(UsageError, match="--scene"):
        dataclasses.replace(config, prompt=None)


def test_every_subject_has_its_arrays(tmp_path: Path) -> None:
    run = RunReader(scene_run())
    for subject in SUBJECTS:
        assert subject.prompt is not None
        masks = run.arrays.read(f"masks/{subject.name}", 0, 21)
        assert masks.shape == (21, HEIGHT, WIDTH) and not masks[: subject.prompt.frame].any()
        assert run.arrays.read(f"visible/{subject.name}", 0, 21).shape == (21,)
    for name in ("skater", "skater-2"):
        assert run.arrays.read(f"keypoints/{name}", 0, 21).shape == (21, 133, 3)
        assert run.arrays.read(f"contacts/{name}", 0, 21).shape == (21, 2)
    assert run.manifest["nodes"] == ["decode", "track", "pose", "occlusion"]
    said = closing_text(start(dataclasses.replace(small_config("extract"), prompt=None, scene=SUBJECTS), scene_run()))
    assert all(f"\n{subject.name:<8} seen in " in said for subject in SUBJECTS)
    summary = json.loads((scene_run() / "report" / "summary.json").read_text())
    assert list(summary["subjects"]) == [subject.name for subject in SUBJECTS]
    header = (scene_run() / "report" / "iou.csv").read_text().splitlines()[0]
    assert header.endswith("clipping,board_visible,skater_visible,board_2_visible,skater-2_visible")


@pytest.mark.parametrize("stop", [2, 5, 7])
def test_a_scene_that_was_interrupted_goes_on_with_the_same_bytes(tmp_path: Path, stop: int) -> None:
    """After so many commits of decode, track and pose, with five subjects and a memory that chooses."""
    more = Subject("skater-3", PERSON, ObjectPrompt(5, box=SKATER_BOX))
    config = dataclasses.replace(
        small_config("extract"), prompt=None, scene=(*SUBJECTS, more), memory="distractor-aware", on_cut="reset"
    )
    whole = five_subjects(config)
    cancel, committed = Cancel(), itertools.count(1)

    def listen(event: Event) -> None:
        if isinstance(event, WindowDone) and next(committed) == stop:
            cancel.cancel()

    with pytest.raises(Interrupted):
        start(config, tmp_path / "run", listener=listen, cancel=cancel)
    assert sum(RunReader(tmp_path / "run").log.done(node) for node in ("decode", "track", "pose")) < 12
    start(config, tmp_path / "run")
    assert array_files(tmp_path / "run") == array_files(whole)


@cache
def five_subjects(config: RunConfig) -> Path:
    """The same run, never interrupted."""
    out = folder() / "five"
    start(config, out)
    return out


def array_files(run: Path) -> dict[str, bytes]:
    """Every array's and state's object."""
    store = run / "run.zarr"
    files = sorted(file for file in store.rglob("*") if file.is_file())
    return {str(file.relative_to(store)): file.read_bytes() for file in files}


def test_the_export_of_a_scene_is_judged_by_one_subject_at_a_time(tmp_path: Path) -> None:
    export_run(scene_run(), tmp_path)
    with pytest.raises(InputError, match="is of a scene") as told:
        read_reference(tmp_path / "tracking_metadata.json")
    remedy = f"give --original {tmp_path / 'mask_NAME'} in its place, NAME one of board, skater, board_2, skater-2"
    assert remedy in str(told.value)


def test_another_scene_is_another_run() -> None:
    moved = dataclasses.replace(SUBJECTS[1], prompt=ObjectPrompt(1, box=SKATER_BOX))
    other = dataclasses.replace(small_config("extract"), prompt=None, scene=(SUBJECTS[0], moved, *SUBJECTS[2:]))
    with pytest.raises(RunDirectoryError, match="scene: was"):
        start(other, scene_run())


def test_an_export_by_name(tmp_path: Path) -> None:
    export_run(scene_run(), tmp_path)
    run = RunReader(scene_run())
    for subject in SUBJECTS:
        picture = cv2.imread(str(tmp_path / f"mask_{subject.name}" / "frame_00012.png"), cv2.IMREAD_GRAYSCALE)
        assert picture is not None
        assert np.array_equal(picture > 0, run.arrays.read(f"masks/{subject.name}", 12, 13)[0])
        assert (tmp_path / f"mask_{subject.name}.mp4").is_file()
        assert (tmp_path / f"pose_{subject.name}").is_dir() == (subject.kind == PERSON)
    assert len(json.loads((tmp_path / "pose_skater-2.json").read_text())) == 21
    metadata = json.loads((tmp_path / "tracking_metadata.json").read_text())
    assert metadata["untracked"]["skater-2"] == [[0, 9], [9, 11]]
    assert metadata["files"]["subjects"]["board_2"]["masks"] == "mask_board_2/frame_%05d.png"
    assert not (tmp_path / "mask_skateboard").exists()


def test_the_plain_options_as_a_scene(tmp_path: Path) -> None:
    target = tmp_path / "scene.toml"
    arguments = [str(small_clip()), "--out", str(tmp_path / "out"), "--box", "60,70,100,82", "--prompt-frame", "2"]
    arguments += ["--correct", "12:61.5,70,100,82", "--person-box", "60,20,100,75", "--write-scene", str(target)]
    assert extract_command.main(arguments, standalone_mode=False) == 0
    assert read_scene(target) == Cast(
        (
            Subject(OBJECT, OBJECT, ObjectPrompt(2, BOX), (Correction(12, (61.5, 70.0, 100.0, 82.0)),)),
            Subject(PERSON, PERSON, ObjectPrompt(2, SKATER_BOX)),
        )
    )
    assert not (tmp_path / "out").exists()


def test_files_as_editors_on_windows_save_them(tmp_path: Path) -> None:
    """With a mark in front they are the same; in another encoding the line says what to do."""
    for name in ("scene.toml", "scene.json"):
        write_scene(tmp_path / name, Cast(SUBJECTS))
        wanted, text = read_scene(tmp_path / name), (tmp_path / name).read_text()
        (tmp_path / name).write_bytes(b"\xef\xbb\xbf" + text.encode())
        assert read_scene(tmp_path / name) == wanted
        (tmp_path / name).write_bytes(text.encode("utf-16"))
        with pytest.raises(InputError, match=r"it is not in UTF-8: save it in that encoding"):
            read_scene(tmp_path / name)


def test_corrections_go_by_name(tmp_path: Path) -> None:
    """Of a scene's subject, of object and person; a box or points."""
    scene, target = tmp_path / "scene.toml", tmp_path / "more.toml"
    write_scene(scene, Cast(SUBJECTS))
    arguments = [str(small_clip()), "--out", str(tmp_path / "out"), "--write-scene", str(target)]

    def written(*more: str) -> dict[str, tuple[Correction, ...]]:
        assert extract_command.main([*arguments, *more], standalone_mode=False) == 0
        return {subject.name: subject.corrections for subject in read_scene(target).subjects}

    found = written("--scene", str(scene), "--correct", "board_2@9:1,2,30,40", "--correct", "board@15:+61.5,75;-1,2")
    assert found["board_2"] == (Correction(9, (1.0, 2.0, 30.0, 40.0)),)
    assert found["board"] == (*SUBJECTS[0].corrections, Correction(15, points=((61.5, 75.0, 1), (1.0, 2.0, 0))))
    plain = ["--box", "60,70,100,82", "--correct", "9:+61,75"]
    assert written(*plain)[OBJECT] == (Correction(9, points=((61.0, 75.0, 1),)),)
    masked = Correction(9, mask_png=str(small_mask()), mask_digest=file_sha256(small_mask()))
    assert written("--box", "60,70,100,82", "--correct", f"9:{small_mask()}")[OBJECT] == (masked,)
    both = written(*plain, "--person-box", "60,20,100,75", "--correct", "person@8:60,20,99,75")
    assert both[PERSON] == (Correction(8, (60.0, 20.0, 99.0, 75.0)),)
    for more, line in (
        (["--scene", str(scene), "--correct", "9:1,2,3,4"], "--correct 9:1,2,3,4: whose"),
        (["--scene", str(scene), "--correct", "dog@9:1,2,3,4"], "is the name of none of board, skater"),
        ([*plain, "--correct", "person@8:1,2,3,4"], "--correct person@8: needs --person-box"),
    ):
        with pytest.raises(UsageError, match=line):
            extract_command.main([*arguments, *more], standalone_mode=False)
    with pytest.raises(InputError, match=r"--correct object@9: mask .*none\.png: no such file"):
        extract_command.main([*arguments, *plain[:2], "--correct", "object@9:none.png"], standalone_mode=False)
    for bad in ("9:+1", "9:+1,2;3,4", "@9:1,2,3,4", "9@a:1,2,3,4", "A@9:1,2,3,4", "9:+1,2,3;-1,2"):
        with pytest.raises(ValueError):
            CORRECTION.read(bad)


def test_points_on_a_later_frame_are_given_to_the_tracker() -> None:
    schedule = PromptSchedule.of(SUBJECTS[1])
    assert schedule is not None
    assert schedule.at(7, HEIGHT, WIDTH) == SamPrompt(points=((70.5, 40.0, 1), (5.0, 5.0, 0)))
    outside = dataclasses.replace(SUBJECTS[1], corrections=(Correction(7, points=((700.0, 4.0, 1),)),))
    with pytest.raises(InputError, match="subject 'skater': correction on frame 7: 700,4 lies outside the 160x90"):
        schedules = PromptSchedule.of(outside)
        assert schedules is not None
        schedules.check_inside(HEIGHT, WIDTH)


def test_the_assignment_is_the_best_there_is() -> None:
    rng = np.random.default_rng(0)
    for _ in range(300):
        rows, columns = rng.integers(0, 6, 2)
        worth = rng.random((rows, columns)) * (rng.random((rows, columns)) < 0.7)
        found = best_pairs(worth)
        assert len(found) == min(rows, columns)
        assert len({row for row, _ in found}) == len({column for _, column in found}) == len(found)
        wide = worth if rows <= columns else worth.T
        ways = itertools.permutations(range(wide.shape[1]), wide.shape[0])
        best = max(sum(wide[i, j] for i, j in enumerate(way)) for way in ways)
        assert abs(sum(worth[pair] for pair in found) - best) < 1e-9


def test_detections_go_to_whom_masks_and_motion_say() -> None:
    near, far, gone = (np.zeros((100, 100), bool) for _ in range(3))
    near[20:80, 10:40] = True
    near[5, 95] = True  # a stray pixel on somebody else
    far[20:80, 30:50] = True  # partly behind the other one
    boxes = np.array([[28.0, 20, 52, 80], [9.0, 19, 41, 81], [70.0, 20, 95, 80]])
    assert part_box(near).tolist() == [10.0, 20.0, 40.0, 80.0]
    nowhere = np.full((3, 4), np.nan)
    assert assign(affinities([near, far, gone], nowhere, boxes)) == {0: 1, 1: 0}
    hidden = np.array([*nowhere[:2], [72.0, 20, 97, 80]])
    assert assign(affinities([near, far, gone], hidden, boxes)) == {0: 1, 1: 0, 2: 2}
    assert assign(affinities([near], nowhere[:1], np.zeros((0, 4)))) == {}


def test_joints_of_another_are_taken_back() -> None:
    near, far = np.zeros((20, 30), bool), np.zeros((20, 30), bool)
    near[:, 2:10], far[:, 10:20] = True, True
    keypoints = np.zeros((2, 133, 3), np.float32)
    keypoints[0, :, :] = (5, 10, 0.9)  # within its own
    keypoints[0, 3, :2], keypoints[0, 4, :2], keypoints[0, 5, :2] = (12, 10), (25, 10), (-40, 10)
    keypoints[1, :, :] = (5, 10, 0.9)  # the other one's skeleton
    keypoints[1, :20, :2] = (14, 10)
    disown(keypoints, [near, far])
    assert list(np.flatnonzero(keypoints[0, :, 2] == 0)) == [3], "in the other's mask; what is in nobody's stays"
    assert not keypoints[1, :, 2].any()
    lost = np.tile(np.array([25, 10, 0.9], np.float32), (2, 133, 1))
    disown(lost, [near, np.zeros((20, 30), bool)])
    assert (lost[1, :, 2] > 0).all(), "without a mask somebody is believed to be where nobody else is"


def test_a_hand_that_lies_in_another_is_taken_back_whole() -> None:
    """Its fingers too that lie in no mask; of a hand that is its own, what lies in the other's."""
    near, far = np.zeros((20, 30), bool), np.zeros((20, 30), bool)
    near[:, 2:10], far[:, 10:20] = True, True
    keypoints = np.tile(np.array([5, 10, 0.9], np.float32), (2, 133, 1))
    keypoints[1, :, 0] = 15
    keypoints[0, LEFT_HAND, 0] = [12] * 3 + [25] * 16 + [5] * 2
    keypoints[0, RIGHT_HAND, 0] = [12] * 2 + [25] * 16 + [5] * 3
    disown(keypoints, [near, far])
    gone = np.flatnonzero(keypoints[0, :, 2] == 0)
    assert list(gone) == [*range(133)[LEFT_HAND], *range(133)[RIGHT_HAND][:2]]
    assert keypoints[1, :, 2].all()


def test_poses_go_to_the_right_person() -> None:
    """With the true masks of a clip: every joint of two skaters is nearer to its own."""
    from stages.base import Inputs, Window
    from stages.crowd import CrowdConfig, CrowdPoseStage
    from stages.models.registry import resolve
    from stages.poses.models import PoseModels
    from storage.spans import Span

    scene = Scene(DemoConfig(frames=6, seed=3, skaters=2, boards=2))
    frames = np.stack([scene.frame(t).image for t in range(6)])
    truths: list[tuple[PersonTruth, ...]] = [scene.truth(t).skaters for t in range(6)]
    span = Span(0, 6)
    arrays = {"frames": frames, "times": np.arange(6) / 24}
    arrays |= {f"masks/{s.name}": np.stack([each[k].visible for each in truths]) for k, s in enumerate(truths[0])}
    models = PoseModels(str(resolve("pose", "mini").path), str(resolve("detector", "mini").path), threads=1)
    names = tuple(s.name for s in truths[0])
    with CrowdPoseStage(CrowdConfig(models, names, detect_every=3)) as stage:
        output = stage.process(Window(0, span, span, span, True, 9), Inputs(arrays))
    right, reported, visible = 0, 0, 0
    for t, k in itertools.product(range(6), range(2)):
        keypoints, own = output.arrays[f"keypoints/{names[k]}"][t], truths[t][k]
        shown = own.joints_visible & (keypoints[:, 2] > 0.3)
        away = [np.linalg.norm(keypoints[:, :2] - each.joints, axis=1) for each in truths[t]]
        right += int((np.argmin(away, axis=0) == k)[shown].sum())
        reported, visible = reported + int(shown.sum()), visible + int(own.joints_visible.sum())
    assert reported >= 0.9 * visible
    assert right >= 0.98 * reported
    assert output.info["seen"] == dict.fromkeys(names, 6)
