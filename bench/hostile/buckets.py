"""An S3 server that answers with anything: other bytes, other lengths, pages, bombs, redirects, other listings."""

import random
import re
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from _crash import differing
from _s3 import BUCKET, environment, shared_server
from _s3_faults import Answer, Faulty

from bench.hostile import odd
from bench.hostile.directories import exported
from bench.hostile.trial import Trial
from bench.hostile.wild import Wild
from bench.hostile.world import WELL, World, digests

_ONE = threading.Lock()
PAGES = (b"<html>", b"<Error><Code>" + b"A" * 3000 + b"\x1b[2J</Code></Error>", b"<a>" * 20_000, b"", b"\0" * 100)
LISTING = b"<ListBucketResult><IsTruncated>true</IsTruncated><NextContinuationToken>x</NextContinuationToken>"


def attempt(trial: Trial, room: Path) -> None:
    """One command on a run in such a bucket."""
    world, rng = trial.world, trial.rng
    run = _stored(world)
    if rng.random() < 0.15:
        with Wild(rng) as wild:
            trial.notes.append(wild.name)
            ended = trial.skate(["status", run], hook=_hook(room, f"http://{wild.address}"))
        if ended.output.startswith("memory allocation of "):
            trial.is_known("obstore sets aside what a listing says of its length, and ends the process")
        return
    share = rng.choice((0.02, 0.1, 0.5))
    with Faulty(_server(), Counter(["bent"]), rng.randrange(10**9), share, bend=_bender(rng)) as server:
        hook = _hook(room, server.address)
        to = room / "to"
        how = rng.random()
        if how < 0.4:
            trial.skate(["status", run, *(["--verify"] if rng.random() < 0.5 else [])], hook=hook)
        elif how < 0.8:
            ended = trial.skate(["export", run, "--to", str(to)], hook=hook)
            if ended.code == 0:
                found, wanted = digests(to), exported(world, "finished")
                trial.expect(found == wanted, f"other bytes exported: {differing(found, wanted)[:4]}")
        else:
            trial.skate(["generate", run, "--out", str(room / "out"), "--seed", "5"], models=True, hook=hook)


def _hook(room: Path, address: str) -> tuple[str, dict[str, object]]:
    return (
        "_s3:use",
        {"variables": environment(address), "scratch": str(room / "scratch"), "request": 3, "give_up": 6},
    )


def _stored(world: World) -> str:
    """The run in the bucket, made there once; it must be the local one."""
    run = f"s3://{BUCKET}/{world.folder.name}/run"
    if "bucket" not in world.done:
        begin = world.case.run(Path("run"))
        begin[begin.index("--out") + 1] = run
        ended = world.well(begin, hook=_hook(world.folder / "bucket", _server()))
        assert ended.code in WELL
        world.done.add("bucket")
    return run


def _server() -> str:
    with _ONE:  # of all threads
        return shared_server()


def _bender(rng: random.Random) -> Callable[[Answer], Answer]:
    def bend(answer: Answer) -> Answer:
        status, body, headers = answer
        how = rng.randrange(10)
        if how < 3:
            return status, odd.bent_bytes(body, rng), headers
        if how == 3:
            return rng.choice((200, 206, 301, 400, 403, 404, 409, 412, 500, 503)), rng.choice(PAGES), {}
        if how == 4:
            return status, b"", headers
        if how == 5:
            return (
                rng.choice((301, 302, 307)),
                b"",
                {"Location": rng.choice(("http://127.0.0.1:9/", "file:///etc", ""))},
            )
        if how == 6:
            return status, body, {**headers, "ETag": rng.choice(("", '"x"', "\x7f")), "Last-Modified": "yesterday"}
        if how == 7:
            return (
                status,
                LISTING + b"<Contents><Key>../../x</Key><Size>-1</Size></Contents></ListBucketResult>",
                headers,
            )
        if how == 8:
            return status, re.sub(rb"<Size>\d+", b"<Size>99999999999999", body), headers
        return status, body + body[:100], {**headers, "Content-Encoding": rng.choice(("gzip", "x"))}

    return bend
