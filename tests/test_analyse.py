"""`skate analyse`: who is in a clip, what the camera does, and the scene that is proposed."""

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from _clips import Clip, make
from _runs import CLIP, invoke, small_clip, small_models
from PIL import Image

from stages.base import Array
from stages.likeness import alike
from stages.picture import mask_box
from stages.poses import everyone as people
from stages.poses.everyone import THUMBNAIL, Everyone, Sighting, Trace
from stages.poses.follow import iou
from stages.poses.place import given_boxes
from stages.prompts import Box
from stages.subjects import OBJECT, PERSON
from storage.errors import EnvironmentFault
from storage.rundir import RunReader
from stream.analyse import propose
from stream.analyse.survey import Camera, Movement, Survey, Times
from stream.demo import DemoConfig, Scene
from stream.demo.clip import write_clip
from stream.options.scene import read_scene

RED, GREEN, BLUE = (200, 40, 40), (40, 180, 60), (50, 60, 210)
CLIPS = Path(os.environ.get("SKATE_CLIPS", "../shared/clips"))


def _look(everyone: Everyone, frame: int, *figures: tuple[int, tuple[int, int, int]]) -> None:
    """Show a frame with figures of 20x60 px in one colour each, at their left edges; the last one is in front."""
    picture = np.full((100, 300, 3), 128, np.uint8)
    boxes = []
    for left, colour in figures:
        picture[20:80, left : left + 20] = colour
        boxes.append((left, 20, left + 20, 80))
    everyone.see(frame, picture, np.array(boxes, np.float32).reshape(-1, 4))


def test_who_cross_are_told_apart_and_found_again_behind_a_cut() -> None:
    everyone = Everyone()
    for k in range(20):
        _look(everyone, 4 * k, (20 + 10 * k, RED), (200 - 10 * k, GREEN))
    everyone.end_shot()
    for k in range(5):  # the other way round, and somebody new
        _look(everyone, 80 + 4 * k, (220, RED), (60 + k, GREEN), (140, BLUE))
    everyone.end_shot()
    red, green, blue = everyone.persons
    assert [len(each.seen) for each in (red, green, blue)] == [25, 25, 5]
    assert [sight.box[0] for sight in red.seen] == [20 + 10 * k for k in range(20)] + [220] * 5
    assert [sight.box[0] for sight in green.seen] == [200 - 10 * k for k in range(20)] + [60 + k for k in range(5)]
    assert blue.seen[0].frame == 80 and red.thumbnail.shape == (60, 20, 3)
    assert tuple(np.median(red.thumbnail, (0, 1))) == RED and max(sight.overlap for sight in red.seen) > 0.5


def test_who_leaves_and_returns_is_one_and_who_looks_otherwise_is_another() -> None:
    everyone = Everyone()
    for k in range(4):
        _look(everyone, 4 * k, (40, RED))
    for k in range(4):
        _look(everyone, 100 + 4 * k, (200, RED))
    for k in range(4):
        _look(everyone, 200 + 4 * k, (200, GREEN))
    everyone.end_shot()
    assert [[sight.frame for sight in each.seen] for each in everyone.persons] == [
        [0, 4, 8, 12, 100, 104, 108, 112],
        [200, 204, 208, 212],
    ]


