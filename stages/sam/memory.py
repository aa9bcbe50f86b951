"""A memory policy that tells an object from others that look like it (`--memory distractor-aware`).

Distractor-aware memory after "A Distractor-Aware Memory for Visual Object Tracking with SAM2" (Videnovic, Lukezic,
Kristan: CVPR 2025; arXiv 2509.13864), as far as its text and its authors' program say; written anew.

    frame       F ... p ....... q ......................... t-5 ... t-1  t
    distractors [=]   [=]       [=]                                          F and at most 3 frames with a distractor
    recent                                [=]    [=]    [=]   [=]   [===)    t-1 and every 5th, where it was to be seen

Both parts together are as many memories as stock has. The first part is SAM 2's conditioning frames.
"""

import itertools
import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

import cv2
import numpy as np

from stages.base import Array, Json
from stages.choices import DISTRACTOR_AWARE, STOCK
from stages.picture import mask_box
from stages.sam.policy import Decoded, MemoryPolicy, Role
from storage.errors import EnvironmentFault

MEMORY_FRAMES = 7  # `num_maskmem` of SAM 2.1
MOST_CONDITIONING = 4  # frames that are attended to as conditioning ones, the first always among them
STRIDE = 5  # frames between those that are remembered as recent, but the last one
SURE = 0.8  # predicted IoU above which a frame may be kept for its distractor
LIKE_BEFORE = (0.8, 1.2)  # its area in medians of the last ones
SIZES = 10  # areas that are remembered
APART = 5  # frames at least between two that are kept
DISTRACTS = 0.7  # IoU of the boxes with and without the other mask, at or below which that is a distractor

Outputs = Mapping[int, Any]


@dataclass
class DistractorMemory(MemoryPolicy):
    """The policy of one object, and what it carries beside the memories.

    Attributes:
        sizes: areas of the last masks that were not empty, pixels, at most `SIZES`.
        promoted: the last frame that was kept for its distractor; None: none yet.
    """

    sizes: list[int] = field(default_factory=list)
    promoted: int | None = None

    @staticmethod
    def install(predictor: Any) -> None:
        """Let a stock predictor read its memories so, and leave what its decoder gave last where a session finds it.

        The predictor's weights and every other step stay as they are.

        Raises:
            EnvironmentFault: when its config is not that of a SAM 2.1.
        """
        needs = ("use_obj_ptrs_in_encoder", "add_tpos_enc_to_obj_ptrs", "proj_tpos_enc_in_obj_ptrs")
        if predictor.num_maskmem != MEMORY_FRAMES or not all(getattr(predictor, name) for name in needs):
            raise EnvironmentFault(
                f"--memory {DISTRACTOR_AWARE} is for SAM 2.1 ({MEMORY_FRAMES} memories, pointers with their time): "
                f"this config has num_maskmem {predictor.num_maskmem}: give another --sam, or --memory {STOCK}"
            )
        stock = type(predictor)
        itself: Any = weakref.proxy(predictor)  # a cycle would keep its weights in memory

        def features(frame_idx: int, is_init_cond_frame: bool, **given: Any) -> Any:
            if is_init_cond_frame:
                return stock._prepare_memory_conditioned_features(itself, frame_idx, True, **given)
            outputs = given["output_dict"]
            conditioning, others = outputs["cond_frame_outputs"], outputs["non_cond_frame_outputs"]
            return attend(itself, given, *choose(frame_idx, conditioning, others, itself))

        def heads(*positional: Any, **named: Any) -> Any:
            found = stock._forward_sam_heads(itself, *positional, **named)
            itself.last_candidates = found[0], found[2]  # [1, M, h, w] logits, [1, M] predicted IoUs
            return found

        predictor._prepare_memory_conditioned_features, predictor._forward_sam_heads = features, heads

    @classmethod
    def of(cls, predictor: Any) -> Self:
        """Nothing is remembered yet."""
        return cls()

    @staticmethod
    def most_conditioning(prompted: int) -> int:
        """The first, the last ones, and one recent memory more than stock has."""
        return 2 + MOST_CONDITIONING

    def role(self, frame: int, decoded: Decoded) -> Role:
        """Only where it is to be seen it is remembered; as a prompted one where it shows a distractor."""
        if not decoded.seen:
            return Role.FORGOTTEN
        mask = decoded.mask()
        promoted = self.promotes(
            frame, mask, lambda: decoded.others(lambda cells: may_distract(mask, cells)), decoded.predicted_iou()
        )
        return Role.CONDITIONING if promoted else Role.RECENT

    def conditioning(self, frames: Sequence[int]) -> set[int]:
        """The first, and the last ones."""
        return {frames[0], *sorted(frames)[-MOST_CONDITIONING:]}

    def recent(self, frame: int, first: int, frames: Sequence[int]) -> set[int]:
        """The last one, and every `STRIDE`th before it."""
        ordered = sorted(frames, reverse=True)
        strided = [index for index in ordered if (index - first) % STRIDE == 0]
        return {*ordered[:1], *strided[: recent_frames(1)]}

    def values(self) -> dict[str, Json]:
        """The JSON of both."""
        return {"sizes": list(self.sizes), "promoted": self.promoted}

    def restore(self, values: Mapping[str, Any]) -> None:
        """Take both back."""
        self.sizes, self.promoted = list(values["sizes"]), values["promoted"]

    def promotes(self, frame: int, mask: Array, others: Callable[[], Iterable[Array]], predicted_iou: float) -> bool:
        """Note the frame; whether it is to be kept as one that shows a distractor.

        Args:
            frame: absolute index.
            mask: [H, W] bool, the one that was chosen. others: gives the decoder's others, likewise.
            predicted_iou: the model's own estimate for the chosen one.
        """
        area = int(np.count_nonzero(mask))
        before, self.sizes = self.sizes, [*self.sizes, *([area] if area else [])][-SIZES:]
        if not area or not before or predicted_iou <= SURE:
            return False
        low, high = LIKE_BEFORE
        steady = low <= area / float(np.median(self.sizes)) <= high
        apart = self.promoted is None or frame - self.promoted > APART
        if not (steady and apart and any(distracts(mask, other) for other in others())):
            return False
        self.promoted = frame
        return True


