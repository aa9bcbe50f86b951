"""Everything that parses what others wrote, each with sound examples: what `tests/test_parsers.py` bends and
`python -m bench.fuzz_parsers` explores."""

import atexit
import json
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from stages.picture import picture_size, read_mask
from stages.poses.openpose_read import read_poses
from stages.recipes.registry import graph_file
from stages.server.address import parse_server
from stages.server.answers import Entry, Features, Message, Queue, Refusal, Stats, Taken, Uploaded
from stages.server.workflow import load_workflow
from storage.address import run_path
from storage.boundary import parse
from storage.errors import GeneratorError, RunDirectoryError, SkateError
from storage.journal import decode_line, encode_line
from storage.layout import ArraySpec, Layout
from storage.records import check_record
from storage.sizes import parse_size
from stream.batch.plan import prices
from stream.cli.files import read_variations
from stream.cli.generate import generate_command
from stream.cli.jobs import read_jobs
from stream.cli.run import run_command
from stream.options import values
from stream.options.scene import read_scene
from stream.options.settings import read_cuts
from stream.plan.calibration import read_calibration
from stream.report.reference import read_reference, read_views

MOST_PIXELS = 1 << 16


@dataclass(frozen=True)
class Parser:
    """One reader.

    Attributes:
        read: of bytes; whatever it does not refuse counts as read.
        examples: that it reads. refuses: what it may raise.
    """

    read: Callable[[bytes], Any]
    examples: tuple[bytes, ...]
    refuses: tuple[type[Exception], ...] = (SkateError,)

    def takes(self, data: bytes) -> bool:
        """Whether it reads these bytes; anything that it may not raise comes through."""
        try:
            self.read(data)
        except self.refuses:
            return False
        return True


@cache
def _folder() -> Path:
    made = Path(tempfile.mkdtemp(prefix="skate-parsers-"))
    atexit.register(shutil.rmtree, made, ignore_errors=True)
    return made


def _file(name: str, read: Callable[[Path], Any]) -> Callable[[bytes], Any]:
    def at(data: bytes) -> Any:
        path = _folder() / name
        path.write_bytes(data)
        return read(path)

    return at


def _text(read: Callable[[str], Any]) -> Callable[[bytes], Any]:
    return lambda data: read(data.decode("utf-8", "surrogateescape"))


def _kind(kind: values.Kind, *examples: str) -> Parser:
    """Of an option: what it reads can be written, and is read again."""

    def read(text: str) -> None:
        kind.write(kind.read(text))

    return Parser(_text(read), tuple(map(str.encode, examples)), (ValueError,))


def _answer(kind: type[Any], example: Any) -> Parser:
    return Parser(lambda data: parse(data, kind, "the answer", GeneratorError), (json.dumps(example).encode(),))


def _journal(line: bytes) -> None:
    record = decode_line(line)
    if record is not None:
        check_record(record, "journal")


_COMMIT = {
    "kind": "commit", "stage": "sink", "window": 3, "span": [9, 12], "seconds": 0.5, "n": 4,
    "digests": {"masks/object/c.3.0.0": "0" * 32, "state/track/3": "0" * 32},
    "info": {"segment": "00003.mp4", "sha256": "0" * 64},
}  # fmt: skip
_RECORDS = (
    _COMMIT,
    {"kind": "layout", "layout": Layout({"frames": ArraySpec((6, 8, 3), "uint8")}).to_json()},
    {"kind": "drop", "arrays": ["frames"], "stop": 3},
    {"kind": "revoke", "stages": ["decode"], "window": 0},
    {"kind": "finish", "files": {"output.mp4": "0" * 64}},
    {"kind": "config", "digest": "0" * 64},
)
_SCENE = {
    "clip": {"cuts": [40, 90]},
    "subject": [
        {
            "name": "board",
            "kind": "object",
            "box": [1, 2, 30, 40],
            "corrections": [{"frame": 3, "box": [1, 2, 30, 40]}],
        },
        {"name": "skater", "kind": "person", "points": [[40, 20, 1], [1, 1, 0]], "prompt": "a robot", "dilate": 3},
    ],
}
_SCENE_TOML = """[clip]\ncuts = [40, 90]\n[[subject]]\nname = "board"\nkind = "object"\nbox = [1, 2, 30, 40]
held_by = "skater"\n[[subject]]\nname = "skater"\nkind = "person"\npoints = [[1, 2, 1]]\nreskin = "remove"\n"""
_JOBS = """[defaults]\nprompt = "x"\nbox = [1, 2, 3, 4]\n[[job]]\nname = "one"\nvideo = "a.mp4"\nfps = 12.5
[[job.variation]]\nname = "red"\nseed = 3\n[[job]]\nname = "two"\nvideo = "b.mp4"\nsize = "64x64"\n"""
_LOOKS = """[[variation]]\nname = "a"\nprompt = "x"\nseed = 3\n[[variation]]\nname = "b"\nsize = [64, 64]\n"""
_POSE = {"pose_keypoints_2d": [5.0, 6.0, 1.0] * 18, "hand_left_keypoints_2d": None}
_FRAME = {"people": [_POSE], "canvas_width": 64, "canvas_height": 48}
_STATUS = {"status_str": "success", "completed": True, "messages": [["execution_success", {"prompt_id": "x"}]]}
_IMAGES = {"30": {"images": [{"filename": "a.png", "subfolder": "s", "type": "output"}]}}


