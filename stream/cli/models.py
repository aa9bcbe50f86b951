"""`skate models`: list, fetch, verify."""

import json
from pathlib import Path
from typing import Any

import click

from stages.choices import PROFILES
from storage.errors import EnvironmentFault, Interrupted, UsageError
from stream.cli.options import JSON, GroupedCommand, option, stack
from stream.cli.say import say, say_text
from stream.options.values import choice


@click.group("models")
def models() -> None:
    """The weight files: which there are, where they lie, fetching and checking them.

    They lie in $SKATE_MODELS, else in the platform's cache folder. `mini` ships with the package. Licences and the
    sources of the hashes are in docs/models.md.
    """


@models.command("list", cls=GroupedCommand, short_help="Every model, its size and licence, and whether it is there.")
@stack([option("output", "--long", is_flag=True, help="With addresses, full paths and hashes."), JSON])
def list_command(long: bool, as_json: bool) -> int:
    """Every model with its kind, size, licence, and whether it is there. * marks the defaults.

    hash: pinned = known before any download; archive = known of the zip it comes in; recorded = noted when fetched.
    """
    from stages.models.registry import DEFAULTS, MODELS, models_folder, state_of
    from storage.sizes import format_size
    from stream.report.tables import text_table

    if as_json:
        for model in MODELS:
            say(json.dumps(_row(model)))
        return 0
    rows = []
    for model in MODELS:
        state = state_of(model)
        size = format_size(state.size_bytes) if state.size_bytes else "?"
        name = model.name + ("*" if DEFAULTS[model.kind] == model.name else "")
        present = "yes" if state.present else "no"
        rows.append([name, model.kind, size, model.licence, present, state.hash_state, state.path.name])
    say(f"models folder: {models_folder()}   (get one: skate models fetch NAME)", "")
    say_text(text_table(["name", "kind", "size", "licence", "present", "hash", "file"], rows))
    for model in MODELS if long else ():
        row = _row(model)
        told = [f"{model.name} ({model.kind})", row["url"], row["path"], f"sha256 {row['sha256'] or 'unknown'}"]
        say("", told[0], *(f"  {line}" for line in told[1:]))
    return 0


def _row(model: Any) -> dict[str, Any]:
    """The JSON object of one model; the keys are fixed."""
    from stages.models.registry import packaged, state_of

    state = state_of(model)
    return {
        "name": model.name,
        "kind": model.kind,
        "path": str(state.path),
        "config": str(packaged(model.config)) if model.config else None,
        "present": state.present,
        "bytes": state.size_bytes,
        "sha256": state.sha256,
        "url": model.url or f"package:stages/models/{model.file_name}",
        "licence": model.licence,
    }


@models.command("fetch", cls=GroupedCommand, short_help="Download models, continue partial downloads, check them.")
@click.argument("name", nargs=-1)
@stack(
    [
        option("options", "--all", "everything", is_flag=True, help="Every model of the list (about 2.6 GB)."),
        option("options", "--mirror", metavar="URL", help="http(s) folder that holds the same file names."),
        option("server", "--for", "recipe", metavar="WORKFLOW", help="What this recipe needs on a ComfyUI server."),
        option("server", "--comfy", metavar="DIR", help="That ComfyUI's folder."),
        option("server", "--profile", type=choice(*PROFILES), help="With the LoRAs of this profile."),
        JSON,
    ]
)
def fetch_command(
    name: tuple[str, ...],
    everything: bool,
    mirror: str | None,
    recipe: str | None,
    comfy: str | None,
    profile: str | None,
    as_json: bool,
) -> int:
    """Download the models called NAME, continue where an earlier download stopped, and check them.

    Proxies are taken from HTTPS_PROXY and HTTP_PROXY. Without a NAME nothing is fetched: the defaults are small,
    dwpose-l-384 and yolox-m. With --for and --comfy the files go into a ComfyUI's folders.
    """
    if recipe is not None or comfy is not None or profile is not None:
        if recipe is None or comfy is None or name or everything:
            raise UsageError("give --for WORKFLOW and --comfy DIR together, without a NAME or --all")
        from stream.cli.fetch_for import fetch_for

        return fetch_for(recipe, Path(comfy), () if profile is None else (profile,), mirror, as_json)
    from stages.models.fetch import address, fetch
    from stages.models.registry import MODELS, named

    if everything == bool(name):
        raise UsageError("give the NAME of at least one model, or --all (`skate models list` shows them)")
    try:
        for model in MODELS if everything else named(name):
            if not as_json and model.url is not None:
                say(f"{model.name}: {address(model.url, mirror)}", err=True)
            path, fetched = fetch(model, mirror=mirror)
            if as_json:
                say(json.dumps({"event": "fetched", "fetched": fetched, **_row(model)}))
            else:
                say(f"{model.name}: {'fetched to' if fetched else 'already there:'} {path}")
    except KeyboardInterrupt as error:
        raise Interrupted("interrupted: what has arrived is kept, the same command continues") from error
    return 0


@models.command("verify", cls=GroupedCommand, short_help="Compare the files that are there with their sha256.")
@click.argument("name", nargs=-1)
@stack([JSON])
def verify_command(name: tuple[str, ...], as_json: bool) -> int:
    """Read the models called NAME (default: all that are there) and compare them with their sha256.

    Exit 4 if one is missing, differs, or has no hash to compare with.
    """
    from stages.models.registry import MODELS, named, path_of
    from stages.models.verify import verify

    chosen = named(name) if name else [model for model in MODELS if path_of(model).is_file()]
    bad = []
    for model in chosen:
        verdict = verify(model)
        if as_json:
            say(json.dumps({"event": "verified", "status": verdict.status, "detail": verdict.detail, **_row(model)}))
        else:
            say(f"{model.name} ({model.kind}): {verdict.status}: {verdict.detail}")
        if not verdict.ok:
            bad.append(model.name)
    if bad:
        raise EnvironmentFault(
            f"{len(bad)} of {len(chosen)} models are not as they must be ({', '.join(bad)}): "
            f"run `skate models fetch {' '.join(bad)}`"
        )
    return 0
