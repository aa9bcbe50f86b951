"""Streamed tracking equals stock SAM 2.1 over the whole clip, bit for bit."""

import itertools
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from _sam_fixture import (
    add_stock_prompt,
    moving_clip,
    new_spans,
    plain_track,
    sequence_spans,
    stock_logits,
    stock_state,
    write_small_sam,
)

from stages.base import Inputs, Output, Window
from stages.prompts import Box, Correction, ObjectPrompt
from stages.sam.frames import prepare_image
from stages.sam.model import SamConfig, SamModel
from stages.sam.policy import StockMemory
from stages.sam.prompts import SamPrompt
from stages.sam.session import ObjectSession
from stages.subjects import OBJECT, OBJECTS, PERSON, Subject
from stages.track import TrackConfig, TrackStage
from storage.spans import Span

BOX: Box = (38.0, 30.0, 58.0, 42.0)
OTHER_BOX: Box = (14.0, 26.0, 34.0, 46.0)
Logits = dict[tuple[str, int], torch.Tensor]


@pytest.fixture(scope="module")
def sam_config(tmp_path_factory: pytest.TempPathFactory) -> SamConfig:
    return write_small_sam(tmp_path_factory.mktemp("sam"))


@pytest.fixture(scope="module")
def model(sam_config: SamConfig) -> SamModel:
    handle = SamModel(sam_config)
    handle.load()
    return handle


@pytest.fixture(scope="module")
def clip() -> np.ndarray[Any, Any]:
    return moving_clip(300)


def window_of(index: int, span: tuple[int, int], length: int) -> Window:
    new = Span(*span)
    return Window(index, new, new, new, new.stop == length, new.frames)


def run_streamed(
    model: SamModel,
    config: TrackConfig,
    clip: np.ndarray[Any, Any],
    spans: Sequence[tuple[int, int]],
    person: tuple[int, Box] | None = None,
    restore: bool = True,
) -> tuple[list[Output], Logits]:
    """Every window on a new stage whose state went through `to_parts`, unless told otherwise."""
    logits: Logits = {}

    def observe(frame: int, name: str, tracked: Any, /) -> None:
        assert (name, frame) not in logits, "a frame was tracked twice"
        logits[name, frame] = tracked.logits.clone()

    outputs = []
    stage = TrackStage(config, model, observe)
    stage.open()
    for index, (start, stop) in enumerate(spans):
        info: dict[str, Any] = {"decode": {"clip_frames_min16": min(len(clip), 16)}}
        if person is not None and start <= person[0] < stop:
            info["pose"] = {"person": {"frame": person[0], "box": list(person[1])}}
        window = window_of(index, (start, stop), len(clip))
        outputs.append(stage.process(window, Inputs({"frames": clip[start:stop]}, info)))
        if restore:
            values, arrays = stage.get_state().to_parts()
            stage.close()
            stage = TrackStage(config, model, observe)
            stage.open()
            stage.set_state(values, arrays)
    stage.finish()
    stage.close()
    return outputs, logits


def assert_equals_stock(
    model: SamModel,
    clip: np.ndarray[Any, Any],
    prompts: dict[int, SamPrompt],
    outputs: list[Output],
    logits: Logits,
    name: str,
) -> None:
    expected, visible = stock_logits(model.predictor, clip, prompts)
    assert {frame for key, frame in logits if key == name} == set(expected)
    for frame, stock in expected.items():
        assert torch.equal(logits[name, frame], stock), f"{name}: frame {frame} differs from stock"
    masks = np.concatenate([output.arrays[f"masks/{name}"] for output in outputs])
    flags = np.concatenate([output.arrays[f"visible/{name}"] for output in outputs])
    assert masks.dtype == np.bool_
    assert masks.shape == clip.shape[:3]
    for frame in range(len(clip)):
        wanted = (expected[frame] > 0).numpy() if frame in expected else np.zeros(clip.shape[1:3], dtype=bool)
        assert np.array_equal(masks[frame], wanted)
        assert bool(flags[frame]) == visible.get(frame, False)


