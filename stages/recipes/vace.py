"""Wan VACE: the source with its region replaced by a control picture, and a mask; windows hang together by kept frames.

The default fill and guide are VACE's own composition: inside the region stands the control's whole frame, so a skeleton
stands on black (vace/annotators/composition.py; ali-vilab/VACE 34 and deepbeepmeep/Wan2GP 347 report that pose in place
of grey works). The object's guide is scribble: the run is judged by the object's boundary, and nothing else shows the
model how the object turns. The region stays tight: that a box works better is one remark (kijai/ComfyUI-WanVideoWrapper
405), and every pixel outside the masks is the source's by promise; `--region box` is there to try.
"""

from dataclasses import replace

from stages.base import Array
from stages.generators import Geometry
from stages.recipes.material import Conditioning, Material
from stages.recipes.recipe import Family, Lora, Recipe, Settings
from stages.resize import Size
from stages.vace.condition import condition, keep
from stages.vace.reference import on_canvas

CAUSVID_SMALL = Lora("Wan21_CausVid_bidirect2_T2V_1_3B_lora_rank32.safetensors", 1.0)
CAUSVID = Lora("Wan21_CausVid_14B_T2V_lora_rank32_v2.safetensors", 0.53)
LIGHTX2V_22 = (
    Lora("wan2.2_t2v_lightx2v_4steps_lora_v1.1_high_noise.safetensors", 1.0),
    Lora("wan2.2_t2v_lightx2v_4steps_lora_v1.1_low_noise.safetensors", 1.0),
)


def vace_condition(given: Material) -> Conditioning:
    """Control video, mask, and a pose video where the graph takes it apart."""
    drawn = condition(
        given.frames,
        given.keypoints,
        given.objects,
        given.region,
        given.length,
        given.size,
        replace(given.guides, separate_pose="pose" in given.channels),
        given.pictures,
        given.plates,
    )
    videos = {"control": drawn.control, "mask": drawn.mask}
    extra = {"pose": drawn.pose, "source": drawn.source, "objects": drawn.objects}
    videos |= {channel: video for channel, video in extra.items() if video is not None}
    pictures = {} if given.reference is None else {"reference": on_canvas(given.reference, given.size)}
    return Conditioning(videos, len(drawn.control), pictures)


def vace_carry(given: Conditioning, tail: Array, size: Size) -> Conditioning:
    """The frames that are already generated in the control video, with mask 0: nothing of them is asked for."""
    masks = [given.videos[channel] for channel in ("mask", "objects") if channel in given.videos]
    return replace(given, kept=keep(given.videos["control"], masks, tail, size))


VACE = Family(
    name="vace",
    condition=vace_condition,
    carry=vace_carry,
    geometry=Geometry(frame_step=4, carried=None, size_step=16, fps=16.0),
    frames=81,
    most=None,
    overlap=21,
    object_guide="scribble",
)
# VACE 1.3B: 20 to 30 steps at about cfg 6. No good published setting of a distilled one was found: CausVid's LoRA for
# 1.3B is reported to fail at 8 steps in another runtime (leejet/stable-diffusion.cpp 973).
SMALL = {
    "quality": Settings(30, 6.0, 5.0, source="vace/configs, 20 to 30 steps"),
    "balanced": Settings(20, 6.0, 5.0, source="vace/configs, 20 to 30 steps"),
    "fast": Settings(8, 1.0, 5.0, loras=(CAUSVID_SMALL,), source="Kijai/WanVideo_comfy; untested by us"),
}
LARGE = {
    "quality": Settings(30, 5.0, 5.0, source="Wan 2.1 14B, 480p to 720p"),
    "balanced": Settings(20, 5.0, 5.0, source="Wan 2.1 14B, 480p to 720p"),
    "fast": Settings(
        4, 1.0, 5.0, "uni_pc", "simple", (CAUSVID,),
        "Comfy-Org/workflow_templates video_wan_vace_14B_v2v; strength of huggingface/diffusers 11726",
    ),
}  # fmt: skip
TWO_EXPERTS = {
    "quality": Settings(30, 3.5, 5.0, source="Wan 2.2 A14B"),
    "balanced": Settings(20, 3.5, 5.0, source="Wan 2.2 A14B"),
    "fast": Settings(8, 1.0, 5.0, "euler", "simple", LIGHTX2V_22, "huggingface/diffusers 12324"),
}
APACHE = "Apache-2.0"
GGUF, VHS, KIJAI = "city96/ComfyUI-GGUF", "Kosinkadink/ComfyUI-VideoHelperSuite", "kijai/ComfyUI-WanVideoWrapper"

VACE_RECIPES = (
    Recipe("vace", "Wan 2.1 VACE 1.3B, the default", VACE, APACHE, profiles=SMALL),
    Recipe("vace-reference", "the same, made for a picture of the new look", VACE, APACHE, "needed", SMALL),
    Recipe("vace-gguf", "quantised, for cards with 8 GB", VACE, APACHE, profiles=SMALL, packages=(GGUF,)),
    Recipe("vace-two-contexts", "greyed source and skeleton in contexts of their own", VACE, APACHE, profiles=SMALL),
    Recipe("vace-14b", "Wan 2.1 VACE 14B", VACE, APACHE, profiles=LARGE),
    Recipe("vace-22", "Wan 2.2 VACE-Fun A14B: two experts", VACE, APACHE, profiles=TWO_EXPERTS),
    Recipe("vace-vhs", "VideoHelperSuite's loaders", VACE, APACHE, profiles=SMALL, packages=(VHS,)),
    Recipe("vace-wrapper", "VACE 1.3B in kijai's WanVideoWrapper", VACE, APACHE, profiles=SMALL, packages=(KIJAI,)),
)
