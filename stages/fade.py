"""Where two windows are crossfaded: in their overlap, while the subjects move least.

Both windows made the overlap; where they differ, a mixture of them shows each subject twice, the more the faster it
moves. So the fade takes the calmest frames, by the masks of the source alone: what was made decides nothing, and every
try at a window is faded at the same frames.
"""

import numpy as np

from stages.base import Array, Window

LEAST = 5  # frames
# Frames beside the calmest belong to the fade too while they move at most so much more, and this share of the subjects'
# area: a long fade is the smoother one, where nothing is to be seen of it.
CALM, STILL = 1.5, 0.01


def fade_span(masks: Array, window: Window) -> tuple[int, int]:
    """`[start, stop)` of the fade, frames of the clip; an empty span where the window overlaps none before it.

    Args:
        masks: `[read.frames, H, W]` bool, what is regenerated.
        window: its overlap with the one before is `final.start` to `new.start`.
    """
    start, stop = window.final.start, window.new.start
    count = stop - start
    if count <= LEAST:
        return start, stop
    first = start - window.read.start
    motion, area = motion_of(masks, first, count), np.count_nonzero(masks[first : first + count]) / count
    sums = np.convolve(motion, np.ones(LEAST), "valid")
    begin = int(sums.argmin())
    end = begin + LEAST
    limit = CALM * sums[begin] / LEAST + STILL * area
    while begin > 0 and motion[begin - 1] <= limit:
        begin -= 1
    while end < count and motion[end] <= limit:
        end += 1
    return start + begin, start + end


def motion_of(masks: Array, first: int, count: int) -> Array:
    """`[count]` float64: of each frame from `first` on, the pixels of the masks that change a frame, the mean of the
    change onto it and of the one onto the next."""
    changes = {
        index: float(np.count_nonzero(masks[index - 1] ^ masks[index]))
        for index in range(max(1, first), min(len(masks), first + count + 1))
    }
    beside = [[changes[at] for at in (index, index + 1) if at in changes] for index in range(first, first + count)]
    return np.array([sum(values) / len(values) for values in beside])
