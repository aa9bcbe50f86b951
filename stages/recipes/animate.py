"""Wan 2.2 Animate, replacement: the person of a reference picture, moved by a skeleton and the source's face.

What it is shown (Wan-Video/Wan2.2, wan/modules/animate/preprocess): the skeleton in its own drawing, the face cut
out of the source at 512x512, the source with the person blacked out, and the person's mask. It is told nothing of
objects.
"""

from dataclasses import replace

import cv2
import numpy as np

from stages.base import Array
from stages.generators import Geometry
from stages.poses.skeleton import FACE
from stages.recipes.material import Conditioning, Material
from stages.recipes.recipe import Family, Lora, Recipe, Settings, Version
from stages.resize import Size, resize_frames, resize_region
from stages.vace.condition import fill_region, skeleton_video
from stages.vace.continuity import pad_indices
from stages.vace.reference import on_canvas

CARRIED = 5  # continue_motion_max_frames
FACE_SIDE = 512  # pixels; the node scales to it
FACE_ROOM = 1.3  # the square cut out, in sides of the face's points
SEEN = 0.3  # score from which a point of the face counts
EARLY_ROWS = 3
"""A latent of four mask rows stands for frame 0, so frame f >= 1 has row f + 3. ComfyUI 0.3.64 wrote it to row f."""
SHIFTED_UNTIL, RIGHT_FROM = (0, 3, 64), (0, 38, 1)  # versions whose source was read
LIGHTX2V = Lora("lightx2v_I2V_14B_480p_cfg_step_distill_rank64_bf16.safetensors", 1.0)


def animate_condition(given: Material) -> Conditioning:
    """Skeleton, face, background and mask of a window."""
    order = pad_indices(len(given.frames), given.length)
    small = resize_frames(given.frames, given.size)[order]
    region = resize_region(given.region, given.size)[order]
    plates = None if given.plates is None else given.plates[order]
    background = fill_region(small, region, given.guides.background, plates)
    video = (given.frames.shape[2], given.frames.shape[1])
    pose = skeleton_video(given.keypoints, video, given.size, given.guides.pose_style, given.pictures)
    videos = {
        "pose": (pose if given.guides.skeleton else np.zeros_like(pose))[order],
        "background": background,
        "mask": np.where(region, np.uint8(255), np.uint8(0)),
    }
    if "face" in given.channels:
        videos["face"] = face_video(given.frames, given.keypoints)[order]
    pictures = {} if given.reference is None else {"reference": on_canvas(given.reference, given.size)}
    return Conditioning(videos, given.length, pictures)


def animate_carry(given: Conditioning, tail: Array, size: Size) -> Conditioning:
    """The frames before the window as a video of their own, and in its background, with mask 0."""
    kept = carried_frames(len(tail), CARRIED)
    if not kept:
        return given
    before = resize_frames(tail[:kept], size)
    given.videos["background"][:kept] = before
    given.videos["mask"][:kept] = 0
    return replace(given, videos={**given.videos, "before": before}, kept=kept)


def carried_frames(available: int, most: int) -> int:
    """The frames that are carried over: 4n+1 of them, at most `most`; 0 where there are none."""
    count = min(available, most)
    return 0 if count < 1 else (count - 1) // 4 * 4 + 1


def face_video(frames: Array, keypoints: Array) -> Array:
    """`[n, 512, 512, 3]` uint8 RGB: the face, square and with some room; black where none is seen.

    Args:
        frames: `[n, H, W, 3]` uint8 RGB.
        keypoints: `[n, 133, 3]` COCO-WholeBody, pixels; of several persons `[n, P, 133, 3]` the last, who is nearest.
    """
    keypoints = keypoints.reshape(len(keypoints), -1, *keypoints.shape[-2:])[:, -1]
    faces = np.zeros((len(frames), FACE_SIDE, FACE_SIDE, 3), np.uint8)
    for target, frame, points in zip(faces, frames, keypoints[:, FACE], strict=True):
        seen = points[points[:, 2] >= SEEN][:, :2]
        if len(seen) < 2:
            continue
        middle = (seen.min(axis=0) + seen.max(axis=0)) / 2
        side = max(2.0, FACE_ROOM * float((seen.max(axis=0) - seen.min(axis=0)).max()))
        scale = FACE_SIDE / side
        shift = FACE_SIDE / 2 - middle * scale
        matrix = np.array([[scale, 0.0, shift[0]], [0.0, scale, shift[1]]])
        target[:] = cv2.warpAffine(frame, matrix, (FACE_SIDE, FACE_SIDE), flags=cv2.INTER_LINEAR)
    return faces


def mask_for_version(given: Conditioning, version: Version) -> Conditioning:
    """The same with a mask that a server of this version reads at the right frames.

    Until 0.3.64 the node takes a mask 3 frames early: it gets one that is 3 frames late, and so nothing of the carried
    frames is asked for again. From 0.38.1 on it is right. In between, and where the version is not known, it gets the
    union of both: more is made anew than is needed, and nothing of the source shows through.
    """
    mask = given.videos["mask"]
    if version >= RIGHT_FROM:
        return given
    late = np.concatenate([np.repeat(mask[:1], EARLY_ROWS, axis=0), mask[:-EARLY_ROWS]])
    sent = late if () < version <= SHIFTED_UNTIL else late | mask
    return replace(given, videos={**given.videos, "mask": sent})


ANIMATE = Family(
    name="wan-animate",
    condition=animate_condition,
    carry=animate_carry,
    geometry=Geometry(frame_step=4, carried=CARRIED, size_step=16, fps=16.0),
    frames=77,
    most=77,
    overlap=CARRIED,
    pose_style="wan-animate",
    fill="black",
    fitted=mask_for_version,
    objects=False,
)
ANIMATE_RECIPES = (
    Recipe(
        "wan-animate",
        "Wan 2.2 Animate 14B: replaces the person by a picture's",
        ANIMATE,
        "Apache-2.0",
        "needed",
        {
            "quality": Settings(20, 1.0, 5.0, source="Wan-Video/Wan2.2, its configuration of animate"),
            "balanced": Settings(12, 1.0, 5.0, source="between the two"),
            "fast": Settings(6, 1.0, 5.0, "euler", "simple", (LIGHTX2V,), "Comfy-Org/workflow_templates"),
        },
    ),
)
