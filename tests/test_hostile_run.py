"""A run directory from elsewhere, made to harm: nothing outside it is read or written, nothing large is allocated."""

import ast
import hashlib
import json
import os
import zlib
from pathlib import Path
from typing import Any

import pytest
from _crash import copied, shared_case
from _zygote import shared_zygote

from stages.prompts import ObjectPrompt
from storage.errors import RunDirectoryError
from storage.journal import Journal, decode_line, encode_line
from storage.layout import ArraySpec, Layout
from storage.local import LocalBackend
from storage.records import check_record
from storage.rundir import FORMAT_VERSION, read_manifest, write_manifest
from stream.options.config import RunConfig
from stream.options.recorded import read_run

ROOT = Path(__file__).resolve().parents[1]

COMMIT: dict[str, Any] = {
    "kind": "commit",
    "stage": "sink",
    "window": 3,
    "span": [9, 12],
    "seconds": 0.5,
    "digests": {"masks/object/c.3.0.0": "0" * 32, "state/track/3": "0" * 32, "blocks/raw/3": "0" * 32},
    "info": {"segment": "00003.mp4", "sha256": "0" * 64},
}


LAYOUT: dict[str, Any] = Layout({"frames": ArraySpec((6, 8, 3), "uint8")}).to_json()


def changed(**values: Any) -> dict[str, Any]:
    return {**COMMIT, **values}


BENT_FACTS: list[dict[str, Any]] = [
    {"last": "yes"},
    {"iou": [2.0]},
    {"iou": "0.9"},
    {"iou": [[]]},
    {"seam": 3},
    {"seam": {"edge": 1.0}},
    {"untracked": [1]},
    {"untracked": {"object": [[1]]}},
    {"lost": {"object": [[0, "x"]]}},
    {"cuts": [-1]},
    {"cuts": 3},
    {"frame_digests": [3]},
    {"person": {"frame": 1}},
    {"person": {"frame": 1, "box": [1, 2, 3]}},
    {"frames": 10**400},
    {"visible": [1]},
    {"failed": [3]},
    {"iou": [0.5, 0.5]},  # of three frames
    {"frame_digests": ["0"] * 4},
    {"visible": []},
    {"clipping": [1e300, 0.5, 0.5]},
    {"seam": {"edge": None, "inside_sum": 1e300, "inside_frames": 1}},
    {"person": {"frame": 1, "box": [1, 2, 3, 1e300]}},
]


def test_a_record_of_this_program_passes() -> None:
    check_record(COMMIT, "journal")


@pytest.mark.parametrize(
    "record",
    [
        changed(info={"segment": "../../../etc/passwd", "sha256": "0" * 64}),
        changed(info={"segment": "/etc/passwd", "sha256": "0" * 64}),
        changed(info={"segment": "00003.mp4"}),
        changed(info={"segment": ["00003.mp4"], "sha256": "0" * 64}),
        changed(info=[]),
        *(changed(info=bent) for bent in BENT_FACTS),
        changed(digests={"../../outside/c.0": "0" * 32}),
        changed(digests={"/tmp/c.0": "0" * 32}),
        changed(digests={"frames/../../c.0": "0" * 32}),
        changed(digests={"state/../../x/c.0": "0" * 32}),
        changed(digests={"state/track/../c.0": "0" * 32}),
        changed(digests={"state/track/3/..": "0" * 32}),
        changed(digests={"frames/c.0\n": "0" * 32}),
        changed(digests={"frames/c.0": "0" * 31}),
        changed(digests={"frames/c.0": None}),
        changed(digests=None),
        changed(stage="../decode"),
        changed(stage=7),
        changed(window=-1),
        changed(window=10**12),
        changed(window="3"),
        changed(window=True),
        changed(span=[0, 10**15]),
        changed(span=[5, 2]),
        changed(span=[0]),
        changed(digests={"frames/c.4": "0" * 32}),
        changed(digests={"frames/c.3.1": "0" * 32}),
        changed(digests={"state/track/4": "0" * 32}),
        changed(digests={"blocks/../3": "0" * 32}),
        {"kind": "layout", "layout": {"arrays": {"../x": LAYOUT["arrays"]["frames"]}, "blocks": {}}},
        {"kind": "layout", "layout": {**LAYOUT, "blocks": {"a/b": LAYOUT["arrays"]["frames"]}}},
        {
            "kind": "layout",
            "layout": {**LAYOUT, "arrays": {"frames": {**LAYOUT["arrays"]["frames"], "dtype": "object"}}},
        },
        {
            "kind": "layout",
            "layout": {**LAYOUT, "arrays": {"frames": {**LAYOUT["arrays"]["frames"], "shape": [1 << 40]}}},
        },
        {"kind": "layout", "layout": None},
        changed(seconds="soon"),
        changed(rss_bytes="much"),
        changed(vram_bytes=-1),
        changed(kind="exec"),
        changed(kind=["commit"]),
        {"kind": "drop", "arrays": ["../.."], "stop": 3},
        {"kind": "drop", "arrays": ["frames"], "stop": 10**15},
        {"kind": "drop", "arrays": "frames", "stop": 3},
        {"kind": "revoke", "stages": ["a/b"], "window": 0},
        {"kind": "revoke", "stages": ["decode"], "window": None},
        {"kind": "finish", "files": {"../../output.mp4": "0" * 64}},
        {"kind": "finish", "files": {"/etc/passwd": "0" * 64}},
        {"kind": "finish", "files": {"report/../../x.mp4": "0" * 64}},
        {"kind": "finish", "files": ["output.mp4"]},
        {"kind": "config", "digest": "../x"},
        {},
    ],
    ids=str,
)
def test_records_that_lead_astray_are_refused(tmp_path: Path, record: dict[str, Any]) -> None:
    path = tmp_path / "journal.jsonl"
    path.write_bytes(encode_line(record))
    with pytest.raises(RunDirectoryError, match=r"line 1: .* is nothing that this program wrote"):
        Journal(LocalBackend(tmp_path))


