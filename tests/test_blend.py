"""Blending: every frame final once, crossfades over the overlap alone, state that survives."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.base import Array, Inputs, Output, Window
from stages.blend import BlendConfig, BlendStage, crossfade
from storage.errors import GeneratorError, RunDirectoryError, UsageError
from stream.engine.windows import WindowPlan

SHAPE = (2, 3, 3)  # a small frame


def constant_raw(window: Window, value: int) -> Array:
    """A raw window of one value everywhere."""
    return np.full((window.read.frames, *SHAPE), value, dtype=np.uint8)


def given_before(raw: Array, before: Output | None) -> Inputs:
    """What the stage reads, after this output of the window before."""
    return Inputs({"raw": raw} if before is None else {"raw": raw, "overlap": before.arrays["overlap"]})


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


def test_output_does_not_alias_input() -> None:
    plan = WindowPlan(9, 4)
    first, second = list(plan.windows(14))
    stage = BlendStage(BlendConfig(9, 4))
    raw = constant_raw(first, 10)
    before = stage.process(first, Inputs({"raw": raw}))
    raw[:] = 99
    last = stage.process(second, given_before(constant_raw(second, 20), before))
    assert (before.arrays["overlap"] == 10).all() and len(last.arrays["overlap"]) == 0


def test_wrong_length_and_another_windows_overlap_are_refused() -> None:
    plan = WindowPlan(9, 4)
    first, second, _ = list(plan.windows(19))
    stage = BlendStage(BlendConfig(9, 4))
    with pytest.raises(GeneratorError, match="8 frames were generated, 9 are needed"):
        stage.process(first, Inputs({"raw": constant_raw(first, 0)[:8]}))
    with pytest.raises(RunDirectoryError, match="needs 4 frames from frame 5"):
        stage.process(second, Inputs({"raw": constant_raw(second, 0)}))
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
