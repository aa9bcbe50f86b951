"""Where a chase looks at a subject: round where it was on the frame before, and while it is lost all over the frame."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

from stages.affine import compose, scaling, shifting
from stages.base import Array

MARGIN = 0.5  # of its larger side, on each side
LEAST = 0.25  # of the frame's shorter side: a view is not smaller
PATIENT = 2  # frames for which one that is not seen is looked for nowhere else: something passes before it
SHRINKS = 0.97  # of a view's size, from frame to frame at most: a subject that is hidden in part does not shrink
SHRINKS_ANEW = 0.8  # where it was found again: what it was lost as may have been too large
SMALL = 0.5  # of its area lately: less of it is a part, which says nothing of its size
GAIN = 0.5  # of a new motion in what is remembered
SLOWS = 0.8  # of its motion that one that is not seen goes on with, from frame to frame
AREA_GAIN = 0.02  # of a new area in what is remembered
ANYONE = 0.25  # of its side: one whose size is not known may be so large
FEET = 0.25  # of a holder's side, below its middle: there it holds

Likeliest = Callable[[], tuple[float, float] | None]


@dataclass
class Place:
    """Where a subject was last, in source pixels.

    Attributes:
        middle: x, y of its box; while it is not seen, of where it should be. speed: of that, pixels a frame.
        size: width, height of its box. side: of the largest lately.
        area: of its mask, pixels; 0: nothing is known of its size.
        unseen: frames since it was seen.
    """

    middle: tuple[float, float]
    size: tuple[float, float]
    side: float
    area: float = 0.0
    speed: tuple[float, float] = (0.0, 0.0)
    unseen: int = 0

    @classmethod
    def of(cls, box: Array) -> "Place":
        """Of one that was nowhere before; `box` as `stages.views.look.box_of` gives it."""
        (x1, y1, x2, y2) = (float(value) for value in box)
        return cls(((x1 + x2) / 2, (y1 + y2) / 2), (x2 - x1, y2 - y1), max(x2 - x1, y2 - y1))

    @classmethod
    def unknown(cls, frame: tuple[int, int], unseen: int) -> "Place":
        """Of one that may be anywhere in a `frame` (width, height), as it is behind a cut."""
        return cls((frame[0] / 2, frame[1] / 2), (0.0, 0.0), min(frame) / 2, unseen=unseen)

    @property
    def lost(self) -> bool:
        """Whether it may be anywhere."""
        return self.unseen > PATIENT

    @property
    def box(self) -> Array:
        """`[4]` float64: where it is expected on the next frame."""
        middle, half = np.add(self.middle, self.speed), np.array(self.size) / 2
        return np.concatenate([middle - half, middle + half])

    @property
    def extent(self) -> tuple[float, float]:
        """Width and height of as large a box that it fills."""
        if not self.area:
            return ANYONE * self.side, ANYONE * self.side
        long, thin = self.side, self.area / self.side
        return (long, thin) if self.size[0] > self.size[1] else (thin, long)

    def saw(self, box: Array, area: float) -> "Place":
        """Its place on the next frame, on which it was seen."""
        found = Place.of(box)
        shrinks = SHRINKS_ANEW if self.lost else SHRINKS
        if area < SMALL * self.area:
            found.side, found.area = max(found.side, self.side), self.area
        elif self.area:
            found.side = max(found.side, shrinks * self.side)
            found.area = self.area + AREA_GAIN * (area - self.area)
        else:
            found.area = area
        if not self.unseen:
            moved = np.subtract(found.middle, self.middle)
            x, y = (float(value) for value in (1 - GAIN) * np.array(self.speed) + GAIN * moved)
            found.speed = (x, y)
        return found

    def missed(self, frame: tuple[int, int]) -> "Place":
        """Its place on the next frame, on which it was not seen: one that left waits at the edge of the `frame`
        (width, height)."""
        x, y = (min(max(m + v, 0.0), s - 1.0) for m, v, s in zip(self.middle, self.speed, frame, strict=True))
        speed = (SLOWS * self.speed[0], SLOWS * self.speed[1])
        return Place((x, y), self.size, self.side, self.area, speed, self.unseen + 1)


@dataclass(frozen=True)
class Chase:
    """What the views of a clip depend on beside the places.

    Attributes:
        frame: (width, height) of the frames. side: of the square picture, pixels.
        held_by: by subject, who rides or carries it.
    """

    frame: tuple[int, int]
    side: int
    held_by: Mapping[str, str] = field(default_factory=dict)

    def view(self, name: str, places: Mapping[str, Place], likeliest: Likeliest = lambda: None) -> Array:
        """`[2, 3]` float64: source pixels to those of the picture in which a subject is looked for.

        Round its box, `MARGIN` to each side. One that is lost is looked for in turns: round where it should be with
        twice the margin, and in one of the squares that the frame is made of; where its colours are; by the feet of who
        holds it. Where who holds it is lost too, it is looked for where that is.

        Args:
            likeliest: gives x, y of where one that is lost is likely to be; None where nothing tells.
        """
        place = places.get(name)
        if place is None:
            return self.square((self.frame[0] / 2, self.frame[1] / 2), min(self.frame))
        if not place.lost:
            return self._round(place, MARGIN)
        own, holder = place, places.get(self.held_by.get(name, ""))
        if holder is not None and holder.lost:
            place, holder = holder, None
        time, which = divmod(own.unseen - PATIENT - 1, 2 + (holder is not None))
        at = likeliest() if which == 1 else None
        if holder is not None and which == 2:
            return self.square(self.feet(holder), (1 + MARGIN) * holder.side)
        if at is not None:
            return self._round(Place(at, own.size, own.side), MARGIN)
        if time % 2 == 0:
            return self._round(place, 2 * MARGIN)
        squares = self._squares()
        return self.square(squares[time // 2 % len(squares)], min(self.frame))

    def expected(self, name: str, places: Mapping[str, Place]) -> Array:
        """`[n, 2]` float64: where a subject that has a place may come back: there, and by who holds it."""
        found, holder = [places[name].middle], places.get(self.held_by.get(name, ""))
        if holder is not None and not holder.unseen:
            found.append(self.feet(holder))
        return np.array(found)

    def feet(self, holder: Place) -> tuple[float, float]:
        """Where who holds something has it."""
        return holder.middle[0], holder.middle[1] + FEET * holder.side

    def _squares(self) -> list[tuple[float, float]]:
        """The middles of as few squares as hold the frame."""
        width, height = self.frame
        short, long = min(self.frame), max(self.frame)
        along = np.linspace(short / 2, long - short / 2, math.ceil(long / short)) - 0.5
        return [(float(at), height / 2) if width >= height else (width / 2, float(at)) for at in along]

    def _round(self, place: Place, margin: float) -> Array:
        ahead = (place.middle[0] + place.speed[0] / 2, place.middle[1] + place.speed[1] / 2)
        return self.square(ahead, max((1 + 2 * margin) * place.side, LEAST * min(self.frame)))

    def square(self, middle: tuple[float, float], side: float) -> Array:
        """`[2, 3]`: the view of a square, moved into the frame where it fits in."""
        half = min(side, max(self.frame)) / 2
        first = np.array([
            min(max(at, half - 0.5), size - 0.5 - half) if 2 * half <= size else (size - 1) / 2
            for at, size in zip(middle, self.frame, strict=True)
        ]) - half  # fmt: skip
        scale = self.side / (2 * half)
        # The square's first pixel edge falls on the picture's.
        return compose(scaling((scale, scale)), shifting(-first[0] - 0.5, -first[1] - 0.5))
