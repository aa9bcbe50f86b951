"""Source and result of a run, frame by frame, with all that was found in each. Streamed, in flat memory."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np

from stages.base import Array
from stages.fidelity.sight import COLUMNS, FEET
from stages.measure import RESULT_KEYPOINTS, SIGHTS
from stages.score import FOUND
from stages.subjects import OBJECTS
from storage.rundir import RunReader
from storage.spans import Span
from stream.engine.source import FrameSource
from stream.options.assembly import decode_config
from stream.options.config import RunConfig
from stream.options.pairs import pairs_of
from stream.options.passes import reskinned
from stream.report.segments import segment_frames
from stream.report.strips import overlaid, shown_arrays

PIECE_FRAMES = 12  # read at a time
ON, OFF = (0, 200, 120), (255, 60, 60)


@dataclass(frozen=True)
class Look:
    """One picture and what was found in it.

    Attributes:
        picture: [H, W, 3] uint8 RGB. object_mask, person_mask: [H, W] bool.
        keypoints: [133, 3], or [N, 133, 3] of several, float32 x px, y px, score; None where nobody looked.
        feet: x px, y px of each foot that is seen, and whether it is on the object.
    """

    picture: Array
    object_mask: Array
    person_mask: Array
    keypoints: Array | None
    feet: tuple[tuple[float, float, bool], ...] = ()

    def drawn(self) -> Array:
        """[H, W, 3] uint8 RGB: masks, skeleton, and a ring around each foot: green on the object, red off it."""
        picture = overlaid(self.picture, self.object_mask, self.person_mask, self.keypoints)
        size = max(picture.shape[:2])
        for x, y, on in self.feet:
            place = (round(x * 16), round(y * 16))
            cv2.circle(picture, place, size // 4, ON if on else OFF, max(2, size // 320), cv2.LINE_AA, shift=4)
        return picture


class Looks:
    """Source and result of a run, as far as it is scored.

    Attributes:
        frames: how many there are.
        pairs: who was measured beyond the IoU: sights, and the result's skeleton. measured: on how many frames.
    """

    def __init__(self, run: RunReader, config: RunConfig) -> None:
        self._run = run
        self._source = FrameSource(run, decode_config(config))
        self._keypoints = shown_arrays(config)["keypoints"]
        who = config.subjects if config.scene is None else [subject for subject, _ in reskinned(config)]
        self._names = {kind: [subject.name for subject in who if subject.kind == kind] for kind in OBJECTS}
        arrays, nodes = run.arrays, run.manifest["nodes"]
        scored = run.log.of("score") if "score" in nodes else []
        self.frames = int(scored[-1]["span"][1]) if scored else 0
        self.pairs = [pair for pair in pairs_of(config) if pair.node in nodes]
        ends = [arrays.frames(pair.arrays[SIGHTS[1]]) for pair in self.pairs]
        self.measured = min(self.frames, *ends) if ends else 0

    def each(self, span: Span) -> Iterator[tuple[Look, Look]]:
        """Source and result of these frames.

        Raises:
            InputError: when dropped frames have to be decoded again and the input is not what it was.
            RunDirectoryError: when a segment is missing or damaged.
        """
        made = self._made(span)
        for start in range(span.start, span.stop, PIECE_FRAMES):
            piece = Span(start, min(span.stop, start + PIECE_FRAMES))
            pictures, keypoints = self._source.read(piece), self._run.arrays.read(self._keypoints, *piece)
            masks, found = ([self._union(group, kind, piece) for kind in OBJECTS] for group in ("masks/", FOUND))
            known = Span(start, max(start, min(piece.stop, self.measured)))
            sights = [[self._run.arrays.read(pair.arrays[name], *known) for pair in self.pairs] for name in SIGHTS]
            persons = {pair.person: pair.arrays[RESULT_KEYPOINTS] for pair in self.pairs}
            theirs = [self._run.arrays.read(name, *known) for name in persons.values()]
            for at in range(piece.frames):
                seen = at < known.frames
                feet = [tuple(foot for each in side for foot in feet_of(each[at])) if seen else () for side in sights]
                people = np.stack([each[at] for each in theirs]) if seen else None
                yield (
                    Look(pictures[at], masks[0][at], masks[1][at], keypoints[at], feet[0]),
                    Look(next(made), found[0][at], found[1][at], people, feet[1]),
                )

    def _union(self, group: str, kind: str, piece: Span) -> Array:
        """`[n, H, W]` bool: the masks of those of a kind that are regenerated, in the source or found in the result."""
        video = self._run.manifest["video"]
        found = np.zeros((piece.frames, int(video["height"]), int(video["width"])), bool)
        for name in self._names[kind]:
            found |= self._run.arrays.read(f"{group}{name}", *piece)
        return found

    def _made(self, span: Span) -> Iterator[Array]:
        """The encoded frames of a span, `[H, W, 3]` uint8 RGB."""
        for record in self._run.log.of("sink"):
            start, stop = record["span"]
            if start < span.stop and stop > span.start:
                for frame, picture in enumerate(segment_frames(self._run, record), start):
                    if span.start <= frame < span.stop:
                        yield picture


def feet_of(sight: Array) -> tuple[tuple[float, float, bool], ...]:
    """The feet of a sight `[K]` that are seen with the object."""
    values = dict(zip(COLUMNS, np.asarray(sight, np.float64).tolist(), strict=True))
    found = [(values[f"{foot}_x"], values[f"{foot}_y"], values[f"{foot}_contact"]) for foot in FEET]
    return tuple((x, y, on > 0.5) for x, y, on in found if not math.isnan(x + y + on))
