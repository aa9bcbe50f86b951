"""`JOBS.toml`: many clips, and several looks of each.

[defaults]                what all jobs have, options of `skate run`
[[job]]                   a clip: name, video, and what it has otherwise
[[job.variation]]         another look of its tracking: name, and options of `skate generate`
"""

from collections.abc import Iterator, Mapping
from typing import Any

import click

from storage.errors import UsageError
from stream.batch.jobs import Job
from stream.cli.files import NEVER, first_keys, folder_name, parameters_of, read_toml, words_of
from stream.options.values import at_home

_NONE_OF = {  # by command: what belongs to a call by hand, or makes another thing of it
    "run": {*NEVER, "out", "overwrite", "write-scene"},
    "generate": {*NEVER, "out", "overwrite", "variations", "masks", "person-masks", "pose"},
}


def read_jobs(path: str, run: click.Command, generate: click.Command) -> list[Job]:
    """The jobs of a file, each look behind the job whose tracking it takes.

    Raises:
        InputError: when the file cannot be read, or is no TOML.
        UsageError: for a name that is no folder's or stands there twice, and for a key or a value that is none.
    """
    where = f"JOBS {path}"
    read = read_toml(where, path)
    defaults, tables = read.pop("defaults", {}), _tables(read.pop("job", None))
    if read or tables is None or not isinstance(defaults, dict):
        said = f"{where}{first_keys(read)}"
        raise UsageError(f"{said}: give tables [[job]], each with a name and a video, [defaults] or none, and no more")
    common = dict(_words(f"{where}, defaults", defaults, run))
    found: dict[str, Job] = {}
    for number, table in enumerate(tables, start=1):
        at = f"{where}, job {number}"
        looks, video = _tables(table.pop("variation", [])), table.pop("video", None)
        name = _name(at, table, found)
        if looks is None or not isinstance(video, str):
            raise UsageError(f"{at}: give a video as text, and its looks as tables [[job.variation]]")
        found[name] = Job(name, at_home(video), _joined({**common, **dict(_words(at, table, run))}))
        for second, look in enumerate(looks, start=1):
            here = f"{at}, variation {second}"
            own = _name(here, look, found, name)
            found[own] = Job(own, name, _joined(dict(_words(here, look, generate))), looks=True)
    return list(found.values())


def _tables(value: Any) -> list[dict[str, Any]] | None:
    is_list = isinstance(value, list) and all(isinstance(item, dict) for item in value)
    return value if is_list else None


def _name(where: str, table: dict[str, Any], found: Mapping[str, Job], job: str | None = None) -> str:
    name = folder_name(where, table, "" if job is None else f"{job}-")
    if name in found:
        raise UsageError(f"{where}: the name '{name}' is given twice")
    return name


def _words(where: str, table: Mapping[str, Any], command: click.Command) -> Iterator[tuple[str, list[str]]]:
    """By option its words."""
    parameters = parameters_of(command)
    for key, value in table.items():
        if key in _NONE_OF[str(command.name)] or key not in parameters:
            raise UsageError(f"{where}: '{key[:60]}' is no option that a job's `skate {command.name}` can have")
        yield key, words_of(where, key, parameters[key], value)


def _joined(words: Mapping[str, list[str]]) -> tuple[str, ...]:
    return tuple(word for each in words.values() for word in each)
