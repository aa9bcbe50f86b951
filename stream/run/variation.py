"""Another variation from a run that is tracked already: its masks and poses are reused, only generation is new."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

from stages.generators import GENERATORS, default_generator
from stages.region import REMOVE
from storage.address import BucketPath
from storage.backend import Backend, copy_objects, open_store
from storage.building import building, sweep
from storage.durable import fsync_folder, make_folder
from storage.errors import RunDirectoryError, UsageError
from storage.log import array_of
from storage.nearby import scratch_place
from storage.rundir import Manifest, RunDirectory, RunReader
from storage.verify import damaged_keys
from stream.engine.chain import Chain
from stream.engine.signals import Cancel
from stream.options.config import RunConfig
from stream.options.differences import differences
from stream.options.passes import changed
from stream.options.recorded import read_run
from stream.options.settings import check_words, resolve_generator
from stream.options.standing import standing
from stream.progress.events import Listener
from stream.report.result import Result
from stream.run.lifecycle import Extend, start
from stream.run.reconcile import kept_of


def generate_from_run(
    source: Path,
    out: Path,
    changes: dict[str, Any],
    overwrite: bool = False,
    listener: Listener | None = None,
    cancel: Cancel | None = None,
    extend: Extend | None = None,
) -> Result:
    """Generate the clip of the run in `source` anew into `out`; returns how it ended.

    Args:
        source: an extracted or finished run.
        out: the new run directory, or one of an earlier call to be continued.
        changes: options of generation by their `RunConfig` names.
        overwrite, listener, cancel, extend: as for `start`.

    Raises:
        RunDirectoryError: when `source` is not tracked to its end, or its input or models have changed since.
    """
    sweep(_place(out), out.name)
    _, tracked = read_run(source)
    reader = RunReader(source)
    config = varied(tracked, changes)
    return start(config, out, overwrite, listener, cancel, _Tracked(source, reader, out, config), extend)


class _Tracked:
    """The tracking of a run, as the beginning of another."""

    def __init__(self, source: Path, reader: RunReader, out: Path, config: RunConfig) -> None:
        self._source = source
        self._config = config
        self._reader = reader
        self._out = out

    def check(self, manifest: Manifest, chain: Chain) -> None:
        """Refuse a run that is not tracked to its end, or was with another input or other models."""
        found = differences(self._reader.manifest["decisive"], manifest["decisive"])
        earlier = [item for item in found if item.since in chain.tracking]
        if earlier:
            raise RunDirectoryError(
                f"{self._source} was tracked with another input or other models "
                f"({'; '.join(map(str, earlier))}): run anew"
            )
        _check_tracked(self._reader, chain)
        _check_reskin(self._reader, self._config)
        _check_empty(self._out)

    def keeps(self) -> Manifest:
        """How many threads tracking computed with: by another number a damaged state could not be made again."""
        return kept_of(self._reader.manifest)

    def copy(self, manifest: Manifest, chain: Chain, note: Callable[[str], None]) -> None:
        """Make the new run directory."""
        copy_tracking(self._reader, self._out, manifest, chain, note)


OF_THE_RECIPE: dict[str, Any] = {
    "profile": None,
    "model": (),
    "lora": (),
    "fill": None,
    "object_guide": None,
    "region": None,
    "pose_style": None,
}
"""Options that another recipe takes anew, and what stands for: its own."""


def varied(tracked: RunConfig, changes: dict[str, Any]) -> RunConfig:
    """The config of a variation, with generator and servers settled: what is not given stays as in the run.

    Raises:
        UsageError: when generator, server and retries contradict each other, or nothing says what to make.
    """
    given = standing(changes)
    if "swap" in given:  # of each subject its own: the others' stay too
        given["swap"] = tuple((dict(tracked.swap) | dict(given["swap"])).items())
    if given.get("generator") is None:
        removing = given.get("reskin", tracked.reskin) == REMOVE
        former = GENERATORS[tracked.generator]
        stays = not given.get("server") and (former.on_servers or former.removes == removing)
        given["generator"] = tracked.generator if stays else default_generator(bool(given.get("server")), removing)
    kind = GENERATORS.get(given["generator"])
    if kind is not None and kind.on_servers:
        given["server"] = given.get("server") or tracked.server
        same = tracked.generator == given["generator"] and given.get("workflow", tracked.workflow) == tracked.workflow
        own = ("reference", "workflow", "window", "overlap", "reskin")
        kept = {name: getattr(tracked, name) for name in own}
        plain = {name: getattr(tracked, name) if same else open for name, open in OF_THE_RECIPE.items()}
        given = kept | plain | given
    else:
        given["server"] = given.get("server", ())
        given.setdefault("retries", 0)
    resolve_generator(given)
    if tracked.amodal is not None:  # whoever completed what is hidden is asked again where that is damaged
        given["server"] = given["server"] or tracked.server
    config = dataclasses.replace(tracked, chain="run" if tracked.chain == "extract" else tracked.chain, **given)
    check_words(config)
    return config


def _check_tracked(reader: RunReader, chain: Chain) -> None:
    decoded = reader.log.of("decode")
    tracking = [name for name in chain.tracking if name in reader.manifest["nodes"]]
    ended = bool(decoded) and decoded[-1]["info"]["last"]
    complete = ended and all(reader.log.done(name) == len(decoded) for name in tracking)
    if not complete:
        raise RunDirectoryError(f"{reader.path} is not tracked to its end: `skate resume {reader.path}` first")
    tracked = [task for task in reader.log.commits if task[0] in tracking]
    keys = damaged_keys(reader.store.below("run.zarr"), reader.log, tracked)
    wrong = sorted(key for key in keys if array_of(key) != "frames")  # these are decoded again
    if wrong:
        raise RunDirectoryError(
            f"{reader.store.where(f'run.zarr/{wrong[0]}')} is missing or is not what was committed"
            f"{f' ({len(wrong) - 1} more)' if len(wrong) > 1 else ''}: `skate resume {reader.path}` repairs it"
        )


def _check_empty(out: Path) -> None:
    if isinstance(out, BucketPath):
        open_store(out).check_ours()
    elif out.exists() and any(out.iterdir()):
        raise RunDirectoryError(f"{out} is not empty and is no run directory: choose another --out")


def _check_reskin(reader: RunReader, config: RunConfig) -> None:
    """Refuse to regenerate what is to be seen on no frame.

    Raises:
        UsageError: when nothing is left to regenerate.
    """
    frames = int(reader.log.of("decode")[-1]["span"][1])
    names = [subject.name for subject, _ in changed(config)]
    if not any(reader.arrays.read(f"visible/{name}", 0, frames).any() for name in names):
        what = f"neither {' nor '.join(names)} was" if len(names) > 1 else f"the {names[0]} was not"
        raise UsageError(
            f"--reskin {config.reskin}: {what} found on any frame of {reader.path}, so nothing is left to regenerate: "
            "choose another --reskin, or track it anew"
        )


def copy_tracking(reader: RunReader, out: Path, manifest: Manifest, chain: Chain, note: Callable[[str], None]) -> None:
    """Make `out` a run directory in which all that comes before generation is done; whole or not at all.

    Args:
        note: told when another process's hold of `out` has to run out first.

    Raises:
        RunDirectoryError: when `out` is there and is not empty.
    """
    _check_empty(out)
    place = _place(out)
    make_folder(place)
    with building(place, out.name) as begun:
        keys = _begin(reader, begun, manifest, chain)
        if isinstance(out, BucketPath):
            _fill(reader, open_store(begun), keys, open_store(out), note)
            return
        with reader.standing():
            copy_objects(reader.store, open_store(begun), keys)
        if out.exists():
            out.rmdir()
        begun.replace(out)
        fsync_folder(place)


def _place(out: Path) -> Path:
    """Where what is to be `out` is put together."""
    return scratch_place() if isinstance(out, BucketPath) else out.absolute().parent


def _begin(reader: RunReader, begun: Path, manifest: Manifest, chain: Chain) -> list[str]:
    """Make a run directory with the records of tracking; returns the keys of what they speak of."""
    frames = int(reader.log.of("decode")[-1]["span"][1])
    video = manifest["video"]
    with RunDirectory(begun, chain.layout(video["height"], video["width"]), manifest) as run:
        if reader.log.kept_since is not None:
            run.keep_all()
        run.drop(("frames",), frames)
        for stage in chain.tracking:
            for record in reader.log.of(stage):
                run.adopt(record)
        writers = run.log.writers.items()
        kept = [key for key, task in writers if not reader.log.is_forgotten(task, key) and array_of(key) != "frames"]
    return [f"run.zarr/{key}" for key in kept]


def _fill(reader: RunReader, begun: Backend, keys: list[str], store: Backend, note: Callable[[str], None]) -> None:
    """Bring a run that was begun elsewhere, and what its records speak of, to a bucket; it counts all at once."""
    with store.lock(note):
        try:
            with reader.standing():
                copy_objects(reader.store, store, keys)
            copy_objects(begun, store, [key for key in begun.keys("") if key != ".lock"])
        except BaseException:
            store.delete_all("")
            raise
