"""`skate generate`: another variation from tracking that is done."""

from pathlib import Path
from typing import Any

import click

from storage.errors import UsageError
from stream.cli.options import GroupedCommand, options_of, was_given
from stream.cli.run import carry_out
from stream.options.table import GENERATION, GIVEN


@click.command("generate", cls=GroupedCommand)
@click.argument("source", metavar="RUN|VIDEO")
@options_of(GENERATION, GIVEN)
def generate_command(source: str, **options: Any) -> int:
    """Generate from tracking that is done.

    \b
    skate generate RUN --out RUN2 --prompt ...        masks and poses of an extracted or finished run
    skate generate VIDEO --masks ... --pose ... --out RUN2 ...    masks and poses made elsewhere

    With RUN, options that are not given are those of RUN; its models and windows stay.
    """
    out, as_json, overwrite = Path(options.pop("out")), options.pop("as_json"), options.pop("overwrite")
    masks, person_masks, pose_file = (options.pop(name) for name in ("masks", "person_masks", "pose_file"))
    if (masks is None) != (pose_file is None):
        raise UsageError("--masks and --pose belong together: give both with a VIDEO, or neither with a RUN")
    if masks is None and person_masks is not None:
        raise UsageError("--person-masks: belongs to a VIDEO with --masks and --pose; a RUN has its own")
    if masks is None and Path(source).is_file():
        raise UsageError(
            f"{source} is a video: give its tracking with --masks and --pose, or run it (`skate run`, `skate extract`) "
            "and give the run directory"
        )
    if masks is None:
        return _from_run(source, out, options, overwrite, as_json)
    from stages.order import order_note
    from stream.options.settings import given_config
    from stream.run.lifecycle import start

    persons = None if person_masks is None else Path(person_masks)
    config = given_config(source, Path(masks), persons, Path(pose_file), options, out)
    for folder, pattern in ((masks, "*.png"), (person_masks, "*.png"), (pose_file, "*.json"), (pose_file, "*.png")):
        note = None if folder is None else order_note(Path(folder), pattern)
        if note is not None:
            click.echo(f"note: {note}", err=True)
    return carry_out(lambda listener: start(config, out, overwrite, listener), as_json)


def _from_run(source: str, out: Path, options: dict[str, Any], overwrite: bool, as_json: bool) -> int:
    from stream.run.variation import generate_from_run

    chosen = {name: value for name, value in options.items() if was_given(name)}
    if set(chosen) & {"max_fetch", "fetch_timeout"}:
        raise UsageError(f"--max-fetch and --fetch-timeout are for a VIDEO by address, {source} is a run directory")
    fixed = sorted(set(chosen) & {"window", "overlap", "sam", "sam_config", "device", "hdr", "on_cut", "cuts"})
    if fixed:
        raise UsageError(f"--{fixed[0].replace('_', '-')}: stays as in {source}, whose tracking is used again")
    return carry_out(lambda listener: generate_from_run(Path(source), out, chosen, overwrite, listener), as_json)