def rewritten(run: Path, kind: str, change: dict[str, Any]) -> None:
    """Change every record of a kind, with a checksum that is right."""
    lines = []
    for line in (run / "journal.jsonl").read_bytes().splitlines():
        record = decode_line(line)
        assert record is not None
        lines.append(encode_line({**record, **change} if record["kind"] == kind else record))
    (run / "journal.jsonl").write_bytes(b"".join(lines))


@pytest.mark.parametrize("command", [["resume"], ["status", "--verify"], ["export", "--to", "exported"]])
def test_a_journal_that_names_files_elsewhere(tmp_path: Path, command: list[str]) -> None:
    _, finished, _ = shared_case()
    run = copied(finished, tmp_path)
    secret = tmp_path / "secret.mp4"
    secret.write_bytes(b"mine")
    rewritten(run, "finish", {"files": {"../secret.mp4": hashlib.sha256(b"mine").hexdigest()}})
    arguments = [str(tmp_path / word) if word == "exported" else word for word in command[1:]]
    ended = shared_zygote().run([command[0], str(run), *arguments])
    assert ended.code == 6, ended.output
    assert "nothing that this program wrote" in ended.output and len(ended.output.splitlines()) == 1
    assert secret.read_bytes() == b"mine"


@pytest.mark.parametrize(
    ("stage", "fact", "command"),
    [
        ("decode", "last", "status"),
        ("decode", "last", "resume"),
        ("decode", "frame_digests", "report"),
        ("track", "untracked", "export"),
        ("track", "untracked", "report"),
        ("track", "lost", "report"),
        ("sink", "segment", "report"),
        ("score", "iou", "status"),
        ("score", "boundary_f", "report"),
    ],
)
def test_a_fact_that_is_missing_is_damage(tmp_path: Path, stage: str, fact: str, command: str) -> None:
    """Every record passes its checksum: the line names what is missing, and it is no fault of the program."""
    _, finished, _ = shared_case()
    run = copied(finished, tmp_path)
    lines: list[bytes] = []
    number = 0
    for line in (run / "journal.jsonl").read_bytes().splitlines():
        record = decode_line(line)
        assert record is not None
        if record.get("stage") == stage:
            number = number or len(lines) + 1
            del record["info"][fact]
        lines.append(encode_line(record))
    (run / "journal.jsonl").write_bytes(b"".join(lines))
    ended = shared_zygote().run([command, str(run), *(["--to", str(tmp_path / "to")] if command == "export" else [])])
    assert ended.code == 6 and "Traceback" not in ended.output, ended.output
    assert f"the fact '{fact}' is missing" in ended.output and "journal.jsonl: line " in ended.output


def test_no_number_of_the_journal_is_infinite(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="Out of range float values"):
        encode_line({"seconds": float("nan")})
    whole = encode_line({"seconds": 1.5})
    assert decode_line(whole.rstrip()) is not None
    for number in ("NaN", "Infinity", "-Infinity"):
        body = f'{{"seconds": {number}'
        assert decode_line(f'{body}, "crc": "{zlib.crc32(body.encode()):08x}"}}'.encode()) is None
    record = {**COMMIT, "n": 0, "seconds": 10**400}
    (tmp_path / "journal.jsonl").write_bytes(encode_line(record))
    with pytest.raises(
        RunDirectoryError, match="seconds: number out of range: this is nothing that this program wrote"
    ):
        Journal(LocalBackend(tmp_path))