def test_who_comes_back_again_and_again_is_compared_no_more_than_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A long shot of a street has hundreds of traces, most of which are joined: that must not take hours."""
    times, asked = 24, list[int]()

    def counted(one: Array, other: Array) -> float:
        asked.append(1)
        return alike(one, other)

    everyone = Everyone()
    for k in range(times):
        _look(everyone, 100 * k, (40 + k, (RED, GREEN, BLUE)[k % 3]))
    monkeypatch.setattr(people, "alike", counted)
    everyone.end_shot()
    assert [len(each.seen) for each in everyone.persons] == [times // 3] * 3
    assert len(asked) <= times**2


def test_the_shots_of_a_long_clip_are_not_looked_through_for_each_sight() -> None:
    looked: list[int] = []

    class Counted(list[tuple[int, int]]):
        def __iter__(self) -> Iterator[tuple[int, int]]:
            looked.append(1)
            return super().__iter__()

    shots = Counted((6 * number, 6 * number + 6) for number in range(300))
    sights = [Sighting(frame, (10.0, 10.0, 40.0, 80.0), 0.0) for frame in range(6, 1800, 3)]
    trace = Trace(sights, np.empty(0, np.float32), np.zeros((4, 4, 3), np.uint8))
    size: Any = SimpleNamespace(width=160, height=90)
    person = propose.subject("person-1", trace, Survey(size, 1800, 24.0, True, shots, [], [trace], [], 3))
    assert person.prompt is not None and person.prompt.frame == 6
    assert [item.frame for item in person.corrections] == list(range(12, 1800, 6)) and len(looked) < 3


def test_who_are_seen_on_one_frame_are_never_one() -> None:
    everyone = Everyone()
    for k in range(4):
        _look(everyone, 4 * k, (40, RED), (200, RED))
    everyone.end_shot()
    assert len(everyone.persons) == 2


def test_a_thumbnail_is_small() -> None:
    everyone = Everyone()
    everyone.see(0, np.zeros((1000, 500, 3), np.uint8), np.array([(10, -20, 300, 990)], np.float32))
    everyone.end_shot()
    assert everyone.persons[0].thumbnail.shape[0] == THUMBNAIL


def _texture(shift: tuple[float, float]) -> Array:
    y, x = np.mgrid[0:180, 0:320].astype(np.float32)
    u, v = x - shift[0], y - shift[1]
    waves: Array = 128 + 50 * np.sin(u / 7) * np.cos(v / 5) + 50 * np.sin((u + 2 * v) / 11)
    return waves.clip(0, 255).astype(np.uint8)


def _filmed(shifts: list[tuple[float, float]]) -> Movement | None:
    camera = Camera()
    for dx, dy in shifts:
        camera.see(_texture((0, 0)), _texture((dx, dy)), np.array([[10.0, 10.0, 40.0, 90.0]]), (320, 180))
    return camera.told((320, 180), 25.0)


def test_what_the_camera_does() -> None:
    assert str(_filmed([(0, 0)] * 4)) == "stands still"
    assert str(_filmed([(-2, 0)] * 4)) == "pans right by 50 px/s"  # the picture goes left
    assert str(_filmed([(1, 1)] * 4)) == "pans left by 25 px/s, pans up by 25 px/s"
    shaken = _filmed([(2, 0), (-2, 0), (2, 0), (-2, 0), (0, 0)])
    assert str(shaken).startswith("shakes by 2.") and "pans" not in str(shaken)
    blank = Camera()
    blank.see(np.zeros((180, 320), np.uint8), np.zeros((180, 320), np.uint8), np.empty((0, 4)), (320, 180))
    assert blank.told((320, 180), 25.0) is None and Camera().told((320, 180), 25.0) is None


def test_what_times_say_of_the_rate() -> None:
    even, uneven, one = Times(), Times(), Times()
    for k in range(10):
        even.see(k / 30)
        uneven.see(k / 30 + 0.02 * (k % 2))
    one.see(0.0)
    assert even.even and even.rate(1.0) == pytest.approx(30) and not uneven.even and one.even and one.rate(24.0) == 24.0


def test_whom_a_scene_has_no_room_for_is_not_told_as_seen_briefly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(propose, "MOST_SUBJECTS", 1)
    long, less, brief = (
        Trace([Sighting(frame, (8.0, 8.0, 20.0, 40.0), 0.0) for frame in range(count)], np.zeros(0), np.zeros(0))
        for count in (9, 8, 1)
    )
    properties: Any = SimpleNamespace(width=64, height=48)
    found = Survey(properties, 9, 24.0, True, [(0, 9)], [None], [long, less], [brief], 1)
    told = propose.propose(found, Path("clip.mp4"), "yolox-m").unsure
    assert [each.partition("; ")[0].partition(": ")[2] for each in told if each.startswith("somebody")] == [
        "seen too briefly", "a scene has 1 subjects at most",
    ]  # fmt: skip


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_clip(tmp_path_factory.mktemp("analyse"))


def test_the_scene_of_a_clip_runs_as_written_with_its_board(clip: Path) -> None:
    target = clip.parent / "scene.toml"
    found = invoke(["analyse", str(clip), "--to", str(target), "--detector", "mini", "--json"])
    assert found.code == 0, found.err
    line = json.loads(found.out)
    assert line["shots"] == [[0, 20]] and line["frames"] == 20 and line["size"] == [160, 90] and line["even"]
    assert [person["name"] for person in line["persons"]] == ["person-1"] and line["fps"] == pytest.approx(24)
    text = target.read_text()
    assert "the mini detector knows the demo's clip alone" in text and "shot 1 frames 0 to 19; the camera" in text
    subject = read_scene(target).subjects[0]
    truth = Scene(CLIP).frame(0).person_mask
    assert subject.kind == PERSON and subject.prompt is not None and subject.prompt.box is not None
    assert iou(np.array([subject.prompt.box]), np.array(mask_box(truth)))[0] > 0.6
    with Image.open(line["persons"][0]["thumbnail"]) as picture:
        assert picture.size[1] <= THUMBNAIL

    target.write_text(with_boards(text, {"board-1": mask_box(Scene(CLIP).frame(0).object_mask)}))
    made = clip.parent / "made"
    small = ["--window", "9", "--overlap", "4", *small_models(clip.parent)]
    done = invoke(["extract", str(clip), "--scene", str(target), "--out", str(made), *small])
    assert done.code == 0, done.err
    arrays = RunReader(made).arrays
    assert arrays.read("masks/board-1", 0, 20).shape == arrays.read("masks/person-1", 0, 20).shape == (20, 90, 160)


def with_boards(text: str, boxes: dict[str, Box]) -> str:
    """The scene with its templates taken out of their comments, as the file says, and filled in."""
    start = text.index("# [[subject]]")
    tables = re.sub("^# ?", "", text[start:], flags=re.MULTILINE).split("[[subject]]\n")[1:]
    for table in tables:
        name = re.search('name = "(.*)"', table)
        assert name is not None
        box = ", ".join(f"{value:g}" for value in boxes[name[1]])
        text = text.split("# [[subject]]")[0] if table is tables[0] else text
        text += "\n[[subject]]\n" + table.replace("x1, y1, x2, y2", box)
    return text


def test_what_is_there_is_not_overwritten_and_what_cannot_be_is_told_at_once(clip: Path) -> None:
    edited = clip.parent / "edited.toml"
    edited.write_text("mine")
    asked = ["analyse", str(clip), "--detector", "mini", "--to"]
    for target, words in (
        (edited, "is there already"), (clip.parent / "scene.txt", "neither .toml nor .json"),
        (clip.parent / "no" / "scene.toml", "there is no folder"),
    ):  # fmt: skip
        found = invoke([*asked, str(target)])
        assert found.code == 3 and words in found.err
    assert edited.read_text() == "mine"


def test_nobody_found_is_told_and_no_more(tmp_path: Path) -> None:
    path = tmp_path / "empty.mp4"
    make(path, Clip(frames=9))
    found = invoke(["analyse", str(path), "--to", str(tmp_path / "s.toml"), "--detector", "mini"])
    assert found.code == 0 and "nobody was found" in found.out and "person-1" not in found.out
    text = (tmp_path / "s.toml").read_text()
    assert "[[subject]]" in text and not [line for line in text.splitlines() if line and not line.startswith("#")]
    again = invoke(["analyse", str(path), "--to", str(tmp_path / "s.json"), "--detector", "mini"])
    assert again.code == 0 and json.loads((tmp_path / "s.json").read_text()) == {"subject": []}


@pytest.mark.slow
@pytest.mark.parametrize("camera", ["steady", "cuts"])
def test_all_three_skaters_are_found_one_each(tmp_path: Path, camera: str) -> None:
    config = DemoConfig(201 if camera == "steady" else 161, camera=camera, skaters=3, boards=3)
    scene, path, target = Scene(config), tmp_path / "clip.mp4", tmp_path / "scene.toml"
    write_clip(config, path)
    found = invoke(["analyse", str(path), "--to", str(target), "--detector", "mini", "--json"])
    assert found.code == 0, found.err
    line = json.loads(found.out)
    assert line["shots"] == [[shot.start, shot.stop] for shot in scene.shots]
    assert [person["name"] for person in line["persons"]] == ["person-1", "person-2", "person-3"]
    cast, who = read_scene(target), dict[str, str]()
    for subject in cast.subjects:
        for frame, box in given_boxes(subject).items():
            masks = {name: scene.masks(frame)[name] for name in scene.skaters}
            near = {
                name: float(iou(np.array([box]), np.array(mask_box(mask)))[0])
                for name, mask in masks.items()
                if mask.any()
            }
            likest = max(near, key=lambda name: near[name])
            assert near[likest] > 0.5 and who.setdefault(subject.name, likest) == likest
    assert len(set(who.values())) == 3

    boards = dict(zip(("board-1", "board-2", "board-3"), scene.boards, strict=True))
    boxes = {name: mask_box(scene.masks(0)[board]) for name, board in boards.items()}
    target.write_text(with_boards(target.read_text(), boxes))
    assert [subject.kind for subject in read_scene(target).subjects] == [PERSON] * 3 + [OBJECT] * 3
    mini = ["--sam", "mini", "--pose", "mini", "--detector", "mini"]
    done = invoke(["extract", str(path), "--scene", str(target), "--out", str(tmp_path / "made"), *mini])
    assert done.code == 0, done.err


def test_the_pictures_of_before_stay_until_the_new_scene_is_written(
    clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["analyse", str(clip), "--to", str(tmp_path / "scene.toml"), "--detector", "mini", "--overwrite"]
    assert invoke(words).code == 0
    folder = tmp_path / "scene-persons"
    (folder / "person-2.png").write_bytes(b"of before")

    def full(*_: object) -> None:
        raise EnvironmentFault("the disk is full")

    with monkeypatch.context() as patched:
        patched.setattr("stream.analyse.job.write_scene", full)
        assert invoke(words).code == 4
    assert sorted(path.name for path in folder.iterdir()) == ["person-1.png", "person-2.png"]
    before = (folder / "person-1.png").read_bytes()
    with monkeypatch.context() as patched:
        patched.setattr("stream.analyse.job.write_atomic", lambda *_: (tmp_path / "gone").stat())
        assert invoke(words).code == 4
    assert (folder / "person-1.png").read_bytes() == before and (folder / "person-2.png").is_file()
    assert invoke(words).code == 0
    assert [path.name for path in folder.iterdir()] == ["person-1.png"]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["skateboarder", "juggle"])
def test_of_a_real_clip_it_is_told_what_the_mini_models_cannot(tmp_path: Path, name: str) -> None:
    path = CLIPS / f"{name}.mp4"
    if not path.is_file():
        pytest.skip(f"{path} is not there")
    found = invoke(["analyse", str(path), "--to", str(tmp_path / "scene.toml"), "--detector", "mini", "--json"])
    line = json.loads(found.out)
    assert found.code == 0 and len(line["shots"]) == 1 and line["size"] == [1280, 720]
    assert any("mini detector knows the demo's clip alone" in told for told in line["unsure"])
    assert line["persons"] or any("nobody was found" in told for told in line["unsure"])
