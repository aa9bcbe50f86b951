"""What the page works on: a clip, the scene that is made of it, a SAM 2.1 for single frames, and perhaps a run."""

import json
import shlex
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from stages.base import Array
from stages.picture import mask_box
from stages.prompts import Box
from stages.sam.prompts import load_mask
from stages.sam.still import StillSam
from stages.subjects import OBJECT, OBJECTS, PERSON
from stages.video.at import Frames
from storage.boundary import printable, read_input, utf8
from storage.errors import InputError, UsageError
from stream.options.config import RunConfig
from stream.options.scene import FORMS, Cast, Remarks, cast_of, parsed, scene_text, write_scene
from stream.pick.shots import Shots
from stream.pick.tracked import Tracked

JPEG_QUALITY = 92
FILES = ("mask", "reference")  # keys of a subject that name a file
PLACES = {"name", "kind", "box", "points", "mask", "frame", "corrections"}  # keys that say who is where
Again = Callable[[RunConfig, Path, Sequence[str]], str | None]


class Desk:
    """One clip on the desk.

    Args:
        video: the clip. target: the scene file, read where it is there, and written. sam: for the masks.
        run: the run that is looked at; None: none is.
        again: gives the command that makes a run of this config, in this place, with other words of who is where; None
            where there is no such command.

    Raises:
        InputError: the clip or the scene cannot be used.
    """

    def __init__(
        self, video: Path, target: Path, sam: StillSam, run: Tracked | None = None, again: Again | None = None
    ) -> None:
        if target.suffix.lower() not in FORMS:
            raise InputError(f"--scene {target}: is neither {' nor '.join(FORMS)} by its name: rename it")
        self.video, self.target, self.run, self._sam, self._again = video, target, run, sam, again
        self.frames = Frames(video)
        cuts, self.subjects, self._head = self._read()
        self._cuts = cuts
        self.shots = Shots(video, run.cuts if run is not None and cuts is None else cuts)
        self._files = set(_files_of(self.subjects))
        self._saving = threading.Lock()

    def _read(self) -> tuple[tuple[int, ...] | None, list[dict[str, Any]], tuple[str, ...]]:
        """Cuts, subjects as in a file, and the comments at its head: of the scene that is there, else of the run."""
        if not self.target.exists():
            if self.run is None:
                return None, [], ()
            cast = _cast_of_run(self.run)
            return cast.cuts, _entries(cast), ()
        what = f"--scene {self.target}"
        values = parsed(self.target, what)
        head = tuple(_head_of(self.target)) if self.target.suffix.lower() == ".toml" else ()
        if isinstance(values, dict) and not values.get("subject"):  # as `skate analyse` writes it where nobody is found
            cuts = cast_of({**values, "subject": [_NOBODY]}, self.target.parent, what).cuts
            return cuts, [], head
        cast = cast_of(values, self.target.parent, what)
        return cast.cuts, _entries(cast), head

    def close(self) -> None:
        """Let everything go."""
        self.shots.close()
        self._sam.close()

    def facts(self) -> dict[str, Any]:
        """What the page shows of the clip, and where it begins."""
        found, count = self.frames.properties, self.frames.count
        frames = self.shots.frames if self.shots.done and self.shots.frames else count or found.claimed_frames
        run = None
        if self.run is not None:
            worst = [{"frame": each.frame, "iou": each.iou, "name": each.name} for each in self.run.worst()]
            run = {"path": str(self.run.path), "frames": self.run.frames, "names": self.run.names, "worst": worst}
        return {
            "name": self.video.name, "width": found.width, "height": found.height, "fps": found.claimed_fps,
            "frames": frames or 1, "target": str(self.target), "subjects": self.subjects, "run": run,
        }  # fmt: skip

    def shot_facts(self) -> dict[str, Any]:
        """The first frames of the shots, as far as they are known."""
        return {
            "starts": list(self.shots.starts),
            "looked": self.shots.frames,
            "done": self.shots.done,
            "failure": self.shots.failure,
        }

    def jpeg(self, frame: int) -> bytes:
        """A frame.

        Raises:
            InputError: when the clip has none such.
        """
        return _encoded(".jpg", self._picture(frame)[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])

    def _picture(self, frame: int) -> Array:
        count = self.frames.count
        if frame < 0 or (count is not None and frame >= count):
            raise InputError(f"frame {frame} is not in the clip" + (f" of {count} frames" if count else ""))
        return self.frames.picture(frame)

    def prepare(self, frame: int) -> None:
        """Have SAM look at a frame, so that its masks come at once."""
        self._sam.prepare(frame, lambda: self._picture(frame))

    def mask(
        self, frame: int, box: Box | None, points: Sequence[tuple[float, float, int]]
    ) -> tuple[bytes, Box | None, int]:
        """What a box or points show on a frame: a mask as PNG (255 on it), the box around it, and its pixels.

        Raises:
            UsageError: neither is given, or both, or no point lies on it. InputError: one is outside of the frame.
        """
        width, height = self.frames.properties.width, self.frames.properties.height
        if (box is None) == (not points):
            raise UsageError("give a box, or points")
        if points and 1 not in [label for *_, label in points]:
            raise UsageError("at least one point must lie on it")
        corners = [(box[0], box[1]), (box[2], box[3])] if box is not None else [(x, y) for x, y, _ in points]
        if any(not (0 <= x <= width and 0 <= y <= height) for x, y in corners):
            raise InputError(f"that lies outside of the {width}x{height} frame")
        if box is not None and not (box[0] < box[2] and box[1] < box[3]):
            raise UsageError("the box is empty")
        found = self._sam.mask(frame, lambda: self._picture(frame), box, tuple(points))
        around = mask_box(found) if found.any() else None
        return _encoded(".png", found.astype(np.uint8) * 255), around, int(found.sum())

    def tracked(self, name: str, frame: int) -> bytes:
        """The run's mask of a subject, as PNG.

        Raises:
            UsageError: there is no run, or it has none.
        """
        return _encoded(".png", self._run_of().mask(name, frame).astype(np.uint8) * 255)

    def given(self, file: str) -> bytes:
        """A mask that the scene names, as PNG.

        Raises:
            InputError: it names none such, or the file is no mask of the clip's size.
        """
        if file not in self._files:
            raise InputError(f"{printable(file, 80)}: only masks that the scene named before")
        clip = self.frames.properties
        found = load_mask(file, None, clip.height, clip.width, "the scene's mask")
        return _encoded(".png", found.astype(np.uint8) * 255)

    def redone(self, frame: int) -> dict[str, Any]:
        """What a correction on a frame has the run do again."""
        first, count, start, stop = self._run_of().redone(frame)
        return {"window": first, "windows": count, "start": start, "stop": stop}

    def _run_of(self) -> Tracked:
        if self.run is None:
            raise UsageError("no run is open: `skate pick RUN`")
        return self.run

    def save(self, subjects: Sequence[Mapping[str, Any]]) -> list[str]:
        """Write the scene; gives the lines to run it by. May be called from several threads: one writes at a time.

        Raises:
            InputError: when it is none: with the subject and the key.
        """
        what = "the scene"
        strange = next((file for file in _files_of(subjects) if file not in self._files), None)
        if strange is not None:  # the page reads no file by name
            raise InputError(f"{what}: {printable(str(strange), 80)}: only files that the scene named before")
        values: dict[str, Any] = {"subject": list(subjects)}
        cuts = self._cuts
        if cuts is None and self.shots.done and len(self.shots.starts) > 1:
            cuts = tuple(self.shots.starts[1:])
        if cuts is not None:
            values["clip"] = {"cuts": list(cuts)}
        utf8(json.dumps(values, ensure_ascii=False), what)
        cast = cast_of(values, self.target.parent, what)
        self._check_places(cast)
        with self._saving:
            write_scene(self.target, cast, "--scene", Remarks(self._head))
            self.subjects = _entries(cast)
            return self.commands()

    def _check_places(self, cast: Cast) -> None:
        count = self.frames.count
        for subject in cast.subjects:
            first = subject.prompt or subject.find
            assert first is not None  # a scene file says where each is
            for frame in (first.frame, *(item.frame for item in subject.corrections)):
                if count is not None and frame >= count:
                    raise InputError(f"'{subject.name}': frame {frame} is not in the clip of {count} frames")

    def commands(self) -> list[str]:
        """How the scene is run, or the run again with what was changed here."""
        video, scene = shlex.quote(str(self.video)), shlex.quote(str(self.target))
        if self.run is None:
            server = " --server HOST:PORT" if any("find" in entry for entry in self.subjects) else ""
            return [f"skate run {video} --scene {scene} --out {shlex.quote(f'runs/{self.video.stem}')}{server}"]
        pointing = self._pointing()
        whole = (
            None if pointing is None or self._again is None else self._again(self.run.config, self.run.path, pointing)
        )
        if whole is not None:
            return [whole]
        old = {entry["name"]: entry.get("corrections", []) for entry in _entries(_cast_of_run(self.run))}
        words = [
            f"--correct {shlex.quote(_correction_text(entry['name'], item))}"
            for entry in self.subjects
            for item in entry.get("corrections", [])
            if item not in old.get(entry["name"], [])
        ]
        again = f"skate run {video} --scene {scene} --out {shlex.quote(str(self.run.path))} --overwrite"
        if self.run.config.scene is not None:
            return [f"{again}  # with its other options"]
        return [f"# to the command that made {self.run.path} add:", " ".join(["--overwrite", *words])]

    def _pointing(self) -> list[str] | None:
        """The words that say who is where in the run that is open; None: its options cannot say it."""
        assert self.run is not None
        if any("find" in entry for entry in self.subjects):
            return None
        if self.run.config.scene is not None:
            return ["--scene", str(self.target)]
        who = {entry["name"]: entry for entry in self.subjects}
        if OBJECT not in who or any(name not in OBJECTS or set(entry) - PLACES for name, entry in who.items()):
            return None
        words = _object_words(who[OBJECT])
        if PERSON in who:
            if "box" not in who[PERSON] or who[PERSON].get("frame", 0) != who[OBJECT].get("frame", 0):
                return None
            words += ["--person-box", _box_text(who[PERSON]["box"])]
        return words + [
            word
            for entry in self.subjects
            for item in entry.get("corrections", [])
            for word in ("--correct", _correction_text(entry["name"], item))
        ]


