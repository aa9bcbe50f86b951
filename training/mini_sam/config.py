"""The complete configuration of the small SAM 2.1, as a dictionary and as the YAML that ships beside the weights.

Everything is built by the unmodified `sam2` 1.1.0 classes. Settings are those of `sam2.1_hiera_t.yaml` but for the
widths and depths; the settings that `build_sam2_video_predictor` adds in code are written out here, so that
`OmegaConf.load` + `hydra.utils.instantiate` alone give the predictor.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import nn

Settings = dict[str, Any]

IMAGE_SIZE = 256  # px; masks are decoded at a quarter of it (training/README.md has the table this was chosen from)
WIDTH = 64  # channels of the neck, the memory attention and the decoder (256 in the published models)
MEMORY_WIDTH = 64
TRUNK_WIDTH = 32  # channels of the first Hiera stage (96 in tiny)
TRUNK_STAGES = (1, 2, 3, 1)  # blocks of each Hiera stage ((1, 2, 7, 2) in tiny)
STRIDE = 16  # px of the input per cell of the memory

HEADER = """\
# A small SAM 2.1 for the demo clip and the tests, trained by `python -m training.mini_sam.train`.
# Complete: OmegaConf.load + hydra.utils.instantiate give the unmodified sam2 predictor with nothing added in code.
# Of what build_sam2_video_predictor adds: binarize_mask_from_pts_for_mem_enc is kept (true); fill_hole_area is 0, for
# its CUDA extension is not built here and would warn on every frame; dynamic_multimask_via_stability is false, for the
# training supervises the single-mask token on prompted frames and the three others on tracked frames.
"""


def _position_encoding(channels: int) -> Settings:
    return {
        "_target_": "sam2.modeling.position_encoding.PositionEmbeddingSine",
        "num_pos_feats": channels,
        "normalize": True,
        "scale": None,
        "temperature": 10000,
    }


def _rope_attention(cells: int, **extra: object) -> Settings:
    return {
        "_target_": "sam2.modeling.sam.transformer.RoPEAttention",
        "rope_theta": 10000.0,
        "feat_sizes": [cells, cells],
        "embedding_dim": WIDTH,
        "num_heads": 1,
        "downsample_rate": 1,
        "dropout": 0.0,
        **extra,
    }


def _image_encoder(cells: int) -> Settings:
    return {
        "_target_": "sam2.modeling.backbones.image_encoder.ImageEncoder",
        "scalp": 1,
        "trunk": {
            "_target_": "sam2.modeling.backbones.hieradet.Hiera",
            "embed_dim": TRUNK_WIDTH,
            "num_heads": 1,
            "stages": list(TRUNK_STAGES),
            "global_att_blocks": [sum(TRUNK_STAGES[:3]) - 1],
            "window_pos_embed_bkg_spatial_size": [7, 7],
            # Windows that divide the feature maps: the published 14 and 7 would pad a 16 x 16 map to 28 x 28.
            "window_spec": [8, 4, cells, cells // 2],
        },
        "neck": {
            "_target_": "sam2.modeling.backbones.image_encoder.FpnNeck",
            "position_encoding": _position_encoding(WIDTH),
            "d_model": WIDTH,
            "backbone_channel_list": [TRUNK_WIDTH * 8, TRUNK_WIDTH * 4, TRUNK_WIDTH * 2, TRUNK_WIDTH],
            "fpn_top_down_levels": [2, 3],
            "fpn_interp_model": "nearest",
        },
    }


def _memory_attention(cells: int) -> Settings:
    return {
        "_target_": "sam2.modeling.memory_attention.MemoryAttention",
        "d_model": WIDTH,
        "pos_enc_at_input": True,
        "num_layers": 2,
        "layer": {
            "_target_": "sam2.modeling.memory_attention.MemoryAttentionLayer",
            "activation": "relu",
            "dim_feedforward": 256,
            "dropout": 0.0,
            "pos_enc_at_attn": False,
            "d_model": WIDTH,
            "pos_enc_at_cross_attn_keys": True,
            "pos_enc_at_cross_attn_queries": False,
            "self_attention": _rope_attention(cells),
            "cross_attention": _rope_attention(cells, kv_in_dim=MEMORY_WIDTH, rope_k_repeat=True),
        },
    }


def _memory_encoder() -> Settings:
    return {
        "_target_": "sam2.modeling.memory_encoder.MemoryEncoder",
        "in_dim": WIDTH,
        "out_dim": MEMORY_WIDTH,
        "position_encoding": _position_encoding(MEMORY_WIDTH),
        "mask_downsampler": {
            "_target_": "sam2.modeling.memory_encoder.MaskDownSampler",
            "embed_dim": WIDTH,
            "kernel_size": 3,
            "stride": 2,
            "padding": 1,
        },
        "fuser": {
            "_target_": "sam2.modeling.memory_encoder.Fuser",
            "num_layers": 2,
            "layer": {
                "_target_": "sam2.modeling.memory_encoder.CXBlock",
                "dim": WIDTH,
                "kernel_size": 7,
                "padding": 3,
                "layer_scale_init_value": 1e-6,
                "use_dwconv": True,
            },
        },
    }


def _tracking() -> Settings:
    """The flags of SAM 2.1 (`sam2.1_hiera_t.yaml`), then what `build_sam2_video_predictor` would add."""
    return {
        "num_maskmem": 7,
        "max_obj_ptrs_in_encoder": 16,
        "sigmoid_scale_for_mem_enc": 20.0,
        "sigmoid_bias_for_mem_enc": -10.0,
        "use_mask_input_as_output_without_sam": True,
        "directly_add_no_mem_embed": True,
        "no_obj_embed_spatial": True,
        "use_high_res_features_in_sam": True,
        "multimask_output_in_sam": True,
        "iou_prediction_use_sigmoid": True,
        "use_obj_ptrs_in_encoder": True,
        "add_tpos_enc_to_obj_ptrs": True,
        "proj_tpos_enc_in_obj_ptrs": True,
        "use_signed_tpos_enc_to_obj_ptrs": True,
        "only_obj_ptrs_in_the_past_for_eval": True,
        "pred_obj_scores": True,
        "pred_obj_scores_mlp": True,
        "fixed_no_obj_ptr": True,
        "multimask_output_for_tracking": True,
        "use_multimask_token_for_obj_ptr": True,
        "multimask_min_pt_num": 0,
        "multimask_max_pt_num": 1,
        "use_mlp_for_obj_ptr_proj": True,
        "compile_image_encoder": False,
        "binarize_mask_from_pts_for_mem_enc": True,
        "sam_mask_decoder_extra_args": {
            "dynamic_multimask_via_stability": False,
            "dynamic_multimask_stability_delta": 0.05,
            "dynamic_multimask_stability_thresh": 0.98,
        },
    }


def base_settings(image_size: int = IMAGE_SIZE) -> Settings:
    """Settings of the trainable `SAM2Base` for square inputs of `image_size` px (a multiple of 32)."""
    cells = image_size // STRIDE
    return {
        "_target_": "sam2.modeling.sam2_base.SAM2Base",
        "image_size": image_size,
        "image_encoder": _image_encoder(cells),
        "memory_attention": _memory_attention(cells),
        "memory_encoder": _memory_encoder(),
        **_tracking(),
    }


def predictor_settings(image_size: int = IMAGE_SIZE) -> Settings:
    """Settings of the shipped `SAM2VideoPredictor`: the same model, with the predictor's own options written out."""
    return {
        **base_settings(image_size),
        "_target_": "sam2.sam2_video_predictor.SAM2VideoPredictor",
        "fill_hole_area": 0,
        "non_overlap_masks": False,
        "clear_non_cond_mem_around_input": False,
        "add_all_frames_to_correct_as_cond": False,
    }


def build(settings: Settings) -> "nn.Module":
    """Instantiate the model of `settings`; its weights are random."""
    from hydra.utils import instantiate
    from omegaconf import OmegaConf

    model: nn.Module = instantiate(OmegaConf.create(settings), _recursive_=True)
    return model


def write_yaml(path: Path, image_size: int = IMAGE_SIZE) -> None:
    """Write the complete YAML of the predictor to `path`."""
    from omegaconf import OmegaConf

    path.write_text(HEADER + OmegaConf.to_yaml(OmegaConf.create({"model": predictor_settings(image_size)})))
