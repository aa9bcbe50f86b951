"""Hard cuts, and the shots between them.

PySceneDetect's AdaptiveDetector finds where a picture changes far more than those around it. It is shown pictures of
`SIDE` pixels: there a pan and a shake hardly change anything, another place does. What it finds is a flash, and no cut,
where the picture before comes back within `FLASH_FRAMES`:

    frame   ... 54 | 55 56 | 57 ...          55 and 57 differ from the frame before them; 57 is like 54: a flash

Whether a cut lies before a frame depends on the `FLASH_FRAMES` frames before and behind it alone.
"""

from collections import deque
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import cv2

from stages.base import Array

if TYPE_CHECKING:
    from scenedetect.detectors import AdaptiveDetector

SIDE = 32  # pixels of the longer side
RATIO, CONTENT = 2.5, 15.0  # of the detector: a change against those around it (its default is 3), and in levels of HSV
FLASH_FRAMES = 6  # a flash is gone by then
REMEMBERED = FLASH_FRAMES + 1
BACK = 0.5  # the picture has come back where it differs by less than this share of the change
LEAST_SHOT = 15  # frames; a shorter shot joins the one behind it, the clip's last one joins the one before it


class Cuts:
    """Cuts that are known beforehand.

    Args:
        known: ascending; those before the first frame that is asked for are left out.
    """

    def __init__(self, known: Iterable[int] = ()) -> None:
        self._cuts = deque(known)

    def show(self, frame: int, picture: Array) -> None:
        """The next picture, `[h, w, 3]` uint8 BGR of `SIDE` pixels on the longer side, shown from this frame on."""

    def end(self) -> None:
        """No picture comes any more."""

    def knows(self, frame: int) -> bool:
        """Whether it is known if a cut lies before this frame."""
        return True

    def __contains__(self, frame: int) -> bool:
        return frame in self._cuts

    def told(self, stop: int) -> list[int]:
        """The cuts before frame `stop` that were not told yet."""
        found = []
        while self._cuts and self._cuts[0] < stop:
            found.append(self._cuts.popleft())
        return found


class CutFinder(Cuts):
    """Finds cuts in the pictures that are shown to it one by one.

    Args:
        before: the last `REMEMBERED` pictures before those (or all of them, where they are fewer), `[h, w, 3]` uint8
            each: what is found is then the same as if all had been shown.
    """

    def __init__(self, before: Iterable[Array] = ()) -> None:
        super().__init__()
        self._detector: AdaptiveDetector | None = None
        self._pictures: deque[tuple[int, Array]] = deque(maxlen=2 * FLASH_FRAMES + 2)
        self._shown = 0
        self._changes: deque[int] = deque()  # numbers of pictures before which the detector found a cut
        self._ended = False
        for picture in before:
            self.show(-1, picture)

    def show(self, frame: int, picture: Array) -> None:
        """As `Cuts.show`."""
        from scenedetect.common import FrameTimecode
        from scenedetect.detectors import AdaptiveDetector

        if self._detector is None:
            self._detector = AdaptiveDetector(RATIO, min_scene_len=0, min_content_val=CONTENT)
        self._pictures.append((frame, picture))
        # The rate is asked for and, with a shot's least length of 0, not used.
        found = self._detector.process_frame(FrameTimecode(self._shown, fps=25.0), picture)
        self._shown += 1
        self._changes.extend(change.frame_num for change in found)
        self._settle()

    def end(self) -> None:
        """As `Cuts.end`."""
        self._ended = True
        self._settle()

    def knows(self, frame: int) -> bool:
        """As `Cuts.knows`."""
        settled = self._pictures[-1 - FLASH_FRAMES][0] if len(self._pictures) > FLASH_FRAMES else -1
        return self._ended or settled >= frame

    def _settle(self) -> None:
        while self._changes and (self._ended or self._changes[0] + FLASH_FRAMES < self._shown):
            number = self._changes.popleft() - (self._shown - len(self._pictures))
            frame = self._pictures[number][0]
            if frame > 0 and not self._is_flash(number):
                self._cuts.append(frame)

    def _is_flash(self, number: int) -> bool:
        """Whether what was before this picture comes back soon, or it is itself what comes back."""
        pictures = [picture for _, picture in self._pictures]
        limit = BACK * change(pictures[number - 1], pictures[number])
        later = pictures[number + 1 : number + 1 + FLASH_FRAMES]
        earlier = pictures[max(0, number - 1 - FLASH_FRAMES) : number - 1]
        return any(change(pictures[number - 1], picture) < limit for picture in later) or any(
            change(picture, pictures[number]) < limit for picture in earlier
        )


def change(before: Array, after: Array) -> float:
    """How far two pictures differ, as the detector measures it: the mean of hue, saturation and value, in levels."""
    pair = [cv2.cvtColor(picture, cv2.COLOR_BGR2HSV) for picture in (before, after)]
    return float(cv2.absdiff(*pair).mean())


def shot_starts(cuts: Sequence[int], frames: int) -> list[int]:
    """Where the shots behind the first one begin, in a clip of `frames` with these cuts, ascending."""
    starts, last = [], 0
    for cut in cuts:
        if begins_shot(cut, last, frames - cut):
            starts.append(cut)
            last = cut
    return starts


def begins_shot(cut: int, shot_start: int, behind: int) -> bool:
    """Whether a cut ends the shot that began at `shot_start`; `behind`: frames from the cut to the clip's end, or some
    of them."""
    return cut - shot_start >= LEAST_SHOT and behind >= LEAST_SHOT
