"""What would fit where a run does not: computed, not guessed."""

from collections.abc import Callable

from storage.sizes import format_size

WINDOWS = (61, 49, 41, 33, 25, 17)  # 4n+1; below 17 a window shows too little motion
LINES = (2160, 1440, 1080, 720)
Projection = Callable[[int, int, int], int]  # height, width, frames of a window -> bytes of RAM


def what_fits(projected: Projection, size: tuple[int, int], window: int, overlap: int, limit: int) -> str:
    """The largest window, and the largest picture at this window, that fit into `limit` bytes; empty when none does.

    Args:
        projected: peak RAM of this run at another size.
        size: (width, height) of the clip in pixels.
        window, overlap: as asked for, frames.
        limit: bytes.
    """
    width, height = size
    found = []
    for frames in WINDOWS:
        need = projected(height, width, frames)
        if frames < window and need <= limit:
            found.append(f"--window {frames} --overlap {min(overlap, (frames - 1) // 4)} takes {format_size(need)}")
            break
    short = min(size)
    for lines in LINES:
        if lines < short:
            need = projected(round(height * lines / short), round(width * lines / short), window)
            if need <= limit:
                scale = f"-2:{lines}" if height <= width else f"{lines}:-2"
                found.append(
                    f"a clip of {lines} lines takes {format_size(need)} (ffmpeg -i IN -vf scale={scale} OUT.mp4)"
                )
                break
    return ", or ".join(found)
