"""The journal's lines, and what its records add up to: done, finished, under way, dropped, forgotten on purpose."""

import itertools
import tracemalloc
from pathlib import Path
from typing import Any

import pytest

from storage.errors import RunDirectoryError
from storage.journal import Journal, encode_line, read_records
from storage.layout import Layout
from storage.local import LocalBackend
from storage.log import CommitLog
from storage.spans import Span

NUMBER = itertools.count(100)
SPANS = [(0, 9), (9, 15), (15, 21), (21, 30)]


def record(kind: str, **values: Any) -> dict[str, Any]:
    return {"kind": kind, "n": next(NUMBER), **values}


def committed(stage: str, window: int, *arrays: str, kind: str = "commit") -> dict[str, Any]:
    keys = [*(f"{name}/c.{window}.0" for name in arrays), f"state/{stage}/{window}"]
    span = SPANS[window] if window < len(SPANS) else (window, window + 1)
    return record(
        kind, stage=stage, window=window, span=list(span), digests=dict.fromkeys(keys, "0" * 32), info={"of": window}
    )


def made(windows: int = 4) -> CommitLog:
    """A run whose decode and blend have done so many windows."""
    log = CommitLog([])
    for window in range(windows):
        log.apply(committed("decode", window, "frames", "times"))
        log.apply(committed("blend", window, "generated"))
    return log


def now(log: CommitLog) -> dict[str, Any]:
    """What it says of the run as a whole."""
    return {name: getattr(log, name) for name in ("finished", "redo", "made", "redone_at", "config_digest", "attempts")}


def test_what_is_done_is_counted_from_the_first_window_without_a_gap() -> None:
    log = CommitLog([committed("decode", window, "frames") for window in (0, 2, 3)])
    assert log.done("decode") == 1 and log.done("blend") == 0 and [r["window"] for r in log.of("decode")] == [0]
    log.apply(committed("decode", 1, "frames"))
    assert log.done("decode") == 4 and log.frames("frames") == 30
    assert log.infos(2) == {"decode": {"of": 2}} and log.infos(9) == {}
    log.apply(record("revoke", stages=["decode"], window=2))
    assert log.done("decode") == 2 and log.get("decode", 2) is None and log.frames("frames") == 15
    assert log.spans("frames") == {0: Span(0, 9), 1: Span(9, 15)}
    keys = ("frames/c.1.0", "state/decode/0", "frames/c.2.0", "generated/c.1.0", "zarr.json")
    assert [log.writer_of(key) for key in keys] == [("decode", 1), ("decode", 0), None, None, None]
    assert set(log.digests) == set(log.writers) == {
        f"{name}{window}" for name in ("state/decode/",) for window in (0, 1)
    } | {"frames/c.0.0", "frames/c.1.0"}  # fmt: skip
    log.apply(record("revoke", stages=["decode"], window=0))
    assert log.done("decode") == log.frames("frames") == log.frames("generated") == 0 and not log.digests


def test_a_record_of_a_commit_takes_little_more_memory_than_its_line() -> None:
    def scored(window: int) -> dict[str, Any]:
        told = {name: [(60 * window + t) / 90_000 for t in range(60)] for name in ("iou", "boundary_f", "clipping")}
        return committed("score", window, "iou", "scores/object") | {"info": told}

    lines = sum(len(encode_line(scored(window))) for window in range(300))
    log = CommitLog([])
    log.apply(scored(0))
    tracemalloc.start()
    for window in range(1, 300):
        log.apply(scored(window))
    held = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert log.commits["score", 299]["info"] == scored(299)["info"]
    assert held < 1.25 * lines


