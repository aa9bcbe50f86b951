"""Objects followed each through a view of its own: stock SAM 2.1 on the view's pictures."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import Any

import numpy as np

from stages.affine import apply
from stages.base import Array, Json
from stages.sam.frames import FrameFeed, Prepared, prepare_image
from stages.sam.model import SamModel
from stages.sam.prompts import SamPrompt
from stages.sam.tracker import Seen, Tracker
from stages.views.look import box_through, logits_back, mask_through, through


class ViewedTracker:
    """Named objects, each seen through its own view, in pictures of the model's input size.

    Args:
        model: loaded when the first frame is shown.
        height, width: of the frames.
    """

    def __init__(self, model: SamModel, height: int, width: int) -> None:
        self._model = model
        self._shape = (height, width)
        self._trackers: dict[str, Tracker] = {}

    def __contains__(self, name: str) -> bool:
        return name in self._trackers

    def drop(self, name: str) -> None:
        """Forget an object; it is untracked until its next prompt. No-op when it is not tracked."""
        self._trackers.pop(name, None)

    def see(
        self,
        index: int,
        frame: Array,
        image: Callable[[], Any],
        views: Mapping[str, Array],
        prompts: Mapping[str, SamPrompt],
        clip_frames_min16: int,
    ) -> dict[str, Seen]:
        """Follow every object through one frame.

        Args:
            index: of the frame, absolute.
            frame: [H, W, 3] uint8 RGB.
            image: not asked for: the model is shown no whole frame.
            views: by object, [2, 3]: the frame's pixels to those of the picture that is shown to the model.
            prompts: by object, in the frame's pixels.
            clip_frames_min16: `min(T, 16)` of a clip of T frames.

        Returns:
            By object, for those that are tracked on this frame.
        """
        for name in prompts:
            if name not in self._trackers:
                self._trackers[name] = self._new()
        side = self._model.image_size
        found = {}
        for name, tracker in self._trackers.items():
            picture = through(frame, views[name], (side, side))
            prompt = {name: seen_through(prompts[name], views[name], side)} if name in prompts else {}
            tracked = tracker.step(index, partial(prepare_image, picture, side), prompt, clip_frames_min16)[name]
            logits = logits_back(tracked.logits.float().cpu().numpy(), views[name], self._shape)
            found[name] = Seen(logits > 0, tracked)
        return found

    def _new(self) -> Tracker:
        return Tracker(self._model, self._model.image_size, self._model.image_size)

    def banks(self) -> tuple[dict[str, Json], dict[str, Array]]:
        """Carried memory, as `Tracker.banks` gives it."""
        values: dict[str, Json] = {}
        arrays: dict[str, Array] = {}
        for tracker in self._trackers.values():
            own = tracker.banks()
            values |= own[0]
            arrays |= own[1]
        return values, arrays

    def restore(self, values: Mapping[str, Json], arrays: Mapping[str, Array]) -> None:
        """Take back what `banks()` gave, on a new tracker."""
        for name, value in values.items():
            self._trackers[name] = self._new()
            self._trackers[name].restore({name: value}, arrays)


def seen_through(prompt: SamPrompt, view: Array, side: int) -> SamPrompt:
    """A prompt in the pixels of a view's square picture."""
    if prompt.mask is not None:
        return SamPrompt(mask=mask_through(prompt.mask, view, (side, side)))
    if prompt.box is not None:
        return SamPrompt(box=box_through(prompt.box, view))
    places = apply(view, np.array([(x, y) for x, y, _ in prompt.points]) - 0.5) + 0.5
    labels = [label for _, _, label in prompt.points]
    return SamPrompt(points=tuple((float(x), float(y), label) for (x, y), label in zip(places, labels, strict=True)))


def new_tracker(model: SamModel, height: int, width: int, viewed: bool) -> Tracker | ViewedTracker:
    """What follows objects in frames of this size: each through a view of its own, or in the whole frame."""
    return (ViewedTracker if viewed else Tracker)(model, height, width)


def feed(model: SamModel, frames: Iterable[Array], viewed: bool) -> Iterator[Prepared]:
    """`(frame, image)` for each frame, as `FrameFeed.iterate`; made ahead where whole frames are shown."""
    if not viewed:
        yield from FrameFeed(model.image_size, model.config.device).iterate(frames)
        return
    for frame in frames:
        yield frame, partial(prepare_image, frame, model.image_size)
