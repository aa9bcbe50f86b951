"""A second set, made when the first was clean, of what the first does not try: sound words that contradict each other,
odd surroundings, names, and run directories whose checksums are right and whose content is not."""

import os
import resource
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from _crash import differing

from bench.hostile import odd
from bench.hostile.directories import continued, exported, held
from bench.hostile.trial import Trial
from bench.hostile.world import FRAMES, SIZE, WELL, digests
from storage.journal import decode_line, encode_line
from storage.manifest import read_manifest, write_manifest

# Each alone is a value of its option.
SOUND: dict[str, tuple[str, ...]] = {
    "--box": ("0,0,96,64", "0,0,1,1", "95,63,96,64", "0,0,97,65", "-5,-5,20,20", "500,500,600,600", "0.1,0.1,0.2,0.2"),
    "--point": ("0,0", "95.9,63.9", "96,64", "40,20,0", "-1,-1", "1e8,1e8"),
    "--prompt-frame": ("0", "3", str(FRAMES - 1), str(FRAMES), "999999999"),
    "--correct": ("3:0,0,96,64", "6:+1,1", "7:1,1,5,5", "0:1,1,5,5", "person@3:1,1,9,9", "nobody@3:1,1,9,9"),
    "--person-box": ("0,0,96,64", "90,60,200,200"),
    "--scene": ("/dev/null", "."),
    "--write-scene": ("none/of/these/x.toml", "x.txt"),
    "--find": ("board=a board", "object=a board"),
    "--swap": ("object=a stone", "nobody=a stone"),
    "--passes": ("each", "together"),
    "--view": ("full", "follow", "0,0,96,64", "0,0,2,2", "90,60,200,200"),
    "--stabilise": ("1", "off", "100000"),
    "--deflicker": ("0", "1", "0.99", "1.01"),
    "--track-view": ("follow", "full"),
    "--reskin": ("person", "remove", "object"),
    "--dilate": ("0", "512", "0,0", "5000"),
    "--region": ("box", "hull"),
    "--fill": ("plate", "white"),
    "--generator": ("preview", "plate", "comfyui"),
    "--workflow": ("void", "scail2", "sam3-detect", "/dev/null", "nothing"),
    "--profile": ("fast", "quality"),
    "--size": ("16x16", "96x64", "97x65", "8192x8192", "16x8192"),
    "--steps": ("0", "1", "100000"),
    "--cfg": ("0", "-1", "1e308"),
    "--timeout": ("0", "1e-300", "1e300"),
    "--window": ("1", "5", "9", "4097", "80"),
    "--overlap": ("0", "1", "4", "40"),
    "--continuity": ("blend", "latent", "tail"),
    "--retries": ("0", "100", "1000000"),
    "--iou-threshold": ("0", "1", "1.0000001", "-0.0"),
    "--gate": ("iou", "iou=1", "contact", "foot_slide", "iou,contact,nothing"),
    "--memory": ("distractor-aware",),
    "--pose-style": ("vace", "wan-animate"),
    "--detect-every": ("1", "7", "1000000"),
    "--vram": ("1KB", "900TB"),
    "--ram": ("1KB", "900TB"),
    "--share-gpu": ("yes", "no"),
    "--ahead": ("0", "1", "99"),
    "--state-device": ("cuda", "cpu"),
    "--fps": ("0.001", "12.5", "1000", "24"),
    "--work-height": ("16", "32", "64", "4096"),
    "--on-cut": ("ignore", "stop", "reset"),
    "--max-bad-frames": ("0", "1000000000"),
    "--max-pixels": ("1", "6143", "6144"),
    "--keep": ("frames", "all"),
}
FLAGS = ("--match-grain", "--foot-lock", "--comparison", "--sam-compile", "--overwrite", "--json", "--baselines")


def contradictions(trial: Trial, room: Path) -> None:
    """Three to eight sound options at once, of a run that is there or of a new one."""
    rng = trial.rng
    words: list[str] = []
    for name in rng.sample(sorted(SOUND), rng.randint(3, 8)):
        words += [name, rng.choice(SOUND[name])]
    words += rng.sample(FLAGS, rng.choice((0, 0, 1, 2)))
    command = rng.choice(("run", "run", "extract", "generate", "evaluate"))
    there = trial.world.copied(trial.world.finished, room / "run")
    begin = [str(trial.world.case.video), "--out", str(there if rng.random() < 0.8 else room / "new")]
    begin = begin if command in ("run", "extract") else [str(there), "--out", str(room / "new")]
    if command == "evaluate":
        begin = [str(there)]
    before = digests(there / "run.zarr")
    ended = trial.skate([command, *begin, *trial.world.models, "--device", "cpu", *words], models=True)
    if ended.code not in WELL and command != "evaluate":
        trial.expect(digests(there / "run.zarr") == before, "a refused command changed a finished run")


