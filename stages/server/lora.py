"""A LoRA by its file's name on the server."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Lora:
    """A LoRA: its file in the server's `models/loras`, and how strongly it counts."""

    file: str
    strength: float = 1.0

    def __str__(self) -> str:
        return f"{self.file}:{self.strength:g}"