@pytest.mark.parametrize("length", [1, 2, 5, 6, 7, 14, 15, 16, 17, 30])
def test_short_clips_equal_stock(model: SamModel, clip: np.ndarray[Any, Any], length: int) -> None:
    config = plain_track(ObjectPrompt(frame=0, box=BOX))
    for window, overlap in [(5, 2), (9, 0), (81, 21)]:
        outputs, logits = run_streamed(model, config, clip[:length], new_spans(length, window, overlap))
        assert_equals_stock(model, clip[:length], {0: SamPrompt(box=BOX)}, outputs, logits, "object")


@pytest.mark.parametrize(
    ("window", "overlap", "length"), [(5, 0, 23), (13, 6, 40), (21, 10, 61), (81, 21, 142), (81, 40, 90)]
)
def test_windows_equal_stock_with_two_objects_and_a_correction(
    model: SamModel, clip: np.ndarray[Any, Any], window: int, overlap: int, length: int
) -> None:
    spans = new_spans(length, window, overlap)
    edge = spans[1][0]
    config = plain_track(ObjectPrompt(frame=1, box=BOX), corrections=(Correction(edge, OTHER_BOX),))
    person = (min(3, spans[0][1] - 1), OTHER_BOX)
    outputs, logits = run_streamed(model, config, clip[:length], spans, person)
    prompts = {1: SamPrompt(box=BOX), edge: SamPrompt(box=OTHER_BOX)}
    assert_equals_stock(model, clip[:length], prompts, outputs, logits, "object")
    assert_equals_stock(model, clip[:length], {person[0]: SamPrompt(box=OTHER_BOX)}, outputs, logits, "person")


@pytest.mark.parametrize("shift", [-1, 0, 1])
def test_corrections_around_window_edges(model: SamModel, clip: np.ndarray[Any, Any], shift: int) -> None:
    spans = new_spans(45, 13, 4)
    frames = [spans[1][0] + shift, spans[2][0] + shift, spans[2][0] + shift + 1]
    boxes = [OTHER_BOX, BOX, (30.0, 20.0, 50.0, 42.0)]
    corrections = tuple(Correction(frame, box) for frame, box in zip(frames, boxes, strict=True))
    outputs, logits = run_streamed(model, plain_track(ObjectPrompt(box=BOX), corrections), clip[:45], spans)
    prompts = {0: SamPrompt(box=BOX)} | {c.frame: SamPrompt(box=c.box) for c in corrections}
    assert_equals_stock(model, clip[:45], prompts, outputs, logits, "object")


def test_points_and_mask_prompts(model: SamModel, clip: np.ndarray[Any, Any], tmp_path: Path) -> None:
    import cv2

    points = ((48.0, 36.0, 1), (50.0, 36.0, 1), (20.0, 36.0, 0))
    outputs, logits = run_streamed(
        model, plain_track(ObjectPrompt(frame=4, points=points)), clip[:24], new_spans(24, 9, 3)
    )
    assert_equals_stock(model, clip[:24], {4: SamPrompt(points=points)}, outputs, logits, "object")

    mask = np.zeros(clip.shape[1:3], dtype=bool)
    mask[30:42, 38:58] = True
    path = tmp_path / "mask.png"
    cv2.imwrite(str(path), mask.astype(np.uint8) * 255)
    prompt = ObjectPrompt(frame=2, mask_png=str(path))
    outputs, logits = run_streamed(model, plain_track(prompt), clip[:24], new_spans(24, 9, 3))
    assert_equals_stock(model, clip[:24], {2: SamPrompt(mask=mask)}, outputs, logits, "object")


