"""Random changes of a training sequence: geometry, new textures on the targets, colours, compression.

Sequences are `images [T, S, S, 3] uint8 RGB` and `masks [T, S, S, K] uint8`, visible coverage 0..255.
"""

import cv2
import numpy as np

from training.mini_sam.textures import Image, texture

TEXTURE = 128  # px, side of the texture laid over a target
LARGEST_ZOOM = 0.6  # natural logarithm: a quarter of the sequences is looked at up to 1.8 times as closely


def reframe(rng: np.random.Generator, images: Image, masks: Image, whole: int, size: int) -> tuple[Image, Image]:
    """Cut one fixed window of `size` px out of the sequence scaled to `whole` px; mostly mirrored, zoomed, stretched.

    The window holds a target of the first frame well inside. Scaling, change and cut are one affine map a frame.

    Args:
        rng: chooses the map.
        images: [T, s, s, 3] uint8.
        masks: [T, s, s, K] uint8.
        whole: px the whole picture is scaled to.
        size: px of the result.
    """
    stored = images.shape[1]
    zoom, mirror = np.ones(2), 1.0
    if rng.random() < 0.7:
        closer = rng.uniform(0, LARGEST_ZOOM) if rng.random() < 0.35 else 0.0
        zoom = np.exp(rng.normal(0, 0.1, 2) + rng.normal(0.03, 0.12) + closer).clip(0.85)
        mirror = -1.0 if rng.random() < 0.5 else 1.0
    scale = zoom * whole / stored
    linear = np.diag([mirror * scale[0], scale[1]])
    corner = np.zeros(2) if mirror > 0 else np.array([-stored * scale[0], 0.0])  # of the mapped picture
    room = stored * scale - size
    visible = np.flatnonzero((masks[0, ::4, ::4] > 127).any((0, 1)))
    wanted = rng.uniform(0, 1, 2) * room
    if len(visible) and (room > 0).any():
        chosen = visible[0] if rng.random() < 0.4 else rng.choice(visible)  # the first is the smaller one
        y, x = np.nonzero(masks[0, ::4, ::4, chosen] > 127)
        middle = linear @ np.array([4 * x.mean(), 4 * y.mean()]) - corner
        wanted = middle - size / 2 + rng.normal(0, 0.15, 2) * size
    wanted = np.where(room > 0, wanted.clip(0, np.maximum(room, 0)), room / 2)
    matrix = np.column_stack([linear, -(corner + wanted)]).astype(np.float32)
    new_images = np.empty((len(images), size, size, 3), np.uint8)
    new_masks = np.empty((len(masks), size, size, masks.shape[-1]), np.uint8)
    for index, (image, mask) in enumerate(zip(images, masks, strict=True)):
        new_images[index] = cv2.warpAffine(image, matrix, (size, size), borderMode=cv2.BORDER_REFLECT_101)
        new_masks[index] = cv2.warpAffine(mask, matrix, (size, size), borderMode=cv2.BORDER_REFLECT_101)
    return new_images, new_masks


def _axes(mask: Image) -> tuple[Image, Image] | None:
    """Centre [2] and the half axes [2, 2] (columns; long axis pointing right) of a mask's ellipse of inertia."""
    moments = cv2.moments(mask)
    if moments["m00"] < 255:
        return None
    centre = np.array([moments["m10"], moments["m01"]]) / moments["m00"]
    cross = moments["mu11"]
    covariance = np.array([[moments["mu20"], cross], [cross, moments["mu02"]]]) / moments["m00"]
    values, vectors = np.linalg.eigh(covariance + 0.3 * np.eye(2))
    vectors = vectors[:, ::-1] * np.where(vectors[0, ::-1] < 0, -1, 1)
    return centre, vectors * 2 * np.sqrt(values[::-1])


def retexture(rng: np.random.Generator, images: Image, masks: Image) -> Image:
    """Lay a random texture that moves with it over one target.

    Args:
        images: [T, H, W, 3] uint8.
        masks: [T, H, W] uint8 coverage of the target.
    """
    (height, width), result = images.shape[1:3], images.copy()
    cloth = texture(rng, TEXTURE).astype(np.float32) * 255
    strength = rng.uniform(0.6, 1.0)
    tiles = rng.uniform(0.35, 1.0)  # share of the texture that covers the target
    for index, mask in enumerate(masks):
        frame = _axes(mask)
        if frame is None:
            continue
        centre, axes = frame
        linear = axes / (TEXTURE / 2 * tiles)
        matrix = np.column_stack([linear, centre - linear @ np.full(2, TEXTURE / 2)]).astype(np.float32)
        laid = cv2.warpAffine(cloth, matrix, (width, height), borderMode=cv2.BORDER_WRAP)
        share = (mask.astype(np.float32) / 255 * strength)[..., None]
        result[index] = images[index] * (1 - share) + laid * share
    return result


def tone(rng: np.random.Generator, images: Image, masks: Image) -> Image:
    """Recolour one target by a random ramp over its brightness (a toned person), keeping its shading."""
    ends = rng.random((2, 3)) * 255
    grey = np.stack([cv2.cvtColor(image, cv2.COLOR_RGB2GRAY) for image in images]).astype(np.float32)
    toned = ends[0] + (ends[1] - ends[0]) * (grey[..., None] / 255)
    share = (masks.astype(np.float32) / 255 * rng.uniform(0.5, 1.0))[..., None]
    result: Image = (images * (1 - share) + toned * share).astype(np.uint8)
    return result


def shift_colours(rng: np.random.Generator, images: Image) -> Image:
    """Change gain, offset and the balance of the channels of the whole sequence."""
    gain = np.exp(rng.normal(0, 0.12, 3) + rng.normal(0, 0.15))
    table = (np.arange(256)[:, None] * gain + rng.normal(0, 12)).clip(0, 255).astype(np.uint8)
    if rng.random() < 0.05:
        table = table[::-1]
    shifted: Image = np.stack([table[images[..., channel], channel] for channel in range(3)], -1)
    return shifted[..., rng.permutation(3)] if rng.random() < 0.15 else shifted


def compress(rng: np.random.Generator, images: Image) -> Image:
    """Encode and decode every frame as JPEG of one random quality, or lose detail by resampling."""
    if rng.random() < 0.3:
        small = int(images.shape[1] * rng.uniform(0.5, 0.9))
        size = images.shape[1]
        return np.stack([cv2.resize(cv2.resize(image, (small, small)), (size, size)) for image in images])
    quality = [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(35, 95))]
    coded = [cv2.imdecode(cv2.imencode(".jpg", image, quality)[1], cv2.IMREAD_COLOR) for image in images]
    return np.stack([image for image in coded if image is not None])