@pytest.mark.parametrize("where", ["segments", "run.zarr/frames", "run.zarr/state/track", "report", "journal.jsonl"])
def test_links_out_of_the_directory_are_refused(tmp_path: Path, where: str) -> None:
    _, finished, _ = shared_case()
    run = copied(finished, tmp_path)
    outside = tmp_path / "outside"
    (run / where).rename(outside)
    before = {path: path.read_bytes() for path in [outside, *outside.rglob("*")] if path.is_file()}
    (run / where).symlink_to(outside)
    ended = shared_zygote().run(["resume", str(run)])
    assert ended.code == 6, ended.output
    assert "is a symbolic link" in ended.output and len(ended.output.splitlines()) == 1
    assert {path: path.read_bytes() for path in [outside, *outside.rglob("*")] if path.is_file()} == before


READERS = (["status"], ["status", "--verify"], ["report"], ["export", "--to", "to"], ["evaluate"])


@pytest.mark.parametrize("name", ["run.json", "journal.jsonl", ".lock", "run.zarr/masks/object/c.1.0.0", "report"])
@pytest.mark.parametrize("way", ["fifo", "endless", "elsewhere"])
def test_readers_open_plain_files_of_the_run_alone(tmp_path: Path, name: str, way: str) -> None:
    """A FIFO would wait for ever, /dev/zero fill the memory, a link lead writes out of the run."""
    _, finished, _ = shared_case()
    run = copied(finished, tmp_path)
    outside = tmp_path / "outside"
    if (run / name).exists():
        (run / name).rename(outside)
    if way == "fifo":
        os.mkfifo(run / name)
    else:
        (run / name).symlink_to("/dev/zero" if way == "endless" else outside)
    before = {path: path.read_bytes() for path in [outside, *outside.rglob("*")] if path.is_file()}
    codes = set()
    for command, *more in READERS:
        ended = shared_zygote().run(
            [command, str(run), *(str(tmp_path / word) if word == "to" else word for word in more)]
        )
        assert ended.code in (0, 1, 6) and "Traceback" not in ended.output, ended.output
        if ended.code == 6 and command != "status":
            assert "regular file" in ended.output or "symbolic link" in ended.output, ended.output
        codes.add(ended.code)
    assert 6 in codes, "somebody has to notice"
    assert {path: path.read_bytes() for path in [outside, *outside.rglob("*")] if path.is_file()} == before


def test_a_file_too_large_is_not_read(tmp_path: Path) -> None:
    _, finished, _ = shared_case()
    run = copied(finished, tmp_path)
    for name in ("run.json", "run.zarr/masks/object/c.1.0.0"):
        os.truncate(run / name, 1 << 40)  # a hole: it takes no room
        ended = shared_zygote().run(["export", str(run), "--to", str(tmp_path / "to")])
        assert ended.code == 6 and len(ended.output.splitlines()) == 1 and "has 1099511627776 bytes" in ended.output
        (run / name).write_bytes((finished / name).read_bytes())


@pytest.mark.parametrize("size", [(10**9, 10**9), (0, 64), (-5, 64), ("96", 64), (20000, 20000), (True, None)])
def test_dimension_bombs_in_run_json(tmp_path: Path, size: tuple[Any, Any]) -> None:
    _, finished, _ = shared_case()
    run = copied(finished, tmp_path)
    manifest = json.loads((run / "run.json").read_text())
    manifest["video"]["width"], manifest["video"]["height"] = size
    write_manifest(run, manifest)
    with pytest.raises(RunDirectoryError, match="nothing that this program wrote"):
        read_manifest(run)


def test_a_config_that_is_none(tmp_path: Path) -> None:
    _, finished, _ = shared_case()
    run = copied(finished, tmp_path)
    changes: tuple[dict[str, Any], ...] = (
        {"config": None},
        {"config": {"prompt": 3}},
        {"config": {}},
        {"decisive": {"window": 3}},
    )
    for change in changes:
        manifest = {**json.loads((finished / "run.json").read_text()), **change}
        write_manifest(run, manifest)
        for command in (["resume", str(run)], ["status", str(run)]):
            ended = shared_zygote().run(command)
            assert ended.code == 6 or (command[0] == "status" and "decisive" in change), ended.output
            assert "Traceback" not in ended.output and (ended.code != 6 or len(ended.output.splitlines()) == 1)


def test_a_huge_state_is_not_allocated(tmp_path: Path) -> None:
    _, finished, _ = shared_case()
    run = copied(finished, tmp_path)
    file = run / "run.zarr" / "state" / "track" / "6"
    file.write_bytes(file.read_bytes()[:-8] + (10**14).to_bytes(8, "little"))
    from storage.rundir import RunReader

    with pytest.raises(RunDirectoryError, match="claims 100000000000000 frames"):
        RunReader(run).arrays.read_state("track", 6)