def surroundings(trial: Trial, room: Path) -> None:
    """Odd variables, a folder that is gone, few open files, a small file size, in front of a plain command."""
    rng = trial.rng
    run = trial.world.copied(trial.world.finished, room / "run")
    (room / "file").write_text("x")
    names = rng.sample(sorted(VARIABLES), rng.choice((1, 1, 2, 4)))
    variables = {name: rng.choice(VARIABLES[name]).replace("ROOM", str(room)) for name in names}
    given: dict[str, Any] = {"variables": variables, "gone": str(room / "gone") if rng.random() < 0.2 else None}
    if rng.random() < 0.2:
        given["limits"] = rng.choice(({"RLIMIT_NOFILE": 12}, {"RLIMIT_FSIZE": 3000}, {"RLIMIT_CORE": 0}))
    trial.notes.append(str(given))
    words = rng.choice(
        (
            ["status", str(run), "--verify"],
            ["export", str(run), "--to", str(room / "to")],
            ["models", "list"],
            ["workflows", "list"],
            ["frame", str(trial.world.case.video), "--at", "1", "--to", str(room / "a.png")],
            ["resume", str(run)],
            ["run", str(trial.world.case.video), "--out", str(run), *trial.world.case.options, "--seed", "4"],
        )
    )
    trial.skate(words, models=words[0] in ("run", "resume"), hook=("bench.hostile.second:surround", given))
    told = trial.skate(["status", str(run), "--verify"])
    trial.expect(told.code == 0, f"damaged afterwards: {told.output}")


VARIABLES: dict[str, tuple[str, ...]] = {
    "COLUMNS": ("0", "-5", "abc", "1", "99999999999999999999"),
    "LINES": ("0", "x"),
    "TERM": ("", "dumb", "x" * 500),
    "LANG": ("C", "tr_TR.UTF-8", "xx"),
    "LC_ALL": ("C", "POSIX", "\x1b[2J"),
    "HOME": ("", "ROOM/none", "ROOM/file", "/dev/null"),
    "XDG_CACHE_HOME": ("ROOM/file", "/proc", "", "relative"),
    "SKATE_MODELS": ("ROOM/file", "ROOM/none", "", "/dev/null"),
    "TMPDIR": ("ROOM/none", "ROOM/file", "/proc"),
    "HTTP_PROXY": ("x", "http://[::1", "\x7f"),
    "AWS_REGION": ("", "\x1b"),
    "AWS_ENDPOINT_URL": ("x", "http://[", "http://127.0.0.1:9"),
    "SKATE_FAULT": ("", "#", "no.such.point", "a#b", "a#99999999999999999999"),
    "SKATE_TRACEBACK": ("0", ""),
    "OMP_NUM_THREADS": ("abc", "0", "-1", "99999"),
    "TZ": ("x/y", ":/etc/passwd"),
    "MPLCONFIGDIR": ("ROOM/file", "/proc"),
    "NO_COLOR": ("1",),
}


def surround(variables: Mapping[str, str], gone: str | None, limits: Mapping[str, int] | None = None) -> None:
    """In the forked child."""
    os.environ.update(variables)
    if gone is not None:
        Path(gone).mkdir()
        os.chdir(gone)
        Path(gone).rmdir()
    for name, value in (limits or {}).items():
        resource.setrlimit(getattr(resource, name), (value, value))


def names(trial: Trial, room: Path) -> None:
    """A clip and a folder of any name that a file system holds."""
    rng = trial.rng
    letters = [chr(number) for number in (*range(1, 47), *range(48, 128), *range(0xDC80, 0xDC90))] + [
        "é",
        "😀",
        "\u202e",
    ]
    name = "".join(rng.choice(letters) for _ in range(rng.choice((1, 2, 8, 60)))).strip(".") or "x"
    video, run = room / f"{name}.mp4", room / rng.choice((f"{name}-run", f"-{name}", f"{name} "))
    video.symlink_to(trial.world.case.video)
    trial.world.copied(trial.world.finished, run)
    words = rng.choice(
        (
            ["frame", str(video), "--at", "1", "--to", str(room / f"{name}.png")],
            ["status", str(run)],
            ["export", str(run), "--to", str(room / f"{name}to")],
            ["run", str(video), "--out", str(run), *trial.world.case.options],
            ["resume", str(run)],
            ["analyse", str(room / f"{name}.none"), "--to", str(room / f"{name}.toml")],
        )
    )
    trial.skate(words, models=words[0] in ("run", "resume"))


