"""What a decoded picture carries beside its pixels: display matrix, Dolby Vision and the like."""

from collections.abc import Iterator
from typing import Any

import av
from av.sidedata.sidedata import SideDataContainer


def side_data(picture: av.VideoFrame) -> Iterator[Any]:
    """The entries of a picture's side data.

    Not by `picture.side_data`: that keeps the container in the picture, and the container refers to the picture, so
    that the decoder gets the memory back only when Python next looks for cycles. By then hundreds of pictures wait.
    """
    entries: Any = SideDataContainer  # PyAV's stubs call it a mapping that is made of nothing
    return iter(entries(picture))
