"""Subjects that a text finds (`--find NAME=TEXT`, or `find` in a scene): a ComfyUI server is asked for their masks
while a run begins, on the prompt frame and behind cuts, and a scene is made of the answers.

    clip --prompt frames, first frames of later shots--> server: SAM 3 --masks--> scene in OUT/input/found --> tracker

What a server answered once stays: the same command again asks nothing, whatever another server would say.
"""

import dataclasses
import json
import logging
import threading
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import closing
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2

from stages.base import Array
from stages.decode import DecodeConfig, DecodeStage
from stages.prompts import Correction, ObjectPrompt
from stages.subjects import NAME, OBJECT, PERSON, Reskin, Sought, Subject, gated_by_kind
from storage.boundary import MB, read_regular
from storage.durable import file_sha256, write_atomic
from storage.errors import InputError, SkateError, UsageError
from storage.nearby import inputs_of
from storage.spans import Span
from stream.options.names import RESERVED
from stream.options.scene import Cast, cast_of, parsed, write_scene

if TYPE_CHECKING:
    from stages.server.find import Finder

logger = logging.getLogger("skate.comfyui")

FOLDER, ASKED, FOUND, SCENE = "found", "asked.json", "found.toml", "scene.toml"
AT_ONCE = 8  # frames decoded at a time


@dataclasses.dataclass(frozen=True)
class Wanted:
    """What is looked for.

    Attributes:
        sought: by name. behind_cuts: whether it is looked for again on the first frame of every later shot.
        decode: of the clip.
    """

    sought: Mapping[str, Sought]
    behind_cuts: bool
    decode: DecodeConfig

    def __post_init__(self) -> None:
        for name in self.sought:
            if not NAME.fullmatch(name):
                raise UsageError(f"--find {name[:40]}: is no name of a subject: a-z, 0-9, - and _, a letter first")
            if name in RESERVED:
                raise UsageError(f"--find {name}: {RESERVED[name]}: give it another name")

    def to_json(self) -> dict[str, Any]:
        """What decides the answer."""
        decode = self.decode
        return {
            "sought": {name: dataclasses.asdict(each) for name, each in self.sought.items()},
            "behind_cuts": self.behind_cuts,
            "video": file_sha256(decode.path), "fps": decode.fps, "hdr": decode.hdr,
            "cuts": None if decode.cuts is None else list(decode.cuts),
        }  # fmt: skip


def found_scene(
    wanted: Wanted, base: Cast, servers: Sequence[str], out: Path, corrected: Collection[tuple[str, int]] = ()
) -> Path:
    """The scene file of what a server finds, below `inputs_of(out)`, with all others of `base`; asked once.

    Args:
        corrected: names, and frames on which `--correct` says where they are: it is taken before what was found there.

    Raises:
        UsageError: no server is given. GeneratorError: it failed.
        InputError: no server has what it takes, or nothing is found on a prompt frame.
    """
    folder = inputs_of(out) / FOLDER
    asked, note, found = json.dumps(wanted.to_json(), sort_keys=True), folder / ASKED, folder / FOUND
    there = note.is_file() and found.is_file()
    if not (there and read_regular(note, MB, follow=False) == asked.encode()):
        write_scene(found, Cast(_asked(wanted, servers, folder)), "--find")
        write_atomic(note, asked.encode())  # last: whoever is interrupted before asks again
    answered = cast_of(parsed(found, f"--find {found}"), folder, f"--find {found}", whole=False)
    found_there = [_without(subject, corrected) for subject in answered.subjects]
    write_scene(folder / SCENE, _with(base, found_there), "--find")
    return folder / SCENE


def _asked(wanted: Wanted, servers: Sequence[str], folder: Path) -> tuple[Subject, ...]:
    """Where each is: its masks on the prompt frame and behind cuts."""
    prompts: dict[str, ObjectPrompt] = {}
    later: dict[str, list[Correction]] = {name: [] for name in wanted.sought}
    with closing(_finder(servers)) as finder:
        for frame, picture, begins_shot in _shown(wanted):
            for name, each in wanted.sought.items():
                if frame == each.frame:
                    mask = finder.mask(picture, each.text)
                    prompts[name] = _prompt(name, each, mask, folder)
                elif frame > each.frame and begins_shot and wanted.behind_cuts:
                    mask = finder.mask(picture, each.text)
                    if mask.any():
                        later[name].append(Correction(frame, None, (), *_kept(name, frame, mask, folder)))
                    else:
                        logger.warning(
                            "--find %s: nothing like '%s' behind the cut at frame %d", name, each.text, frame
                        )
    missing = next((name for name in wanted.sought if name not in prompts), None)
    if missing is not None:
        frame = wanted.sought[missing].frame
        raise InputError(f"--find {missing}: its frame {frame} is past the end of {wanted.decode.path}")
    return tuple(Subject(name, OBJECT, prompts[name], tuple(later[name])) for name in wanted.sought)


