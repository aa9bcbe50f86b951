"""click's options, made from the table; help by group, short or whole; a TOML file behind the command line."""

import textwrap
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar

import click

from storage.bounds import Bounds
from stream.cli.files import load_options, write_options
from stream.options.table import Option, options_for, picked
from stream.options.values import FILE, FLAG, FOLDER, Kind

F = TypeVar("F", bound=Callable[..., Any])

HELP_WIDTH = 118  # columns; a narrower terminal gets what it has
MOST_OPTION_COLUMNS = 34  # an option longer than this stands on a line of its own
_MOST_SHOWN = 60  # characters of a refused value
_WHOLE_HELP, _WRITE_TO = "skate.whole_help", "skate.write_to"  # in click's `meta`


class GroupedOption(click.Option):
    """An option that belongs to a named group in the help. `short`: whether the short help shows it."""

    def __init__(self, *args: Any, group: str = "other", short: bool = True, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.group = group
        self.short = short


class GroupedCommand(click.Command):
    """A command whose help lists its options by group, one line each, so that it fits a screen.

    Where the short help leaves options out there is `--help-all`.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs["context_settings"] = {"max_content_width": HELP_WIDTH, "help_option_names": ["-h", "--help"]}
        super().__init__(*args, **kwargs)

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        """The parameters, with `--help-all` where the help is cut."""
        found = super().get_params(ctx)
        if any(not getattr(parameter, "short", True) for parameter in found):
            found = [*found[:-1], _help_all(), found[-1]]
        return found

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; with `--write-config` only its options are written."""
        target = ctx.meta.get(_WRITE_TO)
        if target is None:
            return super().invoke(ctx)
        write_options(target, ctx)
        return 0

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        groups: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):
            if isinstance(parameter, click.Argument):
                continue
            if not getattr(parameter, "short", True) and not ctx.meta.get(_WHOLE_HELP):
                continue
            record = parameter.get_help_record(ctx)
            if record is not None:
                groups.setdefault(getattr(parameter, "group", "other"), []).append(record)
        formatter.write_paragraph()
        for line in grouped_lines(groups, formatter.width):
            formatter.write(f"{line}\n")


def _help_all() -> click.Option:
    def show(ctx: click.Context, parameter: click.Parameter, value: bool) -> None:
        if value and not ctx.resilient_parsing:
            ctx.meta[_WHOLE_HELP] = True
            click.echo(ctx.get_help(), color=ctx.color)
            ctx.exit()

    return click.Option(
        ["--help-all"],
        is_flag=True,
        is_eager=True,
        expose_value=False,
        callback=show,
        help="Every option.",
    )


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
            if len(first) > options - 2:
                lines.append(head)
                head = " " * (names + options)
            lines += [head + pieces[0], *(" " * (names + options) + piece for piece in pieces[1:])]
    return [line.rstrip() for line in lines]


class Value(click.ParamType[Any]):
    """A value of one of our kinds."""

    def __init__(self, kind: Kind) -> None:
        self.kind = kind
        self.name = kind.form

    def get_metavar(self, param: click.Parameter, ctx: click.Context | None = None) -> str:
        return self.kind.form

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if not isinstance(value, str):
            return value
        try:
            return self.kind.read(value)
        except ValueError:
            shown = value if len(value) <= _MOST_SHOWN else f"{value[:_MOST_SHOWN]}..."
            self.fail(f"{shown!r} is not {self.kind.what}", param, ctx)


