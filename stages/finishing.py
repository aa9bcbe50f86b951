"""What stages that work on a finished result share: what it is called before and after them, and where it was made."""

import numpy as np

from stages.base import Array

BEFORE, AFTER = "before", "after"


def regenerated(source: Array, made: Array) -> Array:
    """`[..., H, W]` bool: where a result `[..., H, W, 3]` is not the source. A pixel that is so by chance stays so."""
    return np.asarray((source != made).any(-1))
