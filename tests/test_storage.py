"""The journal, the arrays and the commit protocol."""

import json
import os
import zlib
from pathlib import Path
from types import SimpleNamespace

import google_crc32c
import numpy as np
import pytest
import zarr
from _layout import run_layout
from packaging.version import Version

from stages.base import Array
from stages.video.encode import written_whole
from storage import shards
from storage.arrays import RunArrays
from storage.backend import open_store
from storage.durable import write_atomic
from storage.errors import EnvironmentFault, RunDirectoryError, UsageError
from storage.journal import Journal, decode_line, read_records
from storage.layout import ArraySpec, Layout
from storage.local import LocalBackend
from storage.metadata import array_metadata
from storage.rundir import Commit, CommitLog, RunDirectory, RunReader, read_log, read_manifest
from storage.sizes import count_of, format_size, parse_size
from storage.spans import Span

LAYOUT = run_layout(6, 8)
MANIFEST = {"format": 2}
DROP = {"kind": "drop", "arrays": ["frames"], "stop": 0}


def open_run(path: Path) -> RunDirectory:
    return RunDirectory(path, LAYOUT, dict(MANIFEST))


def frames(start: int, stop: int) -> np.ndarray:
    return np.stack([np.full((6, 8, 3), t % 251, np.uint8) for t in range(start, stop)])


def test_journal_reads_back_what_it_wrote(tmp_path: Path) -> None:
    with Journal(LocalBackend(tmp_path)) as journal:
        journal.append({**DROP, "text": 'quotes " and, commas", "crc": "'})
        journal.append({**DROP, "numbers": [1.5, None]})
    records, intact = read_records(LocalBackend(tmp_path))
    assert [record["n"] for record in records] == [0, 1]
    assert records[0]["text"] == 'quotes " and, commas", "crc": "'
    assert intact == (tmp_path / "journal.jsonl").stat().st_size


