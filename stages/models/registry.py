"""Finding weight files: by name in the models folder, packaged, or by path. Imports nothing heavy."""

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path

from stages.models.table import DEFAULTS, KINDS, MODELS, Archive, Kind, ModelFile
from storage.boundary import MB
from storage.durable import file_sha256
from storage.errors import EnvironmentFault, UsageError

__all__ = ["DEFAULTS", "KINDS", "MODELS", "Archive", "FileState", "Kind", "ModelFile", "Resolved"]
__all__ += ["expected_sha256", "find", "models_folder", "named", "names", "path_of", "resolve", "state_of"]

MODELS_VARIABLE = "SKATE_MODELS"
MOST_WEIGHTS_BYTES = 32 * 2**30  # of one file; the largest here has 0.9 GB
RECORDED_SUFFIX = ".sha256"  # beside a file: the hash recorded when it was fetched, in sha256sum's format


@dataclass(frozen=True)
class Resolved:
    """A model that is there.

    Attributes:
        kind, name: as asked for; a path's name is the path as given.
        path: the weights on disk.
        config_path: the complete YAML (SAM only).
        sha256: what the file's content must have; None where nobody knows (a path of the user's own).
        input_size: (width, height), pixels; None where the file itself has to be asked.
    """

    kind: Kind
    name: str
    path: Path
    config_path: Path | None
    sha256: str | None
    input_size: tuple[int, int] | None


def models_folder() -> Path:
    """`$SKATE_MODELS`, else `models` in the platform's cache folder of this program. Not created here."""
    given = os.environ.get(MODELS_VARIABLE)
    if given:
        return Path(given).expanduser().absolute()
    import platformdirs

    return Path(platformdirs.user_cache_dir("skate-physics-preserver", appauthor=False)) / "models"


def names(kind: Kind) -> list[str]:
    """The names of a kind, in the table's order."""
    return [model.name for model in MODELS if model.kind == kind]


def find(kind: Kind, name: str) -> ModelFile | None:
    """The model of that kind and name, or None."""
    return next((model for model in MODELS if model.kind == kind and model.name == name), None)


def named(wanted: Iterable[str]) -> list[ModelFile]:
    """The models of the given names (`mini` gives three), in the order given, each once.

    Raises:
        UsageError: for an unknown name, listing the known ones.
    """
    found: list[ModelFile] = []
    for name in wanted:
        matching = [model for model in MODELS if model.name == name]
        if not matching:
            known = ", ".join(dict.fromkeys(model.name for model in MODELS))
            raise UsageError(f"no model is called '{name}': known are {known}")
        found.extend(model for model in matching if model not in found)
    return found


def path_of(model: ModelFile, folder: Path | None = None) -> Path:
    """Where the file lies, or has to be put."""
    if model.packaged:
        return packaged(model.file_name)
    return (folder or models_folder()) / model.file_name


def packaged(name: str) -> Path:
    """A file of this package by its relative path. The package is installed unzipped, so it has a path."""
    return Path(str(files(__package__).joinpath(*name.split("/"))))


def recorded_path(path: Path) -> Path:
    """The file beside a model's that holds the hash recorded when it was fetched."""
    return path.with_name(path.name + RECORDED_SUFFIX)


def recorded_sha256(path: Path) -> str | None:
    """The hash recorded for a model's file; None where there is no record, or one that holds no sha256."""
    record = recorded_path(path)
    text = record.read_text(encoding="ascii", errors="replace").split() if record.is_file() else []
    return text[0].lower() if text and re.fullmatch("[0-9a-fA-F]{64}", text[0]) else None


def expected_sha256(model: ModelFile, path: Path) -> str | None:
    """The pinned hash, else the recorded one, else None."""
    return model.sha256 or recorded_sha256(path)


def check_length(model: ModelFile, path: Path) -> None:
    """Refuse a file that is shorter or longer than it must be: cheap, so done before every run.

    Raises:
        EnvironmentFault: with both lengths.
    """
    found = path.stat().st_size
    if found == 0 or (model.size_bytes is not None and found != model.size_bytes):
        wanted = f"it must have {model.size_bytes}" if model.size_bytes else "it must not be empty"
        remedy = "reinstall the package" if model.packaged else f"run `skate models fetch {model.name}`"
        raise EnvironmentFault(f"{model.kind} model {path} is damaged: it has {found} bytes, {wanted}; {remedy}")


def missing(model: ModelFile, path: Path) -> EnvironmentFault:
    """The one line about weights that are not there."""
    if model.packaged:
        return EnvironmentFault(f"{model.kind} model mini is not in this installation ({path}): reinstall the package")
    archive = f" ({model.archive.member} inside, renamed)" if model.archive else ""
    return EnvironmentFault(
        f"{model.kind} model '{model.name}': {model.file_name} is not there: run `skate models fetch {model.name}`, "
        f"or download {model.url}{archive} and put it at {path}"
    )


