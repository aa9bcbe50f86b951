"""What `run.json` says about a run, checked: it may come from another version, a damaged disk, or somebody else."""

from pathlib import Path
from typing import Any

from storage.errors import RunDirectoryError, UsageError
from storage.rundir import Manifest, read_manifest
from stream.options.config import CHAIN, FINISH, RunConfig

_MANIFEST_KEYS = {"config_digest": str, "video": dict, "versions": dict}


def read_run(out: Path) -> tuple[Manifest, RunConfig]:
    """The manifest and the config of the run in `out`.

    Raises:
        RunDirectoryError: when there is no run, or what is there is none that this program wrote.
    """
    manifest = read_manifest(out)
    for key, kind in _MANIFEST_KEYS.items():
        if not isinstance(manifest.get(key), kind):
            raise _foreign(out, key, manifest.get(key))
    decisive = manifest.get("decisive")
    if not isinstance(decisive, dict) or not all(map(_is_decisive, decisive.values())):
        raise _foreign(out, "decisive", decisive)
    try:
        return manifest, RunConfig.from_json(manifest["config"])
    except (KeyError, TypeError, ValueError, AttributeError, UsageError) as error:
        raise _foreign(out, "config", f"{type(error).__name__}: {error}") from error


def _is_decisive(entry: Any) -> bool:
    return isinstance(entry, list) and len(entry) == 2 and entry[0] in (*CHAIN, FINISH)


def _foreign(out: Path, key: str, value: Any) -> RunDirectoryError:
    return RunDirectoryError(
        f"{out / 'run.json'}: its '{key}' is none that this program wrote ({str(value)[:80]}): "
        "start anew with --overwrite"
    )
