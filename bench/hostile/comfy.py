"""A ComfyUI server that answers with anything: bent trees and bytes, other pictures, bombs, drips, redirects, noise."""

import asyncio
import gzip
import json
import random
import re
import struct
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from aiohttp import web
from fake_comfy import FakeComfy

from bench.hostile import odd
from bench.hostile.trial import Trial
from bench.hostile.wild import Wild
from bench.hostile.world import SIZE, WELL, digests

SECONDS_OF_A_WINDOW = 3
HASTY: tuple[str, dict[str, object]] = ("bench.hostile.comfy:hasten", {})
EVIL = "\x1b[2J\x1b]0;pwned\x07\u202e" + "x" * 3000
PICTURES = re.compile(r"^/view$")


def hasten() -> None:
    """In the forked child: a dead server is waited for 0.3 s in place of 120."""
    from stages.server.client import Timeouts
    from stages.vace.config import ComfyConfig

    usual = ComfyConfig.timeouts

    def timeouts(self: ComfyConfig) -> Timeouts:
        return replace(usual(self), patience=0.3, failover=0.2, poll=0.05)

    ComfyConfig.timeouts = timeouts  # type: ignore[method-assign]


def attempt(trial: Trial, room: Path) -> None:
    """One command that asks such a server, or one that does not even speak HTTP."""
    rng = trial.rng
    if rng.random() < 0.2:
        with Wild(rng) as wild:
            trial.notes.append(wild.name)
            _ask(trial, room, wild.address)
        return
    by_socket = rng.random() < 0.4
    server = _server(trial, by_socket)
    try:
        pictures = by_socket and rng.random() < 0.4
        if pictures:
            server.bend_message = lambda message: odd.bent_bytes(message, rng) if rng.random() < 0.2 else message
        else:
            server.bend = Bender(trial, server.info)
        ended = _ask(trial, room, server.address)
    finally:
        server.bend = server.bend_message = None
    bent_pictures = pictures or (isinstance(note := trial.notes[-1:], list) and "picture" in " ".join(note))
    if ended in WELL and (room / "out" / "output.mp4").exists() and not bent_pictures:
        trial.expect(_made(room / "out") == _wanted(trial, by_socket), "other pictures than the server made")


def _server(trial: Trial, by_socket: bool) -> FakeComfy:
    """One that sends pictures through the websocket, or that has them fetched; started once."""
    without = frozenset() if by_socket else frozenset(("SaveImageWebsocket",))
    server = trial.world.kept_open(f"comfy {by_socket}", lambda: FakeComfy(without=without))
    assert isinstance(server, FakeComfy)
    return server


def _ask(trial: Trial, room: Path, address: str) -> int:
    how = trial.rng.random()
    if how < 0.15:
        return trial.skate(["workflows", "check", "vace", "--server", address], hook=HASTY).code
    if how < 0.3:
        words = ["check", "--server", address, "--sam", "mini", "--pose", "mini", "--detector", "mini"]
        return trial.skate([*words, "--device", "cpu"], models=True, hook=HASTY).code
    return trial.skate(_generate(trial, room / "out", address), models=True, hook=HASTY).code


def _generate(trial: Trial, out: Path, address: str) -> list[str]:
    words = ["--server", address, "--prompt", "a robot", "--steps", "1", "--size", f"{SIZE[0]}x{SIZE[1]}"]
    return ["generate", str(trial.world.extracted), "--out", str(out), *words, "--timeout", str(SECONDS_OF_A_WINDOW)]


def _made(run: Path) -> dict[str, str]:
    return {name: digest for name, digest in digests(run).items() if name.startswith(("output.mp4", "segments/"))}


def _wanted(trial: Trial, by_socket: bool) -> dict[str, str]:
    """What a server that nothing bends makes."""
    out = trial.world.folder / f"comfy-{by_socket}"
    if not out.exists():
        trial.world.well(_generate(trial, out, _server(trial, by_socket).address), hook=HASTY)
    return _made(out)


class Bender:
    """Bends one answer in three, on paths that the attempt's number decides."""

    def __init__(self, trial: Trial, info: object) -> None:
        self._trial = trial
        self._rng = trial.rng
        paths = (
            "/object_info",
            "/system_stats",
            "/features",
            "/upload/image",
            "/prompt",
            "/queue",
            "/history",
            "/view",
        )
        self._paths = tuple(self._rng.sample(paths, self._rng.choice((1, 1, 1, 2, 8))))
        self._share = self._rng.choice((0.1, 0.5, 1.0))
        self._way = self._rng.choice(WAYS)
        trial.notes.append(f"{self._way.__name__} of {self._paths}")
        if "/view" in self._paths:
            trial.notes[-1] += " picture"

    async def __call__(self, request: web.Request, answer: web.StreamResponse) -> web.StreamResponse:
        if not request.path.startswith(self._paths) or self._rng.random() > self._share:
            return answer
        assert isinstance(answer, web.Response)
        body = answer.body if isinstance(answer.body, bytes) else b""
        bent = self._way(self._rng, request, body)
        if isinstance(bent, web.Response):
            return bent
        stream = web.StreamResponse()
        await stream.prepare(request)
        first, more, pause = bent
        try:
            await stream.write(first)
            for _ in range(2000):
                await asyncio.sleep(pause)
                await stream.write(more)
        except (ConnectionError, asyncio.CancelledError):
            pass
        return stream


