"""The store of runs in a bucket, by itself on a real S3 server: what counts, who may write, what is said."""

import json
import os
import re
import socket
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import replace
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import zarr
from _s3 import BUCKET, KEY_ID, SECRET, environment, shared_server
from _s3_faults import FAULTS, SILENT, Deaf, Faulty
from packaging.version import Version

import storage.bucket
import storage.lease
import storage.ledger
import storage.shared
from storage.address import BucketPath, run_path
from storage.backend import open_store
from storage.bucket import Bucket, Meta
from storage.errors import EnvironmentFault, InUse, RunDirectoryError, UsageError
from storage.journal import encode_line
from storage.layout import ArraySpec, Layout
from storage.lease import acquire
from storage.nearby import Nearby, inputs_of
from storage.profiles import bucket_settings
from storage.remote import MOST_RUNS, BucketBackend, open_bucket
from storage.rundir import Commit, RunDirectory
from storage.shared import SharedRun
from storage.spans import Span

_names = count()


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The server, and times that suit a test."""
    for name, value in environment(shared_server()).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("storage.nearby._place", [tmp_path / "scratch"])
    monkeypatch.setattr(storage.lease, "LEASE_SECONDS", 0.3)
    monkeypatch.setattr(storage.lease, "BEAT_SECONDS", 0.05)
    monkeypatch.setattr(storage.lease, "POLL_SECONDS", 0.02)
    monkeypatch.setattr(storage.bucket, "PAUSE_SECONDS", 0.001)


@pytest.fixture
def address() -> BucketPath:
    """Of a run that is not there yet."""
    path = run_path(f"s3://{BUCKET}/store/run{next(_names)}")
    assert isinstance(path, BucketPath)
    return path


def quiet(text: str) -> None:
    """Nobody is told."""


def contents(address: BucketPath) -> dict[str, bytes]:
    """What a process that comes anew finds."""
    store = BucketBackend(fresh(address))
    return {key: store.read(key, 1 << 25) for key in store.keys("")}


def fresh(address: BucketPath) -> SharedRun:
    """What another process would have of the run."""
    run = SharedRun(address)
    run.refresh()
    return run


def test_an_address_is_a_path_that_no_file_is_opened_by() -> None:
    path = run_path("s3://studio/clips/2026/RUN")
    assert str(path) == "s3://studio/clips/2026/RUN" and path.name == "RUN"
    assert str(path / "next") == "s3://studio/clips/2026/RUN/next"
    assert isinstance(path / "next", BucketPath) and (path / "next").run == path  # type: ignore[attr-defined]
    with pytest.raises(TypeError, match="is no file"):
        path.exists()
    assert run_path("runs/one") == Path("runs/one")


@pytest.mark.parametrize(
    "text", ["s3://studio", "s3://studio/", "s3://x/RUN", "s3://studio/../RUN", "s3://studio/a//b"]
)
def test_what_is_no_address_of_a_run_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="no address of a run"):
        run_path(text)


def test_what_is_written_counts_with_the_next_line_of_the_journal(address: BucketPath) -> None:
    run = fresh(address)
    store = BucketBackend(run)
    with store.lock():
        journal = store.open_journal("journal.jsonl", 0)
        store.write("run.zarr/a/c.0", [b"one", b"two"])
        store.flush()
        assert store.read("run.zarr/a/c.0", 99) == b"onetwo"
        assert store.digest("run.zarr/a/c.1") is None and not store.path("run.zarr/a/c.1").exists(), "there is none"
        assert contents(address) == {}
        journal.append(b"line\n")
        assert contents(address) == {"run.zarr/a/c.0": b"onetwo", "journal.jsonl": b"line\n"}
        store.move("run.zarr/a/c.0", "b")
        store.copy("b", "c")
        store.delete("b")
        journal.append(b"more\n")
    assert contents(address) == {"c": b"onetwo", "journal.jsonl": b"line\nmore\n"}


def test_what_no_journal_tells_of_counts_once_it_is_published(address: BucketPath) -> None:
    store = BucketBackend(fresh(address))
    with store.lock():
        store.write("batch.json", [b"jobs"])
        assert contents(address) == {}
        store.publish()
        assert contents(address) == {"batch.json": b"jobs"}
        BucketBackend(fresh(address)).show("index.html", b"by one who does not write")
        store.show("index.html", b"by the writer")
    assert contents(address) == {"batch.json": b"jobs"}
    assert Bucket(address).get("index.html") == b"by the writer"
    with pytest.raises(RunDirectoryError, match="holds no run"):
        store.check_ours()


def test_much_that_waits_is_uploaded_and_does_not_count_yet(
    address: BucketPath, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storage.shared, "WAITING_BYTES", 10)
    monkeypatch.setattr("storage.nearby.CACHE_BYTES", 1)
    store, bucket = BucketBackend(fresh(address)), Bucket(address)
    with store.lock():
        for number in range(5):
            store.write(f"run.zarr/a/c.{number}", [b"six..."])
        store.write("run.zarr/a/c.0", [b"other bytes"])
        assert len(bucket.list("run.zarr/")) == 6 and contents(address) == {}
        assert store.read("run.zarr/a/c.1", 99) == b"six...", "it is not on scratch any more"
        store.delete_all("")
    store.check_ours()
    assert contents(address) == {}, "given up, it never counted"
    with store.lock():
        store.clean()
        for number in range(4):
            store.write(f"run.zarr/a/c.{number}", [b"six..."])
    assert contents(address) == {f"run.zarr/a/c.{number}": b"six..." for number in range(4)}
    assert [meta.name for meta in bucket.list("run.zarr/")] == [f"run.zarr/a/c.{number}" for number in range(4)]


def test_what_was_written_anew_stays_on_scratch_until_it_is_uploaded(
    address: BucketPath, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An encoder writes over a segment of the same name that the bucket had."""
    monkeypatch.setattr("storage.nearby.CACHE_BYTES", 10)
    store = BucketBackend(fresh(address))
    with store.lock():
        for text in (b"first", b"anew!"):
            (store.folder("segments") / "1.mp4").write_bytes(text)
            store.flush(["segments/1.mp4"])
            if text == b"first":
                store.publish()
        for number in range(3):
            store._files.path(f"other{number}").write_bytes(bytes(10))
            store._files.may_go(f"other{number}")
    assert contents(address) == {"segments/1.mp4": b"anew!"}


