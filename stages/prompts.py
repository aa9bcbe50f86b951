"""What the user points at: the object's prompt, its corrections, the person's box. Pixels of the upright source."""

from dataclasses import dataclass

from stages import bounds
from storage.errors import InputError, UsageError

Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Pointing:
    """A subject on one frame: a box, or points with labels, or a mask; exactly one of the three.

    Attributes:
        frame: absolute index.
        box: x1, y1, x2, y2 in pixels, x1 < x2, y1 < y2.
        points: (x, y, label) in pixels; label 1 = on the object, 0 = not on it.
        mask_png: path of a PNG of the frame's size, white (>= 128) = object.
        mask_digest: sha256 of the PNG's bytes, so that the config digest notices another mask under the same path.
    """

    frame: int
    box: Box | None = None
    points: tuple[tuple[float, float, int], ...] = ()
    mask_png: str | None = None
    mask_digest: str | None = None

    @property
    def forms(self) -> int:
        """How many of the three are given."""
        return sum([self.box is not None, bool(self.points), self.mask_png is not None])


@dataclass(frozen=True)
class Correction(Pointing):
    """A subject on a later frame."""

    def __post_init__(self) -> None:
        if self.forms != 1:
            raise UsageError(f"a correction on frame {self.frame} needs exactly one of a box, points and a mask")


@dataclass(frozen=True)
class ObjectPrompt(Pointing):
    """A subject on the prompt frame; frames before it are untracked."""

    frame: int = 0

    def __post_init__(self) -> None:
        if self.forms != 1:
            raise UsageError("the object needs exactly one of --box, --point (repeatable) or --object-mask")
        bounds.FRAME.check("--prompt-frame", self.frame)
        if self.box is not None:
            check_box("--box", self.box)


def check_box(option: str, box: Box) -> None:
    """Refuse an inverted or empty box, and one smaller than a pixel: shares of the frame, most likely.

    Raises:
        UsageError: naming the option and the box.
    """
    x1, y1, x2, y2 = box
    text = ",".join(f"{v:g}" for v in box)
    if not (x1 < x2 and y1 < y2):
        raise UsageError(f"{option} {text} is empty or inverted: give x1,y1,x2,y2 with x1 < x2 and y1 < y2")
    if x2 - x1 < 1 and y2 - y1 < 1:
        raise UsageError(f"{option} {text} is smaller than a pixel: give x1,y1,x2,y2 in pixels, not in shares")


def check_box_inside(option: str, box: Box, width: int, height: int) -> None:
    """Refuse a box that reaches outside the upright frame.

    Raises:
        InputError: naming the option, the box and the frame's size.
    """
    x1, y1, x2, y2 = box
    if x1 < 0 or y1 < 0 or x2 > width or y2 > height:
        text = ",".join(f"{v:g}" for v in box)
        raise InputError(
            f"{option} {text} reaches outside the {width}x{height} frame: "
            "read the box from `skate frame VIDEO --at N --to PNG`"
        )
