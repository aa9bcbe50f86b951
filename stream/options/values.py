"""Kinds of values: how a text of the command line becomes one, and how one stands in a TOML file. Pure."""

import json
import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stages.gate import Gate, Gated
from stages.server.lora import Lora
from stages.subjects import NAME
from storage.errors import UsageError
from storage.sizes import parse_size
from storage.spans import Span

MOST_DIGITS = 9  # of a frame's index or a side: far above what there is
MOST_INTEGER_DIGITS = 30  # of any other whole number; its bounds are checked later
MOST_CHARACTERS, MOST_NAME_BYTES = 4096, 255  # of a path and of a name in it: no system takes more
LORA_STRENGTH = 10.0  # either way: what WanVideoLoraSelect takes; LoraLoaderModelOnly takes more
_LARGEST = 1e9  # of a coordinate
METRIC_NAME = re.compile(r"[a-z][a-z0-9_]{0,31}")


@dataclass(frozen=True)
class Kind:
    """One kind of value.

    Attributes:
        form: what stands for it in the help, e.g. `x1,y1,x2,y2`.
        what: it is, as a refusal says it: "'abc' is not ...".
        read: the value of a text; ValueError where it is none.
        write: the value as TOML.
    """

    form: str
    what: str
    read: Callable[[str], Any]
    write: Callable[[Any], str]


def whole_number(text: str) -> int | None:
    """The number a text of decimal digits stands for, None where it is none (`isdigit` takes a superscript for one)."""
    return int(text) if text.isdecimal() and len(text) <= MOST_DIGITS else None


