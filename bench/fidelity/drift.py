"""`skate bench fidelity --self`: a clip made into itself, its own first frame the reference, so that every pixel of the
result is known. How close it stays, window by window.

Drift is the slope over the windows with its 95 % interval, of what the result has less what the untouched source has
that is encoded alike: a clip that grows harder to code is no drift.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from bench.fidelity.clips import VERSION
from bench.fidelity.closeness import Lpips, psnr, ssim
from bench.fidelity.judge import Judge
from bench.slopes import slope_of
from stages.base import Array
from stream.demo import DemoConfig, Scene
from stream.demo.job import demo_config
from stream.run.lifecycle import start

WINDOWS, QUICK_WINDOWS = 12, 9
SMALL_WINDOW, SMALL_OVERLAP = 17, 5  # where nothing else is asked for: many windows in few frames
USUAL_WINDOW, USUAL_OVERLAP = 81, 21
UNITS = {"psnr": "dB", "ssim": "", "lpips": ""}

Closeness = Callable[[Array, Array, Array], float]


def measure_self(out: Path, quick: bool, options: dict[str, Any], tell: Callable[[str], None]) -> dict[str, Any]:
    """Make the clip into itself and compare; the numbers of `fidelity.json`'s `self`."""
    window, overlap = _windows(options)
    frames = overlap + (QUICK_WINDOWS if quick else WINDOWS) * (window - overlap)
    scene, run = DemoConfig(frames), out / "clips" / "self"
    reference = out / "reference.png"
    out.mkdir(parents=True, exist_ok=True)
    Image.fromarray(Scene(scene).frame(0).image).save(reference)
    given = {**options, "window": window, "overlap": overlap, "reference": options.get("reference") or str(reference)}
    tell("self: made")
    start(demo_config(scene, run, given), run)
    judge = Judge(run)
    masks, result, again = judge.masks(), judge.made(), judge.encoded(judge.frames)
    region = masks["object"] | masks["person"]
    kinds: dict[str, Closeness] = {"psnr": psnr, "ssim": ssim}
    if (lpips := Lpips.at_hand()) is not None:
        kinds["lpips"] = lpips
    tell(f"self: {', '.join(kinds)}")
    found: dict[str, Any] = {
        "version": VERSION, "frames": frames, "window": window, "overlap": overlap, "windows": len(judge.windows),
        "lpips_weights": "at hand" if lpips is not None else "not at hand",
    }  # fmt: skip
    spans = [slice(each.final.start, each.final.stop) for each in judge.windows]
    for name, kind in kinds.items():
        found[name] = drift_of(*(by_window(kind, judge.frames, each, region, spans) for each in (result, again)))
    return found | {name: None for name in UNITS if name not in kinds}


def _windows(options: dict[str, Any]) -> tuple[int, int]:
    """Window and overlap: as asked for; else small ones for the preview and the recipe's own for a server."""
    usual = (USUAL_WINDOW, USUAL_OVERLAP) if options.get("server") else (SMALL_WINDOW, SMALL_OVERLAP)
    window, overlap = options.get("window"), options.get("overlap")
    return window or usual[0], usual[1] if overlap is None else overlap


def by_window(kind: Closeness, truth: Array, made: Array, region: Array, spans: list[slice]) -> list[float | None]:
    """The mean of each window's frames, None where the region is empty on all of them."""
    found: list[float | None] = []
    for span in spans:
        each = [kind(*frame) for frame in zip(truth[span], made[span], region[span], strict=True)]
        known = [value for value in each if value == value]
        found.append(float(np.mean(known)) if known else None)
    return found


def drift_of(result: list[float | None], source: list[float | None]) -> dict[str, Any]:
    """Both by window, their means, and the slope of the one less the other with its interval; None for few windows."""
    apart = [None if a is None or b is None else a - b for a, b in zip(result, source, strict=True)]
    slope = slope_of(apart, warm=0)
    return {
        "mean": _mean(result),
        "source_mean": _mean(source),
        "by_window": [None if value is None else round(value, 4) for value in result],
        "slope_per_window": None if slope is None else round(slope.slope, 6),
        "confidence_interval": None if slope is None else [round(slope.low, 6), round(slope.high, 6)],
        "flat": None if slope is None else slope.low <= 0 <= slope.high,
    }


def _mean(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return round(float(np.mean(known)), 4) if known else None