def test_who_does_not_hold_a_run_changes_nothing_of_it(address: BucketPath) -> None:
    store, other = BucketBackend(fresh(address)), BucketBackend(fresh(address / "other"))
    with store.lock(), other.lock():
        store.write("key", [b"data"])
        journal = store.open_journal("journal.jsonl", 0)
        journal.append(b"line\n")
        other.write("key", [b"theirs"])
    wanted = contents(address)
    for change in (
        lambda: store.write("key", [b"more"]),
        lambda: store.write("journal.jsonl", [b"more"]),
        lambda: journal.append(b"more\n"),
        lambda: store.move("key", "elsewhere"),
        lambda: store.copy("key", "elsewhere"),
        lambda: store.delete("key"),
        lambda: store.delete("journal.jsonl"),
        lambda: store.share(other, "key"),
    ):
        with pytest.raises(RunDirectoryError, match="by a process that does not hold it"):
            change()
    assert contents(address) == wanted


def test_what_is_copied_from_another_run_stands_in_place_of_what_was_there(address: BucketPath) -> None:
    store, other = BucketBackend(fresh(address)), BucketBackend(fresh(address / "other"))
    with store.lock(), other.lock():
        other.write("run.zarr/a/c.0", [b"theirs"])
        other.publish()
        store.write("run.zarr/a/c.0", [b"ours"])
        assert store.share(other, "run.zarr/a/c.0")
        assert store.read("run.zarr/a/c.0", 99) == b"theirs"
    assert contents(address) == {"run.zarr/a/c.0": b"theirs"}


def test_a_journal_is_put_in_place_of_another_and_taken_away(address: BucketPath) -> None:
    """As `--overwrite` does at its end."""
    store = BucketBackend(fresh(address))
    with store.lock():
        store.open_journal("journal.jsonl", 0).append(b"old\n")
        store.open_journal("next/journal.jsonl", 0).append(b"new\n")
        store.move("next/journal.jsonl", "journal.jsonl")
        assert contents(address) == {"journal.jsonl": b"old\n", "next/journal.jsonl": b"new\n"}
        store.publish()
        assert contents(address) == {"journal.jsonl": b"new\n"}
        store.delete("journal.jsonl")
    assert contents(address) == {}


def test_who_holds_a_run_may_hold_it_twice(address: BucketPath) -> None:
    store = BucketBackend(fresh(address))
    with store.lock():
        with store.writing():
            store.write("key", [b"data"])
        assert open_store(address).is_locked() and contents(address) == {}
        store.write("more", [b"data"])
    assert not open_store(address).is_locked()
    assert contents(address) == {"key": b"data", "more": b"data"}
    assert [meta.name for meta in Bucket(address).list("lease/")] == ["lease/000001", "lease/000001.beat"]


def test_a_name_is_used_once(address: BucketPath) -> None:
    store = BucketBackend(fresh(address))
    for text in (b"first", b"second", b"second", b"third"):
        with store.lock():
            store.write("key", [text])
    bucket = Bucket(address)
    names = [meta.name for meta in bucket.list("") if meta.name.startswith("key")]
    assert contents(address)["key"] == b"third" == bucket.get("key")  # the last is the copy that is shown
    assert len(names) == 2 and "key" in names


