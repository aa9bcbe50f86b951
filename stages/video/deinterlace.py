"""Interlaced pictures made whole, by libavfilter's bwdif, one for one, in their order and at their stamps."""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, replace

import av
from av.filter import Graph

from stages.video.reader import RawFrame

OPTIONS = {"mode": "send_frame", "parity": "auto", "deint": "all"}


@dataclass(frozen=True)
class _Waiting:
    """A frame whose successor the filter waits for; `given`: whether it is wanted, or only its neighbours'."""

    frame: RawFrame
    wanted: bool


class _Filter:
    """bwdif for pictures of one size and format; gives each picture once the next one is there."""

    def __init__(self, picture: av.VideoFrame) -> None:
        self.kind = _kind(picture)
        graph = Graph()
        source = graph.add(
            "buffer",
            f"video_size={picture.width}x{picture.height}:pix_fmt={picture.format.name}:time_base=1/1000:"
            f"colorspace={int(picture.colorspace)}:range={int(picture.color_range)}",
        )
        bwdif, sink = graph.add("bwdif", **OPTIONS), graph.add("buffersink")
        source.link_to(bwdif)
        bwdif.link_to(sink)
        graph.configure()
        self._graph, self._source, self._sink = graph, source, sink
        self._waiting: deque[_Waiting] = deque()

    def push(self, frame: RawFrame, wanted: bool = True) -> Iterator[RawFrame]:
        """Put the next frame in; gives what is ready of those before it."""
        self._waiting.append(_Waiting(frame, wanted))
        self._source.push(frame.picture)
        yield from self._ready()

    def finish(self) -> Iterator[RawFrame]:
        """Give what is left: nothing comes after it."""
        self._source.push(None)
        yield from self._ready()

    def _ready(self) -> Iterator[RawFrame]:
        while self._waiting:
            try:
                picture = self._sink.pull()
            except (av.error.BlockingIOError, av.error.EOFError):
                return
            waiting = self._waiting.popleft()
            if not waiting.wanted:
                continue
            whole = waiting.frame
            if whole.picture.interlaced_frame:
                assert isinstance(picture, av.VideoFrame)  # what goes in comes out
                whole = replace(whole, picture=picture, deinterlaced=True)
            yield whole


def deinterlaced(frames: Iterator[RawFrame], from_start: bool) -> Iterator[RawFrame]:
    """The frames, those that are flagged as interlaced deinterlaced, the others untouched.

    A frame's bytes depend on itself and its two neighbours alone, wherever reading began: the frame before the first
    interlaced one is put in too, and after a seek a first frame that is interlaced is only its successor's neighbour,
    and is not given. Clips without interlaced frames pass by.

    Args:
        frames: in order of presentation.
        from_start: whether the first one is the file's.
    """
    before: RawFrame | None = None
    running: _Filter | None = None
    for frame in frames:
        if running is not None and _kind(frame.picture) != running.kind:
            yield from running.finish()
            running = before = None
        if running is not None:
            yield from running.push(frame)
        elif frame.picture.interlaced_frame:
            running = _Filter(frame.picture)
            if before is not None:
                yield from running.push(before, wanted=False)
            yield from running.push(frame, wanted=before is not None or from_start)
        else:
            yield frame
        before = frame
    if running is not None:
        yield from running.finish()


def _kind(picture: av.VideoFrame) -> tuple[int, int, str]:
    return picture.width, picture.height, picture.format.name
