"""What has to be closed on every way out."""

from typing import Self


class Closing:
    """A context manager that closes at its end; `close` may be called twice."""

    def close(self) -> None:
        """Release what is held."""
        raise NotImplementedError

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()
