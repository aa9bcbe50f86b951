"""Our pose stage against a plain `rtmlib.Wholebody` loop: the same ONNX files and frames, a process each.

    python -m bench.pose_vs_rtmlib --frames 12 --record bench/records/pose_vs_rtmlib.json

Without `--pose` and `--detector` it uses files with random weights and the real models' cost, made on first use in
`--cache` (`bench/random_pose_models.py`). Printed and recorded: the largest distance between both sides' keypoints
(`--detect-every 1`, no smoothing), frames per second of rtmlib and of ours at every `--detect-every`, without drawing
and with it (`draw_skeleton` against our `vace` style), peak resident size of each side, and the time to draw one 720p
skeleton with rtmlib and in each of our styles.
"""

import argparse
import contextlib
import io
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from bench._common import Side, new_record, peak_rss_bytes, ratio, run_child, run_main, write_record
from bench.random_pose_models import write_detector, write_pose
from stages.base import Array, Inputs, Window
from stages.pose import PoseConfig, PoseStage
from stages.poses.draw import STYLES, draw
from stages.prompts import ObjectPrompt
from storage.spans import Span
from stream.demo import DemoConfig, Scene

FPS = 24.0


def rtmlib_loop(frames: Array, detector: str, pose: str, sizes: dict[str, Any]) -> tuple[Array, Array, float]:
    """Keypoints [T, 133, 2], scores [T, 133] of the first person, and seconds for all frames."""
    from rtmlib import Wholebody

    with contextlib.redirect_stdout(io.StringIO()):  # it prints the paths it loads
        model = Wholebody(det=detector, pose=pose, backend="onnxruntime", device="cpu", **sizes)
    pictures = [np.ascontiguousarray(frame[..., ::-1]) for frame in frames]  # as cv2.VideoCapture gives them
    model(pictures[0])
    start = time.perf_counter()
    found = [model(picture) for picture in pictures]
    seconds = time.perf_counter() - start
    return np.stack([points[0] for points, _ in found]), np.stack([scores[0] for _, scores in found]), seconds


def our_stage(frames: Array, config: PoseConfig) -> tuple[Array, float]:
    """Keypoints [T, 133, 3] and seconds for all frames, in one window."""
    with PoseStage(config) as stage:
        blank = stage.get_state().to_parts()
        _window(stage, frames[: config.models.crops])
        stage.set_state(*blank)
        start = time.perf_counter()
        keypoints = _window(stage, frames)
        return keypoints, time.perf_counter() - start


def _window(stage: PoseStage, frames: Array) -> Array:
    span = Span(0, len(frames))
    inputs = Inputs({"frames": frames, "times": np.arange(len(frames)) / FPS})
    return stage.process(Window(0, span, span, span, True, len(frames)), inputs).arrays["keypoints/person"]


def drawing(keypoints: Array, height: int, width: int) -> dict[str, float]:
    """Milliseconds for one picture, the quickest of several."""
    from rtmlib import draw_skeleton
    from rtmlib.tools.pose_estimation.post_processings import convert_coco_to_openpose

    joints, scores = convert_coco_to_openpose(keypoints[None, :, :2], keypoints[None, :, 2])

    def theirs() -> None:
        draw_skeleton(np.zeros((height, width, 3), np.uint8), joints, scores, openpose_skeleton=True, kpt_thr=0.3)

    def quickest(work: Any, times: int) -> float:
        taken = []
        for _ in range(times):
            start = time.perf_counter()
            work()
            taken.append(time.perf_counter() - start)
        return round(1000 * min(taken), 3)

    result = {"rtmlib": quickest(theirs, 5)}
    for style in STYLES:
        result[style] = quickest(lambda style=style: draw(keypoints, height, width, style), 20)
    return result


def compare(options: argparse.Namespace) -> dict[str, Any]:
    """Run every side in a process of its own; what the record holds beside its head."""
    made_up = not (options.detector and options.pose)
    detector, pose = random_models(options.cache) if made_up else (options.detector, options.pose)
    models = ["--detector", str(detector), "--pose", str(pose), "--frames", str(options.frames)]

    def call(side: str, every: int = 1) -> tuple[Side, Array]:
        with tempfile.TemporaryDirectory(prefix="skate-bench-") as folder:
            path = Path(folder, "keypoints.npy")
            arguments = ["--side", side, "--detect-every", str(every), "--keypoints", str(path), *models]
            return run_child("bench.pose_vs_rtmlib", arguments), np.load(path)

    theirs, points = _repeated([call("rtmlib") for _ in range(options.repeats)])
    record: dict[str, Any] = {
        "models": {"detector": Path(detector).name, "pose": Path(pose).name, "random_weights": made_up},
        "rtmlib": _rates(theirs, options.frames),
        "ours": [],
        "ratios": {},
    }
    record["models"] |= theirs[0]["sizes"]
    for every in options.detect_every:
        ours, keypoints = _repeated([call("ours", every) for _ in range(options.repeats)])
        row = {"detect_every": every} | _rates(ours, options.frames)
        if every == 1:
            seen = points[..., 2] > 0
            distance = np.linalg.norm(keypoints[..., :2] - points[..., :2], axis=-1)[seen]
            row["keypoints_largest_difference_px"] = float(np.round(distance.max(initial=0), 5))
            row["keypoints_compared"] = int(seen.sum())
        record["ours"].append(row)
        record["ratios"] |= {
            f"pose, person sought every {every} / rtmlib": ratio(ours, theirs),
            f"pose and drawing, person sought every {every} / rtmlib": ratio(ours, theirs, "seconds_with_drawing"),
        }
    joints = np.column_stack([Scene(_clip(1)).frame(0).joints, np.ones(133)]).astype(np.float32)
    record["drawing_ms"] = drawing(joints, 720, 1280)
    record["drawing_ratio"] = {s: round(record["drawing_ms"]["rtmlib"] / record["drawing_ms"][s], 1) for s in STYLES}
    return record