@pytest.mark.slow
@pytest.mark.parametrize(("window", "overlap"), [(5, 2), (17, 8), (41, 20), (81, 21)])
@pytest.mark.parametrize("length", [81, 201, 300])
def test_long_clips_equal_stock(
    model: SamModel, clip: np.ndarray[Any, Any], window: int, overlap: int, length: int
) -> None:
    given = (Correction(window, OTHER_BOX), Correction(70, BOX))
    corrections = tuple(correction for correction in given if correction.frame < length)
    config = plain_track(ObjectPrompt(box=BOX), corrections)
    spans = new_spans(length, window, overlap)
    outputs, logits = run_streamed(model, config, clip[:length], spans, (2, OTHER_BOX))
    prompts = {0: SamPrompt(box=BOX)} | {
        c.frame: SamPrompt(box=c.box) for c in sorted(corrections, key=lambda c: c.frame)
    }
    assert_equals_stock(model, clip[:length], prompts, outputs, logits, "object")
    assert_equals_stock(model, clip[:length], {2: SamPrompt(box=OTHER_BOX)}, outputs, logits, "person")


def test_every_split_gives_the_same_state_and_masks(model: SamModel, clip: np.ndarray[Any, Any]) -> None:
    config = plain_track(ObjectPrompt(frame=3, box=BOX), (Correction(20, OTHER_BOX),))
    results = []
    for spans, restore in [
        ([(0, 33)], False),
        (sequence_spans([2, 1, 1, 16, 13]), True),
        (sequence_spans([1] * 33), True),
    ]:
        stage = TrackStage(config, model)
        stage.open()
        masks = []
        for index, (start, stop) in enumerate(spans):
            info = {"pose": {"person": {"frame": 5, "box": list(OTHER_BOX)}}} if start <= 5 < stop else {}
            output = stage.process(window_of(index, (start, stop), 60), Inputs({"frames": clip[start:stop]}, info))
            masks.append(output.arrays["masks/object"])
            if restore:
                parts = stage.get_state().to_parts()
                stage = TrackStage(config, model)
                stage.open()
                stage.set_state(*parts)
        results.append((np.concatenate(masks), *stage.get_state().to_parts()))
    for (mask, values, arrays), (mask2, values2, arrays2) in itertools.pairwise(results):
        assert np.array_equal(mask, mask2)
        assert values == values2
        assert arrays.keys() == arrays2.keys()
        assert all(np.array_equal(arrays[key], arrays2[key]) for key in arrays)


def test_state_does_not_alias_what_later_windows_change(model: SamModel, clip: np.ndarray[Any, Any]) -> None:
    stage = TrackStage(plain_track(ObjectPrompt(box=BOX)), model)
    stage.open()
    stage.process(window_of(0, (0, 5), 60), Inputs({"frames": clip[:5]}))
    values, arrays = stage.get_state().to_parts()
    before = {key: array.copy() for key, array in arrays.items()}
    digest = stage.get_state().to_parts()[0]
    stage.process(window_of(1, (5, 20), 60), Inputs({"frames": clip[5:20]}))
    assert all(np.array_equal(arrays[key], before[key]) for key in arrays)
    assert values["banks"]["object"]["pointers"] == [1, 2, 3, 4]
    assert digest != stage.get_state().to_parts()[0]


@pytest.mark.parametrize(("memories", "pointers"), [(6, 14), (7, 7)])
def test_one_pointer_less_would_differ(
    model: SamModel, clip: np.ndarray[Any, Any], monkeypatch: pytest.MonkeyPatch, memories: int, pointers: int
) -> None:
    """The other tests can fail: a pointer too few changes logits. (A memory too few ends in an error inside sam2.)"""
    original = ObjectSession.__init__

    def shortened(self: ObjectSession, *args: Any) -> None:
        original(self, *args)
        self._policy, self._pointer_reach = StockMemory(memories), pointers

    monkeypatch.setattr(ObjectSession, "__init__", shortened)
    _, logits = run_streamed(model, plain_track(ObjectPrompt(box=BOX)), clip[:30], [(0, 30)])
    expected, _ = stock_logits(model.predictor, clip[:30], {0: SamPrompt(box=BOX)})
    assert any(not torch.equal(logits["object", t], expected[t]) for t in range(30))


