"""Writes what the renderer knows of a clip into a folder (`skate demo --truth DIR`).

truth.json               the clip, its shots and subjects, and of every frame all that is a number or a word
truth.npz                motion, camera [T, 2, 3] float64; joints/NAME [T, 133, 2] float32, seen/NAME [T, 133] bool
mask_NAME/frame_%05d.png    the visible pixels of a subject (white), amodal_NAME/: with what is hidden
plate/frame_%05d.png     the park alone
"""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from storage.errors import EnvironmentFault, UsageError
from stream.demo.puppet import Array
from stream.demo.scene import Scene
from stream.demo.truth import BoardTruth, PersonTruth, Truth

VERSION = 1


def check_folder(folder: Path) -> None:
    """Make the folder, which must be new or empty.

    Raises:
        UsageError: when it holds something.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(f"--truth {folder}: is there and not empty; give a new or an empty folder")
    folder.mkdir(parents=True, exist_ok=True)


def write_truth(scene: Scene, folder: Path) -> None:
    """Write the truth of every frame of a clip into a new or empty folder; `truth.json` comes last.

    Raises:
        UsageError: when the folder holds something. EnvironmentFault: when a picture cannot be written.
    """
    check_folder(folder)
    frames: list[dict[str, Any]] = []
    arrays: dict[str, list[Array]] = {}
    for t in range(len(scene)):
        truth = scene.truth(t)
        for subject in truth.subjects:
            _write_png(folder / f"mask_{subject.name}" / f"frame_{t:05d}.png", subject.visible.astype(np.uint8) * 255)
            _write_png(folder / f"amodal_{subject.name}" / f"frame_{t:05d}.png", subject.amodal.astype(np.uint8) * 255)
        _write_png(folder / "plate" / f"frame_{t:05d}.png", np.ascontiguousarray(truth.plate[..., ::-1]))
        arrays.setdefault("motion", []).append(truth.motion)
        arrays.setdefault("camera", []).append(truth.camera)
        for skater in truth.skaters:
            arrays.setdefault(f"joints/{skater.name}", []).append(skater.joints)
            arrays.setdefault(f"seen/{skater.name}", []).append(skater.joints_visible)
        frames.append(_record(truth))
    stacked: dict[str, Any] = {name: np.stack(values) for name, values in arrays.items()}
    np.savez_compressed(folder / "truth.npz", allow_pickle=False, **stacked)
    first = scene.truth(0)
    about = {
        "version": VERSION,
        "clip": asdict(scene.config),
        "shots": [asdict(shot) for shot in scene.shots],
        "subjects": [{"name": s.name, "kind": "person", "board": s.board} for s in first.skaters]
        + [{"name": b.name, "kind": "object", "rider": b.rider} for b in first.boards],
        "frames": frames,
    }
    (folder / "truth.json").write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")


def _record(truth: Truth) -> dict[str, Any]:
    """What of a frame is no picture and no array."""
    left_out = {"name", "visible", "amodal", "joints", "joints_visible", "board", "rider", "length", "width"}

    def plain(subject: PersonTruth | BoardTruth) -> dict[str, Any]:
        return {key: value for key, value in vars(subject).items() if key not in left_out}

    return {
        "frame": truth.frame,
        "shot": truth.shot,
        "cut": truth.cut,
        "flash": truth.flash,
        "order": truth.order,
        "skaters": {skater.name: plain(skater) for skater in truth.skaters},
        "boards": {board.name: plain(board) | {"length": board.length, "width": board.width} for board in truth.boards},
    }


def _write_png(path: Path, picture: Array) -> None:
    """`[H, W]` grey or `[H, W, 3]` BGR, uint8."""
    path.parent.mkdir(exist_ok=True)
    done, coded = cv2.imencode(".png", picture, [cv2.IMWRITE_PNG_COMPRESSION, 1])
    if not done:
        raise EnvironmentFault(f"{path}: the picture could not be encoded")
    path.write_bytes(coded.tobytes())