def _finder(servers: Sequence[str]) -> "Finder":
    """Who is asked: the first server that answers and has what it takes.

    Raises:
        UsageError: there is none. SkateError: none has, as the last one says.
    """
    from stages.recipes.registry import FINDING, helper_graph
    from stages.server.address import parse_server
    from stages.server.client import ComfyClient, Timeouts
    from stages.server.find import Finder

    usual = Timeouts()
    for left, server in zip(reversed(range(len(servers))), servers, strict=True):
        timeouts = dataclasses.replace(usual, patience=usual.failover) if left else usual
        client = ComfyClient(parse_server(server), timeouts, threading.Event())
        try:
            return Finder(client, helper_graph(FINDING))
        except SkateError as error:
            client.close()
            if not left:
                raise
            logger.warning("%s: asking the next server", error)
    raise UsageError("--find asks a ComfyUI server: give --server HOST:PORT")


def _prompt(name: str, sought: Sought, mask: Array, folder: Path) -> ObjectPrompt:
    """The mask as a prompt, kept as a file.

    Raises:
        InputError: when it is empty.
    """
    if not mask.any():
        raise InputError(
            f"--find {name}: nothing like '{sought.text}' is found on frame {sought.frame}: choose another "
            "--prompt-frame (in a scene: frame), or say it otherwise"
        )
    return ObjectPrompt(sought.frame, None, (), *_kept(name, sought.frame, mask, folder))


def _kept(name: str, frame: int, mask: Array, folder: Path) -> tuple[str, str]:
    """Path and sha256 of a mask's file, whose name has its digest: a run that was begun with another one keeps that."""
    content = cv2.imencode(".png", mask.astype("uint8") * 255)[1].tobytes()
    digest = sha256(content).hexdigest()
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}-{frame}-{digest[:16]}.png"
    write_atomic(path, content)
    return str(path.resolve()), digest


def _shown(wanted: Wanted) -> Iterator[tuple[int, Array, bool]]:
    """The frames that the server is shown, and whether a shot begins there: the prompt frames, and the first of every
    later shot."""
    frames = {each.frame for each in wanted.sought.values()}
    decode = DecodeStage(wanted.decode)
    try:
        decode.open()
        first, shot_start = 0, 0
        while True:
            found = decode.next(Span(first, first + AT_ONCE), shot_start)
            stop = first + len(found.times)
            for frame in range(first, stop):
                if frame in frames or (frame == shot_start > min(frames)):
                    yield frame, found.frames[frame - first], frame == shot_start
            if found.last or (stop > max(frames) and not wanted.behind_cuts):
                return
            shot_start = stop if found.cut else shot_start
            first = stop
    finally:
        decode.close()


def _without(found: Subject, corrected: Collection[tuple[str, int]]) -> Subject:
    """The subject without what was found on these frames behind cuts."""
    kept = tuple(item for item in found.corrections if (found.name, item.frame) not in corrected)
    return dataclasses.replace(found, corrections=kept)


def _with(base: Cast, found: Sequence[Subject]) -> Cast:
    """The scene with those that were found: in the place of who has that name, else added, as an object unless it is
    called `person`. Corrections that the scene has for later frames stay, and are taken before what was found there."""
    subjects, reskins = list(base.subjects), list(base.reskins)
    gated = list(base.gated or ())
    for each in found:
        at = next((index for index, other in enumerate(subjects) if other.name == each.name), None)
        if at is not None:
            own = {item.frame: item for item in subjects[at].corrections}
            every = {item.frame: item for item in each.corrections} | own
            items = tuple(every[frame] for frame in sorted(every))
            subjects[at] = dataclasses.replace(subjects[at], prompt=each.prompt, corrections=items, find=None)
            continue
        added = dataclasses.replace(each, kind=PERSON if each.name == PERSON else OBJECT)
        subjects.append(added)
        reskins.append(Reskin(each.name))
        gated += gated_by_kind([added])
    return Cast(tuple(subjects), tuple(reskins), tuple(gated), base.cuts)