Bent = web.Response | tuple[bytes, bytes, float]


def tree(rng: random.Random, request: web.Request, body: bytes) -> Bent:
    """JSON of another shape."""
    try:
        value = json.loads(body)
    except ValueError:
        return as_bytes(rng, request, body)
    if request.path == "/object_info":  # all of it is 1 MB: some nodes
        value = {name: odd.bent_tree(value[name], rng) if rng.random() < 0.1 else value[name] for name in value}
        return web.Response(body=json.dumps(value).encode())
    return web.Response(body=odd.json_text(odd.bent_tree(value, rng), rng).encode("utf-8", "replace"))


def as_bytes(rng: random.Random, request: web.Request, body: bytes) -> Bent:
    """Bytes that are bent."""
    return web.Response(body=odd.bent_bytes(body[:200_000], rng))


def status(rng: random.Random, request: web.Request, body: bytes) -> Bent:
    """Another status, with words that harm a terminal."""
    number = rng.choice((201, 204, 400, 401, 403, 404, 413, 418, 429, 500, 502, 503, 599))
    wrong = {"error": {"message": EVIL, "details": EVIL}, "node_errors": {EVIL: {"errors": [{"message": EVIL}]}}}
    text = rng.choice((json.dumps(wrong), json.dumps({"error": EVIL}), EVIL, "", "[" * 5000))
    return web.Response(status=number, body=text.encode() if number != 204 else b"")


def redirect(rng: random.Random, request: web.Request, body: bytes) -> Bent:
    """Somewhere else, or round and round."""
    places = ("http://127.0.0.1:9/", "file:///etc/passwd", "//127.0.0.1:9", str(request.rel_url), "http://[::1", "")
    return web.Response(status=rng.choice((301, 302, 307, 308)), headers={"Location": rng.choice(places)})


def packed(rng: random.Random, request: web.Request, body: bytes) -> Bent:
    """Unpacks to much more, or not at all."""
    data = rng.choice((gzip.compress(b" " * (30 << 20)), b"\x1f\x8b\x08", zlib.compress(body)))
    return web.Response(
        body=data, headers={"Content-Encoding": rng.choice(("gzip", "deflate", "br", "x", "gzip, gzip"))}
    )


def heads(rng: random.Random, request: web.Request, body: bytes) -> Bent:
    """Odd headers."""
    name = rng.choice(("Content-Type", "Content-Range", "Date", "X" * 60, "Set-Cookie", "Retry-After"))
    return web.Response(
        body=body, headers={name: rng.choice(("", "\u00e9" * 30, "x" * 8000, "9" * 5000, ";;;=,", "-1"))}
    )


def endless(rng: random.Random, request: web.Request, body: bytes) -> Bent:
    """Never ends."""
    return body[:2000] or b"[", rng.choice((b" " * 65536, b"[" * 65536, b"\x00" * 65536)), 0.0


def drip(rng: random.Random, request: web.Request, body: bytes) -> Bent:
    """A byte now and then."""
    return body[:1], b" ", rng.choice((0.02, 0.2))


def picture(rng: random.Random, request: web.Request, body: bytes) -> Bent:
    """Half a PNG, one with a lying header, or something else in its place."""
    lies = struct.pack(">II", *rng.choice(((1, 1), (65535, 65535), (2**31 - 1, 2**31 - 1), (0, 0), (96, 63), (48, 32))))
    whole = body[:16] + lies + body[24:29] + struct.pack(">I", zlib.crc32(body[12:16] + lies + body[24:29])) + body[33:]
    bomb = b"\0\0\xff\xffIDAT" + zlib.compress(b"\0" * (8 << 20))
    other = rng.choice(
        (whole, body[: len(body) // 2], body[:33] + bomb, b"GIF89a", b"\xff\xd8\xff", b"", b"<svg/>", body * 3)
    )
    return web.Response(body=other, content_type=rng.choice(("image/png", "text/html")))


WAYS: tuple[Callable[[random.Random, web.Request, bytes], Bent], ...] = (
    tree, tree, tree, tree, as_bytes, as_bytes, status, redirect, packed, heads, endless, drip, picture,
)  # fmt: skip
