"""`skate frame`: one frame with rulers, to read a box from."""

from pathlib import Path

import cv2
import numpy as np

from stages.base import Array
from stages.video.at import frame_at
from storage.durable import write_atomic
from storage.errors import EnvironmentFault, UsageError

MARGIN = 40  # pixels of ruler at the left and the top
GRID_STEPS = (5, 10, 20, 25, 50, 100, 200, 250, 500, 1000)
INK = (30, 30, 30)


def write_ruled_frame(video: Path, at: int | float, target: Path) -> str:
    """Write a frame of the upright video as a PNG with rulers and a light grid; returns the line to print.

    Args:
        at: its number, counted from 0, or (float) a time in seconds at which it is shown.

    Raises:
        UsageError: when the target is not called .png.
        InputError: when the video has no such frame.
        EnvironmentFault: when it cannot be written.
    """
    if target.suffix.lower() != ".png":
        raise UsageError(f"--to {target}: a PNG is written: choose a name that ends in .png")
    index, seconds, frame = frame_at(video, at) if isinstance(at, int) else frame_at(video, None, at)
    data = cv2.imencode(".png", np.ascontiguousarray(ruled(frame)[..., ::-1]))[1].tobytes()
    try:
        write_atomic(target, data)
    except OSError as error:
        raise EnvironmentFault(f"--to {target}: {error.strerror}: choose a place that can be written") from error
    return f"{target}: frame {index} at {seconds:.3f} s, {frame.shape[1]}x{frame.shape[0]} px"


def grid_step(extent: int) -> int:
    """Pixels between two ruler labels, for about a dozen of them."""
    return min(GRID_STEPS, key=lambda step: abs(extent / step - 12))


def ruled(frame: Array) -> Array:
    """`[H + 40, W + 40, 3]` uint8 RGB: the frame under a 50 % grid, rulers at the left and the top."""
    height, width = frame.shape[:2]
    step = grid_step(max(width, height))
    lined = frame.copy()
    lined[::step] = lined[::step] // 2 + 64
    lined[:, ::step] = lined[:, ::step] // 2 + 64
    picture = np.full((height + MARGIN, width + MARGIN, 3), 255, np.uint8)
    picture[MARGIN:, MARGIN:] = lined
    for x in range(0, width, step):
        cv2.line(picture, (MARGIN + x, MARGIN - 6), (MARGIN + x, MARGIN), INK, 1)
        cv2.putText(picture, str(x), (MARGIN + x - 8, MARGIN - 12), cv2.FONT_HERSHEY_SIMPLEX, 0.35, INK, 1, cv2.LINE_AA)
    for y in range(0, height, step):
        cv2.line(picture, (MARGIN - 6, MARGIN + y), (MARGIN, MARGIN + y), INK, 1)
        cv2.putText(picture, str(y), (4, MARGIN + y + 4), cv2.FONT_HERSHEY_SIMPLEX, 0.35, INK, 1, cv2.LINE_AA)
    return picture
