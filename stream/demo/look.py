"""What differs from seed to seed: colours, measures, and how colourful the park is."""

from dataclasses import dataclass, field
from typing import Self

import numpy as np

from stream.demo.board import BoardLook, Rgb
from stream.demo.puppet import BODY_RGB, BODY_RGBS, Proportions

# Muted on purpose: a saturated board would carry a colour of the puppet's code.
_TOPS: tuple[Rgb, ...] = ((40, 40, 44), (56, 50, 46), (34, 46, 52), (62, 62, 58))
_TOP_ARTS: tuple[Rgb, ...] = ((168, 166, 150), (150, 120, 96), (120, 146, 150), (178, 150, 128))
_BOTTOMS: tuple[Rgb, ...] = ((206, 182, 138), (222, 214, 196), (150, 176, 176), (190, 148, 128), (178, 186, 140))
_BOTTOM_ARTS: tuple[Rgb, ...] = ((104, 62, 52), (54, 78, 84), (60, 60, 64), (120, 88, 60))
_EDGES: tuple[Rgb, ...] = ((176, 140, 100), (150, 112, 84), (196, 172, 136))
_WHEELS: tuple[Rgb, ...] = ((224, 220, 204), (188, 176, 150), (168, 186, 186))


def _any_rgb(rng: np.random.Generator) -> Rgb:
    r, g, b = (int(v) for v in rng.integers(15, 245, 3))
    return r, g, b


@dataclass(frozen=True)
class Look:
    """How a clip looks.

    Attributes:
        body: the puppet's proportions.
        board: the board's colours and measures.
        body_rgb: the puppet's colour; `coded`: whether its joints carry their colours. The mini pose models know only
            the default of both.
        background_tint: 8-bit levels by which the park's greys may be coloured.
    """

    body: Proportions = field(default_factory=Proportions)
    board: BoardLook = field(default_factory=BoardLook)
    body_rgb: Rgb = BODY_RGB
    coded: bool = True
    background_tint: float = 9.0

    @classmethod
    def from_seed(cls, seed: int, wide: bool = False, who: int = 0) -> Self:
        """The look that a seed gives rider `who` and the board; `wide`: any colours, and a larger range of sizes, for
        training."""
        rng = np.random.default_rng([seed, 41, who] if who else [seed, 41])
        grow = 2.5 if wide else 1.0

        def about(value: float, share: float) -> float:
            return value * float(rng.uniform(1 - share * grow, 1 + share * grow))

        body = Proportions(
            height_px=about(202.0, 0.035), thigh=about(0.19, 0.03), shin=about(0.185, 0.03), torso=about(0.23, 0.04),
            shoulder_half=about(0.12, 0.06), hip_half=about(0.065, 0.08), upper_arm=about(0.15, 0.05),
            limb_width=about(0.075, 0.08),
        )  # fmt: skip
        length, width = about(122.0, 0.10), about(29.0, 0.06)

        def pick(colours: tuple[Rgb, ...]) -> Rgb:
            chosen = colours[int(rng.integers(len(colours)))]
            return _any_rgb(rng) if wide and rng.random() < 0.7 else chosen

        board = BoardLook(
            length, width, pick(_TOPS), pick(_TOP_ARTS), pick(_BOTTOMS), pick(_BOTTOM_ARTS), pick(_EDGES),
            pick(_WHEELS), int(rng.integers(3)),
        )  # fmt: skip
        if not wide:
            return cls(body, board, BODY_RGBS[who], background_tint=float(rng.uniform(5, 11)))
        coded = bool(rng.random() < 0.5)
        body_rgb = BODY_RGBS[who] if rng.random() < 0.4 else _any_rgb(rng)
        return cls(body, board, body_rgb, coded, float(rng.uniform(5, 80)))
