"""The encoded frames of a run, for what shows them."""

from collections.abc import Iterator

from stages.base import Array
from stages.video.segment import read_segment
from storage.records import Record
from storage.rundir import RunReader


def segment_frames(run: RunReader, record: Record) -> Iterator[Array]:
    """Those of a commit of the sink, `[H, W, 3]` uint8 RGB each, in the size of the run's frames.

    Raises:
        RunDirectoryError: when the segment is missing, damaged, or of another size.
    """
    video = run.manifest["video"]
    path = run.store.path(f"segments/{record['info']['segment']}")
    return read_segment(path, video["height"], video["width"], record["info"].get("size"))
