"""Reading a segment back, as the score does."""

from collections.abc import Iterator
from pathlib import Path

import av
from av.error import FFmpegError

from stages.base import Array
from storage.errors import RunDirectoryError


def read_segment(path: Path, height: int, width: int) -> Iterator[Array]:
    """Frames of a segment, `[height, width, 3]` uint8 RGB each, what odd sizes were padded by cut off.

    Raises:
        RunDirectoryError: when the file is missing, damaged, or of another size.
    """
    try:
        with av.open(str(path.absolute()), "r", options={"protocol_whitelist": "file"}) as container:
            stream = container.streams.video[0]
            stream.thread_type = "AUTO"
            for picture in container.decode(stream):
                image = picture.to_ndarray(format="rgb24")
                if not (0 <= image.shape[0] - height <= 1 and 0 <= image.shape[1] - width <= 1):
                    raise RunDirectoryError(
                        f"{path}: frames of {image.shape[1]}x{image.shape[0]}, {width}x{height} are wanted: "
                        "`skate status RUN --verify`, then `skate resume RUN`"
                    )
                yield image[:height, :width]
    except (FFmpegError, IndexError) as error:
        raise RunDirectoryError(
            f"{path}: is missing or damaged ({error}): `skate status RUN --verify`, then `skate resume RUN`"
        ) from error