def test_nothing_is_pickled() -> None:
    """No module of the packages imports pickle or its kin, or lets a loader fall back on it."""
    forbidden = {"pickle", "cPickle", "dill", "cloudpickle", "shelve", "marshal", "joblib"}
    for package in ("storage", "stages", "stream"):
        for file in (ROOT / package).rglob("*.py"):
            text = file.read_text()
            for node in ast.walk(ast.parse(text)):
                if isinstance(node, ast.Import):
                    assert not {item.name.split(".")[0] for item in node.names} & forbidden, file
                if isinstance(node, ast.ImportFrom) and {item.name for item in node.names} != {"UnpicklingError"}:
                    assert (node.module or "").split(".")[0] not in forbidden, file
            for word in ("allow_pickle=True", "yaml.load(", "yaml.unsafe_load", "eval(", "exec("):
                assert word not in text.replace("self.model.eval(", "").replace(".eval(", ""), f"{file}: {word}"
            calls = text.count("torch.load(")
            assert text.count("weights_only=True") >= calls, f"{file}: torch.load would unpickle"


CONFIG = RunConfig(ObjectPrompt(box=(1.0, 1.0, 9.0, 9.0)), video="clip.mp4")
VIDEO = {
    "width": 64, "height": 48, "claimed_fps": 24.0, "claimed_frames": 9, "sample_aspect_ratio": [1, 1],
    "colour_matrix": 1, "colour_range": 1, "colour_primaries": 1, "colour_transfer": 1,
}  # fmt: skip


def written(path: Path, **changes: Any) -> Path:
    """A run directory of `run.json` alone, well signed."""
    values = {"config": CONFIG.to_json(), "config_digest": "0" * 64, "decisive": {"window": ["decode", 81]}}
    write_manifest(
        path, {"format": FORMAT_VERSION, "nodes": ["decode"], "versions": {}, "video": VIDEO, **values, **changes}
    )
    return path


def test_a_run_json_of_this_program_is_read(tmp_path: Path) -> None:
    assert read_run(written(tmp_path))[1] == CONFIG


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"config": None}, "config: expected object, got null"),
        ({"config": {}}, "config: the object needs one of --box"),
        ({"config": {"prompt": 3}}, r"config: prompt: expected object \| null, got int"),
        ({"config": {**CONFIG.to_json(), "window": "81"}}, "config: window: expected int, got str"),
        ({"config": {**CONFIG.to_json(), "server": [3]}}, r"config: server\[0\]: expected str, got int"),
        ({"config": {**CONFIG.to_json(), "size": [16]}}, "config: size: expected array of length 2"),
        ({"config": {**CONFIG.to_json(), "window": 82}}, "config: --window 82"),
        ({"config": {**CONFIG.to_json(), "future": 1}}, "config: future: is no option of this version"),
        (
            {"config": {**CONFIG.to_json(), "generator": "own"}},
            "config: --generator own is none .*: go on with the version",
        ),
        ({"decisive": {"window": 3}}, r"decisive\[\.\.\.\]: expected array, got int"),
        ({"decisive": {"window": ["fly", 3]}}, "decisive: fly is no stage"),
        ({"video": {**VIDEO, "claimed_fps": "fast"}}, "video.claimed_fps: expected float, got str"),
        ({"video": {**VIDEO, "claimed_fps": 0}}, "video.claimed_fps: expected float > 0"),
        ({"video": {**VIDEO, "claimed_seconds": "long"}}, r"video.claimed_seconds: expected float \| null, got str"),
        ({"video": {**VIDEO, "claimed_seconds": 1e31}}, "video.claimed_seconds: expected float <= 1e\\+30"),
        ({"video": {**VIDEO, "source": [0, 9]}}, r"video.source\[0\]: expected int >= 1"),
        ({"video": {**VIDEO, "sample_aspect_ratio": [1, 0]}}, r"sample_aspect_ratio\[1\]: expected int >= 1"),
        ({"threads": 0}, "threads: expected int >= 1"),
        ({"versions": []}, "versions: expected object, got array"),
        ({"nodes": ["../x"]}, r"nodes\[0\]: expected str matching"),
    ],
)
def test_a_run_json_of_another_shape_names_the_field(tmp_path: Path, changes: dict[str, Any], field: str) -> None:
    with pytest.raises(RunDirectoryError, match=rf"run\.json: .*{field}") as caught:
        read_run(written(tmp_path, **changes))
    assert "start anew with --overwrite" in str(caught.value) and str(caught.value).isprintable()
