"""The journal, the arrays and the commit protocol."""

import json
import os
import zlib
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from stages._video.encode import written_whole
from storage.arrays import RunArrays, run_arrays
from storage.change import clear_run
from storage.durable import remove_partials, write_atomic
from storage.errors import EnvironmentFault, RunDirectoryError, UsageError
from storage.journal import Journal, decode_line, read_records
from storage.rundir import Commit, RunDirectory, read_log, read_manifest
from storage.sizes import format_size, parse_size
from storage.spans import Span

SPECS = run_arrays(6, 8)
MANIFEST = {"format": 1}
DROP = {"kind": "drop", "arrays": ["frames"], "stop": 0}


def open_run(path: Path) -> RunDirectory:
    return RunDirectory(path, chunk_frames=3, height=6, width=8, manifest=dict(MANIFEST))


def frames(start: int, stop: int) -> np.ndarray:
    return np.stack([np.full((6, 8, 3), t % 251, np.uint8) for t in range(start, stop)])


def test_journal_reads_back_what_it_wrote(tmp_path: Path) -> None:
    with Journal(tmp_path / "journal.jsonl") as journal:
        journal.append({**DROP, "text": 'quotes " and, commas", "crc": "'})
        journal.append({**DROP, "numbers": [1.5, None]})
    records, intact = read_records(tmp_path / "journal.jsonl")
    assert [record["n"] for record in records] == [0, 1]
    assert records[0]["text"] == 'quotes " and, commas", "crc": "'
    assert intact == (tmp_path / "journal.jsonl").stat().st_size


@pytest.mark.parametrize("cut", range(1, 40, 3))
def test_a_torn_last_record_is_dropped(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "journal.jsonl"
    with Journal(path) as journal:
        journal.append({**DROP, "stop": 1})
        whole = path.stat().st_size
        journal.append({**DROP, "stop": 2})
    path.write_bytes(path.read_bytes()[: whole + cut])
    with Journal(path) as journal:
        assert [record["stop"] for record in journal.take_records()] == [1]
        journal.append({**DROP, "stop": 3})
    assert [record["stop"] for record in read_records(path)[0]] == [1, 3]


def test_damage_before_the_last_record_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    with Journal(path) as journal:
        for stop in range(3):
            journal.append({**DROP, "stop": stop})
    data = bytearray(path.read_bytes())
    data[10] ^= 1
    path.write_bytes(bytes(data))
    with pytest.raises(RunDirectoryError, match="line 1 of the journal is damaged"):
        Journal(path)


def test_arrays_grow_and_read_back(tmp_path: Path) -> None:
    arrays = RunArrays(tmp_path / "run.zarr", SPECS, 3)
    arrays.write("frames", 0, frames(0, 9))
    arrays.write("frames", 9, frames(9, 14))
    arrays.write("masks/object", 0, np.zeros((14, 6, 8), bool))
    digests = arrays.flush()
    assert sum(key.startswith("frames/c.") for key in digests) == 5
    assert sum(key.startswith("masks/object/c.") for key in digests) == 5, "empty chunks are stored too"
    again = RunArrays(tmp_path / "run.zarr", SPECS, 3)
    assert again.frames("frames") == 14
    assert np.array_equal(again.read("frames", 4, 14), frames(4, 14))


def test_a_missing_or_altered_chunk_is_an_error_never_zeros(tmp_path: Path) -> None:
    arrays = RunArrays(tmp_path / "run.zarr", SPECS, 3)
    arrays.write("frames", 0, frames(0, 9))
    key = arrays.chunk_keys("frames", 3, 6)[0]
    chunk = tmp_path / "run.zarr" / key
    chunk.write_bytes(b"garbage")
    with pytest.raises(RunDirectoryError, match="frames"):
        arrays.read("frames", 3, 6)
    chunk.unlink()
    with pytest.raises(RunDirectoryError, match="is missing"):
        arrays.read("frames", 3, 6)


def test_drop_frees_whole_chunks_only(tmp_path: Path) -> None:
    arrays = RunArrays(tmp_path / "run.zarr", SPECS, 3)
    arrays.write("frames", 0, frames(0, 12))
    assert arrays.drop_before("frames", 8) > 0
    assert np.array_equal(arrays.read("frames", 6, 12), frames(6, 12))
    with pytest.raises(RunDirectoryError):
        arrays.read("frames", 3, 6)


def test_states_keep_values_arrays_and_dtypes(tmp_path: Path) -> None:
    arrays = RunArrays(tmp_path / "run.zarr", SPECS, 3)
    given = {"memory/0": np.arange(6, dtype=np.uint16).reshape(2, 3), "flag": np.array([True, False])}
    arrays.write_state("track", 4, {"next": 81, "box": [1.5, None]}, given)
    values, found = arrays.read_state("track", 4)
    assert values == {"next": 81, "box": [1.5, None]}
    assert all(np.array_equal(found[key], given[key]) and found[key].dtype == given[key].dtype for key in given)
    with pytest.raises(RunDirectoryError, match="track/5"):
        arrays.read_state("track", 5)


def test_commit_then_reopen(tmp_path: Path) -> None:
    with open_run(tmp_path) as run:
        for window in range(13):
            span = Span(window * 3, window * 3 + 3)
            run.commit(
                Commit(
                    "decode", window, span, {"frames": frames(*span)}, state=({"n": window}, {}), info={"last": False}
                )
            )
        assert run.log.done("decode") == 13
    with open_run(tmp_path) as run:
        assert run.log.done("decode") == 13
        assert run.arrays.blocks("decode") == [0, 10, 11, 12], "latest, the one before, every tenth"
        assert run.arrays.read_state("decode", 12)[0] == {"n": 12}
        run.revoke(["decode"], 5)
        assert run.log.done("decode") == 5
    assert read_log(tmp_path).done("decode") == 5


def test_one_process_at_a_time(tmp_path: Path) -> None:
    with open_run(tmp_path), pytest.raises(RunDirectoryError, match="in use by another"):
        open_run(tmp_path)
    open_run(tmp_path).close()


def test_leftovers_are_cleaned(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "zarr.abc.partial").write_bytes(b"x")
    write_atomic(tmp_path / "run.json", b"{}")
    assert remove_partials(tmp_path) == 1
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["run.json"]


def test_foreign_folders_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.doc").write_text("years of work")
    with pytest.raises(RunDirectoryError, match="no run directory"):
        clear_run(tmp_path)
    assert (tmp_path / "thesis.doc").exists()


def test_another_format_is_refused_with_both_versions(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text(json.dumps({"format": 99}))
    with pytest.raises(RunDirectoryError, match=r"format 99, this program reads 1"):
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
