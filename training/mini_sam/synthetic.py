"""General synthetic clips: random shapes, flipping boards and articulated figures over random moving backgrounds.

Nothing here knows the demo clip. A clip has two targets, `masks[..., 0]` (a shape or a board) and `masks[..., 1]` (a
figure or a shape), and distractors; it occludes, leaves and returns, pans, zooms, blurs and is sometimes compressed.
"""

from dataclasses import dataclass, field

import cv2
import numpy as np

from training.mini_sam.textures import Image, silhouette, texture

SPRITE = 96  # px, side of the canvas a shape is drawn on before it is placed
MAX_TARGETS = 2


@dataclass
class Motion:
    """Centre [2] px, angle in degrees and scale, each with its change a frame."""

    centre: Image
    velocity: Image
    angle: float
    turn: float
    scale: float
    growth: float

    def step(self, rng: np.random.Generator, size: int) -> None:
        """Advance one frame; bounce a little outside the picture, so that things leave and return."""
        self.centre = self.centre + self.velocity
        self.velocity = self.velocity + rng.normal(0, 0.004, 2) * size
        self.angle += self.turn
        self.scale = float(np.clip(self.scale * self.growth, 0.5, 2.0))
        outside = (self.centre < -0.25 * size) & (self.velocity < 0) | (self.centre > 1.25 * size) & (self.velocity > 0)
        self.velocity = np.where(outside, -self.velocity, self.velocity)


def _motion(rng: np.random.Generator, size: int) -> Motion:
    speed = rng.choice((0.004, 0.012, 0.03))
    return Motion(
        centre=rng.uniform(0.2, 0.8, 2) * size, velocity=rng.normal(0, speed, 2) * size, angle=0.0,
        turn=float(rng.normal(0, 3)), scale=1.0, growth=float(rng.normal(1, 0.008)),
    )  # fmt: skip


@dataclass
class Shape:
    """A silhouette with two faces; `flip` turns it around its long axis."""

    motion: Motion
    side: float
    mask: Image
    faces: tuple[Image, Image]
    flips: bool
    phase: float
    spin: float

    def draw(self, frame: int, size: int) -> tuple[Image, Image]:
        """Colours [size, size, 3] and coverage [size, size], float32 in 0..1."""
        cosine = np.cos(self.phase + self.spin * frame) if self.flips else 1.0
        thickness = max(abs(float(cosine)), 0.15)
        scale = self.side * self.motion.scale / SPRITE
        turn = np.deg2rad(self.motion.angle)
        rotation = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
        linear = scale * rotation @ np.diag([1.0, thickness])
        shift = self.motion.centre - linear @ np.full(2, SPRITE / 2)
        matrix = np.column_stack([linear, shift]).astype(np.float32)
        face = self.faces[0] if cosine > 0 else self.faces[1]
        colours = cv2.warpAffine(face, matrix, (size, size), borderMode=cv2.BORDER_REPLICATE)
        return colours, cv2.warpAffine(self.mask, matrix, (size, size))

    def step(self, rng: np.random.Generator, size: int) -> None:
        self.motion.step(rng, size)


def _shape(rng: np.random.Generator, size: int) -> Shape:
    mask = silhouette(rng, SPRITE).astype(np.float32) / 255
    faces = (texture(rng, SPRITE), texture(rng, SPRITE))
    motion = _motion(rng, size)
    motion.angle = float(rng.uniform(0, 360))
    return Shape(
        motion=motion, side=size * rng.uniform(0.1, 0.5), mask=mask, faces=faces, flips=bool(rng.random() < 0.4),
        phase=rng.uniform(0, 2 * np.pi), spin=float(rng.normal(0, 0.3)),
    )  # fmt: skip


# Bones of a figure: parent joint, length and half-width in body heights, mean angle and swing in radians (0 = down).
_BONES = (
    ("hip", 0.30, 0.075, np.pi, 0.15), ("neck", 0.11, 0.06, np.pi, 0.15),
    ("neck", 0.16, 0.030, 0.4, 0.7), ("elbow", 0.15, 0.025, 0.2, 0.8),
    ("neck", 0.16, 0.030, -0.4, 0.7), ("elbow", 0.15, 0.025, -0.2, 0.8),
    ("hip", 0.24, 0.045, 0.25, 0.5), ("knee", 0.24, 0.035, 0.0, 0.4), ("ankle", 0.08, 0.028, 1.4, 0.2),
    ("hip", 0.24, 0.045, -0.25, 0.5), ("knee", 0.24, 0.035, 0.0, 0.4), ("ankle", 0.08, 0.028, 1.4, 0.2),
)  # fmt: skip
_CHILDREN = {"neck": "elbow", "hip": "knee", "knee": "ankle"}  # after spine and neck


