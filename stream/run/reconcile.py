"""What is in a run's directory against what is asked for now. Nothing on the disk changes here."""

from pathlib import Path

from storage.backend import open_store
from storage.change import Change, check_identity
from storage.errors import RunDirectoryError
from storage.journal import JOURNAL
from storage.next import NEXT, finish_switch, pending
from storage.rundir import CommitLog, Manifest, ManifestDamaged, is_run, read_log, read_manifest
from storage.verify import journal_gone
from stream.engine.chain import Chain
from stream.engine.reach import void_from, with_dropped
from stream.engine.windows import committed_windows
from stream.options.config import FINISH
from stream.options.differences import Difference, differences
from stream.options.recorded import read_run
from stream.run.trouble import OURS


def reconcile(out: Path, manifest: Manifest, overwrite: bool, chain: Chain) -> tuple[Manifest, Change | None, Path]:
    """The manifest that the run goes on with, what `--overwrite` makes void, and where the run is.

    Args:
        manifest: of what is asked for.
        overwrite: whether what other options make void may be done again.
        chain: of what is asked for.

    Raises:
        RunDirectoryError: when `out` holds something else, and `overwrite` is not given or does not help.
    """
    place = place_of(out)
    if place != out:  # an `--overwrite` that has begun: gone on with by the same options, given up by any others
        begun = _begun(place, manifest, overwrite)
        if begun is not None:
            return begun, None, place
    found, change = _compare(out, manifest, overwrite, chain)
    replaces = change is not None and change.replaces
    return found, change if replaces else None, out / NEXT if replaces else out


def _begun(place: Path, manifest: Manifest, overwrite: bool) -> Manifest | None:
    """The manifest that the run goes on with which has begun under `next/`; None: it is of other options, or it is
    damaged, and `overwrite` begins it once more."""
    try:
        begun, _ = read_run(place)
        if overwrite and not _sound(place, begun):
            return None
    except ManifestDamaged:
        same = not overwrite and read_log(place).config_digest == manifest["config_digest"]
        return manifest if same else None
    except RunDirectoryError:
        if not overwrite:
            raise
        return None
    same = not differences(begun["decisive"], manifest["decisive"]) and same_stages(begun, manifest)
    return {**begun, "config": manifest["config"]} if same else None


def place_of(out: Path) -> Path:
    """Where the run goes on that was asked for last: under `next/` where an `--overwrite` has begun."""
    finish_switch(out)
    return out / NEXT if pending(out) else out


def refuse_overwrite(out: Path) -> None:
    """Refuse what only the run itself can have done to it, while another one is to take its place.

    Raises:
        RunDirectoryError: with what ends that.
    """
    if place_of(out) != out:
        raise RunDirectoryError(
            f"{out}: an --overwrite is under way: `skate resume {out}` finishes it, the old options take it back"
        )


def _compare(out: Path, manifest: Manifest, overwrite: bool, chain: Chain) -> tuple[Manifest, Change | None]:
    try:
        old, _ = read_run(out)
    except ManifestDamaged:
        return manifest, _without_manifest(out, manifest, overwrite)
    except RunDirectoryError:
        if not overwrite:
            raise
        return manifest, Change(manifest, anew=True)
    found = differences(old["decisive"], manifest["decisive"])
    if not overwrite:
        refuse(out, found)
    elif not _sound(out, old):
        return manifest, Change(manifest, anew=True)
    if overwrite and not found and not same_stages(old, manifest):
        return manifest, Change(manifest, anew=True)
    if not found:
        same = {**old, "config": manifest["config"]}  # another path of the same input, servers, retries, ...
        return same, None
    void = made_void(found, chain, read_log(out))
    if chain.source.name in void:
        return manifest, Change(manifest, anew=True)
    gone = {name: 0 for name in old["nodes"] if name not in chain}
    manifest = {**manifest, **kept_of(old)}
    return manifest, Change(manifest, of=old["config_digest"], void=void | gone)


def kept_of(old: Manifest) -> Manifest:
    """What a run that begins with another's work keeps of its manifest: it computes with as many threads, or what is
    read again of that work would come out with other bytes than recorded. A run of an older version says nothing."""
    return {"threads": old["threads"]} if "threads" in old else {}


