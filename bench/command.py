"""`skate bench`: a run with every step measured."""

import json
from pathlib import Path
from typing import Any

import click

from stages.bounds import CLIP_FRAMES, CLIP_SEED, CLIP_SIDE
from stream.cli.options import GroupedCommand, option, options_of, stack, was_given
from stream.options.table import GENERATION, TRACKING
from stream.options.values import FILE, FOLDER, INTEGER, SIZE

_NOT_FOR_BENCH = ("--out", "--overwrite")
_MINI = {"sam": "mini", "pose": "mini", "detector": "mini"}
DEMO_FRAMES = 201


class _Bench(GroupedCommand):
    """`skate bench VIDEO`; `skate bench fidelity` is a command of its own."""

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        if args[:1] != ["fidelity"]:
            return super().make_context(info_name, args, parent, **extra)
        from bench.fidelity.command import fidelity_command

        return fidelity_command.make_context(f"{info_name} fidelity", args[1:], parent, **extra)


@click.command("bench", cls=_Bench)
@click.argument("video")
@stack(
    [
        option("bench", "--out", type=FOLDER, required=True, help="Folder for the results."),
        option(
            "bench",
            "--record",
            type=FILE,
            help="Also a record: bench.json with series for its rows.",
        ),
        option(
            "bench",
            "--frames",
            type=INTEGER,
            bounds=CLIP_FRAMES,
            help="Of the clip's start.  [default: all; demo: 201]",
        ),
        option("bench", "--clip-size", type=SIZE, bounds=CLIP_SIDE, default="640x360", help="Of the demo clip."),
        option("bench", "--clip-seed", type=INTEGER, bounds=CLIP_SEED, default=1, help="Its scene."),
        options_of(TRACKING, GENERATION, without=_NOT_FOR_BENCH),
    ]
)
def bench_command(
    video: str,
    out: str,
    record: str | None,
    frames: int | None,
    clip_size: tuple[int, int],
    clip_seed: int,
    **options: Any,
) -> int:
    """Run VIDEO, or `demo`, and measure every stage of every window: seconds, RSS, VRAM, bytes, waits.

    Leaves bench.json, memory.png, time.png, lanes.png and the run (run/) in --out. The demo uses the mini models.
    """
    from bench._common import write_record
    from bench.machine import command_line
    from bench.measure import BenchClip, run_bench
    from bench.summary import record_of, text
    from stream.progress.listeners import fitting_listener

    as_json = options.pop("as_json")
    if video == "demo":
        for name, value in _MINI.items():
            if not was_given(name):
                options[name] = value
        frames = frames or DEMO_FRAMES
    clip = BenchClip(video, frames, clip_size, clip_seed)
    with fitting_listener(as_json) as listener:
        found = run_bench(clip, Path(out), options, listener, command_line("skate"))
    if record is not None:
        write_record(record_of(found), Path(record))
    done = {"event": "done", **found["run"], "run": str(Path(out) / "run"), "bench": str(Path(out) / "bench.json")}
    click.echo(json.dumps(done) if as_json else text(found))
    return 0
