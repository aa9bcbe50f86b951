"""What a journal record may say. Records name files: what would lead out of the run directory is refused.

Kinds:
    config   the digest of the config under which the commits that follow are made
    layout   what the chain stores: names, shapes, dtypes, lifetimes
    commit   one stage's work on one window: span, digests by key of `run.zarr`, facts
    drop     frames before `stop` of these arrays are deleted (written before the deletion)
    revoke   the stages' commits from a window on are void; `digest`: for the config that `run.json` says next
    keep     from here on raw windows and every window's states are kept
    redo     these windows are to be generated again beside the run, with this seed and text; none: no more
    made     one of them is: as `commit`, but it does not count yet
    redone   what was made counts from here on, and the stages' commits from a window on are void
    attempt  another attempt at generating a window, and its worst frame's IoU
    switch   the run under `next/` takes the place of this one
    finish   sha256 of the finished files by name
"""

import re
from collections.abc import Callable, Mapping
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct

from storage.errors import RunDirectoryError
from storage.layout import ARRAY_NAME, STAGE_NAME, Layout

Record = dict[str, Any]

MAX_WINDOWS = 10**7
MAX_FRAMES = 10**9
MAX_NUMBER = 1 << 60  # of seconds and bytes
MAX_PIXEL = 1e6