def made_void(found: list[Difference], chain: Chain, log: CommitLog) -> dict[str, int]:
    """By node, from which window on its work is void with these differences, in the chain's order.

    With other corrections it is the one in which the first of their frames is tracked; a `skate redo` that is under way
    is of all windows, and so is all else that is void then.
    """
    windows = committed_windows(log, chain.source.name)
    whole = _all_void({item.since for item in found if item.frame is None or log.redo is not None}, chain)
    void = dict.fromkeys(whole, 0)
    for item in found:
        if item.frame is None or log.redo is not None:
            continue
        frame = item.frame
        first = next((window.index for window in windows if frame < window.new.stop), len(windows))
        changed = {node.name: first for node in chain if node.stage.name == item.since}
        for name, window in void_from(chain, windows, changed).items():
            void[name] = min(window, void.get(name, window))
    void = with_dropped(chain, void, log.dropped)
    return {name: void[name] for name in chain.names if name in void}


def _all_void(changed: set[str], chain: Chain) -> tuple[str, ...]:
    """The nodes whose work is void from the first window on when stages of these names give other results, in order.

    Of a stage that this chain lacks (there is no view any more) the generators and all behind them.
    """
    found = {node.name for node in chain if node.stage.name in changed}
    if changed - {node.stage.name for node in chain} - {FINISH}:
        found |= set(chain.making)
    known = set[str]()
    while known != found:  # also by what is read of the window before: a generator goes on from its last frames
        known = set(found)
        found |= {name for node in known for name in chain.behind(node)}
        found |= {node.name for node in chain if any(chain.writer(array) in known for array, _ in node.reads)}
    return tuple(name for name in chain.names if name in found)


def refuse(out: Path, found: list[Difference]) -> None:
    """Refuse options that the run was not begun with.

    Raises:
        RunDirectoryError: with old and new value of each.
    """
    if found:
        raise RunDirectoryError(
            f"{out} holds a run with another config or input ({'; '.join(map(str, found))}): choose another --out, "
            "or --overwrite to do again what depends on it"
        )


def check_nodes(out: Path, manifest: Manifest, chain: Chain) -> None:
    """Refuse to go on with a chain of other stages than the run was begun with.

    Raises:
        RunDirectoryError: with both.
    """
    if manifest["nodes"] != list(chain.names):
        raise RunDirectoryError(
            f"{out} was begun with the stages {', '.join(manifest['nodes'])}, this chain has {', '.join(chain.names)}: "
            "go on with the program that added or lacks them, or start anew with --overwrite"
        )
    was, now = manifest.get("own", []), own_stages(chain)
    if "own" in manifest and was != now:
        raise RunDirectoryError(
            f"{out} was begun with a caller's own stage as {', '.join(was) or 'none'}, this chain has one as "
            f"{', '.join(now) or 'none'}: go on with the program that put it there, or start anew with --overwrite"
        )


def own_stages(chain: Chain) -> list[str]:
    """The nodes whose stages are a caller's: no package of this program has their class."""
    stages = {node.name: getattr(node.stage, "inner", node.stage) for node in chain}  # a generator behind a view
    return [name for name, stage in stages.items() if type(stage).__module__.partition(".")[0] not in OURS]


def same_stages(one: Manifest, other: Manifest) -> bool:
    """Whether two runs were begun with the same nodes, and the same of them a caller's own, where that is known."""
    known = "own" in one and "own" in other
    return one["nodes"] == other["nodes"] and (not known or one["own"] == other["own"])


def read_log_of(place: Path, out: Path, change: Change | None = None) -> CommitLog:
    """The commits that hold where the run goes on, or will hold once what is void has been left out."""
    if change is None:
        return read_log(place)
    return CommitLog([]) if change.anew else change.preview(read_log(out))


def log_replaced(place: Path, out: Path) -> CommitLog | None:
    """The commits of the run in `out` that the one in `place` is to replace; None: they are the same run, or the
    journal of the one in `out` is damaged."""
    if place == out:
        return None
    try:
        return read_log(out)
    except RunDirectoryError:
        return None


def _sound(out: Path, manifest: Manifest) -> bool:
    """Whether the journal can be read and belongs to `run.json`: if not, there is nothing to keep of the run."""
    try:
        log = read_log(out)
        check_identity(out, manifest, log)
    except RunDirectoryError:
        return False
    return not journal_gone(open_store(out), log)


def _without_manifest(out: Path, manifest: Manifest, overwrite: bool) -> Change | None:
    """`run.json` is missing or damaged: the journal knows whether it was of this config."""
    if not is_run(out) and open_store(out).size(JOURNAL) is None:
        open_store(out).check_ours()
        return None
    if overwrite:
        return Change(manifest, anew=True)
    digest = read_log(out).config_digest
    if digest is not None and digest == manifest["config_digest"]:
        return None
    if digest is not None:
        raise RunDirectoryError(
            f"{out}/run.json is missing or damaged, and the run was begun with other options (config digest "
            f"{digest[:12]}, now {manifest['config_digest'][:12]}): give those, or start anew with --overwrite"
        )
    read_manifest(out)  # says what is wrong with it
    return None