def forged(trial: Trial, room: Path) -> None:
    """A journal or a `run.json` that somebody changed, with checksums that are right."""
    rng = trial.rng
    name = rng.choice(("finished", "unfinished"))
    run = trial.world.copied(trial.world.runs()[name], room / "run")
    if rng.random() < 0.6:
        lines = (run / "journal.jsonl").read_bytes().splitlines()
        for at in rng.sample(range(len(lines)), rng.choice((1, 1, 2, 5))):
            record = decode_line(lines[at])
            assert record is not None
            lines[at] = encode_line(odd.bent_tree(record, rng)).rstrip()
        (run / "journal.jsonl").write_bytes(b"\n".join(lines) + b"\n")
    else:
        write_manifest(run, odd.bent_tree(read_manifest(run), rng))
    how = rng.random()
    if how < 0.3:
        trial.skate(["status", str(run), *(["--verify"] if rng.random() < 0.5 else [])])
    elif how < 0.5:
        trial.skate(["export", str(run), "--to", str(room / "to")])
    elif how < 0.7:
        trial.skate([rng.choice(("report", "evaluate")), str(run)], models=True)
    else:
        trial.skate([rng.choice(("resume", "redo")), str(run)], models=True)


def older(trial: Trial, room: Path) -> None:
    """A file of another run of the same clip, or of an earlier moment of this one, each sound in itself."""
    rng, world = trial.rng, trial.world
    run = world.copied(world.finished, room / "run")
    other = rng.choice((world.unfinished, world.kept, world.growing, world.growing / "next"))
    files = sorted(str(path.relative_to(other)) for path in other.rglob("*") if path.is_file() and path.name != ".lock")
    for file in rng.sample(files, rng.choice((1, 1, 3, 20))):
        (run / file).parent.mkdir(parents=True, exist_ok=True)
        (run / file).write_bytes((other / file).read_bytes())
        trial.notes.append(file)
    if rng.random() < 0.6:
        ended = trial.skate(["export", str(run), "--to", str(room / "to")])
        if ended.code == 0:
            found, wanted = digests(room / "to"), exported(world, "finished")
            same = not any(file in ("run.json", "journal.jsonl") for file in trial.notes)
            trial.expect(found == wanted or not same, f"other bytes exported: {differing(found, wanted)[:4]}")
    else:
        ended = trial.skate(["resume", str(run)], models=True)
        whole = not any(file.endswith(("run.json", "journal.jsonl")) for file in trial.notes)
        if ended.code in WELL and whole:
            found, wanted = held(run), continued(world, "finished")
            trial.expect(found == wanted, f"resumed to other bytes: {differing(found, wanted)[:4]}")


def sizes(trial: Trial, room: Path) -> None:
    """A clip of any small size, from one pixel on."""
    import cv2
    import numpy as np

    rng = trial.rng
    width, height = rng.choice((1, 2, 3, 17, SIZE[0], 500)), rng.choice((1, 2, 5, 16, SIZE[1]))
    video = room / "clip.avi"
    writer = cv2.VideoWriter(
        str(video), cv2.VideoWriter.fourcc(*"FFV1"), rng.choice((1.0, 24.0, 240.0)), (width, height)
    )
    noise = np.random.default_rng(rng.randrange(10**9))
    for _ in range(rng.choice((1, 2, 6))):
        writer.write(noise.integers(0, 255, (height, width, 3), np.uint8))
    writer.release()
    box = ("--box", f"0,0,{width},{height}")
    words = [
        "run",
        str(video),
        "--out",
        str(room / "run"),
        *box,
        *trial.world.models,
        "--window",
        "5",
        "--overlap",
        "2",
    ]
    if rng.random() < 0.5:
        words = ["frame", str(video), "--at", "0", "--to", str(room / "a.png")]
    trial.skate([*words, *(["--device", "cpu"] if words[0] == "run" else [])], models=True)