_KEY = re.compile(rf"(?:{ARRAY_NAME.pattern})/c\.(?P<window>[0-9]{{1,8}})(\.0){{0,4}}")
_BLOCK_KEY = re.compile(rf"(?:state|blocks)/{STAGE_NAME.pattern}/(?P<window>[0-9]{{1,8}})")
_DIGEST = re.compile(r"[0-9a-f]{32}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_SEGMENT = re.compile(r"[0-9]{5,8}\.mp4")
_FILE = re.compile(r"([a-z_]{1,32}/)?[a-z_]{1,32}\.[a-z0-9]{1,5}")


class Info(dict[str, Any]):
    """The facts of a record that was read. Which there are is up to the stages: one that somebody asks for and that is
    missing is damage in the journal, not a fault of the program.

    Args:
        values: by name. journal: its address. line: counted from 1.
    """

    __slots__ = ("journal", "line")

    def __init__(self, values: Mapping[str, Any], journal: str, line: int) -> None:
        super().__init__((k, Info(v, journal, line) if isinstance(v, dict) else v) for k, v in values.items())
        self.journal, self.line = journal, line

    def __missing__(self, name: str) -> Any:
        raise RunDirectoryError(
            f"{self.journal}: line {self.line}: the fact '{name}' is missing: the journal is damaged or altered; "
            "start anew with --overwrite"
        )


def check_record(record: Record, where: str) -> None:
    """Refuse a record that this program cannot have written.

    Args:
        record: as decoded from its line.
        where: file and line, for the message.

    Raises:
        RunDirectoryError: when a field is missing, of another type, out of range, or names something outside the run.
    """
    check = _CHECKS.get(str(record.get("kind")))
    wrong = check(record) if check is not None else "kind"
    if wrong:
        raise RunDirectoryError(
            f"{where}: '{wrong}' is nothing that this program wrote ({str(record.get(wrong))[:60]!r}): "
            "the journal is damaged or altered; start anew with --overwrite"
        )


def _config(record: Record) -> str | None:
    return None if _matches(_SHA256, record.get("digest")) else "digest"


def _layout(record: Record) -> str | None:
    try:
        Layout.from_json(record["layout"])
    except (RunDirectoryError, AttributeError, KeyError, TypeError, ValueError):
        return "layout"
    return None


def _commit(record: Record) -> str | None:
    if not _matches(STAGE_NAME, record.get("stage")):
        return "stage"
    if not _whole(record.get("window"), MAX_WINDOWS):
        return "window"
    if not _span(record.get("span")):
        return "span"
    if not _number(record.get("seconds")):
        return "seconds"
    for name in ("rss_bytes", "vram_bytes"):
        if record.get(name) is not None and not _whole(record[name], MAX_NUMBER):
            return name
    if not _digests(record.get("digests"), record["window"]):
        return "digests"
    return None if readable_facts(record.get("info"), record["span"][1] - record["span"][0]) else "info"


def _span(span: Any) -> bool:
    whole = isinstance(span, list) and len(span) == 2 and all(_whole(frame, MAX_FRAMES) for frame in span)
    return whole and bool(span[0] <= span[1])


def _digests(digests: Any, window: int) -> bool:
    """Whether every key is an object of this window, with a digest."""
    if not isinstance(digests, dict):
        return False
    keys = [_KEY.fullmatch(key) or _BLOCK_KEY.fullmatch(key) for key in digests]
    named = all(key is not None and int(key["window"]) == window for key in keys)
    return named and all(_matches(_DIGEST, value) for value in digests.values())


Count = Annotated[int, Meta(ge=0, le=MAX_FRAMES)]
Share = Annotated[float, Meta(ge=0, le=1)] | None
Spans = list[tuple[Count, Count]]


Pixel = Annotated[float, Meta(ge=-MAX_PIXEL, le=MAX_PIXEL)]
Sum = Annotated[float, Meta(ge=0, le=1e12)]


class Choice(Struct, frozen=True):
    """A person, chosen on a frame by a box."""

    frame: Count
    box: tuple[Pixel, Pixel, Pixel, Pixel]


class Seam(Struct, frozen=True):
    """What the seam ratio is made of."""

    edge: Sum | None
    inside_sum: Sum
    inside_frames: Count


class Facts(Struct, frozen=True):
    """Facts of a commit that are read again later, by whichever stage: of these kinds where they are there."""

    last: bool = False
    frames: Count = 0
    frame_digests: list[str] = []
    clip_frames_min16: Count = 0
    person: Choice | None = None
    again: list[Choice] = []
    persons_seen: Count = 0
    cuts: list[Count] = []
    stop: Count | None = None
    untracked: dict[str, Spans] = {}
    lost: dict[str, Spans] = {}
    attempt: Count = 0
    iou: list[Share] = []
    boundary_f: list[Share] = []
    containment: list[Share] = []
    clipping: list[Share] = []
    visible: list[bool] = []
    failed: Spans = []
    seam: Seam | None = None
    source_seam: Seam | None = None
    redo: dict[str, Any] | None = None
    read: tuple[Count, Count] = (0, 0)
    final: tuple[Count, Count] = (0, 0)
    padded: Count = 0
    shot: tuple[Count, Count] = (0, 0)
    cut: bool = False


_BY_FRAME = [name for name, kind in Facts.__annotations__.items() if kind in (list[str], list[bool], list[Share])]


def readable_facts(info: Any, frames: int) -> bool:
    """Whether facts of so many frames can be read again: those that others read are of their kinds."""
    if not isinstance(info, dict):
        return False
    try:
        msgspec.convert(info, Facts)
    except (msgspec.ValidationError, RecursionError):
        return False
    if any(len(info[name]) != frames for name in _BY_FRAME if name in info):
        return False
    return "segment" not in info or (_matches(_SEGMENT, info["segment"]) and _matches(_SHA256, info.get("sha256")))


def _drop(record: Record) -> str | None:
    arrays = record.get("arrays")
    if not isinstance(arrays, list) or not all(_matches(ARRAY_NAME, name) for name in arrays):
        return "arrays"
    return None if _whole(record.get("stop"), MAX_FRAMES) else "stop"


def _revoke(record: Record) -> str | None:
    stages = record.get("stages")
    if not isinstance(stages, list) or not all(_matches(STAGE_NAME, name) for name in stages):
        return "stages"
    if "digest" in record and not _matches(_SHA256, record["digest"]):
        return "digest"
    return None if _whole(record.get("window"), MAX_WINDOWS) else "window"


def _attempt(record: Record) -> str | None:
    if not _whole(record.get("window"), MAX_WINDOWS):
        return "window"
    if not _whole(record.get("attempt"), MAX_WINDOWS):
        return "attempt"
    return None if _number(record.get("iou_min")) else "iou_min"


def _redo(record: Record) -> str | None:
    stages = record.get("stages")
    if not isinstance(stages, list) or not all(_matches(STAGE_NAME, name) for name in stages):
        return "stages"
    windows = record.get("windows")
    if not isinstance(windows, list) or not all(_whole(window, MAX_WINDOWS) for window in windows):
        return "windows"
    if not isinstance(record.get("seed"), int):
        return "seed"
    return None if isinstance(record.get("text"), str) else "text"


def _finish(record: Record) -> str | None:
    files = record.get("files")
    if not isinstance(files, dict):
        return "files"
    return None if all(_matches(_FILE, name) and _matches(_SHA256, files[name]) for name in files) else "files"


_CHECKS: dict[str, Callable[[Record], str | None]] = {
    "config": _config,
    "layout": _layout,
    "commit": _commit,
    "drop": _drop,
    "revoke": _revoke,
    "keep": lambda record: None,
    "attempt": _attempt,
    "redo": _redo,
    "remade": _commit,
    "redone": _revoke,
    "finish": _finish,
    "switch": lambda record: None,
}


def _matches(pattern: re.Pattern[str], value: Any) -> bool:
    return isinstance(value, str) and pattern.fullmatch(value) is not None


def _whole(value: Any, most: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= most


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= MAX_NUMBER


def segment_of(record: Mapping[str, Any]) -> str | None:
    """The segment file that a commit record names, or None."""
    name = record["info"].get("segment")
    return None if name is None else str(name)
