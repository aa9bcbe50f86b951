"""`skate evaluate`."""

import dataclasses
import json
import math
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from storage.address import run_path
from storage.errors import InputError, UsageError
from stream.cli.options import JSON, SCRATCH, GroupedCommand, chosen, from_table, option, stack, was_given
from stream.cli.say import say
from stream.options.table import picked
from stream.options.values import FILE, FRAMES, PATH

if TYPE_CHECKING:
    from stream.report.evaluate import FrameIou
    from stream.report.reference import Reference

_FOR_RUNS = ("run", "iou_threshold", "gate", "baselines", "quiet", "as_json", "scratch")


@click.command("evaluate", cls=GroupedCommand)
@click.argument("run", required=False, type=click.Path(file_okay=False))
@stack(
    [
        option("elsewhere", "--metadata", type=FILE, help="tracking_metadata.json of an export."),
        option("elsewhere", "--original", type=PATH, help="Source masks: a folder of PNGs, or a video."),
        option("elsewhere", "--generated", type=FILE, help="The video to judge."),
        option("elsewhere", "--frames", type=FRAMES, help="That VIDEO shows, where it is a part: A to before B."),
        chosen("box", "point", "object_mask", "prompt_frame", "correct", "sam", "sam_config"),
        from_table(
            *picked("iou_threshold"), default=None, help="All must be above.  [default: the run's, or 0.90]", short=True
        ),
        from_table(*picked("gate"), default=None, help="Of RUN: these metrics.  [default: the run's]", short=True),
        from_table(
            *picked("baselines"),
            default=None,
            help="Of RUN: also the source itself, and a blur.  [default: on]",
            short=True,
        ),
        from_table(*picked("device"), help="For SAM 2.1."),
        option("output", "--quiet", is_flag=True, help="No line a frame."),
        SCRATCH,
        JSON,
    ]
)
def evaluate_command(run: str | None, **options: Any) -> int:
    """The gate alone: is the object still where it was?

    \b
    skate evaluate RUN                                       a finished or unfinished run, its segments scored again
    skate evaluate --metadata tracking_metadata.json --generated VIDEO    a video made elsewhere from an export
    skate evaluate --original MASKS --generated VIDEO        masks made elsewhere too

    Where no prompt is given, the first mask that is not empty is it.
    """
    quiet, as_json = options["quiet"], options["as_json"]
    notes: list[str] = []

    def tell(note: str) -> None:
        notes.append(note)
        say(f"note: {note}", err=True)

    frames = _scored(run, options, tell)
    collected: list[FrameIou] = []
    for row in frames:
        collected.append(row)
        if not quiet and not as_json:
            say(str(row))
    return _verdict(collected, as_json, _left(run), notes)


def _left(run: str | None) -> str | None:
    from stream.report import evaluate

    return None if run is None else evaluate.left_to_encode(run_path(run))


def _refuse_choices() -> None:
    """A run is judged as it was made: what says otherwise is not passed over without a word."""
    context = click.get_current_context()
    for parameter in context.command.params:
        if was_given(str(parameter.name)) and parameter.name not in _FOR_RUNS:
            raise UsageError(
                f"{parameter.opts[0]} does not go with RUN, judged with the prompt and model it was made with: "
                "leave it out, or use --original with --generated"
            )


def _scored(run: str | None, options: dict[str, Any], tell: Callable[[str], None]) -> Iterator["FrameIou"]:
    given = [run is not None, options["metadata"] is not None, options["original"] is not None]
    if sum(given) != 1:
        raise UsageError(
            "evaluate takes one of: RUN; --metadata FILE --generated VIDEO; --original MASKS --generated VIDEO"
        )
    from stream.report import evaluate

    if run is not None:
        _refuse_choices()
        baselines = options["baselines"] is not False
        for row in evaluate.evaluate_run(run_path(run), options["iou_threshold"], options["gate"], baselines):
            if baselines:
                say(
                    "note: the source itself and a blur are tracked too, which takes three times as long: "
                    "--no-baselines leaves them out",
                    err=True,
                )
                baselines = False  # said once, and not before an error
            yield row
        return
    if options["baselines"]:
        raise UsageError("--baselines goes with RUN: of a video made elsewhere the source is not at hand, leave it out")
    if options["gate"] is not None:
        raise UsageError("--gate goes with RUN: a video made elsewhere is judged by its IoU alone, leave it out")
    if options["generated"] is None:
        raise UsageError("--generated VIDEO is missing: the video to judge")
    yield from _elsewhere(options, tell)


def _elsewhere(options: dict[str, Any], tell: Callable[[str], None]) -> Iterator["FrameIou"]:
    from stages.sam.model import SamModel
    from stream.options.assembly import resolve_models, sam_config
    from stream.options.config import RunConfig
    from stream.options.settings import resolve_device
    from stream.report import evaluate
    from stream.report.reference import read_reference

    device = resolve_device(options["device"])
    threshold = 0.90 if options["iou_threshold"] is None else options["iou_threshold"]
    if options["metadata"] is not None:
        _refuse_prompts()
        reference, exported = read_reference(Path(options["metadata"]))
        config = dataclasses.replace(exported, **_given_sam(options), device=device)
    else:
        reference = _pointed_at(options, tell)
        config = RunConfig(reference.prompt, sam=options["sam"], sam_config=options["sam_config"], device=device)
    with closing(SamModel(sam_config(config, resolve_models(config, only=("sam",))))) as model:
        generated = Path(options["generated"])
        yield from evaluate.evaluate_video(reference, generated, model, threshold, options["frames"], tell)


