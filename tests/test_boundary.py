"""What others wrote: types, bounds and the one line; files that are no files."""

import json
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pytest
from msgspec import Meta, Struct

from stages.poses.openpose_read import read_poses
from stages.server.workflow import load_workflow
from storage.boundary import convert, open_regular, parse, printable, read_regular, visible, visible_lines
from storage.errors import InputError, RunDirectoryError
from storage.manifest import read_manifest
from stream.plan.calibration import Calibration, read_calibration
from stream.report.reference import read_reference


class Thing(Struct, frozen=True):
    name: str
    size: Annotated[int, Meta(ge=0, le=100)] = 0
    parts: list["Thing"] = []


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[]", "the whole: expected object, got array"),
        ("null", "the whole: expected object, got null"),
        ("{}", "the whole: object missing required field name"),
        ('{"name": 3}', "name: expected str, got int"),
        ('{"name": "a", "size": 101}', "size: expected int <= 100"),
        ('{"name": "a", "size": 1.5}', "size: expected int, got float"),
        ('{"name": "a", "size": true}', "size: expected int, got bool"),
        ('{"name": "a", "size": NaN}', r"is no JSON \(JSON is malformed"),
        ('{"name": "a", "size": %s}' % ("9" * 5000), "size: "),
        ('{"name": "a", "parts": [{"name": "b"}, {"name": null}]}', r"parts\[1\]\.name: expected str, got null"),
        ("", r"is no JSON \(Input data was truncated"),
        (b'{"name": "\xff"}', r"is no JSON \('utf-8' codec"),
        ('{"name": "a", "other": ' + "[" * 100_000, r"is no JSON \(nested too deeply"),
        ("[" * 100_000, "the whole: expected object"),
        (" " * 2000, "is longer than"),
    ],
)
def test_one_line_names_the_thing_and_the_field(text: str | bytes, told: str) -> None:
    with pytest.raises(InputError, match=rf"^thing\.json: {told}.*: mend it$") as caught:
        parse(text, Thing, "thing.json", InputError, "mend it", most_bytes=200_000 if len(text) > 2000 else 1999)
    assert len(str(caught.value)) < 300 and str(caught.value).isprintable()


def test_what_is_not_declared_is_passed_over() -> None:
    assert parse('{"name": "a", "more": {"deep": [1]}}', Thing, "thing", InputError) == Thing("a")
    assert convert({"name": "a", "size": 3}, Thing, "thing", InputError) == Thing("a", 3)
    with pytest.raises(InputError, match="thing: size: expected int, got str"):
        convert({"name": "a", "size": "3"}, Thing, "thing", InputError)


def test_visible() -> None:
    assert visible_lines("a b\nc é日") == "a b\nc é日" and visible("a\nb") == r"a\nb"
    assert visible_lines("\x1b[2J\r\x7f\x85") == r"\x1b[2J\r\x7f\x85"
    assert visible("\u2028\u202e\u2066") == r"\u2028\u202e\u2066" and visible("\udcff") == "\udcff"


def test_printable() -> None:
    assert printable("a\nb\tc") == "a b c" and printable("x" * 10**6, 5) == "xxxxx"
    assert printable("\u001b[2Jé日\u202e") == "\N{REPLACEMENT CHARACTER}[2Jé日\N{REPLACEMENT CHARACTER}"


def test_letters_of_a_path_that_a_terminal_obeys_are_shown() -> None:
    assert visible("é/a\n\x1b[2J\u202e\udcff b") == "é/a\\n\\x1b[2J\\u202e\udcff b"


def test_a_regular_file_is_read(tmp_path: Path) -> None:
    path, link = tmp_path / "file", tmp_path / "link"
    path.write_bytes(b"x" * 100)
    link.symlink_to(path)
    assert read_regular(path, 100) == read_regular(link, 100) == b"x" * 100
    with pytest.raises(OSError, match="larger than"):
        read_regular(path, 99)
    with pytest.raises(OSError, match=r"symbolic link|is no regular file"):
        open_regular(link, follow=False)
    for other in (tmp_path, Path("/dev/zero")):
        with pytest.raises(OSError, match=r"is no regular file|directory"):
            read_regular(other)
    with pytest.raises(FileNotFoundError):
        read_regular(tmp_path / "none")


def read_run_json(path: Path) -> Any:
    """The reader of a run directory's `run.json`, at this very path."""
    folder = path.parent / "run"
    folder.mkdir(exist_ok=True)
    path.rename(folder / "run.json")
    return read_manifest(folder)


