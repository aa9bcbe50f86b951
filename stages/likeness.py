"""Whether what tracking finds behind a hard cut is the subject that was followed before it.

SAM 2.1 goes on across a cut, its memory with it, and finds the subject again wherever it is, if it is there at all;
where it is not, it may take something else for it. So what it finds behind a cut is on trial: its colours (a histogram
in CIE Lab, compared by Bhattacharyya's coefficient) and its size are held against those before. After `TRIAL` frames on
which it was present it is believed, if it was like the subject on at least half of them, or it is not, up to the next
cut or prompt.
"""

from collections.abc import Collection
from dataclasses import dataclass, field

import cv2
import numpy as np

from stages.base import Array, Json
from stages.region import bounding_box

TRIAL = 10  # frames
ALIKE = 0.7  # Bhattacharyya's coefficient of two histograms, from which on they are of one subject
SIZES = 16.0  # its area may be so many times as large behind a cut, or as small
EVERY = 4  # frames from one look that is remembered to the next
GAIN = 0.25  # of a new look in what is remembered
BINS = (4, 8, 8)  # of L, a, b
LEAST_PIXELS = 16  # fewer have no look
MOST_ROWS = 128  # pixels of a mask's height that are looked at
MOST_SIDE = 320  # pixels of a frame's longer side in which something is looked for
RARE = 2e-3  # likelihood of a colour that was never seen in a subject
CERTAIN = 3.0  # nats, at most, for which a single pixel's colour speaks


@dataclass
class Likeness:
    """What is known of a subject, in numbers that can be saved.

    Attributes:
        look: `[256]` float32, a histogram of sum 1; empty before it was seen. area: its pixels.
        seen, alike: frames of the trial on which it was present, and was like it; -1: it is on no trial.
        refused: whether what is found is not believed.
    """

    look: Array = field(default_factory=lambda: np.empty(0, np.float32))
    area: float = 0.0
    seen: int = -1
    alike: int = 0
    refused: bool = False

    def values(self) -> dict[str, Json]:
        """All but the look."""
        return {"area": self.area, "seen": self.seen, "alike": self.alike, "refused": self.refused}

    def unlike(
        self, frames: Array, masks: Array, visible: Array, first: int, cuts: Collection[int], prompts: Collection[int]
    ) -> Array:
        """Go on through consecutive frames; `[n]` bool: where what was found is not believed.

        A trial that these frames do not end is judged by what there is of it.

        Args:
            frames: `[n, H, W, 3]` uint8 RGB. masks: `[n, H, W]` bool, visible: `[n]` bool: as SAM 2.1 gave them.
            first: number of the first frame.
            cuts: frames before which a cut lies. prompts: frames on which the subject is pointed at.
        """
        found = np.zeros(len(frames), bool)
        trial: list[int] = []
        for index in range(len(frames)):
            frame = first + index
            if frame in prompts or (frame in cuts and self.look.size):
                found[trial], trial = self._fails(), []
                self.seen, self.alike, self.refused = -1 if frame in prompts else 0, 0, False
            if not visible[index]:
                continue
            if self.seen >= 0:
                trial.append(index)
                self._try(frames[index], masks[index])
                if self.seen == TRIAL:
                    self.refused, self.seen = self._fails(), -1
                    found[trial], trial = self.refused, []
            elif self.refused:
                found[index] = True
            elif frame % EVERY == 0 or not self.look.size:
                self._remember(frames[index], masks[index])
        found[trial] = self._fails()
        return found

    def _fails(self) -> bool:
        return 2 * self.alike < self.seen

    def _try(self, frame: Array, mask: Array) -> None:
        look, area = look_of(frame, mask)
        same = look.size > 0 and alike(look, self.look) >= ALIKE
        self.seen += 1
        self.alike += bool(same and 1 / SIZES <= area / self.area <= SIZES)

    def _remember(self, frame: Array, mask: Array) -> None:
        look, area = look_of(frame, mask)
        if look.size:
            known = self.look.size > 0
            self.look = (self.look + GAIN * (look - self.look)).astype(np.float32) if known else look
            self.area = self.area + GAIN * (area - self.area) if known else area


def look_of(frame: Array, mask: Array) -> tuple[Array, float]:
    """Histogram `[256]` float32 of sum 1 of a mask's pixels, and how many they are; an empty one of too few."""
    area = float(np.count_nonzero(mask))
    box = bounding_box(mask)
    if box is None or area < LEAST_PIXELS:
        return np.empty(0, np.float32), area
    step = -(-mask[box].shape[0] // MOST_ROWS)
    pixels, chosen = frame[box][::step, ::step], mask[box][::step, ::step].astype(np.uint8)
    if not chosen.any():
        return np.empty(0, np.float32), area
    lab = cv2.cvtColor(np.ascontiguousarray(pixels), cv2.COLOR_RGB2LAB)
    counts = cv2.calcHist([lab], [0, 1, 2], chosen, list(BINS), [0, 256] * 3).ravel()
    return np.asarray(counts / counts.sum(), np.float32), area


def alike(one: Array, other: Array) -> float:
    """Bhattacharyya's coefficient of two histograms."""
    return float(np.sqrt(one * other).sum())


def cells_of(pixels: Array) -> Array:
    """`[h, w]` intp: the cell of each of these pixels (`[h, w, 3]` uint8 RGB) in the histograms of `look_of`."""
    lab = cv2.cvtColor(np.ascontiguousarray(pixels), cv2.COLOR_RGB2LAB).astype(np.intp)
    found: Array = np.ravel_multi_index(tuple(lab[..., at] * count // 256 for at, count in enumerate(BINS)), BINS)
    return found


def likeliest(frame: Array, look: Array, size: tuple[float, float], taken: Array) -> tuple[float, float]:
    """x, y of the middle of where something is most likely, by its colours against those of the whole frame.

    Args:
        frame: `[H, W, 3]` uint8 RGB. look: its histogram. size: its width and height, pixels.
        taken: `[H, W]` bool: where it is not.
    """
    step = -(-max(frame.shape[:2]) // MOST_SIDE)
    cells = cells_of(frame[::step, ::step])
    every = np.bincount(cells.ravel(), minlength=look.size) / cells.size
    speaks = np.clip(np.log((look + RARE) / (every + RARE)), -CERTAIN, CERTAIN).astype(np.float32)[cells]
    speaks[taken[::step, ::step]] = -CERTAIN
    width, height = (max(1, round(side / step)) for side in size)
    y, x = np.unravel_index(cv2.blur(speaks, (width, height)).argmax(), speaks.shape)
    return float(x * step), float(y * step)
