"""Several objects followed independently through the same frames: whole, each encoded once for all of them, or each
object in pictures of a view of its own (stock SAM 2.1 on the view's pictures)."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from stages.affine import apply
from stages.base import Array, Json
from stages.sam.frames import prepare_image
from stages.sam.model import SamModel
from stages.sam.policy import positive
from stages.sam.prompts import SamPrompt
from stages.sam.session import LONG_CLIP_FRAMES, MemoryBank, ObjectSession, Tracked
from stages.views.look import box_through, glimpse, logits_back, mask_through


@dataclass(frozen=True)
class Seen:
    """An object on a frame.

    Attributes:
        mask: [H, W] bool, in the frame's pixels.
        tracked: what the model gave, in the pixels of what it was shown.
        logits: [H, W] float32, a tensor or an array, in the frame's pixels.
    """

    mask: Array
    tracked: Tracked
    logits: Any

    def at(self, rows: Array, columns: Array) -> Array:
        """`[n]` float32: the logits of some pixels."""
        values = self.logits[rows, columns]
        return values if isinstance(values, np.ndarray) else np.asarray(values.float().cpu().numpy())


class Tracker:
    """Named sessions over one model and one video size. An object exists from its first prompt until it is dropped.

    Each object is run on its own at batch 1, as stock does, so that one never changes another's bits.

    Args:
        height, width: of the frames.
        viewed: whether the model is shown, for each object, the picture of its view, of the model's input size.
    """

    def __init__(self, model: SamModel, height: int, width: int, viewed: bool = False) -> None:
        self._model = model
        self._shape = (height, width)
        self._viewed = viewed
        self._sessions: dict[str, ObjectSession] = {}
        self._constants: dict[str, Any] = {}

    def __contains__(self, name: str) -> bool:
        return name in self._sessions

    def drop(self, name: str) -> None:
        """Forget an object; it is untracked until its next prompt. No-op when it is not tracked."""
        self._sessions.pop(name, None)

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
            index: of the frame, absolute, or among those that are shown; one more than the call before unless nothing
                was tracked then.
            frame: `[H, W, 3] uint8 RGB`.
            image: makes the whole frame's `[3, S, S] float32` model input; called only when that is shown to the model.
            views: by object, `[2, 3]`: the frame's pixels to those of the picture shown; unused where not viewed.
            prompts: by object, what is given on this frame before it is tracked, in the frame's pixels.
            clip_frames_min16: `min(T, 16)` of a clip of T frames.

        Returns:
            By object, for those that are tracked on this frame.
        """
        import torch

        for name in prompts:
            if name not in self._sessions:
                self._sessions[name] = self._new_session()
        if not self._sessions:
            return {}
        num_frames = clip_frames_min16 if clip_frames_min16 < 16 else LONG_CLIP_FRAMES
        with torch.inference_mode(), self._model.autocast(), self._model.shared():
            if self._viewed:
                return {name: self._see_through(name, index, frame, views[name], prompts.get(name), num_frames)
                        for name in self._sessions}  # fmt: skip
            encoded: dict[int, Any] = {}
            images = {index: image()}
            found = {
                name: session.step(index, images, encoded, prompts.get(name), num_frames)
                for name, session in self._sessions.items()
            }
            return {name: Seen(positive(each.logits), each, each.logits) for name, each in found.items()}

    def _see_through(
        self, name: str, index: int, frame: Array, view: Array, prompt: SamPrompt | None, num_frames: int
    ) -> Seen:
        side = self._model.image_size
        images = {index: prepare_image(glimpse(frame, view, (side, side)), side)}
        own = None if prompt is None else seen_through(prompt, view, side)
        tracked = self._sessions[name].step(index, images, {}, own, num_frames)
        logits = logits_back(tracked.logits.float().cpu().numpy(), view, self._shape)
        return Seen(logits > 0, tracked, logits)

    def _new_session(self) -> ObjectSession:
        config = self._model.config
        size = (self._model.image_size,) * 2 if self._viewed else self._shape
        predictor = self._model.predictor
        policy = config.policy.of(predictor)
        return ObjectSession(predictor, size, config.device, config.state_device, self._constants, policy)

    def banks(self) -> tuple[dict[str, Json], dict[str, Array]]:
        """Carried memory: JSON by object, and arrays by `object.name`."""
        if self._model.config.device == "cuda":
            import torch

            torch.cuda.synchronize()  # memories are copied to the host without blocking
        values: dict[str, Json] = {}
        arrays: dict[str, Array] = {}
        for name, session in self._sessions.items():
            bank = session.bank()
            values[name] = bank.values()
            arrays.update({f"{name}.{key}": array for key, array in bank.tensors.items()})
        return values, arrays

    def restore(self, values: Mapping[str, Json], arrays: Mapping[str, Array]) -> None:
        """Take back what `banks()` gave, on a new tracker."""
        import torch

        with torch.inference_mode():
            for name, value in values.items():
                own = {key.partition(".")[2]: array for key, array in arrays.items() if key.partition(".")[0] == name}
                session = self._new_session()
                session.restore(MemoryBank(**value, tensors=own))
                self._sessions[name] = session


def seen_through(prompt: SamPrompt, view: Array, side: int) -> SamPrompt:
    """A prompt in the pixels of a view's square picture; points beside it that are not on the subject tell nothing."""
    if prompt.mask is not None:
        return SamPrompt(mask=mask_through(prompt.mask, view, (side, side)))
    if prompt.box is not None:
        return SamPrompt(box=box_through(prompt.box, view))
    places = apply(view, np.array([(x, y) for x, y, _ in prompt.points]) - 0.5) + 0.5
    points = [(float(x), float(y), label) for (x, y), (_, _, label) in zip(places, prompt.points, strict=True)]
    told = [(x, y, label) for x, y, label in points if label == 1 or (0 <= x <= side and 0 <= y <= side)]
    return SamPrompt(points=tuple(told))
