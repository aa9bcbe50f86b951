"""Stock SAM 2.1 against the streamed tracker: the same JPEG frames, one process each, one after the other.

    python -m bench.track_vs_stock --frames 200 800 3200 --image-size 256 --record bench/records/track_vs_stock.json

Two objects are prompted by boxes on frame 0. Stock loads the folder with its own `init_state` and propagates through
the clip; the streamed side reads the same files window by window, as the pipeline does, and saves its state after each.
Both hash every logit of every frame. Printed and recorded, a length a line: whether all logits are equal, frames per
second of both (reading frames included; loading the model is not), their ratio, and the peak resident size of both
(on CUDA, of what torch gave out as well). A side that needs more than `--memory-limit` is ended there; the other one
still runs at that length, on its own (`"ended": "stock"`, nothing to compare), and longer clips are not tried. With two
lengths or more, the bytes that each side takes for a further frame are fitted.
"""

import argparse
import hashlib
import json
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image

from bench._common import ROOT, Side, new_record, peak_rss_bytes, ratio, run_child, run_main, write_record
from stages.base import Inputs, Window
from stages.prompts import Box, ObjectPrompt
from stages.sam.checkpoint import read_config
from stages.sam.model import SamConfig, SamModel, build_predictor
from stages.subjects import OBJECTS, plain_subjects
from stages.track import TrackConfig, TrackStage
from storage.sizes import parse_size
from storage.spans import Span

Take = Callable[[str, Any], None]
SIDES = ("stock", "streamed")
PEAKS = ("peak_rss_bytes", "peak_vram_bytes")
DIFFER = "logits differ"
LEAST_SPEED = 0.95
LEAST_SPEED_FRAMES = 200  # in shorter clips warming up counts


def main() -> None:
    """Run every length on both sides and print a table."""
    options = parse_options()
    if options.side is not None:
        run_side(options)
        return
    record = new_record("track_vs_stock", settings_of(options)) | {"torch": torch_facts()} | measure(options)
    write_record(record, options.record)
    if any(row["equal"] is False for row in record["lengths"]):
        sys.exit(DIFFER)


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Every length, until one is ended by the memory limit: `lengths`, `bytes_per_frame` by side, `ratios`."""
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(prefix="track-vs-stock-") as name:
        folder = Path(name)
        config = prepare_model(options, folder)
        for frames in options.frames:
            rows.append(compare(options, config, folder, frames))
            if "ended" in rows[-1]:
                break
    ratios = {f"streamed / stock, {row['frames']} frames": speed(row) for row in rows if "ended" not in row}
    return {"lengths": rows, "bytes_per_frame": growth(rows), "ratios": ratios}


def speed(row: dict[str, Any]) -> Side:
    """A length's ratio of speeds; clips too short to tell have no least value."""
    found = {"value": row["speed_ratio"], "noise": row["speed_noise"], "better": "higher"}
    if row["frames"] < LEAST_SPEED_FRAMES:
        return found
    return found | {"least": LEAST_SPEED, "holds": row["speed_ratio"] >= LEAST_SPEED}


def growth(rows: list[dict[str, Any]]) -> dict[str, int] | None:
    """Bytes of peak memory that one more frame takes, by side: a least-squares line over the lengths that it finished.

    None where a side finished fewer than two.
    """
    found = {}
    for side in SIDES:
        done = [row for row in rows if row.get("ended") not in (side, "both")]
        if len(done) < 2:
            return None
        peaks = [row[f"{side}_peak_rss_bytes"] for row in done]
        found[side] = round(np.polyfit([row["frames"] for row in done], peaks, 1)[0])
    return found


