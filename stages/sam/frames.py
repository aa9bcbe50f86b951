"""From an RGB frame to the model's input, with stock SAM 2's bits."""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cache, partial
from typing import Any

import numpy as np
from PIL import Image

from stages.base import Array
from stages.sam.model import SamModel

# ImageNet statistics, as `sam2.utils.misc.load_video_frames` has them.
IMAGE_MEAN = (0.485, 0.456, 0.406)
IMAGE_STD = (0.229, 0.224, 0.225)

Prepared = tuple[Array, Callable[[], Any]]


def prepare_image(frame: Array, image_size: int) -> Any:
    """`[H, W, 3] uint8 RGB` to a `[3, image_size, image_size] float32` tensor on the CPU.

    The steps of `sam2.utils.misc._load_img_as_tensor` and `load_video_frames_from_jpg_images`: PIL's default (bicubic)
    resize of uint8, then for each value what `normalisation_table` says.
    """
    import torch

    resized = np.array(Image.fromarray(frame).resize((image_size, image_size)))
    table = normalisation_table()
    image = np.empty((3, image_size, image_size), np.float32)
    for channel in range(3):
        np.take(table[channel], resized[..., channel], out=image[channel], mode="clip")
    return torch.from_numpy(image)


@cache
def normalisation_table() -> Array:
    """`[3, 256] float32`: what stock makes of every byte of a channel, in its order and precision: over 255 in float64,
    cast to float32, minus mean, over std."""
    import torch

    values = torch.from_numpy(np.arange(256) / 255.0).to(torch.float32)[None]
    values = values - torch.tensor(IMAGE_MEAN, dtype=torch.float32)[:, None]
    values = values / torch.tensor(IMAGE_STD, dtype=torch.float32)[:, None]
    table: Array = values.numpy()
    return table


def feed(model: SamModel, frames: Iterable[Array], unshown: bool = False) -> Iterator[Prepared]:
    """Yield `(frame, image)` for each frame; `image()` is its `[3, S, S] float32` tensor on the device.

    On the CPU, and where whole frames are `unshown`, the input is made when it is asked for: a thread that makes it
    ahead takes more from torch's threads than it gives (measured on 2 cores). On CUDA one thread is a frame ahead of
    the model: it takes the next one (which may have to be decoded), makes its input in pinned memory, and copies it on
    a stream of its own. At most two frames are held.
    """
    image_size, device = model.image_size, model.config.device
    if device == "cpu" or unshown:
        yield from ((frame, partial(prepare_image, frame, image_size)) for frame in frames)
        return
    import torch

    rows = iter(frames)
    stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]

    def prepare() -> tuple[Array, Any, Any] | None:
        """The next frame, its input, and the event behind which the GPU has it; None at the end."""
        frame = next(rows, None)
        if frame is None:
            return None
        image = prepare_image(frame, image_size)
        with torch.cuda.stream(stream):
            return frame, image.pin_memory().to(device, non_blocking=True), stream.record_event()

    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="frame-feed") as pool:
        upcoming = pool.submit(prepare)
        while (prepared := upcoming.result()) is not None:
            upcoming = pool.submit(prepare)
            frame, image, copied = prepared
            yield frame, partial(_receive, image, copied)


def _receive(image: Any, copied: Any) -> Any:
    import torch

    current = torch.cuda.current_stream()
    current.wait_event(copied)
    image.record_stream(current)  # allocated on the copy stream, read on this one
    return image
