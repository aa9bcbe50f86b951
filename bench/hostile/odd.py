"""Odd values: texts, numbers, JSON and TOML trees, bytes, and what can stand at a path."""

import json
import math
import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

NUMBERS = (
    "0", "-0", "1", "-1", "2", "3", "0.5", "1.5", "-0.0", "1e-320", "1e9", "1e10", "1e308", "1e309", "-1e309", "nan",
    "NaN", "inf", "-Infinity", "9" * 19, "9" * 40, "9" * 5000, "-" + "9" * 30, "0x10", "1_000", "١٢", "²", "½", "1,5",
    "+5", " 5", "5 ", "--5", "5e", ".", "1.", ".5", "2147483648", "4294967296", "18446744073709551616", "-2147483649",
)  # fmt: skip
TEXTS = (
    "", " ", "-", "--", ".", "..", "/", "~", "*", "%s", "%", "{}", "{0}", "{object}", "$HOME", "`id`", "$(id)", ";",
    "\t", "\n", "a\nb", "\r\n", "\x1b[2J", "\x1b]0;x\x07", "\x7f", "\u202e", "\u0085", "\u2028", "\ud800", "\udcff",
    "é", "日本", "😀", "ﷺ", "\ufeff", "\ufffe", "'", '"', "\\", "</script><script>", "&amp;", "a" * 300,
    "a" * 5000, "b/" * 3000, "../" * 50 + "etc/passwd", "/dev/null", "/dev/zero", "/proc/self/mem", "/etc", "C:\\x",
    "file:///etc/passwd", "http://[::1", "http://127.0.0.1:9/x", "s3://", "s3://a/b", "S3://B", "s3://../x", "//x", "@",
    "True", "true", "null", "None", "[]", "{}", "()", "0,0", "none", "off", "auto", "mini", "cpu", "cuda:99", "latest",
)  # fmt: skip
SHAPES = (
    "1,2,3,4", "1,2", "1,2,1", "1,2,3,4,5", ",,,", "1,,2,3", "nan,1,2,3", "inf,0,1,1", "-1,-1,-2,-2", "4,3,2,1",
    "1e9,1e9,1e9,1e9", "0,0,0,0", "0,0,1e-9,1e-9", "1;2;3;4", "0:1,2,3,4", "5:+1,2;-3,4", "5:+1,2;", "5:", ":1,2",
    "object@5:1,2,3,4", "@5:1,2,3,4", "x@y@5:1,2", "99999999:1,2,3,4", "object=", "=x", "a=b=c", "a b=c", "person=x",
    "iou=0.9", "iou,iou", "iou=nan", "iou=,", "contact=0.5,iou=0.8", "xx", "0x0", "16x16", "832x480x3", "1x99999999",
    "0:5", "5:0", "5:5", "a:b", "0:", "1:2:3", "99:99", "99:99:99.9", "1.5s", "-1s", "1e3s", "nans", "8GB", "-8GB",
    "1e400GB", "0GB", "8 GB", "8XB", "GB", "x.gguf:0.8", "x:", ":1", "x:nan", "x:99", "a,b,c", ",", "gpu=1/h,gb=2",
    "gpu=", "gpu=nan/h", "0,1", "0,0", "0,", "0-3", "-1,5", "127.0.0.1:9", "127.0.0.1:0", "127.0.0.1:65536", ":8188",
    "127.0.0.1:", "[::1]:9", "a b:1", "http://x:y@127.0.0.1:9/", "http://127.0.0.1:9/%zz", "ftp://127.0.0.1:9", ".:9",
)  # fmt: skip
LETTERS = "abz019-_.,:;=+@/\\ x\"'[]{}()<>&|#%\n\t\x1b\x00\u202eé日😀"
BOMBS: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 3, 1.5, -0.0, 2**31, 2**63, 2**64, 10**30, 1e308, "", "x", "\x1b[2J", "a\nb",
    "../../x", "x" * 3000, "/dev/zero", "0", "nan", [], {}, [None], [[]], [[[[1]]]], {"": ""}, {"a": {"b": {"c": 1}}},
    [0] * 500, "http://127.0.0.1:9/", "true", [1, 2, 3, 4], [-5, 0, 5, 0], [1e308] * 4, ["a", "b"],
)  # fmt: skip


