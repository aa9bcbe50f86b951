"""VOID (Netflix): subjects and what they do to what is around them are removed; nothing stands in their place.

Its mask has four values (Netflix/void-model; `VOIDQuadmaskPreprocess` of `comfy_extras/nodes_void.py`): 0 what is
removed, 127 what it affects, 63 where both are, 255 what is kept. The region's ring around the subjects counts as
affected: shadow and contact lie there. The model itself is shown the source with all of that taken out.

Of two passes the first is taken: the second begins with noise that `VOIDWarpedNoise` draws without a seed, so that no
seed fixes its picture. Core decodes an even number of latents to four frames each, and so gives three frames ahead of
the window's (`comfy/ldm/cogvideo/vae.py`): the graph leaves them out.
"""

import numpy as np

from stages.generators import Geometry
from stages.recipes.cogvideox import even_length
from stages.recipes.material import Conditioning, Material
from stages.recipes.recipe import Family, Recipe, Settings
from stages.resize import resize_frames, resize_region
from stages.vace.continuity import pad_indices

REMOVED, AFFECTED, KEPT = 0, 127, 255
TEMPLATE = "Comfy-Org/workflow_templates, utility_void_video_inpainting"


def void_condition(given: Material) -> Conditioning:
    """The source and its quadmask."""
    length = even_length(given.length)
    order = pad_indices(len(given.frames), length)
    region = resize_region(given.region, given.size)
    subjects = resize_region(given.objects | given.persons, given.size)
    quadmask = np.where(region, np.uint8(AFFECTED), np.uint8(KEPT))
    quadmask[region & subjects] = REMOVED
    videos = {"source": resize_frames(given.frames, given.size)[order], "quadmask": quadmask[order]}
    return Conditioning(videos, length)


VOID = Family(
    name="void",
    condition=void_condition,
    geometry=Geometry(frame_step=4, carried=0, size_step=16, fps=12.0),
    frames=85,
    most=85,
    overlap=21,
    removes=True,
)
VOID_RECIPES = (
    Recipe(
        "void",
        "VOID 5B: removes the subjects (--reskin remove), with shadows and what they touch",
        VOID,
        "Apache-2.0",
        "none",
        {
            "quality": Settings(30, 6.0, source=TEMPLATE),
            "balanced": Settings(20, 6.0, source="the same in fewer steps"),
        },
    ),
)
