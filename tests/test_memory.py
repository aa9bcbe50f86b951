"""Distractor-aware memory: what is read, kept and promoted; bounded, carried, and stock where both read the same."""

from collections.abc import Mapping
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from _sam_fixture import moving_clip, new_spans, plain_track, stock_logits, write_small_sam

from stages.base import Array, Inputs, Window
from stages.choices import MEMORIES
from stages.prompts import Correction, ObjectPrompt
from stages.sam import memory
from stages.sam.memory import DistractorMemory, attended, distracts, may_distract, recent
from stages.sam.model import POLICIES, SamConfig, SamModel
from stages.sam.policy import Decoded, Role, StockMemory
from stages.sam.prompts import SamPrompt
from stages.track import TrackConfig, TrackStage
from storage.errors import EnvironmentFault, UsageError
from storage.spans import Span

BOX, OTHER_BOX = (38.0, 30.0, 58.0, 42.0), (14.0, 26.0, 34.0, 46.0)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> SamConfig:
    return write_small_sam(tmp_path_factory.mktemp("sam"))


@pytest.fixture(scope="module")
def aware(weights: SamConfig) -> SamModel:
    model = SamModel(SamConfig(weights.checkpoint, weights.config_yaml, memory="distractor-aware"))
    model.load()
    return model


@pytest.fixture(scope="module")
def clip() -> Array:
    return moving_clip(60)


def follow(
    model: SamModel, config: TrackConfig, clip: Array, spans: list[tuple[int, int]], restore: bool = True
) -> tuple[dict[tuple[str, int], torch.Tensor], dict[str, Any]]:
    """Logits by name and frame, and the last state's banks; every window on a new stage, unless told otherwise."""
    logits: dict[tuple[str, int], torch.Tensor] = {}

    def observe(frame: int, name: str, tracked: Any, /) -> None:
        logits[name, frame] = tracked.logits.clone()

    stage = TrackStage(config, model, observe)
    stage.open()
    for index, (start, stop) in enumerate(spans):
        span = Span(start, stop)
        window = Window(index, span, span, span, stop == len(clip), stop - start)
        stage.process(window, Inputs({"frames": clip[start:stop]}, {"decode": {"clip_frames_min16": 16}}))
        values, arrays = stage.get_state().to_parts()
        if restore:
            stage = TrackStage(config, model, observe)
            stage.open()
            stage.set_state(values, arrays)
    return logits, stage.get_state().banks


@pytest.fixture
def eager(monkeypatch: pytest.MonkeyPatch) -> None:
    """Thresholds at which a model with random weights keeps frames, too."""
    monkeypatch.setattr(memory, "SURE", -1.0)
    monkeypatch.setattr(memory, "LIKE_BEFORE", (0.0, 100.0))
    monkeypatch.setattr(memory, "DISTRACTS", 1.0)


def test_the_frames_that_are_read() -> None:
    assert attended(31, [0]) == [0]
    assert attended(31, [0, 6, 12, 18, 24, 30]) == [24, 0, 18, 12]  # the frame before is read as a recent one
    assert attended(40, [3, 6, 12, 18, 24, 30]) == [30, 3, 24, 18]
    assert attended(1, [0]) == [0]
    seen = list(range(1, 31))
    assert recent(31, 0, [0], seen, False) == [30, 25, 20, 15, 10, 5]
    assert recent(33, 1, [1], range(2, 33), False) == [32, 31, 26, 21, 16, 11]
    assert recent(31, 0, [0, 6, 12, 18], seen, False) == [30, 25, 20]  # as many in all
    assert recent(31, 0, [0], [*range(1, 12)], False) == [11, 10, 5]  # it was not to be seen since
    assert recent(31, 0, [0, 24], range(1, 30), True) == [30, 25, 20, 15, 10]
    assert recent(1, 0, [0], [], True) == []


def test_pointers_reach_back_to_where_the_object_began() -> None:
    predictor = SimpleNamespace(num_maskmem=7, max_obj_ptrs_in_encoder=16)
    output = {"maskmem_features": 1, "obj_ptr": 2}
    for frame, reach in ((31, 1), (34, 4), (45, 15), (90, 15)):
        others = dict.fromkeys(range(31, frame), output)
        _, pointers, found = memory.choose(frame, {30: output}, others, predictor)
        assert found == reach
        assert [ago for ago, _ in pointers[1:]] == [ago for ago in range(1, reach + 1) if ago < frame - 30]


def test_nothing_is_dropped_that_may_be_read() -> None:
    """With all frames and with those that were kept the same ones are read."""
    rng, policy = np.random.default_rng(1), DistractorMemory()
    for _ in range(40):
        conditioning, others = [3], list[int]()
        kept, remembered = [3], list[int]()
        for frame in range(4, 90):
            chosen = attended(frame, kept)
            assert chosen == attended(frame, conditioning)
            last = frame - 1 in conditioning
            assert recent(frame, 3, chosen, remembered, last) == recent(frame, 3, chosen, others, last)
            if rng.random() < 0.1:
                conditioning.append(frame)
                kept.append(frame)
            elif rng.random() < 0.7:
                others.append(frame)
                remembered.append(frame)
            kept = [index for index in kept if index in policy.conditioning(kept)]
            remembered = [index for index in remembered if index in policy.recent(frame, 3, remembered)]
            assert len(kept) <= 5 and len(remembered) <= 7