def text(rng: random.Random) -> str:
    """A text that somebody may give an option, or write anywhere."""
    choice = rng.random()
    if choice < 0.3:
        return rng.choice(SHAPES)
    if choice < 0.5:
        return rng.choice(NUMBERS)
    if choice < 0.7:
        return rng.choice(TEXTS)
    if choice < 0.85:
        return bent_text(rng.choice(SHAPES + NUMBERS), rng)
    return "".join(rng.choice(LETTERS) for _ in range(rng.choice((1, 3, 12, 60))))


def bent_text(given: str, rng: random.Random) -> str:
    """A text with a few letters taken out, put in or repeated."""
    letters = list(given[:200]) or ["0"]
    for _ in range(rng.choice((1, 1, 2, 5))):
        at = rng.randrange(len(letters) + 1)
        how = rng.randrange(4)
        if how == 0 and at < len(letters):
            letters[at : at + rng.randint(1, 3)] = []
        elif how == 1:
            letters.insert(at, rng.choice(LETTERS))
        elif how == 2 and at < len(letters):
            letters[at] = rng.choice(LETTERS)
        else:
            letters[at:at] = letters[at : at + 4] * rng.choice((1, 2, 30))
        letters = letters or [""]
    return "".join(letters)


def given_text(rng: random.Random) -> str:
    """A text as a process can be given it: no null characters, of surrogates those alone that stand for bytes."""
    return as_given(text(rng))


def as_given(found: str) -> str:
    """A text without what no process can be given."""
    return "".join(letter for letter in found if letter != "\0" and not "\ud800" <= letter < "\udc80")


def bent_tree(value: Any, rng: random.Random) -> Any:
    """A tree of dicts, lists and values in which one to three places are otherwise."""
    whole = [json.loads(json.dumps(value))]
    for _ in range(rng.choice((1, 1, 2, 3))):
        places = list(_places(whole))
        holder, key = rng.choice(places)
        _bend(holder, key, rng, [inner[other] for inner, other in places])
    return whole[0]


def _places(holder: Any) -> list[tuple[Any, Any]]:
    """Every place of a tree: its holder and its key or index."""
    found: list[tuple[Any, Any]] = []
    for key in holder if isinstance(holder, dict) else range(len(holder)):
        found.append((holder, key))
        if isinstance(holder[key], (dict, list)):
            found += _places(holder[key])
    return found


def _bend(holder: Any, key: Any, rng: random.Random, others: list[Any]) -> None:
    how = rng.randrange(8)
    value = holder[key]
    if how == 0 and (isinstance(holder, dict) or len(holder) > 1):
        del holder[key]
    elif how == 1 and isinstance(holder, dict):
        holder[str(rng.choice((*TEXTS, key.upper(), f"{key} "))).replace("\ud800", "")] = holder.pop(key)
    elif how == 1:
        holder[key:key] = [value] * rng.choice((1, 2, 200))
    elif how == 2:
        holder[key] = json.loads(json.dumps(rng.choice(others)))  # of another place
    elif how == 3:
        holder[key] = [value]
    elif how == 4 and isinstance(value, str):
        holder[key] = bent_text(value, rng)
    elif how == 4 and isinstance(value, (int, float)) and not isinstance(value, bool):
        holder[key] = rng.choice((-value, value * 1000, value + 1, value - 1, value / 7, str(value), 10**9))
    elif how == 5:
        holder[key] = _deep(rng.choice((5, 40, 120)), rng.random() < 0.5)
    else:
        holder[key] = rng.choice(BOMBS)


def _deep(depth: int, in_lists: bool) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value] if in_lists else {"a": value}
    return value


