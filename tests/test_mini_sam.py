"""The small SAM 2.1 that ships: it loads, has the promised size, follows the demo; its training data is repeatable."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from stream.demo.scene import TRAINING_SEED_BASE, DemoConfig, Scene
from training.mini_sam.by_scale import score_clip
from training.mini_sam.chase_clips import chased, render
from training.mini_sam.chases import ChaseClip
from training.mini_sam.config import base_settings, build, predictor_settings, write_yaml
from training.mini_sam.demo_clips import ClipPlan, demo_clip, draw_clip, draw_tracked_clip
from training.mini_sam.evaluate import BOARD, PERSON, ious
from training.mini_sam.export import PRESENCE_BIAS, export, mean_weights
from training.mini_sam.objective import frame_loss, mask_loss
from training.mini_sam.predict import SHIPPED, box_of, load_predictor, preprocess, track
from training.mini_sam.rollout import RawDecoder, _promoted, roll
from training.mini_sam.sequences import SequenceConfig, Sequences, choose_frames
from training.mini_sam.synthetic import synthetic_clip

WEIGHTS, CONFIG = SHIPPED / "sam.safetensors", SHIPPED / "sam.yaml"
LEAST_PARAMETERS, MOST_PARAMETERS = 2_000_000, 5_000_000
MOST_BYTES = 10_000_000


@pytest.fixture(scope="module")
def predictor() -> Any:
    torch.set_num_threads(2)
    return load_predictor(CONFIG, WEIGHTS)


def test_the_weights_are_small_and_in_half_precision() -> None:
    tensors = load_file(WEIGHTS)
    assert WEIGHTS.stat().st_size <= MOST_BYTES
    assert LEAST_PARAMETERS <= sum(tensor.numel() for tensor in tensors.values()) <= MOST_PARAMETERS
    assert {tensor.dtype for tensor in tensors.values()} == {torch.float16}
    assert all(bool(torch.isfinite(tensor).all()) for tensor in tensors.values())


def test_the_yaml_is_what_the_training_builds(predictor: Any, tmp_path: Path) -> None:
    write_yaml(tmp_path / "sam.yaml", predictor.image_size)
    assert (tmp_path / "sam.yaml").read_text() == CONFIG.read_text()


def test_the_yaml_decides_every_post_processing_setting(predictor: Any) -> None:
    assert predictor.fill_hole_area == 0
    assert predictor.binarize_mask_from_pts_for_mem_enc is True
    assert predictor.sam_mask_decoder.dynamic_multimask_via_stability is False
    assert predictor.non_overlap_masks is False
    assert (predictor.num_maskmem, predictor.max_obj_ptrs_in_encoder) == (7, 16)
    assert set(predictor_settings(256)) - set(base_settings(256)) == {
        "fill_hole_area", "non_overlap_masks", "clear_non_cond_mem_around_input", "add_all_frames_to_correct_as_cond",
    }  # fmt: skip


def test_it_follows_board_and_person_of_the_demo(predictor: Any) -> None:
    scene = Scene(DemoConfig(6, 640, 360, 24, 1))
    rendered = [scene.frame(index) for index in range(6)]
    truth = {
        BOARD: np.stack([frame.object_mask for frame in rendered]),
        PERSON: np.stack([frame.person_mask for frame in rendered]),
    }
    frames = np.stack([frame.image for frame in rendered])
    found = track(predictor, frames, {number: box_of(mask[0]) for number, mask in truth.items()})
    assert ious(found[BOARD], truth[BOARD]).mean() > 0.82
    assert ious(found[PERSON], truth[PERSON]).mean() > 0.88


@pytest.mark.parametrize(("size", "least"), [(0.5, 0.5), (0.75, 0.65), (1.5, 0.82), (2.0, 0.82), (3.0, 0.7)])
def test_it_follows_boards_of_every_size(size: float, least: float, predictor: Any) -> None:
    """By `training.mini_sam.by_scale` the means of 20 clips are higher; here it is one clip of four frames."""
    assert score_clip(predictor, DemoConfig(4, fps=12, seed=102, size=size))["board"] > least


def test_preprocessing_has_the_range_of_the_stock_loader() -> None:
    white = preprocess(np.full((1, 8, 12, 3), 255, np.uint8), 32)
    assert white.shape == (1, 3, 32, 32)
    assert torch.allclose(
        white[0, :, 0, 0], (1 - torch.tensor((0.485, 0.456, 0.406))) / torch.tensor((0.229, 0.224, 0.225))
    )


def test_a_seed_gives_the_same_clip_and_another_one_another() -> None:
    first, again, other = (synthetic_clip(seed, 3, 64) for seed in (5, 5, 6))
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert not np.array_equal(first[0], other[0])
    assert first[0].shape == (3, 64, 64, 3) and first[1].shape == (3, 64, 64, 2)


def test_a_seed_gives_the_same_sequences() -> None:
    def first_three() -> list[tuple[torch.Tensor, torch.Tensor]]:
        data = iter(Sequences(SequenceConfig(4, 64, 96, None, 0.5), (9,)))
        return [next(data) for _ in range(3)]

    for one, two in zip(first_three(), first_three(), strict=True):
        assert torch.equal(one[0], two[0]) and torch.equal(one[1], two[1])


def test_the_seeds_people_use_are_refused_for_training(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not for training"):
        draw_clip(TRAINING_SEED_BASE - 1)
    with pytest.raises(ValueError, match="not for training"):
        render(TRAINING_SEED_BASE - 1, tmp_path)


@pytest.mark.parametrize("restyle", [False, True])
def test_a_demo_clip_for_training_has_both_masks(restyle: bool) -> None:
    config = DemoConfig(2, 320, 180, 24, TRAINING_SEED_BASE, skaters=2, boards=2)
    planes = demo_clip(ClipPlan(config, True, restyle, ("board-2", "skater-2"), 0), 2, 96)
    assert planes.shape == (2, 96, 96, 5) and planes.dtype == np.uint8
    assert (planes[..., 3:].max(axis=(1, 2)) > 200).all()


def test_a_tracked_clip_has_the_board_as_it_is_found(predictor: Any) -> None:
    plan = draw_tracked_clip(TRAINING_SEED_BASE + 6, 2)
    true, found = demo_clip(plan, 2, 96), demo_clip(plan, 2, 96, predictor)
    assert plan.restyle and plan.targets == ("board", "skater")
    assert not found[..., 4].any() and true[..., 4].any()
    assert (found[..., 3].max(axis=(1, 2)) > 200).all() and not np.array_equal(found[..., 3], true[..., 3])


def test_training_clips_have_every_size_camera_and_group() -> None:
    plans = [draw_clip(TRAINING_SEED_BASE + k) for k in range(200)]
    assert {plan.config.camera for plan in plans} == {"steady", "handheld", "pan", "cuts"}
    assert {plan.config.skaters for plan in plans} == {1, 2, 3, 4}
    sizes = [plan.config.size for plan in plans]
    assert min(sizes) < 0.55 and max(sizes) > 2.7
    assert any(set(plan.targets) == {"board", "board-2"} for plan in plans)  # those that look alike
    assert len({plan.start for plan in plans}) > 50 and len({plan.restyle for plan in plans}) == 2


def test_the_prompted_frame_shows_a_target_and_the_run_stays_in_the_clip() -> None:
    areas = np.zeros((40, 2))
    areas[10:20, 0] = 500.0
    for seed in range(50):
        positions = choose_frames(np.random.default_rng(seed), areas, 7, 40.0)
        assert positions is not None and len(positions) == 7
        assert 10 <= positions[0] < 20
        assert positions.min() >= 0 and positions.max() < 40
        assert len(set(np.diff(positions[1:]))) == 1
    assert choose_frames(np.random.default_rng(0), np.zeros((40, 2)), 7, 40.0) is None


@pytest.fixture(scope="module")
def chases(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clip of a group, 30 frames."""
    cache = tmp_path_factory.mktemp("chases")
    render(TRAINING_SEED_BASE + 200_003, cache, 30)
    return cache


