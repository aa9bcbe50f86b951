"""Blending: every frame final once, crossfades over the overlap alone, state that survives."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.base import Array, Inputs, Output, Window
from stages.blend import BlendConfig, BlendStage, crossfade
from stages.fade import fade_span, motion_of
from storage.errors import GeneratorError, RunDirectoryError, UsageError
from stream.engine.windows import WindowPlan

SHAPE = (2, 3, 3)  # a small frame


def constant_raw(window: Window, value: int) -> Array:
    """A raw window of one value everywhere."""
    return np.full((window.read.frames, *SHAPE), value, dtype=np.uint8)


def given_before(raw: Array, before: Output | None) -> Inputs:
    """What the stage reads, after this output of the window before: nothing moves."""
    masks = {name: np.zeros(raw.shape[:3], bool) for name in ("masks/object", "masks/person")}
    return Inputs({"raw": raw, **masks, **({} if before is None else {"overlap": before.arrays["overlap"]})})


@st.composite
def plans(draw: st.DrawFn) -> tuple[WindowPlan, int]:
    """Any legal small plan, and a clip's length."""
    window = 4 * draw(st.integers(1, 8)) + 1
    return WindowPlan(window, draw(st.integers(0, (window - 1) // 2))), draw(st.integers(1, 150))


@given(plans())
@settings(max_examples=100, deadline=None)
def test_every_frame_comes_out_once_with_the_right_weights(plan_frames: tuple[WindowPlan, int]) -> None:
    plan, frames = plan_frames
    config = BlendConfig(plan.window, plan.overlap)
    stage = BlendStage(config)
    out: list[Array] = []
    output = None
    values = [(37 * k) % 256 for k in range(plan.count(frames))]
    for window in plan.windows(frames):
        output = stage.process(window, given_before(constant_raw(window, values[window.index]), output))
        final = output.arrays["generated"]
        assert len(final) == window.final.frames
        assert (
            len(output.arrays["overlap"])
            == window.read.stop - window.final.stop
            == (0 if window.last else plan.overlap)
        )
        out.append(final)
    result = np.concatenate(out)
    assert len(result) == frames
    expected = np.zeros(frames, dtype=np.int64)
    for window in plan.windows(frames):
        k, n = window.index, plan.overlap
        expected[window.final.start : window.final.stop] = values[k]
        if k:
            for i in range(n):
                total = values[k - 1] * (n - i) + values[k] * (i + 1)
                expected[window.new.start - n + i] = int(np.floor(total / (n + 1) + 0.5))
    assert (result == expected[:, None, None, None]).all()


@given(plans())
@settings(max_examples=40, deadline=None)
def test_equal_windows_blend_to_themselves(plan_frames: tuple[WindowPlan, int]) -> None:
    plan, frames = plan_frames
    clip = np.random.default_rng(frames).integers(0, 256, (frames, *SHAPE), dtype=np.uint8)
    stage = BlendStage(BlendConfig(plan.window, plan.overlap))
    outputs: list[Output] = []
    for window in plan.windows(frames):
        outputs.append(stage.process(window, given_before(clip[slice(*window.read)], outputs[-1] if outputs else None)))
    assert np.array_equal(np.concatenate([output.arrays["generated"] for output in outputs]), clip)


def test_crossfade_at_the_defaults() -> None:
    old, new = np.zeros((21, *SHAPE), dtype=np.uint8), np.full((21, *SHAPE), 220, dtype=np.uint8)
    assert crossfade(old, new)[:, 0, 0, 0].tolist() == list(range(10, 220, 10))
    assert crossfade(new, new).tolist() == new.tolist()
    assert (crossfade(np.full_like(old, 255), np.full_like(old, 254))[:10] == 255).all()  # 254.5 and above round up


def moving(steps: list[int], size: int = 6) -> Array:
    """`[n, 8, W]` bool: a square that moves so many pixels onto each frame."""
    places = np.cumsum(steps)
    masks = np.zeros((len(steps), 8, int(places[-1]) + size + 1), bool)
    for mask, place in zip(masks, places, strict=True):
        mask[1 : 1 + size, place : place + size] = True
    return masks


@pytest.mark.parametrize(
    ("steps", "span"),
    [
        ([3] * 45, (0, 21)),  # always the same: the whole overlap
        ([4] * 8 + [1] * 6 + [4] * 31, (8, 13)),
        ([4] * 9 + [0] * 9 + [4] * 27, (9, 17)),  # all that are still, not five of them
        ([1] * 21 + [5] * 24, (0, 20)),
    ],
)
def test_the_crossfade_lies_where_the_subjects_move_least(steps: list[int], span: tuple[int, int]) -> None:
    window = list(WindowPlan(45, 21).windows(69))[1]
    masks = moving(steps)
    start, stop = fade_span(masks, window)
    assert (start - window.final.start, stop - window.final.start) == span, motion_of(masks, 0, 21)
    assert fade_span(masks & False, window) == (window.final.start, window.new.start), "nothing moves"


def test_frames_on_both_sides_that_move_half_as_much_more_are_faded_too() -> None:
    window = list(WindowPlan(45, 21).windows(69))[1]
    # The mean of two steps, in frames 5 to 15: 17, 14, 12, five times 10, 13, 14.5, 16.5.
    masks = moving([20] * 6 + [14] * 2 + [10] * 6 + [16, 13] + [20] * 29, size=40)
    start, stop = fade_span(masks, window)
    assert (start - window.final.start, stop - window.final.start) == (6, 15), motion_of(masks, 0, 21)


def test_the_fade_alone_mixes_and_is_recorded() -> None:
    plan = WindowPlan(45, 21)
    first, second = list(plan.windows(69))
    stage = BlendStage(BlendConfig(45, 21, "object"))
    calm = moving([4] * 8 + [0] * 6 + [4] * 31)
    masks = {"masks/object": calm, "masks/person": calm[::-1]}  # the person stays as it is, and decides nothing
    raws = [np.full((45, *calm.shape[1:], 3), value, np.uint8) for value in (100, 200)]
    before = stage.process(first, Inputs({"raw": raws[0], **masks}))
    assert before.info["crossfade"] == [0, 0]
    after = stage.process(second, Inputs({"raw": raws[1], **masks, "overlap": before.arrays["overlap"]}))
    start, stop = after.info["crossfade"]
    levels = after.arrays["generated"][:, 0, 0, 0]
    begin, end = start - second.final.start, stop - second.final.start
    assert (begin, end) == (8, 13)
    assert (levels[:begin] == 100).all() and (levels[end:] == 200).all()
    assert (np.diff(levels[begin - 1 : end + 1].astype(int)) > 0).all()


def test_output_does_not_alias_input() -> None:
    plan = WindowPlan(9, 4)
    first, second = list(plan.windows(14))
    stage = BlendStage(BlendConfig(9, 4))
    raw = constant_raw(first, 10)
    before = stage.process(first, given_before(raw, None))
    raw[:] = 99
    last = stage.process(second, given_before(constant_raw(second, 20), before))
    assert (before.arrays["overlap"] == 10).all() and len(last.arrays["overlap"]) == 0


def test_wrong_length_and_another_windows_overlap_are_refused() -> None:
    plan = WindowPlan(9, 4)
    first, second, _ = list(plan.windows(19))
    stage = BlendStage(BlendConfig(9, 4))
    with pytest.raises(GeneratorError, match="8 frames were generated, 9 are needed"):
        stage.process(first, given_before(constant_raw(first, 0)[:8], None))
    with pytest.raises(RunDirectoryError, match="needs 4 frames from frame 5"):
        stage.process(second, given_before(constant_raw(second, 0), None))
    with pytest.raises(UsageError, match="--overlap 5"):
        BlendConfig(9, 5)


def test_peak_is_bounded_by_the_projection() -> None:
    import tracemalloc

    plan = WindowPlan(21, 10)
    stage = BlendStage(BlendConfig(21, 10))
    raws = [np.zeros((window.read.frames, 90, 160, 3), dtype=np.uint8) for window in plan.windows(60)]
    peak, output = 0, None
    for window, raw in zip(plan.windows(60), raws, strict=True):
        tracemalloc.start()
        output = stage.process(window, given_before(raw, output))
        peak = max(peak, tracemalloc.get_traced_memory()[1] + raw.nbytes)
        tracemalloc.stop()
    assert peak <= stage.peak_bytes(90, 160, 21)[0]
