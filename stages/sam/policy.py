"""What a session remembers: a memory policy says which frames of a session later ones read; the rest is dropped.

Stock's policy is here, another in `stages.sam.memory`; `stages.sam.model.POLICIES` names them.

`SAM2Base._prepare_memory_conditioned_features` reads, for frame t: every conditioning frame, the spatial memory of the
last `num_maskmem - 1` = 6 frames and the object pointers of the last `max_obj_ptrs_in_encoder - 1` = 15 frames, each
under its absolute index. Dropping the rest changes no bit:

    frame        t-16  t-15  t-14  ...  t-7  t-6  t-5  ...  t-1   t
    pointers            [====================================)
    memories                                 [===============)
    conditioning [== prompt and correction frames, for good ==)
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from enum import Enum, auto
from typing import Any, Self

from stages.base import Array, Json


class Role(Enum):
    """What becomes of a frame that nobody prompted: it is not remembered, as any other is, or as a prompted one is."""

    FORGOTTEN = auto()
    RECENT = auto()
    CONDITIONING = auto()


class Decoded:
    """What the decoder gave of one frame that nobody prompted; brought to the host where a policy asks for it.

    Args:
        enlarged: low-resolution logits `[1, 1, h, w]` to the picture's `[1, 1, H, W]`.
        low_res_logits, logits: of the mask that was chosen, `[1, 1, h, w]` and `[H, W]`.
        candidates: of all masks: logits `[1, M, h, w]` and predicted IoUs `[1, M]`; None where no policy keeps them.
    """

    def __init__(
        self, enlarged: Callable[[Any], Any], low_res_logits: Any, logits: Any, candidates: tuple[Any, Any] | None
    ) -> None:
        self._enlarged, self._low_res_logits, self._logits = enlarged, low_res_logits, logits
        self._candidates = candidates

    @property
    def seen(self) -> bool:
        """Whether the object is to be seen on the frame."""
        return bool(positive(self._low_res_logits).any())

    def mask(self) -> Array:
        """`[H, W]` bool, the one that was chosen."""
        return positive(self._logits)

    def predicted_iou(self) -> float:
        """The model's own estimate for the chosen one."""
        return float(self._all()[1][0].max())

    def others(self, may: Callable[[Array], bool]) -> Iterator[Array]:
        """The decoder's other masks, `[H, W]` bool, of those that `may` takes by their cells, `[h, w]` bool."""
        masks, ious = self._all()
        chosen = int(ious[0].argmax())
        for index in range(masks.shape[1]):
            if index != chosen and may(positive(masks[0, index])):
                yield positive(self._enlarged(masks[:, index : index + 1])[0, 0])

    def _all(self) -> tuple[Any, Any]:
        if self._candidates is None:
            raise RuntimeError("the policy that asks for the decoder's masks has not been installed")
        return self._candidates


class MemoryPolicy(ABC):
    """Which frames of one session later ones read. One object a session; what it carries is saved with it.

    A stock predictor passes over frames that were forgotten as a whole; a policy that drops what it would read of
    others installs what reads its own choice.
    """

    @staticmethod
    def install(predictor: Any) -> None:
        """Change what a stock predictor, just built, reads of a session's frames, where the policy is not stock's.

        Raises:
            EnvironmentFault: when it is none for this predictor's config.
        """

    @classmethod
    @abstractmethod
    def of(cls, predictor: Any) -> Self:
        """A new session's."""

    @staticmethod
    @abstractmethod
    def most_conditioning(prompted: int) -> int:
        """How many memories a session holds at most, with so many frames prompted, beside `num_maskmem - 1` recent."""

    @abstractmethod
    def role(self, frame: int, decoded: Decoded) -> Role:
        """What becomes of a frame that nobody prompted, by its absolute index; called once for each, in order."""

    @abstractmethod
    def conditioning(self, frames: Sequence[int]) -> set[int]:
        """Of the conditioning frames, in the order in which they became that, those a later frame may read."""

    @abstractmethod
    def recent(self, frame: int, first: int, frames: Sequence[int]) -> set[int]:
        """Of the other frames up to `frame` that have a memory, those whose memory a later frame may read.

        Args:
            first: the first conditioning frame.
        """

    @abstractmethod
    def values(self) -> dict[str, Json] | None:
        """The JSON of what it carries; None: nothing."""

    @abstractmethod
    def restore(self, values: Mapping[str, Any]) -> None:
        """Take back what `values()` gave."""


class StockMemory(MemoryPolicy):
    """SAM 2.1's own.

    Args:
        reach: frames back to the oldest memory that the next frame reads.
    """

    def __init__(self, reach: int) -> None:
        self._reach = reach

    @classmethod
    def of(cls, predictor: Any) -> Self:
        """By the loop over t_pos in `_prepare_memory_conditioned_features`."""
        memories = int(predictor.num_maskmem)
        return cls(1 + max(0, memories - 2) * int(predictor.memory_temporal_stride_for_eval) if memories > 0 else 0)

    @staticmethod
    def most_conditioning(prompted: int) -> int:
        """The prompted ones."""
        return prompted

    def role(self, frame: int, decoded: Decoded) -> Role:
        """Every frame is remembered."""
        return Role.RECENT

    def conditioning(self, frames: Sequence[int]) -> set[int]:
        """All, for good."""
        return set(frames)

    def recent(self, frame: int, first: int, frames: Sequence[int]) -> set[int]:
        """The last ones."""
        return {index for index in frames if index > frame - self._reach}

    def values(self) -> None:
        """Nothing is carried beside the memories."""

    def restore(self, values: Mapping[str, Any]) -> None:
        """There is nothing to take back."""


def positive(logits: Any) -> Array:
    """Where a tensor is above 0, bool on the host. There numpy takes a tenth of torch's time for it, or less."""
    found: Array = logits.numpy() > 0 if logits.device.type == "cpu" else (logits > 0).cpu().numpy()
    return found