def test_a_chase_for_training_looks_at_what_it_follows(chases: Path) -> None:
    (tracks,) = chases.glob("*.tracks.npz")
    clip = ChaseClip.of(tracks)
    assert clip.frames.shape == (30, 360, 640, 3) and clip.masks.shape == (30, 6, 360, 80)
    assert (clip.areas[:, 0] > 150).all() and clip.areas.shape == clip.near.shape
    rng = np.random.default_rng(2)
    cuts = [found for found in (clip.cut(rng, 5, 256) for _ in range(12)) if found is not None]
    for images, masks in cuts:
        assert images.shape == (5, 256, 256, 3) and masks.shape == (5, 256, 256, 2)
        assert masks[0, ..., 0].any() and masks.all(-1).mean() < 1e-3, "the second one is another subject"
        rows, columns = np.nonzero(masks[0, ..., 0])
        # Half of the picture's side is around it: it fills the other half, less what a jittered view takes.
        assert 60 < max(np.ptp(rows), np.ptp(columns)) < 200
    assert len(cuts) >= 8 and any(masks[0, ..., 1].any() for _, masks in cuts)


def test_a_clip_for_training_of_one_alone_gives_that_one(tmp_path: Path) -> None:
    render(TRAINING_SEED_BASE + 200_003, tmp_path, 12, alone=True)
    clip = ChaseClip.of(next(tmp_path.glob("*.tracks.npz")))
    (drawn,) = np.flatnonzero(clip.areas.any(0))
    assert not clip.near.any() and np.count_nonzero(np.ptp(clip.views[:, :, 0], 0).any(-1)) == 1
    for seed in range(6):
        found = clip.cut(np.random.default_rng(seed), 4, 128)
        assert found is not None and found[1][0, ..., 0].any() and not found[1][..., 1].any()
    assert np.array_equal(clip.areas[:, drawn] > 0, clip.masks[:, drawn].any((1, 2)))
    assert replace(clip, areas=np.zeros_like(clip.areas)).cut(np.random.default_rng(0), 4, 128) is None


