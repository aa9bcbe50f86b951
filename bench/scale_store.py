"""What a run in a bucket asks of the object store: requests and bytes of a clip, of a window, and of opening it again.

    python -m bench.scale_store [--record bench/records/scale_store.json]

Three clips of one, three and six windows on moto's S3 server, by the packaged models and the preview generator; a
finished run is then opened once more, as a worker does that takes the next piece. Requests are those of
`storage/bucket.py`: a large object's parts count as one. A line through the three gives what a clip and a window ask.
"""

import argparse
import io
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np

from bench._common import ROOT, run_main, write_record
from bench.machine import command_line, machine
from stages.picture import mask_box
from storage.bucket import Bucket
from stream.cli import main as cli
from stream.demo import DemoConfig, Scene
from stream.demo.clip import write_clip
from stream.report.tables import text_table

sys.path.insert(0, str(ROOT / "tests"))
from _s3 import BUCKET, environment, shared_server

KINDS = {
    "create": "put", "put": "put", "copy": "put", "get": "get", "get_range": "get", "fetch": "get", "digest": "get",
    "head": "get", "list": "list", "delete": "delete",
}  # fmt: skip
WINDOW, OVERLAP = 9, 4
WINDOWS = (1, 3, 6)


@contextmanager
def counting() -> Iterator[Counter[str]]:
    """Requests by kind while it is open, and `bytes` written."""
    found: Counter[str] = Counter()
    before = {name: getattr(Bucket, name) for name in KINDS}

    def counted(name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def method(self: Bucket, *args: Any, **more: Any) -> Any:
            found[KINDS[name]] += 1
            if name in ("create", "put"):
                data = args[1]
                found["bytes"] += len(data) if isinstance(data, bytes) else data.stat().st_size
            return call(self, *args, **more)

        return method

    try:
        for name, call in before.items():
            setattr(Bucket, name, counted(name, call))
        yield found
    finally:
        for name, call in before.items():
            setattr(Bucket, name, call)


def skate(*words: str) -> Counter[str]:
    """What a command asks of the store."""
    said = io.StringIO()
    with counting() as found, redirect_stdout(io.StringIO()), redirect_stderr(said):
        try:
            cli(list(words))
        except SystemExit as ended:
            if ended.code not in (0, 1):
                told = said.getvalue().strip()[-1000:]
                raise SystemExit(f"skate {words[0]} ended with {ended.code}: {told}") from ended
    return found


def measured(windows: int, folder: Path, width: int, height: int) -> tuple[Counter[str], Counter[str]]:
    """Of a run of so many windows, and of opening it again."""
    demo = DemoConfig(WINDOW + (windows - 1) * (WINDOW - OVERLAP), width, height, seed=1)
    clip, out = folder / f"clip{windows}.mp4", f"s3://{BUCKET}/scale/run{windows}"
    write_clip(demo, clip)
    box = ",".join(f"{value:g}" for value in mask_box(Scene(demo).frame(0).object_mask))
    mini = [word for kind in ("sam", "pose", "detector") for word in (f"--{kind}", "mini")]
    plan = ["--window", str(WINDOW), "--overlap", str(OVERLAP), "--scratch", str(folder / "scratch")]
    run = skate("run", str(clip), "--out", out, "--box", box, *mini, *plan)
    from storage import remote

    remote._runs.clear()  # as another process: it knows nothing of the run
    return run, skate("resume", out, "--scratch", str(folder / "scratch"))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=lambda text: tuple(map(int, text.split("x"))), default=(160, 96))
    parser.add_argument("--record", type=Path)
    given = parser.parse_args()
    import os

    os.environ.update(environment(shared_server()))
    with tempfile.TemporaryDirectory() as folder:
        found = {count: measured(count, Path(folder), *given.size) for count in WINDOWS}
    kinds = ("put", "get", "list", "delete", "bytes")
    table: dict[str, dict[str, float]] = {}
    for kind in kinds:
        window, clip = np.polyfit(WINDOWS, [found[count][0][kind] for count in WINDOWS], 1)
        again, opened = np.polyfit(WINDOWS, [found[count][1][kind] for count in WINDOWS], 1)
        table[kind] = {
            name: round(float(value), 2)
            for name, value in (("clip", clip), ("window", window), ("opening", opened), ("window_there", again))
        }
    print(
        text_table(
            ("", *table["put"]), [[kind, *(f"{value:.2f}" for value in row.values())] for kind, row in table.items()]
        )
    )
    write_record(
        {
            "bench": "scale_store", "command": command_line("bench.scale_store"), "machine": machine(),
            "windows": list(WINDOWS), "window": WINDOW, "overlap": OVERLAP, "size": list(given.size),
            "requests": {str(count): {"run": run, "opened": opened} for count, (run, opened) in found.items()},
            "fitted": table,
        },
        given.record,
    )  # fmt: skip


if __name__ == "__main__":
    run_main(main)