@pytest.mark.parametrize("cut", range(1, 40, 3))
def test_a_torn_last_record_is_dropped(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "journal.jsonl"
    with Journal(LocalBackend(tmp_path)) as journal:
        journal.append({**DROP, "stop": 1})
        whole = path.stat().st_size
        journal.append({**DROP, "stop": 2})
    path.write_bytes(path.read_bytes()[: whole + cut])
    with Journal(LocalBackend(tmp_path)) as journal:
        assert [record["stop"] for record in journal.take_records()] == [1]
        journal.append({**DROP, "stop": 3})
    assert [record["stop"] for record in read_records(LocalBackend(tmp_path))[0]] == [1, 3]


def test_damage_before_the_last_record_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    with Journal(LocalBackend(tmp_path)) as journal:
        for stop in range(3):
            journal.append({**DROP, "stop": stop})
    data = bytearray(path.read_bytes())
    data[10] ^= 1
    path.write_bytes(bytes(data))
    with pytest.raises(RunDirectoryError, match="line 1 of the journal is damaged"):
        Journal(LocalBackend(tmp_path))


def opened(path: Path) -> tuple[RunArrays, CommitLog]:
    log = CommitLog([])
    return RunArrays(LocalBackend(path / "run.zarr"), LAYOUT, log), log


def commit(arrays: RunArrays, log: CommitLog, window: int, start: int, values: dict[str, np.ndarray]) -> dict[str, str]:
    """Write one window's frames, and have the log say so."""
    for name, frames_of in values.items():
        arrays.write(name, window, frames_of)
    digests, stop = arrays.flush(), start + len(next(iter(values.values())))
    log.apply({"kind": "commit", "stage": "decode", "window": window, "span": [start, stop], "digests": digests})
    return digests


SPANS = {0: (0, 121), 1: (121, 200), 2: (200, 203), 7: (203, 210)}  # windows start wherever they like


def test_arrays_are_read_as_one_wherever_windows_start(tmp_path: Path) -> None:
    arrays, log = opened(tmp_path)
    for window, (start, stop) in SPANS.items():
        values = {"frames": frames(start, stop), "masks/object": np.zeros((stop - start, 6, 8), bool)}
        digests = commit(arrays, log, window, start, values)
        assert list(digests) == [f"frames/c.{window}.0.0.0", f"masks/object/c.{window}.0.0"], "one object an array"
    assert arrays.frames("frames") == 210
    for start, stop in ((0, 210), (4, 14), (120, 122), (199, 204), (209, 210)):
        assert np.array_equal(arrays.read("frames", start, stop), frames(start, stop)), (start, stop)
    assert not arrays.read("masks/object", 0, 210).any() and arrays.read("masks/object", 200, 200).shape == (0, 6, 8)
    with pytest.raises(RunDirectoryError, match="ends at frame 210, 211 frames are needed"):
        arrays.read("frames", 0, 211)


def test_what_is_not_committed_is_not_read(tmp_path: Path) -> None:
    arrays, _ = opened(tmp_path)
    arrays.write("frames", 0, frames(0, 9))
    arrays.flush()
    with pytest.raises(RunDirectoryError, match="ends at frame 0, 3 frames are needed"):
        arrays.read("frames", 0, 3)


def test_a_missing_or_altered_object_is_an_error_never_zeros(tmp_path: Path) -> None:
    arrays, log = opened(tmp_path)
    commit(arrays, log, 0, 0, {"frames": frames(0, 9)})
    file = tmp_path / "run.zarr" / "frames" / "c.0.0.0.0"
    data = file.read_bytes()
    for broken in (b"", b"garbage", data[:-1], data + b"x", data[:50] + bytes([data[50] ^ 1]) + data[51:], data * 9):
        file.write_bytes(broken)
        with pytest.raises(RunDirectoryError, match=r"frames/c\.0\.0\.0\.0 (cannot be decoded|has \d+ bytes)"):
            arrays.read("frames", 0, 9)
    file.unlink()
    with pytest.raises(RunDirectoryError, match="is missing"):
        arrays.read("frames", 3, 6)


def test_drop_frees_what_lies_before_as_a_whole(tmp_path: Path) -> None:
    arrays, log = opened(tmp_path)
    for window, start in enumerate((0, 3, 6, 9)):
        commit(arrays, log, window, start, {"frames": frames(start, start + 3)})
    arrays.drop_before("frames", 8)
    assert np.array_equal(arrays.read("frames", 6, 12), frames(6, 12))
    with pytest.raises(RunDirectoryError):
        arrays.read("frames", 3, 6)


def test_states_keep_values_arrays_and_dtypes(tmp_path: Path) -> None:
    arrays, _ = opened(tmp_path)
    given = {"memory/0": np.arange(300_000, dtype=np.uint16).reshape(2, -1), "flag": np.array([True, False])}
    arrays.write_state("track", 4, {"next": 81, "box": [1.5, None]}, given)
    values, found = arrays.read_state("track", 4)
    assert values == {"next": 81, "box": [1.5, None]}
    assert all(np.array_equal(found[key], given[key]) and found[key].dtype == given[key].dtype for key in given)
    with pytest.raises(RunDirectoryError, match="track/5"):
        arrays.read_state("track", 5)


def test_a_block_is_kept_until_its_reader_has_committed(tmp_path: Path) -> None:
    with open_run(tmp_path) as run:
        for window in range(2):
            run.commit(Commit("generate", window, Span(0, 0), blocks={"raw": frames(5, 10)}))
        assert np.array_equal(run.arrays.read_block("raw", 1), frames(5, 10))
        run.commit(Commit("blend", 0, Span(0, 0)))
        assert run.arrays.kept("raw") == [1]
        run.keep_all()
        run.commit(Commit("generate", 2, Span(0, 0), blocks={"raw": frames(5, 10)}))
        run.commit(Commit("blend", 2, Span(0, 0)))
        assert run.arrays.kept("raw") == [1, 2]


def test_commit_then_reopen(tmp_path: Path) -> None:
    with open_run(tmp_path) as run:
        for window in range(13):
            span = Span(window * 3, window * 3 + 3)
            for stage in ("decode", "blend"):
                arrays = {"frames" if stage == "decode" else "generated": frames(*span)}
                run.commit(Commit(stage, window, span, arrays, state=({"n": window}, {}), info={"last": False}))
        assert run.log.done("decode") == 13
    with open_run(tmp_path) as run:
        assert run.log.done("decode") == 13
        assert run.arrays.kept("decode") == [0, 10, 11, 12], "latest, the one before, every tenth"
        assert run.arrays.read_state("decode", 12)[0] == {"n": 12}
        run.revoke(["decode"], 5)
        assert run.log.done("decode") == 5 and run.arrays.frames("frames") == 15
    assert read_log(tmp_path).done("decode") == 5
    with open_run(tmp_path) as run:
        assert len(list((tmp_path / "run.zarr" / "frames").iterdir())) == 5, "what is void is swept away"


@pytest.mark.parametrize("names", [["a b"], ["../x"], ["state/x"], ["a", "a/b"], ["Mask", "mask"], [""], ["x" * 65]])
def test_names_that_no_array_can_have(names: list[str]) -> None:
    with pytest.raises(RunDirectoryError):
        Layout({name: ArraySpec((), "bool") for name in names})


def test_layouts_with_nan_are_equal() -> None:
    one, two = (ArraySpec((), "float32", float("nan")) for _ in range(2))
    assert one == two and hash(one) == hash(two) and one != ArraySpec((), "float32")
    assert Layout({"iou": one}) == Layout({"iou": two}) and run_layout(6, 8) == run_layout(6, 8)


@pytest.mark.parametrize(
    "other",
    [
        ArraySpec((3,), "uint8", 0, "blend", 1),
        ArraySpec((2,), "int32", 0, "blend", 1),
        ArraySpec((2,), "uint8", 1, "blend", 1),
        ArraySpec((2,), "uint8", 0, "score", 1),
        ArraySpec((2,), "uint8", 0, "blend", 0),
    ],
)
def test_layouts_differ_where_any_field_does(other: ArraySpec) -> None:
    assert ArraySpec((2,), "uint8", 0, "blend", 1) != other


def test_names_take_letters_digits_and_groups(tmp_path: Path) -> None:
    layout = Layout({name: ArraySpec((2,), "int32") for name in ("masks/Board_2-b", "a/b/c", "x1")})
    for stored in (layout, LAYOUT):
        assert Layout.from_json(json.loads(json.dumps(stored.to_json()))) == stored
    with RunDirectory(tmp_path, layout, dict(MANIFEST)) as run:
        values = np.arange(6, dtype=np.int32).reshape(3, 2)
        run.commit(Commit("any-stage_2", 0, Span(0, 3), dict.fromkeys(layout.arrays, values)))
    reader = RunReader(tmp_path)
    assert all(np.array_equal(reader.arrays.read(name, 1, 3), values[1:]) for name in layout.arrays)


def test_arrays_stored_otherwise_are_refused(tmp_path: Path) -> None:
    with open_run(tmp_path) as run:
        run.commit(Commit("decode", 0, Span(0, 3), {"frames": frames(0, 3)}))
    other = {**LAYOUT.arrays, "frames": ArraySpec((6, 9, 3), "uint8")}
    with pytest.raises(RunDirectoryError, match="'frames' is not stored as this program stores it"):
        RunDirectory(tmp_path, Layout(other), dict(MANIFEST))


def test_an_object_is_a_shard_that_zarr_reads(tmp_path: Path) -> None:
    """Of one window, as any Zarr reads it: the grid that joins the windows needs zarr-python 3.2."""
    arrays, log = opened(tmp_path)
    spans = {
        "frames": frames(0, 7),
        "keypoints/person": np.random.default_rng(0).random((7, 133, 3)).astype(np.float32),
    }
    commit(arrays, log, 0, 0, spans)
    for name, values in spans.items():
        metadata = array_metadata(LAYOUT.arrays[name], [Span(0, 7)])
        metadata["chunk_grid"] = {"name": "regular", "configuration": {"chunk_shape": list(values.shape)}}
        (tmp_path / "run.zarr" / name / "zarr.json").write_text(json.dumps(metadata))
        found = zarr.open_array(tmp_path / "run.zarr" / name, mode="r", zarr_format=3)
        assert np.array_equal(np.asarray(found[:]), values) and np.array_equal(np.asarray(found[3:5]), values[3:5])


@pytest.mark.skipif(Version(zarr.__version__) < Version("3.2"), reason="zarr-python knows variable grids from 3.2 on")
def test_a_run_is_one_zarr_array_a_name(tmp_path: Path) -> None:
    with open_run(tmp_path) as run:
        for window, (start, stop) in SPANS.items():
            run.commit(Commit("decode", window, Span(start, stop), {"frames": frames(start, stop)}))
        run.finish({})
    with zarr.config.set({"array.rectilinear_chunks": True}):
        found = zarr.open_group(tmp_path / "run.zarr", mode="r")["frames"]
        assert isinstance(found, zarr.Array)
        assert found.shape == (210, 6, 8, 3) and np.array_equal(np.asarray(found[:]), frames(0, 210))


def test_a_grid_that_follows_from_the_spans() -> None:
    spans = [Span(0, 81), Span(81, 141), Span(141, 201), Span(201, 204)]
    grid = array_metadata(ArraySpec((4,), "bool"), spans)["chunk_grid"]["configuration"]["chunk_shapes"]
    assert grid == [[81, [60, 2], 3], [4]]


def test_one_process_at_a_time(tmp_path: Path) -> None:
    with open_run(tmp_path), pytest.raises(RunDirectoryError, match="in use by another"):
        open_run(tmp_path)
    open_run(tmp_path).close()


def test_leftovers_are_cleaned(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "zarr.abc.partial").write_bytes(b"x")
    write_atomic(tmp_path / "run.json", b"{}")
    assert LocalBackend(tmp_path).clean() == 1
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["run.json"]


def test_foreign_folders_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.doc").write_text("years of work")
    with pytest.raises(RunDirectoryError, match="no run directory"):
        open_store(tmp_path).check_ours()
    assert (tmp_path / "thesis.doc").exists()


def test_another_format_is_refused_with_both_versions(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text(json.dumps({"format": 99}))
    with pytest.raises(RunDirectoryError, match=r"format 99, this program reads 2"):
        read_manifest(tmp_path)


def test_an_unwritable_folder_is_an_environment_fault(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(EnvironmentFault, match="choose another --out"):
        open_run(tmp_path / "file" / "run")


@pytest.mark.parametrize(
    ("text", "size"),
    [("8GB", 8 * 10**9), ("7.5GiB", 15 * 2**29), ("512 MB", 512 * 10**6), ("1500", 1500), ("2e9", 2 * 10**9)],
)
def test_sizes(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "eight", "-1GB", "0", "1.2.3MB", "8XB"])
def test_sizes_that_are_none(text: str) -> None:
    with pytest.raises(UsageError, match="is not a size"):
        parse_size(text)


def test_sizes_are_written_as_they_are_read() -> None:
    assert format_size(8 * 10**9) == "8.0 GB"
    assert format_size(1500) == "2 kB"
    assert [count_of(n, "frame") for n in range(3)] == ["0 frames", "1 frame", "2 frames"]


def test_on_windows_files_are_flushed_through_a_writable_handle_and_folders_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[tuple[Path, int]] = []

    def record(path: Path, flags: int) -> int:
        opened.append((path, flags))
        return os.open(path, flags)

    windows = SimpleNamespace(**{name: getattr(os, name) for name in ("fsync", "close", "O_RDONLY", "O_RDWR")})
    monkeypatch.setattr("storage.durable.os", SimpleNamespace(**vars(windows), name="nt", open=record))
    with written_whole(tmp_path / "video.mp4") as partial:
        partial.write_bytes(b"video")
    assert opened == [(tmp_path / "video.mp4.partial", os.O_RDWR)]
    assert (tmp_path / "video.mp4").read_bytes() == b"video"


def test_json_nested_too_deeply_is_damage(tmp_path: Path) -> None:
    deep = '{"a": ' + "[" * 200_000 + "]" * 200_000
    assert decode_line(f'{deep}, "crc": "{zlib.crc32(deep.encode()):08x}"}}'.encode()) is None
    for text in (deep + "}", "[" * 200_000, '{"a": ' + "[" * 980 + "]" * 980 + "}"):
        (tmp_path / "run.json").write_text(text)
        with pytest.raises(RunDirectoryError, match=r"run\.json (cannot be read|is damaged)") as caught:
            read_manifest(tmp_path)
        assert "\n" not in str(caught.value)


def test_an_index_that_is_whole_and_leads_astray_is_damage() -> None:
    """Frames of another's directory: none is given in another's place, nothing outside of the object is read."""
    frames = np.arange(4 * 6, dtype=np.uint8).reshape(4, 2, 3)
    data = b"".join(shards.encode(frames))
    at = len(data) - 4 * 16 - 4
    index = np.frombuffer(data[at:-4], "<u8").reshape(4, 2)

    def decoded(entries: Array, start: int, count: int) -> Array:
        found = np.zeros((count, 2, 3), np.uint8)
        bent = entries.astype("<u8").tobytes()
        whole = data[:at] + bent + google_crc32c.value(bent).to_bytes(4, "little")
        shards.decode(lambda begin, length: whole[begin : begin + length], len(whole), 4, start, found)
        return found

    assert np.array_equal(decoded(index, 1, 3), frames[1:])
    far = 2**64 - 5
    wrapped = index.copy()  # two lengths that add up to what they should, by more than there is of numbers
    wrapped[0, 1], wrapped[1] = far, (far, int(index[1].sum()) + 5)
    bent = [index[::-1], wrapped]
    for row, entry in ((0, (1, index[0, 1] - 1)), (1, (far, 9)), (2, index[1]), (3, (index[3, 0], index[3, 1] - 1))):
        bent.append(index.copy())
        bent[-1][row] = entry
    for entries in bent:
        for start, count in ((0, 4), (0, 1), (1, 1), (2, 2)):
            with pytest.raises(shards.Damaged, match="its index leads astray"):
                decoded(entries, start, count)