def distracts(mask: Array, other: Array) -> bool:
    """Whether another mask of the decoder's has a part beside the chosen one that makes its box clearly larger."""
    beside = other & ~mask
    if not beside.any():
        return False
    box, around = mask_box(mask), mask_box(beside)
    if _grown(box, around) > DISTRACTS:
        return False  # whichever part is the largest, it is no farther away
    left, top, right, bottom = (int(edge) for edge in around)
    parts = cv2.connectedComponentsWithStats(beside[top:bottom, left:right].view(np.uint8), connectivity=8)[2]
    x, y, width, height = parts[1 + int(np.argmax(parts[1:, cv2.CC_STAT_AREA])), :4]
    return _grown(box, (left + x, top + y, left + x + width, top + y + height)) <= DISTRACTS


def may_distract(mask: Array, cells: Array) -> bool:
    """Whether another mask of the decoder's may, told before it is enlarged by its cells, `[h, w] bool`.

    Enlarged (bilinearly) it has no pixel farther than a cell's side from these.
    """
    if not cells.any():
        return False
    height, width = mask.shape
    left, top, right, bottom = mask_box(cells)
    x, y = width / cells.shape[1], height / cells.shape[0]
    around = max(0, (left - 1) * x), max(0, (top - 1) * y), min(width, (right + 1) * x), min(height, (bottom + 1) * y)
    return _grown(mask_box(mask), around) <= DISTRACTS


def _grown(box: Sequence[float], other: Sequence[float]) -> float:
    """The IoU of a box and the one around it and another."""
    both = np.array([box, other])
    (left, top), (right, bottom) = both[:, :2].min(0), both[:, 2:].max(0)
    return float((box[2] - box[0]) * (box[3] - box[1]) / ((right - left) * (bottom - top)))


def attended(frame: int, conditioning: Iterable[int], most: int = MOST_CONDITIONING) -> list[int]:
    """The conditioning frames that frame `frame` reads: the last one before frame - 1, the first, then the nearest.

    The frame before it is always read as a recent one.
    """
    every = list(conditioning)
    first = every[0]
    earlier = sorted((index for index in every if index < frame - 1), reverse=True)
    return list(dict.fromkeys([*earlier[:1], first, *earlier]))[:most]