def test_what_a_distractor_is() -> None:
    mask, beside, within = (np.zeros((60, 60), bool) for _ in range(3))
    mask[10:20, 10:20] = True
    beside[10:20, 40:50] = True
    within[12:22, 12:18] = True
    assert distracts(mask, mask | beside)
    assert not distracts(mask, within)
    assert not distracts(mask, mask)
    stray = mask.copy()
    stray[15, 20] = True  # its largest part beside the mask changes the box little
    assert not distracts(mask, stray)


@pytest.mark.parametrize("shape", [(72, 96), (11, 9)])
def test_what_cannot_be_a_distractor_is_told_before_it_is_enlarged(shape: tuple[int, int]) -> None:
    rng = np.random.default_rng(2)
    told = {True: 0, False: 0}
    for _ in range(300):
        logits = torch.from_numpy(cv2.GaussianBlur(rng.standard_normal((16, 16)), (0, 0), 1.5))[None, None] - 0.3
        other = torch.nn.functional.interpolate(logits, shape, mode="bilinear", align_corners=False)[0, 0] > 0
        mask = np.zeros(shape, bool)
        top, left = rng.integers(0, shape[0] // 2), rng.integers(0, shape[1] // 2)
        mask[top : top + rng.integers(1, shape[0]), left : left + rng.integers(1, shape[1])] = True
        may = may_distract(mask, (logits[0, 0] > 0).numpy())
        assert may or not distracts(mask, other.numpy())
        told[may] += 1
    assert min(told.values()) > 20


def test_of_the_decoders_masks_the_likeliest_is_chosen_and_the_others_are_told() -> None:
    """Those that the policy takes by their cells alone are enlarged, in order; on a mask is what is above 0."""
    logits = torch.zeros((1, 4, 2, 3))
    for index, level in enumerate((1.0, 2.0, 3.0, -4.0)):
        logits[0, index, 0, index % 3] = level
    asked, enlarged = list[int](), list[float]()

    def enlarge(chosen: torch.Tensor) -> torch.Tensor:
        enlarged.append(float(chosen.abs().max()))
        return chosen.repeat_interleave(2, 2)

    def may(cells: Array) -> bool:
        asked.append(int(cells.sum()))
        return len(asked) != 2

    candidates = logits, torch.tensor([[0.2, 0.9, 0.4, 0.1]])
    decoded = Decoded(enlarge, logits[:, 1:2], logits[0, 1], candidates)
    assert decoded.predicted_iou() == pytest.approx(0.9) and decoded.seen
    assert decoded.mask().tolist() == [[False, True, False], [False] * 3]
    others = list(decoded.others(may))
    assert asked == [1, 1, 0] and enlarged == [1.0, 4.0], "of the first, the third and the fourth"
    assert [each.shape for each in others] == [(4, 3)] * 2
    assert [np.argwhere(each).tolist() for each in others] == [[[0, 0], [1, 0]], []]
    assert not Decoded(enlarge, torch.zeros((1, 1, 2, 3)), logits[0, 1], candidates).seen, "0 is off it"


def test_when_a_frame_is_kept() -> None:
    mask, other, small = (np.zeros((60, 60), bool) for _ in range(3))
    mask[10:20, 10:20] = other[10:20, 40:50] = small[10:14, 10:14] = True
    carried = DistractorMemory()
    assert not carried.promotes(1, mask, lambda: [other], 0.9), "nothing is known of its size yet"
    assert not carried.promotes(2, mask, lambda: [other], 0.8), "not sure enough"
    assert not carried.promotes(3, small, lambda: [other], 0.9), "of another size"
    assert not carried.promotes(4, mask, lambda: [mask], 0.9), "no distractor"
    assert carried.promotes(5, mask, lambda: [mask, other], 0.9)
    assert not carried.promotes(10, mask, lambda: [other], 0.9), "too soon"
    assert carried.promotes(11, mask, lambda: [other], 0.9)
    assert not carried.promotes(20, np.zeros((60, 60), bool), lambda: [other], 0.9), "not to be seen"
    for frame in range(30, 60):
        carried.promotes(frame, mask, list, 0.9)
    assert len(carried.sizes) == 10


def test_the_arithmetic_is_stocks(weights: SamConfig, clip: Array, monkeypatch: pytest.MonkeyPatch) -> None:
    """Given the frames that stock reads, every logit is stock's: only the choice differs."""
    model = SamModel(SamConfig(weights.checkpoint, weights.config_yaml, memory="distractor-aware"))
    model.load()
    stock = SamModel(weights)
    stock.load()

    def as_stock(frame: int, conditioning: Any, others: Any, predictor: Any) -> Any:
        memories = [(6, output) for output in conditioning.values()]
        memories += [(rank, others[frame - rank - 1]) for rank in reversed(range(6)) if frame - rank - 1 in others]
        pointers = [(frame - index, output["obj_ptr"]) for index, output in conditioning.items()]
        pointers += [(n, others[frame - n]["obj_ptr"]) for n in range(1, 16) if frame - n in others]
        return memories, pointers, 15

    monkeypatch.setattr(memory, "choose", as_stock)
    monkeypatch.setattr(SamConfig, "policy", StockMemory)  # of the sessions
    found, _ = follow(model, plain_track(ObjectPrompt(box=BOX)), clip[:24], [(0, 24)], restore=False)
    expected, _ = stock_logits(stock.predictor, clip[:24], {0: SamPrompt(box=BOX)})
    assert all(torch.equal(found["object", frame], logits) for frame, logits in expected.items())


def test_it_differs_from_stock_where_the_choice_does(aware: SamModel, weights: SamConfig, clip: Array) -> None:
    stock = SamModel(weights)
    stock.load()
    found, _ = follow(aware, plain_track(ObjectPrompt(box=BOX)), clip[:24], [(0, 24)])
    expected, _ = stock_logits(stock.predictor, clip[:24], {0: SamPrompt(box=BOX)})
    equal = [torch.equal(found["object", frame], logits) for frame, logits in expected.items()]
    assert equal[0], "a prompt is stock's"
    assert not all(equal[1:])


@pytest.mark.usefixtures("eager")
def test_a_frame_that_is_kept_is_remembered_as_a_prompted_one(
    aware: SamModel, clip: Array, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its memory is made again, of its binary mask."""
    encode, encoded = aware.predictor._run_memory_encoder, list[int]()

    def note(inference_state: Any, frame_idx: int, **given: Any) -> Any:
        assert given["is_mask_from_pts"]
        encoded.append(frame_idx)
        return encode(inference_state, frame_idx, **given)

    monkeypatch.setattr(aware.predictor, "_run_memory_encoder", note)
    _, banks = follow(aware, plain_track(ObjectPrompt(box=BOX)), clip[:24], [(0, 24)], restore=False)
    kept = banks["object"]["conditioning"]
    assert len(kept) > 2
    assert encoded == kept


@pytest.mark.usefixtures("eager")
def test_it_is_carried_and_bounded(aware: SamModel, clip: Array) -> None:
    config = plain_track(ObjectPrompt(frame=2, box=BOX), (Correction(20, OTHER_BOX),), person_box=OTHER_BOX)
    whole, banks = follow(aware, config, clip, [(0, 60)], restore=False)
    pieces, again = follow(aware, config, clip, new_spans(60, 9, 3))
    assert whole.keys() == pieces.keys()
    assert all(torch.equal(whole[key], pieces[key]) for key in whole)
    assert {name: bank["memory"] for name, bank in banks.items()} == {n: bank["memory"] for n, bank in again.items()}
    assert any(bank["memory"]["promoted"] is not None for bank in banks.values())
    for bank in again.values():
        assert bank["conditioning"][0] == 2
        assert len(bank["conditioning"]) <= 5 and len(bank["features"]) <= 7
        assert len(bank["pointers"]) <= 15 + 7


class EverySecond(StockMemory):
    """A policy as anybody may write one: every second frame on which it is to be seen; carries how many these were."""

    def __init__(self, reach: int) -> None:
        super().__init__(reach)
        self.seen = 0

    def role(self, frame: int, decoded: Decoded) -> Role:
        self.seen += decoded.seen
        return Role.RECENT if decoded.seen and self.seen % 2 else Role.FORGOTTEN

    def values(self) -> Any:
        return {"seen": self.seen}

    def restore(self, values: Mapping[str, Any]) -> None:
        self.seen = values["seen"]


@pytest.mark.usefixtures("eager")
def test_a_policy_is_a_class_and_a_line(weights: SamConfig, clip: Array, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(POLICIES, "second", EverySecond)
    model = SamModel(replace(weights, memory="second"))
    model.load()
    config = plain_track(ObjectPrompt(frame=2, box=BOX))
    whole, banks = follow(model, config, clip, [(0, 60)], restore=False)
    pieces, again = follow(model, config, clip, new_spans(60, 9, 3))
    assert all(torch.equal(whole[key], pieces[key]) for key in whole)
    bank = banks["object"]
    assert bank["memory"]["seen"] > 20 and np.diff(bank["features"]).min() >= 2
    assert again == banks


def test_what_it_is_refused_for(weights: SamConfig) -> None:
    assert tuple(POLICIES) == MEMORIES
    with pytest.raises(UsageError, match="--memory long"):
        SamConfig(weights.checkpoint, weights.config_yaml, memory="long")
    model = SamModel(weights)
    model.load()
    model.predictor.num_maskmem = 5
    with pytest.raises(EnvironmentFault, match="num_maskmem 5"):
        DistractorMemory.install(model.predictor)