def json_text(value: Any, rng: random.Random) -> str:
    """A tree as JSON, now and then JSON that is none: NaN, a double key, a tail, or nested without end."""
    found = json.dumps(value)
    how = rng.randrange(20)
    if how == 0:
        return found.replace(": 1", ": NaN", 1).replace("0", "Infinity", 1)
    if how == 1:
        return found + rng.choice(("x", "\n\n{}", "\x00", "," * 100))
    if how == 2:
        return rng.choice("[{") * 200_000
    if how == 3:
        return found[:-1] + ', "a": 1, "a": 2}' if found.endswith("}") else found * 2
    return found


def toml_of(value: Any, name: str = "") -> str:
    """A tree as TOML; what TOML has no word for is left out."""
    if not isinstance(value, dict):
        return f"x = {_toml(value)}\n"
    lines, tables = [], []
    for key, item in value.items():
        here = f"{name}.{_toml(str(key))}" if name else _toml(str(key))
        if isinstance(item, dict):
            tables.append(f"[{here}]\n{toml_of(item, here)}")
        elif isinstance(item, list) and item and all(isinstance(each, dict) for each in item):
            tables += [f"[[{here}]]\n{toml_of(each, here)}" for each in item]
        elif item is not None:
            lines.append(f"{_toml(str(key))} = {_toml(item)}\n")
    return "".join(lines + tables)


def _toml(value: Any) -> str:
    if isinstance(value, str):
        return json.dumps(value.encode("utf-8", "replace").decode(), ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_toml(str(key))} = {_toml(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(_toml(item) for item in value) + "]"
    if isinstance(value, float) and not math.isfinite(value):
        return "nan"
    return json.dumps(value) if value is not None else '""'


def bent_bytes(data: bytes, rng: random.Random) -> bytes:
    """Bytes that were flipped, cut, removed, repeated, exchanged, put before or behind."""
    found = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 4))):
        size = len(found)
        at = rng.randrange(size) if size else 0
        how = rng.randrange(8)
        if how == 0 and size:
            for _ in range(rng.choice((1, 5, 40))):
                found[rng.randrange(size)] ^= 1 << rng.randrange(8)
        elif how == 1:
            del found[at:]
        elif how == 2:
            del found[at : at + rng.choice((1, 4, 100))]
        elif how == 3:
            found[at:at] = found[at : at + rng.choice((1, 16, 300))] * rng.choice((1, 3))
        elif how == 4:
            found[at : at + 4] = rng.choice((b"\0" * 4, b"\xff" * 4, b"\x7f\xff\xff\xff", b"\x80\0\0\0"))
        elif how == 5:
            found[:0] = rng.choice((b"\xef\xbb\xbf", b"\xff\xfe", b"\0", b"\n", b"#"))
        elif how == 6:
            found += rng.choice((b"\0" * 64, b"x", b"\xff", found[:50]))
        else:
            other = rng.randrange(size) if size else 0
            piece = found[at : at + 8]
            found[at : at + 8] = found[other : other + 8]
            found[other : other + 8] = piece
    return bytes(found)


def _fifo(path: Path, rng: random.Random) -> None:
    os.mkfifo(path)


def _folder(path: Path, rng: random.Random) -> None:
    path.mkdir()


def _hole(path: Path, rng: random.Random) -> None:
    path.touch()
    os.truncate(path, 1 << rng.choice((31, 36, 40)))  # it takes no room


def _loop(path: Path, rng: random.Random) -> None:
    path.symlink_to(path.name)


def _endless(path: Path, rng: random.Random) -> None:
    path.symlink_to("/dev/zero")


def _empty(path: Path, rng: random.Random) -> None:
    path.touch()


def _noise(path: Path, rng: random.Random) -> None:
    path.write_bytes(rng.randbytes(rng.choice((1, 100, 5000))))


def _nothing(path: Path, rng: random.Random) -> None:
    pass


NO_FILES: tuple[Callable[[Path, random.Random], None], ...] = (
    _fifo, _folder, _hole, _loop, _endless, _empty, _noise, _nothing,
)  # fmt: skip


def no_file(path: Path, rng: random.Random) -> str:
    """Put at a path what is no file of any use; says what."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    path.unlink(missing_ok=True)
    how = rng.choice(NO_FILES)
    how(path, rng)
    return how.__name__.strip("_")