def test_a_wrong_clip_length_would_differ(model: SamModel, clip: np.ndarray[Any, Any]) -> None:
    expected, _ = stock_logits(model.predictor, clip[:9], {0: SamPrompt(box=BOX)})
    longer, _ = stock_logits(model.predictor, clip[:16], {0: SamPrompt(box=BOX)})
    assert any(not torch.equal(longer[t], expected[t]) for t in range(9))


def test_the_image_is_encoded_once_a_frame_for_both_objects(
    model: SamModel, clip: np.ndarray[Any, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []
    original = model.predictor.forward_image

    def counted(image: torch.Tensor) -> Any:
        calls.append(1)
        return original(image)

    monkeypatch.setattr(model.predictor, "forward_image", counted)
    config = plain_track(ObjectPrompt(frame=2, box=BOX), person_box=OTHER_BOX)
    run_streamed(model, config, clip[:8], [(0, 8)], restore=False)
    assert len(calls) == 6  # frames 0 and 1, before the prompt, are never shown to the model


def test_what_is_the_same_for_all_objects_is_computed_once_a_frame(
    model: SamModel, clip: np.ndarray[Any, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """That the bits are stock's is seen by every comparison with the stock predictor, which shares nothing."""
    calls, predictor = Counter[str](), model.predictor
    first, second = predictor.memory_attention.layers
    projection = predictor.memory_encoder.pix_feat_proj

    def count(name: str, module: Any, method: str) -> None:
        original = getattr(module, method)
        monkeypatch.setattr(module, method, lambda *given, **named: calls.update([name]) or original(*given, **named))

    count("first", first.self_attn, "forward")
    count("second", second.self_attn, "forward")
    count("projection", projection, "_conv_forward")
    count("positions", predictor.sam_prompt_encoder.pe_layer, "forward")
    resize = torch.nn.functional.interpolate
    monkeypatch.setattr(
        torch.nn.functional,
        "interpolate",
        lambda *given, **named: calls.update([str(named.get("mode"))]) or resize(*given, **named),
    )
    before = (projection.forward, predictor.sam_prompt_encoder.forward)
    config = plain_track(ObjectPrompt(box=BOX), person_box=OTHER_BOX)
    run_streamed(model, config, clip[:8], [(0, 8)], restore=False)
    assert calls["first"] == 7 and calls["second"] == 14  # frame 0 has no memories to read
    assert calls["projection"] == 8 and calls["positions"] <= 1
    assert calls["bicubic"] <= 1 < calls["bilinear"]  # of the patches' positions, and of masks
    assert (projection.forward, predictor.sam_prompt_encoder.forward) == before


def test_no_person_at_all(model: SamModel, clip: np.ndarray[Any, Any]) -> None:
    stage = TrackStage(plain_track(ObjectPrompt(box=BOX)), model)
    stage.open()
    info: dict[str, dict[str, Any]] = {"pose": {"person": None}, "decode": {"clip_frames_min16": 6}}
    output = stage.process(window_of(0, (0, 6), 6), Inputs({"frames": clip[:6]}, info))
    assert not output.arrays["masks/person"].any()
    assert not output.arrays["visible/person"].any()
    assert output.info["untracked"] == {"object": [], "person": [[0, 6]]}
    assert "person" not in stage.get_state().banks


def test_lost_frames_are_reported_and_empty(model: SamModel, clip: np.ndarray[Any, Any]) -> None:
    outputs, _ = run_streamed(model, plain_track(ObjectPrompt(box=BOX)), clip[:60], [(0, 60)])
    visible = outputs[0].arrays["visible/object"]
    assert visible.any(), "the random model is meant to see the object on some frames"
    assert not visible.all(), "the random model is meant to lose the object on some frames"
    assert not outputs[0].arrays["masks/object"][~visible].any()
    lost = [frame for start, stop in outputs[0].info["lost"]["object"] for frame in range(start, stop)]
    assert lost == np.flatnonzero(~visible).tolist()


MINI = Path(__file__).parents[1] / "stages" / "models" / "mini"


@pytest.mark.parametrize("length", [11, pytest.param(150, marks=pytest.mark.slow)])
def test_mini_weights_equal_stock(clip: np.ndarray[Any, Any], length: int) -> None:
    mini = SamModel(SamConfig(MINI / "sam.safetensors", MINI / "sam.yaml"))
    mini.load()
    spans = new_spans(length, 9, 3) if length < 20 else new_spans(length, 81, 21)
    edge = spans[1][0]
    config = plain_track(ObjectPrompt(box=BOX), (Correction(edge, BOX),), person_box=OTHER_BOX)
    outputs, logits = run_streamed(mini, config, clip[:length], spans)
    prompts = {0: SamPrompt(box=BOX), edge: SamPrompt(box=BOX)}
    assert_equals_stock(mini, clip[:length], prompts, outputs, logits, "object")
    assert_equals_stock(mini, clip[:length], {0: SamPrompt(box=OTHER_BOX)}, outputs, logits, "person")
    mini.close()


def test_two_objects_of_one_stock_session(model: SamModel, clip: np.ndarray[Any, Any]) -> None:
    """Stock's own multi-object session gives each object what it gets alone, and so does ours."""
    images = torch.stack([prepare_image(frame, model.image_size) for frame in clip[:20]])
    state = stock_state(model.predictor, images, *clip.shape[1:3])
    for position, box in enumerate((BOX, OTHER_BOX)):
        add_stock_prompt(model.predictor, state, 0, SamPrompt(box=box), obj_id=position)
    config = plain_track(ObjectPrompt(box=BOX), person_box=OTHER_BOX)
    _, logits = run_streamed(model, config, clip[:20], new_spans(20, 9, 3))
    for frame, _, masks in model.predictor.propagate_in_video(state):
        for position, name in enumerate(OBJECTS):
            assert torch.equal(logits[name, frame], masks[position, 0])


@pytest.mark.parametrize(
    ("frames", "length"),
    [((0, 0, 3, 9), 24), ((4, 12, 12, 18), 24), pytest.param((0, 0, 30, 100), 130, marks=pytest.mark.slow)],
)
def test_subjects_on_different_first_frames_of_one_stock_session(
    model: SamModel, clip: np.ndarray[Any, Any], frames: tuple[int, ...], length: int
) -> None:
    """Stock: propagated to F-1, the new object added to the `inference_state`, continued from F."""
    boxes = [BOX, OTHER_BOX, (30.0, 20.0, 50.0, 42.0), (10.0, 10.0, 40.0, 60.0)]
    names = ["board", "skater", "board-2", "skater_2"]
    kinds = [OBJECT, PERSON] * 2
    given = list(zip(names, kinds, frames, boxes, strict=True))
    subjects = tuple(Subject(name, kind, ObjectPrompt(frame, box)) for name, kind, frame, box in given)
    config = TrackConfig(subjects, chosen=None)
    outputs, logits = run_streamed(model, config, clip[:length], new_spans(length, 9, 3))
    images = torch.stack([prepare_image(frame, model.image_size) for frame in clip[:length]])
    state = stock_state(model.predictor, images, *clip.shape[1:3])
    starts = sorted(set(frames))
    expected: Logits = {}
    for start, stop in zip(starts, [*starts[1:], length], strict=True):
        for name, _, frame, box in given:
            if frame == start:
                add_stock_prompt(model.predictor, state, frame, SamPrompt(box=box), obj_id=name)
        for frame, present, masks in model.predictor.propagate_in_video(
            state, start_frame_idx=start, max_frame_num_to_track=stop - start - 1
        ):
            expected |= {(name, frame): masks[at, 0].clone() for at, name in enumerate(present)}
    assert logits.keys() == expected.keys()
    assert all(torch.equal(logits[key], expected[key]) for key in expected)
    for name, _, frame, _ in given:
        masks = np.concatenate([output.arrays[f"masks/{name}"] for output in outputs])
        assert not masks[:frame].any()
        untracked = [span for output in outputs for span in output.info["untracked"][name]]
        assert sum(stop - start for start, stop in untracked) == frame
