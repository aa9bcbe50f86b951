"""Run the unmodified `SAM2VideoPredictor` over frames in memory. Whole clip, float32, CPU."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
from PIL import Image as PilImage

from training.mini_sam.checkpoint import average_weights
from training.mini_sam.rollout import MEAN, STD
from training.mini_sam.textures import Image

SHIPPED = Path(__file__).resolve().parents[2] / "stages" / "models" / "mini"
Box = tuple[float, float, float, float]


def box_of(mask: Image) -> Box:
    """x1, y1, x2, y2 of a [H, W] bool mask."""
    y, x = np.nonzero(mask)
    return float(x.min()), float(y.min()), float(x.max() + 1), float(y.max() + 1)


def load_predictor(config: Path, weights: Path) -> Any:
    """The predictor of a complete YAML (`model:` at its root), with float32 weights, in eval mode."""
    from hydra.utils import instantiate
    from omegaconf import OmegaConf

    predictor = instantiate(OmegaConf.load(config).model, _recursive_=True)
    predictor.load_state_dict(average_weights(weights))
    return predictor.eval()


def preprocess(frames: Image, image_size: int) -> torch.Tensor:
    """[T, H, W, 3] uint8 RGB -> [T, 3, S, S] float32, as sam2.utils.misc loads a folder of pictures."""
    squares = [np.asarray(PilImage.fromarray(frame).resize((image_size, image_size))) for frame in frames]
    images = torch.from_numpy(np.stack(squares)).permute(0, 3, 1, 2).float() / 255
    return (images - torch.tensor(MEAN)[:, None, None]) / torch.tensor(STD)[:, None, None]


def track(predictor: Any, frames: Image, boxes: Mapping[int, Box]) -> dict[int, Image]:
    """Track objects prompted by boxes on frame 0.

    Args:
        predictor: the stock predictor.
        frames: [T, H, W, 3] uint8 RGB.
        boxes: object id -> x1, y1, x2, y2 px.

    Returns:
        object id -> [T, H, W] bool, video-resolution logits > 0.
    """
    images = preprocess(frames, predictor.image_size)
    loaded = (images, frames.shape[1], frames.shape[2])
    with mock.patch("sam2.sam2_video_predictor.load_video_frames", return_value=loaded):
        state = predictor.init_state("")
    for number, box in boxes.items():
        predictor.add_new_points_or_box(state, 0, number, box=np.array(box, np.float32))
    masks = {number: np.zeros(frames.shape[:3], bool) for number in boxes}
    for index, numbers, logits in predictor.propagate_in_video(state):
        for number, logit in zip(numbers, logits, strict=True):
            masks[number][index] = logit[0].numpy() > 0
    return masks
