"""Options that several commands share, their types, and help that shows them in groups."""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import click

from storage.errors import UsageError
from storage.sizes import parse_size

F = TypeVar("F", bound=Callable[..., Any])


class GroupedOption(click.Option):
    """An option that belongs to a named group in the help."""

    def __init__(self, *args: Any, group: str = "options", **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.group = group


HELP_WIDTH = 118  # columns; a narrower terminal gets what it has


class GroupedCommand(click.Command):
    """A command whose help lists its options by group, one line each, so that it fits a screen."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs["context_settings"] = {"max_content_width": HELP_WIDTH, "help_option_names": ["-h", "--help"]}
        super().__init__(*args, **kwargs)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        groups: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):
            if isinstance(parameter, click.Argument):
                continue
            record = parameter.get_help_record(ctx)
            if record is not None:
                groups.setdefault(getattr(parameter, "group", "other"), []).append(record)
        names = max(len(row[0]) for rows in groups.values() for row in rows)
        formatter.write_paragraph()
        for name, rows in groups.items():
            formatter.write(f"{name.capitalize()}:\n")  # no blank lines between groups: they would not fit a screen
            with formatter.indentation():
                formatter.write_dl([(first.ljust(min(names, 36)), text) for first, text in rows], col_max=38)


def option(group: str, *names: str, **settings: Any) -> Callable[[F], F]:
    """A click option in a help group; defaults are shown."""
    settings.setdefault("show_default", settings.get("default") is not None and not settings.get("is_flag"))
    return click.option(*names, cls=GroupedOption, group=group, **settings)


class _Numbers(click.ParamType[Any]):
    """Comma-separated numbers, e.g. a box."""

    def __init__(self, form: str, count: tuple[int, ...]) -> None:
        self.name = form
        self.count = count

    def get_metavar(self, param: click.Parameter, ctx: click.Context | None = None) -> str:
        return self.name

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if not isinstance(value, str):
            return value
        try:
            numbers = tuple(float(part) for part in value.split(","))
        except ValueError:
            numbers = ()
        if len(numbers) not in self.count or not all(abs(number) < 1e9 for number in numbers):
            self.fail(f"'{value}' is not of the form {self.name}", param, ctx)
        return numbers


class _CorrectionType(click.ParamType[Any]):
    """FRAME:x1,y1,x2,y2."""

    name = "FRAME:x1,y1,x2,y2"

    def get_metavar(self, param: click.Parameter, ctx: click.Context | None = None) -> str:
        return self.name

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if not isinstance(value, str):
            return value
        frame, colon, box = value.partition(":")
        if not colon or not frame.isdigit():
            self.fail(f"'{value}' is not of the form {self.name}", param, ctx)
        return int(frame), BOX.convert(box, param, ctx)


class _SizeType(click.ParamType[Any]):
    """WxH in pixels."""

    name = "WxH"

    def get_metavar(self, param: click.Parameter, ctx: click.Context | None = None) -> str:
        return self.name

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if not isinstance(value, str):
            return value
        width, _, height = value.lower().partition("x")
        if not (width.isdigit() and height.isdigit() and int(width) > 0 and int(height) > 0):
            self.fail(f"'{value}' is not of the form WxH, e.g. 832x480", param, ctx)
        return int(width), int(height)


class _BytesType(click.ParamType[Any]):
    """A size such as 8GB, as bytes."""

    name = "SIZE"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if not isinstance(value, str):
            return value
        try:
            return parse_size(value)
        except UsageError as error:
            self.fail(str(error), param, ctx)


BOX = _Numbers("x1,y1,x2,y2", (4,))
POINT = _Numbers("x,y[,label]", (2, 3))
CORRECTION = _CorrectionType()
SIZE = _SizeType()
BYTES = _BytesType()


def stack(decorators: Sequence[Callable[[F], F]]) -> Callable[[F], F]:
    """One decorator out of several; the first stands first in the help."""

    def apply(function: F) -> F:
        for decorator in reversed(decorators):
            function = decorator(function)
        return function

    return apply


JSON = option("output", "--json", "as_json", is_flag=True, help="One JSON object a line on stdout.")
OUT = option("output", "--out", required=True, type=click.Path(file_okay=False), help="The run directory.")

PROMPT_OPTIONS = [
    option("prompt", "--box", type=BOX, help="The object on the prompt frame, pixels."),
    option("prompt", "--point", type=POINT, multiple=True, help="On it (label 1, default) or off it (0); repeatable."),
    option("prompt", "--object-mask", type=click.Path(dir_okay=False), help="Its mask: a PNG of the frame's size."),
    option("prompt", "--prompt-frame", type=click.IntRange(0), default=0, help="Frames before it are untracked."),
]

INPUT_OPTIONS = [
    option("input", "--fps", type=float, help="Resample to this rate.  [default: keep the times]"),
    option("input", "--correct", type=CORRECTION, multiple=True, help="Its box on a later frame; repeatable."),
    option("input", "--person-box", type=BOX, help="The person on the prompt frame.  [default: nearest the object]"),
    option("input", "--on-cut", type=click.Choice(["ignore", "stop", "reset"]), default="ignore", help="A hard cut."),
    option("input", "--max-bad-frames", type=int, default=100, help="Damaged frames concealed before giving up."),
    option("input", "--max-pixels", type=int, default=8192 * 4320, help="Larger frames are refused."),
]

GENERATION_OPTIONS = [
    option("generation", "--prompt", "text", default="", show_default=False, help="What person and object become."),
    option("generation", "--negative", default="", show_default=False, help="What to avoid."),
    option("generation", "--reference", type=click.Path(dir_okay=False), help="Reference image."),
    option(
        "generation",
        "--generator",
        type=click.Choice(["comfyui", "preview"]),
        help="[default: comfyui with --server, else preview]",
    ),
    option("generation", "--server", multiple=True, metavar="HOST:PORT", help="ComfyUI server; repeatable."),
    option("generation", "--workflow", type=click.Path(dir_okay=False), help="Your own, in API format."),
    option("generation", "--seed", type=int, default=0, help="Of the generator."),
    option("generation", "--steps", type=int, help="Sampler steps.  [default: the workflow's]"),
    option("generation", "--cfg", type=float, help="Guidance.  [default: the workflow's]"),
    option("generation", "--strength", type=float, help="Of the control.  [default: the workflow's]"),
    option(
        "generation",
        "--object-guide",
        type=click.Choice(["none", "scribble"]),
        default="scribble",
        help="Edges drawn for the object.",
    ),
    option("generation", "--size", type=SIZE, help="Generator's size, multiples of 16.  [default: near 832x480]"),
    option(
        "generation",
        "--reskin",
        type=click.Choice(["both", "object", "person"]),
        default="both",
        help="What is regenerated.",
    ),
    option("generation", "--dilate", type=int, default=8, help="Pixels that the region grows by."),
    option("generation", "--fill", type=click.Choice(["grey", "white"]), default="grey", help="Of the emptied region."),
    option(
        "generation",
        "--continuity",
        type=click.Choice(["tail", "blend"]),
        default="tail",
        help="Condition on the tail, or only crossfade.",
    ),
    option("generation", "--timeout", type=float, default=3600.0, help="Seconds for one generated window."),
]

MODEL_OPTIONS = [
    option("models", "--sam", default="small", help="tiny, small, base-plus, large, mini, or a path."),
    option("models", "--sam-config", type=click.Path(dir_okay=False), help="YAML of a checkpoint given by path."),
    option("models", "--pose", default="dwpose-l-384", help="Name or path."),
    option("models", "--detector", default="yolox-m", help="Name or path."),
    option(
        "models",
        "--pose-style",
        type=click.Choice(["controlnet", "vace", "wan-animate"]),
        default="vace",
        help="Of drawn skeletons.",
    ),
    option("models", "--detect-every", type=int, help="Frames between detections.  [default: 1 on GPU, 3 on CPU]"),
    option("models", "--smooth", type=click.Choice(["none", "one-euro"]), default="one-euro", help="Of keypoints."),
    option("models", "--state-device", type=click.Choice(["cpu", "cuda"]), default="cpu", help="Where memories rest."),
    option("models", "--sam-compile", is_flag=True, help="sam2's own compiled predictor."),
]

GATE_OPTIONS = [
    option("gate", "--iou-threshold", type=float, default=0.90, help="Every frame must be above it."),
    option("gate", "--retries", type=int, default=0, help="New attempts for a window that fails."),
]

LIMIT_OPTIONS = [
    option("limits", "--window", type=int, default=81, help="Frames, 4n+1."),
    option("limits", "--overlap", type=int, default=21, help="Frames two windows share, at most half."),
    option("limits", "--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", help="For all models."),
    option("limits", "--vram", type=BYTES, help="E.g. 8GB.  [default: what is there]"),
    option("limits", "--ram", type=BYTES, help="E.g. 16GB.  [default: what is there]"),
]

OUTPUT_OPTIONS = [
    option(
        "output",
        "--keep",
        type=click.Choice(["none", "frames", "all"]),
        default="none",
        help="Frames kept in the store.",
    ),
    option("output", "--comparison", is_flag=True, help="Also a side-by-side comparison.mp4."),
    JSON,
    option("output", "--overwrite", is_flag=True, help="Do again what another config changes."),
]