def test_the_windows_that_wrote_any_of_some_frames() -> None:
    log = made()
    found = {(start, stop): [w for w, _ in log.covering("frames", start, stop)] for start, stop in
             ((0, 30), (0, 9), (8, 10), (9, 15), (14, 15), (15, 22), (29, 40), (30, 40))}  # fmt: skip
    assert found == {
        (0, 30): [0, 1, 2, 3], (0, 9): [0], (8, 10): [0, 1], (9, 15): [1], (14, 15): [1], (15, 22): [2, 3],
        (29, 40): [3], (30, 40): [],
    }  # fmt: skip
    assert log.joined_spans()["generated"] == [Span(*span) for span in SPANS]
    log.apply(record("revoke", stages=["blend"], window=0))
    log.apply(committed("blend", 1, "generated"))
    assert log.joined_spans().get("generated") is None, "it does not begin with frame 0"


@pytest.mark.parametrize(
    "after",
    [committed("blend", 3, "generated"), record("revoke", stages=["blend"], window=9),
     record("redone", stages=["blend"], window=9)],
)  # fmt: skip
def test_a_run_is_finished_until_something_is_committed(after: dict[str, Any]) -> None:
    log = made()
    finish = record("finish", digests={})
    assert now(log)["finished"] is None
    log.apply(finish)
    assert now(log)["finished"] == finish
    for other in (record("attempt", window=1), record("keep"), record("drop", arrays=["frames"], stop=3)):
        log.apply(other)
        assert now(log)["finished"] == finish
    log.apply(after)
    assert now(log)["finished"] is None


def test_a_redo_is_under_way_until_it_is_put_in_place_or_taken_back() -> None:
    log = made()
    redo = record("redo", windows=[1], stages=["generate"], seed=7, text="a log")
    log.apply(redo)
    log.apply(committed("generate", 1, kind="remade"))
    assert now(log)["redo"] == redo and list(log.made) == [("generate", 1)] and log.get("generate", 1) is None
    log.apply(record("redo", windows=[], stages=[], seed=0, text=""))
    nothing = now(made())
    assert now(log) == nothing, "taken back"
    log.apply(redo)
    log.apply(committed("generate", 1, kind="remade"))
    placed = record("redone", stages=["blend"], window=1)
    log.apply(placed)
    assert now(log) == {**nothing, "redone_at": placed["n"]}
    assert log.get("generate", 1) is not None and log.done("blend") == 1 and log.done("decode") == 4


def test_another_config_ends_attempts_and_a_redo_of_what_it_makes_anew() -> None:
    log = made()
    log.apply(record("attempt", window=2, number=1))
    log.apply(record("attempt", window=2, number=2))
    assert [each["number"] for each in log.attempts[2]] == [1, 2]
    redo = record("redo", windows=[1], stages=["generate", "decode"], seed=7, text="")
    log.apply(redo)
    log.apply(committed("generate", 1, kind="remade"))
    log.apply(record("config", digest="abc"))
    assert now(log)["config_digest"] == "abc" and log.attempts == {}
    assert now(log)["redo"] == redo and log.made, "some of what it redoes stands"
    log.apply(record("revoke", stages=["decode"], window=0))
    log.apply(record("config", digest="def"))
    assert now(log) == {**now(made()), "config_digest": "def"}


def test_what_is_written_again_is_not_dropped_nor_what_that_reads_of_the_window_before() -> None:
    log = made()
    log.apply(record("drop", arrays=["frames", "generated"], stop=21))
    log.apply(record("drop", arrays=["frames"], stop=9))
    assert log.dropped == {"frames": 21, "generated": 21}, "never less"
    gone = [key for key, task in log.writers.items() if "/c." in key and log.is_forgotten(task, key)]
    assert sorted(gone) == [f"{name}/c.{window}.0" for name in ("frames", "generated") for window in (0, 1, 2)]
    log.apply(record("drop", arrays=["generated"], stop=24))
    log.apply(record("revoke", stages=["blend"], window=4))
    assert log.dropped == {"frames": 21, "generated": 24}, "it has not done so much"
    log.apply(record("revoke", stages=["blend"], window=2))
    assert log.dropped == {"frames": 21, "generated": 9}
    log.apply(record("drop", arrays=["generated"], stop=9))
    log.apply(record("revoke", stages=["blend"], window=0))
    assert log.dropped == {"frames": 21, "generated": 0}


