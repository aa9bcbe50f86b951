"""`skate models fetch --for RECIPE --comfy DIR`: what a recipe needs, into a ComfyUI's folders."""

import json
from pathlib import Path

from stages.models.registry import expected_sha256, recorded_path
from stages.models.table import ModelFile
from storage.errors import EnvironmentFault, InputError, Interrupted
from storage.sizes import format_size
from stream.cli.say import say


def fetch_for(recipe: str, comfy: Path, profiles: tuple[str, ...], mirror: str | None, as_json: bool) -> int:
    """Fetch every file that is not there; returns the exit code.

    Raises:
        UsageError: no recipe has that name. InputError: the folder is no ComfyUI's.
        EnvironmentFault: a file of that name is there and is another one, or cannot be had.
    """
    from stages.models.fetch import address, fetch
    from stages.models.verify import verify
    from stages.recipes.files import server_files
    from stages.recipes.registry import RECIPES

    files = server_files(recipe, profiles)
    folder = comfy / "models"
    if not folder.is_dir():
        raise InputError(f"--comfy {comfy}: has no folder `models`: give the folder that ComfyUI's main.py lies in")
    try:
        for file in files:
            fetched, found = False, verify(file, folder)
            if found.status == "damaged":
                raise EnvironmentFault(f"{found.detail}: not the file that {recipe} needs: move it away, then again")
            if found.status == "missing":
                if not as_json:
                    say(f"{file.name}: {address(str(file.url), mirror)}", err=True)
                fetched = fetch(file, folder, mirror)[1]
            _tell(file, folder, fetched, found.status, as_json)
    except KeyboardInterrupt as error:
        raise Interrupted("interrupted: what has arrived is kept, the same command continues") from error
    packages = RECIPES[recipe].packages if recipe in RECIPES else ()
    if packages and not as_json:
        say(f"{recipe} also needs the custom nodes of {', '.join(packages)}", err=True)
    return 0


def _tell(file: ModelFile, folder: Path, fetched: bool, status: str, as_json: bool) -> None:
    path = folder / file.file_name
    if as_json:
        row = {"name": file.name, "path": str(path), "bytes": path.stat().st_size}
        row |= {"sha256": expected_sha256(file, path), "pinned": file.sha256 is not None}
        row |= {"url": file.url, "licence": file.licence}
        say(json.dumps({"event": "fetched", "fetched": fetched, **row}))
        return
    checked = ""
    if file.sha256 is None:
        known = recorded_path(path).name if fetched or status == "ok" else ""
        said = f"{'recorded in' if fetched else 'as in'} {known}" if known else "not checked"
        checked = f", {said}: nobody states its sha256"
    where = "fetched to" if fetched else "already there:"
    say(f"{file.name}: {where} {path} ({format_size(path.stat().st_size)}{checked})")
