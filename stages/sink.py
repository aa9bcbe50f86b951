"""Sink: the blended frames of each window become one encoded segment; at the end segments are joined."""

from stages.base import Inputs, Output, Read, Stage, Window
from stages.video.colour import ColourTags
from stages.video.encode import EncoderSettings, write_segment
from stages.video.join import join_segments
from stages.video.segment import read_segment
from storage.durable import file_sha256

__all__ = ["ColourTags", "EncoderSettings", "SinkStage", "join_segments", "read_segment"]
__all__ += ["segment_name", "write_segment"]


def segment_name(index: int) -> str:
    """File name of window `index`'s segment."""
    return f"{index:05d}.mp4"


class SinkStage(Stage):
    """Writes one segment a window. It carries nothing, so a window done again gives the same file.

    Args:
        config: decides the bytes.
    """

    name = "sink"
    reads = (Read("generated", "final"), Read("times", "final"))
    scales = "pixels"

    def __init__(self, config: EncoderSettings) -> None:
        self.config = config

    def process(self, window: Window, inputs: Inputs) -> Output:
        """Encode `generated` [n, H, W, 3] uint8 RGB, shown at `times` [n] float64 seconds, into the folder, which is
        made when missing; a `.partial` left by a crash is overwritten when its window is done again.

        Raises:
            OSError: when the disk is full or the folder cannot be written.
        """
        images, times = inputs.arrays["generated"], inputs.arrays["times"]
        name = segment_name(window.index)
        inputs.folder.mkdir(parents=True, exist_ok=True)
        path = inputs.folder / name
        write_segment(path, images, times, self.config)
        return Output(
            info={"segment": name, "sha256": file_sha256(path), "bytes": path.stat().st_size, "frames": len(times)}
        )

    def peak_bytes(self, height: int, width: int, window_frames: int) -> tuple[int, int]:
        """A window of RGB frames, and at most 60 pictures in x264's look-ahead and references, while it works."""
        return height * width * 3 * (window_frames + min(60, window_frames)), 0