def test_a_chase_for_training_shows_who_comes_back(chases: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clip = ChaseClip.of(next(chases.glob("*.tracks.npz")))
    masks, areas = clip.masks.copy(), clip.areas.copy()
    masks[8:20, 0], areas[8:20, 0] = 0, 0
    for name, share in (("RETURNS", 1.0), ("APART", 0.0)):
        monkeypatch.setattr(f"training.mini_sam.chases.{name}", share)
    clip = replace(clip, masks=masks, areas=areas)
    for seed in range(8):
        positions = clip._choose(np.random.default_rng(seed), 0, 7)
        assert positions is not None and areas[positions[0], 0]
        assert not areas[positions[1], 0] and areas[positions[-1], 0]


def test_a_chase_for_training_stays_where_one_was_that_is_hidden() -> None:
    masks = np.zeros((6, 4, 90, 160), bool)
    masks[:4, 0, 40:50, 20:50], masks[:, 1, 40:50, 60:90], masks[:, 2:, 10:50, 100:120] = True, True, True
    views, near = chased(masks, ["board", "board-2", "skater", "skater-2"], {})
    assert np.allclose(views[3, 0], views[4, 0])
    assert not near[:, :2].any() and near[:, 2:].all()


def test_sequences_may_be_cut_from_chases(chases: Path) -> None:
    config = SequenceConfig(4, 256, 256, None, 0.0, chases, 1.0)
    first, second = (next(iter(Sequences(config, (seed,)))) for seed in (3, 3))
    assert torch.equal(first[0], second[0]) and torch.equal(first[1], second[1])
    assert first[0].shape == (4, 256, 256, 3) and bool(first[1][0, ..., 0].any())


def test_a_folder_without_chases_is_told(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="has no clips: python -m"):
        next(iter(Sequences(SequenceConfig(4, 256, 256, None, 0.0, tmp_path, 1.0), (3,))))


def test_the_mask_loss_is_least_for_the_truth() -> None:
    truth = torch.zeros(1, 1, 32, 32)
    truth[..., 8:12, 8:24] = 1
    good, empty, wide = truth * 20 - 10, torch.full_like(truth, -10.0), torch.full_like(truth, 10.0)
    losses = [float(mask_loss(logits, truth)) for logits in (good, empty, wide)]
    assert losses[0] < 0.05 and losses[1] > 1 and losses[2] > 1


def test_with_even_edges_a_pixel_in_doubt_is_as_good_outside_as_inside() -> None:
    narrow, wide = torch.zeros(2, 1, 1, 32, 32)
    narrow[..., 8:12, 8:24], wide[..., 7:13, 8:24] = 1, 1

    def gain(even: bool) -> float:
        """How much better it is to call the pixels inside that are so in every second picture."""
        inside, outside = (
            sum(float(mask_loss(20 * guess - 10, truth, even)) for truth in (narrow, wide)) for guess in (wide, narrow)
        )
        return (outside - inside) / (outside + inside)

    assert gain(False) > 0.4 and abs(gain(True)) < 0.2


def test_an_absent_target_teaches_the_score_alone() -> None:
    proposals = torch.zeros(2, 3, 16, 16, requires_grad=True)
    scores = torch.zeros(2, 1, requires_grad=True)
    loss = frame_loss(proposals, torch.rand(2, 3), scores, torch.zeros(2, 64, 64), torch.ones(2))
    loss.total.backward()  # type: ignore[no-untyped-call]
    assert proposals.grad is not None and not proposals.grad.any()
    assert scores.grad is not None and (scores.grad > 0).all()


def test_one_step_reaches_every_part_of_the_model() -> None:
    torch.manual_seed(0)
    model: Any = build(base_settings(64)).train()
    clips = [synthetic_clip(seed, 4, 64) for seed in (1, 2)]
    images, masks = (torch.from_numpy(np.stack(arrays)) for arrays in zip(*clips, strict=True))
    rollout = roll(model, RawDecoder(model), images, masks, np.random.default_rng(0))
    assert rollout is not None and len(rollout.frames) in (3, 4)
    rollout.loss.backward()  # type: ignore[no-untyped-call]
    for part in (model.image_encoder, model.memory_attention, model.memory_encoder, model.sam_mask_decoder):
        assert any(p.grad is not None and bool(p.grad.any()) for p in part.parameters())


def test_some_frames_are_kept_as_a_distractor_aware_memory_keeps_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """Among the conditioning ones, but not for the frame right behind them."""
    drawn = [_promoted(7, rng) for rng in map(np.random.default_rng, range(200))]
    assert set().union(*drawn) == {1, 2, 3, 4} and {len(each) for each in drawn} == {0, 1, 2, 3}
    assert not any(_promoted(3, rng) for rng in map(np.random.default_rng, range(20))), "too short to keep one"
    monkeypatch.setattr("training.mini_sam.rollout._promoted", lambda frames, rng: {1, 3})
    model: Any = build(base_settings(64)).eval()
    images, masks = (torch.from_numpy(each)[None] for each in synthetic_clip(1, 6, 64))
    kept, step = list[tuple[int, list[int]]](), model._track_step

    def noted(index: int, *given: Any) -> Any:
        kept.append((index, sorted(given[6]["cond_frame_outputs"])))
        return step(index, *given)

    monkeypatch.setattr(model, "_track_step", noted)
    with torch.no_grad():
        assert roll(model, RawDecoder(model), images, masks, np.random.default_rng(0)) is not None
    first = kept[1][0]
    frames = [0, *range(first, first + 5)]
    wanted = [[], [0], [0], [0, first], [0, first], [0, first, first + 2]]
    assert kept == list(zip(frames, wanted, strict=True))


def test_what_ships_may_be_a_mean_with_a_stricter_presence(tmp_path: Path) -> None:
    weights = load_file(WEIGHTS)
    doubled = {name: value.float() * 2 for name, value in weights.items()}
    save_file(doubled, tmp_path / "doubled.safetensors")
    mean = mean_weights([WEIGHTS, tmp_path / "doubled.safetensors"], [3, 1], 2.0)
    other = "memory_encoder.pix_feat_proj.bias"
    assert torch.allclose(mean[other], weights[other].float() * 1.25)
    assert torch.allclose(mean[PRESENCE_BIAS], weights[PRESENCE_BIAS].float() * 1.25 - 2)
    export(mean, tmp_path / "ship", 256)
    assert load_file(tmp_path / "ship" / "sam.safetensors")[other].dtype == torch.float16


def test_the_record_names_what_shipped() -> None:
    import hashlib

    record = json.loads((Path(__file__).parents[1] / "training" / "mini_sam" / "record.json").read_text())
    assert record["shipped"]["sha256"] == hashlib.sha256(WEIGHTS.read_bytes()).hexdigest()
    groups = WEIGHTS.with_name("groups.safetensors")
    assert record["shipped_for_groups"]["sha256"] == hashlib.sha256(groups.read_bytes()).hexdigest()
