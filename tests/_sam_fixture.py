"""A SAM 2.1 with seeded random weights, small enough to run in milliseconds, and stock's way of running it."""

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from omegaconf import OmegaConf
from safetensors.torch import save_file

from stages.prompts import Box, Correction, ObjectPrompt
from stages.sam.checkpoint import read_config
from stages.sam.frames import prepare_image
from stages.sam.model import SamConfig, build_predictor
from stages.sam.prompts import SamPrompt
from stages.subjects import plain_subjects
from stages.track import TrackConfig

IMAGE_SIZE, D_MODEL, MEMORY_DIM, EMBED = 128, 32, 16, 16
OBJECT_SCORE_BIAS = -0.36
SMALL_YAML = Path(__file__).parents[1] / "stages" / "models" / "sam" / "small.yaml"


def plain_track(
    prompt: ObjectPrompt, corrections: tuple[Correction, ...] = (), person_box: Box | None = None, **others: Any
) -> TrackConfig:
    """What tracks object and person."""
    return TrackConfig(plain_subjects(prompt, corrections, person_box), **others)


def small_settings(image_size: int = IMAGE_SIZE) -> dict[str, Any]:
    """Hiera-small's config with every width and depth cut down; all of its switches are kept."""
    settings = copy.deepcopy(read_config(SMALL_YAML))
    encoder = settings["image_encoder"]
    encoder["trunk"].update(embed_dim=EMBED, stages=[1, 1, 2, 1], global_att_blocks=[3])
    encoder["neck"].update(d_model=D_MODEL, backbone_channel_list=[EMBED * 8, EMBED * 4, EMBED * 2, EMBED])
    encoder["neck"]["position_encoding"]["num_pos_feats"] = D_MODEL
    attention = settings["memory_attention"]
    attention.update(d_model=D_MODEL, num_layers=2)
    attention["layer"].update(d_model=D_MODEL, dim_feedforward=64)
    side = image_size // 16
    attention["layer"]["self_attention"].update(embedding_dim=D_MODEL, feat_sizes=[side, side])
    attention["layer"]["cross_attention"].update(embedding_dim=D_MODEL, feat_sizes=[side, side], kv_in_dim=MEMORY_DIM)
    memory = settings["memory_encoder"]
    memory.update(in_dim=D_MODEL, out_dim=MEMORY_DIM)
    memory["position_encoding"]["num_pos_feats"] = MEMORY_DIM
    memory["mask_downsampler"]["embed_dim"] = D_MODEL
    memory["fuser"]["layer"]["dim"] = D_MODEL
    settings["image_size"] = image_size
    return settings


def write_small_sam(folder: Path, seed: int = 0) -> SamConfig:
    """Write config and weights of the small random model and return where they are.

    Random weights hardly react to memory and call every object absent or every one present. So the projections that
    memory enters through are scaled up, and the object score's last bias is set so that it changes sign in the test
    clips: otherwise the equality of masks would prove nothing.
    """
    torch.manual_seed(seed)
    config = folder / "sam.yaml"
    config.write_text(OmegaConf.to_yaml(OmegaConf.create(small_settings())))
    predictor = build_predictor(read_config(config), config)
    with torch.no_grad():
        score = predictor.sam_mask_decoder.pred_obj_score_head.layers[-1]
        score.weight.mul_(30.0)
        score.bias.fill_(OBJECT_SCORE_BIAS)
        for layer in predictor.memory_attention.layers:
            layer.cross_attn_image.out_proj.weight.mul_(3.0)
    checkpoint = folder / "sam.safetensors"
    save_file({name: tensor.contiguous() for name, tensor in predictor.state_dict().items()}, checkpoint)
    return SamConfig(checkpoint=checkpoint, config_yaml=config)