def recent(
    frame: int, first: int, selected: Iterable[int], others: Iterable[int], last_conditioning: bool
) -> list[int]:
    """The frames that frame `frame` remembers as recent ones, the newest first.

    Args:
        first: of the object, from which every `STRIDE`th is counted.
        selected: what `attended` gave.
        others: frames on which it was to be seen, whose memories are there.
        last_conditioning: whether the frame before is a conditioning one.
    """
    chosen = set(selected)
    count = recent_frames(len(chosen))
    seen = sorted((index for index in others if index not in chosen and first < index < frame), reverse=True)
    newest = [frame - 1] if last_conditioning and frame - 1 not in chosen else seen[:1]
    if not newest:
        return []
    strided = (index for index in seen if index < newest[0] and (index - first) % STRIDE == 0)
    return [*newest, *itertools.islice(strided, count - 1)]


def recent_frames(selected: int) -> int:
    """How many recent frames are read beside so many conditioning ones."""
    return MEMORY_FRAMES - 1 - (selected - 1)


def choose(
    frame: int, conditioning: Outputs, others: Outputs, predictor: Any
) -> tuple[list[tuple[int, Any]], list[tuple[int, Any]], int]:
    """What frame `frame` reads.

    Returns:
        memories: (index of the temporal encoding, output), pointers: (frames ago, pointer), in the order of the tokens;
        reach: frames that pointers reach back, the unit of their time: no more than the object has been followed for.
    """
    selected = attended(frame, conditioning)
    first = next(iter(conditioning))
    seen = [index for index, output in others.items() if output["maskmem_features"] is not None]
    newest = recent(frame, first, selected, seen, frame - 1 in conditioning)
    memories = [(predictor.num_maskmem - 1, conditioning[index]) for index in selected]
    read = [(rank, conditioning.get(index) or others[index]) for rank, index in enumerate(newest)]
    reach = min(frame - first, predictor.max_obj_ptrs_in_encoder - 1)
    pointers = [(frame - index, conditioning[index]["obj_ptr"]) for index in selected]
    for ago in range(1, reach + 1):
        output = others.get(frame - ago)
        if output is None and frame - ago not in selected:
            output = conditioning.get(frame - ago)
        if output is not None:
            pointers.append((ago, output["obj_ptr"]))
    return [*memories, *reversed(read)], pointers, reach


def attend(
    predictor: Any,
    given: Mapping[str, Any],
    memories: Sequence[tuple[int, Any]],
    pointers: Sequence[tuple[int, Any]],
    reach: int,
) -> Any:
    """The frame's features conditioned on what `choose` gives.

    The arithmetic of `SAM2Base._prepare_memory_conditioned_features` (facebookresearch/sam2, Apache-2.0), operation by
    operation, so that the same choice gives the same bits.

    Args:
        given: what the predictor calls that with.
    """
    import torch
    from sam2.modeling.sam2_utils import get_1d_sine_pe

    current = given["current_vision_feats"][-1]
    batch, channels, device = current.size(1), predictor.hidden_dim, current.device
    height, width = given["feat_sizes"][-1]
    tokens, places = [], []
    for position, output in memories:
        tokens.append(output["maskmem_features"].to(device, non_blocking=True).flatten(2).permute(2, 0, 1))
        encoding = output["maskmem_pos_enc"][-1].to(device).flatten(2).permute(2, 0, 1)
        places.append(encoding + predictor.maskmem_tpos_enc[position])
    found = torch.stack([pointer for _, pointer in pointers], dim=0)
    ago = torch.tensor([ago for ago, _ in pointers]).to(device=device, non_blocking=True)
    place = predictor.obj_ptr_tpos_proj(get_1d_sine_pe(ago / reach, dim=channels))
    place = place.unsqueeze(1).expand(-1, batch, predictor.mem_dim)
    pieces = channels // predictor.mem_dim
    found = found.reshape(-1, batch, pieces, predictor.mem_dim).permute(0, 2, 1, 3).flatten(0, 1)
    tokens.append(found)
    places.append(place.repeat_interleave(pieces, dim=0))
    conditioned = predictor.memory_attention(
        curr=given["current_vision_feats"],
        curr_pos=given["current_vision_pos_embeds"],
        memory=torch.cat(tokens, dim=0),
        memory_pos=torch.cat(places, dim=0),
        num_obj_ptr_tokens=found.shape[0],
    )
    return conditioned.permute(1, 2, 0).view(batch, channels, height, width)
