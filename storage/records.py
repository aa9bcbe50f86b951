"""What a journal record may say. Records name files: what would lead out of the run directory is refused.

Kinds:
    config   the digest of the config under which the commits that follow are made
    layout   what the chain stores: names, shapes, dtypes, lifetimes
    commit   one stage's work on one window: span, digests by key of `run.zarr`, facts
    drop     frames before `stop` of these arrays are deleted (written before the deletion)
    revoke   the stages' commits from a window on are void
    keep     from here on raw windows and every window's states are kept
    redo     these windows are to be generated again beside the run, with this seed and text; none: no more
    remade   one of them is: as `commit`, but it does not count yet
    redone   what was made counts from here on, and the stages' commits from a window on are void
    attempt  another attempt at generating a window, and its worst frame's IoU
    switch   the run under `next/` takes the place of this one
    finish   sha256 of the finished files by name
"""

from collections.abc import Mapping
from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from storage.boundary import convert
from storage.errors import RunDirectoryError
from storage.layout import ARRAY_NAME, STAGE_NAME, Layout, Name, Stage

Record = Mapping[str, Any]

MAX_FRAMES = 10**9
MAX_NUMBER = 1 << 60  # of seconds and bytes
MAX_PIXEL = 1e6
_REMEDY = "this is nothing that this program wrote: the journal is damaged or altered; start anew with --overwrite"
_FRAMES_KEY = rf"(?:{ARRAY_NAME.pattern})/c\.[0-9]{{1,8}}(?:\.0){{0,4}}"
_BLOCK_KEY = rf"(?:state|blocks)/{STAGE_NAME.pattern}/[0-9]{{1,8}}"

Key = Annotated[str, Meta(pattern=rf"\A(?:{_FRAMES_KEY}|{_BLOCK_KEY})\Z")]  # of an object in `run.zarr`
Digest = Annotated[str, Meta(pattern=r"\A[0-9a-f]{32}\Z")]
Sha256 = Annotated[str, Meta(pattern=r"\A[0-9a-f]{64}\Z")]
Segment = Annotated[str, Meta(pattern=r"\A[0-9]{5,8}\.mp4\Z")]
File = Annotated[str, Meta(pattern=r"\A([a-z_]{1,32}/)?[a-z_]{1,32}\.[a-z0-9]{1,5}\Z")]
WindowIndex = Annotated[int, Meta(ge=0, le=10**7)]
Count = Annotated[int, Meta(ge=0, le=MAX_FRAMES)]
Bytes = Annotated[int, Meta(ge=0, le=MAX_NUMBER)]
Number = Annotated[float, Meta(ge=-MAX_NUMBER, le=MAX_NUMBER)]
Share = Annotated[float, Meta(ge=0, le=1)] | None
Spans = list[tuple[Count, Count]]
Pixel = Annotated[float, Meta(ge=-MAX_PIXEL, le=MAX_PIXEL)]
Sum = Annotated[float, Meta(ge=0, le=1e12)]


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


class Choice(Struct, frozen=True):
    """A person, chosen on a frame by a box."""

    frame: Count
    box: tuple[Pixel, Pixel, Pixel, Pixel]


class Seam(Struct, frozen=True):
    """What the seam ratio is made of."""

    edge: Sum | None
    inside_sum: Sum
    inside_frames: Count
    added: Sum = 0.0