def moving_clip(frames: int, height: int = 72, width: int = 96, seed: int = 0) -> np.ndarray[Any, Any]:
    """`[T, H, W, 3] uint8 RGB`: a striped square and a disc drift over noise; every frame differs from every other."""
    rng = np.random.default_rng(seed)
    ground = cv2.GaussianBlur(rng.integers(0, 255, (height, width + frames, 3), dtype=np.uint8), (0, 0), 2)
    clip = np.empty((frames, height, width, 3), dtype=np.uint8)
    for t in range(frames):
        picture = ground[:, t : t + width].copy()
        x, y = int(width / 2 + 20 * np.sin(t / 7)), int(height / 2 + 12 * np.cos(t / 5))
        cv2.rectangle(picture, (x - 10, y - 6), (x + 10, y + 6), (250, 60, 40), -1)
        cv2.line(picture, (x - 10, y), (x + 10, y), (20, 20, 240), 2)
        cv2.circle(picture, (width // 4, int(height / 2 + 15 * np.sin(t / 4))), 8, (30, 220, 60), -1)
        clip[t] = picture
    return clip


def stock_logits(
    predictor: Any, clip: np.ndarray[Any, Any], prompts: Mapping[int, SamPrompt]
) -> tuple[dict[int, torch.Tensor], dict[int, bool]]:
    """Stock whole-clip propagation of one object: `{frame: [H, W] float32 logits}` and `{frame: visible}`.

    Corrections the way design.md defines them: propagated to F-1, the prompt added on F, continued from F.
    """
    images = torch.stack([prepare_image(frame, predictor.image_size) for frame in clip])
    state = stock_state(predictor, images, *clip.shape[1:3])
    starts = sorted(prompts)
    logits: dict[int, torch.Tensor] = {}
    for start, stop in zip(starts, [*starts[1:], len(clip)], strict=True):
        add_stock_prompt(predictor, state, start, prompts[start])
        propagation = predictor.propagate_in_video(
            state, start_frame_idx=start, max_frame_num_to_track=stop - start - 1
        )
        for frame, _, masks in propagation:
            logits[frame] = masks[0, 0].clone()
    outputs = state["output_dict_per_obj"][0]
    every = {**outputs["cond_frame_outputs"], **outputs["non_cond_frame_outputs"]}
    return logits, {t: bool((output["object_score_logits"] > 0).item()) for t, output in every.items()}


def stock_state(predictor: Any, images: torch.Tensor, height: int, width: int) -> dict[str, Any]:
    """`init_state` for frames that are already prepared: stock's own, with its loader returning them."""
    from unittest import mock

    with mock.patch("sam2.sam2_video_predictor.load_video_frames", return_value=(images, height, width)):
        state: dict[str, Any] = predictor.init_state(video_path="frames")
    return state


def add_stock_prompt(
    predictor: Any, state: dict[str, Any], frame: int, prompt: SamPrompt, obj_id: int | str = 1
) -> None:
    """One prompt through stock's public methods."""
    if prompt.mask is not None:
        predictor.add_new_mask(state, frame_idx=frame, obj_id=obj_id, mask=prompt.mask)
    elif prompt.points:
        points = np.array([point[:2] for point in prompt.points], dtype=np.float32)
        labels = np.array([point[2] for point in prompt.points], dtype=np.int32)
        predictor.add_new_points_or_box(state, frame_idx=frame, obj_id=obj_id, points=points, labels=labels)
    else:
        box = np.array(prompt.box, dtype=np.float32)
        predictor.add_new_points_or_box(state, frame_idx=frame, obj_id=obj_id, box=box)


def new_spans(length: int, window: int, overlap: int) -> list[tuple[int, int]]:
    """The frames each window sees first (see design.md's picture)."""
    stride = window - overlap
    stops = [min(window, length)]
    while stops[-1] < length:
        stops.append(min(stops[-1] + stride, length))
    return list(zip([0, *stops[:-1]], stops, strict=True))


def sequence_spans(lengths: Sequence[int]) -> list[tuple[int, int]]:
    """Consecutive spans of the given lengths."""
    stops = np.cumsum(lengths).tolist()
    return list(zip([0, *stops[:-1]], stops, strict=True))
