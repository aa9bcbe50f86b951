"""The clip without its subjects, from a run's masks and the source: what `skate export --plate` writes."""

from collections import deque
from collections.abc import Iterator, Mapping

import numpy as np

from stages.base import Array, Inputs, Window
from stages.motion import MotionStage
from stages.plate import PlateStage
from stages.plates.behind import behind, come_in, keys_in
from stages.plates.names import PART, PATH, PICTURES
from stages.region import DILATE, bounding_box, composite, dilate_mask, feather
from stages.remove import AHEAD, MARGIN
from storage.rundir import RunReader
from storage.spans import Span
from stream.engine.source import FrameSource
from stream.engine.windows import committed_windows
from stream.options.assembly import decode_config
from stream.options.config import RunConfig

Known = tuple[Window, Mapping[str, Array]]


class PlatePictures:
    """The frames of a run with the background in the place of its subjects, as the next 8 windows of the shot know it.

    Attributes:
        frames: how many there are: what is tracked.
    """

    def __init__(self, run: RunReader, config: RunConfig) -> None:
        self._run, self._subjects = run, [subject.name for subject in config.subjects]
        self._source = FrameSource(run, decode_config(config))
        self._windows = committed_windows(run.log)[: run.log.done("track")]
        self.frames = self._windows[-1].new.stop if self._windows else 0

    def each(self) -> Iterator[tuple[Array, Array]]:
        """Of every frame the picture, `[H, W, 3]` uint8 RGB, and `[H, W]` bool: what of it no frame showed.

        Raises:
            InputError: when the source's frames were dropped and the input no longer gives them.
        """
        waiting: deque[Known] = deque()
        learnt = False  # whether anything came since the last window that was shown
        for known in self._kept():
            while waiting and (known[0].shot != waiting[0][0].shot or len(waiting) > AHEAD):
                yield from self._shown(waiting, learnt)
                learnt = False
            waiting.append(known)
            learnt = True
        while waiting:
            yield from self._shown(waiting, learnt)
            learnt = False

    def _kept(self) -> Iterator[Known]:
        """The plates window by window."""
        motion, plate = MotionStage(always=True), PlateStage()
        for window in self._windows:
            if not window.new.frames:
                continue
            masks = self._masks(window.new)
            given = {"frames": self._source.read(window.new), "masks/object": masks, "masks/person": masks}
            given |= motion.process(window, Inputs(given)).arrays
            yield window, plate.process(window, Inputs(given)).arrays

    def _masks(self, span: Span) -> Array:
        """`[n, H, W]` bool: all subjects."""
        found = [self._run.arrays.read(f"masks/{name}", *span) for name in self._subjects]
        return np.asarray(np.logical_or.reduce(found))

    def _shown(self, waiting: deque[Known], learnt: bool) -> Iterator[tuple[Array, Array]]:
        """The frames that are new in the first of the windows, by what all of them know; it is taken off.

        Args:
            learnt: whether the last of them has come since frames of the shot were shown: it is faded in.
        """
        names = [f"/{place}" for place in range(len(waiting))]
        held = {f"{name}{at}": a for at, (_, arrays) in zip(names, waiting, strict=True)
                for name, a in arrays.items() if name.startswith(PICTURES)}  # fmt: skip
        window, arrays = waiting.popleft()
        keys, before = keys_in(held, names), keys_in(held, names[:-1]) if learnt and not window.begins_shot else []
        reach = max(DILATE)
        for t, (frame, mask) in enumerate(zip(self._source.read(window.new), self._masks(window.new), strict=True)):
            never = np.zeros(mask.shape, bool)
            box = bounding_box(mask, reach + MARGIN)
            if box is None:
                yield frame, never
                continue
            picture = frame.copy()
            share = come_in(t, window.new.frames)
            picture[box], known = behind(keys, arrays[PATH][t], int(arrays[PART][t]), box, mask.shape, before, share)
            region = dilate_mask(mask, reach)
            never[box] = region[box] & ~known
            alpha = feather(region[None], dilate_mask(mask, reach // 2)[None])
            yield composite(frame[None], picture[None], alpha)[0], never