class Facts(Struct, frozen=True):
    """Facts of a commit that are read again later, by whichever stage: of these kinds where they are there."""

    last: bool = False
    frames: Count = 0
    frame_digests: list[str] | UnsetType = UNSET
    clip_frames_min16: Count = 0
    person: Choice | None = None
    again: list[Choice] = []
    persons_seen: Count = 0
    cuts: list[Count] = []
    stop: Count | None = None
    untracked: dict[str, Spans] = {}
    lost: dict[str, Spans] = {}
    unlike: dict[str, Spans] = {}
    attempt: Count = 0
    segment: Segment | UnsetType = UNSET
    sha256: Sha256 | UnsetType = UNSET
    iou: list[Share] | UnsetType = UNSET
    boundary_f: list[Share] | UnsetType = UNSET
    containment: list[Share] | UnsetType = UNSET
    clipping: list[Share] | UnsetType = UNSET
    visible: list[bool] | UnsetType = UNSET
    failed: Spans = []
    seam: Seam | None = None
    own_seam: Seam | None = None
    crossfade: tuple[Count, Count] = (0, 0)
    read: tuple[Count, Count] = (0, 0)
    final: tuple[Count, Count] = (0, 0)
    padded: Count = 0
    shot: tuple[Count, Count] = (0, 0)
    cut: bool = False

    def check(self, frames: int) -> None:
        """See that those with a value a frame have one for each, and that a segment has its digest.

        Raises:
            ValueError: with the name of one that does not.
        """
        for name, default in zip(self.__struct_fields__, self.__struct_defaults__, strict=True):
            values = getattr(self, name)
            if default is UNSET and isinstance(values, list) and len(values) != frames:
                raise ValueError(f"{name}: {len(values)} values for {frames} frames")
        if self.segment is not UNSET and self.sha256 is UNSET:
            raise ValueError("segment: has no sha256")


class _Commit(Struct, frozen=True, tag_field="kind", tag="commit"):
    stage: Stage
    window: WindowIndex
    span: tuple[Count, Count]
    seconds: Number
    digests: dict[Key, Digest]
    info: Facts
    rss_bytes: Bytes | None = None
    vram_bytes: Bytes | None = None

    def __post_init__(self) -> None:
        start, stop = self.span
        if start > stop:
            raise ValueError(f"span: {start} is behind {stop}")
        elsewhere = [key for key in self.digests if window_of(key) != self.window]
        if elsewhere:
            raise ValueError(f"digests: {elsewhere[0]} is of another window than {self.window}")
        self.info.check(stop - start)


class _Remade(_Commit, frozen=True, tag_field="kind", tag="remade"):
    pass


class _Config(Struct, frozen=True, tag_field="kind", tag="config"):
    digest: Sha256


class _Layout(Struct, frozen=True, tag_field="kind", tag="layout"):
    layout: Layout


class _Drop(Struct, frozen=True, tag_field="kind", tag="drop"):
    arrays: list[Name]
    stop: Count


class _Revoke(Struct, frozen=True, tag_field="kind", tag="revoke"):
    stages: list[Stage]
    window: WindowIndex


class _Redone(_Revoke, frozen=True, tag_field="kind", tag="redone"):
    pass


class _Keep(Struct, frozen=True, tag_field="kind", tag="keep"):
    pass


class _Redo(Struct, frozen=True, tag_field="kind", tag="redo"):
    stages: list[Stage]
    windows: list[WindowIndex]
    seed: int
    text: str


class _Attempt(Struct, frozen=True, tag_field="kind", tag="attempt"):
    window: WindowIndex
    attempt: WindowIndex
    iou_min: Number


class _Switch(Struct, frozen=True, tag_field="kind", tag="switch"):
    pass


class _Finish(Struct, frozen=True, tag_field="kind", tag="finish"):
    files: dict[File, Sha256]


_KINDS: Any = (
    _Commit | _Remade | _Config | _Layout | _Drop | _Revoke | _Redone | _Keep | _Redo | _Attempt | _Switch | _Finish
)


def check_record(record: Record, where: str) -> None:
    """Refuse a record that this program cannot have written.

    Args:
        record: as decoded from its line.
        where: file and line, for the message.

    Raises:
        RunDirectoryError: when a field is missing, of another type, out of range, or names something outside the run.
    """
    convert(record, _KINDS, where, RunDirectoryError, _REMEDY)


def check_facts(info: Any, frames: int) -> None:
    """Refuse facts of so many frames that could not be read again.

    Raises:
        ValueError: with the first that others read and that is of another kind.
    """
    try:
        msgspec.convert(info, Facts).check(frames)
    except msgspec.ValidationError as error:
        raise ValueError(str(error)) from error


def segment_of(record: Mapping[str, Any]) -> str | None:
    """The segment file that a commit record names, or None."""
    name = record["info"].get("segment")
    return None if name is None else str(name)


def window_of(key: str) -> int:
    """The window that wrote an object: 5 of "masks/object/c.5.0.0" and of "state/track/5"; -1 of any other name."""
    last = key.rpartition("/")[2]
    number = last.split(".")[1] if last.startswith("c.") else last
    return int(number) if number.isdecimal() else -1
