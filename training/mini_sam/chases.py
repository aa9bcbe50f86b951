"""Training sequences of a subject among others who look like it, each frame through its own view of a chase."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from stages.affine import apply, compose, invert, scaling, shifting
from stages.sam.memory import STRIDE
from stages.views.chase import Chase
from stages.views.look import glimpse, mask_through
from training.mini_sam.textures import Image

CROSSINGS = 0.65  # of the sequences that run where another is near
BOARDS = 0.7  # of the sequences, and of the clips of one alone
RETURNS = 0.2  # of the sequences in which it comes back, where it does in the clip
PROMPTABLE = 150  # pixels of the frame
STRIDES = (1, 1, 1, 2, 3)
APART = 0.6  # of the sequences have their frames as far apart as those a distractor-aware memory reads
JOINED = 0.4  # of the sequences follow the last frame that may be prompted
SEARCHED = 0.35  # of the sequences in which it is looked for somewhere, on some frames
FOUND = 0.6  # of these views that show where it is
OFF, CLOSER = 0.06, 0.08  # of the picture's side, and of its scale's logarithm: standard deviations of a view's error


@dataclass(frozen=True)
class ChaseClip:
    """What `training.mini_sam.chase_clips` writes of a seed, frames and masks still on disk; boards come first."""

    frames: Image
    masks: Image
    views: Image
    areas: Image
    near: Image

    @classmethod
    def of(cls, tracks: Path) -> "ChaseClip":
        """The clip whose `SEED.tracks.npz` this is."""
        seed = tracks.name.partition(".")[0]
        frames, masks = (np.load(tracks.with_name(f"{seed}.{kind}.npy"), mmap_mode="r") for kind in ("frames", "masks"))
        with np.load(tracks) as found:
            return cls(frames, masks, found["views"], found["areas"], found["near"])

    def cut(self, rng: np.random.Generator, frames: int, size: int) -> tuple[Image, Image] | None:
        """images `[T, S, S, 3]` uint8 and masks `[T, S, S, 2]` uint8 coverage 0..255: of the subject drawn, at which
        the pictures look, and of the other of its kind that is seen best where it is prompted; None where nobody
        can be prompted, or the subject drawn too late for a sequence. A clip of one alone gives that one."""
        count = self.areas.shape[1] // 2
        shown = np.flatnonzero((self.areas >= PROMPTABLE).any(0))
        if not len(shown):
            return None
        boards, skaters = shown[shown < count], shown[shown >= count]
        drawn = int(rng.choice(boards if len(boards) and (not len(skaters) or rng.random() < BOARDS) else skaters))
        kind = 0 if drawn < count else count
        positions = self._choose(rng, drawn, frames)
        if positions is None:
            return None
        images = np.empty((frames, size, size, 3), np.uint8)
        masks, subjects = np.zeros((frames, size, size, 2), np.uint8), [drawn]
        mirror, steady = rng.random() < 0.5, _jitter(rng, size, 1.0)
        first = int(rng.integers(1, frames)) if rng.random() < SEARCHED else frames
        searched = range(first, int(rng.integers(first, frames + 1)))
        for index, at in enumerate(positions):
            view = compose(_jitter(rng, size, 0.3), compose(steady, self.views[at, drawn]))
            if index == 0:  # of a prompt, which is given with its place
                view = compose(_jitter(rng, size, 0.5), self.views[min(at + 1, len(self.views) - 1), drawn])
            elif index in searched:
                view = self._search(rng, view, size)
            if mirror:
                view = compose(np.array([[-1.0, 0.0, size - 1.0], [0.0, 1.0, 0.0]]), view)
            images[index] = glimpse(self.frames[at], view, (size, size))
            if index == 0:
                others = [each for each in range(kind, kind + count) if each != drawn]
                subjects += [max(others, key=lambda each: int(self._seen(at, each, view, size).sum()))]
            for target, subject in enumerate(subjects):
                masks[index, ..., target] = self._seen(at, subject, view, size) * np.uint8(255)
        return images, masks

    def _seen(self, at: int, subject: int, view: Image, size: int) -> Image:
        """`[S, S]` bool."""
        return mask_through(np.unpackbits(self.masks[at, subject], axis=-1).view(bool), view, (size, size))

    def _search(self, rng: np.random.Generator, view: Image, size: int) -> Image:
        """Another view of the frame, as of one that is lost: often one that shows what `view` shows, farther away."""
        height, width = self.frames.shape[1:3]
        middle, side = rng.uniform(0, (width, height)), float(rng.uniform(0.5, 1)) * min(width, height)
        if rng.random() < FOUND:
            middle = apply(invert(view), np.full(2, (size - 1) / 2)) + rng.uniform(-0.4, 0.4, 2) * side
        return Chase((width, height), size).square((float(middle[0]), float(middle[1])), side)

    def _choose(self, rng: np.random.Generator, drawn: int, frames: int) -> Image | None:
        """`[T]` positions, the prompted one first, of a subject that can be prompted; None where that is too late."""
        promptable = np.flatnonzero(self.areas[:, drawn] >= PROMPTABLE)
        run = int(rng.choice(STRIDES)) * np.arange(frames - 1)
        if rng.random() < APART:
            run = STRIDE * np.arange(frames - 1)
            run[-1] -= int(rng.integers(STRIDE))  # the last one is read however near it is
        starts = np.arange(promptable[0] + 1, len(self.areas) - run[-1])
        if not len(starts):
            return None
        crossing = np.concatenate([[0], np.cumsum(self.near[:, drawn])])
        near = starts[crossing[starts + run[-1] + 1] > crossing[starts]]
        away = self.areas[:, drawn] == 0
        back = starts[away[starts] & ~away[starts + run[-1]]]
        for wanted, share in ((back, RETURNS), (near, CROSSINGS)):
            if len(wanted) and rng.random() < share:
                starts = wanted
                break
        start = int(rng.choice(starts))
        before = promptable[promptable < start]
        joined = before[-1] if rng.random() < JOINED else rng.choice(before)
        return np.array([joined, *(start + run)])


def _jitter(rng: np.random.Generator, size: int, share: float) -> Image:
    """`[2, 3]` float64: the error of a view, in pixels of its picture."""
    scale, middle = float(np.exp(rng.normal(0, share * CLOSER))), (size - 1) / 2
    off = rng.normal(0, share * OFF * size, 2)
    moved: Image = compose(shifting(*(middle + off)), compose(scaling((scale, scale)), shifting(-middle, -middle)))
    return moved
