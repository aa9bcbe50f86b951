"""What the generator saw of a run: the pictures of its views."""

from collections.abc import Iterator

import numpy as np

from stages.aim import Aim, AimStage
from stages.base import Array
from stages.views.lens import lens
from stages.views.names import VIEWS
from storage.rundir import RunReader
from storage.spans import Span
from stream.engine.source import FrameSource
from stream.options.assembly import decode_config
from stream.options.config import RunConfig
from stream.options.picturing import view_size

PIECE_FRAMES = 12  # read at a time
MOST_SHOWN = 8  # in the report


class SeenPictures:
    """The generator's pictures of the source, as far as its views are fixed.

    Attributes:
        frames: how many there are, from the first on: of a run without views as many as were tracked.
        whole: whether all of them show the whole frame.
        size: (width, height) of each, pixels.
    """

    def __init__(self, run: RunReader, config: RunConfig) -> None:
        video = run.manifest["video"]
        self._run = run
        self._source = FrameSource(run, decode_config(config))
        self._frame = (int(video["width"]), int(video["height"]))
        said = [Aim(**record["info"]) for record in run.log.of(AimStage.name)]
        has_views = VIEWS in run.arrays.layout.arrays
        self._has_views = has_views
        self.frames = run.arrays.frames(VIEWS if has_views else f"masks/{config.subjects[0].name}")
        self.whole = all(aim.whole for aim in said)
        # Which way it lies is decided once; before that nothing of what is followed was seen.
        turned = Aim(turned=any(aim.turned for aim in said))
        self.size = turned.sized(view_size(config, self._frame))

    def each(self, span: Span) -> Iterator[Array]:
        """Pictures of these frames, `[h, w, 3]` uint8 RGB.

        Raises:
            InputError: when the source's frames were dropped and the input no longer gives them.
        """
        for start in range(span.start, span.stop, PIECE_FRAMES):
            piece = Span(start, min(span.stop, start + PIECE_FRAMES))
            views = self._run.arrays.read(VIEWS, *piece) if self._has_views else None
            yield from lens(self._frame, self.size, views).pictures(self._source.read(piece))

    def shown(self) -> list[tuple[int, Array]]:
        """Some frames evenly over the clip, by number; none where every view is the whole frame."""
        if self.whole or not self.frames:
            return []
        numbers = np.unique(np.linspace(0, self.frames - 1, MOST_SHOWN).round().astype(int))
        return [(int(number), next(self.each(Span(int(number), int(number) + 1)))) for number in numbers]