_NOBODY = {"name": "nobody", "kind": "person", "box": [0, 0, 1, 1]}


def _cast_of_run(run: Tracked) -> Cast:
    return Cast(run.config.subjects, run.config.reskins, run.config.gated, run.config.cuts)


def _entries(cast: Cast) -> list[dict[str, Any]]:
    """The subjects as they stand in a file."""
    found: list[dict[str, Any]] = json.loads(scene_text(cast, toml=False))["subject"]
    return found


def _files_of(subjects: Sequence[Any]) -> Iterator[str]:
    """The files that subjects name, as they stand in a file; what is no subject names none."""
    for entry in subjects:
        if isinstance(entry, Mapping):
            yield from (str(entry[key]) for key in FILES if entry.get(key) is not None)
            fixes = entry.get("corrections")
            yield from _files_of(fixes if isinstance(fixes, list) else ())


def _head_of(path: Path) -> list[str]:
    """The comments at the head of a scene file."""
    lines = []
    for line in read_input(path, str(path)).decode("utf-8", "replace").splitlines():
        if not line.startswith("#"):
            break
        lines.append(line.removeprefix("#").strip())
    return lines


def _correction_text(name: str, item: Mapping[str, Any]) -> str:
    """A correction as `--correct` takes it."""
    if "mask" in item:
        place = str(item["mask"])
    elif "box" in item:
        place = _box_text(item["box"])
    else:
        place = ";".join(f"{'+' if label else '-'}{_text(x)},{_text(y)}" for x, y, label in item["points"])
    return f"{name}@{item['frame']}:{place}"


def _object_words(entry: Mapping[str, Any]) -> list[str]:
    """Where the object is, as the plain options say it."""
    if "mask" in entry:
        words = ["--object-mask", str(entry["mask"])]
    elif "box" in entry:
        words = ["--box", _box_text(entry["box"])]
    else:
        words = [word for x, y, label in entry["points"] for word in ("--point", f"{_text(x)},{_text(y)},{label}")]
    return words + (["--prompt-frame", str(entry["frame"])] if entry.get("frame") else [])


def _box_text(box: Box) -> str:
    return ",".join(map(_text, box))


def _text(value: float) -> str:
    """A coordinate, exactly: a correction that stays must stay as it is."""
    return f"{value:g}" if float(f"{value:g}") == value else repr(value)


def _encoded(kind: str, picture: Array, settings: Sequence[int] = ()) -> bytes:
    return bytes(cv2.imencode(kind, np.ascontiguousarray(picture), list(settings))[1].tobytes())
