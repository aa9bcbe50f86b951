"""CogVideoX-Fun with a pose, by kijai's wrapper: a whole picture from skeletons and text; the region alone is taken.

It knows neither the source nor a mask, so what it makes does not fit its surroundings: a fallback.
"""

from dataclasses import replace
from functools import partial

import numpy as np

from stages.generators import Geometry
from stages.recipes.material import Conditioning, Material
from stages.recipes.recipe import Family, Recipe, Settings
from stages.vace.condition import skeleton_video
from stages.vace.continuity import latent_slots, pad_indices

EVEN_LATENTS = ("1.5", "1_5")
"""In a model's name: CogVideoX 1.5 pairs latents, so a window has an even number of them: 77 frames and not 81."""


def cogvideox_condition(given: Material, even_latents: bool = False) -> Conditioning:
    """Skeletons on black."""
    length = even_length(given.length) if even_latents else given.length
    order = pad_indices(len(given.frames), length)
    video = (given.frames.shape[2], given.frames.shape[1])
    pose = skeleton_video(given.keypoints, video, given.size, given.guides.pose_style, given.pictures)
    return Conditioning({"pose": (pose if given.guides.skeleton else np.zeros_like(pose))[order]}, length)


def even_length(length: int) -> int:
    """The same number of frames, or the next that makes an even number of latents: 5 and 8 more each, 45, 53, 61."""
    return length + 4 * (latent_slots(length) % 2)


COGVIDEOX = Family(
    name="cogvideox-fun",
    condition=cogvideox_condition,
    geometry=Geometry(frame_step=4, carried=0, size_step=16, fps=8.0),
    frames=49,
    most=49,
    overlap=13,
    pose_style="controlnet",
    objects=False,
)
NEWER = replace(COGVIDEOX, condition=partial(cogvideox_condition, even_latents=True), frames=77, most=85)
COGVIDEOX_RECIPES = (
    Recipe(
        "cogvideox-fun",
        "CogVideoX-Fun 1.1 5B with a pose: no mask, no source; a fallback",
        COGVIDEOX,
        "CogVideoX licence",
        "none",
        {
            "quality": Settings(50, 6.0, source="kijai/ComfyUI-CogVideoXWrapper, example_workflows"),
            "balanced": Settings(30, 6.0, source="the same in fewer steps"),
        },
        ("kijai/ComfyUI-CogVideoXWrapper",),
        dict.fromkeys(EVEN_LATENTS, NEWER),
    ),
)