@pytest.mark.parametrize("before", [(), (b"first",)])
def test_what_a_killed_process_did_not_show_is_shown_by_the_next(
    address: BucketPath, monkeypatch: pytest.MonkeyPatch, before: tuple[bytes, ...]
) -> None:
    """It died between its entry and the copy under the plain name, which people look for."""
    monkeypatch.setattr(storage.shared, "WHOLE_BYTES", 0)
    store, bucket = BucketBackend(fresh(address)), Bucket(address)
    for text in before:
        with store.lock():
            store.write("output.mp4", [text])
    with monkeypatch.context() as killed:
        killed.setattr(SharedRun, "_tidy", lambda *_: None)
        with store.lock():
            store.write("output.mp4", [b"second"])
    assert [meta.size for meta in bucket.list("") if meta.name == "output.mp4"] == [len(text) for text in before]
    store = BucketBackend(fresh(address))
    with store.lock():
        store.clean()
    assert bucket.get("output.mp4") == b"second" == contents(address)["output.mp4"]


def test_what_is_taken_away_is_not_shown_any_more(address: BucketPath) -> None:
    store, bucket = BucketBackend(fresh(address)), Bucket(address)
    bucket.put("theirs.mp4", b"beside the run")
    for text in (b"first", b"second"):
        with store.lock():
            store.write("comparison.mp4", [text])
    assert bucket.get("comparison.mp4") == b"second"
    with store.lock():
        store.delete("comparison.mp4")
        store.write("theirs.mp4", [b"given up before it counted"])
        store.delete("theirs.mp4")
    assert [meta.name for meta in bucket.list("") if not meta.name.startswith(storage.shared.OURS)] == ["theirs.mp4"]


def test_a_dead_process_is_waited_for_and_somebody_is_told(address: BucketPath) -> None:
    bucket, said = Bucket(address), list[str]()
    acquire(bucket, said.append).lose()
    acquire(bucket, said.append).release()
    assert len(said) == 1 and "waiting up to" in said[0]
    acquire(bucket, said.append).release()
    assert len(said) == 1, "a released lease is taken at once"


def test_a_process_at_work_is_not_disturbed(address: BucketPath, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage.lease, "LEASE_SECONDS", 20.0)
    bucket = Bucket(address)
    lease = acquire(bucket, quiet)
    assert open_store(address).is_locked()
    with pytest.raises(RunDirectoryError, match="in use by another skate process"):
        acquire(bucket, quiet)
    lease.release()
    assert not open_store(address).is_locked()


def test_who_released_while_another_waits_is_followed_at_once(
    address: BucketPath, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storage.lease, "LEASE_SECONDS", 1000.0)
    bucket = Bucket(address)
    acquire(bucket, quiet).lose()
    lease = acquire(bucket, lambda _: bucket.put("lease/000001.beat", storage.lease.RELEASED.encode()))
    assert lease.epoch == 2
    lease.release()


def test_who_died_before_its_first_beat_is_waited_for(address: BucketPath) -> None:
    bucket, said = Bucket(address), list[str]()
    bucket.create("lease/000001", b"{}")
    lease = acquire(bucket, said.append)
    assert lease.epoch == 2 and len(said) == 1
    lease.release()


@pytest.mark.parametrize(("seconds", "waits"), [(21, True), (40, False)])
def test_who_died_long_ago_by_the_servers_clock_is_not_waited_for(
    address: BucketPath, monkeypatch: pytest.MonkeyPatch, seconds: int, waits: bool
) -> None:
    bucket = Bucket(address)
    acquire(bucket, quiet).lose()
    monkeypatch.setattr(storage.lease, "LEASE_SECONDS", 20.0)
    real = Bucket.head

    def head(asked: Bucket, name: str) -> Meta | None:
        """The beats are older than what is written now."""
        found = real(asked, name)
        return replace(found, written=found.written - seconds) if found and name.endswith(".beat") else found

    monkeypatch.setattr(Bucket, "head", head)

    class Waits(Exception):
        pass

    def note(text: str) -> None:
        raise Waits

    with pytest.raises(Waits) if waits else nullcontext():
        acquire(bucket, note).release()


def test_a_lease_whose_answer_was_lost_is_ours(address: BucketPath, monkeypatch: pytest.MonkeyPatch) -> None:
    """The request was made again, and told that the object is there."""
    real = Bucket.create

    def create(bucket: Bucket, name: str, data: bytes | Path) -> bool:
        return real(bucket, name, data) and name != "lease/000001"

    monkeypatch.setattr(Bucket, "create", create)
    bucket, said = Bucket(address), list[str]()
    lease = acquire(bucket, said.append)
    assert lease.epoch == 1 and not said
    lease.release()


def test_who_holds_a_run_is_named_and_nothing_else_is_left(
    address: BucketPath, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storage.lease, "LEASE_SECONDS", 20.0)
    bucket = Bucket(address)
    lease = acquire(bucket, quiet)
    with pytest.raises(InUse, match=re.escape(f"({os.getpid()} on {socket.gethostname()})")):
        acquire(bucket, quiet)
    for damaged in (b"[]", b"{", b"{}"):
        bucket.put("lease/000001", damaged)
        with pytest.raises(InUse, match="on another machine"):
            acquire(bucket, quiet)
    lease.release()
    assert [meta.name for meta in bucket.list("lease/")] == ["lease/000001", "lease/000001.beat"], "no probe"


