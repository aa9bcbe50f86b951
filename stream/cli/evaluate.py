"""`skate evaluate`."""

import json
import math
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from storage.errors import UsageError
from stream.cli.options import INPUT_OPTIONS, JSON, MODEL_OPTIONS, PROMPT_OPTIONS, GroupedCommand, option, stack

if TYPE_CHECKING:
    from stream.report.evaluate import FrameIou

_SAM_OPTIONS = MODEL_OPTIONS[:2]
_FOR_RUNS = ("run", "iou_threshold", "quiet", "as_json")


@click.command("evaluate", cls=GroupedCommand)
@click.argument("run", required=False, type=click.Path(file_okay=False))
@stack(
    [
        option("elsewhere", "--metadata", type=click.Path(dir_okay=False), help="tracking_metadata.json of an export."),
        option("elsewhere", "--original", type=click.Path(), help="Source masks: a folder of PNGs, or a video."),
        option("elsewhere", "--generated", type=click.Path(dir_okay=False), help="The video to judge."),
        *PROMPT_OPTIONS,
        INPUT_OPTIONS[1],
        *_SAM_OPTIONS,
        option("gate", "--iou-threshold", type=float, help="All must be above.  [default: the run's, or 0.90]"),
        option("limits", "--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", help="For SAM 2.1."),
        option("output", "--quiet", is_flag=True, help="No line a frame."),
        JSON,
    ]
)
def evaluate_command(run: str | None, **options: Any) -> int:
    """The gate alone: is the object still where it was?

    \b
    skate evaluate RUN                                       a finished or unfinished run, its segments scored again
    skate evaluate --metadata tracking_metadata.json --generated VIDEO    a video made elsewhere from an export
    skate evaluate --original MASKS --generated VIDEO --box x1,y1,x2,y2   masks made elsewhere too
    """
    quiet, as_json = options["quiet"], options["as_json"]
    frames = _scored(run, options)
    collected: list[FrameIou] = []
    for row in frames:
        collected.append(row)
        if not quiet and not as_json:
            click.echo(str(row))
    return _verdict(collected, as_json, _left(run))


def _left(run: str | None) -> str | None:
    from stream.report import evaluate

    return None if run is None else evaluate.left_to_encode(Path(run))


def _refuse_choices() -> None:
    """A run is judged as it was made: what says otherwise is not passed over without a word."""
    context = click.get_current_context()
    for parameter in context.command.params:
        source = context.get_parameter_source(str(parameter.name))
        if source == click.core.ParameterSource.COMMANDLINE and parameter.name not in _FOR_RUNS:
            raise UsageError(
                f"{parameter.opts[0]} does not go with RUN, judged with the prompt and model it was made with: "
                "leave it out, or use --original with --generated"
            )


def _scored(run: str | None, options: dict[str, Any]) -> Iterator["FrameIou"]:
    given = [run is not None, options["metadata"] is not None, options["original"] is not None]
    if sum(given) != 1:
        raise UsageError(
            "evaluate takes one of: RUN; --metadata FILE --generated VIDEO; --original MASKS --generated VIDEO"
        )
    from stream.report import evaluate

    if run is not None:
        _refuse_choices()
        yield from evaluate.evaluate_run(Path(run), options["iou_threshold"])
        return
    if options["generated"] is None:
        raise UsageError("--generated VIDEO is missing: the video to judge")
    yield from _elsewhere(options)


def _elsewhere(options: dict[str, Any]) -> Iterator["FrameIou"]:
    from stages._sam.model import SamModel
    from stream.options.assembly import resolve_models, sam_config
    from stream.options.config import RunConfig
    from stream.options.settings import corrections_from_options, prompt_from_options, resolve_device
    from stream.report import evaluate

    device = resolve_device(options["device"])
    threshold = 0.90 if options["iou_threshold"] is None else options["iou_threshold"]
    if options["metadata"] is not None:
        reference, values = evaluate.read_reference(Path(options["metadata"]))
        config = RunConfig.from_json({**values, **_given_sam(options), "device": device})
    else:
        prompt = prompt_from_options(dict(options))
        corrections = corrections_from_options(dict(options))
        reference = evaluate.Reference(Path(options["original"]), prompt, corrections)
        config = RunConfig(prompt, sam=options["sam"], sam_config=options["sam_config"], device=device)
    with closing(SamModel(sam_config(config, resolve_models(config, only=("sam",))))) as model:
        yield from evaluate.evaluate_video(reference, Path(options["generated"]), model, threshold)


def _given_sam(options: dict[str, Any]) -> dict[str, Any]:
    """--sam and --sam-config where they are given: the model of the metadata may lie elsewhere on this machine."""
    source = click.get_current_context().get_parameter_source("sam")
    if source != click.core.ParameterSource.COMMANDLINE:
        return {}
    return {"sam": options["sam"], "sam_config": options["sam_config"]}


def _verdict(rows: list["FrameIou"], as_json: bool, left: str | None) -> int:
    scored = [row for row in rows if not math.isnan(row.iou)]
    failed = [row.frame for row in scored if not row.passed]
    spans: list[list[int]] = []
    for frame in failed:
        if spans and spans[-1][1] == frame:
            spans[-1][1] = frame + 1
        else:
            spans.append([frame, frame + 1])
    gate = None if not scored else "failed" if failed else "passed"
    worst = min(scored, key=lambda row: row.iou, default=None)
    mean = sum(row.iou for row in scored) / len(scored) if scored else None
    if as_json:
        click.echo(
            json.dumps(
                {
                    "event": "done",
                    "frames": len(rows),
                    "gate": gate,
                    "left": left,
                    "iou_mean": mean,
                    "iou_min": worst.iou if worst else None,
                    "iou_min_frame": worst.frame if worst else None,
                    "failed_frames": spans,
                    "iou": [None if math.isnan(row.iou) else row.iou for row in rows],
                }
            )
        )
        return 1 if failed else 0
    if worst is None:
        click.echo("no frame is tracked: there is nothing to judge")
        return 0
    click.echo(f"minimum: IoU {worst.iou:.4f} at frame {worst.frame}, mean {mean:.4f} over {len(scored)} frames")
    if spans:
        click.echo(f"failed: {len(failed)} frames in {', '.join(f'[{a}, {b})' for a, b in spans)}")
    click.echo(f"gate {gate}" + (f"; {left}" if left else ""))
    return 1 if failed else 0