def _refuse_prompts() -> None:
    """An export says itself how the object was pointed at."""
    for name in ("box", "point", "object_mask", "prompt_frame", "correct"):
        if was_given(name):
            option_name = f"--{name.replace('_', '-')}"
            raise UsageError(f"{option_name} does not go with --metadata, which holds the prompt: leave it out")


def _pointed_at(options: dict[str, Any], tell: Callable[[str], None]) -> "Reference":
    """The masks with the prompt that was given, else with a box around the first mask that is not empty.

    Raises:
        InputError: when a prompt or correction does not lie in --frames, or all masks are empty.
    """
    from stages.given import first_prompt
    from stages.order import order_note
    from stages.subjects import OBJECT
    from stream.options.settings import corrections_from_options, prompt_from_options
    from stream.report.reference import Reference, prompt_text

    masks, frames = Path(options["original"]), options["frames"]
    first, stop = frames or (0, None)
    note = order_note(masks, ".png")
    if note is not None:
        tell(note)
    if options["box"] is None and not options["point"] and options["object_mask"] is None:
        begin = max(first, options["prompt_frame"])
        prompt = first_prompt(masks, option="--original", first=begin, stop=stop)
        tell(prompt_text(prompt))
    else:
        prompt = prompt_from_options(dict(options))
    corrections = corrections_from_options(dict(options), OBJECT)[OBJECT]
    asked = [("--prompt-frame", prompt.frame), *(("--correct", item.frame) for item in corrections)]
    for option_name, frame in asked:
        if frame < first or (stop is not None and frame >= stop):
            raise InputError(f"{option_name} {frame} does not lie in --frames {first}:{stop}")
    return Reference(masks, prompt, corrections)


def _given_sam(options: dict[str, Any]) -> dict[str, Any]:
    """--sam and --sam-config where they are given: the model of the metadata may lie elsewhere on this machine."""
    if not was_given("sam"):
        return {}
    return {"sam": options["sam"], "sam_config": options["sam_config"]}


def _baselines(rows: list["FrameIou"]) -> tuple[dict[str, Any] | None, dict[str, int] | None]:
    """What was judged beside the result, and whose its failing frames are; both None where that is not known."""
    import numpy as np

    from stages.metrics import flag_spans

    judged = [row.baselines for row in rows if row.baselines is not None]
    if not judged:
        return None, None
    found = {}
    for name in judged[0]:
        known = [each[name][0] for each in judged if not math.isnan(each[name][0])]
        failed = flag_spans(np.array([not each[name][1] for each in judged]), rows[0].frame)
        found[name] = {"iou_mean": sum(known) / len(known) if known else None, "failed_frames": failed}
    tracker = sum(bool(row.by_tracker) for row in rows)
    return found, {"generator": sum(not row.passed for row in rows) - tracker, "tracker": tracker}


def _verdict(rows: list["FrameIou"], as_json: bool, left: str | None, notes: list[str]) -> int:
    import numpy as np

    from stages.metrics import flag_spans, summarise_iou
    from stream.report.closing import blame_lines, spans_text

    found = summarise_iou(np.array([row.iou for row in rows]), -math.inf)
    if found.minimum is None or found.minimum_frame is None:
        more = f"; {left}" if left else ""
        raise InputError(f"the object is tracked on none of {len(rows)} frames: there is nothing to judge{more}")
    spans = flag_spans(np.array([not row.passed for row in rows]), rows[0].frame)
    baselines, blame = _baselines(rows)
    gate, worst = "failed" if spans else "passed", rows[found.minimum_frame].frame
    if as_json:
        say(
            json.dumps(
                {
                    "event": "done",
                    "frames": len(rows),
                    "gate": gate,
                    "left": left,
                    "notes": notes,
                    "iou_mean": found.mean,
                    "iou_min": found.minimum,
                    "iou_min_frame": worst,
                    "failed_frames": spans,
                    "baselines": baselines,
                    "failed_by": blame,
                    "iou": [None if math.isnan(row.iou) else row.iou for row in rows],
                }
            )
        )
        return 1 if spans else 0
    say(f"minimum: IoU {found.minimum:.4f} at frame {worst}, mean {found.mean:.4f} over {found.frames} frames")
    for name, each in (baselines or {}).items():
        count = sum(b - a for a, b in each["failed_frames"])
        mean = "never tracked" if each["iou_mean"] is None else f"mean {each['iou_mean']:.4f}"
        say(f"{name}: {mean}, {count} failing")
    if spans:
        say(f"failed: {sum(b - a for a, b in spans)} frames in {spans_text(spans, len(spans))}")
    for line in blame_lines(blame):
        say(line.strip())
    say(f"gate {gate}" + (f"; {left}" if left else ""))
    return 1 if spans else 0
