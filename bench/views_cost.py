"""What views cost: CPU seconds of every node of a mini run, without views, with the generator's, with tracking's.

    python -m bench.views_cost [--frames 73] [--clip-size 640x360] [--record bench/records/views_cost.json]

Three runs of the handheld demo clip in this process, one after the other, torch with one thread:

    plain     --view full
    view      --view follow --stabilise 30
    track     --view full --track-view follow

Seconds are those of the thread that carries a node's work out: other work on the machine hardly counts. The
generator's view costs what `aim`, `motion` and `view` take, and what generating and compositing take more than
in `plain`, as a share of the CPU of the whole run; tracking through views what `look`, `closer` and `track` take
more than `track` in `plain`, the pass through views what `track` alone takes more.
"""

import argparse
import time
from collections import defaultdict
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from bench._common import new_record, run_main, write_record
from stages.picture import mask_box
from stages.prompts import ObjectPrompt
from stream.demo import DemoConfig, Scene
from stream.demo.clip import write_clip
from stream.engine.chain import Chain
from stream.options.config import RunConfig
from stream.options.values import SIZE
from stream.report.tables import text_table
from stream.run.lifecycle import start

WAYS: dict[str, dict[str, Any]] = {
    "plain": {"view": "full"},
    "view": {"view": "follow", "stabilise": 30},
    "track": {"view": "full", "track_view": "follow"},
}
LOOKING, SHOWING, FOLLOWING = ("aim", "motion", "view"), ("generate", "composite"), ("look", "closer", "track")
MOST_VIEW, MOST_TRACK = 0.15, 0.60

Seconds = dict[str, float]


def cpu_seconds(config: RunConfig, folder: Path) -> Seconds:
    """CPU seconds by node, and of the whole run as `run`."""
    spent: Seconds = defaultdict(float)

    def counted(name: str, work: Any, *given: Any) -> Any:
        begun = time.thread_time()
        try:
            return work(*given)
        finally:
            spent[name] += time.thread_time() - begun

    def listening(chain: Chain) -> Chain:
        for node in chain:
            node.stage.process = partial(counted, node.name, node.stage.process)  # type: ignore[method-assign]
        return chain

    begun = time.process_time()
    start(config, folder, extend=listening)
    return {**spent, "run": time.process_time() - begun}


def measure(clip: DemoConfig, window: int = 41, overlap: int = 9) -> dict[str, Seconds]:
    """By way, what `cpu_seconds` gives."""
    import torch

    torch.set_num_threads(1)
    with TemporaryDirectory() as folder:
        video = Path(folder) / "clip.mp4"
        write_clip(clip, video)
        prompt = ObjectPrompt(box=mask_box(Scene(clip).frame(0).object_mask))
        plain: dict[str, Any] = {
            "sam": "mini",
            "pose": "mini",
            "detector": "mini",
            "window": window,
            "overlap": overlap,
        }
        return {
            name: cpu_seconds(RunConfig(prompt, video=str(video), **plain, **way), Path(folder) / name)
            for name, way in WAYS.items()
        }


def shares(found: Mapping[str, Seconds]) -> dict[str, dict[str, Any]]:
    """What is promised, and whether it holds."""
    plain, view, track = (found[name] for name in WAYS)
    more = sum(view[name] for name in LOOKING) + sum(view[name] - plain[name] for name in SHOWING)
    looked = sum(track[name] for name in FOLLOWING)
    values = (
        ("the generator's view, of the run", more / view["run"], MOST_VIEW),
        ("tracking through views, more than tracking", looked / plain["track"] - 1, MOST_TRACK),
        ("the pass through views, more than tracking", track["track"] / plain["track"] - 1, MOST_TRACK),
    )
    return {
        name: {"value": round(value, 3), "noise": 0.0, "better": "lower", "most": most, "holds": value <= most}
        for name, value, most in values
    }


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(prog="python -m bench.views_cost", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--frames", type=int, default=73)
    parser.add_argument("--clip-size", type=SIZE.read, default=(640, 360))
    parser.add_argument("--record", type=Path, help="write the results there as JSON")
    options = parser.parse_args()
    width, height = options.clip_size
    found = measure(DemoConfig(options.frames, width, height, camera="handheld"))
    names = list(dict.fromkeys(name for seconds in found.values() for name in seconds))
    print(
        text_table(("CPU seconds", *found), [[n, *(f"{each.get(n, 0):.2f}" for each in found.values())] for n in names])
    )
    judged = shares(found)
    print(
        text_table(
            ("", "share", "at most"), [[n, f"{row['value']:.3f}", f"{row['most']:g}"] for n, row in judged.items()]
        )
    )
    settings = {"frames": options.frames, "clip": f"demo {width}x{height} handheld"}
    seconds = {name: {n: round(value, 3) for n, value in each.items()} for name, each in found.items()}
    write_record(new_record("views_cost", settings) | {"seconds": seconds, "ratios": judged}, options.record)


if __name__ == "__main__":
    run_main(main)
