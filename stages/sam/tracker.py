"""Several objects followed independently through the same frames; every frame is encoded once, for all of them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from stages.base import Array, Json
from stages.choices import DISTRACTOR_AWARE
from stages.sam.memory import DistractorMemory
from stages.sam.model import SamModel
from stages.sam.prompts import SamPrompt
from stages.sam.session import LONG_CLIP_FRAMES, MemoryBank, ObjectSession, Tracked


@dataclass(frozen=True)
class Seen:
    """An object on a frame.

    Attributes:
        mask: [H, W] bool, in the frame's pixels.
        tracked: what the model gave, in the pixels of what it was shown.
    """

    mask: Array
    tracked: Tracked


class Tracker:
    """Named sessions over one model and one video size. An object exists from its first prompt until it is dropped.

    Each object is run on its own at batch 1, as stock does, so that one never changes another's bits.
    """

    def __init__(self, model: SamModel, height: int, width: int) -> None:
        self._model = model
        self._size = (height, width)
        self._sessions: dict[str, ObjectSession] = {}
        self._constants: dict[str, Any] = {}

    def __contains__(self, name: str) -> bool:
        return name in self._sessions

    def drop(self, name: str) -> None:
        """Forget an object; it is untracked until its next prompt. No-op when it is not tracked."""
        self._sessions.pop(name, None)

    def step(
        self, frame: int, image: Callable[[], Any], prompts: Mapping[str, SamPrompt], clip_frames_min16: int
    ) -> dict[str, Tracked]:
        """Follow every object through one frame.

        Args:
            frame: absolute index, one more than the step before unless nothing was tracked then.
            image: makes the `[3, S, S] float32` model input; called only when an object is tracked on this frame.
            prompts: by object, what is given on this frame before it is tracked.
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
        encoded: dict[int, Any] = {}
        with torch.inference_mode(), self._model.autocast():
            images = {frame: image()}
            return {
                name: session.step(frame, images, encoded, prompts.get(name), num_frames)
                for name, session in self._sessions.items()
            }

    def see(
        self,
        index: int,
        frame: Array,
        image: Callable[[], Any],
        views: Mapping[str, Array],
        prompts: Mapping[str, SamPrompt],
        clip_frames_min16: int,
    ) -> dict[str, Seen]:
        """`step`, and the masks of what it gave; the frame is seen whole, through no view."""
        results = self.step(index, image, prompts, clip_frames_min16)
        return {name: Seen((found.logits > 0).cpu().numpy(), found) for name, found in results.items()}

    def _new_session(self) -> ObjectSession:
        config = self._model.config
        memory = DistractorMemory() if config.memory == DISTRACTOR_AWARE else None
        predictor = self._model.predictor
        return ObjectSession(predictor, self._size, config.device, config.state_device, self._constants, memory)

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
