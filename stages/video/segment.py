"""Reading a segment back, as the score does."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import av
from av.error import FFmpegError

from stages.base import Array
from stages.resize import resize_frames
from storage.errors import RunDirectoryError


def read_segment(path: Path, height: int, width: int, size: Sequence[int] | None = None) -> Iterator[Array]:
    """Frames of a segment, `[height, width, 3]` uint8 RGB each, what odd sizes were padded by cut off.

    Args:
        size: (width, height) of what was encoded, where it is another: it is brought to that of the frames.

    Raises:
        RunDirectoryError: when the file is missing, damaged, or of another size.
    """
    try:
        with av.open(str(path.absolute()), "r", options={"protocol_whitelist": "file"}) as container:
            stream = container.streams.video[0]
            stream.thread_type = "AUTO"
            for picture in container.decode(stream):
                image = picture.to_ndarray(format="rgb24")
                columns, rows = size or (width, height)
                if not (0 <= image.shape[0] - rows <= 1 and 0 <= image.shape[1] - columns <= 1):
                    raise RunDirectoryError(
                        f"{path}: frames of {image.shape[1]}x{image.shape[0]}, {columns}x{rows} are wanted: "
                        "`skate status RUN --verify`, then `skate resume RUN`"
                    )
                yield resize_frames(image[None, :rows, :columns], (width, height))[0]
    except (FFmpegError, IndexError) as error:
        raise RunDirectoryError(
            f"{path}: is missing or damaged ({error}): `skate status RUN --verify`, then `skate resume RUN`"
        ) from error