def test_whether_a_run_is_held_follows_its_last_beat(address: BucketPath, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage.lease, "LEASE_SECONDS", 20.0)
    bucket = Bucket(address)
    acquire(bucket, quiet).lose()
    found = bucket.head("lease/000001.beat")
    assert found is not None
    held = []
    for seconds in (0.0, 21.0, 23.0):
        monkeypatch.setattr("storage.lease.time.time", lambda now=found.written + seconds: now)
        held.append(open_store(address).is_locked())
    assert held == [True, True, False], "the server's times are whole seconds"


@pytest.mark.parametrize("fault", [EnvironmentFault("no answer"), FileNotFoundError("no bucket")])
def test_a_beat_that_failed_is_followed_by_others(
    address: BucketPath, monkeypatch: pytest.MonkeyPatch, fault: Exception
) -> None:
    real, beats, again = Bucket.put, list[bytes](), threading.Event()

    def put(bucket: Bucket, name: str, data: bytes | Path, tries: int = 8) -> None:
        assert isinstance(data, bytes)
        beats.append(data)
        if len(beats) == 2:
            raise fault
        if len(beats) == 4:
            again.set()
        real(bucket, name, data, tries)

    monkeypatch.setattr(Bucket, "put", put)
    lease = acquire(Bucket(address), quiet)
    assert again.wait(10)
    lease.release()
    assert len(set(beats)) == len(beats) and beats[-1] == storage.lease.RELEASED.encode()


