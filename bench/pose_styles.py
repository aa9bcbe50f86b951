"""Draws docs/pose_styles.png: the three skeleton styles side by side, of the demo's rider in a 1280x720 frame.

python -m bench.pose_styles docs/pose_styles.png
"""

import argparse
from pathlib import Path

import cv2
import numpy as np

from stages.base import Array
from stages.poses.draw import STYLES, draw
from stream.demo import DemoConfig, Scene

HEIGHT, WIDTH, PANEL = 720, 1280, 480


def panels() -> Array:
    """[720, 1920, 3] uint8 RGB: the frame, then each style, 480 columns of it around the rider; nothing is resized."""
    shown = Scene(DemoConfig(frames=1, width=WIDTH, height=HEIGHT)).frame(0)
    keypoints = np.column_stack([shown.joints, np.ones(len(shown.joints))]).astype(np.float32)
    left = int(np.clip(shown.joints[:, 0].mean() - PANEL / 2, 0, WIDTH - PANEL))
    pictures = [shown.image, *(draw(keypoints, HEIGHT, WIDTH, style) for style in STYLES)]
    cut = [picture[:, left : left + PANEL].copy() for picture in pictures]
    for picture, name in zip(cut, ["source", *STYLES], strict=True):
        cv2.putText(picture, name, (12, HEIGHT - 16), cv2.FONT_HERSHEY_SIMPLEX, 0.9, (255, 255, 255), 1, cv2.LINE_AA)
    return np.concatenate(cut, axis=1)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("path", type=Path)
    cv2.imwrite(str(parser.parse_args().path), panels()[..., ::-1])


if __name__ == "__main__":
    main()
