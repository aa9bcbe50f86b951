"""Clips for the comparisons, at least so many frames long: by repeating a short one, without coding it again."""

from pathlib import Path

import av
from av.error import FFmpegError

from bench._common import must_exist
from storage.errors import InputError
from stream.demo import DemoConfig
from stream.demo.clip import write_clip

DEMO_FRAMES = 120  # rendered; more come from repeating


def prepare_clip(video: Path | None, frames: int, size: tuple[int, int], folder: Path) -> Path:
    """A clip of at least `frames` frames in `folder`: of `video`, or of the demo at `size` (width, height).

    Its packets are copied over and over, and whole groups of pictures are kept: a few frames more may come out.

    Raises:
        InputError: when the video is missing or cannot be copied.
    """
    if video is None:
        video = folder / "demo.mp4"
        write_clip(DemoConfig(min(frames, DEMO_FRAMES), *size), video)
    must_exist(video)
    path = folder / "clip.mkv"
    try:
        with av.open(str(path), "w", format="matroska") as target:
            _repeat_packets(video, target, frames)
    except FFmpegError as error:
        raise InputError(f"{video}: cannot be copied ({error.strerror}): give another video") from error
    return path


def _repeat_packets(video: Path, target: av.container.OutputContainer, frames: int) -> None:
    """Copy the video's packets, in as many passes as `frames` needs, each shifted behind the one before."""
    out = None
    copied = shift = 0
    while copied < frames:
        before, end = copied, 0
        with av.open(str(video)) as source:
            if not source.streams.video:
                raise InputError(f"{video}: has no video stream: give another video")
            stream = source.streams.video[0]
            out = out or target.add_stream_from_template(stream)
            for packet in source.demux(stream):
                if packet.pts is None or packet.dts is None or not packet.size:
                    continue  # the flush at the end
                if packet.is_keyframe and copied >= frames:
                    return
                end = max(end, packet.pts + (packet.duration or 1))
                packet.pts, packet.dts, packet.stream = packet.pts + shift, packet.dts + shift, out
                target.mux(packet)
                copied += 1
        if copied == before:
            raise InputError(f"{video}: holds no packet with a time stamp: give another video")
        shift += end
