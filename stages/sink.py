"""Sink: the blended frames of each window become one encoded segment; at the end segments are joined."""

from collections.abc import Callable, Iterable, Iterator, Sequence

from stages.base import Array, Inputs, Json, Output, Read, Stage, Window
from stages.enlarge import enlarged
from stages.video.colour import ColourTags
from stages.video.encode import EncoderSettings, write_segment
from stages.video.join import join_segments
from stages.video.segment import read_segment
from storage.durable import file_sha256
from storage.spans import Span

Again = Callable[[Span, Array, Sequence[float]], Iterator[Array]]  # as `read_source` of `stages.decode`

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
    reads: tuple[Read, ...] = (Read("generated", "final"), Read("times", "final"))
    scales = "pixels"

    def __init__(self, config: EncoderSettings) -> None:
        self.config = config

    def process(self, window: Window, inputs: Inputs) -> Output:
        """Encode `generated` [n, H, W, 3] uint8 RGB, shown at `times` [n] float64 seconds, into the folder, which is
        made when missing; a `.partial` left by a crash is overwritten when its window is done again.

        Raises:
            OSError: when the disk is full or the folder cannot be written.
        """
        times = inputs.arrays["times"]
        name = segment_name(window.index)
        inputs.folder.mkdir(parents=True, exist_ok=True)
        path = inputs.folder / name
        write_segment(path, self.pictures(window, inputs), times, self.config)
        written: dict[str, Json] = {"segment": name, "sha256": file_sha256(path), "bytes": path.stat().st_size}
        return Output(info={**written, "frames": len(times), **self.more()})

    def pictures(self, window: Window, inputs: Inputs) -> Iterable[Array]:
        """What is encoded, frame by frame, `[H, W, 3]` uint8 RGB."""
        return inputs.arrays["generated"]

    def more(self) -> dict[str, Json]:
        """What else stands in the commit."""
        return {}

    def peak_bytes(self, height: int, width: int, window_frames: int) -> tuple[int, int]:
        """A window of RGB frames, and at most 60 pictures in x264's look-ahead and references, while it works."""
        return height * width * 3 * (window_frames + min(60, window_frames)), 0


class EnlargingSinkStage(SinkStage):
    """Where everything before it worked at a smaller height (`--work-height`): reads the source again, and enlarges
    only what was regenerated (`stages.enlarge`).

    Info also has `size`, (width, height) of what is encoded: that of the file.

    Args:
        config: of that size.
        again: reads the file's pictures.
    """

    reads = (*SinkStage.reads, Read("frames", "final"))

    def __init__(self, config: EncoderSettings, again: Again) -> None:
        super().__init__(config)
        self._again = again

    def pictures(self, window: Window, inputs: Inputs) -> Iterable[Array]:
        """As of `SinkStage`, one at a time.

        Raises:
            InputError: when the video no longer gives the frames that it gave.
        """
        frames, made = inputs.arrays["frames"], inputs.arrays["generated"]
        sources = self._again(window.final, frames, inputs.arrays["times"].tolist())
        return (enlarged(*each) for each in zip(sources, frames, made, strict=True))

    def more(self) -> dict[str, Json]:
        """As of `SinkStage`."""
        return {"size": [self.config.width, self.config.height]}

    def peak_bytes(self, height: int, width: int, window_frames: int) -> tuple[int, int]:
        """Two windows of RGB frames, and of the file's size at most 60 pictures in x264's look-ahead, and one in
        32 bits."""
        waiting = 3 * min(60, window_frames) + (60 if window_frames else 0)
        return height * width * 6 * window_frames + self.config.width * self.config.height * waiting, 0
