"""Every command given what another one left, in a place where something else belongs."""

import shutil
from pathlib import Path

from bench.hostile.nasty.looked import call, nothing_left, nth, tracked, untouched
from bench.hostile.trial import Trial
from bench.hostile.world import digests

LOOKS = '[[variation]]\nname = "one"\nseed = 3\n\n[[variation]]\nname = "two"\nseed = 4\n'
JOBS = '[[job]]\nname = "one"\nvideo = "{video}"\nbox = [{box}]\n'
THINGS = (
    "run", "run/run.json", "run/journal.jsonl", "run/output.mp4", "run/report", "run/report/summary.json",
    "run/report/index.html", "run/report/iou.csv", "run/report/iou.png", "run/run.zarr", "run/run.zarr/zarr.json",
    "run/segments", "run/.lock", "export", "export/tracking_metadata.json", "export/pose.json", "export/mask.mp4",
    "export/mask_skateboard", "export/pose_skater", "export/pose_json", "export/mask_skateboard/frame_00000.png",
    "looks", "looks/one", "looks/one/output.mp4", "looks.toml", "jobs.toml", "clip.mp4", "board.toml", "scene.toml",
    "record.json", "weights", "weights.yaml", "nothing", "empty",
)  # fmt: skip
ROLES: dict[str, list[str]] = {
    "run VIDEO": ["run", "X", "--out", "OUT", "BOX", "MODELS"],
    "run --scene": ["run", "CLIP", "--out", "OUT", "--scene", "X", "MODELS"],
    "run --config": ["run", "CLIP", "--out", "OUT", "--config", "X", "MODELS"],
    "run --object-mask": ["run", "CLIP", "--out", "OUT", "--object-mask", "X", "MODELS"],
    "run --workflow": ["run", "CLIP", "--out", "OUT", "BOX", "--server", "127.0.0.1:9", "--workflow", "X", "MODELS"],
    "run --reference": ["run", "CLIP", "--out", "OUT", "BOX", "--reference", "X", "MODELS"],
    "run --cuts": ["run", "CLIP", "--out", "OUT", "BOX", "--cuts", "X", "MODELS"],
    "run --sam": ["run", "CLIP", "--out", "OUT", "BOX", "--sam", "X", "--pose", "mini"],
    "run --detector": ["extract", "CLIP", "--out", "OUT", "BOX", "MODELS", "--detector", "X"],
    "run --pose": ["extract", "CLIP", "--out", "OUT", "BOX", "MODELS", "--pose", "X"],
    "run --correct": ["extract", "CLIP", "--out", "OUT", "BOX", "MODELS", "--correct", "2:X"],
    "run --out": ["run", "CLIP", "--out", "X", "BOX", "MODELS"],
    "run --out --overwrite": ["run", "CLIP", "--out", "X", "BOX", "--seed", "8", "--overwrite", "MODELS"],
    "demo --out": ["demo", "--out", "X", "--frames", "5", "--clip-size", "96x64"],
    "resume": ["resume", "X"],
    "status": ["status", "X"],
    "status --verify": ["status", "X", "--verify"],
    "report": ["report", "X"],
    "redo": ["redo", "X", "--windows", "0", "--cancel"],
    "evaluate": ["evaluate", "X", "--quiet"],
    "evaluate --metadata": ["evaluate", "--metadata", "X", "--generated", "RUN/output.mp4"],
    "evaluate --generated": ["evaluate", "--metadata", "EXPORT/tracking_metadata.json", "--generated", "X"],
    "evaluate --original": ["evaluate", "--original", "X", "--generated", "RUN/output.mp4", "--sam", "mini"],
    "export": ["export", "X", "--to", "OUT"],
    "export --to": ["export", "RUN", "--to", "X"],
    "frame": ["frame", "X", "--to", "OUT.png"],
    "frame --to": ["frame", "CLIP", "--to", "X"],
    "generate RUN": ["generate", "X", "--out", "OUT", "--seed", "3"],
    "generate --out": ["generate", "RUN", "--out", "X", "--seed", "3"],
    "generate --variations": ["generate", "RUN", "--variations", "X", "--out", "OUT"],
    "generate --masks": ["generate", "CLIP", "--masks", "X", "--pose", "EXPORT/pose.json", "--out", "OUT", "MODELS"],
    "generate --pose": ["generate", "CLIP", "--masks", "EXPORT/mask_skateboard", "--pose", "X", "--out", "OUT",
    "MODELS"],
    "analyse": ["analyse", "X", "--to", "OUT.toml"],
    "analyse --to": ["analyse", "CLIP", "--to", "X"],
    "batch run": ["batch", "run", "X", "--out", "OUT"],
    "batch status": ["batch", "status", "X"],
    "batch plan": ["batch", "plan", "X", "--out", "OUT"],
    "batch plan --calibration": ["batch", "plan", "JOBS", "--calibration", "X"],
    "batch --out": ["batch", "run", "JOBS", "--out", "X"],
    "workflows show": ["workflows", "show", "X"],
    "run --write-config": ["run", "CLIP", "--out", "OUT", "BOX", "--write-config", "X", "MODELS"],
    "run --write-scene": ["run", "CLIP", "--out", "OUT", "BOX", "--write-scene", "X", "MODELS"],
}  # fmt: skip
MAY_WRITE = {
    "report": ("run", "looks/one"), "resume": ("run", "looks/one"), "redo": ("run", "looks/one"),
    "batch status": ("looks",), "export --to": ("export", "empty"), "generate --out": ("run", "looks/one", "empty"),
    "run --out": ("run", "looks/one", "empty"), "run --out --overwrite": ("run", "looks/one", "empty"),
    "demo --out": ("empty",), "batch --out": ("looks", "run", "export", "empty"), "frame --to": ("run/report/iou.png",
    "export/mask_skateboard/frame_00000.png"),
    "analyse --to": ("nothing",),
    "run --write-config": ("board.toml",), "run --write-scene": ("scene.toml",), "evaluate": ("run", "looks/one"),
    "status": ("looks",), "batch run": (), "generate RUN": (),
}  # fmt: skip
PAIRS = tuple((role, thing) for role in ROLES for thing in THINGS)


