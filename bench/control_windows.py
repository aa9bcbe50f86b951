"""Draws workflows/control_NAME.jpg: what a recipe's model is shown of a window of the demo's clip, four of its frames.

python -m bench.control_windows workflows

Masks and keypoints are the renderer's own; what is already generated is the source with its colours turned.
"""

import argparse
from pathlib import Path

import cv2
import numpy as np

from stages.base import Array
from stages.recipes.material import Material
from stages.recipes.registry import RECIPES
from stages.region import region
from stages.vace.condition import Guides
from stages.vace.reference import Reference
from stream.demo import DemoConfig, Scene

WIDTH, HEIGHT, FIRST, LENGTH, TAIL = 832, 480, 60, 41, 21
SHOWN = (0, 15, 26, 34)  # the first is one that is given as already generated
PANEL = (416, 240)
COLUMNS = {
    "vace": ("control", "mask"),
    "wan-animate": ("pose", "background", "mask", "face"),
    "scail2": ("driving", "identities"),
    "void": ("quadmask",),
}


def material(name: str) -> Material:
    """A window of the demo's clip, for a recipe."""
    scene = Scene(DemoConfig(frames=FIRST + LENGTH, width=WIDTH, height=HEIGHT))
    shown = [scene.frame(FIRST + index) for index in range(LENGTH)]
    frames, family = np.stack([frame.image for frame in shown]), RECIPES[name].family
    objects, persons = (np.stack([getattr(frame, f"{kind}_mask") for frame in shown]) for kind in ("object", "person"))
    points = [np.column_stack([frame.joints, frame.joints_visible]) for frame in shown]
    return Material(
        frames=frames,
        keypoints=np.stack(points).astype(np.float32),
        objects=objects,
        persons=persons,
        region=region(objects, persons, "both", (8, 8)),
        length=LENGTH,
        size=(WIDTH, HEIGHT),
        guides=Guides(family.fill, family.object_guide, True, family.pose_style),
        channels=frozenset(["face", "before"]),
        reference=Reference(frames[0], np.ones((HEIGHT, WIDTH), np.bool_)),
    )


def picture(name: str) -> Array:
    """`[rows, columns, 3]` uint8 RGB: the source, then each video that is sent, a row a frame."""
    given = material(name)
    family = RECIPES[name].family
    tail = given.frames[:TAIL, ..., [2, 0, 1]][: family.geometry.carried]
    videos = family.carry(family.condition(given), tail, given.size).videos
    rows = []
    for index in SHOWN:
        panels = [given.frames[index], *(videos[channel][index] for channel in COLUMNS[name])]
        rows.append(np.concatenate([fitted(panel) for panel in panels], axis=1))
    for column, channel in enumerate(("source", *COLUMNS[name])):
        at = (column * PANEL[0] + 8, PANEL[1] - 10)
        (width, _), _ = cv2.getTextSize(channel, cv2.FONT_HERSHEY_SIMPLEX, 0.6, 2)
        rows[0][PANEL[1] - 30 :, at[0] - 8 : at[0] + width + 8] = 0  # some videos are white
        cv2.putText(rows[0], channel, at, cv2.FONT_HERSHEY_SIMPLEX, 0.6, (255, 255, 255), 2, cv2.LINE_AA)
    return np.concatenate(rows)


def fitted(panel: Array) -> Array:
    """A panel of one size, whole, on grey."""
    if panel.ndim == 2:
        panel = np.repeat(panel[..., None], 3, axis=2)
    scale = min(PANEL[0] / panel.shape[1], PANEL[1] / panel.shape[0])
    size = (round(panel.shape[1] * scale), round(panel.shape[0] * scale))
    canvas = np.full((PANEL[1], PANEL[0], 3), 60, np.uint8)
    left, top = (PANEL[0] - size[0]) // 2, (PANEL[1] - size[1]) // 2
    canvas[top : top + size[1], left : left + size[0]] = cv2.resize(panel, size, interpolation=cv2.INTER_AREA)
    return canvas


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    for name in COLUMNS:
        file = folder / f"control_{name}.jpg"
        cv2.imwrite(str(file), picture(name)[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 85])


if __name__ == "__main__":
    main()