def parse_options(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line; `--side` is how the bench calls itself."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, nargs="+", default=[60], help="clip lengths")
    parser.add_argument("--size", default="640x360", help="width x height of the frames")
    parser.add_argument("--sam", type=Path, default=ROOT / "stages/models/mini/sam.safetensors")
    parser.add_argument("--sam-config", type=Path, default=ROOT / "stages/models/mini/sam.yaml")
    parser.add_argument("--random", action="store_true", help="random weights (seed 0) instead of --sam")
    parser.add_argument("--image-size", type=int, help="side of the model's input, instead of the config's")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--window", type=int, default=81)
    parser.add_argument("--overlap", type=int, default=21)
    parser.add_argument("--repeats", type=int, default=1, help="runs of each side; the fastest counts")
    parser.add_argument("--memory-limit", type=parse_size, help="end a side that takes more memory, e.g. 8GB")
    parser.add_argument("--record", type=Path, help="write the results there as JSON")
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    parser.add_argument("--clip", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args(arguments)


def settings_of(options: argparse.Namespace) -> dict[str, Any]:
    """What of the command line says what was measured."""
    names = ("size", "random", "image_size", "device", "window", "overlap", "repeats", "memory_limit")
    return {name: getattr(options, name) for name in names} | {"sam_config": options.sam_config.name}


def torch_facts() -> dict[str, Any]:
    """What else of the machine matters here."""
    import torch

    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    return {"threads": torch.get_num_threads(), "gpu": gpu}


def prepare_model(options: argparse.Namespace, folder: Path) -> SamConfig:
    """The config with its image size, and a checkpoint: the one given or a random one."""
    from omegaconf import OmegaConf
    from safetensors.torch import save_file

    settings = read_config(options.sam_config)
    if options.image_size is not None:
        settings["image_size"] = options.image_size  # all positions are computed from it
    config = SamConfig(options.sam, folder / "sam.yaml", device=options.device, state_device="cpu")
    config.config_yaml.write_text(OmegaConf.to_yaml(OmegaConf.create(settings)))
    if options.random:
        import torch

        torch.manual_seed(0)
        tensors = build_predictor(settings, config.config_yaml).state_dict()
        config = replace(config, checkpoint=folder / "sam.safetensors")
        save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, config.checkpoint)
    return config


def compare(options: argparse.Namespace, config: SamConfig, folder: Path, frames: int) -> dict[str, Any]:
    """One length: draw the clip, run both sides, print a line; a side that was ended does not run again."""
    width, height = (int(side) for side in options.size.split("x"))
    clip = folder / f"frames_{frames}"
    draw_clip(clip, frames, height, width)
    runs: dict[str, list[Side]] = {side: [] for side in SIDES}
    for side in SIDES * options.repeats:
        if not (runs[side] and "ended" in runs[side][-1]):
            runs[side].append(call_side(options, config, clip, side))
    row = {"frames": frames} | compared(frames, runs)
    for measure in PEAKS:
        for side, found in runs.items():
            known = [run[measure] for run in found if run.get(measure) is not None]
            row[f"{side}_{measure}"] = max(known, default=None)
    print(json.dumps(row), flush=True)
    for path in clip.iterdir():
        path.unlink()
    return row


def compared(frames: int, runs: dict[str, list[Side]]) -> dict[str, Any]:
    """What both sides' results say about each other; where memory `ended` a side ("both": each), nothing (None)."""
    ended = [side for side, found in runs.items() if "ended" in found[-1]]
    row: dict[str, Any] = {"equal": None, "visible_frames": None, "speed_ratio": None, "speed_noise": None}
    if ended:
        row["ended"] = "both" if len(ended) == len(SIDES) else ended[0]
    else:
        found = ratio(runs["streamed"], runs["stock"])
        row["equal"] = len({json.dumps(run["digest"]) for runs_of in runs.values() for run in runs_of}) == 1
        row |= {"speed_ratio": found["value"], "speed_noise": found["noise"]}
    for side, done in runs.items():
        if side in ended:
            row[f"{side}_fps"] = None
        else:
            row[f"{side}_fps"] = round(frames / min(run["seconds"] for run in done), 2)
            row["visible_frames"] = done[0]["visible_frames"]
    return row


def draw_clip(folder: Path, frames: int, height: int, width: int) -> None:
    """JPEGs of a striped square and a disc that drift over noise; seeded, every frame another."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    ground = cv2.GaussianBlur(rng.integers(0, 255, (height, width + 300, 3), dtype=np.uint8), (0, 0), 3)
    unit = height // 12
    for t in range(frames):
        left = abs(300 - t % 600)
        picture = ground[:, left : left + width].copy()
        x, y = int(width / 2 + width / 5 * np.sin(t / 17)), int(height / 2 + height / 6 * np.cos(t / 11))
        cv2.rectangle(picture, (x - 2 * unit, y - unit), (x + 2 * unit, y + unit), (250, 60, 40), -1)
        cv2.line(picture, (x - 2 * unit, y), (x + 2 * unit, y), (20, 20, 240), unit // 3 + 1)
        cv2.circle(picture, (width // 5, int(height / 2 + height / 5 * np.sin(t / 13))), unit, (30, 220, 60), -1)
        cv2.imwrite(str(folder / f"{t}.jpg"), picture, [cv2.IMWRITE_JPEG_QUALITY, 90])


def boxes(height: int, width: int) -> dict[str, Box]:
    """Where the two objects of `draw_clip` are on frame 0."""
    unit, x, y = height // 12, width // 2, height // 2 + height // 6
    return {
        "object": (x - 2 * unit, y - unit, x + 2 * unit, y + unit),
        "person": (width // 5 - unit, height // 2 - unit, width // 5 + unit, height // 2 + unit),
    }


def call_side(options: argparse.Namespace, config: SamConfig, clip: Path, side: str) -> Side:
    """Run one side in a process of its own."""
    arguments = ["--side", side, "--clip", str(clip), "--size", options.size, "--device", options.device]
    arguments += ["--sam", str(config.checkpoint), "--sam-config", str(config.config_yaml)]
    arguments += ["--window", str(options.window), "--overlap", str(options.overlap)]
    return run_child("bench.track_vs_stock", arguments, options.memory_limit)


def run_side(options: argparse.Namespace) -> None:
    """In the child: track the clip and print digest, seconds and peak."""
    width, height = (int(side) for side in options.size.split("x"))
    model = SamModel(SamConfig(options.sam, options.sam_config, device=options.device))
    model.load()
    hashes = {name: hashlib.sha256() for name in OBJECTS}
    visible = [0]

    def take(name: str, logits: Any) -> None:
        array = logits.float().cpu().numpy()
        hashes[name].update(array.tobytes())
        visible[0] += int(name == "object" and (array > 0).any())

    begun = time.perf_counter()
    follow = follow_stock if options.side == "stock" else follow_streamed
    follow(options, model, boxes(height, width), take)
    seconds = time.perf_counter() - begun
    digest = {name: found.hexdigest() for name, found in hashes.items()}
    found = {"digest": digest, "seconds": seconds, "visible_frames": visible[0]}
    print(json.dumps(found | {"peak_rss_bytes": peak_rss_bytes(), "peak_vram_bytes": peak_vram_bytes(options.device)}))


def peak_vram_bytes(device: str) -> int | None:
    """The most that torch's allocator gave out in this process, bytes; None on a CPU."""
    if device != "cuda":
        return None
    import torch

    return int(torch.cuda.max_memory_allocated())


def follow_stock(options: argparse.Namespace, model: SamModel, prompts: dict[str, Box], take: Take) -> None:
    """The whole clip through the stock predictor's public methods."""
    import torch

    predictor = model.predictor
    with torch.inference_mode(), model.autocast():
        state = predictor.init_state(str(options.clip), offload_video_to_cpu=True, offload_state_to_cpu=True)
        for name, box in prompts.items():
            predictor.add_new_points_or_box(state, frame_idx=0, obj_id=name, box=np.array(box, dtype=np.float32))
        for _, names, logits in predictor.propagate_in_video(state):
            for position, name in enumerate(names):
                take(name, logits[position, 0])


def follow_streamed(options: argparse.Namespace, model: SamModel, prompts: dict[str, Box], take: Take) -> None:
    """The clip through `TrackStage`, a window at a time, its state saved after each."""
    paths = sorted(options.clip.iterdir(), key=lambda path: int(path.stem))
    config = TrackConfig(plain_subjects(ObjectPrompt(box=prompts["object"]), person_box=prompts["person"]))
    known = {"decode": {"clip_frames_min16": min(len(paths), 16)}}
    start, stop = 0, min(options.window, len(paths))
    with TrackStage(config, model, lambda _, name, tracked: take(name, tracked.logits)) as stage:
        while start < len(paths):
            frames = np.stack([np.array(Image.open(path).convert("RGB")) for path in paths[start:stop]])
            new = Span(start, stop)
            stage.process(Window(0, new, new, new, stop == len(paths), new.frames), Inputs({"frames": frames}, known))
            stage.get_state().to_parts()
            start, stop = stop, min(stop + options.window - options.overlap, len(paths))


if __name__ == "__main__":
    run_main(main)
