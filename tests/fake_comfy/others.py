"""The arithmetic on pixels of the nodes beside WanVaceToVideo; the VAE is the identity, as there."""

from dataclasses import replace

import numpy as np

from fake_comfy.vace import Array, Conditioning, Context, Latent, pad, slots_of


def _grey(length: int, height: int, width: int) -> Array:
    return np.full((length, height, width, 3), 0.5, np.float32)


def _stacked(positive: Conditioning, negative: Conditioning, context: Context) -> tuple[Conditioning, Conditioning]:
    first, second = (replace(item, contexts=(*item.contexts, context)) for item in (positive, negative))
    return first, second


def mask_rows(mask: Array, length: int, carried: int, right: bool) -> Array:
    """`[slots, 4, h, w]`: WanAnimateToVideo's mask, four rows a latent; row 3 of latent 0 is frame 0.

    Args:
        mask: `[n, h, w]`, 1 = the person.
        carried: frames that are given as they are.
        right: as since 0.38.1; else as at 0.3.64, where frame f goes to row f.
    """
    slots = slots_of(length)
    rows = np.ones((4 * slots, *mask.shape[1:]), np.float32)
    known = (carried - 1) // 4 + 1 if carried else 0
    rows[: 4 * known] = 0.0
    mask, rounded = mask[:length], max(0, 4 * known - 3)
    if not right:
        rows[rounded : len(mask)] = mask[rounded:]
        return rows.reshape(slots, 4, *mask.shape[1:])
    if carried:
        rows[: carried + 3] = 0.0
    else:
        rows[:4] = mask[:1]
    start, end = max(carried, 1), min(len(mask), 4 * slots - 3)
    rows[start + 3 : end + 3] = mask[start:end]
    return rows.reshape(slots, 4, *mask.shape[1:])


def frames_of_rows(rows: Array) -> Array:
    """`[length, h, w]`: the rows as the frames that they stand for."""
    flat: Array = rows.reshape(-1, *rows.shape[2:])
    return flat[3:]


def wan_animate(
    positive: Conditioning,
    negative: Conditioning,
    width: int,
    height: int,
    length: int,
    right: bool,
    pose_video: Array | None = None,
    background_video: Array | None = None,
    character_mask: Array | None = None,
    continue_motion: Array | None = None,
    continue_motion_max_frames: int = 5,
    reference_image: Array | None = None,
    face_video: Array | None = None,
) -> tuple[Conditioning, Conditioning, Latent, int, int, int]:
    """WanAnimateToVideo's six outputs, all videos from their first frame on."""
    length = (length - 1) // 4 * 4 + 1
    image = _grey(length, height, width)
    before = None if continue_motion is None else continue_motion[-continue_motion_max_frames:]
    carried = 0 if before is None else len(before)
    rounded = max(0, ((carried - 1) // 4 + 1) * 4 - 3) if carried else 0
    if before is not None:
        image[:carried] = before
    if background_video is not None:
        image[rounded : len(background_video)] = background_video[rounded:length]
    mask = np.ones((length, height, width), np.float32) if character_mask is None else character_mask
    rows = mask_rows(mask, length, carried, right)
    context = Context(
        inactive=image,
        reactive=_grey(length, height, width) if pose_video is None else pad(pose_video, length, 0.0),
        mask=rows.max(axis=1),
        frame_mask=frames_of_rows(rows),
        strength=1.0,
        reference=reference_image is not None,
    )
    both = _stacked(positive, negative, context)
    return *both, Latent(length, height, width, 1), 1, rounded, length


def wan_scail(
    positive: Conditioning,
    negative: Conditioning,
    width: int,
    height: int,
    length: int,
    pose_video: Array | None = None,
    pose_video_mask: Array | None = None,
    previous_frames: Array | None = None,
    previous_frame_count: int = 5,
    replacement_mode: bool = False,
    reference_image: Array | None = None,
    reference_image_mask: Array | None = None,
) -> tuple[Conditioning, Conditioning, Latent, int]:
    """WanSCAILToVideo's four outputs.

    Raises:
        RuntimeError: for a size that is no multiple of 32, or a mask with other colours than the seven.
    """
    if width % 32 or height % 32:
        raise RuntimeError("the size must be a multiple of 32")
    driving = _grey(length, height, width) if pose_video is None else pose_video
    person: Array = np.zeros((length, height, width), np.float32)
    if pose_video_mask is not None:
        on = pose_video_mask > 225 / 255
        if ((pose_video_mask > 0) & ~on).any():
            raise RuntimeError("a colour that is not pure")
        person = np.asarray(on.any(axis=-1) & ~on.all(axis=-1), np.float32)
    if previous_frames is not None:
        person[: len(previous_frames[-previous_frame_count:])] = 0.0
    context = Context(driving, driving, np.stack([person[(slot * 4)] for slot in range(slots_of(length))]), person, 1.0,
                      reference_image is not None)  # fmt: skip
    both = _stacked(positive, negative, context)
    return *both, Latent(length, height, width), length


def pose_alone(pose: Array) -> Context:
    """CogVideoImageEncode: a pose and nothing else."""
    ones = np.ones(pose.shape[:3], np.float32)
    return Context(np.full_like(pose, 0.5), pose, ones[::4], ones, 1.0, False)


def quadmask_levels(mask: Array) -> Array:
    """VOIDQuadmaskPreprocess: 0 to 1, 1 what is removed; between values are drawn to the nearest of the four levels."""
    levels = mask * np.float32(255) if mask.max() <= 1 else mask
    drawn = np.select([levels <= 31, levels <= 95, levels <= 191], [0, 63, 127], 255)
    return np.asarray((255 - drawn) / 255, np.float32)


def void_inpaint(
    positive: Conditioning,
    negative: Conditioning,
    video: Array,
    quadmask: Array,
    width: int,
    height: int,
    length: int,
) -> tuple[Conditioning, Conditioning, Latent]:
    """VOIDInpaintConditioning's three outputs: an odd number of latents is rounded down to an even one, which is
    decoded to three frames more than went in.

    Raises:
        RuntimeError: for another size than the video's: this server does not resize.
    """
    slots = max(2, slots_of(length) // 2 * 2)
    length = length if slots_of(length) == slots else 4 * (slots - 1) + 1
    if video.shape[1:3] != (height, width) or quadmask.shape[1:3] != (height, width):
        raise RuntimeError("the fake server does not resize: send exact sizes")
    video, quadmask = video[:length], quadmask[:length]
    context = Context(video * (1 - quadmask[..., None]), video, quadmask[::4], quadmask, 1.0, False)
    return *_stacked(positive, negative, context), Latent(length, height, width, ahead=3)
