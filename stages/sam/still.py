"""Masks on single frames, at once: SAM 2.1's image predictor; the features of the last few frames are kept."""

import copy
import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import numpy as np

from stages.base import Array
from stages.prompts import Box
from stages.sam.model import SamModel
from stages.sam.prompts import point_arrays

KEPT = 4  # frames whose features are kept: about 20 MB each at 1024 px
STRIDES = (4, 8, 16)  # of the image encoder's three levels


class StillSam:
    """Segments what a box or points show on a frame. May be called from several threads: one works at a time.

    Args:
        model: shared or not; it is loaded when it is first needed.
    """

    def __init__(self, model: SamModel) -> None:
        self._model = model
        self._lock = threading.Lock()
        self._blank: Any = None
        self._ready: OrderedDict[int, Any] = OrderedDict()

    def prepare(self, frame: int, picture: Callable[[], Array]) -> None:
        """Encode a frame, unless its features are kept.

        Args:
            frame: its number. picture: gives it, `[H, W, 3]` uint8 RGB.

        Raises:
            EnvironmentFault: the weights cannot be used.
        """
        with self._lock:
            self._of(frame, picture)

    def mask(
        self,
        frame: int,
        picture: Callable[[], Array],
        box: Box | None = None,
        points: tuple[tuple[float, float, int], ...] = (),
    ) -> Array:
        """`[H, W]` bool: what is in the box, or at the points (x, y, 1 on it or 0 off it), pixels.

        A single point may mean several things: the mask that the model is surest of is taken.

        Raises:
            EnvironmentFault: as `prepare`.
        """
        import torch

        with self._lock:
            predictor = self._of(frame, picture)
            given: dict[str, Any] = {"box": None if box is None else np.array(box, np.float32)}
            if points:
                given["point_coords"], given["point_labels"] = point_arrays(points)
            with torch.inference_mode(), self._model.autocast():
                masks, ious, _ = predictor.predict(**given, multimask_output=box is None and len(points) == 1)
        found: Array = masks[int(np.argmax(ious))] > 0
        return found

    def _of(self, frame: int, picture: Callable[[], Array]) -> Any:
        """The predictor that has the frame's features."""
        import torch

        if frame in self._ready:
            self._ready.move_to_end(frame)
            return self._ready[frame]
        if self._blank is None:
            self._blank = self._new()
        found = copy.copy(self._blank)
        with torch.inference_mode(), self._model.autocast():
            found.set_image(picture())
        self._ready[frame] = found
        while len(self._ready) > KEPT:
            self._ready.popitem(last=False)
        return found

    def _new(self) -> Any:
        from sam2.sam2_image_predictor import SAM2ImagePredictor

        self._model.load()
        predictor = SAM2ImagePredictor(self._model.predictor)
        # Stock takes 1024 px for granted here; smaller models have smaller features.
        predictor._bb_feat_sizes = [(self._model.image_size // stride,) * 2 for stride in STRIDES]
        return predictor

    def close(self) -> None:
        """Let the weights go."""
        with self._lock:
            self._ready.clear()
            self._blank = None
            self._model.close()
