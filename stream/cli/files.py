"""Options in a TOML file: `--config FILE.toml` and `--write-config FILE`.

Keys are options without their dashes, at the top or in a table named after their group in the help. Values are TOML's,
or texts as on the command line. Both become the texts that the command line would have given: one parser reads all.
A key of another command of this program is passed over: one file serves `run`, `extract` and `generate`.
"""

import difflib
import re
import tomllib
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from storage.boundary import MB, read_input, text_of, utf8
from storage.durable import write_asked
from storage.errors import InputError, SkateError, UsageError
from stream.options.table import OPTIONS
from stream.options.values import FLAG, SIZE

FOLDER_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
_OF_ALL = ("out", "server", "overwrite", "variations", "masks", "person-masks", "pose")  # of all variations alike
if TYPE_CHECKING:
    from stream.run.variations import Variation

NEVER = ("config", "write-config", "help", "help-all", "json")  # json: faults in the file itself are told by it too
_GROUPS = {item.group for item in OPTIONS}


def load_options(path: str, command: click.Command) -> dict[str, Any]:
    """Values by the names of the command's parameters, as texts.

    Raises:
        InputError: when the file cannot be read, or is no TOML.
        UsageError: for a key or a value that is none.
    """
    where = f"--config {path}"
    parameters = parameters_of(command)
    elsewhere = {item.key for item in OPTIONS}
    found: dict[str, Any] = {}
    for key, value in _flat(where, read_toml(where, path)):
        parameter = parameters.get(key)
        if key in NEVER:
            raise UsageError(f"{where}: '{key}' stands on the command line alone")
        if parameter is None and key in elsewhere:
            continue
        if parameter is None:
            close = difflib.get_close_matches(key, parameters, n=1)
            meant = f": is '{close[0]}' meant?" if close else ""
            raise UsageError(f"{where}: '{key[:60]}' is no option of `skate {command.name}`{meant}")
        assert parameter.name is not None  # click names every parameter
        found[parameter.name] = _value(where, key, parameter, value)
    return found


def read_variations(path: str, command: click.Command) -> "list[Variation]":
    """What `--variations FILE.toml` asks for: tables `[[variation]]`, each a name and options of this command.

    Raises:
        InputError: when the file cannot be read, or is no TOML.
        UsageError: for a name that is no folder's or stands there twice, and for a key or a value that is none.
    """
    from stream.run.variations import Variation  # what it imports the other commands need not

    where = f"--variations {path}"
    read = read_toml(where, path)
    tables = read.pop("variation", None)
    if read or not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables) or not tables:
        raise UsageError(f"{where}{first_keys(read)}: give tables [[variation]], each with a name, and nothing else")
    parameters = parameters_of(command)
    found: dict[str, Variation] = {}
    for number, table in enumerate(tables, start=1):
        at = f"{where}, variation {number}"
        name = folder_name(at, table)
        if name in found:
            raise UsageError(f"{at}: the name '{name}' is given twice")
        words: list[str] = []
        for key, value in table.items():
            if key in (*NEVER, *_OF_ALL) or key not in parameters:
                raise UsageError(f"{at}: '{key[:60]}' is nothing that variations can have otherwise")
            words += words_of(at, key, parameters[key], value)
        found[name] = Variation(name, tuple(words))
    return list(found.values())


def folder_name(where: str, table: dict[str, Any], before: str = "") -> str:
    """Take a table's name out of it: that of a folder, behind `before`; `where` names the table in messages.

    Raises:
        UsageError: when it has none, or one that no folder may have.
    """
    given = table.pop("name", None)
    if isinstance(given, str) and FOLDER_NAME.fullmatch(before + given):
        return before + given
    told = f"name = {str(given)[:60]!r}" if given is not None else f"it has no name{first_keys(table, 'but')}"
    raise UsageError(f"{where}: {told}: give letters, digits, - and _, at most 64")


def first_keys(table: Mapping[str, Any], before: str = "holds") -> str:
    """The first keys of a table, for a message; nothing where it has none."""
    return f", {before} {', '.join(repr(key[:40]) for key in list(table)[:3])}" if table else ""


def words_of(where: str, key: str, parameter: click.Option, value: Any) -> list[str]:
    """An option of a file as on the command line; `where` names its place in messages.

    Raises:
        UsageError: for a value that is none.
    """
    given = _value(where, key, parameter, value)
    if parameter.is_flag:
        return [f"--{key}" if given else f"--no-{key}"] if given or parameter.secondary_opts else []
    return [word for each in (given if parameter.multiple else [given]) for word in (f"--{key}", each)]