def _png(channels: int) -> bytes:
    return bytes(cv2.imencode(".png", np.full((8, 12, channels), 255, np.uint8))[1].tobytes())


def _npy() -> bytes:
    path = _folder() / "example.npy"
    np.save(path, np.zeros((3, 2, 3)))
    return path.read_bytes()


@cache
def parsers() -> dict[str, Parser]:
    """All of them, by name."""
    return {
        "box": _kind(values.BOX, "1,2,30,40"),
        "point": _kind(values.POINT, "1,2", "1,2,0"),
        "correction": _kind(values.CORRECTION, "5:1,2,3,4", "5:+1,2;-3,4", "board@5:1,2,3,4"),
        "moment": _kind(values.MOMENT, "90", "1:23.5", "83.5s", "1:02:03"),
        "swap": _kind(values.SWAP, "board=a stone"),
        "size": _kind(values.SIZE, "832x480"),
        "bytes": _kind(values.BYTES, "8GB", "7.5GiB"),
        "widths": _kind(values.WIDTHS, "8", "8,4"),
        "look": _kind(values.LOOK, "auto", "1,2,30,40"),
        "span": _kind(values.FRAMES, "3:9"),
        "lora": _kind(values.LORA, "x.gguf:0.8", "x"),
        "gate": _kind(values.GATE, "iou=0.9,contact"),
        "files": _kind(values.FILES, "a.gguf,b.gguf"),
        "path": _kind(values.PATH, "a/b.mp4"),
        "integer": _kind(values.INTEGER, "-12"),
        "number": _kind(values.NUMBER, "1.5e3"),
        "prices": Parser(_text(prices), (b"gpu=2.5/h,gb=0.02", b"gpu=1/h")),
        "memory": Parser(_text(parse_size), (b"8GB", b"512MB")),
        "bucket": Parser(_text(run_path), (b"s3://bucket/a/run", b"runs/one")),
        "server": Parser(_text(parse_server), (b"127.0.0.1:8188", b"[::1]:1", b"http://host:80/x")),
        "scene.toml": Parser(_file("scene.toml", read_scene), (_SCENE_TOML.encode(),)),
        "scene.json": Parser(_file("scene.json", read_scene), (json.dumps(_SCENE).encode(),)),
        "jobs": Parser(
            _file("j.toml", lambda file: read_jobs(str(file), run_command, generate_command)), (_JOBS.encode(),)
        ),
        "looks": Parser(_file("v.toml", lambda file: read_variations(str(file), generate_command)), (_LOOKS.encode(),)),
        "cuts": Parser(_file("cuts.txt", read_cuts), (b"12\n40\n", b"7\n\n 9 \n")),
        "journal": Parser(_journal, tuple(encode_line(record).rstrip() for record in _RECORDS)),
        "record": Parser(
            lambda data: check_record(parse(data, dict[str, Any], "journal", RunDirectoryError), "journal"),
            tuple(json.dumps(record).encode() for record in _RECORDS),
        ),
        "workflow": Parser(_file("workflow.json", load_workflow), (graph_file("vace").read_bytes(),)),
        "queue": _answer(Queue, {"queue_running": [[0, "id", {}, {"client_id": "c"}, []]], "queue_pending": []}),
        "history": _answer(dict[str, Entry], {"id": {"status": _STATUS, "outputs": _IMAGES, "prompt": [0, "id", {}]}}),
        "taken": _answer(Taken, {"prompt_id": "id", "number": 1, "node_errors": {}}),
        "refusal": _answer(Refusal, {"error": {"message": "m", "details": "d"}, "node_errors": {"1": {"errors": []}}}),
        "uploaded": _answer(Uploaded, {"name": "a.png", "subfolder": "s", "type": "input"}),
        "features": _answer(Features, {"max_upload_size": 104857600}),
        "stats": _answer(Stats, {"system": {"comfyui_version": "0.3.64"}, "devices": [{"name": "x", "vram_free": 1}]}),
        "message": _answer(
            Message, {"type": "progress", "data": {"prompt_id": "id", "node": 21, "value": 1, "max": 4}}
        ),
        "mask": Parser(lambda data: read_mask(data, "mask.png", MOST_PIXELS), (_png(1), _png(3), _png(4))),
        "picture size": Parser(lambda data: picture_size(data, "picture"), (_png(3),)),
        "pose": Parser(
            _file("pose.json", lambda file: list(read_poses(file))), (json.dumps([_FRAME, _FRAME]).encode(),)
        ),
        "metadata": Parser(_file("metadata.json", read_reference), (b'{"format": 1, "config": {}, "video": {}}',)),
        "views": Parser(_file("views.npy", lambda file: read_views(file, 3)), (_npy(),)),
        "times": Parser(_file("times.json", read_calibration), (b'{"format": 2, "seconds": {"decode": 2}}',)),
    }
