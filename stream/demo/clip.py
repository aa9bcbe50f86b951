"""Writes a demo clip as an ordinary mp4, so that the demo goes through decoding like any other video."""

from fractions import Fraction
from pathlib import Path

import av

from stages.video.encode import written_whole
from stream.demo.scene import DemoConfig, Scene

_CRF = 16
# BT.601 in limited range, as PyAV takes an untagged stream; the tags tell every other player the same.
_COLORSPACE = 5  # AVCOL_SPC_BT470BG
_LIMITED_RANGE = 1  # AVCOL_RANGE_MPEG
# Measured: with macroblock-tree and B-frames together x264's AVX-512 code gives other bytes from run to run on small
# pictures (160x90, 176x144, 64x64; asm=avx2 does not). Without the tree it is repeatable.
_REPEATABLE = {"x264-params": "mbtree=0"}


def write_clip(clip: DemoConfig | Scene, path: Path) -> None:
    """Render a clip to `path` (H.264 in mp4), one frame in memory at a time.

    yuv420p, or yuv444p where a side is odd. Byte-identical for the same config, machine and library versions. A clip
    that was interrupted is never at `path`, and one that found no room leaves nothing.
    """
    scene = clip if isinstance(clip, Scene) else Scene(clip)
    config = scene.config
    even = config.width % 2 == 0 and config.height % 2 == 0
    options = {"fflags": "+bitexact"}
    with written_whole(path) as partial, av.open(str(partial), "w", format="mp4", options=options) as container:
        stream = container.add_stream("libx264", rate=config.fps)
        stream.width, stream.height = config.width, config.height
        stream.pix_fmt = "yuv420p" if even else "yuv444p"
        stream.options = {"crf": str(_CRF), "preset": "fast", "threads": "1", "flags": "+bitexact", **_REPEATABLE}
        context = stream.codec_context
        context.time_base = step = Fraction(1, config.fps)
        context.colorspace, context.color_range = _COLORSPACE, _LIMITED_RANGE
        for index in range(len(scene)):
            picture = av.VideoFrame.from_ndarray(scene.picture(index), format="rgb24")
            frame = picture.reformat(format=stream.pix_fmt, dst_colorspace=_COLORSPACE, dst_color_range=_LIMITED_RANGE)
            frame.pts, frame.time_base = index, step
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