READERS: list[tuple[Callable[[Path], Any], type[Exception] | None]] = [
    (load_workflow, InputError),
    (read_reference, InputError),
    (lambda path: list(read_poses(path)), InputError),
    (read_run_json, RunDirectoryError),
    (read_calibration, None),
]


@pytest.mark.parametrize(("read", "fault"), READERS, ids=["workflow", "metadata", "pose", "run.json", "calibration"])
def test_no_reader_waits_for_a_pipe(read: Callable[[Path], Any], fault: type[Exception] | None, tmp_path: Path) -> None:
    """Opening one waits for a writer; reading it, for what never comes."""
    path = tmp_path / "pipe.json"
    os.mkfifo(path)
    ended: list[Any] = []

    def work() -> None:
        try:
            ended.append(read(path))
        except (InputError, RunDirectoryError) as error:
            ended.append(error)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(20)
    assert ended, "it waits"
    if fault is None:
        assert ended == [Calibration()]
    else:
        assert isinstance(ended[0], fault) and "is no regular file" in str(ended[0])


BENT = ["[]", "null", "3", '{"a": NaN}', "", "[" * 100_000, "\ud800".encode("utf-8", "surrogatepass")]


@pytest.mark.parametrize("text", BENT, ids=range(len(BENT)))
@pytest.mark.parametrize(("read", "fault"), READERS, ids=["workflow", "metadata", "pose", "run.json", "calibration"])
def test_a_file_of_another_shape_is_one_line(
    read: Callable[[Path], Any], fault: type[Exception] | None, text: str | bytes, tmp_path: Path
) -> None:
    path = tmp_path / "file.json"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    if fault is None:
        assert read(path) == Calibration()
    elif (text, read) == ("[]", READERS[2][0]):
        assert read(path) == []  # no frames
    else:
        with pytest.raises(fault) as caught:
            read(path)
        assert "\n" not in str(caught.value) and len(str(caught.value)) < 600


@pytest.mark.parametrize(
    "seconds", ['{"a": Infinity}', '{"a": NaN}', '{"a": 1e400}', '{"a": -1}', '{"a": "3"}', "[]", '{"a": null}']
)
def test_times_that_are_none_are_no_times(seconds: str, tmp_path: Path) -> None:
    path = tmp_path / "calibration.json"
    path.write_text(f'{{"format": 2, "seconds": {seconds}}}')
    assert read_calibration(path) == Calibration()
    path.write_text('{"format": 2, "seconds": {"decode": 2, "pose x": 0.5}}')
    assert read_calibration(path) == Calibration({"decode": 2.0, "pose x": 0.5})
    path.write_text('{"format": 1, "seconds": {"decode": 2}}')
    assert read_calibration(path) == Calibration()


@pytest.mark.parametrize(
    ("person", "told"),
    [
        ({"pose_keypoints_2d": ["x"]}, r"people\[0\]\.pose_keypoints_2d\[0\]: expected float, got str"),
        ({"pose_keypoints_2d": [int("9" * 400), 1, 1]}, r"pose_keypoints_2d\[0\]: "),
        ({"pose_keypoints_2d": [1e10, 1, 1]}, r"pose_keypoints_2d\[0\]: expected float <= "),
        ({"pose_keypoints_2d": [1.0] * 1001}, "pose_keypoints_2d: expected array of length <= 1000"),
        ({"pose_keypoints_2d": {}}, "pose_keypoints_2d: expected array"),
        ({"pose_keypoints_2d": [1, 2]}, "neither CMU OpenPose nor POSE_KEYPOINT: cannot reshape"),
        (3, r"people\[0\]: expected object, got int"),
    ],
)
def test_a_pose_of_another_shape_names_the_field(person: Any, told: str, tmp_path: Path) -> None:
    path = tmp_path / "pose.json"
    path.write_text(json.dumps([{"people": [person]}]))
    with pytest.raises(InputError, match=told):
        list(read_poses(path))


def test_a_pose_without_hands_and_with_more_than_is_read(tmp_path: Path) -> None:
    path = tmp_path / "pose.json"
    person = {"pose_keypoints_2d": [5, 6, 1] * 18, "hand_left_keypoints_2d": None, "pose_keypoints_3d": [], "id": [-1]}
    path.write_text(json.dumps([{"people": [person], "version": 1.3, "canvas_width": 64}, {"people": []}]))
    first, second = read_poses(path)
    assert first[0].tolist() == [5.0, 6.0, 1.0] and not np.any(second)
