"""Whether a weight file is the one that is meant."""

from dataclasses import dataclass
from pathlib import Path

from stages.models.registry import expected_sha256, models_folder, path_of
from stages.models.table import ModelFile
from storage.durable import file_sha256


@dataclass(frozen=True)
class Verdict:
    """What `verify` found: "ok", "missing", "damaged" or "unverified" (no hash is known), and a line about it."""

    status: str
    detail: str

    @property
    def ok(self) -> bool:
        """Whether the file is there and its content is what it must be."""
        return self.status == "ok"


def verify(model: ModelFile, folder: Path | None = None) -> Verdict:
    """Read a model's file and compare it with the pinned or recorded sha256."""
    path = path_of(model, folder or models_folder())
    if not path.is_file():
        return Verdict("missing", str(path))
    found = path.stat().st_size
    if found == 0 or model.size_bytes not in (None, found):
        return Verdict("damaged", f"{path} has {found} bytes, {model.size_bytes or 'some'} expected")
    if model.packaged:
        return Verdict("ok", "part of the package")
    expected = expected_sha256(model, path)
    if expected is None:
        return Verdict(
            "unverified", f"no sha256 is known for {path}: `skate models fetch {model.name}` gets a checked one"
        )
    digest = file_sha256(path)
    if digest != expected:
        return Verdict("damaged", f"{path} has sha256 {digest}, expected {expected}")
    return Verdict("ok", "sha256 as pinned" if model.sha256 else "sha256 as recorded when it was fetched")
