"""The boundary: what others wrote (servers, files that are not ours or were altered) becomes declared types here.

A type says what is read: fields, kinds of values, bounds of numbers and lengths. What is not declared is passed over.
Everything else is one line that names the thing and the field. `msgspec` parses: it refuses NaN and infinities, a wrong
kind of value in any depth, and tells where; Python's own limit on nesting holds.
"""

import errno
import os
import re
import stat
from io import BufferedReader
from pathlib import Path
from typing import Any, TypeVar
from unicodedata import category

import msgspec

from storage.errors import InputError, SkateError

T = TypeVar("T")
MB = 2**20
MOST_BYTES = 64 * MB
MOST_SHOWN = 60  # letters of a value of theirs in an error
_AT = re.compile(r"^(?P<why>.*) - at `\$\.?(?P<field>.*)`$", re.DOTALL)
_STEP = re.compile(r"[^.\[\]]+|\.\.\.")


def parse(
    data: bytes | str, kind: type[T], what: str, fault: type[SkateError], remedy: str = "", most_bytes: int = MOST_BYTES
) -> T:
    """The value of a JSON text.

    Args:
        data: UTF-8. kind: a `msgspec.Struct`, or a type of them. what: names the text in the error, e.g. its path.
        fault, remedy: of the error.
        most_bytes: a longer text is not looked at.

    Raises:
        SkateError: a `fault`, when it is no JSON or not of this kind.
    """
    if len(data) > most_bytes:
        raise fault(_line(what, f"is longer than {most_bytes / MB:g} MB", remedy))
    try:
        return msgspec.json.decode(data, type=kind)
    except msgspec.ValidationError as error:
        raise fault(_line(what, _field(error), remedy)) from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise fault(_line(what, f"is no JSON ({error})", remedy)) from error
    except RecursionError as error:
        raise fault(_line(what, "is no JSON (nested too deeply)", remedy)) from error


def convert(value: Any, kind: type[T], what: str, fault: type[SkateError], remedy: str = "") -> T:
    """The same for a value that is parsed already."""
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        raise fault(_line(what, _field(error) + _given(value, kind, error), remedy)) from error
    except RecursionError as error:
        raise fault(_line(what, "is nested too deeply", remedy)) from error


def open_regular(path: Path, follow: bool = True) -> BufferedReader:
    """Open a file that others made, for reading: a named pipe or a device would hold the process up, or never end.

    Args:
        follow: whether a symbolic link may lead to it.

    Raises:
        OSError: it is not there, is no regular file, or is a link and must not be one.
    """
    flags = os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)
    flags |= getattr(os, "O_NONBLOCK", 0)  # without it opening a pipe waits for a writer
    handle = os.open(path, flags if follow else flags | getattr(os, "O_NOFOLLOW", 0))
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise OSError(errno.EINVAL, "is no regular file", str(path))
    return os.fdopen(handle, "rb")


def read_regular(path: Path, most_bytes: int = MOST_BYTES, follow: bool = True) -> bytes:
    """All bytes of such a file.

    Raises:
        OSError: as `open_regular`, or it is longer.
    """
    found = bytearray()
    with open_regular(path, follow) as file:
        size = os.fstat(file.fileno()).st_size
        while size <= most_bytes and (piece := file.read(MB)):
            found += piece
            size = len(found)  # it may grow meanwhile
    if size > most_bytes:
        raise OSError(errno.EFBIG, f"is larger than {most_bytes / MB:g} MB", str(path))
    return bytes(found)


def text_of(data: bytes) -> str:
    """Text in UTF-8; the mark that editors on Windows put in front of it is passed over.

    Raises:
        ValueError: it is in another encoding.
    """
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError("it is not in UTF-8: save it in that encoding") from error


def utf8(text: str, what: str) -> bytes:
    """The bytes of a text that is to be kept in a TOML or JSON file.

    Args:
        what: names the file in the error.

    Raises:
        InputError: when it has none, as a name that is not UTF-8: with what stands there.
    """
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        word = re.split(r'["\n]', text[: error.start])[-1] + re.split(r'["\n]', text[error.start :], maxsplit=1)[0]
        raise InputError(
            f"{what}: cannot hold '{visible(word[-400:])}', which is no UTF-8: give it another name, or other words"
        ) from error


def read_input(path: str | Path, what: str, remedy: str = "", most_bytes: int = MOST_BYTES) -> bytes:
    """All bytes of a file that somebody named to us.

    Args:
        what: names it in the error, e.g. its option and path. remedy: of the error.

    Raises:
        InputError: when it is not there, no regular file, or longer.
    """
    try:
        return read_regular(Path(path), most_bytes)
    except OSError as error:
        raise InputError(_line(what, f"cannot be read ({error.strerror})", remedy)) from error


def _field(error: msgspec.ValidationError) -> str:
    """Where and what, as `queue_running[...]: expected array, got int`."""
    found = _AT.match(str(error))
    why = (str(error) if found is None else found["why"]).replace("`", "")
    return f"{found['field'] if found else 'the whole'}: {why[:1].lower()}{why[1:]}"


def _given(value: Any, kind: Any, error: msgspec.ValidationError) -> str:
    """What stands at the place of the error, where that is a single value, and what may, where that is a choice."""
    found = _AT.match(str(error))
    info: Any = msgspec.inspect.type_info(kind)
    for step in _STEP.findall(found["field"] if found else ""):
        if isinstance(value, list) and step.isdigit():
            value = value[int(step)]
        elif isinstance(value, dict) and step in value:
            value = value[step]
        else:  # `[...]` stands for any value of a dictionary
            return ""
        info = _below(info, step)
    short = isinstance(value, float) or (isinstance(value, int) and value.bit_length() <= 64)
    short |= isinstance(value, str) and len(value) <= MOST_SHOWN
    told = f" (it is {value!r})" if short and repr(value) not in str(error) else ""
    choices: list[str] = []
    for part in getattr(info, "types", [info]):
        if isinstance(part, msgspec.inspect.BoolType):
            choices += ["true", "false"]
        elif isinstance(part, msgspec.inspect.LiteralType):
            choices += map(str, part.values)
        elif not isinstance(part, msgspec.inspect.NoneType):
            return told
    return f"{told}; give {', '.join(choices)}"


def _below(info: Any, step: str) -> Any:
    """msgspec's account of the type of a field or an item of such a type; None where it has none that is certain."""
    for part in getattr(info, "types", [info]):
        for each in getattr(part, "fields", []):
            if each.encode_name == step:
                return each.type
        if hasattr(part, "item_type"):
            return part.item_type
    return None


def _line(what: str, told: str, remedy: str) -> str:
    return f"{what}: {printable(told)}" + (f": {remedy}" if remedy else "")


def visible(text: str) -> str:
    """A text whose every letter may matter, a path, without what a terminal obeys: such letters as escapes.

    Bytes of a name that are no UTF-8 stay what they are: the output shows them (`stream/cli/ending.py`).
    """
    strange = {each for each in set(text) if not (each.isprintable() or category(each) in ("Zs", "Cs"))}
    return text.translate({ord(each): each.encode("unicode_escape").decode() for each in strange})


def visible_lines(text: str) -> str:
    """The same of several lines, which stay lines."""
    return "\n".join(map(visible, text.split("\n")))


def printable(text: str, most: int = 400) -> str:
    """A text of others as one line that does nothing to a terminal: no line ends, no escape sequences, no end."""
    line = " ".join(text[: 4 * most].split())[:most]
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in line)
