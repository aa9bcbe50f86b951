"""How close two pictures are inside a region: PSNR, SSIM and LPIPS."""

import math
from pathlib import Path
from pickle import UnpicklingError
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from stages.base import Array
from stages.models.registry import models_folder
from storage.errors import EnvironmentFault

if TYPE_CHECKING:
    import torch

LPIPS_FOLDER = "lpips"  # below the folder of the models
ALEXNET, HEADS = "alexnet-owt-7be5be79.pth", "alex.pth"  # torchvision's AlexNet; LPIPS v0.1's linear layers for it
_SHIFT, _SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)  # of LPIPS's scaling layer
_LAYERS = ((0, 4, 2), (3, 1, 2), (6, 1, 1), (8, 1, 1), (10, 1, 1))  # of AlexNet: number, stride, padding
_POOLED = (3, 6)  # layers with a max pooling of 3, stride 2, before them
_SSIM_SIGMA, _SSIM_SIDE, _C1, _C2 = 1.5, 11, (0.01 * 255) ** 2, (0.03 * 255) ** 2
MOST_DB = 100.0  # of pictures that are the same


def psnr(one: Array, two: Array, region: Array) -> float:
    """Peak signal-to-noise ratio of RGB inside a region, dB; NaN where that is empty.

    Args:
        one, two: [H, W, 3] uint8. region: [H, W] bool.
    """
    if not region.any():
        return math.nan
    error = float(np.mean((one[region].astype(np.float64) - two[region]) ** 2))
    return min(MOST_DB, 10 * math.log10(255.0**2 / error)) if error else MOST_DB


def ssim(one: Array, two: Array, region: Array) -> float:
    """Mean structural similarity of the luma inside a region (Wang et al. 2004: Gaussian window of 11, sigma 1.5)."""
    if not region.any():
        return math.nan
    x, y = (cv2.cvtColor(each, cv2.COLOR_RGB2GRAY).astype(np.float64) for each in (one, two))

    def soft(values: Array) -> Array:
        return np.asarray(cv2.GaussianBlur(values, (_SSIM_SIDE, _SSIM_SIDE), _SSIM_SIGMA))

    mean_x, mean_y = soft(x), soft(y)
    var_x, var_y, both = soft(x * x) - mean_x**2, soft(y * y) - mean_y**2, soft(x * y) - mean_x * mean_y
    top = (2 * mean_x * mean_y + _C1) * (2 * both + _C2)
    found: Array = top / ((mean_x**2 + mean_y**2 + _C1) * (var_x + var_y + _C2))
    return float(found[region].mean())


class Lpips:
    """Learned perceptual distance (Zhang et al. 2018, version 0.1, AlexNet), as a map, averaged inside a region.

    Args:
        folder: with torchvision's AlexNet and LPIPS's linear layers, under the names they are distributed by.

    Raises:
        EnvironmentFault: when a file is not what it is named for.
    """

    def __init__(self, folder: Path) -> None:
        import torch

        try:
            net: dict[str, Any] = torch.load(folder / ALEXNET, map_location="cpu", weights_only=True)
            heads: dict[str, Any] = torch.load(folder / HEADS, map_location="cpu", weights_only=True)
            self._convs = [(net[f"features.{n}.weight"], net[f"features.{n}.bias"]) for n, _, _ in _LAYERS]
            self._heads = [heads[f"lin{index}.model.1.weight"] for index in range(len(_LAYERS))]
        except (OSError, KeyError, RuntimeError, ValueError, UnpicklingError) as error:
            raise EnvironmentFault(
                f"{folder}: {ALEXNET} and {HEADS} are not LPIPS's weights: {str(error).splitlines()[0]}"
            ) from error

    @classmethod
    def at_hand(cls) -> "Lpips | None":
        """LPIPS where both files lie in `$SKATE_MODELS/lpips`, else None."""
        folder = models_folder() / LPIPS_FOLDER
        return cls(folder) if all((folder / name).is_file() for name in (ALEXNET, HEADS)) else None

    def __call__(self, one: Array, two: Array, region: Array) -> float:
        """The distance inside a region, 0 for the same; NaN where that is empty."""
        if not region.any():
            return math.nan
        import torch

        with torch.inference_mode():
            found = self._map(self._tensor(one), self._tensor(two))
        return float(found.numpy()[region].mean())

    @staticmethod
    def _tensor(picture: Array) -> "torch.Tensor":
        import torch

        scaled = picture.astype(np.float32) / 127.5 - 1
        whole = (scaled - np.array(_SHIFT, np.float32)) / np.array(_SCALE, np.float32)
        return torch.from_numpy(np.ascontiguousarray(whole.transpose(2, 0, 1)))[None]

    def _features(self, picture: "torch.Tensor") -> "list[torch.Tensor]":
        from torch.nn.functional import conv2d, max_pool2d, relu

        found = []
        for (weight, bias), (number, stride, padding) in zip(self._convs, _LAYERS, strict=True):
            if number in _POOLED:
                picture = max_pool2d(picture, 3, 2)
            picture = relu(conv2d(picture, weight, bias, stride, padding))
            found.append(picture / (picture.square().sum(dim=1, keepdim=True).sqrt() + 1e-10))
        return found

    def _map(self, one: "torch.Tensor", two: "torch.Tensor") -> "torch.Tensor":
        import torch
        from torch.nn.functional import conv2d, interpolate

        total = torch.zeros(one.shape[2:])
        for a, b, head in zip(self._features(one), self._features(two), self._heads, strict=True):
            apart = conv2d((a - b).square(), head)
            total += interpolate(apart, size=one.shape[2:], mode="bilinear", align_corners=False)[0, 0]
        return total