class _Place(Value):
    """A path; what is there already must be a file, or a folder."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        path = super().convert(value, param, ctx)
        place = click.Path(file_okay=self.kind is not FOLDER, dir_okay=self.kind is not FILE)
        return place.convert(path, param, ctx)


def _type_of(kind: Kind) -> click.ParamType[Any]:
    return _Place(kind) if kind in (FILE, FOLDER) else Value(kind)


def _within(name: str, bounds: Bounds) -> Callable[[click.Context, click.Parameter, Any], Any]:
    """A callback that refuses what is outside, before a command does anything."""

    def check(ctx: click.Context, parameter: click.Parameter, value: Any) -> Any:
        bounds.check(name, value)
        return value

    return check


def option(group: str, *names: str, bounds: Bounds | None = None, **settings: Any) -> Callable[[F], F]:
    """A click option in a help group, of one command alone; defaults are shown. Its type may be a `Kind`."""
    if isinstance(settings.get("type"), Kind):
        settings["type"] = _type_of(settings["type"])
    if bounds is not None:
        settings["callback"] = _within(names[0], bounds)
    settings.setdefault("show_default", settings.get("default") is not None and not settings.get("is_flag"))
    return click.option(*names, cls=GroupedOption, group=group, **settings)


def from_table(item: Option, **changes: Any) -> Callable[[F], F]:
    """The click option of an entry of the table; `changes` are click's settings that this command has otherwise."""
    text = f"{item.help}  [default: {item.otherwise}]".strip() if item.otherwise else item.help
    settings: dict[str, Any] = {"help": text, "group": item.group, "short": item.short, "required": item.required}
    if item.kind is FLAG:
        settings["is_flag"] = True
    else:
        settings |= {"type": _type_of(item.kind), "multiple": item.many, "show_default": bool(item.default)}
        if item.default is not None:  # click takes None for a value: what is required would not be missed
            settings["default"] = item.default
    if item.metavar:
        settings["metavar"] = item.metavar
    if item.bounds is not None:
        settings["callback"] = _within(item.name, item.bounds)
    name = f"{item.name}/--no-{item.key}" if item.off else item.name
    return click.option(name, item.parameter, cls=GroupedOption, **(settings | changes))


def stack(decorators: Sequence[Callable[[F], F]]) -> Callable[[F], F]:
    """One decorator out of several; the first stands first in the help."""

    def apply(function: F) -> F:
        for decorator in reversed(decorators):
            function = decorator(function)
        return function

    return apply


def _scratch(ctx: click.Context, parameter: click.Parameter, value: Any) -> Any:
    if value is not None:
        from storage.nearby import use_scratch

        use_scratch(Path(value))
    return value


SCRATCH = option(
    "machine",
    "--scratch",
    type=FOLDER,
    expose_value=False,
    callback=_scratch,
    help="Where a run in a bucket works on this machine's disk.  [default: the temporary folder]",
    short=False,
)


def options_of(
    *purposes: str, without: Sequence[str] = (), defaults: Mapping[str, str] = MappingProxyType({})
) -> Callable[[F], F]:
    """The table's options for these purposes, and the two that read and write them as a file.

    Args:
        without: names of options that are left out. defaults: by parameter, where this command has others.
    """
    items = [item for item in options_for(*purposes) if item.name not in without]
    own = {name: {"default": value} for name, value in defaults.items()}
    chosen = [from_table(item, **own.get(item.parameter, {})) for item in items]
    return stack([*chosen, SCRATCH, CONFIG, WRITE_CONFIG])


def chosen(*parameters: str) -> Callable[[F], F]:
    """Some of the table's options, by the names of their values."""
    return stack([from_table(item) for item in picked(*parameters)])


def was_given(name: str) -> bool:
    """Whether the value of this parameter of the current command was given, on the command line or in a file."""
    source = click.get_current_context().get_parameter_source(name)
    return source in (click.core.ParameterSource.COMMANDLINE, click.core.ParameterSource.DEFAULT_MAP)


def _load(ctx: click.Context, parameter: click.Parameter, value: str | None) -> None:
    if value is not None and not ctx.resilient_parsing:
        ctx.default_map = load_options(value, ctx.command)


def _write(ctx: click.Context, parameter: click.Parameter, value: str | None) -> None:
    if value is not None and not ctx.resilient_parsing:
        ctx.meta[_WRITE_TO] = value


CONFIG = option(
    "output",
    "--config",
    type=FILE,
    metavar="FILE.toml",
    is_eager=True,
    expose_value=False,
    callback=_load,
    help="Options from a file; the command line wins.",
)
WRITE_CONFIG = option(
    "output",
    "--write-config",
    type=FILE,
    metavar="FILE|-",
    expose_value=False,
    callback=_write,
    short=False,
    help="Write the options as such a file, or print them; do nothing else.",
)
JSON = chosen("as_json")
