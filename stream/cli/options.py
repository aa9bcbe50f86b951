"""Options that several commands share, their types, and help that shows them in groups."""

import textwrap
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import click

from storage.errors import UsageError
from storage.sizes import parse_size
from storage.spans import Span

F = TypeVar("F", bound=Callable[..., Any])


class GroupedOption(click.Option):
    """An option that belongs to a named group in the help."""

    def __init__(self, *args: Any, group: str = "options", **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.group = group


HELP_WIDTH = 118  # columns; a narrower terminal gets what it has
MOST_OPTION_COLUMNS = 34  # an option longer than this stands on a line of its own


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
        formatter.write_paragraph()
        for line in grouped_lines(groups, formatter.width):
            formatter.write(f"{line}\n")


def grouped_lines(groups: Mapping[str, Sequence[tuple[str, str]]], width: int) -> list[str]:
    """Options as lines: the group's name beside its first option, then the option, then its text.

    Args:
        groups: `(option, text)` by group. width: columns; a text that does not fit goes on below itself.
    """
    names = max(map(len, groups)) + 2
    options = min(MOST_OPTION_COLUMNS, max(len(first) for rows in groups.values() for first, _ in rows)) + 2
    lines = []
    for name, rows in groups.items():
        for index, (first, text) in enumerate(rows):
            head = f"{'' if index else name:<{names}}{first:<{options}}"
            room = max(20, width - names - options)
            pieces = textwrap.wrap(text, room, break_long_words=False) or [""]
            if len(head) > names + options:
                lines.append(head)
                head = " " * (names + options)
            lines += [head + pieces[0], *(" " * (names + options) + piece for piece in pieces[1:])]
    return [line.rstrip() for line in lines]


def option(group: str, *names: str, **settings: Any) -> Callable[[F], F]:
    """A click option in a help group; defaults are shown."""
    number = settings.get("type")
    if number is int or isinstance(number, click.IntRange):
        settings.setdefault("metavar", "N")
    elif number is float:
        settings.setdefault("metavar", "X")
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


MOST_DIGITS = 9  # of a frame's index or a side: far above what there is, below what `int` refuses


def whole_number(text: str) -> int | None:
    """The number a text of decimal digits stands for, None where it is none (`isdigit` takes a superscript for one)."""
    return int(text) if text.isdecimal() and len(text) <= MOST_DIGITS else None


class _CorrectionType(click.ParamType[Any]):
    """FRAME:x1,y1,x2,y2."""

    name = "FRAME:x1,y1,x2,y2"

    def get_metavar(self, param: click.Parameter, ctx: click.Context | None = None) -> str:
        return self.name

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if not isinstance(value, str):
            return value
        first, colon, box = value.partition(":")
        frame = whole_number(first)
        if not colon or frame is None:
            self.fail(f"'{value}' is not of the form {self.name}", param, ctx)
        return frame, BOX.convert(box, param, ctx)


class _SizeType(click.ParamType[Any]):
    """WxH in pixels."""

    name = "WxH"

    def get_metavar(self, param: click.Parameter, ctx: click.Context | None = None) -> str:
        return self.name

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if not isinstance(value, str):
            return value
        first, _, second = value.lower().partition("x")
        width, height = whole_number(first), whole_number(second)
        if not width or not height:
            self.fail(f"'{value}' is not of the form WxH, e.g. 832x480", param, ctx)
        return width, height


class _FramesType(click.ParamType[Any]):
    """A:B, frames A to before B."""

    name = "A:B"

    def get_metavar(self, param: click.Parameter, ctx: click.Context | None = None) -> str:
        return self.name

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if not isinstance(value, str):
            return value
        first, _, second = value.partition(":")
        start, stop = whole_number(first), whole_number(second)
        if start is None or stop is None or start >= stop:
            self.fail(f"'{value}' is not of the form {self.name}, with A below B", param, ctx)
        return Span(start, stop)


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


class _DilateType(click.ParamType[Any]):
    """OBJECT[,PERSON] in pixels."""

    name = "OBJECT[,PERSON]"

    def get_metavar(self, param: click.Parameter, ctx: click.Context | None = None) -> str:
        return self.name

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if not isinstance(value, str):
            return value
        first, comma, second = value.partition(",")
        widths = (whole_number(first), whole_number(second if comma else first))
        if None in widths:
            self.fail(f"'{value}' is not of the form {self.name}: give one or two whole numbers", param, ctx)
        return widths


BOX = _Numbers("x1,y1,x2,y2", (4,))
POINT = _Numbers("x,y[,label]", (2, 3))
CORRECTION = _CorrectionType()
SIZE = _SizeType()
BYTES = _BytesType()
FRAMES = _FramesType()
DILATE = _DilateType()


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
    option(
        "prompt",
        "--prompt-frame",
        type=click.IntRange(0),
        default=0,
        help="Counted from 0; frames before it are untracked.",
    ),
]

