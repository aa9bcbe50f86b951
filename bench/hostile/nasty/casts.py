"""Scenes that are sound as text and odd in what they say."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from PIL import Image

from bench.hostile.nasty.looked import INPUT, WELL, call, not_begun, nothing_left, nth, tracked
from bench.hostile.trial import Trial
from storage.rundir import RunReader

USAGE = 2
Json = Any
BOARD: dict[str, Json] = {"name": "board", "kind": "object", "box": [30, 40, 55, 52]}
SKATER: dict[str, Json] = {"name": "skater", "kind": "person", "box": [25, 10, 60, 50]}


def cast(*subjects: Json, **more: Json) -> Json:
    """A whole scene."""
    return {"subject": list(subjects), **more}


def with_board(**changed: Json) -> Json:
    """A board with keys changed, and the skater."""
    return cast({**BOARD, **changed}, SKATER)


def named(first: str, second: str = "other") -> Json:
    """Two boards of these names."""
    return cast({**BOARD, "name": first}, {**BOARD, "name": second, "box": [60, 10, 80, 30]})


def crowd(count: int) -> Json:
    """So many boards at one place."""
    return cast(*({**BOARD, "name": f"b{index}"} for index in range(count)))


RESERVED = (
    "object", "person", "objects", "persons", "poses", "all", "both", "none", "iou", "masks", "frames", "times",
    "generated", "view", "con", "nul", "aux", "true", "null", "nan", "subject", "scene", "clip", "output", "report",
    "keypoints",
    "constructor", "toString", "index", "remove", "motion", "plate", "metrics", "amodal",
)  # fmt: skip
NAMES = (
    ("Board", "board"), ("board", "board"), ("b-a", "b_a"), ("b" * 32, "c"), ("b" * 33, "c"), ("", "c"), ("1b", "c"),
    ("b\u0430r", "bar"), ("caf\u00e9", "cafe\u0301"), ("..", "c"), ("a/b", "c"), ("b ", "b"), ("-b", "c"), ("b.c", "c"),
    ("{board}", "c"), ("b@2", "c"), ("b,c", "c"), ("b=c", "c"), ("\u202eb", "c"), ("board-person", "board"),
)  # fmt: skip
CORRECTION = {"frame": 2, "box": [30, 40, 55, 52]}
SCENES: dict[str, Json] = {
    "nobody": cast(),
    "no key at all": {},
    "a list": [BOARD],
    "sound": cast({**BOARD, "held_by": "skater"}, SKATER),
    "held by nobody there": with_board(held_by="ghost"),
    "held by itself": with_board(held_by="board"),
    "a person holds itself": cast(BOARD, {**SKATER, "held_by": "skater"}),
    "a person is held by a person": cast(SKATER, {**SKATER, "name": "b", "held_by": "skater"}),
    "a person is held by a board": cast(BOARD, {**SKATER, "held_by": "board"}),
    "held in a circle": cast({**BOARD, "held_by": "b"}, {**BOARD, "name": "b", "held_by": "board"}),
    "held by an empty name": with_board(held_by=""),
    "two boards of one": cast(
        {**BOARD, "held_by": "skater"}, {**BOARD, "name": "b", "held_by": "skater", "box": [60, 10, 80, 30]}, SKATER
    ),
    "gated persons alone": cast({**SKATER, "gate": True}),
    "persons alone": cast(SKATER),
    "nothing gated": with_board(gate=False),
    "removed with a reference": with_board(reskin="remove", reference="ref.png"),
    "removed with a prompt": with_board(reskin="remove", prompt="a log"),
    "removed and gated": with_board(reskin="remove", gate=True),
    "all removed": cast({**BOARD, "reskin": "remove"}, {**SKATER, "reskin": "remove"}),
    "all stay": cast({**BOARD, "reskin": False}, {**SKATER, "reskin": False}),
    "reskin as text": with_board(reskin="false"),
    "reskin as number": with_board(reskin=0),
    "gate as text": with_board(gate="yes"),
    "a reference that is not there": with_board(reference="absent.png"),
    "a reference that is the scene": with_board(reference="scene.json"),
    "references of two": cast({**BOARD, "reference": "ref.png"}, {**BOARD, "name": "b", "reference": "ref2.png"}),
    "widths of two": cast({**BOARD, "dilate": 2}, {**BOARD, "name": "b", "dilate": 4}),
    "a width below nothing": with_board(dilate=-1),
    "a width of a thousand": with_board(dilate=1000),
    "a width of a billion": with_board(dilate=10**9),
    "half a pixel wide": with_board(dilate=0.5),
    "true wide": with_board(dilate=True),
    "frame of a float": with_board(frame=1.0),
    "frame of the last": with_board(frame=4),
    "frame behind the last": with_board(frame=5),
    "frame below": with_board(frame=-1),
    "frame of 64 bits": with_board(frame=2**63),
    "frame of 70 bits": with_board(frame=2**70),
    "frame true": with_board(frame=True),
    "corrected before it is there": with_board(frame=3, corrections=[CORRECTION]),
    "corrected on its own frame": with_board(frame=2, corrections=[CORRECTION]),
    "corrected twice on a frame": with_board(corrections=[CORRECTION, {**CORRECTION, "box": [1, 1, 9, 9]}]),
    "corrected out of order": with_board(corrections=[{**CORRECTION, "frame": 4}, CORRECTION]),
    "corrected with nothing": with_board(corrections=[{"frame": 2}]),
    "corrected with two": with_board(corrections=[{**CORRECTION, "points": [[3, 3, 1]]}]),
    "corrected behind the last": with_board(corrections=[{**CORRECTION, "frame": 99}]),
    "corrected by a map": with_board(corrections={"2": [1, 1, 9, 9]}),
    "box and points": with_board(points=[[40, 45, 1]]),
    "box and mask": with_board(mask="ref.png"),
    "no place": cast({"name": "board", "kind": "object"}),
    "box of text": with_board(box=["30", "40", "55", "52"]),
    "box of nothing": with_board(box=[30, 40, 30, 40]),
    "box outside": with_board(box=[300, 400, 355, 452]),
    "box of null": with_board(box=None),
    "box of five": with_board(box=[1, 2, 3, 4, 5]),
    "points all off": cast({"name": "board", "kind": "object", "points": [[40, 45, 0]]}),
    "no points": cast({"name": "board", "kind": "object", "points": []}),
    "points of two numbers": cast({"name": "board", "kind": "object", "points": [[40, 45]]}),
    "find without a server": cast({"name": "board", "kind": "object", "find": "a board"}),
    "find and box": with_board(find="a board"),
    "find nothing": cast({"name": "board", "kind": "object", "find": ""}),
    "mask of elsewhere": cast({"name": "board", "kind": "object", "mask": "../../../etc/passwd"}),
    "mask that is the scene": cast({"name": "board", "kind": "object", "mask": "scene.json"}),
    "mask of a frame": cast({"name": "board", "kind": "object", "mask": "ref.png"}),
    "kind unknown": with_board(kind="skateboard"),
    "kind in capitals": with_board(kind="Object"),
    "kind missing": cast({"name": "board", "box": [1, 2, 30, 40]}),
    "a key too many": with_board(colour="red"),
    "a key in capitals": with_board(Prompt="red"),
    "one place, two kinds": cast(BOARD, {**SKATER, "box": BOARD["box"]}),
    "one place, ten boards": crowd(10),
    "two hundred": crowd(200),
    "cuts out of order": cast(BOARD, clip={"cuts": [4, 2]}),
    "cuts twice": cast(BOARD, clip={"cuts": [2, 2]}),
    "cut at nothing": cast(BOARD, clip={"cuts": [0]}),
    "cut behind": cast(BOARD, clip={"cuts": [5]}),
    "cut below": cast(BOARD, clip={"cuts": [-1]}),
    "cut far behind": cast(BOARD, clip={"cuts": [2**62]}),
    "cut every frame": cast(BOARD, clip={"cuts": [1, 2, 3, 4]}),
    "clip of another key": cast(BOARD, clip={"fps": 3}),
    "prompt of braces": with_board(prompt="{skater"),
    "prompt of a class": with_board(prompt="{board.__class__}"),
    "prompt of a megabyte": with_board(prompt="x" * (1 << 20)),
    "prompt of control": with_board(prompt="a\x1b[2Jb\x00c"),
    "prompt of a half letter": with_board(prompt="\ud800"),
    "prompt of nothing": with_board(prompt=""),
    "prompt of a number": with_board(prompt=3),
}
BYTES: dict[str, Callable[[str], bytes]] = {
    "UTF-16": lambda text: text.encode("utf-16"),
    "a mark in front": lambda text: b"\xef\xbb\xbf" + text.encode(),
    "Latin-1": lambda text: text.replace("board", "b\u00f6ard").encode("latin-1"),
    "a NUL behind": lambda text: text.encode() + b"\0",
    "carriage returns": lambda text: text.replace("\n", "\r").encode(),
    "twice": lambda text: (text + text).encode(),
    "a comment": lambda text: ("// scene\n" + text).encode(),
    "a comma too many": lambda text: text.replace("]", ",]").encode(),
    "NaN for a number": lambda text: text.replace("30", "NaN").encode(),
    "Infinity for a number": lambda text: text.replace("30", "1e999").encode(),
    "a name twice": lambda text: text.replace('"kind": ', '"name": "b2", "kind": ').encode(),
    "a name in escapes": lambda text: text.replace("board", "bo\\u0061rd").encode(),
    "cut short": lambda text: text[:-5].encode(),
    "nothing": lambda text: b"",
    "blanks": lambda text: b" \n\t",
    "brackets": lambda text: b"[" * 5000,
}
WORDS: tuple[list[str], ...] = (
    ["--box", "1,2,30,40"], ["--person-box", "1,2,30,40"], ["--swap", "ghost=a log"], ["--swap", "board"],
    ["--swap", "=x"], ["--swap", "board=", "--swap", "board=b"], ["--prompt", "{board} {ghost}"], ["--prompt", "{0}"],
    ["--prompt", "{"],
    ["--prompt", "{{board}}"], ["--prompt", "{board!r:>9999999}"], ["--passes", "each"], ["--reskin", "person"],
    ["--gate", "iou=0.5,contact"], ["--gate", "nothing"], ["--correct", "ghost@2:1,2,30,40"], ["--prompt-frame", "2"],
    ["--correct", "2:1,2,30,40"], ["--find", "board=a board"], ["--on-cut", "stop"],
    ["--passes", "each", "--continuity", "latent"],
)  # fmt: skip
ALL: tuple[tuple[str, Any], ...] = (
    *(("scene", name) for name in SCENES),
    *(("reserved", name) for name in RESERVED),
    *(("names", pair) for pair in NAMES),
    *(("bytes", name) for name in BYTES),
    *(("words", words) for words in WORDS),
)
LONG = {"two hundred": 240.0, "one place, ten boards": 120.0}


def attempt(trial: Trial, room: Path) -> None:
    """Odd scenes are refused with what is odd in them, or followed to the end and exported by name."""
    (kind, what), _ = nth(trial, ALL)
    for name in ("ref.png", "ref2.png"):
        Image.new("RGB", (96, 64), (200, 30, 30)).save(room / name)
    scene = SCENES[what] if kind == "scene" else SCENES["sound"]
    scene = named(what) if kind == "reserved" else named(*what) if kind == "names" else scene
    text = json.dumps(scene)
    file = room / "scene.json"
    file.write_bytes(BYTES[what](text) if kind == "bytes" else text.encode())
    words = list(what) if kind == "words" else []
    clip = str(trial.world.extracted.parent / "short" / "clip.mp4")
    command = "run" if kind == "words" or (kind == "scene" and trial.number % 4 == 0) else "extract"
    out = room / "out"
    ended = call(
        trial,
        [command, clip, "--out", str(out), "--scene", str(file), *words, *tracked(trial.world)],
        models=True,
        limit=LONG.get(what if isinstance(what, str) else "", 60.0),
    )
    trial.expect(ended.code in (*WELL, USAGE, INPUT, 4), f"ends with {ended.code}")
    if ended.code in WELL:
        _by_name(trial, room, out, [subject["name"] for subject in scene["subject"]])
    elif ended.code == USAGE:
        not_begun(trial, out)
    nothing_left(trial, room)


def _by_name(trial: Trial, room: Path, out: Path, names: list[str]) -> None:
    """Every subject has masks of its own, and so has the export."""
    run = RunReader(out)
    for name in names:
        trial.expect(run.arrays.frames(f"masks/{name}") == 5, f"{name} has no masks on every frame")
    if len(names) > 20:
        return
    ended = call(trial, ["export", str(out), "--to", str(room / "exported")], models=True)
    trial.expect(ended.code == 0, f"its export ends with {ended.code}")
    for name in names:
        count = len(list((room / "exported" / f"mask_{name}").glob("*.png")))
        trial.expect(count == 5, f"mask_{name} holds {count} pictures")
