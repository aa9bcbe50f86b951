"""What a number may be: checked in one place, refused in one form."""

from dataclasses import dataclass

from storage.errors import UsageError

_MOST_SHOWN = 40  # characters of a value in a message


@dataclass(frozen=True)
class Bounds:
    """From `low` to `high`; with `open` neither end is allowed. NaN never is. `example`: for who was refused."""

    low: float
    high: float
    open: bool = False
    example: str = ""

    def __str__(self) -> str:
        return f"{self.low:.12g}..{self.high:.20g}{', without its ends' if self.open else ''}"

    def __contains__(self, value: float) -> bool:
        return self.low < value < self.high if self.open else self.low <= value <= self.high

    def check(self, name: str, given: float | tuple[float, ...] | None) -> None:
        """Refuse a number, or one of several, that lies outside; None is not given.

        Raises:
            UsageError: with the name, the value and the bounds.
        """
        several = given if isinstance(given, tuple) else () if given is None else (given,)
        for value in several:
            self._check_one(name, value)

    def _check_one(self, name: str, value: float) -> None:
        if value not in self:
            shown = str(value) if isinstance(value, int) and abs(value) < 10**_MOST_SHOWN else f"{_real(value):g}"
            example = f": give for example {self.example}" if self.example else ""
            raise UsageError(f"{name} {shown} is outside {self}{example}")


def _real(value: float) -> float:
    try:
        return float(value)
    except OverflowError:
        return float("inf") if value > 0 else float("-inf")
