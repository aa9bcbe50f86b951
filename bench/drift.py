"""How far colours run away over many windows, with a generator that moves them a little in each: ours, and other ways.

python -m bench.drift [--windows 100] [--record bench/records/drift.json]

The generator is the test server's (`Drift` of tests/fake_comfy: shift, contrast and saturation a window; once more with
a blur in every window beside), the clip a small moving scene that grows darker. Each way of matching is asked for the
whole clip:

    none      nothing is matched
    before    the region's mean and deviation to what the window before made of the overlap
    first     the region's mean and deviation to those of the first window
    ours      `stages/matching.py`

Drift is of colour: mean and deviation in Lab of the picture's 5x5 means, since a blur takes from the deviation of
single pixels, which is no colour. What is lost of sharpness stands beside it, and the drift of single pixels too.
"""

import argparse
import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from fake_comfy import Drift, FakeComfy  # noqa: E402
from fake_comfy.generators import figure  # noqa: E402
from fake_comfy.scene import Picturing, Scene, config, make_scene, windows  # noqa: E402

from bench._common import new_record, run_main, write_record  # noqa: E402
from stages.base import Array, Inputs, Json  # noqa: E402
from stages.blend import BlendConfig, BlendStage  # noqa: E402
from stages.colour import (  # noqa: E402
    match,
    statistics_of,
    to_lab,
)
from stages.composite import CompositeConfig, MatchingCompositeStage, already_seen  # noqa: E402
from stages.matching import Look, sharpness, soft_statistics  # noqa: E402
from stages.transfer import Transfer  # noqa: E402
from stages.views.lens import Lens  # noqa: E402
from stream.report.tables import text_table  # noqa: E402

WIDTH, HEIGHT, LENGTH, OVERLAP = 96, 64, 17, 5
DARKER = (0.88, 0.9, 0.94)  # the last frame's light, by channel: the clip's own slope
MOST_SHARE, MOST_STEP, MOST_USUAL_STEP = 0.03, 1.0, 0.5  # of the unmatched drift; levels; levels of 95 % of the steps
DRIFT = Drift(np.empty(0), np.empty(0), ())
SOFTER = replace(DRIFT, softer=0.05)


class Unmatched(MatchingCompositeStage):
    """Colours as they are."""

    def _correct(
        self, inputs: Inputs, made: Array, allowed: Array, inner: Array, through: Lens
    ) -> tuple[Look, dict[str, Json]]:
        return Look(), {}


class ToTheWindowBefore(MatchingCompositeStage):
    """The region on the overlap, to what is there already."""

    def _correct(
        self, inputs: Inputs, made: Array, allowed: Array, inner: Array, through: Lens
    ) -> tuple[Look, dict[str, Json]]:
        tail = already_seen(inputs, through)
        found = soft_statistics(made[: len(tail)], inner[: len(tail)], Transfer())
        wanted = soft_statistics(tail, inner[: len(tail)], Transfer())
        return Look() if found is None or wanted is None else Look(Transfer(), match(found, wanted)), {}


class ToTheFirst(MatchingCompositeStage):
    """The region of the window, to the first window's."""

    def __init__(self, config: CompositeConfig) -> None:
        super().__init__(config)
        self._first: Any = None

    def _correct(
        self, inputs: Inputs, made: Array, allowed: Array, inner: Array, through: Lens
    ) -> tuple[Look, dict[str, Json]]:
        found = soft_statistics(made, inner, Transfer())
        self._first = self._first or found
        return Look() if found is None else Look(Transfer(), match(found, self._first)), {}


WAYS: Mapping[str, type[MatchingCompositeStage]] = {
    "none": Unmatched,
    "before": ToTheWindowBefore,
    "first": ToTheFirst,
    "ours": MatchingCompositeStage,
}


def lit_scene(count: int) -> tuple[Scene, Array]:
    """A scene that grows darker, its figure that of the generator, so that both change alike; its light `[T, 3]`."""
    scene = make_scene(17 + 12 * (count - 1), HEIGHT, WIDTH)
    light = np.linspace(np.ones(3), DARKER, len(scene.frames))
    frames = scene.frames.astype(np.float64)
    for frame, where in zip(frames, scene.objects | scene.persons, strict=True):
        frame[where] = figure(where)
    return replace(scene, frames=np.rint(frames * light[:, None, None]).astype(np.uint8)), light


def result_of(way: type[MatchingCompositeStage], scene: Scene, light: Array, drift: Drift) -> Array:
    """`[T, h, w, 3]` uint8: the clip as it comes out."""
    plan = windows(len(scene.frames), LENGTH, OVERLAP)
    generator = replace(
        drift, masks=scene.objects | scene.persons, light=light, starts=[window.read.start for window in plan]
    )
    done, overlap = [], scene.frames[:0]
    settings = dict[str, Any](size=(WIDTH, HEIGHT), dilate=(2, 2), object_guide="none", steps=1)
    with FakeComfy(generator) as server, BlendStage(BlendConfig(LENGTH, OVERLAP)) as blend:
        picturing = Picturing(config(server.address, **settings))
        picturing.composite = way(picturing.composite.config)
        with picturing:
            for window in plan:
                raw = picturing.process(window, scene.inputs(window, overlap)).arrays["raw"]
                given = {**scene.inputs(window).arrays, "raw": raw, "overlap": overlap}
                blended = blend.process(window, Inputs(given)).arrays
                done.append(blended["generated"])
                overlap = blended["overlap"]
    return np.concatenate(done)


