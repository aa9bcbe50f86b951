"""Damaged files: found by `status --verify`, repaired by `resume` with the same bytes, or refused; never misread."""

import json
import shutil
from pathlib import Path

import pytest
from _crash import STAGES, copied, differing, results, shared_case
from _zygote import Ended, shared_zygote

from storage.errors import RunDirectoryError
from storage.journal import decode_line, encode_line
from storage.rundir import Commit, RunDirectory, RunReader, read_log
from storage.spans import Span
from storage.verify import find_damage

WAYS = ("deleted", "truncated", "flipped")


def damage(path: Path, way: str) -> None:
    """Delete a file, cut it in half, or flip one bit in its middle."""
    data = bytearray(path.read_bytes())
    if way == "deleted":
        path.unlink()
    elif way == "truncated":
        path.write_bytes(data[: len(data) // 2])
    else:
        data[len(data) // 2] ^= 4
        path.write_bytes(data)


def verified(run: Path) -> list[str]:
    """What `skate status --verify` calls damaged."""
    ended = shared_zygote().run(["status", str(run), "--verify", "--json"])
    assert ended.code in (0, 6), ended.output
    found: list[str] = json.loads(ended.output.splitlines()[-1])["damaged"]
    assert (ended.code == 6) == bool(found)
    return found


def resumed(run: Path, fault: str | None = None) -> Ended:
    ended = shared_zygote().run(["resume", str(run)], fault=fault)
    assert "Traceback" not in ended.output, ended.output
    return ended


def stored_files(run: Path) -> list[str]:
    """Everything that a commit or the finish record vouches for, and the arrays' metadata."""
    files = sorted(path for folder in ("run.zarr", "segments") for path in (run / folder).rglob("*") if path.is_file())
    return [str(path.relative_to(run)) for path in files] + ["output.mp4", "report/iou.csv"]


def one_of_each(files: list[str], turn: int) -> list[str]:
    """One file of every kind (array, metadata, state of a stage, segment, finished file), another one every turn."""
    kinds: dict[str, list[str]] = {}
    for name in files:
        folder, _, file = name.rpartition("/")
        state = "/".join(name.split("/")[:3]) if "/state/" in name else folder
        kinds.setdefault(f"{state} {'metadata' if file == 'zarr.json' else file.endswith('.csv') or ''}", []).append(
            name
        )
    return [names[(turn * 5 + 2) % len(names)] for names in kinds.values()]


def test_an_intact_run_has_no_damage() -> None:
    _, finished, _ = shared_case()
    assert verified(finished) == []


def test_every_file_is_missed(tmp_path: Path) -> None:
    _, finished, _ = shared_case()
    run = copied(finished, tmp_path)
    log = read_log(run)
    for index, name in enumerate(stored_files(run)):
        data = (run / name).read_bytes()
        damage(run / name, WAYS[index % 3])
        assert find_damage(run, log).paths() == [name], WAYS[index % 3]
        (run / name).write_bytes(data)


@pytest.mark.parametrize("way", WAYS)
def test_damage_is_repaired_with_the_same_bytes(tmp_path: Path, way: str) -> None:
    _, finished, wanted = shared_case()
    run = copied(finished, tmp_path)
    chosen = one_of_each(stored_files(run), WAYS.index(way))
    assert len(chosen) > 25
    for name in chosen:
        damage(run / name, way)
    assert verified(run) == sorted(chosen, key=lambda name: (_rank(name), name))
    ended = resumed(run)
    assert ended.code in (0, 1), ended.output
    assert all(f"damaged: {name}" in ended.output for name in chosen if not name.startswith(("output", "report")))
    assert differing(results(run), wanted) == []
    assert verified(run) == []


def _rank(name: str) -> int:
    return ("run.zarr", "segments", "output.mp4", "report").index(name.split("/")[0])


def test_a_lost_segment_is_generated_again_though_everything_before_it_was_dropped(tmp_path: Path) -> None:
    _, finished, wanted = shared_case()
    run = copied(finished, tmp_path)
    damage(run / "segments" / "00003.mp4", "flipped")
    ended = resumed(run)
    assert ended.code in (0, 1), ended.output
    assert differing(results(run), wanted) == []
    assert "decode 0" not in ended.output.split("repairing:")[1].splitlines()[0]


@pytest.mark.parametrize("stage", [stage for stage in STAGES if stage not in ("composite", "blend", "sink")])
def test_the_latest_states_are_made_again_from_the_newest_intact_one(tmp_path: Path, stage: str) -> None:
    _, finished, wanted = shared_case()
    run = copied(finished, tmp_path)
    for window in (5, 6):
        (run / "run.zarr" / "state" / stage / str(window)).unlink()
    ended = resumed(run)
    assert ended.code in (0, 1), ended.output
    assert differing(results(run), wanted) == []


def test_a_run_in_the_middle_is_repaired_before_it_goes_on(tmp_path: Path) -> None:
    case, _, wanted = shared_case()
    run = tmp_path / "run"
    assert shared_zygote().run(case.run(run), fault="blend.begin#5").code == -9
    chosen = one_of_each([name for name in stored_files(run) if (run / name).exists()], 1)
    assert {"run.zarr/frames", "run.zarr/generated", "run.zarr/blocks/raw"} <= {
        "/".join(name.split("/")[: 3 if "/state/" in name or "/blocks/" in name else 2]) for name in chosen
    }
    for name in chosen:
        damage(run / name, "flipped")
    assert set(chosen) <= set(verified(run))
    ended = resumed(run)
    assert ended.code in (0, 1), ended.output
    assert differing(results(run), wanted) == []


def test_a_kill_during_the_repair_loses_nothing(tmp_path: Path) -> None:
    _, finished, wanted = shared_case()
    run = copied(finished, tmp_path)
    for array in ("keypoints/person", "masks/object", "iou"):
        for chunk in (run / "run.zarr" / array).glob("c.*"):
            chunk.unlink()
    assert resumed(run, fault="repair.window#9").code == -9
    assert len(verified(run)) > 0
    assert resumed(run).code in (0, 1)
    assert differing(results(run), wanted) == []


def test_other_bytes_than_recorded_are_refused(tmp_path: Path) -> None:
    _, finished, _ = shared_case()
    run = copied(finished, tmp_path)
    lines = (run / "journal.jsonl").read_bytes().splitlines()
    for number, line in enumerate(lines):
        record = decode_line(line)
        assert record is not None
        if record.get("stage") == "pose" and record["window"] == 2:
            keys = [key for key in record["digests"] if key.startswith("keypoints/")]
            record["digests"][keys[0]] = "0" * 32
            lines[number] = encode_line(record).rstrip()
    (run / "journal.jsonl").write_bytes(b"\n".join(lines) + b"\n")
    assert verified(run) == [f"run.zarr/{keys[0]}"]
    before = (run / "run.zarr" / keys[0]).read_bytes()
    ended = resumed(run)
    assert ended.code == 6
    assert "gives other bytes than were recorded (keypoints/" in ended.output
    assert (run / "run.zarr" / keys[0]).read_bytes() == before, "what is there is not replaced by something else"


@pytest.mark.parametrize("way", ["deleted", "emptied"])
def test_a_journal_that_is_gone_is_seen_and_nothing_is_made_of_it_but_anew(tmp_path: Path, way: str) -> None:
    case, finished, wanted = shared_case()
    run = copied(finished, tmp_path)
    if way == "deleted":
        (run / "journal.jsonl").unlink()
    else:
        (run / "journal.jsonl").write_bytes(b"")
    assert "journal.jsonl" in verified(run)
    told = shared_zygote().run(["status", str(run), "--verify"]).output
    assert "put journal.jsonl back" in told and "resume" not in told
    before = (run / "output.mp4").stat()
    for arguments in (["resume", str(run)], case.run(run)):
        ended = shared_zygote().run(arguments)
        assert ended.code == 6 and "its journal holds nothing of the work that is there" in ended.output
        assert (run / "output.mp4").stat() == before
    assert shared_zygote().run(case.run(run, "--overwrite")).code in (0, 1)
    assert differing(results(run), wanted) == []
    assert verified(run) == []


def test_a_torn_journal_line_is_seen_and_cut_off(tmp_path: Path) -> None:
    _, finished, wanted = shared_case()
    run = copied(finished, tmp_path)
    damage(run / "journal.jsonl", "flipped")
    ended = resumed(run)
    assert ended.code == 6
    assert "of the journal is damaged" in ended.output

    shutil.rmtree(run)
    run = copied(finished, tmp_path)
    data = (run / "journal.jsonl").read_bytes()
    (run / "journal.jsonl").write_bytes(data[:-30])
    assert verified(run) == ["journal.jsonl"]
    assert resumed(run).code in (0, 1)
    assert differing(results(run), wanted) == []


@pytest.mark.parametrize("way", WAYS)
def test_a_damaged_manifest_is_refused_and_written_again_by_run(tmp_path: Path, way: str) -> None:
    case, finished, wanted = shared_case()
    run = copied(finished, tmp_path)
    original = (run / "run.json").read_bytes()
    damage(run / "run.json", way)
    ended = resumed(run)
    assert ended.code == 6
    assert "run.json" in ended.output and len(ended.output.splitlines()) == 1
    ended = shared_zygote().run(case.run(run, "--seed", "5"))
    assert ended.code == 6, "another config cannot bring it back"
    ended = shared_zygote().run(case.run(run))
    assert ended.code in (0, 1), ended.output
    assert (run / "run.json").read_bytes() == original
    assert differing(results(run), wanted) == []


@pytest.mark.parametrize("gone", ["state", "state/track", "masks", ""])
def test_whole_folders_come_back_with_every_byte(tmp_path: Path, gone: str) -> None:
    _, finished, wanted = shared_case()
    run = copied(finished, tmp_path)
    shutil.rmtree(run / "run.zarr" / gone)
    assert resumed(run).code in (0, 1)
    assert differing(results(run), wanted) == []
    assert verified(run) == []


@pytest.mark.parametrize("kind", ["commit", "drop", "config"])
def test_a_journal_line_that_is_lost_as_a_whole_is_refused(tmp_path: Path, kind: str) -> None:
    _, finished, _ = shared_case()
    run = copied(finished, tmp_path)
    lines = (run / "journal.jsonl").read_bytes().splitlines(keepends=True)
    lost = next(number for number, line in enumerate(lines) if f'"kind": "{kind}"'.encode() in line)
    (run / "journal.jsonl").write_bytes(b"".join(lines[:lost] + lines[lost + 1 :]))
    for command in ("resume", "status", "export"):
        ended = shared_zygote().run(
            [command, str(run), *(["--to", str(tmp_path / "to")] if command == "export" else [])]
        )
        assert ended.code == 6 and len(ended.output.splitlines()) == 1, ended.output
        assert f"line {lost + 1} of the journal is record {lost + 1}, it must be {lost}" in ended.output


@pytest.mark.parametrize("reader", ["export", "report", "evaluate", "generate"])
def test_exchanged_chunks_are_never_read(tmp_path: Path, reader: str) -> None:
    """Each has a checksum that is right: only the journal tells that they are not where they belong."""
    _, finished, wanted = shared_case()
    run = copied(finished, tmp_path)
    for array in ("masks/object", "visible/object"):
        one, other = sorted((run / "run.zarr" / array).glob("c.*"))[1:3]
        one.rename(tmp_path / "kept")
        other.rename(one)
        (tmp_path / "kept").rename(other)
    more = {"export": ["--to", str(tmp_path / "to")], "generate": ["--out", str(tmp_path / "other")]}
    ended = shared_zygote().run([reader, str(run), *more.get(reader, [])])
    assert ended.code == 6 and "not what was committed" in ended.output, ended.output
    assert "Traceback" not in ended.output and not (tmp_path / "other").exists()
    assert resumed(run).code in (0, 1)
    assert differing(results(run), wanted) == []


def test_a_reader_goes_on_beside_a_process_that_replaces_windows(tmp_path: Path) -> None:
    """What was made again since the journal was read is in the journal by now: no damage."""
    _, finished, _ = shared_case()
    run = copied(finished, tmp_path)
    reader = RunReader(run)
    before = reader.arrays.read("keypoints/person", 0, 21)
    values = before + 1
    with RunDirectory(run, reader.log.layout, reader.manifest) as writer:
        for record in reader.log.of("pose"):
            span = Span(*record["span"])
            writer.commit(Commit("pose", record["window"], span, {"keypoints/person": values[span.start : span.stop]}))
    assert (reader.arrays.read("keypoints/person", 0, 21) == values).all()


def test_readers_refuse_what_is_altered(tmp_path: Path) -> None:
    _, finished, _ = shared_case()
    run = copied(finished, tmp_path)
    damage(run / "run.zarr" / "keypoints/person" / "c.2.0.0", "flipped")
    reader = RunReader(run)
    with pytest.raises(RunDirectoryError, match=r"keypoints/person/c\.2\.0\.0 is not what was committed"):
        reader.arrays.read("keypoints/person", 0, 21)
    damage(run / "run.zarr" / "masks" / "object" / "zarr.json", "flipped")
    assert RunReader(run).arrays.read("masks/object", 0, 21).any(), "nothing of ours reads it"


@pytest.mark.parametrize("way", WAYS)
def test_evaluate_refuses_a_damaged_segment(tmp_path: Path, way: str) -> None:
    """Also one that would still decode: its IoU would be wrong."""
    _, finished, _ = shared_case()
    run = copied(finished, tmp_path)
    damage(run / "segments" / "00004.mp4", way)
    ended = shared_zygote().run(["evaluate", str(run)])
    lines = ended.output.strip().splitlines()
    assert ended.code == 6 and len(lines) == 1, ended.output
    assert "segments/00004.mp4" in lines[0] and "skate resume" in lines[0]
    assert resumed(run).code in (0, 1)
    assert shared_zygote().run(["evaluate", str(run)]).code in (0, 1)


def test_a_folder_or_a_file_in_the_others_place_is_named_with_what_to_do(tmp_path: Path) -> None:
    _, finished, wanted = shared_case()
    run = copied(finished, tmp_path)
    (run / "output.mp4").rename(tmp_path / "output.mp4")
    (run / "output.mp4").mkdir()
    told = resumed(run)
    assert told.code == 4, told.output
    assert f"{run / 'output.mp4'}: Is a directory: a file belongs there, move the folder away, then" in told.output
    (run / "output.mp4").rmdir()
    shutil.rmtree(run / "run.zarr" / "iou")
    (run / "run.zarr" / "iou").write_bytes(b"x")
    told = resumed(run)
    assert told.code == 4, told.output
    assert f"{run / 'run.zarr' / 'iou'}: File exists: a folder belongs there, move the file away, then" in told.output
    (run / "run.zarr" / "iou").unlink()
    assert resumed(run).code in (0, 1)
    assert differing(results(run), wanted) == []
