"""What a window's conditioning is made from, and what comes of it."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from stages.base import Array
from stages.resize import Size
from stages.vace.condition import Guides
from stages.vace.reference import Reference


@dataclass(frozen=True)
class Material:
    """A window of the source, at the source's size unless said otherwise.

    Attributes:
        frames: `[n, H, W, 3]` uint8 RGB.
        keypoints: `[n, 133, 3]` float32, pixels.
        objects, persons: `[n, H, W]` bool, undilated; all false for what is not regenerated.
        region: `[n, H, W]` bool, what may change.
        length: frames of the generated window, 4n+1, >= n.
        size: `(width, height)` it is generated at.
        guides: what is drawn into the region.
        pictures: `[n, h, w, 3]` uint8 RGB at `size`: skeletons as they were given, in place of drawn ones.
        channels: what the graph takes.
        reference: a picture of the new look; None without.
        plates: `[n, h, w, 3]` uint8 RGB at `size`: the background within the region; None where it is not asked for.
    """

    frames: Array
    keypoints: Array
    objects: Array
    persons: Array
    region: Array
    length: int
    size: Size
    guides: Guides
    pictures: Array | None = None
    channels: frozenset[str] = frozenset()
    reference: Reference | None = None
    plates: Array | None = None


@dataclass(frozen=True)
class Conditioning:
    """What is uploaded for a window.

    Attributes:
        videos: by channel; `[length, h, w, 3]` uint8 RGB, or `[length, h, w]` uint8 for a mask.
        length: frames of the generated window.
        pictures: by channel, `[h, w, 3]` uint8 RGB.
        kept: how many frames at the start are given as already generated.
    """

    videos: Mapping[str, Array]
    length: int
    pictures: Mapping[str, Array] = field(default_factory=dict)
    kept: int = 0