def test_states_of_the_last_two_windows_and_of_every_tenth_are_kept() -> None:
    log = made(24)
    held = {
        stage: [w for w in range(24) if not log.is_forgotten((stage, w), f"state/{stage}/{w}")]
        for stage in ("decode", "blend")
    }
    assert held == {stage: [0, 10, 20, 22, 23] for stage in held}
    again = made(24)
    again.apply(record("revoke", stages=["blend"], window=18))
    held = {"": [w for w in range(18) if not again.is_forgotten(("blend", w), f"state/blend/{w}")]}
    assert held == {"": [0, 10, 17]}, "what it goes on from"
    log.apply(record("keep"))
    log.apply(committed("blend", 24, "generated"))
    assert log.is_kept(("blend", 24)) and not log.is_kept(("blend", 23)) and not log.is_kept(("blend", 25))
    for window in range(25, 30):
        log.apply(committed("blend", window, "generated"))
    held = {"": [w for w in range(30) if not log.is_forgotten(("blend", w), f"state/blend/{w}")]}
    assert held == {"": [0, 10, 20, 24, 25, 26, 27, 28, 29]}, "all since it was asked for"


@pytest.mark.parametrize(("after", "held"), [(0, [6, 7]), (1, [5, 6, 7]), (2, [4, 5, 6, 7])])
def test_blocks_are_kept_until_the_stage_that_reads_them_has_done_so_many_windows_more(
    after: int, held: list[int]
) -> None:
    spec = {"shape": [2], "dtype": "uint8", "until": "blend", "after": after}
    for kept, passing in ((False, False), (True, False), (True, True)):
        log = CommitLog([record("keep")] if kept else [])
        blocks = {"raw": {**spec, "passing": passing}, "free": {**spec, "until": None}}
        log.apply(record("layout", layout=Layout.from_json({"arrays": {}, "blocks": blocks}).to_json()))
        for window in range(8):
            log.apply(committed("generate", window))
        for window in range(6):
            log.apply(committed("blend", window, "generated"))
        found = [w for w in range(8) if not log.is_forgotten(("generate", w), f"blocks/raw/{w}")]
        assert found == (list(range(8)) if kept and not passing else held)
        assert not any(
            log.is_forgotten(("generate", w), f"blocks/{name}/{w}") for w in range(8) for name in ("free", "no")
        )


def test_no_bit_of_a_line_changes_unseen(tmp_path: Path) -> None:
    """Before the last line it is refused, in the last one that line is taken for one that a crash tore off."""
    path, store = tmp_path / "journal.jsonl", LocalBackend(tmp_path)
    with Journal(store) as journal:
        wanted = [journal.append({"kind": "drop", "arrays": ["frames"], "stop": stop}) for stop in range(3)]
    whole = path.read_bytes()
    assert read_records(store) == (wanted, len(whole))
    starts = [0, *(at + 1 for at, byte in enumerate(whole) if byte == 10)]
    for at in range(len(whole)):
        path.write_bytes(bytes([*whole[:at], whole[at] ^ 1, *whole[at + 1 :]]))
        left = 1 if at == starts[2] - 1 else 2  # without the newline between them the last two lines are one
        if at < starts[2] - 1:
            with pytest.raises(RunDirectoryError, match="of the journal is damaged"):
                read_records(store)
        else:
            assert read_records(store) == (wanted[:left], starts[left])
    for stop in range(len(whole)):
        path.write_bytes(whole[:stop])
        count = sum(start <= stop for start in starts[1:])
        assert read_records(store) == (wanted[:count], starts[count]), "torn off"
    lines = whole.splitlines(keepends=True)
    for wrong in ([lines[0], lines[2]], [lines[0], lines[0], lines[1]], [lines[0], b"\n", lines[1]]):
        path.write_bytes(b"".join(wrong))
        with pytest.raises(RunDirectoryError, match=r"line 2 of the journal is (damaged|record)"):
            read_records(store)
