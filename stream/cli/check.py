"""`skate check`."""

import json

import click

from stream.cli.options import JSON, GroupedCommand, option, stack
from stream.cli.say import say
from stream.options.values import FILE

CHECK_OPTIONS = [
    option("models", "--sam", help="Name or path.  [default shown: small]"),
    option("models", "--sam-config", type=FILE, help="YAML of a checkpoint given by path."),
    option("models", "--pose", help="Name or path.  [default shown: dwpose-l-384]"),
    option("models", "--detector", help="Name or path.  [default shown: yolox-m]"),
    option("generation", "--server", multiple=True, metavar="HOST:PORT", help="A ComfyUI server; repeatable."),
    option(
        "generation",
        "--workflow",
        type=FILE,
        metavar="NAME|FILE",
        help="In place of those that come along.",
    ),
    option("limits", "--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", help="For all models."),
    JSON,
]


@click.command("check", cls=GroupedCommand)
@stack(CHECK_OPTIONS)
def check(
    sam: str | None,
    sam_config: str | None,
    pose: str | None,
    detector: str | None,
    server: tuple[str, ...],
    workflow: str | None,
    device: str,
    as_json: bool,
) -> int:
    """What is installed, which devices and providers work, which weights are there, and whether ComfyUI is ready.

    Everything is really tried. Exit 4 if something is missing that the given options need; what is only missing for
    other options is shown as absent.
    """
    from stream.check.checks import all_rows, verdict
    from stream.check.rows import Row

    rows: list[Row] = []
    for row in all_rows(device, {"sam": sam, "pose": pose, "detector": detector}, sam_config, server, workflow):
        rows.append(row)
        if as_json:
            say(json.dumps(row.to_json()))
            continue
        state = "ok" if row.ok else "MISSING" if row.needed else "absent"
        say(f"{state:<8} {row.name:<28} {row.detail}")
        if not row.ok:
            say(f"{'':<8} {'':<28} -> {row.remedy}")
    verdict(rows)
    return 0