DECODE_LIMITS = [
    option("input", "--max-bad-frames", type=int, default=100, help="Damaged frames concealed before giving up."),
    option("input", "--max-pixels", type=int, default=8192 * 4320, help="Pictures with more pixels are refused."),
]

HDR = option(
    "input",
    "--hdr",
    type=click.Choice(["tonemap", "refuse"]),
    default="tonemap",
    help="Clips in HLG or PQ: map them to BT.709, or refuse.",
)

FETCH_OPTIONS = [
    option("input", "--max-fetch", type=BYTES, default="20GB", help="Of a VIDEO by address: at most so much."),
    option("input", "--fetch-timeout", type=float, default=3600.0, help="And within so many seconds."),
]

INPUT_OPTIONS = [
    option("input", "--fps", type=float, help="Resample to this rate, frames/s.  [default: keep the times]"),
    option("input", "--correct", type=CORRECTION, multiple=True, help="Its box on a later frame; repeatable."),
    option("input", "--person-box", type=BOX, help="The person on the prompt frame.  [default: nearest the object]"),
    option(
        "input",
        "--on-cut",
        type=click.Choice(["ignore", "stop", "reset"]),
        default="ignore",
        help="What a hard cut in the clip does.",
    ),
    HDR,
    *DECODE_LIMITS,
    *FETCH_OPTIONS,
]

SHARE_GPU = option(
    "generation",
    "--share-gpu",
    type=click.Choice(["auto", "yes", "no"]),
    default="auto",
    help="By turns with ComfyUI; auto: one on this machine.",
)

GENERATION_OPTIONS = [
    option("generation", "--prompt", "text", default="", show_default=False, help="What person and object become."),
    option("generation", "--negative", default="", show_default=False, help="What to avoid."),
    option("generation", "--reference", type=click.Path(dir_okay=False), help="Picture of how it should look."),
    option(
        "generation",
        "--generator",
        type=click.Choice(["comfyui", "preview"]),
        help="[default: comfyui with --server, else preview]",
    ),
    option("generation", "--server", multiple=True, metavar="HOST:PORT", help="ComfyUI server; repeatable."),
    SHARE_GPU,
    option(
        "generation",
        "--workflow",
        type=click.Path(dir_okay=False),
        help="Your own workflow, in API format.  [default: VACE 1.3B]",
    ),
    option("generation", "--seed", type=int, default=0, help="The generator's seed."),
    option("generation", "--steps", type=int, help="Sampler steps.  [default: the workflow's]"),
    option("generation", "--cfg", type=float, help="Guidance.  [default: the workflow's]"),
    option("generation", "--strength", type=float, help="How strongly the control guides.  [default: the workflow's]"),
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
    option("generation", "--dilate", type=DILATE, default="8", help="Region beyond the masks, generator's pixels."),
    option(
        "generation",
        "--fill",
        type=click.Choice(["grey", "white"]),
        default="grey",
        help="What the emptied region is filled with.",
    ),
    option(
        "generation",
        "--continuity",
        type=click.Choice(["tail", "blend"]),
        default="tail",
        help="Condition on the tail, or only crossfade.",
    ),
    option("generation", "--timeout", type=float, default=3600.0, help="For one generated window, seconds."),
]

MODEL_OPTIONS = [
    option("models", "--sam", metavar="NAME|PATH", default="small", help="tiny, small, base-plus, large or mini."),
    option("models", "--sam-config", type=click.Path(dir_okay=False), help="YAML of a checkpoint given by path."),
    option("models", "--pose", default="dwpose-l-384", metavar="NAME|PATH", help="Of the keypoints."),
    option("models", "--detector", default="yolox-m", metavar="NAME|PATH", help="Of persons."),
    option(
        "models",
        "--pose-style",
        type=click.Choice(["controlnet", "vace", "wan-animate"]),
        metavar="STYLE",
        default="vace",
        help="Of drawn skeletons: controlnet, vace or wan-animate.",
    ),
    option("models", "--detect-every", type=int, help="Frames between detections.  [default: 1 on GPU, 3 on CPU]"),
    option(
        "models",
        "--smooth",
        type=click.Choice(["none", "one-euro"]),
        default="one-euro",
        help="Filter of the keypoints.",
    ),
    option(
        "models", "--state-device", type=click.Choice(["cpu", "cuda"]), default="cpu", help="Where SAM's memories rest."
    ),
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
    option("limits", "--vram", type=BYTES, help="Refuse to start above it, e.g. 8GB.  [default: what is there]"),
    option("limits", "--ram", type=BYTES, help="Refuse to start above it, e.g. 16GB.  [default: what is there]"),
]

KEEP = option(
    "output", "--keep", type=click.Choice(["none", "frames", "all"]), default="none", help="Frames kept in the store."
)
OVERWRITE = option("output", "--overwrite", is_flag=True, help="Do again what another config changes.")
OUTPUT_OPTIONS = [
    KEEP,
    option("output", "--comparison", is_flag=True, help="Also a side-by-side comparison.mp4."),
    JSON,
    OVERWRITE,
]
