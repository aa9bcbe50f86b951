"""Colours over many windows: the generator's transfer measured and undone, what is left matched, nothing lost."""

from dataclasses import replace
from typing import Any

import cv2
import numpy as np
import pytest
from fake_comfy import Drift
from fake_comfy.scene import Array, make_scene

from bench.drift import DRIFT, MOST_STEP, MOST_USUAL_STEP, WAYS, judged, measure
from stages.colour import ColourTransform
from stages.matching import Look, MatchState, certain, look, sharpness, soft_statistics
from stages.transfer import LIMIT_OFFSET, Transfer
from stages.transfer import measure as measure_transfer

SCENE = make_scene(17)
REGION = SCENE.objects | SCENE.persons
TINTED = Transfer((1.06, 0.0, 0.01, -0.02, 0.97, 0.0, 0.0, 0.03, 1.1), (4.0, -3.0, 2.0))
RNG = np.random.default_rng(11)


def coloured(frames: int = 17, height: int = 64, width: int = 96) -> Array:
    """`[n, h, w, 3]` uint8: patches of many colours, away from the ends of the scale."""
    patches = RNG.integers(50, 200, (frames, height // 16, width // 16, 3)).astype(np.uint8)
    return np.asarray(np.repeat(np.repeat(patches, 16, axis=1), 16, axis=2))


def sent_through(transfer: Transfer, frames: Array, noise: float = 0.0) -> Array:
    levels = (frames.astype(np.float64) - 127.5) @ np.array(transfer.matrix).reshape(3, 3).T + 127.5 + transfer.offset
    made = np.clip(np.rint(levels + RNG.normal(0, noise, levels.shape)), 0, 255)
    return np.asarray(made.astype(np.uint8))


def close(found: Transfer | None, wanted: Transfer, matrix: float = 0.004, offset: float = 0.3) -> bool:
    assert found is not None
    away = (
        np.abs(np.subtract(found.matrix, wanted.matrix)).max(),
        np.abs(np.subtract(found.offset, wanted.offset)).max(),
    )
    return bool(away[0] < matrix and away[1] < offset)


def test_a_transfer_is_measured_outside_the_region_and_undone() -> None:
    frames = coloured()
    region = np.zeros(frames.shape[:3], bool)
    region[:, 20:40, 30:60] = True
    made = sent_through(TINTED, frames, noise=3.0)
    made[region] = 255 - made[region]  # what was made anew is nobody's business here
    found, blocks = measure_transfer(made, frames, region)
    assert blocks > 100 and close(found, TINTED), found
    assert found is not None
    back = found.undone(sent_through(TINTED, frames).astype(np.float64))
    assert np.abs(back - frames).max() < 1.2  # rounded once on the way


def test_the_same_wherever_an_array_lies() -> None:
    """A last bit of difference would be another rounding of a pixel, and other bytes on a resume."""
    frames = coloured()
    region = np.zeros(frames.shape[:3], bool)
    region[:, 20:44, 30:70] = True
    made, tail, found = sent_through(TINTED, frames, noise=3.0), sent_through(TINTED, frames[:5], noise=3.0), []
    for offset in range(4):
        moved = [np.zeros(each.size + offset, np.uint8)[offset:].reshape(each.shape) for each in (made, frames, tail)]
        for target, each in zip(moved, (made, frames, tail), strict=True):
            target[:] = each
        found.append(look(moved[0], moved[1], region, region, moved[2], MatchState()))
    assert all(each == found[0] for each in found) and not found[0].overlap.is_identity


def test_noise_and_blur_are_no_loss_of_contrast() -> None:
    frames = coloured()
    noisy = np.clip(frames + RNG.normal(0, 12, frames.shape), 0, 255).astype(np.uint8)
    softer = np.stack([0.7 * frame + 0.3 * cv2.blur(frame.astype(float), (3, 3)) for frame in frames])
    for made in (noisy, np.rint(softer).astype(np.uint8)):
        found, _ = measure_transfer(made, frames, np.zeros(frames.shape[:3], bool))
        assert close(found, Transfer(), matrix=0.03, offset=0.6), found


def test_what_the_model_painted_anew_outside_is_left_out() -> None:
    frames = coloured()
    made = sent_through(TINTED, frames)
    made[:, :16, :48] = 250 - made[:, :16, :48]
    found, _ = measure_transfer(made, frames, np.zeros(frames.shape[:3], bool))
    assert close(found, TINTED), found


def test_where_the_window_shows_nothing_the_first_window_counts_and_else_its_own() -> None:
    region = np.zeros((17, 64, 96), bool)
    first, later = TINTED, Transfer((1.2, 0.0, 0.0, 0.0, 1.2, 0.0, 0.0, 0.0, 1.2), (-2.0, 1.0, 5.0))
    wall = np.full((17, 64, 96, 3), 140, np.uint8)
    found, _ = measure_transfer(sent_through(later, wall), wall, region, first)
    assert found is not None and found.matrix == pytest.approx(first.matrix), "a wall says nothing of contrast"
    assert np.abs(found.undone(sent_through(later, wall)[0, 0, 0].astype(float)) - 140).max() < 0.6, "its colour counts"
    frames = coloured()
    found, _ = measure_transfer(sent_through(later, frames), frames, region, first)
    assert close(found, later), "where it shows enough its own wins"
    state = MatchState(matrix=list(first.matrix), offset=list(first.offset))
    hidden = look(sent_through(later, frames), frames, ~region, ~region, frames[:0], state)
    assert hidden.transfer == first and hidden.blocks == 0, "a region that fills the picture"
    alone = look(frames, frames, ~region, ~region, frames[:0], MatchState())
    assert alone.transfer.is_identity and alone.first is None
    begun = look(sent_through(first, frames), frames, region, region, frames[:0], MatchState())
    assert begun.first == begun.transfer and MatchState.of(begun).transfer() == begun.transfer
    next_one = look(sent_through(later, frames), frames, region, region, frames[:0], MatchState.of(begun))
    assert next_one.first == begun.transfer and close(next_one.transfer, later)


def test_a_transfer_is_bounded_and_equals_are_left_alone() -> None:
    frames = coloured()
    nothing = np.zeros(frames.shape[:3], bool)
    far = sent_through(Transfer(offset=(70.0, 0.0, 0.0)), np.clip(frames, 0, 150))
    found, _ = measure_transfer(far, np.clip(frames, 0, 150), nothing)
    assert found is not None and found.offset[0] == pytest.approx(LIMIT_OFFSET)
    same, _ = measure_transfer(frames, frames, nothing)
    assert same is not None and same.is_identity
    assert np.array_equal(Look().apply(frames[0], ~nothing[0]), frames[0])


def test_too_little_overlap_uses_the_carried_correction() -> None:
    state = MatchState([1.0, 1.0, 1.0], [2.0, 1.0, -1.0])
    hidden, shown = REGION.copy(), SCENE.frames[:5]
    hidden[:5] = False
    found = look(SCENE.frames, SCENE.frames, REGION, hidden, shown, state)
    assert found.overlap == state.correction() and found.pixels == 0
    found = look(SCENE.frames, SCENE.frames, REGION, REGION, shown, state)
    assert found.overlap.is_identity and found.pixels == certain(REGION[:5]).sum()


def test_the_state_round_trips() -> None:
    given = Look(TINTED, ColourTransform((1.1, 1.0, 0.9), (0.5, -1.0, 2.0)), 100, 100, TINTED)
    state = MatchState.of(given)
    values, arrays = state.to_parts()
    back = MatchState.from_parts(values, arrays)
    assert not arrays and back.correction() == given.overlap and back.transfer() == TINTED
    assert MatchState.from_parts(*MatchState().to_parts()).transfer() is None


def test_statistics_of_a_softer_picture_are_the_same() -> None:
    frames = coloured(1)
    fine = np.clip(frames.astype(int) + RNG.choice([-20, 20], frames.shape), 0, 255).astype(np.uint8)
    where = np.ones(frames.shape[:3], bool)
    plain, rough = (soft_statistics(each, where, Transfer()) for each in (frames, fine))
    assert plain is not None and rough is not None
    assert np.abs(np.subtract(plain.deviation, rough.deviation)).max() < 0.5
    detail = sharpness(frames, fine, where)
    assert detail is not None and detail < 0.3 and sharpness(fine, fine, where) == 1.0
    assert sharpness(frames, frames, ~where) is None


def check(count: int, drift: Drift, most_share: float) -> dict[str, Any]:
    found = measure(count, drift, {name: WAYS[name] for name in ("none", "ours")})
    print(found)
    shares = {name: value["value"] for name, value in judged(found).items()}
    assert shares["share of the unmatched drift"] <= most_share
    assert shares["largest step, levels"] <= MOST_STEP and shares["95 % of the steps, levels"] <= MOST_USUAL_STEP
    return found


def test_a_drifting_generator_over_ten_windows() -> None:
    check(10, replace(DRIFT, shift=(3.0, -2.0, 3.0), contrast=1.01, saturation=1.02), 0.03)


@pytest.mark.slow
@pytest.mark.parametrize("softer", [0.0, 0.05])
def test_a_drifting_generator_over_a_hundred_windows(softer: float) -> None:
    """What a generator loses of sharpness is no drift of colour, and is told apart."""
    found = check(100, replace(DRIFT, softer=softer), 0.03)
    assert found["ours"]["sharpness"] > -0.1
