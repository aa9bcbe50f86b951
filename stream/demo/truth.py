"""What the renderer knows of a frame."""

import math
from dataclasses import dataclass

from stream.demo.puppet import Array

EDGE = 0.25  # |cos roll| below which neither face counts as shown


@dataclass(frozen=True)
class PersonTruth:
    """One skater on one frame; positions in picture pixels, pixel centres at whole coordinates.

    Attributes:
        name: "skater", "skater-2", ...
        visible: [H, W] bool, what shows of it; amodal: [H, W] bool, all of it inside the picture, hidden or not.
        joints: [133, 2] float32, COCO-WholeBody order; joints_visible: [133] bool.
        on_board: whether the left and the right foot stand on the own board; on_ground: on the ground.
        airborne: in flight: neither foot is on the ground or on a board that is carried.
        board: name of the board it rides, also while they are apart; None without one.
        scale: picture pixels per pixel of the reference, in which the flight's gravity is `tricks.GRAVITY`.
        action: what goes on: a kind of `tricks.TRICKS` or `tricks.DEPARTURES`, or "run".
    """

    name: str
    visible: Array
    amodal: Array
    joints: Array
    joints_visible: Array
    on_board: tuple[bool, bool]
    on_ground: tuple[bool, bool]
    airborne: bool
    board: str | None
    scale: float
    action: str


@dataclass(frozen=True)
class BoardTruth:
    """One board on one frame; positions in picture pixels.

    Attributes:
        name: "board", "board-2", ...
        visible, amodal: as a skater's.
        x, y: its centre.
        angle: of its long axis from the picture's x axis, radians, y down.
        roll: about the long axis: 0 shows the whole top, pi the whole bottom; yaw: about the deck's normal. Radians.
        face: "top", "bottom" or "edge": what is seen of it.
        length, width: of the board seen from above.
        support: what carries it: "ground", "rail" or "air".
        rider: name of the skater who rides it, also while they are apart; None without one.
    """

    name: str
    visible: Array
    amodal: Array
    x: float
    y: float
    angle: float
    roll: float
    yaw: float
    face: str
    length: float
    width: float
    support: str
    rider: str | None


@dataclass(frozen=True)
class Truth:
    """All that is known of frame `frame`.

    Attributes:
        skaters, boards: by number.
        order: the names from far to near.
        plate: [H, W, 3] uint8 RGB: the park without subjects, their shadows, flash and grain.
        motion: [2, 3] float64: the park of the frame before -> this one (pixels); identity on a shot's first frame.
        camera: [2, 3] float64: reference pixels of the scene -> picture pixels.
        shot: its number; cut: whether the frame is the first of a shot but the clip's first.
        flash: whether a flash lights the frame, which is no cut.
    """

    frame: int
    skaters: tuple[PersonTruth, ...]
    boards: tuple[BoardTruth, ...]
    order: tuple[str, ...]
    plate: Array
    motion: Array
    camera: Array
    shot: int
    cut: bool
    flash: bool

    @property
    def subjects(self) -> tuple[PersonTruth | BoardTruth, ...]:
        """Skaters, then boards."""
        return (*self.skaters, *self.boards)


def face_of(roll: float) -> str:
    """Which face of a board is seen."""
    shown = math.cos(roll)
    return "edge" if abs(shown) < EDGE else "top" if shown > 0 else "bottom"
