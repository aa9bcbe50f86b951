"""What has to hold besides the driver's verdict: the result is right, nothing lies around, nothing else changed."""

import random
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

import av
import numpy as np
from _zygote import Ended

from bench.hostile.trial import Trial
from bench.hostile.world import World, digests

Entry = TypeVar("Entry")
WELL, INPUT = (0, 1), 3
NEAR = 12.0  # median difference of two pictures that show the same, 0..255


def call(trial: Trial, words: list[str], **given: Any) -> Ended:
    """As `Trial.skate`; the last line is kept to be read by eye."""
    ended = trial.skate(words, **given)
    noted(trial, ended.output)
    return ended


def noted(trial: Trial, output: str) -> None:
    """Keep the last line of what a call printed."""
    lines = output.strip().splitlines()
    trial.notes.append(lines[-1][:400] if lines else "")


def nth(trial: Trial, table: Sequence[Entry]) -> tuple[Entry, int]:
    """`(entry, round)`: the table in an order that the seed makes, again and again."""
    order = list(range(len(table)))
    random.Random(f"{trial.world.seed} {trial.kind}").shuffle(order)
    entry = table[order[trial.number % len(table)]]
    trial.title = repr(entry)[:80]
    return entry, trial.number // len(table)


def tracked(world: World, *more: str) -> list[str]:
    """Options of the models, for windows of 5 frames."""
    return [*world.models, "--window", "5", "--overlap", "2", "--device", "cpu", *more]


def pictures(path: Path) -> list[Any] | None:
    """Every picture `[H, W, 3]` uint8 as PyAV alone decodes it, unrotated; None where it stumbles."""
    try:
        with av.open(str(path)) as container:
            stream = container.streams.best("video")
            if not isinstance(stream, av.VideoStream):
                return []
            stream.codec_context.thread_count = 1
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                return [frame.to_ndarray(format="rgb24") for frame in container.decode(stream)]
    except (av.FFmpegError, ValueError, OSError, MemoryError):
        return None


def look_at_result(trial: Trial, out: Path, source: Path, compared: bool) -> None:
    """Of a finished run: as many frames as the source, the same picture around what was regenerated."""
    made, given = pictures(out / "output.mp4"), pictures(source)
    trial.expect(bool(made), f"{out.name}/output.mp4 cannot be decoded")
    if not made or not given or not compared:
        return
    trial.expect(len(made) == len(given), f"{len(made)} frames came of {len(given)}")
    for index in (0, len(given) - 1):
        if index >= len(made):
            continue
        height, width = (min(a, b) for a, b in zip(made[index].shape[:2], given[index].shape[:2], strict=True))
        gap = made[index][:height, :width].astype(np.int16) - given[index][:height, :width]
        middle = float(np.median(np.abs(gap)))
        trial.expect(middle < NEAR, f"frame {index} differs by {middle:.0f} on the median")


def nothing_left(trial: Trial, room: Path) -> None:
    """No temporary file is left over in this room."""
    left = [str(path.relative_to(room)) for path in room.rglob("*") if is_leftover(path)]
    trial.expect(not left, f"left over: {sorted(left)[:5]}")


def is_leftover(path: Path) -> bool:
    """Whether it is a file or folder that something under way would have removed."""
    return path.name.endswith((".partial", ".skate", ".tmp", ".copying")) or path.parent.name == "tmpdir"


def not_begun(trial: Trial, out: Path) -> None:
    """What was refused before it began has left nothing."""
    left = [path.name for path in out.rglob("*")] if out.is_dir() else []
    trial.expect(not left, f"refused, and yet {out.name} holds {sorted(left)[:5]}")


def untouched(trial: Trial, folder: Path, before: dict[str, str], more: bool = False) -> None:
    """Every byte under a folder is what it was.

    Args:
        more: whether further files may be there.
    """
    now = digests(folder)
    names = before.keys() if more else now.keys() | before.keys()
    other = sorted(name for name in names if now.get(name) != before.get(name))
    trial.expect(not other, f"changed in {folder.name}: {other[:5]}")
