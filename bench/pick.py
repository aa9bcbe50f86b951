"""What a mask of `skate pick` takes, from the question to the answer: processor seconds, and seconds on this machine.

    python -m bench.pick [--frames 12] [--sam mini] [--record FILE]

The page's server is asked as the page asks it: a frame, its features, then a mask by a box and one by a point.
"""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import requests

from bench._common import write_record
from bench.machine import command_line, machine
from stages.picture import mask_box
from stream.demo import DemoConfig, Scene
from stream.demo.clip import write_clip
from stream.pick.desk import Desk
from stream.pick.sam import still_sam
from stream.pick.serve import serve

ASKED = ("frame", "features", "box", "point")


def timed(work: Callable[[], requests.Response]) -> tuple[float, float]:
    """Processor seconds of this process, server and asker alike, and seconds."""
    begun = time.process_time(), time.monotonic()
    answer = work()
    took = time.process_time() - begun[0], time.monotonic() - begun[1]
    if answer.status_code != 200:
        raise SystemExit(f"{answer.url.partition('?')[0]}: {answer.text}")
    return took


def measured(given: argparse.Namespace, folder: Path) -> dict[str, list[tuple[float, float]]]:
    """By what is asked, of each frame what it took; of the first one, which loads the model, under `first`."""
    width, height = given.size
    demo, clip = DemoConfig(frames=given.frames, width=width, height=height), folder / "clip.mp4"
    write_clip(demo, clip)
    scene = Scene(demo)
    desk = Desk(clip, folder / "scene.toml", still_sam(given.sam, None, given.device))
    served = serve(desk)
    base, _, token = served.address.partition("/?token=")
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in (*ASKED, "first")}
    with requests.Session() as session:
        session.headers["X-Skate-Token"] = token
        for frame in range(given.frames):
            box = mask_box(scene.frame(frame).object_mask)
            at = [(box[0] + box[2]) / 2, (box[1] + box[3]) / 2, 1]
            asked: dict[str, Any] = {
                "features": ("/api/ready", {"frame": frame}),
                "box": ("/api/mask", {"frame": frame, "box": list(box)}),
                "point": ("/api/mask", {"frame": frame, "points": [at]}),
            }
            found["frame"].append(timed(partial(session.get, f"{base}/api/frame/{frame}")))
            for name, (path, body) in asked.items():
                took = timed(partial(session.post, base + path, json=body))
                found["first" if frame == 0 and name == "features" else name].append(took)
    served.close()
    desk.close()
    return found


def main() -> None:
    """Measure, print and record."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--frames", type=int, default=12)
    parser.add_argument("--size", type=lambda text: tuple(map(int, text.split("x"))), default=(640, 360))
    parser.add_argument("--sam", default="mini")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--record", type=Path)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = measured(given, Path(folder))
    rows = {
        name: {
            "processor_seconds": round(statistics.median(each[0] for each in values), 3),
            "seconds": round(statistics.median(each[1] for each in values), 3),
            "most_seconds": round(max(each[1] for each in values), 3),
        }
        for name, values in found.items()
    }
    record = {
        "bench": "pick", "command": command_line("bench.pick"), "machine": machine(), "frames": given.frames,
        "size": list(given.size), "sam": given.sam, **rows,
    }  # fmt: skip
    print(json.dumps(record, indent=1))
    write_record(record, given.record)


if __name__ == "__main__":
    main()
