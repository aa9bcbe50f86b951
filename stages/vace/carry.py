"""What `--continuity latent` carries from window to window: the name of a file that lies on the server."""

from dataclasses import dataclass
from typing import ClassVar

from stages.base import State, Window
from stages.server.latent import Carried, Latents
from stages.vace.continuity import TEMPORAL_STRIDE, latent_slots
from storage.errors import UsageError


@dataclass
class LatentState(State):
    """The latents of the window before; of none at first.

    Attributes:
        server, file: where they lie. start: the window's first frame. slots: how many there are.
    """

    version: ClassVar[int] = 1
    server: str = ""
    file: str = ""
    start: int = 0
    slots: int = 0

    def latents(self, window: Window, kept: int, length: int, server: str) -> Latents:
        """What the window takes over: the slots after the first that its kept frames fill, where its frames begin a
        whole number of slots after those of the window before; nothing else fits.

        Args:
            kept: frames at the window's start that are given as made already.
            length: frames of the generated window.
            server: where it is made.

        Raises:
            UsageError: the latents lie on another server.
        """
        slots = latent_slots(length)
        ahead, rest = divmod(window.read.start - self.start, TEMPORAL_STRIDE)
        count = (kept + TEMPORAL_STRIDE - 1) // TEMPORAL_STRIDE - 1  # of the slots i >= 1 with 4 i < kept
        if not self.file or rest or count < 1 or ahead + 1 + count > self.slots:
            return Latents(slots)
        if self.server != server:
            raise UsageError(
                f"--continuity latent: the latents of the window before window {window.index} lie on ComfyUI at "
                f"{self.server}, not at {server}: give --server {self.server}"
            )
        return Latents(slots, Carried(self.file, ahead + 1, count))
