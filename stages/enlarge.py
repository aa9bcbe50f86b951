"""What was made at a smaller height, in the source's own pictures: only what was regenerated is enlarged.

source     [H, W, 3]   read from the file again
frame      [h, w, 3]   the same, reduced: what everything worked on
generated  [h, w, 3]   where it differs from that it was regenerated
"""

import cv2
import numpy as np

from stages.base import Array
from stages.finishing import regenerated
from stages.region import bounding_box, composite, distance_to
from stages.resize import nearest
from stages.views.lens import Views
from stages.views.path import whole

SPECK = 8  # pixels: what was regenerated and is as it was by chance; as a hole it would show the source's detail there


def enlarged(source: Array, frame: Array, generated: Array) -> Array:
    """The finished picture, `[H, W, 3]` uint8: the source's own pixels wherever nothing was regenerated.

    What was is enlarged by Lanczos, and fades into the source over one of the frame's pixels inwards: there the
    composite has faded it already.
    """
    made = without_specks(regenerated(frame, generated))
    size, small = (source.shape[1], source.shape[0]), (frame.shape[1], frame.shape[0])
    footprint = nearest(made[None], size)[0]
    box = bounding_box(footprint, margin=1)
    if box is None:
        return source
    alpha = np.zeros(footprint.shape, np.float32)
    alpha[box] = np.minimum(1.0, distance_to(~footprint[box]) * (small[1] / size[1]))
    large = Views(size, small, whole(size, small)[None]).back(generated, 0, box)
    return np.asarray(composite(source[None], large[None], alpha[None])[0])


def without_specks(made: Array) -> Array:
    """`[h, w]` bool: what was regenerated, and the specks within it that are as the source is."""
    count, labels, parts, _ = cv2.connectedComponentsWithStats((~made).astype(np.uint8), connectivity=4)
    specks = np.flatnonzero(parts[:count, cv2.CC_STAT_AREA] < SPECK)
    return np.asarray(made | np.isin(labels, specks[specks > 0]))