def _repeated(calls: list[tuple[Side, Array]]) -> tuple[list[Side], Array]:
    """All repeats of a side, and its keypoints, which do not differ."""
    return [found for found, _ in calls], calls[0][1]


def _rates(runs: list[Side], frames: int) -> dict[str, Any]:
    return {
        "fps": round(frames / min(run["seconds"] for run in runs), 3),
        "fps_with_drawing": round(frames / min(run["seconds_with_drawing"] for run in runs), 3),
        "peak_rss_bytes": max(run["peak_rss_bytes"] for run in runs),
    }


def run_side(options: argparse.Namespace) -> Side:
    """One side in this process; its keypoints `[T, 133, 3]` go to `--keypoints`."""
    scene = Scene(_clip(options.frames))
    shown = [scene.frame(t) for t in range(options.frames)]
    frames = np.stack([frame.image for frame in shown])
    ys, xs = np.nonzero(shown[0].object_mask)
    prompt = ObjectPrompt(box=(float(xs.min()), float(ys.min()), float(xs.max()), float(ys.max())))
    config = PoseConfig(str(options.pose), str(options.detector), prompt, detect_every=options.detect_every[0])
    sizes = _sizes(config)
    if options.side == "rtmlib":
        points, scores, seconds = rtmlib_loop(frames, str(options.detector), str(options.pose), sizes)
        keypoints = np.concatenate([points, scores[..., None]], axis=-1)
        drawing_seconds = _draw_theirs(frames, keypoints)
    else:
        keypoints, seconds = our_stage(frames, config)
        drawing_seconds = _draw_ours(frames, keypoints)
    np.save(options.keypoints, keypoints)
    spent = {"seconds": seconds, "seconds_with_drawing": seconds + drawing_seconds, "sizes": sizes}
    return spent | {"peak_rss_bytes": peak_rss_bytes()}


def _draw_theirs(frames: Array, keypoints: Array) -> float:
    from rtmlib import draw_skeleton
    from rtmlib.tools.pose_estimation.post_processings import convert_coco_to_openpose

    start = time.perf_counter()
    for found in keypoints:
        joints, scores = convert_coco_to_openpose(found[None, :, :2], found[None, :, 2])
        draw_skeleton(np.zeros(frames.shape[1:], np.uint8), joints, scores, openpose_skeleton=True, kpt_thr=0.3)
    return time.perf_counter() - start


def _draw_ours(frames: Array, keypoints: Array) -> float:
    start = time.perf_counter()
    for found in keypoints:
        draw(found, frames.shape[1], frames.shape[2], "vace")
    return time.perf_counter() - start


def _clip(frames: int) -> DemoConfig:
    return DemoConfig(frames=frames, width=1280, height=720)


def _sizes(config: PoseConfig) -> dict[str, Any]:
    """rtmlib has to be told the input sizes that our side reads in the files."""
    from stages.poses.onnx import SessionOptions, open_session

    detector, pose = (
        open_session(path, SessionOptions()).get_inputs()[0].shape for path in (config.detector_path, config.pose_path)
    )
    return {"det_input_size": (detector[2], detector[3]), "pose_input_size": (pose[3], pose[2])}


def random_models(cache: Path) -> tuple[Path, Path]:
    """The two files with random weights, made where they are not there yet."""
    cache.mkdir(parents=True, exist_ok=True)
    paths = cache / "detector-random.onnx", cache / "pose-random.onnx"
    for path, write in zip(paths, (write_detector, write_pose), strict=True):
        if not path.exists():
            partial = path.with_suffix(".part")
            write(partial)
            partial.replace(path)
    return paths


def parse_options(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line; `--side` is how the bench calls itself."""
    parser = argparse.ArgumentParser(prog="python -m bench.pose_vs_rtmlib", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--frames", type=int, default=12)
    parser.add_argument("--detect-every", type=int, nargs="+", default=[1, 3])
    parser.add_argument("--repeats", type=int, default=1, help="runs of every side; the fastest counts")
    parser.add_argument("--pose", type=Path, help="an ONNX file; default: random weights")
    parser.add_argument("--detector", type=Path)
    parser.add_argument("--cache", type=Path, default=Path(tempfile.gettempdir()) / "skate-bench")
    parser.add_argument("--record", type=Path, help="write the record here as JSON")
    parser.add_argument("--side", choices=("rtmlib", "ours"), help=argparse.SUPPRESS)
    parser.add_argument("--keypoints", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args(arguments)


def main() -> None:
    """Run both sides and print the record."""
    options = parse_options()
    if options.side is not None:
        print(json.dumps(run_side(options)))
        return
    settings = {name: getattr(options, name) for name in ("frames", "detect_every", "repeats")}
    record = new_record("pose_vs_rtmlib", settings) | compare(options)
    print(json.dumps(record, indent=1))
    write_record(record, options.record)


if __name__ == "__main__":
    run_main(main)
