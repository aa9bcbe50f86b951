"""One training step's forward pass: prompt the first frame, track the others through the memory.

It calls the methods the stock predictor calls, in its order, with the gradient on. The image features of a clip are
computed once for all its targets.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from training.mini_sam.objective import FrameLoss, frame_loss

MEAN = (0.485, 0.456, 0.406)  # ImageNet's, as in sam2.utils.misc
STD = (0.229, 0.224, 0.225)
SEEN = 10.0  # px at 256 x 256
NUM_FRAMES = 10_000  # length of clip the pointers are told; any number >= 16 gives the same encodings
SURE = 30.0  # logit that the memory encoder's sigmoid takes to 0 or 1, as binarize_mask_from_pts_for_mem_enc does
LATEST_INDEX = 400
PROMOTED, MOST_PROMOTED = 0.6, 3  # of the steps keep up to so many frames as a distractor-aware memory does
FIRST_WEIGHT, SECOND_WEIGHT = 1.5, 0.75  # the object is smaller and harder than the person


@dataclass(frozen=True)
class Rollout:
    """Mean loss (with its graph until `backward` has run) and the measures of every frame."""

    loss: Tensor
    frames: list[FrameLoss]

    def detached(self) -> "Rollout":
        """The same numbers without the graph."""
        return Rollout(self.loss.detach(), [replace(frame, total=frame.total.detach()) for frame in self.frames])


class RawDecoder:
    """Keeps all that the mask decoder predicts, before it selects masks and `_forward_sam_heads` blanks absent objects.

    All four mask tokens are supervised on every frame, prompted or tracked: in a model this small each needs it.
    """

    def __init__(self, model: Any) -> None:
        self.last: tuple[Tensor, Tensor, Tensor] | None = None
        self._predict = model.sam_mask_decoder.predict_masks
        model.sam_mask_decoder.predict_masks = self._keep

    def _keep(self, **inputs: Any) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        masks, estimates, tokens, scores = self._predict(**inputs)
        self.last = (masks, estimates, scores)
        return masks, estimates, tokens, scores


def _boxes(masks: Tensor, rng: np.random.Generator) -> dict[str, Tensor]:
    """Box prompts of `masks` [N, S, S] with 4 % jitter (8 % for a few), in the form of `add_new_points_or_box`."""
    corners = []
    for mask in masks.numpy():
        y, x = np.nonzero(mask > 0.5)
        jitter = rng.normal(0, rng.choice((0.01, 0.04, 0.08)), 4) * np.array([np.ptp(x), np.ptp(y)] * 2)
        x1, y1, x2, y2 = np.array([x.min(), y.min(), x.max() + 1, y.max() + 1]) + jitter
        corners.append([[min(x1, x2), min(y1, y2)], [max(x1, x2), max(y1, y2)]])
    coords = torch.tensor(np.array(corners), dtype=torch.float32)
    return {"point_coords": coords, "point_labels": torch.tensor([[2, 3]] * len(corners), dtype=torch.int32)}


def _points(masks: Tensor, rng: np.random.Generator) -> dict[str, Tensor]:
    """One positive click inside every mask of `masks` [N, S, S]."""
    clicks = []
    for mask in masks.numpy():
        y, x = np.nonzero(mask > 0.5)
        index = rng.integers(len(x))
        clicks.append([[x[index] + 0.5, y[index] + 0.5]])
    coords = torch.tensor(np.array(clicks), dtype=torch.float32)
    return {"point_coords": coords, "point_labels": torch.ones(len(clicks), 1, dtype=torch.int32)}


def _targets(
    masks: Tensor, second_share: float, second_weight: float, rng: np.random.Generator
) -> tuple[Tensor, Tensor, Tensor]:
    """The targets to prompt in `masks` [B, T, S, S, K]: clip [N], weight in the loss [N], truth [N, T, S, S]."""
    size = masks.shape[2]
    area = (masks[:, 0] > 0.5).float().sum((1, 2)) * (256 / size) ** 2
    clips, kinds = torch.nonzero(area >= SEEN, as_tuple=True)
    kept = (kinds == 0) | torch.from_numpy(rng.random(len(kinds)) < second_share)
    if kept.any():
        clips, kinds = clips[kept], kinds[kept]
    return clips, torch.tensor((FIRST_WEIGHT, second_weight))[kinds], masks.permute(0, 4, 1, 2, 3)[clips, kinds]


def _encode(model: Any, images: Tensor) -> tuple[list[Tensor], list[Tensor], Any]:
    """Features and positions of `images` [B, T, S, S, 3] uint8, each [HW, B, T, C], and their sizes."""
    batch, frames = images.shape[:2]
    scaled = images.flatten(0, 1).permute(0, 3, 1, 2).float() / 255
    scaled = (scaled - torch.tensor(MEAN)[:, None, None]) / torch.tensor(STD)[:, None, None]
    scaled = scaled.contiguous(memory_format=torch.channels_last)
    _, features, positions, sizes = model._prepare_backbone_features(model.forward_image(scaled))
    split = [[x.view(x.shape[0], batch, frames, x.shape[2]) for x in xs] for xs in (features, positions)]
    return split[0], split[1], sizes


def _promoted(frames: int, rng: np.random.Generator) -> set[int]:
    """Steps, of a sequence of so many frames, whose memories become conditioning ones."""
    if frames < 4 or rng.random() >= PROMOTED:
        return set()
    count = int(rng.integers(1, min(MOST_PROMOTED, frames - 3) + 1))
    return set(rng.choice(np.arange(1, frames - 2), count, replace=False).tolist())


def roll(
    model: Any,
    raw: RawDecoder,
    images: Tensor,
    masks: Tensor,
    rng: np.random.Generator,
    second_share: float = 1.0,
    second_weight: float = SECOND_WEIGHT,
    even_edges: bool = False,
) -> Rollout | None:
    """Track every promptable target of a batch and return the loss.

    Args:
        model: a SAM2Base in training mode.
        raw: the hook on its mask decoder.
        images: [B, T, S, S, 3] uint8 RGB.
        masks: [B, T, S, S, K] uint8 coverage.
        rng: chooses the kind of prompt, its jitter and the frame numbers.
        second_share: chance of a second target (the person) to be taken; the first, smaller one always is.
        second_weight: weight of a second target's mask in the loss.
        even_edges: see `objective.mask_loss`.

    Returns:
        None where no target is visible in any first frame.
    """
    clips, weights, truth = _targets(masks.float() / 255, second_share, second_weight, rng)
    if not len(clips):
        return None
    features, positions, sizes = _encode(model, images)
    kind = rng.choice(("box", "point", "mask"), p=(0.9, 0.05, 0.05))
    first = 1 if rng.random() < 0.5 else int(rng.integers(2, LATEST_INDEX))
    memory: dict[str, dict[int, Any]] = {"cond_frame_outputs": {}, "non_cond_frame_outputs": {}}
    losses: list[FrameLoss] = []
    promoted = _promoted(images.shape[1], rng)
    for step in range(images.shape[1]):
        if step - 2 in promoted:  # the frame before is always read as a recent one
            index = first + step - 3
            memory["cond_frame_outputs"][index] = memory["non_cond_frame_outputs"].pop(index)
        current = [x[:, :, step][:, clips] for x in features]
        places = [x[:, :, step][:, clips] for x in positions]
        prompted = step == 0
        points = (_boxes if kind == "box" else _points)(truth[:, 0], rng) if prompted and kind != "mask" else None
        given = (truth[:, :1] > 0.5).float() if prompted and kind == "mask" else None
        index = 0 if prompted else first + step - 1
        out, heads, _, _ = model._track_step(
            index, prompted, current, places, sizes, points, given, memory, NUM_FRAMES, False, None
        )
        low, high, pointer, score = heads[3:7]
        if given is None and raw.last is not None:
            proposals, estimates, scores = (x.float() for x in raw.last)
            losses.append(frame_loss(proposals, estimates, scores, truth[:, step], weights, even_edges))
        out.update(pred_masks=low, pred_masks_high_res=high, obj_ptr=pointer)
        shown = torch.where(high > 0, SURE, -SURE) if prompted else high
        model._encode_memory_in_output(current, sizes, points, True, shown, score, out)
        memory["cond_frame_outputs" if prompted else "non_cond_frame_outputs"][index] = out
    return Rollout(torch.stack([part.total for part in losses]).mean(), losses)
