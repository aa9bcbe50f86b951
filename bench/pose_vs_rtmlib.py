"""Our pose stage against a plain `rtmlib.Wholebody` loop: the same ONNX files and frames, one after the other.

    python -m bench.pose_vs_rtmlib --frames 12 --record bench/records/pose_vs_rtmlib.json

Without `--pose` and `--detector` it uses files with random weights and the real models' cost, made on first use in
`--cache` (`bench/random_pose_models.py`). Printed and recorded: the largest distance between both sides' keypoints
(`--detect-every 1`, no smoothing), frames per second of rtmlib and of ours at every `--detect-every`, peak resident
size, and the time to draw a 720p skeleton with rtmlib and in each of our styles.
"""

import argparse
import contextlib
import io
import json
import os
import platform
import resource
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from bench.random_pose_models import write_detector, write_pose
from stages._pose.draw import STYLES, draw
from stages.base import Array, Inputs, Window
from stages.pose import PoseConfig, PoseStage
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
        _window(stage, frames[: config.crops])
        stage.set_state(*blank)
        start = time.perf_counter()
        keypoints = _window(stage, frames)
        return keypoints, time.perf_counter() - start


def _window(stage: PoseStage, frames: Array) -> Array:
    span = Span(0, len(frames))
    inputs = Inputs({"frames": frames, "times": np.arange(len(frames)) / FPS})
    return stage.process(Window(0, span, span, span, True, len(frames)), inputs).arrays["keypoints"]


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


def compare(arguments: argparse.Namespace) -> dict[str, Any]:
    """Run both sides; the record."""
    detector, pose = arguments.detector, arguments.pose
    made_up = not (detector and pose)
    if made_up:
        detector, pose = random_models(arguments.cache)
    scene = Scene(DemoConfig(frames=arguments.frames, width=1280, height=720))
    shown = [scene.frame(t) for t in range(arguments.frames)]
    frames = np.stack([frame.image for frame in shown])
    ys, xs = np.nonzero(shown[0].object_mask)
    prompt = ObjectPrompt(box=(float(xs.min()), float(ys.min()), float(xs.max()), float(ys.max())))
    config = PoseConfig(str(pose), str(detector), prompt)
    sizes = _sizes(config)
    points, scores, theirs = rtmlib_loop(frames, str(detector), str(pose), sizes)
    record: dict[str, Any] = {
        "bench": "pose_vs_rtmlib",
        "machine": {"cpu": platform.processor() or platform.machine(), "cores": os.cpu_count()},
        "models": {"detector": Path(detector).name, "pose": Path(pose).name, "random_weights": made_up, **sizes},
        "frames": arguments.frames,
        "rtmlib_fps": round(arguments.frames / theirs, 3),
        "ours": [],
    }
    for every in arguments.detect_every:
        keypoints, seconds = our_stage(frames, PoseConfig(str(pose), str(detector), prompt, detect_every=every))
        row = {"detect_every": every, "fps": round(arguments.frames / seconds, 3), "ratio": round(theirs / seconds, 3)}
        if every == 1:
            seen = scores > 0
            distance = np.linalg.norm(keypoints[..., :2] - points, axis=-1)[seen]
            row["keypoints_largest_difference_px"] = float(np.round(distance.max(), 5))
            row["keypoints_compared"] = int(seen.sum())
        record["ours"].append(row)
    joints = np.column_stack([shown[0].joints, np.ones(133)]).astype(np.float32)
    record["drawing_ms"] = drawing(joints, 720, 1280)
    record["drawing_ratio"] = {s: round(record["drawing_ms"]["rtmlib"] / record["drawing_ms"][s], 1) for s in STYLES}
    record["peak_rss_bytes"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return record


def _sizes(config: PoseConfig) -> dict[str, Any]:
    """rtmlib has to be told the input sizes that our side reads in the files."""
    from stages._pose.session import SessionOptions, open_session

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


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--frames", type=int, default=12)
    parser.add_argument("--detect-every", type=int, nargs="+", default=[1, 3])
    parser.add_argument("--pose", type=Path, help="an ONNX file; default: random weights")
    parser.add_argument("--detector", type=Path)
    parser.add_argument("--cache", type=Path, default=Path(tempfile.gettempdir()) / "skate-bench")
    parser.add_argument("--record", type=Path, help="write the record here as JSON")
    arguments = parser.parse_args()
    text = json.dumps(compare(arguments), indent=2)
    print(text)
    if arguments.record:
        arguments.record.parent.mkdir(parents=True, exist_ok=True)
        arguments.record.write_text(text + "\n")


if __name__ == "__main__":
    main()
