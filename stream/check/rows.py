"""One line of `skate check`."""

from dataclasses import asdict, dataclass
from typing import Any

from storage.errors import SkateError


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Attributes:
        name: what was looked at.
        ok: whether it is there and works.
        detail: what was found.
        remedy: what to do when it is not ok.
        needed: whether the given options need it; what is not ok and not needed is shown without failing the check.
    """

    name: str
    ok: bool
    detail: str
    remedy: str = ""
    needed: bool = True

    def to_json(self) -> dict[str, Any]:
        """The JSON object of `skate check --json`."""
        return {"event": "check", **asdict(self), "remedy": "" if self.ok else self.remedy}


def line_of(error: BaseException) -> str:
    """The error's text as one line."""
    text = " ".join(str(error).split())
    return text if isinstance(error, SkateError) else f"{type(error).__name__}: {text}"[:300]