def test_of_many_that_want_a_run_one_gets_it(address: BucketPath, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage.lease, "LEASE_SECONDS", 20.0)
    bucket, got, refused = Bucket(address), list[int](), list[str]()

    def want() -> None:
        try:
            got.append(acquire(bucket, quiet).epoch)
        except RunDirectoryError as error:
            refused.append(str(error))

    threads = [threading.Thread(target=want) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert got == [1] and len(refused) == 5


@pytest.mark.parametrize("awake", ["before writing", "written", "moved", "deleted"])
def test_a_process_that_wakes_up_after_its_lease_was_taken_damages_nothing(address: BucketPath, awake: str) -> None:
    sleeper = fresh(address)
    old = BucketBackend(sleeper)
    sleeper.hold(quiet)
    journal = old.open_journal("journal.jsonl", 0)
    old.write("kept", [b"kept"])
    journal.append(b"1\n")
    if awake != "before writing":
        old.write("c.1", [b"of the sleeper"])
    if awake == "moved":
        old.move("kept", "elsewhere")
    if awake == "deleted":
        old.delete("kept")
    assert sleeper._lease is not None
    sleeper._lease.lose()  # it sleeps: its beats do not come any more
    taker = fresh(address)
    new = BucketBackend(taker)
    with new.lock():
        new.write("c.1", [b"of the taker"])
        new.open_journal("journal.jsonl", 2).append(b"2\n")
        wanted = contents(address)
        with pytest.raises(RunDirectoryError, match="another process holds this run"):
            if awake == "before writing":
                old.write("c.1", [b"of the sleeper"])
            journal.append(b"2 of the sleeper\n")
        sleeper.let_go()
        sleeper.refresh()
        assert sleeper.objects.keys() == taker.objects.keys(), "what does not count is not seen either"
        assert contents(address) == wanted == {"kept": b"kept", "c.1": b"of the taker", "journal.jsonl": b"1\n2\n"}
        new.write("c.2", [b"more"])
    assert contents(address) == {**wanted, "c.2": b"more"}


@pytest.mark.parametrize("every", [1, 1000])
def test_a_process_that_slept_before_its_first_entry_takes_no_run_that_another_holds(
    address: BucketPath, monkeypatch: pytest.MonkeyPatch, every: int
) -> None:
    """It had created its lease and fell asleep; the lease ran out and was taken. What it reads then may be a sum."""
    monkeypatch.setattr(storage.ledger, "SUM_EVERY", every)
    sleeper = fresh(address)
    lease = acquire(sleeper.bucket, quiet)
    lease.lose()
    store = BucketBackend(fresh(address))
    with store.lock():
        store.write("key", [b"of who holds it"])
        store.publish()
        monkeypatch.setattr("storage.shared.acquire", lambda *_: lease)
        with pytest.raises(RunDirectoryError, match="another process holds this run"):
            sleeper.hold(quiet)
        store.write("more", [b"of who holds it"])
    assert contents(address) == {"key": b"of who holds it", "more": b"of who holds it"}


def test_what_a_killed_process_uploaded_is_taken_over_or_deleted(address: BucketPath) -> None:
    bucket = Bucket(address)
    for name, data in {"same": b"same", "other": b"other bytes", "rest": b"rest"}.items():
        bucket.create(f"run.zarr/a/{name}", data)
    below = BucketBackend(fresh(address / "below"))
    with below.lock():
        below.write("key", [b"of another run"])
    bucket.create("thesis.doc", b"years of work")
    store = BucketBackend(fresh(address))
    with store.lock():
        store.clean()
        store.write("run.zarr/a/same", [b"same"])
        store.write("run.zarr/a/other", [b"ours"])
    assert contents(address) == {"run.zarr/a/same": b"same", "run.zarr/a/other": b"ours"}
    names = {meta.name for meta in bucket.list("")}
    assert "run.zarr/a/rest" not in names and "run.zarr/a/same" in names
    assert {"thesis.doc", "below/key"} <= names, "what this run has not written is left alone"
    store = BucketBackend(fresh(address))
    with store.lock():
        store.write("run.zarr/a/rest", [b"later"])
    (name,) = (meta.name for meta in bucket.list("run.zarr/a/") if "rest" in meta.name)
    assert name.startswith("run.zarr/a/rest~"), "a name is not used again, also after it was deleted"


def test_a_lost_or_damaged_entry_is_refused(address: BucketPath) -> None:
    store = BucketBackend(fresh(address))
    for text in (b"1", b"2"):
        with store.lock():
            store.write("key", [text])
    bucket = Bucket(address)
    entries = [meta.name for meta in bucket.list("journal/")]
    held = bucket.get(entries[1])
    bucket.put(entries[1], held.replace(b'"epoch"', b'"epoxh"'))
    with pytest.raises(RunDirectoryError, match="is damaged"):
        fresh(address)
    bucket.copy(entries[0], entries[1])
    with pytest.raises(RunDirectoryError, match=r"0000000001\.json is entry 0"):
        fresh(address)
    bucket.delete([entries[1]])
    with pytest.raises(RunDirectoryError, match="one is lost"):
        fresh(address)


@pytest.fixture
def summed(address: BucketPath, monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    """What a run holds after 24 entries, with a sum every 4."""
    monkeypatch.setattr(storage.ledger, "SUM_EVERY", 4)
    store = BucketBackend(fresh(address))
    with store.lock():
        journal = store.open_journal("journal.jsonl", 0)
        for number in range(22):
            store.write(f"run.zarr/a/c.{number % 7}", [f"{number}".encode()])
            journal.append(f"{number}\n".encode())
        monkeypatch.setattr(storage.ledger, "SUM_EVERY", 1 << 20)  # none at the end
        store.write("output.mp4", [b"after the last sum"])
    bucket = Bucket(address)
    assert [meta.name for meta in bucket.list("sums/")] == [f"sums/{number:010d}.json" for number in (15, 19)]
    found = contents(address)
    assert found["journal.jsonl"].count(b"\n") == 22 and len(found) == 9
    return found


def requests_to_open(address: BucketPath, monkeypatch: pytest.MonkeyPatch) -> int:
    with Faulty(shared_server(), share=0.0) as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL", server.address)
        assert fresh(address).begun
        monkeypatch.setenv("AWS_ENDPOINT_URL", shared_server())
        return server.requests


def test_opening_after_many_entries_takes_few_requests(
    address: BucketPath, summed: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert requests_to_open(address, monkeypatch) == 2 + 2 + 4, "two lists, a sum and its last entry, entries 20 to 23"
    Bucket(address).delete([f"journal/{number:010d}.json" for number in range(19)])
    assert contents(address) == summed, "what the sum stands for is not asked for"


@pytest.mark.parametrize("harm", ["missing", "damaged", "of another run", "all damaged"])
def test_a_sum_that_is_not_right_costs_time_only(
    address: BucketPath, summed: dict[str, bytes], monkeypatch: pytest.MonkeyPatch, harm: str
) -> None:
    bucket = Bucket(address)
    names = [meta.name for meta in bucket.list("sums/")]
    if harm == "missing":
        bucket.delete(names[1:])
    elif harm == "of another run":
        entry = json.loads(bucket.get(names[1]))
        del entry["crc"]
        bucket.put(names[1], encode_line({**entry, "last": "0" * 32, "put": {}}))
    else:
        for name in names if harm == "all damaged" else names[1:]:
            bucket.put(name, bucket.get(name)[:-9])
    assert contents(address) == summed
    assert requests_to_open(address, monkeypatch) > 8 + 3
    store = BucketBackend(fresh(address))
    with store.lock():
        store.write("run.zarr/a/c.0", [b"new"])
    assert contents(address) == {**summed, "run.zarr/a/c.0": b"new"}


def test_what_is_no_entry_is_left_alone(address: BucketPath, summed: dict[str, bytes]) -> None:
    bucket = Bucket(address)
    others = {"journal/notes.txt", "sums/notes.txt", "lease/notes.txt"}
    for name in others:
        bucket.put(name, b"somebody's")
    assert contents(address) == summed
    store = BucketBackend(fresh(address))
    with store.lock():
        store.write("run.zarr/a/c.0", [b"new"])
    wanted = {**summed, "run.zarr/a/c.0": b"new"}
    assert contents(address) == wanted
    assert others <= {meta.name for meta in bucket.list("")}
    bucket.delete({meta.name for meta in bucket.list("sums/")} - others)
    assert contents(address) == wanted, "nor by who reads every entry"


@pytest.mark.parametrize(("entries", "sums"), [(2, []), (5, ["sums/0000000004.json"])])
def test_who_leaves_a_run_writes_a_sum_of_fewer_entries(
    address: BucketPath, monkeypatch: pytest.MonkeyPatch, entries: int, sums: list[str]
) -> None:
    """A tenth of those that make one on the way; so does the next one from there on."""
    monkeypatch.setattr(storage.ledger, "SUM_EVERY", 40)
    store = BucketBackend(fresh(address))
    with store.lock():
        journal = store.open_journal("journal.jsonl", 0)
        for number in range(1, entries):  # the first entry says who holds the run
            journal.append(f"{number}\n".encode())
        assert Bucket(address).list("sums/") == []
    assert [meta.name for meta in Bucket(address).list("sums/")] == sums
    with BucketBackend(fresh(address)).lock():
        pass
    assert [meta.name for meta in Bucket(address).list("sums/")] == sums


def test_a_name_that_was_used_before_a_sum_is_not_used_again(
    address: BucketPath, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storage.ledger, "SUM_EVERY", 1)
    store = BucketBackend(fresh(address))
    with store.lock():
        store.write("run.zarr/a/c.0", [b"first"])
        store.publish()
        store.delete("run.zarr/a/c.0")
        store.publish()
    assert Bucket(address).list("run.zarr/") == []
    store = BucketBackend(fresh(address))
    with store.lock():
        store.write("run.zarr/a/c.0", [b"second"])
    (found,) = Bucket(address).list("run.zarr/")
    assert found.name.startswith("run.zarr/a/c.0~") and contents(address) == {"run.zarr/a/c.0": b"second"}


def test_an_entry_whose_answer_was_lost_counts(address: BucketPath, monkeypatch: pytest.MonkeyPatch) -> None:
    """The request was made again, and told that the object is there."""
    real = Bucket.create
    store = BucketBackend(fresh(address))
    with store.lock():
        monkeypatch.setattr(Bucket, "create", lambda *given: real(*given) and False)
        store.write("run.zarr/a/c.0", [b"data"])
        store.publish()
        store.write("run.zarr/a/c.1", [b"more"])
    assert contents(address) == {"run.zarr/a/c.0": b"data", "run.zarr/a/c.1": b"more"}


WINDOWS = (Span(0, 7), Span(7, 12), Span(12, 13))


@pytest.fixture
def group(address: BucketPath) -> Any:
    """`run.zarr` of a run that has just finished, as zarr's own store of objects has it."""
    from obstore.store import S3Store

    with RunDirectory(address, Layout({"masks/object": ArraySpec((6, 8), "bool")}), {"format": 2}) as run:
        for window, span in enumerate(WINDOWS):
            run.commit(Commit("track", window, span, {"masks/object": picture(span)}))
        run.finish({})
    store = S3Store(BUCKET, prefix=f"{address.prefix}/run.zarr", client_options={"allow_http": True})
    return zarr.storage.ObjectStore(store, read_only=True)


def picture(span: Span) -> np.ndarray:
    return np.stack([np.arange(48).reshape(6, 8) % (t + 2) == 0 for t in range(span.start, span.stop)])


def test_the_objects_of_a_finished_run_are_shards_that_zarr_reads(address: BucketPath, group: Any) -> None:
    """Of one window each, as any Zarr reads it: the grid that joins the windows needs zarr-python 3.2."""
    bucket, where = Bucket(address), "run.zarr/masks/object"
    for window, span in enumerate(WINDOWS):
        metadata = json.loads(bucket.get(f"{where}/zarr.json"))
        assert metadata["shape"] == [13, 6, 8]
        shape = [span.frames, 6, 8]
        metadata |= {"shape": shape, "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": shape}}}
        bucket.put(f"run.zarr/window{window}/zarr.json", json.dumps(metadata).encode())
        bucket.copy(f"{where}/c.{window}.0.0", f"run.zarr/window{window}/c.0.0.0")
        found = zarr.open_array(group, path=f"window{window}", mode="r", zarr_format=3)
        assert np.array_equal(np.asarray(found[:]), picture(span))


@pytest.mark.skipif(Version(zarr.__version__) < Version("3.2"), reason="zarr-python knows variable grids from 3.2 on")
def test_a_finished_run_opens_by_zarr(group: Any) -> None:
    with zarr.config.set({"array.rectilinear_chunks": True}):
        found = zarr.open_group(group, mode="r")["masks/object"]
        assert isinstance(found, zarr.Array)
        assert np.array_equal(np.asarray(found[:]), picture(Span(0, 13)))


def test_files_of_others_are_left_alone(address: BucketPath) -> None:
    Bucket(address).create("thesis.doc", b"years of work")
    with pytest.raises(RunDirectoryError, match="holds no run"):
        open_store(address).check_ours()


def test_a_run_killed_before_its_first_entry_is_no_strangers_work(address: BucketPath) -> None:
    run = fresh(address)
    run.hold(quiet)
    Bucket(address).create("run.json", b"left by a crash")
    BucketBackend(fresh(address)).check_ours()
    run.let_go()


@pytest.fixture
def deaf(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A server that takes every write, whatever is asked of it."""
    with Deaf() as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL", server.address)
        yield


@pytest.mark.usefixtures("deaf")
def test_a_server_that_creates_twice_is_refused(address: BucketPath) -> None:
    with pytest.raises(EnvironmentFault, match="let one object be created twice") as caught:
        BucketBackend(fresh(address)).lock().__enter__()
    assert caught.value.exit_code == 4


def test_a_listing_that_does_not_agree_with_the_objects_gives_one_line(
    address: BucketPath, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = BucketBackend(fresh(address))
    with store.lock():
        store.open_journal("journal.jsonl", 0).append(b"line\n")
    real = Bucket.get

    def get(bucket: Bucket, name: str) -> bytes:
        if name.startswith(storage.ledger.PART):
            raise FileNotFoundError(name)
        return real(bucket, name)

    monkeypatch.setattr(Bucket, "get", get)
    with pytest.raises(RunDirectoryError, match="is listed and cannot be read"):
        fresh(address)
    monkeypatch.setattr("obstore.list", lambda *_, **__: SimpleNamespace(collect=Path("/nowhere").read_bytes))
    with pytest.raises(EnvironmentFault, match="answers a listing with 404"):
        fresh(address)


def test_a_condition_that_nobody_made_is_a_refusal(address: BucketPath, monkeypatch: pytest.MonkeyPatch) -> None:
    from obstore.exceptions import PreconditionError

    def failed(*_: object, **__: object) -> None:
        raise PreconditionError("Server returned error response with status code: 412 Precondition Failed")

    monkeypatch.setattr("obstore.list", failed)
    monkeypatch.setattr("obstore.get", failed)
    for ask in (lambda: Bucket(address).list(""), lambda: Bucket(address).get("x")):
        with pytest.raises(EnvironmentFault, match=r"refuses the request \(412\)"):
            ask()


def test_a_server_that_is_gone_gives_one_line(address: BucketPath, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    with pytest.raises(EnvironmentFault, match=r"does not answer \(no connection.*tried 8 times in . s\)") as caught:
        fresh(address)
    told = str(caught.value)
    assert "\n" not in told and KEY_ID not in told and SECRET not in told


def test_a_bucket_that_is_not_there_gives_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    path = run_path("s3://no-such-bucket/RUN")
    assert isinstance(path, BucketPath)
    with pytest.raises(EnvironmentFault, match="no such bucket"):
        fresh(path)


@pytest.mark.parametrize(
    ("faults", "kinds"), [(60, FAULTS), pytest.param(1000, FAULTS + SILENT, marks=pytest.mark.slow)], ids=["60", "1000"]
)
def test_many_faults_lose_nothing(
    address: BucketPath, monkeypatch: pytest.MonkeyPatch, faults: int, kinds: Counter[str]
) -> None:
    """503s, answers cut in half or late, lost answers, closed and silent connections: a third of all requests."""
    monkeypatch.setattr(storage.bucket, "REQUEST_SECONDS", 1.0)
    monkeypatch.setattr(storage.bucket, "PART_BYTES", 5 << 20)
    large = b"large" * (1 << 20) + b"r"  # in two parts
    with Faulty(shared_server(), kinds, seed=5) as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL", server.address)
        wanted: dict[str, bytes] = {"output.mp4": large}
        written = 0
        while server.faults.total() < faults:
            store = BucketBackend(fresh(address))
            with store.lock():
                journal = store.open_journal("journal.jsonl", store.size("journal.jsonl") or 0)
                if not written:
                    monkeypatch.setattr(storage.shared, "WHOLE_BYTES", 5 << 20)
                    store.write("output.mp4", [large])
                for _ in range(5):
                    key, data = f"run.zarr/a/c.{written % 12}", f"{written}".encode() * (1 + written % 50)
                    store.write(key, [data])
                    journal.append(f"{written}\n".encode())
                    wanted[key] = data
                    written += 1
        assert set(server.faults) == set(kinds)
        wanted["journal.jsonl"] = b"".join(f"{number}\n".encode() for number in range(written))
        assert contents(address) == wanted
    monkeypatch.setenv("AWS_ENDPOINT_URL", shared_server())
    assert Bucket(address).get("output.mp4") == large


@pytest.mark.parametrize(
    ("fault", "reason", "requests"),
    [("503 before", "HTTP 503; tried 8 times", 8), ("hung", "no connection, or no answer in time; tried 3 times", 3)],
)
def test_a_server_that_is_down_for_good_is_given_up_in_time(
    address: BucketPath, monkeypatch: pytest.MonkeyPatch, fault: str, reason: str, requests: int
) -> None:
    """What hangs is given up after so many seconds rather than so many tries; what comes after it is tried once."""
    monkeypatch.setattr(storage.bucket, "REQUEST_SECONDS", 0.2)
    monkeypatch.setattr(storage.bucket, "GIVE_UP_SECONDS", 0.5)
    store = BucketBackend(fresh(address))
    with Faulty(shared_server(), always=fault) as server, pytest.raises(EnvironmentFault, match=reason) as caught:
        monkeypatch.setenv("AWS_ENDPOINT_URL", server.address)
        lost = Bucket(address)
        store._run.bucket._store = lost._store
        with store.lock():
            pass
    assert server.requests == requests
    with pytest.raises(EnvironmentFault, match="tried once"):
        store._run.bucket.get("key")
    assert caught.value.exit_code == 4 and "\n" not in str(caught.value)
    assert KEY_ID not in str(caught.value) and "skate resume" in str(caught.value)


def test_credentials_come_from_variables_or_a_profile(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in (*environment(""), "AWS_DEFAULT_REGION", "AWS_ENDPOINT_URL_S3", "AWS_DEFAULT_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    (tmp_path / "config").write_text("[profile studio]\nregion = eu-west-1\nendpoint_url = http://store:9000\n")
    (tmp_path / "credentials").write_text("[studio]\naws_access_key_id = A\naws_secret_access_key = B\n")
    monkeypatch.setenv("AWS_PROFILE", "studio")
    wanted = {"region": "eu-west-1", "endpoint": "http://store:9000", "access_key_id": "A", "secret_access_key": "B"}
    assert bucket_settings() == wanted
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "C")
    monkeypatch.setenv("AWS_REGION", "us-west-2")
    assert bucket_settings() == {"region": "us-west-2", "endpoint": "http://store:9000"}
    monkeypatch.setenv("AWS_PROFILE", "nobody")
    with pytest.raises(EnvironmentFault, match="names 'nobody'"):
        bucket_settings()


def test_scratch_is_bounded_and_what_killed_processes_left_is_deleted(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    left = tmp_path / "scratch" / "skate-scratch-killed"
    left.mkdir(parents=True)
    (left / ".lock").write_text("")
    monkeypatch.setattr("storage.nearby.CACHE_BYTES", 25)
    files = Nearby()
    assert not left.exists()
    for number in range(5):
        files.path(f"c.{number}").write_bytes(bytes(10))
        if number:
            files.may_go(f"c.{number}")
    assert [files.has(f"c.{number}") for number in range(5)] == [True, False, False, True, True]
    others = Nearby()
    others.path("c.0").write_bytes(bytes(10))
    others.may_go("c.0")
    assert [files.has(f"c.{number}") for number in (3, 4)] == [False, True], "one bound for all runs of a process"
    root = others.root
    del others
    assert not root.exists(), "nobody has it any more"
    files.close()
    assert not files.root.exists()


def test_what_is_fetched_for_a_run_stays_where_somebody_said(
    address: BucketPath, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert inputs_of(tmp_path / "run") == tmp_path / "run" / "input"
    places = {inputs_of(address), inputs_of(address), inputs_of(address / "other")}
    assert len(places) == 2 and all(place.parent == tmp_path / "scratch" for place in places)
    monkeypatch.setattr("storage.nearby._place", [])
    with pytest.raises(UsageError, match="give --scratch DIR"):
        inputs_of(address)


def test_a_process_that_goes_through_many_runs_keeps_a_few(address: BucketPath, tmp_path: Path) -> None:
    kept = open_bucket(address)
    for number in range(MOST_RUNS + 3):
        open_bucket(address / f"clip{number}")
    assert open_bucket(address)._run is kept._run, "who has one and who opens it share its state"
    del kept
    for number in range(MOST_RUNS):
        open_bucket(address / f"clip{number}")
    assert len(list((tmp_path / "scratch").glob("skate-scratch-*"))) == MOST_RUNS


def test_nothing_secret_is_in_the_bucket(address: BucketPath) -> None:
    store = BucketBackend(fresh(address))
    with store.lock():
        store.write("key", [json.dumps({"a": 1}).encode()])
    bucket = Bucket(address)
    everything = b"".join(bucket.get(meta.name) for meta in bucket.list(""))
    assert SECRET.encode() not in everything and KEY_ID.encode() not in everything
