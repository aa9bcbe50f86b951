"""Reverse tracking of encoded segments."""

import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import av
import numpy as np
import pytest
from _sam_fixture import moving_clip, stock_logits, write_small_sam
from _scripted import Script, Scripted

from stages.base import Array, Inputs, Output, Window
from stages.metrics import iou
from stages.prompts import Correction, ObjectPrompt
from stages.sam.model import SamModel
from stages.sam.prompts import SamPrompt
from stages.sam.reverse import FrameScores, ReverseTracker, SubjectScores
from stages.sam.tracker import Seen
from stages.score import ScoreConfig, ScoreStage
from stages.subjects import OBJECT, PERSON, Subject, plain_subjects
from stages.video.segment import read_segment
from storage.errors import RunDirectoryError, UsageError
from storage.spans import Span

BOX = (38.0, 30.0, 58.0, 42.0)
OTHER_BOX = (14.0, 26.0, 34.0, 46.0)
SPANS = [(0, 8), (8, 16), (16, 22)]
LENGTH, HEIGHT, WIDTH = 22, 71, 95


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> SamModel:
    handle = SamModel(write_small_sam(tmp_path_factory.mktemp("sam")))
    handle.load()
    return handle


@pytest.fixture(scope="module")
def segments(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three segments of an odd-sized clip, padded to even sides."""
    folder = tmp_path_factory.mktemp("segments")
    clip = np.pad(moving_clip(LENGTH, HEIGHT, WIDTH), ((0, 0), (0, 1), (0, 1), (0, 0)), mode="edge")
    for index, (start, stop) in enumerate(SPANS):
        write_segment(folder / f"{index}.mp4", clip[start:stop])
    return folder


def write_segment(path: Path, frames: np.ndarray[Any, Any]) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=24, options={"crf": "10", "threads": "1"})
        stream.height, stream.width, stream.pix_fmt = frames.shape[1], frames.shape[2], "yuv420p"
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())


@pytest.fixture(scope="module")
def masks() -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    objects = np.zeros((LENGTH, HEIGHT, WIDTH), dtype=bool)
    persons = np.zeros_like(objects)
    for t in range(LENGTH):
        objects[t, 20 + t : 50 + t // 2, 10:80] = True
        persons[t, 30:60, 50:90] = True
    return objects, persons


def run(
    model: SamModel,
    segments: Path,
    masks: tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]],
    prompt: ObjectPrompt,
    corrections: tuple[Correction, ...] = (),
    restore: bool = True,
    track_info: tuple[dict[str, Any], ...] = ({}, {}, {}),
    pose: dict[str, Any] | None = None,
) -> list[Output]:
    config = ScoreConfig(plain_subjects(prompt, corrections))
    outputs = []
    stage = ScoreStage(config, model)
    stage.open()
    for index, (start, stop) in enumerate(SPANS):
        span = Span(start, stop)
        window = Window(index, span, span, span, stop == LENGTH, span.frames)
        objects, persons = masks
        arrays = {"masks/object": objects[start:stop], "masks/person": persons[start:stop]}
        info = {"sink": {"segment": f"{index}.mp4"}, "track": track_info[index]}
        info |= {"pose": pose} if pose is not None and index == 0 else {}
        outputs.append(stage.process(window, Inputs(arrays, info, segments)))
        if restore:
            parts = stage.get_state().to_parts()
            stage.close()
            stage = ScoreStage(config, model)
            stage.open()
            stage.set_state(*parts)
    stage.finish()
    stage.close()
    return outputs


def test_scores_equal_stock_tracking_of_the_decoded_segments(
    model: SamModel, segments: Path, masks: tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]
) -> None:
    prompt, corrections = ObjectPrompt(frame=2, box=BOX), (Correction(8, OTHER_BOX), Correction(19, BOX))
    outputs = run(model, segments, masks, prompt, corrections)
    decoded = np.concatenate([np.stack(list(read_segment(segments / f"{i}.mp4", HEIGHT, WIDTH))) for i in range(3)])
    prompts = {2: SamPrompt(box=BOX), 8: SamPrompt(box=OTHER_BOX), 19: SamPrompt(box=BOX)}
    logits, visible = stock_logits(model.predictor, decoded, prompts)
    values = np.concatenate([output.arrays["iou"] for output in outputs])
    assert values.dtype == np.float32
    assert np.isnan(values[:2]).all()
    for frame in range(2, LENGTH):
        assert values[frame] == np.float32(iou(masks[0][frame], (logits[frame] > 0).numpy()))
    listed = [value for output in outputs for value in output.info["iou"]]
    assert listed[:2] == [None, None]
    assert listed[5] == pytest.approx(float(values[5]), abs=1e-6)
    assert [flag for output in outputs for flag in output.info["visible"]][2:] == [visible[t] for t in range(2, LENGTH)]


def test_restored_equals_uninterrupted(
    model: SamModel, segments: Path, masks: tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]
) -> None:
    prompt = ObjectPrompt(box=BOX)
    one, other = (run(model, segments, masks, prompt, restore=flag) for flag in (True, False))
    for left, right in zip(one, other, strict=True):
        assert np.array_equal(left.arrays["iou"], right.arrays["iou"], equal_nan=True)
        assert left.info == right.info
    assert one[0].info["seam"]["edge"] is None
    assert one[1].info["seam"]["edge"] > 0
    assert one[1].info["seam"]["inside_frames"] == 7
    assert len(one[1].info["clipping"]) == len(one[1].info["boundary_f"]) == len(one[1].info["containment"]) == 8


def test_untracked_spans_of_the_source_are_not_scored(
    model: SamModel, segments: Path, masks: tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]
) -> None:
    # As after a cut at 6 with on_cut=reset and a correction at 10; track's new frames run ahead of score's final ones.
    track_info: tuple[dict[str, Any], ...] = ({"untracked": {"object": [[6, 10]], "person": []}}, {}, {})
    outputs = run(model, segments, masks, ObjectPrompt(box=BOX), (Correction(10, OTHER_BOX),), track_info=track_info)
    values = np.concatenate([output.arrays["iou"] for output in outputs])
    assert np.flatnonzero(np.isnan(values)).tolist() == [6, 7, 8, 9]


def test_the_person_has_a_score_of_its_own(
    model: SamModel, segments: Path, masks: tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]
) -> None:
    """Chosen on frame 5 of the source, lost behind a cut at 12, chosen again on 15; the object's score is as before."""
    untracked = [[0, 5], [12, 15]]
    track_info: tuple[dict[str, Any], ...] = ({"untracked": {"object": [], "person": untracked}}, {}, {})
    pose = {"person": {"frame": 5, "box": list(OTHER_BOX)}, "again": [{"frame": 15, "box": list(BOX)}]}
    one, other = (
        run(model, segments, masks, ObjectPrompt(box=BOX), restore=restore, track_info=track_info, pose=pose)
        for restore in (True, False)
    )
    values = np.concatenate([output.arrays["scores/person"] for output in one])
    assert values.dtype == np.float32
    assert np.flatnonzero(np.isnan(values)).tolist() == [0, 1, 2, 3, 4, 12, 13, 14]
    assert np.array_equal(values, np.concatenate([o.arrays["scores/person"] for o in other]), equal_nan=True)
    decoded = np.concatenate([np.stack(list(read_segment(segments / f"{i}.mp4", HEIGHT, WIDTH))) for i in range(3)])
    logits, _ = stock_logits(model.predictor, decoded[:12], {5: SamPrompt(box=OTHER_BOX)})
    assert values[5] == np.float32(iou(masks[1][5], (logits[5] > 0).numpy()))
    alone = run(model, segments, masks, ObjectPrompt(box=BOX))
    assert all(np.array_equal(a.arrays["iou"], b.arrays["iou"]) for a, b in zip(one, alone, strict=True))
    assert all(np.isnan(output.arrays["scores/person"]).all() for output in alone), "nobody was chosen"


def test_of_several_judged_the_worst_is_committed(model: SamModel, tmp_path: Path) -> None:
    """Of clipping the highest, of the rest the lowest; seen are those frames on which each of them is."""
    a, b, nobody = math.nan, 0.0, np.zeros((2, 8, 8), bool)
    own = [
        SubjectScores([0.9, a], [0.8, a], [0.7, a], [0.1, a], [True, False], list(nobody)),
        SubjectScores([0.95, 0.5], [0.6, b], [0.9, b], [0.3, 0.2], [True, True], list(~nobody)),
    ]
    subjects = tuple(Subject(name, OBJECT, ObjectPrompt(box=BOX)) for name in ("left", "right"))
    stage = ScoreStage(ScoreConfig(subjects, ("left", "right")), model)
    scores = FrameScores(4, dict(zip(("left", "right"), own, strict=True)), ("left", "right"), [2.0, 1.0])
    with mock.patch.object(stage, "_score", return_value=scores):
        span = Span(4, 6)
        window = Window(1, span, span, span, False, 5, shot=1, shot_start=4)
        made = stage.process(window, Inputs(info={"sink": {"segment": "1.mp4"}}, folder=tmp_path))
    facts = dict(made.info)
    seam: Any = facts.pop("seam")
    assert facts == {
        "iou": [0.9, 0.5],
        "boundary_f": [0.6, 0.0],
        "containment": [0.7, 0.0],
        "clipping": [0.3, 0.2],
        "visible": [True, False],
        "failed": [[4, 6]],
    }
    assert seam["edge"] is None, "nothing leads over a cut"
    assert np.array_equal(made.arrays["iou"], np.array([0.9, 0.5], np.float32))
    assert np.array_equal(made.arrays["scores/left"], np.array([0.9, a], np.float32), equal_nan=True)
    assert not made.arrays["found/left"].any() and made.arrays["found/right"].all()
    assert set(made.arrays) == {port.name for port in stage.writes}


def test_reverse_tracker_scores_any_frames(model: SamModel) -> None:
    clip = moving_clip(12)
    source = [np.zeros(clip.shape[1:3], dtype=bool)] * 12
    tracker = ReverseTracker(model, (Subject(OBJECT, OBJECT, ObjectPrompt(box=BOX)),), (OBJECT,))
    scores = tracker.score(iter(clip), {OBJECT: iter(source)}, clip_frames_min16=12)
    assert len(scores.iou) == 12
    assert all(math.isnan(value) for value in scores.subjects[OBJECT].clipping)
    with pytest.raises(ValueError, match="shorter"):
        tracker.score(iter(clip), {OBJECT: source[:3]}, clip_frames_min16=12)


def test_pieces_score_as_the_whole_does(model: SamModel) -> None:
    clip = moving_clip(20)
    source = np.zeros(clip.shape[:3], dtype=bool)
    source[:, 20:50, 10:60] = True
    whole = ReverseTracker(model, (Subject(OBJECT, OBJECT, ObjectPrompt(box=BOX)),), (OBJECT,)).score(
        clip, {OBJECT: source}
    )
    tracker = ReverseTracker(model, (Subject(OBJECT, OBJECT, ObjectPrompt(box=BOX)),), (OBJECT,))
    pieces = [tracker.score(clip[a:b], {OBJECT: source[a:b]}, min(16, b - a)) for a, b in [(0, 16), (16, 20)]]
    assert [value for piece in pieces for value in piece.iou] == whole.iou


def test_a_short_clip_is_followed_as_stock_does(model: SamModel) -> None:
    """In one of less than 16 frames SAM 2 tells the time of its pointers by its length, which the first call gives."""
    clip, same = moving_clip(7), []
    wanted, _ = stock_logits(model.predictor, clip, {0: SamPrompt(box=BOX)})
    nothing = np.zeros(clip.shape[:3], bool)
    for length in (7, 16):
        tracker = ReverseTracker(model, (Subject(OBJECT, OBJECT, ObjectPrompt(box=BOX)),), (OBJECT,))
        found: list[Array] = []
        for span, told in ((slice(0, 3), length), (slice(3, 7), 16)):
            found += tracker.score(clip[span], {OBJECT: nothing[span]}, told).subjects[OBJECT].found
        same.append(all(np.array_equal(mask, wanted[t].numpy() > 0) for t, mask in enumerate(found)))
    assert same == [True, False]


def test_where_no_two_overlap_they_do_not_in_the_result_either(model: SamModel) -> None:
    clip = moving_clip(3)
    subjects = tuple(Subject(name, OBJECT, ObjectPrompt(box=BOX)) for name in ("one", "two"))
    nothing = {subject.name: np.zeros(clip.shape[:3], bool) for subject in subjects}
    overlap = []
    for apart in (False, True):
        scores = ReverseTracker(model, subjects, ("one", "two"), apart=apart).score(clip, nothing)
        one, two = (np.stack(scores.subjects[name].found) for name in nothing)
        assert (one | two).any()
        overlap.append(bool((one & two).any()))
    assert overlap == [True, False]


class Noted(Scripted):
    """Notes the boxes that it is given."""

    def __init__(self, script: Script) -> None:
        super().__init__(script)
        self.boxes: list[dict[str, Any]] = []

    def see(self, index: int, frame: Array, image: Any, views: Any, prompts: Any, least: int) -> dict[str, Seen]:
        self.boxes.append({name: prompt.box for name, prompt in prompts.items()})
        return super().see(index, frame, image, views, prompts, least)

    def banks(self) -> tuple[dict[str, Any], dict[str, Any]]:
        return {}, {}


def scripted(
    monkeypatch: pytest.MonkeyPatch, script: Script, *subjects: Subject, **given: Any
) -> tuple[ReverseTracker, Noted]:
    """A reverse tracker of these that finds what it is told to."""
    noted = Noted(script)
    monkeypatch.setattr(ReverseTracker, "_new_tracker", lambda *_: noted)
    model: Any = SimpleNamespace(image_size=64, config=SimpleNamespace(device="cpu"), to_device=lambda: None)
    return ReverseTracker(model, subjects, **given), noted


def test_the_chosen_person_is_begun_with_where_nobody_is_followed(monkeypatch: pytest.MonkeyPatch) -> None:
    """And where nobody points at it; what is past is not carried on."""
    rider, other = Subject("rider", PERSON, ObjectPrompt(box=BOX)), Subject("other", PERSON, ObjectPrompt(1, OTHER_BOX))
    clip, second, third = np.zeros((5, 48, 64, 3), np.uint8), (1.0, 2.0, 30.0, 40.0), (3.0, 4.0, 50.0, 40.0)
    nothing = {name: np.zeros(clip.shape[:3], bool) for name in ("rider", "other")}
    tracker, noted = scripted(monkeypatch, lambda *_: nothing["rider"][0], rider, other, judged=(), chosen="rider")
    tracker.add_untracked({"rider": [[2, 3], [7, 9]], "other": [[2, 3]]})
    tracker.add_chosen([(0, *second), (1, *second), (3, *third), (9, *second)])
    scores = tracker.score(clip, nothing)
    assert noted.boxes == [{"rider": BOX}, {"other": OTHER_BOX}, {}, {"rider": third}, {}]
    assert [math.isnan(value) for value in scores.subjects["rider"].iou] == [False, False, True, False, False]
    state = tracker.get_state()
    assert state.untracked == {"rider": [[7, 9]], "other": []} and state.persons == [[9, *second]]


def test_a_person_is_clipped_by_others_and_not_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    one, two = Subject("one", PERSON, ObjectPrompt(box=BOX)), Subject("two", PERSON, ObjectPrompt(box=BOX))
    clip, masks = np.zeros((1, 48, 64, 3), np.uint8), {name: np.zeros((1, 48, 64), bool) for name in ("one", "two")}
    masks["one"][:, :20, :20], masks["two"][:, 20:40, :20] = True, True
    found = masks["one"][0] | masks["two"][0]
    for source, clipped in ((masks, [0.5]), ({"one": masks["one"]}, [math.nan])):
        tracker, _ = scripted(monkeypatch, lambda *_: found, one, two, judged=("one",))
        assert tracker.score(clip, source).subjects["one"].clipping == pytest.approx(clipped, nan_ok=True)


def test_segments_that_do_not_fit(
    model: SamModel, segments: Path, masks: tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]], tmp_path: Path
) -> None:
    objects, persons = masks
    stage = ScoreStage(ScoreConfig(plain_subjects(ObjectPrompt(box=BOX))), model)
    (tmp_path / "short.mp4").write_bytes((segments / "2.mp4").read_bytes())
    (tmp_path / "long.mp4").write_bytes((segments / "0.mp4").read_bytes())
    (tmp_path / "cut.mp4").write_bytes((segments / "0.mp4").read_bytes()[:400])
    write_segment(tmp_path / "small.mp4", moving_clip(7, 64, 96))
    span = Span(0, 7)
    window = Window(0, span, span, span, False, 7)
    for name, text in [
        ("short", "6 of 7"),
        ("long", "more than 7"),
        ("cut", "missing or damaged"),
        ("small", "95x71"),
        ("no", "missing or damaged"),
    ]:
        arrays = {"masks/object": objects[:7], "masks/person": persons[:7]}
        with pytest.raises(RunDirectoryError, match=text):
            stage.process(window, Inputs(arrays, {"sink": {"segment": f"{name}.mp4"}}, tmp_path))
        stage.set_state(*type(stage.get_state())().to_parts())
    stage.close()


def test_threshold_outside_its_range() -> None:
    with pytest.raises(UsageError, match="outside 0"):
        ScoreConfig(plain_subjects(ObjectPrompt(box=BOX)), iou_threshold=90.0)
