"""The clip's rate against the one that the generator was trained at: what it costs, and which `--fps` to give."""

from storage.sizes import count_of
from stream.engine.windows import WindowPlan

NEAR = 1.25  # within this ratio of the trained rate motion looks right
_EVEN = 1.25  # a whole part of the clip's rate is taken for the trained one within this ratio: no frame comes unevenly


def rate_line(trained: float, fps: float, frames: int | None, plan: WindowPlan) -> str:
    """What the plan says about the rate.

    Args:
        trained: frames/s that the generator was trained at.
        fps: of the clip, after `--fps`.
        frames: of the clip at that rate, None where not known.
        plan: its windows.
    """
    told = f"rate     trained at {trained:g} frames/s, the clip has {fps:.5g}"
    if 1 / NEAR <= fps / trained <= NEAR:
        return f"{told}: near enough"
    spans = f"a window spans {plan.window / fps:.3g} s, where it learned {plan.window / trained:.3g} s"
    if fps < trained:
        return f"{told}: {spans}; frames that are not there cannot be given, so motion may come out hasty"
    wanted = suggested_fps(fps, trained)
    effect = "fewer windows"
    if frames is not None:
        now, then = plan.count(frames), plan.count(max(1, round(frames * wanted / fps)))
        effect = f"{count_of(then, 'window')} instead of {now}" if then < now else "no fewer windows here"
    return f"{told}: {spans}, and motion looks slow to it; --fps {wanted:.5g} makes {effect}, for the output too"


def suggested_fps(fps: float, trained: float) -> float:
    """The rate to resample to: every n-th frame where that is near the trained rate, else the trained rate itself."""
    even = fps / max(1, round(fps / trained))
    return even if 1 / _EVEN <= even / trained <= _EVEN else trained