def attempt(trial: Trial, room: Path) -> None:
    """It is taken where it fits, and otherwise refused; nothing that lay there is changed."""
    (role, thing), _ = nth(trial, PAIRS)
    things = room / "things"
    shutil.copytree(_things(trial), things, symlinks=True)
    before = digests(things)
    given = things / thing
    out = room / "out"
    names = {
        "X": str(given), "OUT": str(out), "CLIP": str(things / "clip.mp4"), "RUN": str(things / "run"),
        "EXPORT": str(things / "export"), "JOBS": str(things / "jobs.toml"), "OUT.png": f"{out}.png",
        "OUT.toml": f"{out}.toml",
    }  # fmt: skip
    words: list[str] = []
    for word in ROLES[role]:
        if word in ("MODELS", "BOX"):
            words += tracked(trial.world) if word == "MODELS" else ["--box", trial.world.box]
            continue
        stem, _, rest = word.partition("/")
        words.append(
            f"2:{given}" if word == "2:X" else names[stem] + (f"/{rest}" if rest else "") if stem in names else word
        )
    ended = call(trial, words, models=True, limit=90.0)
    trial.expect(ended.code in (0, 1, 2, 3, 4, 5, 6), f"{role} of {thing} ends with {ended.code}")
    if not (ended.code in (0, 1) and thing in MAY_WRITE.get(role, ())):
        writes = role.endswith(("--out", "--to", "--write-config", "--write-scene"))
        untouched(trial, things, _without_locks(before, digests(things)), more=writes)
    nothing_left(trial, room)


def _without_locks(before: dict[str, str], now: dict[str, str]) -> dict[str, str]:
    """An empty lock file that was not there is no change."""
    return before | {name: digest for name, digest in now.items() if name.endswith(".lock") and name not in before}


def _things(trial: Trial) -> Path:
    """Made once: what all commands leave."""
    world, folder = trial.world, trial.world.folder / "things"
    if "things" in world.done:
        return folder
    world.done.add("things")
    folder.mkdir()
    world.copied(world.finished, folder / "run")
    shutil.copytree(world.exported, folder / "export")
    shutil.copy(world.case.video, folder / "clip.mp4")
    (folder / "looks.toml").write_text(LOOKS)
    (folder / "jobs.toml").write_text(JOBS.format(video=folder / "clip.mp4", box=world.box))
    (folder / "board.toml").write_text(f'box = "{world.box}"\n')
    (folder / "scene.toml").write_text('[[subject]]\nname = "board"\nkind = "object"\nbox = [34, 49, 53, 53]\n')
    shutil.copy(Path(__file__).resolve().parents[2] / "records" / "chaos.json", folder / "record.json")
    words = list(world.models)
    shutil.copy(words[1], folder / "weights")
    shutil.copy(words[3], folder / "weights.yaml")
    (folder / "empty").mkdir()
    made = ["generate", str(folder / "run"), "--variations", str(folder / "looks.toml"), "--out", str(folder / "looks")]
    world.well(made)
    return folder
