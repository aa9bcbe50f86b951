"""The region alone warped back, against the whole picture, and against footage that was never steadied.

    python -m bench.stabilise [--frames 61] [--clip-size 640x360] [--record bench/records/stabilise.json]

The handheld demo clip with its own masks and joints; its motion found as in a run, its path steadied over 30 frames;
the preview as the generator. Ways:

    region    what `--stabilise` does: what was made is warped back in the region, all else is the source's
    all       the usual way: the whole picture is steadied, made, and warped back (Lanczos, as above)
    linear    so too by bilinear interpolation, as stabilisers do
    none      made on the footage as it shakes

Outside the region: PSNR against the source (none: not a value differs), and the share of pixels that are as they were.
Inside the masks: the mean size of the Laplacian of luma, as a share of that of `none`; the warping error (Lai et al.,
ECCV 2018): by how many levels the frame before, moved by the source's optical flow (DIS), differs.
"""

import argparse
import math
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from bench._common import new_record, run_main, write_record
from stages.affine import invert
from stages.aim import STEADY_FRAMES
from stages.base import Array, Inputs
from stages.composite import CompositeConfig, allowed_region, put_back
from stages.matching import Look
from stages.motion import MotionStage
from stages.preview import PreviewConfig, PreviewStage
from stages.region import chosen_mask
from stages.through import keypoints_through
from stages.views.lens import Lens, Views
from stages.views.path import steadied
from stream.demo import DemoConfig, Scene
from stream.engine.windows import WindowPlan
from stream.options.values import SIZE
from stream.report.tables import text_table


def clip_of(config: DemoConfig) -> dict[str, Array]:
    """Frames, masks and keypoints of a clip, as the stages read them."""
    found = list(Scene(config))
    return {
        "frames": np.stack([frame.image for frame in found]),
        "masks/object": np.stack([frame.object_mask for frame in found]),
        "masks/person": np.stack([frame.person_mask for frame in found]),
        "keypoints/person": np.stack(
            [np.column_stack([frame.joints, frame.joints_visible]).astype(np.float32) for frame in found]
        ),
    }


def results(clip: Mapping[str, Array]) -> tuple[dict[str, Array], Array]:
    """The finished frames `[T, H, W, 3]` uint8 by way, and what any of them regenerates, `[T, H, W]` bool."""
    frames, objects, persons = (clip[name] for name in ("frames", "masks/object", "masks/person"))
    size, length = (frames.shape[2], frames.shape[1]), len(frames)
    window = next(WindowPlan(length, 0).windows(length))
    said = {"aim": {"follows": False, "turned": False, "steady": STEADY_FRAMES, "whole": False}}
    motion = MotionStage().process(window, Inputs(clip, said)).arrays["motion"]
    steady, plain = Views(size, size, steadied(motion, STEADY_FRAMES // 2)), Lens(size, size)
    seen = {name: steady.regions(clip[name]) for name in ("masks/object", "masks/person")}
    seen["keypoints/person"] = keypoints_through(clip["keypoints/person"], steady.views)
    seen["frames"] = steady.pictures(frames)
    made, shaken = (PreviewStage(PreviewConfig()).process(window, Inputs(each)).arrays["made"] for each in (seen, clip))
    config = CompositeConfig()
    inner = chosen_mask(objects, persons, config.reskin)
    regions = [allowed_region(objects, persons, config, config.dilate, through) for through in (steady, plain)]
    linear = np.stack([_linear(frame, view, size) for frame, view in zip(frames, steady.views, strict=True)])
    linear = np.where((made != seen["frames"]).any(3, keepdims=True), made, linear)
    found = {
        "region": put_back(frames, made, regions[0], inner & regions[0], Look(), steady),
        "all": np.stack([steady.back(picture, t) for t, picture in enumerate(made)]),
        "linear": np.stack([_linear(picture, invert(steady.views[t]), size) for t, picture in enumerate(linear)]),
        "none": put_back(frames, shaken, regions[1], inner, Look(), plain),
    }
    return found, regions[0] | regions[1]


def _linear(picture: Array, view: Array, size: tuple[int, int]) -> Array:
    return np.asarray(cv2.warpAffine(picture, view, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE))


def measured(found: Array, clip: Mapping[str, Array], region: Array, flows: list[Array]) -> dict[str, float | None]:
    """What a way comes to; `flows`: `flow_back` of each frame but the first."""
    frames, inside = clip["frames"], clip["masks/object"] | clip["masks/person"]
    off = (found[~region].astype(np.float64) - frames[~region]) ** 2
    sharp = [_detail(picture)[mask].mean() for picture, mask in zip(found, inside, strict=True) if mask.any()]
    return {
        "outside_psnr_db": None if not off.any() else round(10 * math.log10(255**2 / off.mean()), 2),
        "outside_same": round(float((off == 0).all(axis=1).mean()), 4),
        "inside_sharpness": round(float(np.mean(sharp)), 4),
        "inside_warping_error": round(warping_error(found, inside, flows), 3),
    }


def _detail(picture: Array) -> Array:
    return np.abs(cv2.Laplacian(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY).astype(np.float32), cv2.CV_32F))


def flow_back(frames: Array) -> list[Array]:
    """`[H, W, 2]` float32 of each frame but the first: where its pixels were in the one before."""
    dis = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    grey = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in frames]
    nothing: Any = None
    return [dis.calc(now, before, nothing) for before, now in pairwise(grey)]


def warping_error(found: Array, inside: Array, flows: list[Array]) -> float:
    """Mean difference in levels, inside, of each frame and the one before moved onto it."""
    across, down = np.meshgrid(*(np.arange(side, dtype=np.float32) for side in found.shape[2:0:-1]))
    errors = []
    for t, flow in enumerate(flows, start=1):
        there = across + flow[..., 0], down + flow[..., 1]
        moved = cv2.remap(found[t - 1], *there, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        was = cv2.remap(inside[t - 1].astype(np.uint8), *there, cv2.INTER_NEAREST) > 0
        both = inside[t] & was
        if both.any():
            errors.append(np.abs(moved[both].astype(float) - found[t][both]).mean())
    return float(np.mean(errors))


def measure(config: DemoConfig) -> dict[str, dict[str, float | None]]:
    """By way, what `measured` gives; sharpness as a share of `none`'s; and the `source` itself."""
    clip = clip_of(config)
    made, region = results(clip)
    flows = flow_back(clip["frames"])
    found = {name: measured(each, clip, region, flows) for name, each in (made | {"source": clip["frames"]}).items()}
    least = found["none"]["inside_sharpness"]
    for row in found.values():
        sharp = row["inside_sharpness"]
        assert sharp is not None and least is not None
        row["inside_sharpness"] = round(sharp / least, 4)
    return found


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(prog="python -m bench.stabilise", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--frames", type=int, default=61, help="4n+1")
    parser.add_argument("--clip-size", type=SIZE.read, default=(640, 360))
    parser.add_argument("--clip-seed", type=int, default=1)
    parser.add_argument("--record", type=Path, help="write the results there as JSON")
    options = parser.parse_args()
    width, height = options.clip_size
    found = measure(DemoConfig(options.frames, width, height, camera="handheld", seed=options.clip_seed))
    names = list(found["none"])
    lines = [[way, *("-" if row[name] is None else f"{row[name]:g}" for name in names)] for way, row in found.items()]
    print(text_table(("", *names), lines))
    settings = {"frames": options.frames, "clip": f"demo {width}x{height} seed {options.clip_seed} handheld"}
    write_record(new_record("stabilise", settings) | {"ways": found}, options.record)


if __name__ == "__main__":
    run_main(main)
