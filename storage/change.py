"""What other options make of a run that is there."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from storage.errors import RunDirectoryError
from storage.log import CommitLog
from storage.manifest import Manifest

SCRATCH = ".repair"  # where repairing works before it moves what proved right to its place
REDO = ".redo"  # windows made again that do not count yet


@dataclass(frozen=True)
class Change:
    """What other options make void.

    Attributes:
        manifest: what `run.json` says then.
        anew: nothing that the run wrote holds.
        of: the config digest of the run that it was found for; None: it holds for whatever lies there.
        void: by stage, the window from which on its commits are void; none: only the verdict is; None: nothing is void,
            the run may stay finished.
    """

    manifest: Manifest
    anew: bool = False
    of: str | None = None
    void: Mapping[str, int] | None = None

    @property
    def replaces(self) -> bool:
        """Whether it makes another run of it, which grows under `next/`."""
        return self.anew or self.void is not None

    @property
    def records(self) -> list[dict[str, Any]]:
        """What the new run's journal says behind the old one's."""
        void = self.void or {}
        found: list[dict[str, Any]] = []
        for window in sorted(set(void.values())) or [0]:
            # "redone": what is kept was looked at, and no window of it is tried again.
            kind = "redone" if window > 0 else "revoke"
            found.append({"kind": kind, "stages": [name for name in void if void[name] == window], "window": window})
        return [*found, {"kind": "config", "digest": self.manifest["config_digest"]}]

    def preview(self, log: CommitLog) -> CommitLog:
        """The log as it will be; the one given may be changed. Nothing on the disk is."""
        if self.anew:
            return CommitLog([])
        if self.void is not None:
            number = 1 + max((int(record["n"]) for record in log.commits.values()), default=0)
            for record in self.records:
                log.apply({**record, "n": number})
        return log


def check_identity(path: Path, manifest: Manifest, log: CommitLog) -> None:
    """Refuse a `run.json` that is whole and is not the one that the journal was written with.

    Raises:
        RunDirectoryError: when it is of another config.
    """
    digest = manifest.get("config_digest")
    if digest is None or log.config_digest in (None, digest):
        return
    raise RunDirectoryError(
        f"{path / 'run.json'} is of another config (digest {str(digest)[:12]}) than the journal was begun with "
        f"({log.config_digest[:12]}): put back the run.json that belongs to it, or start anew with --overwrite"
    )
