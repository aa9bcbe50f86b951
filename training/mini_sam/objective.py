"""The loss of one frame: masks, estimated IoU and presence."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

PRESENT = 6.0  # px at 256 x 256: visible area from which a target is taught as present
SCORE_WEIGHT = 1.0
IOU_WEIGHT = 0.5
SHARED_WEIGHT = 0.6  # share of the loss that every proposal gets, so that those that lose do not go to waste


@dataclass(frozen=True)
class FrameLoss:
    """Loss (scalar), IoU [N] of the mask that would be chosen, and which targets are present and absent [N] bool."""

    total: Tensor
    iou: Tensor
    present: Tensor
    absent: Tensor
    score_right: Tensor


def mask_loss(logits: Tensor, truth: Tensor, even_edges: bool = False) -> Tensor:
    """Balanced cross-entropy + dice.

    Plain or focal cross-entropy stays at the empty mask for hundreds of steps: the target is 1 % of the picture.

    Args:
        logits: [N, M, h, w].
        truth: [N, 1, h, w], coverage 0..1 (soft at edges).
        even_edges: whether a pixel too much costs about as much as one too few. Else it costs a fifth, by which masks
            are found at all; but then every pixel in doubt is inside, and doubt is not the same in all pictures.

    Returns:
        [N, M].
    """
    target = truth.expand_as(logits)
    entropy = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
    inside, outside = truth.sum((2, 3)), (1 - truth).sum((2, 3))
    positive = (entropy * target).sum((2, 3)) / (inside + 8)
    negative = (entropy * (1 - target)).sum((2, 3))
    # The second term keeps false positives far away expensive; the third weighs the background against the target's
    # own size.
    near = inside + 8 if even_edges else 4 * inside + 64
    balanced = 0.5 * positive + 0.1 * negative / outside.clamp(min=1) + 0.4 * negative / near
    chance = logits.sigmoid()
    overlap = (chance * target).sum((2, 3))
    dice = 1 - (2 * overlap + 1) / (chance.square().sum((2, 3)) + target.square().sum((2, 3)) + 1)
    return balanced + dice


def frame_loss(
    proposals: Tensor, estimates: Tensor, scores: Tensor, truth: Tensor, importance: Tensor, even_edges: bool = False
) -> FrameLoss:
    """Loss of one frame for N targets.

    Args:
        proposals: [N, M, h, w] mask logits, before absence blanks them.
        estimates: [N, M] estimated IoU.
        scores: [N, 1] object score logits.
        truth: [N, S, S] coverage 0..1.
        importance: [N] weight of every target's mask.
        even_edges: see `mask_loss`.
    """
    area = truth.sum((1, 2)) * (256 / truth.shape[-1]) ** 2
    present, absent = area >= PRESENT, area < 0.5
    # Twice the decoder's resolution: what counts is the mask after bilinear enlargement.
    side = 2 * proposals.shape[-1]
    logits = F.interpolate(proposals, size=(side, side), mode="bilinear", align_corners=False)
    target = F.interpolate(truth[:, None], size=(side, side), mode="area")
    losses = mask_loss(logits, target, even_edges)
    with torch.no_grad():
        hard, solid = logits > 0, target > 0.5
        iou = (hard & solid).sum((2, 3)) / (hard | solid).sum((2, 3)).clamp(min=1)
    weight = present.float()
    count = weight.sum().clamp(min=1)
    best = losses.argmin(1, keepdim=True)
    masks = (1 - SHARED_WEIGHT) * losses.gather(1, best)[:, 0] + SHARED_WEIGHT * losses.mean(1)
    ious = (estimates - iou).abs().mean(1)
    certain = (present | absent).float()
    presence = F.binary_cross_entropy_with_logits(scores[:, 0], weight, reduction="none")
    total = ((masks + IOU_WEIGHT * ious) * weight * importance).sum() / count
    total = total + SCORE_WEIGHT * (presence * certain).sum() / certain.sum().clamp(min=1)
    chosen = iou.gather(1, estimates.argmax(1, keepdim=True))[:, 0]
    return FrameLoss(total, chosen, present, absent, (scores[:, 0] > 0) == present)
