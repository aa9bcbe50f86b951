"""Joining segments into one file: packets are copied, never encoded again."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import av
from av.error import FFmpegError
from av.video.stream import VideoStream

from stages.base import Array
from stages.video.encode import BITEXACT, TICKS_PER_SECOND, TIME_BASE, ticks, written_whole
from storage.errors import RunDirectoryError


def join_segments(segments: Sequence[Path], output: Path, times: Array) -> None:
    """Copy the packets of `segments`, in order, into the MP4 `output`; the same segments give the same bytes.

    Args:
        segments: files written by the sink, one after another.
        output: written by a temporary name, durable before it is renamed.
        times: [T] float64 seconds of every frame of the clip; frame i is shown from `times[i] - times[0]`, the last one
            as long as the one before it.

    Raises:
        RunDirectoryError: when a segment is missing, damaged, of another size or coding, or does not hold the frames
            that `times` says.
        OSError: when the disk is full or the folder cannot be written.
    """
    stamps = [stamp - round(float(times[0]) * TICKS_PER_SECOND) for stamp in ticks(times)]
    with written_whole(output) as partial, av.open(str(partial), "w", format="mp4", options=BITEXACT) as container:
        stream: VideoStream | None = None
        extradata: bytes | None = None
        index = 0
        for segment in segments:
            for packet, template in _packets(segment):
                if stream is None:
                    extradata = template.codec_context.extradata
                    stream = container.add_stream_from_template(template)
                    stream.time_base = TIME_BASE
                    stream.metadata.clear()
                if template.codec_context.extradata != extradata:
                    raise RunDirectoryError(f"{segment}: is coded unlike the segments before it: {_REMEDY}")
                if index >= len(stamps):
                    raise RunDirectoryError(f"{segment}: more frames than the {len(stamps)} of the run: {_REMEDY}")
                _place(packet, stream, stamps, index)
                container.mux_one(packet)
                index += 1
        if index != len(stamps):
            raise RunDirectoryError(f"{output}: its segments hold {index} frames, the run has {len(stamps)}: {_REMEDY}")


_REMEDY = "find the damaged piece with `skate status RUN --verify`, then `skate resume RUN`"


def _place(packet: "av.Packet[VideoStream]", stream: VideoStream, stamps: list[int], index: int) -> None:
    """Give a packet its stamp and duration in the whole clip."""
    if index + 1 < len(stamps):
        duration = stamps[index + 1] - stamps[index]
    else:
        duration = stamps[-1] - stamps[-2] if len(stamps) > 1 else int(packet.duration or 1)
    packet.stream = stream
    packet.time_base = TIME_BASE
    packet.pts = packet.dts = stamps[index]
    packet.duration = duration


def _packets(segment: Path) -> Iterator["tuple[av.Packet[VideoStream], VideoStream]"]:
    try:
        with av.open(str(segment.absolute()), "r", container_options={"protocol_whitelist": "file"}) as source:
            template = source.streams.video[0]
            for packet in source.demux(template):
                if packet.size:
                    yield packet, template
    except (FFmpegError, IndexError) as error:
        raise RunDirectoryError(f"{segment}: is missing or damaged ({error}): {_REMEDY}") from error