@dataclass
class Figure:
    """An articulated person of capsules; every limb has its own colour, its angles swing."""

    motion: Motion
    height: float
    colours: Image
    overlay: Image
    stoutness: float
    phases: Image
    rates: Image
    chain: dict[str, Image] = field(default_factory=dict)

    def draw(self, frame: int, size: int) -> tuple[Image, Image]:
        """Colours [size, size, 3] and coverage [size, size], float32 in 0..1."""
        colours = np.zeros((size, size, 3), np.float32)
        cover = np.zeros((size, size), np.float32)
        height = self.height * self.motion.scale
        joints = {"hip": self.motion.centre}
        for index, (parent, length, half_width, mean, swing) in enumerate(_BONES):
            angle = mean + swing * np.sin(self.phases[index] + self.rates[index] * frame)
            start = joints[parent]
            end = start + length * height * np.array([np.sin(angle), np.cos(angle)])
            name = ("neck", "head")[index] if index < 2 else _CHILDREN.get(parent, "tip")
            joints[name] = end
            radius = half_width * height * self.stoutness
            self._capsule(colours, cover, start, end, radius, self.colours[index])
        self._capsule(colours, cover, joints["head"], joints["head"], 0.075 * height, self.colours[-1])
        texture_now = cv2.resize(self.overlay, (size, size))
        return (colours * (0.7 + 0.6 * (texture_now - 0.5))).clip(0, 1), cover

    @staticmethod
    def _capsule(colours: Image, cover: Image, start: Image, end: Image, radius: float, colour: Image) -> None:
        thick = max(1, round(2 * radius))
        a, b = (tuple(int(value) for value in np.round(point * 16)) for point in (start, end))
        cv2.line(colours, a, b, tuple(float(value) for value in colour), thick, cv2.LINE_8, 4)
        cv2.line(cover, a, b, 1.0, thick, cv2.LINE_8, 4)

    def step(self, rng: np.random.Generator, size: int) -> None:
        self.motion.step(rng, size)


def _figure(rng: np.random.Generator, size: int) -> Figure:
    motion = _motion(rng, size)
    motion.centre = np.array([rng.uniform(0.25, 0.75), rng.uniform(0.4, 0.65)]) * size
    motion.velocity *= 0.5
    count = len(_BONES)
    colours = rng.random((count + 1, 3))
    if rng.random() < 0.6:  # clothes: few colours instead of one a limb
        colours = rng.random((3, 3))[np.minimum(np.arange(count + 1) // 3, 2)]
    return Figure(
        motion=motion, height=size * rng.uniform(0.35, 0.9), colours=colours, overlay=texture(rng, 64),
        stoutness=rng.uniform(0.8, 1.5), phases=rng.uniform(0, 2 * np.pi, count), rates=rng.normal(0, 0.25, count),
    )  # fmt: skip


@dataclass
class Camera:
    """Offset px, angle in degrees and zoom of the background, each with its change a frame."""

    offset: Image
    pan: Image
    angle: float
    roll: float
    zoom: float
    growth: float

    def view(self, background: Image, size: int) -> Image:
        """The part of `background` [2 size, 2 size, 3] that is seen: [size, size, 3]."""
        matrix: Image = cv2.getRotationMatrix2D((size, size), self.angle, self.zoom)
        matrix[:, 2] += self.offset - size / 2
        view: Image = cv2.warpAffine(background, matrix, (size, size), borderMode=cv2.BORDER_REFLECT)
        self.offset = self.offset + self.pan
        self.angle += self.roll
        self.zoom = float(np.clip(self.zoom * self.growth, 0.8, 1.8))
        return view


def _background(rng: np.random.Generator, size: int) -> Image:
    """[2 size, 2 size, 3] float32: one or two textures and static clutter."""
    side = 2 * size
    image = texture(rng, side)
    if rng.random() < 0.6:
        cells = cv2.resize(rng.normal(size=(5, 5)).astype(np.float32), (side, side))
        share = cv2.GaussianBlur((cells > 0).astype(np.float32), (0, 0), rng.uniform(0.5, 6))[..., None]
        image = image * share + texture(rng, side) * (1 - share)
    for _ in range(rng.integers(0, 8)):
        extent = int(size * rng.uniform(0.1, 0.5))
        cover = cv2.resize(silhouette(rng, SPRITE), (extent, extent))[..., None].astype(np.float32) / 255
        y, x = rng.integers(0, side - extent, 2)
        part = image[y : y + extent, x : x + extent]
        image[y : y + extent, x : x + extent] = part * (1 - cover) + texture(rng, extent) * cover
    return image


def synthetic_clip(seed: int, frames: int, size: int) -> tuple[Image, Image]:
    """Render one clip.

    Returns:
        images [frames, size, size, 3] uint8 RGB and masks [frames, size, size, 2] uint8, visible coverage 0..255.
    """
    rng = np.random.default_rng(seed)
    background = _background(rng, size)
    second: Shape | Figure = _figure(rng, size) if rng.random() < 0.6 else _shape(rng, size)
    things: list[Shape | Figure] = [_shape(rng, size), second]
    things += [_shape(rng, size) if rng.random() < 0.7 else _figure(rng, size) for _ in range(rng.integers(0, 3))]
    order = rng.permutation(len(things))
    pan, roll, growth = rng.normal(0, 0.01, 2) * size, float(rng.normal(0, 0.3)), float(rng.normal(1, 0.004))
    camera = Camera(np.zeros(2), pan, 0.0, roll, 1.2, growth)
    gain, drift, noise = rng.uniform(0.8, 1.2), rng.normal(0, 0.005), rng.uniform(0, 0.02)
    images = np.empty((frames, size, size, 3), np.uint8)
    masks = np.empty((frames, size, size, MAX_TARGETS), np.uint8)
    for frame in range(frames):
        image = camera.view(background, size)
        covers = np.zeros((size, size, MAX_TARGETS), np.float32)
        for index in order:
            colours, cover = things[index].draw(frame, size)
            image = image * (1 - cover[..., None]) + colours * cover[..., None]
            covers *= 1 - cover[..., None]
            if index < MAX_TARGETS:
                covers[..., index] = cover
            things[index].step(rng, size)
        if rng.random() < 0.25:
            length = int(rng.integers(2, 5))
            image = cv2.blur(image, (length, 1) if rng.random() < 0.5 else (1, length))
        image = image * (gain + drift * frame) + rng.normal(0, noise, (size, size, 1))
        images[frame] = (image * 255).clip(0, 255)
        masks[frame] = np.round(covers * 255)
    return images, masks