def read_toml(where: str, path: str) -> dict[str, Any]:
    """The file's tables; `where` names it in messages.

    Raises:
        InputError: when it cannot be read, or is no TOML.
    """
    try:
        return tomllib.loads(text_of(read_input(path, where, most_bytes=MB)))
    except (ValueError, RecursionError) as error:
        raise InputError(f"{where}: is no TOML ({' '.join(str(error).split())[:200]})") from error


def _flat(where: str, values: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Keys and values of the top and of the groups' tables.

    Raises:
        UsageError: for another table, and for a key that stands there twice.
    """
    seen = set()
    for key, value in values.items():
        inner = value.items() if isinstance(value, dict) else ((key, value),)
        if isinstance(value, dict) and key not in _GROUPS:
            raise UsageError(f"{where}: [{key[:60]}] is no group of options: {', '.join(sorted(_GROUPS))}")
        for name, item in inner:
            if name in seen:
                raise UsageError(f"{where}: '{name}' is given twice")
            seen.add(name)
            yield name, item


def _value(where: str, key: str, parameter: click.Option, value: Any) -> Any:
    """As click takes it from a file: a text, texts, or a switch."""
    if parameter.is_flag:
        if not isinstance(value, bool):
            raise UsageError(f"{where}: {key} = {str(value)[:60]}: give true or false")
        return value
    separator = "x" if isinstance(value, list) and getattr(parameter.type, "name", "") == SIZE.form else ","
    if not parameter.multiple:
        return _text(where, key, value, separator)
    several = value if isinstance(value, list) and not _are_numbers(value) else [value]
    return tuple(_text(where, key, item, separator) for item in several)


def _are_numbers(values: list[Any]) -> bool:
    return bool(values) and all(isinstance(item, (int, float)) for item in values)


def _text(where: str, key: str, value: Any, separator: str) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, list) and _are_numbers(value):
        return separator.join(_text(where, key, item, separator) for item in value)
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return repr(value)
    raise UsageError(f"{where}: {key} = {str(value)[:60]}: give a text, a number, or several in brackets")


def write_options(path: str, ctx: click.Context, what: str = "", without: Collection[str] = ()) -> None:
    """Write what was given to this command as a file for `--config`; `-` prints it. What was not stands as a comment.

    Args:
        what: names the file in messages. without: keys that are left out.

    Raises:
        InputError: when no file can have that name, or something else than options lies there.
        EnvironmentFault: when it cannot be written there.
    """
    what = what or f"--write-config {path}"
    if path != "-":
        check_replaced(Path(path), what, lambda: load_options(path, ctx.command))
    lines = [f"# skate {ctx.command.name} --config FILE: the command line wins; paths are relative to where it runs"]
    group = ""
    for item in OPTIONS:
        parameter = next((found for found in ctx.command.params if found.opts == [item.name]), None)
        if parameter is None or parameter.name != item.parameter or item.key in (*NEVER, *without):
            continue
        if item.group != group:
            group = item.group
            lines += ["", f"[{group}]"]
        given = ctx.get_parameter_source(item.parameter) in (ParameterSource.COMMANDLINE, ParameterSource.DEFAULT_MAP)
        value = ctx.params[item.parameter]
        if given:
            text = f"[{', '.join(map(item.kind.write, value))}]" if item.many else item.kind.write(value)
            lines.append(f"{item.key} = {text}")
        else:
            usual = "false" if item.kind is FLAG else parameter.default  # this command's own, where it has one
            default = item.kind.write(item.kind.read(usual)) if isinstance(usual, str) else "..."
            lines.append(f"# {item.key} = {default}  # {item.help}")
    whole = "\n".join(lines) + "\n"
    data = utf8(whole, what)
    if path == "-":
        click.echo(whole, nl=False)
        return
    write_asked(Path(path), data, what)


def check_replaced(path: Path, what: str, read: Callable[[], object]) -> None:
    """Refuse to write over a file that is nothing of the kind: a clip whose name was given twice, say.

    Args:
        what: names it in messages. read: reads it as what will be written.

    Raises:
        InputError: when it is there, not empty, and cannot be read so.
    """
    try:
        if path.exists() and path.stat().st_size:
            read()
    except OSError:  # writing says why
        return
    except SkateError as error:
        raise InputError(f"{what}: something else is there already: give another name") from error


def parameters_of(command: click.Command) -> dict[str, click.Option]:
    """A command's options by their names, without dashes."""
    return {_key(item): item for item in command.params if isinstance(item, click.Option)}


def _key(parameter: click.Option) -> str:
    return max(parameter.opts, key=len).removeprefix("--")
