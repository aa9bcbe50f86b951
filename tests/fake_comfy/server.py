"""The HTTP and websocket side, in a thread of its own; prompts are executed in a second one."""

import asyncio
import copy
import json
import threading
import time
import uuid
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from aiohttp import WSMsgType, web

from fake_comfy.executor import Executor
from fake_comfy.faults import Faults
from fake_comfy.generators import Generator, Paint
from fake_comfy.schema import object_info, validate

Json = Any
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Bend = Callable[[web.Request, web.StreamResponse], Awaitable[web.StreamResponse]]

VERSIONS = {"old": "0.3.40", "measured": "0.3.64", "newer": "0.45.2"}
ERAS = tuple(VERSIONS)
DEFAULT_ERA = "measured"
HELD_BYTES = 2**30  # by its models on its GPU


class FakeComfy:
    """A server on the loopback; use it as a context manager.

    Args:
        generator: what stands in for the sampler.
        faults: what goes wrong, and when.
        without: node classes and model files this server lacks.
        upload_limit: bytes.
        features: whether /features tells the limit.
        step_seconds: what a sampler step takes.
        era: which ComfyUI it is like. "old": chooses the prompt's id itself, stops whatever runs when it is told to
            stop one job, has no /features. "measured": 0.3.64, as read and measured. "newer": takes only a prompt id in
            UUID's canonical form, writes choices in the schema's newer form, has /api/jobs.
        port: to listen on; 0: a free one.
        version: what it says that it is; its era's without.
        loras: files in its `models/loras`.
    """

    def __init__(
        self,
        generator: Generator | None = None,
        faults: Faults | None = None,
        without: frozenset[str] = frozenset(),
        upload_limit: int = 100 * 2**20,
        features: bool = True,
        step_seconds: float = 0.0,
        era: str | None = None,
        port: int = 0,
        version: str = "",
        loras: Sequence[str] = (),
    ) -> None:
        self.faults = faults or Faults()
        self.era = era or DEFAULT_ERA
        self.version = version or VERSIONS[self.era]
        self.info = object_info(without, self.era == "newer", loras=loras)
        self.upload_limit, self.features, self._port = upload_limit, features and self.era != "old", port
        self.executor = Executor(self, generator or Paint(), step_seconds)
        self.sockets: dict[str, web.WebSocketResponse] = {}
        self.seen: list[str] = []  # "METHOD path" of every request
        self.instead: dict[str, str | bytes] = {}  # by path: what is answered in place of the answer, and
        self.statuses: dict[str, int] = {}  # its HTTP status, where that is not 200
        self.entry: Json = None  # in place of every entry of the history
        self.bend: Bend | None = None  # what becomes of an answer
        self.bend_message: Callable[[bytes], bytes] | None = None  # and of a message
        self.says: list[str] = []  # beside each sampler step, as they are
        self.prompts: list[Json] = []  # every graph that was queued
        self.freed: list[Json] = []  # the body of every /free
        self.away_until = 0.0  # monotonic: connections are cut until then
        self.address = ""
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def __enter__(self) -> "FakeComfy":
        self._thread.start()
        assert self._ready.wait(10), "the fake server did not start"
        self.executor.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.executor.stop()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)

    def die(self) -> None:
        """Cut every connection and answer nothing from now on."""
        self.away_until = float("inf")
        self.cut_sockets()

    def cut_sockets(self) -> None:
        """Close all websockets without a closing handshake."""

        async def cut() -> None:
            for socket in list(self.sockets.values()):
                transport = socket._req.transport if socket._req is not None else None
                if transport is not None:
                    transport.abort()

        asyncio.run_coroutine_threadsafe(cut(), self._loop).result(5)

    def send(self, client_id: str | None, kind: str, data: Json) -> None:
        """One message, in order, to the client that submitted the prompt."""

        async def deliver() -> None:
            socket = self.sockets.get(client_id or "")
            if socket is not None and not socket.closed:
                try:
                    text = json.dumps({"type": kind, "data": data}).encode()
                    await socket.send_str(self._bent(text).decode("utf-8", "replace"))
                except ConnectionError:
                    self.sockets.pop(client_id or "", None)

        asyncio.run_coroutine_threadsafe(deliver(), self._loop).result(5)

    def _bent(self, message: bytes) -> bytes:
        return message if self.bend_message is None else self.bend_message(message)

    def send_text(self, client_id: str | None, text: str) -> None:
        """A text message as it is."""

        async def deliver() -> None:
            socket = self.sockets.get(client_id or "")
            if socket is not None and not socket.closed:
                await socket.send_str(text)

        asyncio.run_coroutine_threadsafe(deliver(), self._loop).result(5)

    def send_preview(self, client_id: str | None) -> None:
        """A binary message: big-endian event number and format (1: JPEG), then picture data."""
        self.send_bytes(client_id, b"\x00\x00\x00\x01\x00\x00\x00\x01not a picture")

    def send_bytes(self, client_id: str | None, data: bytes) -> None:
        """A binary message."""

        async def deliver() -> None:
            socket = self.sockets.get(client_id or "")
            if socket is not None and not socket.closed:
                try:
                    await socket.send_bytes(self._bent(data))
                except ConnectionError:
                    self.sockets.pop(client_id or "", None)

        asyncio.run_coroutine_threadsafe(deliver(), self._loop).result(5)

    def _serve(self) -> None:
        asyncio.set_event_loop(self._loop)
        runner = self._loop.run_until_complete(self._start())
        self._ready.set()
        self._loop.run_forever()
        self._loop.run_until_complete(runner.cleanup())
        self._loop.run_until_complete(self._loop.shutdown_asyncgens())
        self._loop.close()

    async def _start(self) -> web.AppRunner:
        app = web.Application(client_max_size=self.upload_limit, middlewares=[self._middleware()])
        for method, path, handler in (
            ("GET", "/ws", self._ws),
            ("GET", "/object_info", self._object_info),
            ("GET", "/features", self._features),
            ("GET", "/system_stats", self._system_stats),
            ("POST", "/upload/image", self._upload),
            ("POST", "/prompt", self._prompt),
            ("GET", "/queue", self._queue),
            ("POST", "/queue", self._queue_delete),
            ("GET", "/history", self._recent_history),
            ("GET", "/history/{prompt_id}", self._history),
            ("GET", "/view", self._view),
            ("POST", "/interrupt", self._interrupt),
            ("POST", "/free", self._free),
            *([("GET", "/api/jobs", self._jobs)] if self.era == "newer" else []),
        ):
            app.router.add_route(method, path, handler)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", self._port)
        await site.start()
        port = site._server.sockets[0].getsockname()[1]  # type: ignore[union-attr]
        self.address = f"127.0.0.1:{port}"
        return runner

    def _middleware(self) -> Any:
        @web.middleware
        async def faulty(request: web.Request, handler: Handler) -> web.StreamResponse:
            self.seen.append(f"{request.method} {request.path}")
            action = self.faults.next_request(request.path)
            if time.monotonic() < self.away_until or action == "drop":
                assert request.transport is not None
                request.transport.abort()
                raise ConnectionResetError
            if isinstance(action, float):
                await asyncio.sleep(action)
            elif isinstance(action, int):
                return web.Response(status=action, text=f"fault {action}")
            answer = await handler(request)
            if request.path in self.instead:
                body = self.instead[request.path]
                raw = body if isinstance(body, bytes) else body.encode()
                return web.Response(status=self.statuses.get(request.path, 200), body=raw)
            if self.bend is not None and request.path != "/ws":
                return await self.bend(request, answer)
            if action == "lost":  # the work is done, the answer never arrives
                assert request.transport is not None
                request.transport.abort()
                raise ConnectionResetError
            return answer

        return faulty

    async def _ws(self, request: web.Request) -> web.StreamResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        sid = request.query.get("clientId", "")
        self.sockets[sid] = socket
        await socket.send_json(
            {"type": "status", "data": {"status": {"exec_info": {"queue_remaining": 0}}, "sid": sid}}
        )
        try:
            async for message in socket:
                if message.type == WSMsgType.ERROR:
                    break
        finally:
            self.sockets.pop(sid, None)  # as the real one: a second socket of this id falls silent too
        return socket

    async def _object_info(self, request: web.Request) -> web.Response:
        return web.json_response(self.info)

    async def _features(self, request: web.Request) -> web.Response:
        if not self.features:
            return web.Response(status=404)
        return web.json_response({"supports_preview_metadata": True, "max_upload_size": self.upload_limit})

    async def _system_stats(self, request: web.Request) -> web.Response:
        held = HELD_BYTES if self.executor.loaded else 0
        device = {"name": "cpu", "type": "cpu", "index": None, "vram_total": 8 * 2**30, "vram_free": 7 * 2**30 - held}
        device |= {"torch_vram_total": held, "torch_vram_free": held // 4}
        return web.json_response({"system": {"comfyui_version": self.version}, "devices": [device]})

    async def _upload(self, request: web.Request) -> web.Response:
        form = await request.post()
        image, subfolder = form["image"], str(form.get("subfolder", ""))
        if ".." in subfolder or subfolder.startswith("/"):
            return web.Response(status=400)
        assert isinstance(image, web.FileField)
        name, count = image.filename, 0
        data = image.file.read()
        while form.get("overwrite") != "true" and self._stored(subfolder, name) not in (None, data):
            count += 1
            name = f"{image.filename.rpartition('.')[0]} ({count}).{image.filename.rpartition('.')[2]}"
        kept = f"{subfolder}/{name}" if subfolder else name
        self.executor.files.input[kept] = data
        if data:
            self.executor.files.sent[kept] = data
        return web.json_response({"name": name, "subfolder": subfolder, "type": form.get("type", "input")})

    def _stored(self, subfolder: str, name: str) -> bytes | None:
        return self.executor.files.input.get(f"{subfolder}/{name}" if subfolder else name)

    async def _prompt(self, request: web.Request) -> web.Response:
        body = await request.json()
        prompt_id = str(body.get("prompt_id") or uuid.uuid4())
        if self.era == "old":
            prompt_id = str(uuid.uuid4())
        elif self.era == "newer" and str(uuid.UUID(prompt_id)) != prompt_id:
            wrong = {"type": "invalid_prompt_id", "message": "prompt_id must be a valid UUID", "details": "canonical"}
            return web.json_response({"error": wrong, "node_errors": {}}, status=400)
        error, node_errors, good = validate(body["prompt"], self.info, self.executor.files.known())
        if error is not None:
            return web.json_response({"error": error, "node_errors": node_errors}, status=400)
        self.prompts.append(copy.deepcopy(body["prompt"]))
        number = self.executor.put(prompt_id, body["prompt"], body.get("client_id"), good)
        return web.json_response({"prompt_id": prompt_id, "number": number, "node_errors": node_errors})

    async def _jobs(self, request: web.Request) -> web.Response:
        return web.json_response({"jobs": [], "pagination": {}})

    async def _queue(self, request: web.Request) -> web.Response:
        running, pending = self.executor.queue()
        more: list[Json] = [{}] if self.era == "newer" else []
        listed = [[[*item, *more] for item in items] for items in (running, pending)]
        return web.json_response({"queue_running": listed[0], "queue_pending": listed[1]})

    async def _queue_delete(self, request: web.Request) -> web.Response:
        self.executor.delete((await request.json()).get("delete", []))
        return web.Response()

    async def _history(self, request: web.Request) -> web.Response:
        prompt_id = request.match_info["prompt_id"]
        entry = self.executor.history.get(prompt_id)
        if entry is not None and self.entry is not None:
            entry = self.entry
        return web.json_response({prompt_id: entry} if entry is not None else {})

    async def _recent_history(self, request: web.Request) -> web.Response:
        most = int(request.query.get("max_items", 10_000))
        return web.json_response(dict(list(self.executor.history.items())[-most:]))

    async def _view(self, request: web.Request) -> web.Response:
        query = request.query
        data = self.executor.files.output.get(f"{query.get('subfolder', '')}/{query['filename']}")
        return web.Response(status=404) if data is None else web.Response(body=data, content_type="image/png")

    async def _interrupt(self, request: web.Request) -> web.Response:
        named = (await request.json()).get("prompt_id")
        self.executor.interrupt(None if self.era == "old" else named)
        return web.Response()

    async def _free(self, request: web.Request) -> web.Response:
        body = await request.json()
        self.freed.append(body)
        self.executor.free(body.get("unload_models", False), body.get("free_memory", False))
        return web.Response()
