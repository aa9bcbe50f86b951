"""Subjects that a text finds (`--find NAME=TEXT`): a ComfyUI server is asked for their masks while a run begins, on the
prompt frame and behind cuts, and a scene is made of the answers.

    clip --prompt frame, first frames of later shots--> server: SAM 3 --masks--> scene in OUT/input/found --> tracker

What a server answered once stays: the same command again asks nothing, whatever another server would say.
"""

import dataclasses
import json
import logging
import threading
from collections.abc import Iterator, Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import cv2

from stages.base import Array
from stages.decode import DecodeConfig, DecodeStage
from stages.picture import mask_box
from stages.prompts import Correction, ObjectPrompt
from stages.subjects import NAME, OBJECT, PERSON, Reskin, Subject, gated_by_kind
from storage.boundary import read_input
from storage.durable import file_sha256, write_atomic
from storage.errors import InputError, UsageError
from storage.spans import Span
from stream.options.scene import Cast, read_scene, write_scene

logger = logging.getLogger("skate.comfyui")

GRAPH = "sam3-detect"
FOLDER, SCENE, ASKED = "found", "scene.toml", "asked.json"
AT_ONCE = 8  # frames decoded at a time


@dataclasses.dataclass(frozen=True)
class Wanted:
    """What is looked for.

    Attributes:
        texts: by name. frame: on which all of them are pointed at. behind_cuts: whether they are looked for again on
            the first frame of every later shot. decode: of the clip. scene: a scene file with further subjects.
    """

    texts: Mapping[str, str]
    frame: int
    behind_cuts: bool
    decode: DecodeConfig
    scene: Path | None

    def __post_init__(self) -> None:
        for name, text in self.texts.items():
            if not NAME.fullmatch(name):
                raise UsageError(f"--find {name[:40]}: is no name of a subject: a-z, 0-9, - and _, a letter first")
            if not text.strip():
                raise UsageError(f"--find {name}: say what it is, e.g. --find {name}=skateboard")

    def to_json(self) -> dict[str, Any]:
        """What decides the answer."""
        decode, scene = self.decode, None
        if self.scene is not None:
            scene = sha256(read_input(self.scene, f"--scene {self.scene}")).hexdigest()
        return {
            "texts": dict(self.texts), "frame": self.frame, "behind_cuts": self.behind_cuts,
            "video": file_sha256(decode.path), "fps": decode.fps, "hdr": decode.hdr,
            "cuts": None if decode.cuts is None else list(decode.cuts),
            "scene": scene,
        }  # fmt: skip


def found_scene(wanted: Wanted, servers: Sequence[str], out: Path) -> Path:
    """The scene file of what a server finds, in the run directory; asked once.

    Raises:
        UsageError: no server is given. GeneratorError: it failed.
        InputError: the server lacks what it takes, or finds nothing on the prompt frame.
    """
    if not servers:
        raise UsageError("--find asks a ComfyUI server: give --server HOST:PORT")
    folder = out / "input" / FOLDER
    asked = json.dumps(wanted.to_json(), sort_keys=True)
    note, scene = folder / ASKED, folder / SCENE
    if note.is_file() and scene.is_file() and note.read_text(encoding="utf-8") == asked:
        return scene
    base = Cast(()) if wanted.scene is None else read_scene(wanted.scene)
    found = _asked(wanted, servers[0], folder)
    write_scene(scene, _with(base, found), "--find")
    write_atomic(note, asked.encode())  # last: whoever is interrupted before asks again
    return scene


def _asked(wanted: Wanted, server: str, folder: Path) -> dict[str, tuple[ObjectPrompt, tuple[Correction, ...]]]:
    """Where each is: its mask on the prompt frame, and the box around its mask behind cuts."""
    from stages.recipes.registry import graph_file
    from stages.server.address import parse_server
    from stages.server.client import ComfyClient, Timeouts
    from stages.server.find import Finder

    client = ComfyClient(parse_server(server), Timeouts(), threading.Event())
    prompts: dict[str, ObjectPrompt] = {}
    later: dict[str, list[Correction]] = {name: [] for name in wanted.texts}
    try:
        finder = Finder(client, graph_file(GRAPH))
        for frame, picture in _shown(wanted):
            for name, text in wanted.texts.items():
                mask = finder.mask(picture, text)
                if name not in prompts:
                    prompts[name] = _prompt(name, text, frame, mask, folder)
                elif mask.any():
                    later[name].append(Correction(frame, mask_box(mask)))
                else:
                    logger.warning("--find %s: nothing like '%s' behind the cut at frame %d", name, text, frame)
    finally:
        client.close()
    if not prompts:
        raise InputError(f"--prompt-frame {wanted.frame} is past the end of {wanted.decode.path}")
    return {name: (prompts[name], tuple(later[name])) for name in wanted.texts}


def _prompt(name: str, text: str, frame: int, mask: Array, folder: Path) -> ObjectPrompt:
    """The mask as a prompt, kept as a file.

    Raises:
        InputError: when it is empty.
    """
    if not mask.any():
        raise InputError(
            f"--find {name}: nothing like '{text}' is found on frame {frame}: choose another --prompt-frame, or say it "
            "otherwise"
        )
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.png"
    write_atomic(path, cv2.imencode(".png", mask.astype("uint8") * 255)[1].tobytes())
    return ObjectPrompt(frame, mask_png=str(path.resolve()), mask_digest=file_sha256(path))


def _shown(wanted: Wanted) -> Iterator[tuple[int, Array]]:
    """The frames that the server is shown: the prompt frame, and the first of every later shot."""
    decode = DecodeStage(wanted.decode)
    try:
        decode.open()
        first, shot_start = 0, 0
        while True:
            found = decode.next(Span(first, first + AT_ONCE), shot_start)
            stop = first + len(found.times)
            for frame in range(first, stop):
                if frame == wanted.frame or (frame == shot_start > wanted.frame):
                    yield frame, found.frames[frame - first]
            if found.last or (stop > wanted.frame and not wanted.behind_cuts):
                return
            shot_start = stop if found.cut else shot_start
            first = stop
    finally:
        decode.close()


def _with(base: Cast, found: Mapping[str, tuple[ObjectPrompt, tuple[Correction, ...]]]) -> Cast:
    """The scene with those that were found: in the place of who has that name, else added, as an object unless it is
    called `person`."""
    subjects, reskins = list(base.subjects), list(base.reskins)
    gated = list(base.gated or ())
    for name, (prompt, corrections) in found.items():
        at = next((index for index, each in enumerate(subjects) if each.name == name), None)
        if at is not None:
            subjects[at] = dataclasses.replace(subjects[at], prompt=prompt, corrections=corrections)
            continue
        added = Subject(name, PERSON if name == PERSON else OBJECT, prompt, corrections)
        subjects.append(added)
        reskins.append(Reskin(name))
        gated += gated_by_kind([added])
    return Cast(tuple(subjects), tuple(reskins), tuple(gated), base.cuts)
