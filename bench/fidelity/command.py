"""`skate bench fidelity`."""

from pathlib import Path
from typing import Any

import click

from storage.errors import UsageError
from stream.cli.options import GroupedCommand, option, options_of, stack
from stream.options.table import GENERATION, TRACKING
from stream.options.values import FILE, FOLDER

_MINI = {"sam": "mini", "pose": "mini", "detector": "mini"}
_ITS_OWN = ("--out", "--overwrite", "--box", "--point", "--object-mask", "--prompt-frame", "--scene", "--gate")


@click.command("fidelity", cls=GroupedCommand)
@stack(
    [
        option("bench", "--out", type=FOLDER, required=True, help="Folder for the results."),
        option("bench", "--quick", is_flag=True, help="One clip and half the faults: minutes. Else all: an hour."),
        option(
            "bench",
            "--results",
            type=FOLDER,
            help="Also judge these: a video CLIP.mp4 a clip, in a folder a method.",
        ),
        option(
            "bench", "--self", "itself", is_flag=True, help="Instead: a clip made into itself, and how close it stays."
        ),
        option("bench", "--record", type=FILE, help="Also write fidelity.json there."),
        options_of(TRACKING, GENERATION, without=_ITS_OWN, defaults=_MINI),
    ]
)
def fidelity_command(
    out: str, quick: bool, results: str | None, itself: bool, record: str | None, **options: Any
) -> int:
    """How well an interaction survives a method, and how well faults are found: rendered clips, planted faults.

    Leaves fidelity.json, pictures, every clip's run (clips/) and what was found (values/) in --out; what is there is
    not judged again. The generator given is one of the methods; models are the mini ones unless others are given.
    """
    from bench.fidelity.report import run_fidelity, run_self

    as_json = options.pop("as_json")
    written = Path(record) if record else None
    if itself:
        if results is not None:
            raise UsageError("--self makes a clip of its own: leave --results out")
        return run_self(Path(out), quick, options, as_json, written)
    place = Path(results) if results is not None else None
    return run_fidelity(Path(out), quick, place, options, as_json, written)
