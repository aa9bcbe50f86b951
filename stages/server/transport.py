"""Lossless video both ways: FFV1 in Matroska to the server, PNG back. Pixel-exact on both legs.

FFV1 with pixel format bgr0 (pictures) or gray (masks) is what ComfyUI's LoadVideo decodes to the very values sent;
every YUV 4:4:4 form is off by up to 2.
"""

import io
from collections.abc import Mapping, Sequence
from fractions import Fraction
from types import MappingProxyType
from typing import Any

import av
import cv2
import numpy as np

from stages.base import Array
from stages.picture import decode_picture
from stages.video.limits import DEFAULT_MAX_PIXELS
from storage.errors import GeneratorError

VIDEO_RATE = 16  # frames a second written into the container (Wan's own rate); nothing reads it
GROUP = 12  # frames; with each group FFV1 begins anew, so that it can be encoded without those before

Groups = Mapping[int, Sequence[bytes]]
"""By the number of a group's first frame, its packets."""


def encode_video(frames: Array, encoded: Groups = MappingProxyType({})) -> bytes:
    """Matroska bytes with one FFV1 stream.

    Args:
        frames: `[n, H, W, 3]` uint8 RGB (stored as bgr0) or `[n, H, W]` uint8 (stored as gray), n >= 1.
        encoded: groups of them, as `encode_groups` gave them; the others are encoded here.
    """
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="matroska", options={"fflags": "+bitexact"}) as container:
        stream: Any = container.add_stream("ffv1", rate=VIDEO_RATE)
        _set_up(stream.codec_context, frames)
        container.start_encoding()
        for start in range(0, len(frames), GROUP):
            packets = encoded.get(start) or _encode_group(frames[start : start + GROUP])
            for place, data in enumerate(packets):
                packet = av.Packet(data)
                packet.stream, packet.time_base = stream, Fraction(1, VIDEO_RATE)
                packet.pts = packet.dts = start + place
                packet.duration, packet.is_keyframe = 1, place == 0
                container.mux(packet)
    return buffer.getvalue()


def encode_groups(frames: Array, since: int = 0) -> Groups:
    """The groups of a video that begin at frame `since` or later."""
    return {start: _encode_group(frames[start : start + GROUP]) for start in range(0, len(frames), GROUP)
            if start >= since}  # fmt: skip


def _encode_group(frames: Array) -> list[bytes]:
    """The packets of a few frames, one each, the first of which stands for itself."""
    codec: Any = av.CodecContext.create("ffv1", "w")
    codec.time_base = Fraction(1, VIDEO_RATE)
    _set_up(codec, frames)
    packets = []
    for frame in frames:
        gray = frames.ndim == 3
        picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), "gray") if gray else _as_bgr0(frame)
        packets += codec.encode(picture)
    return [bytes(packet) for packet in [*packets, *codec.encode(None)]]


def _set_up(codec: Any, frames: Array) -> None:
    codec.height, codec.width = frames.shape[1:3]
    codec.pix_fmt = "gray" if frames.ndim == 3 else "bgr0"
    codec.gop_size = GROUP


def _as_bgr0(frame: Array) -> av.VideoFrame:
    """A picture `[H, W, 3]` uint8 RGB in a frame of its own, without a detour through other formats."""
    height, width = frame.shape[:2]
    picture = av.VideoFrame(width, height, "bgr0")
    plane: Any = picture.planes[0]  # rows may be longer than the picture is wide
    rows: Array = np.frombuffer(plane, np.uint8).reshape(height, -1)
    rows[:, : 4 * width].reshape(height, width, 4)[:] = cv2.cvtColor(np.ascontiguousarray(frame), cv2.COLOR_RGB2BGRA)
    return picture


def encode_png(image: Array) -> bytes:
    """PNG bytes of `[H, W, 3]` uint8 RGB."""
    done, data = cv2.imencode(".png", np.ascontiguousarray(image[..., ::-1]))
    if not done:
        raise GeneratorError(f"a picture of shape {image.shape} cannot be written as PNG")
    return data.tobytes()


def decode_png(data: bytes, name: str, max_pixels: int = DEFAULT_MAX_PIXELS) -> Array:
    """`[H, W, 3]` uint8 RGB of PNG bytes; an alpha channel is dropped.

    Raises:
        GeneratorError: when the bytes are no 8-bit picture, or one of more than `max_pixels`.
    """
    remedy = "remove what scales the output in the workflow"
    what = f"output {name} of the server"
    picture = decode_picture(data, cv2.IMREAD_UNCHANGED, what, max_pixels, remedy, GeneratorError)
    if picture is None or picture.dtype != np.uint8:
        raise GeneratorError(f"{what} is no 8-bit PNG ({len(data)} bytes): use a SaveImage node")
    if picture.ndim == 2:
        return np.repeat(picture[..., None], 3, axis=2)
    code = cv2.COLOR_BGRA2RGB if picture.shape[2] == 4 else cv2.COLOR_BGR2RGB
    rgb: Array = cv2.cvtColor(picture, code)
    return rgb