def looks_like_path(text: str) -> bool:
    """Whether an option's value means a file rather than a name: it has a separator, a suffix, or exists."""
    return "/" in text or os.sep in text or bool(Path(text).suffix) or Path(text).is_file()


def resolve(kind: Kind, name_or_path: str, config: str | Path | None = None) -> Resolved:
    """Find a model's files by name or path. Reads nothing of them but their length.

    Args:
        kind: "sam", "pose" or "detector".
        name_or_path: a name of the table, or the path of a file.
        config: the YAML given with `--sam-config`; SAM only. A path without it takes the packaged config where the file
            is named as Meta's, else the YAML of the same name beside it.

    Raises:
        UsageError: for an unknown name, or a SAM checkpoint whose config is not known.
        EnvironmentFault: for a file that is not there or has another length than it must.
    """
    config_path = Path(config).expanduser() if config is not None else None
    if config_path is not None and not config_path.is_file():
        raise EnvironmentFault(
            f"--sam-config {config_path} does not exist: bring it back, or give the YAML made for the checkpoint"
        )
    if config_path is not None:
        _check_config(config_path)
    model = find(kind, name_or_path)
    if model is not None:
        path = path_of(model)
        if not path.is_file():
            raise missing(model, path)
        check_length(model, path)
        own_config = packaged(model.config) if model.config else None
        sha256 = expected_sha256(model, path)
        return Resolved(kind, model.name, path, config_path or own_config, sha256, model.input_size)
    if not looks_like_path(name_or_path):
        raise UsageError(
            f"--{kind} {name_or_path}: no {kind} model has that name, and no such file exists; "
            f"known are {', '.join(names(kind))}"
        )
    path = Path(name_or_path).expanduser()
    if not path.is_file():
        raise EnvironmentFault(
            f"--{kind} {path} does not exist: bring it back, or give another file or a name ({', '.join(names(kind))})"
        )
    if path.stat().st_size > MOST_WEIGHTS_BYTES:
        raise EnvironmentFault(
            f"--{kind} {path} has {path.stat().st_size} bytes, no {kind} model is larger than {MOST_WEIGHTS_BYTES}: "
            "give the file of its weights"
        )
    if kind == "sam" and config_path is None:
        config_path = _config_beside(path)
        _check_config(config_path)
    return Resolved(kind, name_or_path, path, config_path, None, None)


def _check_config(path: Path) -> None:
    """Before it is hashed."""
    if path.stat().st_size > MB:
        raise EnvironmentFault(
            f"--sam-config {path} has {path.stat().st_size} bytes, a config has a few thousand: give the YAML made for "
            "the checkpoint"
        )


@cache
def content_sha256(path: Path) -> str:
    """Of a model's file; read once in a process."""
    return file_sha256(path)


def check_content(model: Resolved) -> Resolved:
    """Refuse a model whose file is not the one that is meant; returns it.

    Raises:
        EnvironmentFault: with both digests.
    """
    if model.sha256 is not None and content_sha256(model.path) != model.sha256:
        raise EnvironmentFault(
            f"{model.kind} model {model.path} is damaged: its sha256 is {content_sha256(model.path)}, not "
            f"{model.sha256}: run `skate models fetch {model.name}` again"
        )
    return model


def _config_beside(path: Path) -> Path:
    """The config of a SAM checkpoint given by path alone."""
    for model in MODELS:
        if model.kind == "sam" and not model.packaged and model.file_name == path.name and model.config:
            return packaged(model.config)
    beside = path.with_suffix(".yaml")
    if beside.is_file():
        return beside
    raise UsageError(f"--sam {path} needs --sam-config YAML: the complete config that the checkpoint was made with")


@dataclass(frozen=True)
class FileState:
    """What is on disk for one model.

    Attributes:
        path: where it lies, or would.
        present: whether it is there (with the length it must have, where that is known).
        size_bytes: of the file on disk, else as the table says, else None.
        sha256: what its content must have: pinned, recorded, or (packaged) computed; else None.
        hash_state: "pinned", "recorded" (when it was fetched), "archive" (only that of the zip it comes in is pinned),
            "packaged" or "unknown".
    """

    path: Path
    present: bool
    size_bytes: int | None
    sha256: str | None
    hash_state: str


def state_of(model: ModelFile, folder: Path | None = None) -> FileState:
    """Look at one model's file without reading it (packaged ones are small and are hashed)."""
    path = path_of(model, folder)
    found = path.stat().st_size if path.is_file() else None
    present = bool(found) and model.size_bytes in (None, found)
    size = found if present else model.size_bytes
    if model.packaged:
        return FileState(path, present, size, file_sha256(path) if present else None, "packaged")
    sha256 = expected_sha256(model, path)
    if model.sha256:
        hash_state = "pinned"
    elif sha256:
        hash_state = "recorded"
    else:
        hash_state = "archive" if model.archive and model.archive.sha256 else "unknown"
    return FileState(path, present, size, sha256, hash_state)
