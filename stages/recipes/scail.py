"""SCAIL-2, replacement mode: the source itself drives it; who is who it reads from pure colours.

Its node turns a picture of the masks into 28 channels: a colour counts where its channels lie above 225/255. Colours
and background are those it was trained on (`comfy_extras/nodes_scail.py`: blue, red, green, magenta, cyan, yellow;
white behind them in replacement mode, black behind the reference's). The first identity wins where two overlap. The
person is the first, the object the second (the first where objects alone are regenerated): plausible for an object, and
nobody is known to have tried it.
"""

from dataclasses import replace

import numpy as np

from stages.base import Array
from stages.generators import Geometry
from stages.recipes.animate import LIGHTX2V, carried_frames
from stages.recipes.material import Conditioning, Material
from stages.recipes.recipe import Family, Lora, Recipe, Settings
from stages.resize import Size, nearest, resize_frames
from stages.vace.continuity import pad_indices
from stages.vace.reference import matte_on_canvas, on_canvas

CARRIED = 5  # previous_frame_count; it was trained at 5
PALETTE = ((0, 0, 255), (255, 0, 0), (0, 255, 0), (255, 0, 255), (0, 255, 255), (255, 255, 0))
BEHIND = 255  # replacement mode
DPO = Lora("wan2.1_SCAIL_2_DPO_lora_bf16.safetensors", 1.0)


def scail_condition(given: Material) -> Conditioning:
    """The source, and the identities in their colours."""
    order = pad_indices(len(given.frames), given.length)
    # By what is asked for, not by who is on these frames: who is who stays from window to window.
    both = (given.persons, given.objects) if given.guides.skeleton else (given.objects,)
    videos = {
        "driving": resize_frames(given.frames, given.size)[order],
        "identities": identities(
            [nearest(masks, given.size)[order] for masks in both],
            (given.length, given.size[1], given.size[0]),
        ),
    }
    pictures = {}
    if given.reference is not None:
        matte = matte_on_canvas(given.reference, given.size)
        pictures = {
            "reference": on_canvas(given.reference, given.size),
            "reference mask": np.where(matte[..., None], np.array(PALETTE[0], np.uint8), np.uint8(0)),
        }
    return Conditioning(videos, given.length, pictures)


def carry_before(given: Conditioning, tail: Array, size: Size) -> Conditioning:
    """The frames before the window as a video of their own, where there are any."""
    kept = carried_frames(len(tail), CARRIED)
    before = {"before": resize_frames(tail[:kept], size)} if kept else {}
    return replace(given, videos={**given.videos, **before}, kept=kept)


def identities(masks: list[Array], shape: tuple[int, int, int]) -> Array:
    """`[n, h, w, 3]` uint8 RGB: each mask in its colour on white, the first in front.

    Args:
        masks: `[n, h, w]` bool each, at most as many as there are colours.
        shape: n, h, w.
    """
    picture = np.full((*shape, 3), BEHIND, np.uint8)
    for mask, colour in reversed(list(zip(masks, PALETTE, strict=False))):
        picture[mask] = colour
    return picture


SCAIL = Family(
    name="scail2",
    condition=scail_condition,
    carry=carry_before,
    geometry=Geometry(frame_step=4, carried=CARRIED, size_step=32, fps=16.0),
    frames=81,
    most=81,
    overlap=CARRIED,
)
SCAIL_RECIPES = (
    Recipe(
        "scail2",
        "SCAIL-2 14B: replaces persons by a picture's, several by their colours",
        SCAIL,
        "Apache-2.0",
        "needed",
        {
            "quality": Settings(40, 5.0, 3.0, "uni_pc", "simple", source="the template's settings, as sprited/scail-2"),
            "balanced": Settings(25, 5.0, 3.0, "uni_pc", "simple", source="the same in fewer steps"),
            "fast": Settings(
                6, 1.0, 5.0, "euler", "simple", (DPO, Lora(LIGHTX2V.file, 0.8)), "the template's, as sprited/scail-2"
            ),
        },
    ),
)