@dataclass(frozen=True)
class Measured:
    """A clip's region, window by window.

    Attributes:
        lab: `[windows, 6]`, mean and deviation of L, a, b of 5x5 means. pixels: the same of single pixels.
        steps: `[windows - 1, 3]`, change of the mean level across the edge of two windows.
        sharp: `[windows]`, detail against the source's.
    """

    lab: Array
    pixels: Array
    steps: Array
    sharp: Array


def measured(frames: Array, scene: Scene) -> Measured:
    """What a clip looks like in the region, by windows."""
    region = scene.objects | scene.persons
    lab, pixels, sharp = [], [], []
    for window in windows(len(frames), LENGTH, OVERLAP):
        final = slice(*window.final)
        soft = soft_statistics(frames[final], region[final], Transfer())
        plain = statistics_of([to_lab(frame[mask]) for frame, mask in zip(frames[final], region[final], strict=True)])
        assert soft is not None and plain is not None
        lab.append([*soft.mean, *soft.deviation])
        pixels.append([*plain.mean, *plain.deviation])
        sharp.append(sharpness(frames[final], scene.frames[final], region[final]))
    levels = np.stack([frame[mask].mean(axis=0) for frame, mask in zip(frames, region, strict=True)])
    edges = [window.final.stop for window in windows(len(frames), LENGTH, OVERLAP)][:-1]
    steps = np.stack([levels[edge] - levels[edge - 1] for edge in edges])
    return Measured(np.array(lab), np.array(pixels), steps, np.array(sharp))


def slope(values: Array) -> Array:
    """The change over all windows of the straight line through them, least squares."""
    at = np.arange(len(values)) - (len(values) - 1) / 2
    return np.asarray((at @ values) / (at @ at) * (len(values) - 1))


def compared(found: Measured, source: Measured) -> dict[str, Any]:
    """A clip's drift against its source's own."""
    drift, pixels = slope(found.lab) - slope(source.lab), slope(found.pixels) - slope(source.pixels)
    steps = np.abs(found.steps - source.steps)
    sharp = slope(found.sharp) / found.sharp[0]
    return {
        "drift": round(float(np.linalg.norm(drift)), 3),
        "mean_lab": [round(float(value), 3) for value in drift[:3]],
        "deviation_lab": [round(float(value), 3) for value in drift[3:]],
        "largest_step": round(float(steps.max()), 3),
        "p95_step": round(float(np.quantile(steps, 0.95)), 3),
        "sharpness": round(float(sharp), 4),
        "drift_of_pixels": round(float(np.linalg.norm(pixels)), 3),
    }


def measure(count: int, drift: Drift, ways: Mapping[str, type[MatchingCompositeStage]] = WAYS) -> dict[str, Any]:
    """By way: drift over all windows (Lab units), steps (levels), loss of sharpness (a share)."""
    scene, light = lit_scene(count)
    source = measured(scene.frames, scene)

    def one(way: type[MatchingCompositeStage]) -> dict[str, Any]:
        return compared(measured(result_of(way, scene, light, drift), scene), source)

    with ThreadPoolExecutor(len(ways)) as pool:  # each mostly waits for its server
        return dict(zip(ways, pool.map(one, ways.values()), strict=True))


def judged(found: dict[str, Any]) -> dict[str, Any]:
    """What is promised of ours, and whether it holds."""
    ours, share = found["ours"], found["ours"]["drift"] / found["none"]["drift"]
    values = (
        ("share of the unmatched drift", share, MOST_SHARE),
        ("largest step, levels", ours["largest_step"], MOST_STEP),
        ("95 % of the steps, levels", ours["p95_step"], MOST_USUAL_STEP),
    )
    return {
        name: {"value": round(value, 4), "noise": 0.0, "better": "lower", "most": most, "holds": value <= most}
        for name, value, most in values
    }


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(prog="python -m bench.drift", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--windows", type=int, default=100, help="of the clip")
    parser.add_argument("--record", type=Path, help="write the results there as JSON")
    options = parser.parse_args()
    if options.windows < 3:
        parser.error(f"--windows {options.windows}: give at least 3")
    record: dict[str, Any] = {"ways": {}, "ratios": {}}
    for suffix, drift in (("", DRIFT), (", blurred", SOFTER)):
        found = measure(options.windows, drift)
        record["ways"] |= {name + suffix: way for name, way in found.items()}
        record["ratios"] |= {name + suffix: value for name, value in judged(found).items()}
    rows = [[name, *(str(value) for value in way.values())] for name, way in record["ways"].items()]
    head = ("matched to", "drift", "mean", "deviation", "largest step", "p95", "sharpness", "drift of pixels")
    print(text_table(head, rows))
    for name, value in record["ratios"].items():
        print(f"{name}: {value['value']}, at most {value['most']}: {'holds' if value['holds'] else 'MISSED'}")
    settings = {"windows": options.windows, "frames a window": LENGTH, "overlap": OVERLAP, "size": [WIDTH, HEIGHT]}
    write_record(new_record("drift", settings) | record, options.record)


if __name__ == "__main__":
    run_main(main)
