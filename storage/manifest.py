"""`run.json`: what a run was begun with. It carries its own digest, so that a damaged or edited one is recognised."""

import hashlib
import json
from pathlib import Path
from typing import Any

from storage.backend import open_store
from storage.errors import RunDirectoryError

FORMAT_VERSION = 2
MANIFEST = "run.json"
MAX_BYTES = 1 << 24
MAX_SIDE = (
    32768  # pixels; frames are refused by --max-pixels long before: this bounds what a foreign run.json can ask for
)
MAX_PIXELS = 1 << 28

Manifest = dict[str, Any]

_DIGEST = "manifest_digest"


class ManifestDamaged(RunDirectoryError):
    """`run.json` is missing or not what was written (the journal may still be whole)."""


def is_run(path: Path) -> bool:
    """Whether there is a run in `path`; it may be damaged."""
    return open_store(path).size(MANIFEST) is not None


def read_manifest(path: Path) -> Manifest:
    """`run.json` of a run directory.

    Raises:
        ManifestDamaged: when it is missing, unreadable or altered.
        RunDirectoryError: when it is of another format version.
    """
    file = path / MANIFEST
    try:
        manifest = json.loads(open_store(path).read(MANIFEST, MAX_BYTES).decode())
        intact = isinstance(manifest, dict) and manifest.get(_DIGEST) == _digest(manifest)
    except FileNotFoundError as error:
        raise ManifestDamaged(f"{path} is no run directory: it has no run.json") from error
    except (OSError, ValueError, RecursionError) as error:  # nested too deeply for the parser
        raise ManifestDamaged(f"{file} cannot be read ({error}): {_REMEDY}") from error
    found = manifest.get("format") if isinstance(manifest, dict) else None
    if intact:
        if found == FORMAT_VERSION:
            _check_video(file, manifest.get("video"))
            return dict(manifest)
    elif found == FORMAT_VERSION or not isinstance(found, int):
        raise ManifestDamaged(f"{file} is damaged or was altered: {_REMEDY}")
    raise RunDirectoryError(
        f"{file} has format {found}, this program reads {FORMAT_VERSION}: use the version that made it, "
        "or start anew with --overwrite"
    )


_REMEDY = "give `skate run` with the options it was begun with, which writes it again, or start anew with --overwrite"


def write_manifest(path: Path, manifest: Manifest) -> Manifest:
    """Write `run.json`, durable and whole; returns it with its digest."""
    signed = {key: value for key, value in manifest.items() if key != _DIGEST}
    signed[_DIGEST] = _digest(signed)
    store = open_store(path)
    store.write(MANIFEST, [json.dumps(signed, indent=2, sort_keys=True).encode() + b"\n"])
    store.flush()
    return signed


def _digest(manifest: Manifest) -> str:
    values = {key: value for key, value in manifest.items() if key != _DIGEST}
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def _check_video(file: Path, video: Any) -> None:
    if video is None:
        return
    sides = [video.get("width"), video.get("height")] if isinstance(video, dict) else []
    whole = [side for side in sides if isinstance(side, int) and 1 <= side <= MAX_SIDE]
    if len(whole) != 2 or whole[0] * whole[1] > MAX_PIXELS:
        raise RunDirectoryError(
            f"{file}: its frames of {'x'.join(map(str, sides)) or 'no size'} are nothing that this program wrote: "
            "start anew with --overwrite"
        )
