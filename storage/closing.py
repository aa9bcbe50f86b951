"""What has to be closed on every way out."""

from abc import ABC, abstractmethod
from typing import Self


class Closing(ABC):
    """A context manager that closes at its end; `close` may be called twice."""

    @abstractmethod
    def close(self) -> None:
        """Release what is held."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()
