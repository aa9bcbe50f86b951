"""Pictures to look at: source, what was tracked on it, and the result, frame by frame in rows."""

import io
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from stages.base import Array
from stages.subjects import OBJECT, PERSON
from stream.options.config import RunConfig
from stream.options.passes import UNION

COLUMNS = ("source", "mask and skeleton", "result")
OBJECT_COLOUR, PERSON_COLOUR, BONE_COLOUR, JOINT_COLOUR = (255, 140, 0), (40, 140, 255), (255, 255, 255), (255, 60, 90)
_SEEN = 0.3
_GAP, _HEADER, _CAPTION = 6, 26, 26
# COCO-WholeBody: head, arms, trunk, legs, feet.
_BONES = (
    *((0, 1), (0, 2), (1, 3), (2, 4), (5, 6), (5, 7), (7, 9), (6, 8), (8, 10), (5, 11), (6, 12), (11, 12)),
    *((11, 13), (13, 15), (12, 14), (14, 16), (15, 17), (15, 19), (16, 20), (16, 22)),
)


@dataclass(frozen=True)
class StripRow:
    """One frame of a film strip.

    Attributes:
        source, result: `[H, W, 3]` uint8 RGB.
        object_mask, person_mask: `[H, W]` bool, of the source.
        keypoints: `[133, 3]` float32: x px, y px, score; or `[P, 133, 3]` of several persons.
        caption: one line above the pictures. failed: whether the frame fails the gate; its caption is red then.
    """

    source: Array
    object_mask: Array
    person_mask: Array
    keypoints: Array
    result: Array
    caption: str = ""
    failed: bool = False


def shown_arrays(config: RunConfig) -> dict[str, str]:
    """The arrays that a row's masks and keypoints are taken from: of a scene what is regenerated."""
    names = {"object_mask": f"masks/{OBJECT}", "person_mask": f"masks/{PERSON}", "keypoints": f"keypoints/{PERSON}"}
    return names if config.scene is None else {field: UNION[array] for field, array in names.items()}


def film_strip(rows: Sequence[StripRow], cell_width: int = 480) -> Array:
    """The rows under each other: source, overlay, result, a caption above each.

    Args:
        rows: at least one.
        cell_width: pictures wider than this are reduced to it.

    Returns:
        `[h, w, 3]` uint8 RGB.
    """
    cells = [[fitted(picture, cell_width) for picture in (row.source, overlay(row), row.result)] for row in rows]
    height, width = cells[0][0].shape[:2]
    total_width = len(COLUMNS) * width + (len(COLUMNS) + 1) * _GAP
    block = _CAPTION + height + _GAP
    sheet = Image.new("RGB", (total_width, _HEADER + len(rows) * block + _GAP), (250, 250, 250))
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(15)
    for column, title in enumerate(COLUMNS):
        draw.text((_GAP + column * (width + _GAP), _HEADER // 2), title, fill=(110, 110, 110), font=font, anchor="lm")
    for index, (row, pictures) in enumerate(zip(rows, cells, strict=True)):
        top = _HEADER + index * block
        colour = (200, 40, 0) if row.failed else (20, 20, 20)
        draw.text((_GAP, top + _CAPTION // 2), row.caption, fill=colour, font=font, anchor="lm")
        for column, picture in enumerate(pictures):
            sheet.paste(Image.fromarray(picture), (_GAP + column * (width + _GAP), top + _CAPTION))
    return np.asarray(sheet)


def contact_sheet(pictures: Sequence[tuple[int, Array]], columns: int = 4, cell_width: int = 360) -> Array:
    """Numbered frames of one size in rows, a caption above each.

    Args:
        pictures: at least one; `[H, W, 3]` uint8 RGB each. cell_width: wider ones are reduced to it.

    Returns:
        `[h, w, 3]` uint8 RGB.
    """
    cells = [fitted(picture, cell_width) for _, picture in pictures]
    height, width = cells[0].shape[:2]
    columns = min(columns, len(cells))
    block, rows = _CAPTION + height + _GAP, -(-len(cells) // columns)
    sheet = Image.new("RGB", (columns * (width + _GAP) + _GAP, rows * block + _GAP), (250, 250, 250))
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(15)
    for place, ((number, _), cell) in enumerate(zip(pictures, cells, strict=True)):
        left, top = _GAP + place % columns * (width + _GAP), place // columns * block
        draw.text((left, top + _CAPTION // 2), f"frame {number}", fill=(20, 20, 20), font=font, anchor="lm")
        sheet.paste(Image.fromarray(cell), (left, top + _CAPTION))
    return np.asarray(sheet)


def overlay(row: StripRow) -> Array:
    """The source under the tinted masks with their outlines, and the skeleton. `[H, W, 3]` uint8 RGB."""
    return overlaid(row.source, row.object_mask, row.person_mask, row.keypoints)


def overlaid(shown: Array, object_mask: Array, person_mask: Array, keypoints: Array | None) -> Array:
    """A picture `[H, W, 3]` uint8 RGB under the tinted masks with their outlines, and the skeleton, where there is one;
    a copy."""
    picture = shown.copy()
    thick = max(1, round(max(picture.shape[:2]) / 480))
    for mask, colour in ((person_mask, PERSON_COLOUR), (object_mask, OBJECT_COLOUR)):
        picture[mask] = (picture[mask].astype(np.uint16) + np.array(colour, dtype=np.uint16)) // 2
        outlines, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        cv2.drawContours(picture, outlines, -1, colour, thick)
    if keypoints is not None:
        for person in keypoints.reshape(-1, *keypoints.shape[-2:]):
            _draw_skeleton(picture, person, thick)
    return picture


def _draw_skeleton(picture: Array, keypoints: Array, thick: int) -> None:
    places = {}
    for joint, (x, y, score) in enumerate(keypoints.astype(float).tolist()):
        if score >= _SEEN and abs(x) < 1e5 and abs(y) < 1e5:
            places[joint] = (round(x * 16), round(y * 16))
    for first, second in _BONES:
        if first in places and second in places:
            cv2.line(picture, places[first], places[second], BONE_COLOUR, thick, cv2.LINE_AA, shift=4)
    for joint, place in places.items():
        radius = (thick + 1) * 16 if joint < 23 else 12 * thick
        cv2.circle(picture, place, radius, JOINT_COLOUR if joint < 23 else BONE_COLOUR, -1, cv2.LINE_AA, shift=4)


def png_bytes(picture: Array) -> bytes:
    """`[h, w, 3]` uint8 RGB as a PNG."""
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, format="PNG")
    return buffer.getvalue()


def fitted(picture: Array, width: int) -> Array:
    """A picture reduced to `width` where it is wider; `[H, W, 3]` uint8."""
    if picture.shape[1] <= width:
        return picture
    size = (width, max(1, round(picture.shape[0] * width / picture.shape[1])))
    reduced: Array = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
    return reduced
