"""Hard scene cuts, by the measure of PySceneDetect's ContentDetector."""

import cv2

from stages.base import Array

# `detect-content` of PySceneDetect 0.6: a cut where the mean change of hue, saturation and value, averaged over the
# three, reaches 27.0 (of 255). Frames are reduced first, as it does; here to at most 256 px on the longer side.
CUT_THRESHOLD = 27.0
SIGNATURE_SIDE = 256


def frame_signature(frame: Array) -> Array:
    """`[H, W, 3] uint8 RGB` to `[h, w, 3] uint8 HSV` (hue 0..179), h and w at most 256."""
    height, width = frame.shape[:2]
    scale = min(1.0, SIGNATURE_SIDE / max(height, width))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    small = cv2.resize(frame, size, interpolation=cv2.INTER_AREA) if scale < 1.0 else frame
    signature: Array = cv2.cvtColor(small, cv2.COLOR_RGB2HSV)
    return signature


def content_change(before: Array, after: Array) -> float:
    """Mean absolute difference of two signatures, over all pixels and the three channels, 0..255."""
    return float(cv2.absdiff(before, after).mean())


def is_cut(before: Array | None, after: Array) -> bool:
    """Whether a hard cut lies between two frames, given their signatures (None: there is no frame before)."""
    return before is not None and content_change(before, after) >= CUT_THRESHOLD