def toml_text(value: str) -> str:
    """A TOML basic string."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def _array(values: Any) -> str:
    return f"[{', '.join(f'{value:.17g}' for value in values)}]"


def _integer(text: str) -> int:
    digits = text.strip().removeprefix("-").removeprefix("+")
    if not (digits.isascii() and digits.isdecimal() and len(digits) <= MOST_INTEGER_DIGITS):
        raise ValueError
    return int(text)


def _number(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError
    return value


def _numbers(*counts: int) -> Callable[[str], tuple[float, ...]]:
    def read(text: str) -> tuple[float, ...]:
        values = tuple(float(part) for part in text.split(","))
        if len(values) not in counts or not all(abs(value) < _LARGEST for value in values):
            raise ValueError
        return values

    return read


@dataclass(frozen=True)
class Corrected:
    """A value of `--correct`: whose, on which frame, and a box, points with labels, or the file of a mask."""

    name: str
    frame: int
    box: tuple[float, ...] | None
    points: tuple[tuple[float, float, int], ...]
    mask: str | None = None

    def __str__(self) -> str:
        place = self.mask or ",".join(f"{side:.17g}" for side in self.box or ())
        place += ";".join(f"{'+' if label else '-'}{x:.17g},{y:.17g}" for x, y, label in self.points)
        return f"{self.name and f'{self.name}@'}{self.frame}:{place}"


def _correction(text: str) -> Corrected:
    head, _, place = text.partition(":")
    name, at, first = head.rpartition("@")
    frame, parts = whole_number(first), place.split(";")
    if frame is None or bool(at) != bool(NAME.fullmatch(name)):
        raise ValueError
    if place.lower().endswith(".png"):
        return Corrected(name, frame, None, (), _path(place))
    if place[:1] in ("+", "-") and parts[0].count(",") == 1:
        return Corrected(name, frame, None, tuple(_point(part) for part in parts))
    return Corrected(name, frame, BOX.read(place), ())


def _point(text: str) -> tuple[float, float, int]:
    if text[:1] not in ("+", "-"):
        raise ValueError
    x, y = _numbers(2)(text[1:])
    return x, y, int(text[0] == "+")


def _moment(text: str) -> int | float:
    frame = whole_number(text)
    if frame is not None:
        return frame
    parts = text.removesuffix("s").split(":")
    if len(parts) > 3 or not all(part.isdecimal() for part in parts[:-1]) or len(text) > MOST_INTEGER_DIGITS:
        raise ValueError
    if len(parts) == 1 and not text.endswith("s"):  # 1.5 alone may be meant as either
        raise ValueError
    seconds = float(parts[-1])
    if not (math.isfinite(seconds) and seconds >= 0 and (len(parts) == 1 or seconds < 60)):
        raise ValueError
    for place, part in enumerate(reversed(parts[:-1]), start=1):
        seconds += int(part) * 60**place
    return seconds


def _size(text: str) -> tuple[int, int]:
    first, _, second = text.lower().partition("x")
    width, height = whole_number(first), whole_number(second)
    if not width or not height:
        raise ValueError
    return width, height


def _bytes(text: str) -> int:
    try:
        return parse_size(text)
    except UsageError as error:
        raise ValueError from error


def _widths(text: str) -> tuple[int, int]:
    first, comma, second = text.partition(",")
    widths = whole_number(first), whole_number(second if comma else first)
    if widths[0] is None or widths[1] is None:
        raise ValueError
    return widths[0], widths[1]


def _span(text: str) -> Span:
    first, _, second = text.partition(":")
    start, stop = whole_number(first), whole_number(second)
    if start is None or stop is None or start >= stop:
        raise ValueError
    return Span(start, stop)


def _look(text: str) -> str | tuple[float, ...]:
    return text if text in LOOKS else BOX.read(text)


def _frames_or_off(text: str) -> int:
    return 0 if text == "off" else _integer(text)


def _path(text: str) -> str:
    longest = max(len(part.encode("utf-8", "surrogateescape")) for part in text.split("/"))
    if "\0" in text or len(text) > MOST_CHARACTERS or longest > MOST_NAME_BYTES:
        raise ValueError
    return text


def at_home(text: str) -> str:
    """A path whose `~/` a shell would have read as the home folder: in a file, or behind `--out=`, none has.

    Raises:
        UsageError: this user has none.
    """
    if text != "~" and not text.startswith("~/"):
        return text
    try:
        return str(Path(text).expanduser())
    except RuntimeError as error:
        raise UsageError(f"{text}: this user has no home folder: give the whole path") from error


def _place(text: str) -> str:
    return at_home(_path(text))


def _files(text: str) -> tuple[str, ...]:
    names = tuple(_path(name.strip()) for name in text.split(","))
    if not all(names):
        raise ValueError
    return names


def _lora(text: str) -> Lora:
    file, colon, strength = text.rpartition(":")
    lora = Lora(_path(file), _number(strength)) if colon else Lora(_path(text))
    if not lora.file or abs(lora.strength) > LORA_STRENGTH:
        raise ValueError
    return lora


def _swap(text: str) -> tuple[str, str]:
    name, equals, becomes = text.partition("=")
    if not equals or not NAME.fullmatch(name) or not becomes.strip():
        raise ValueError
    return name, becomes.strip()


def _gate(text: str) -> Gate:
    found = []
    for part in text.split(","):
        name, equals, bound = part.strip().partition("=")
        if not METRIC_NAME.fullmatch(name):
            raise ValueError
        found.append(Gated(name, _number(bound) if equals else None))
    return tuple(found)


def choice(*values: str) -> Kind:
    """One of some words."""

    def read(text: str) -> str:
        if text not in values:
            raise ValueError
        return text

    return Kind(f"[{'|'.join(values)}]", f"one of {', '.join(values)}", read, toml_text)


_NO_PATH = (
    f"a path: a null byte, a name of more than {MOST_NAME_BYTES} bytes, or more than {MOST_CHARACTERS} characters"
)
FILES = Kind("FILE[,FILE]", "of the form FILE[,FILE]", _files, lambda value: toml_text(",".join(value)))
LORA = Kind("FILE[:STRENGTH]", "of the form FILE[:STRENGTH], e.g. x.gguf:0.8", _lora, lambda v: toml_text(str(v)))
GATE = Kind(
    "METRIC[=X],...",
    "of the form METRIC[=X],..., e.g. iou,contact=0.5",
    _gate,
    lambda value: toml_text(",".join(map(str, value))),
)
MOMENT = Kind("N|[H:]M:S|Ns", "a frame's number or a time: write for example 90, 1:23.5 or 83.5s", _moment, str)
SWAP = Kind("NAME=TEXT", "of the form NAME=TEXT", _swap, lambda value: toml_text("=".join(value)))
INTEGER = Kind("N", "a whole number", _integer, str)
NUMBER = Kind("X", "a finite number", _number, repr)
TEXT = Kind("TEXT", "a text", str, toml_text)
PATH = Kind("PATH", _NO_PATH, _place, toml_text)
FILE = Kind("FILE", _NO_PATH, _place, toml_text)
FOLDER = Kind("DIRECTORY", _NO_PATH, _place, toml_text)
FLAG = Kind("", "true or false", lambda text: text == "true", lambda value: "true" if value else "false")
BOX = Kind("x1,y1,x2,y2", "of the form x1,y1,x2,y2", _numbers(4), _array)
POINT = Kind("x,y[,label]", "of the form x,y[,label]", _numbers(2, 3), _array)
CORRECTION = Kind(
    "FRAME:x1,y1,x2,y2",
    "of the form FRAME:x1,y1,x2,y2 or FRAME:+x,y;-x,y or FRAME:FILE.png, with NAME@ before it where it is not the "
    "object's",
    _correction,
    lambda value: toml_text(str(value)),
)
SIZE = Kind("WxH", "of the form WxH, e.g. 832x480", _size, lambda value: toml_text(f"{value[0]}x{value[1]}"))
BYTES = Kind("SIZE", "a size: write for example 8GB, 7.5GiB or 512MB", _bytes, str)
WIDTHS = Kind(
    "OBJECT[,PERSON]",
    "of the form OBJECT[,PERSON]: give one or two whole numbers",
    _widths,
    lambda value: f"[{value[0]}, {value[1]}]",
)
LOOKS = ("auto", "full", "follow")  # or a box
LOOK = Kind(
    f"{'|'.join(LOOKS)}|x1,y1,x2,y2",
    f"one of {', '.join(LOOKS)} or of the form x1,y1,x2,y2",
    _look,
    lambda value: toml_text(value) if isinstance(value, str) else _array(value),
)
STEADY = Kind(
    "N|off", "a whole number of frames or off", _frames_or_off, lambda value: str(value) if value else '"off"'
)
FRAMES = Kind("A:B", "of the form A:B, with A below B", _span, lambda value: toml_text(f"{value.start}:{value.stop}"))
