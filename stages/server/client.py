"""HTTP side of the ComfyUI protocol: one method a route, retried where a retry is safe.

Only the host given by `--server` is ever contacted. Names that come back in answers
are only ever sent back to the same server, never used as local paths.
"""

import math
import re
import threading
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from stages.server.address import Address
from stages.server.answers import Entry, Features, Image, Queue, Stats, Taken, Uploaded
from stages.server.errors import ServerUnreachable, UploadTooLarge
from stages.server.queued import Job, Place
from stages.server.wire import TRANSIENT, Reply, Wire
from stages.server.words import connection_words, node_errors, refused, words
from storage.boundary import parse, printable
from storage.errors import GeneratorError, Interrupted

Json = Any
T = TypeVar("T")
PERSISTENT_500_TRIES = 3  # 500 is also what ComfyUI answers when its own code fails on a request: waiting cures nothing
# /interrupt looks at the body's prompt_id since pull request 9607 (September 2025, 0.3.57): surely from this one on.
TARGETED_INTERRUPT = (0, 3, 58)
UPLOAD = "/upload/image"
RECENT_JOBS = 16  # of the history, looked through for a job whose submission got no answer
DEFAULT_UPLOAD_LIMIT_BYTES = 100 * 2**20  # ComfyUI --max-upload-size, default 100 MB


@dataclass(frozen=True)
class Timeouts:
    """How long the client waits, in seconds.

    Attributes:
        job: for one window to finish once the server works on it.
        connect: for a connection.
        request: for an answer to one request.
        patience: for a server that refuses connections or answers 5xx or 429 to come back.
        failover: the same, where another server is alive.
        poll: between looks at queue and history.
    """

    job: float = 3600.0
    connect: float = 10.0
    request: float = 120.0
    patience: float = 120.0
    failover: float = 10.0
    poll: float = 1.0


def version_of(stats: Stats) -> tuple[int, ...]:
    """ComfyUI's version, e.g. (0, 3, 64); () where it does not tell."""
    found = re.match(r"v?(\d{1,6})\.(\d{1,6})(?:\.(\d{1,6}))?", stats.system.comfyui_version)
    return tuple(int(part or 0) for part in found.groups()) if found else ()


class ComfyClient:
    """Speaks to one server. `stop` set by anybody makes every wait end with `Interrupted`."""

    def __init__(self, address: Address, timeouts: Timeouts, stop: threading.Event) -> None:
        self.address = address
        self.timeouts = timeouts
        self.patience = timeouts.patience
        self.stop = stop
        self.slot = f"skate_{uuid.uuid4().hex[:12]}"  # of this client's upload names, used again window by window
        self.sends_pictures = False  # whether it can send pictures over the websocket, as whoever asked it found
        self._wire = Wire(address, timeouts.connect, timeouts.request)
        self._until = math.inf  # monotonic: when the window in hand has to be done
        self._upload_limit: int | None = None
        self._uploaded: set[tuple[str, str]] = set()  # name and subfolder
        self._version: tuple[int, ...] = ()  # as /system_stats told it; empty: not known

    def close(self) -> None:
        """Empty what was uploaded, where the server is there, and close kept connections. May be called twice."""
        # No request deletes an upload, and the next client has other names: each would leave a window's videos.
        with suppress(*TRANSIENT, GeneratorError):
            while self._uploaded:
                name, subfolder = self._uploaded.pop()
                self._wire.ask("POST", UPLOAD, wait=self._hasty(), **_form(name, b"", subfolder))
        self._uploaded.clear()
        self._wire.close()

    def sleep(self, seconds: float) -> None:
        """Wait, or raise `Interrupted` as soon as `stop` is set."""
        if self.stop.wait(seconds):
            raise Interrupted(f"interrupted while waiting for ComfyUI at {self.address.host}: `skate resume` continues")

    @contextmanager
    def in_time(self) -> Iterator[None]:
        """What is asked for in this block has to be done within the time for a window, whatever trickles in."""
        self.renew()
        try:
            yield
        finally:
            self._until = math.inf

    def renew(self) -> None:
        """The time for a window begins only now."""
        self._until = time.monotonic() + self.timeouts.job

    def left(self) -> float:
        """Seconds that are left of it.

        Raises:
            GeneratorError: none.
        """
        left = self._until - time.monotonic()
        if left <= 0:
            raise GeneratorError(
                f"ComfyUI at {self.address.host} did not finish the window within {self.timeouts.job:g} s: "
                "raise --timeout, or lower --size or --steps"
            )
        return left

    def request(self, method: str, path: str, **options: Any) -> Reply:
        """One request, repeated with growing pauses while the server refuses, times out or answers 5xx or 429.

        Raises:
            ServerUnreachable: after `patience` seconds of that.
            GeneratorError: when the time for the window is over.
            Interrupted: when `stop` is set meanwhile.
        """
        deadline = time.monotonic() + self.patience
        pause, server_errors = 0.1, 0
        while True:
            self.sleep(0)
            try:
                reply = self._wire.ask(method, path, left=self.left(), **options)
                if not reply.passing:
                    return reply
                server_errors += reply.status == 500
                said = f"HTTP {reply.status}: {words(reply)}"
                cause: Exception | None = None
            except TRANSIENT as error:
                said, cause = connection_words(error), error
            if server_errors >= PERSISTENT_500_TRIES:  # it runs
                full = " and whether its disk is full" if path == UPLOAD else ""
                raise ServerUnreachable(
                    f"ComfyUI at {self.address.host} fails on {method} {path} ({said}): see its log{full}, "
                    "then give the same command again"
                )
            if time.monotonic() + pause > deadline:
                raise ServerUnreachable(
                    f"ComfyUI at {self.address.host} does not answer {method} {path} ({said}): "
                    "see that the server runs and that --server names it, then give the same command again"
                ) from cause
            self.sleep(pause)
            pause = min(2 * pause, 5.0)

    def _get(self, path: str, kind: type[T], **options: Any) -> T:
        reply = self.request("GET", path, **options)
        if reply.status != 200:
            raise refused(self.address.host, f"GET {path}", reply)
        return self._parsed(reply, kind, f"GET {path}")

    def _parsed(self, reply: Reply, kind: type[T], what: str) -> T:
        named = f"ComfyUI at {self.address.host}, answer to {what}"
        return parse(reply.body, kind, named, GeneratorError, "is this a ComfyUI server?")

    def object_info(self) -> dict[str, Json]:
        """The server's schema of every node it has; `stages.server.validate` reads those that are used."""
        return self._get("/object_info", dict[str, Any])

    def system_stats(self) -> Stats:
        """The server's version and its devices' memory."""
        stats = self._get("/system_stats", Stats)
        self._version = version_of(stats)
        return stats

    def version(self) -> tuple[int, ...]:
        """The server's version; asked for once."""
        if not self._version:
            self.system_stats()
        return self._version

    def upload_limit(self) -> int:
        """Largest upload in bytes: `max_upload_size` of /features, or ComfyUI's default where the server has none."""
        if self._upload_limit is None:
            reply = self.request("GET", "/features")
            features = self._parsed(reply, Features, "GET /features") if reply.status == 200 else Features()
            self._upload_limit = int(features.max_upload_size or DEFAULT_UPLOAD_LIMIT_BYTES)
        return self._upload_limit

    def upload(self, name: str, data: bytes, subfolder: str) -> str:
        """Store bytes in the server's input folder and return what a loader node takes: `subfolder/name`.

        Raises:
            UploadTooLarge: before sending where the server tells its limit, else on HTTP 413.
        """
        limit = self.upload_limit()
        if len(data) > limit:
            raise UploadTooLarge(self._too_large(name, len(data), limit))
        self._uploaded.add((name, subfolder))
        reply = self.request("POST", UPLOAD, **_form(name, data, subfolder))
        if reply.status == 413:
            raise UploadTooLarge(self._too_large(name, len(data), limit))
        if reply.status != 200:
            raise refused(self.address.host, f"the upload of {name}", reply)
        stored = self._parsed(reply, Uploaded, "POST /upload/image")
        return f"{stored.subfolder}/{stored.name}" if stored.subfolder else stored.name

    def _too_large(self, name: str, size: int, limit: int) -> str:
        why, remedy = f"limit {limit / 2**20:.0f} MiB", "start ComfyUI with --max-upload-size 500"
        if size <= limit:
            why, remedy = "HTTP 413", "see the limits of ComfyUI (--max-upload-size) and of a proxy in front of it"
        return (
            f"{self.address.host} takes no upload of {size / 2**20:.1f} MiB ({name}; {why}): "
            f"{remedy}, or give a smaller --size"
        )

    def submit(self, graph: Mapping[str, Json], job: Job) -> Job:
        """Queue a graph, under the job's id where the server takes one. When the answer got lost, looks before it
        submits again.

        Returns:
            the job under the id that the server gave it.

        Raises:
            GeneratorError: with the server's own words, when it refuses the graph or a part of it.
        """
        body = {"prompt": graph, "client_id": job.client_id, "prompt_id": job.prompt_id}
        deadline = time.monotonic() + self.patience
        reply = self._post_prompt(body)
        while reply is None or reply.passing:
            found = self._find(job)
            if found is not None:
                return found
            if time.monotonic() > deadline or (reply is not None and reply.status == 500):
                said = "no answer" if reply is None else f"HTTP {reply.status}: {words(reply)}"
                raise ServerUnreachable(f"ComfyUI at {self.address.host} fails on POST /prompt ({said}): see its log")
            self.sleep(0.2)
            reply = self._post_prompt(body)
        if reply.status != 200:
            raise refused(self.address.host, "the workflow", reply)
        taken = self._parsed(reply, Taken, "POST /prompt")
        queued = replace(job, prompt_id=taken.prompt_id or job.prompt_id)
        if taken.node_errors:  # one good and one bad output is answered 200
            self.cancel(queued)
            told = node_errors(taken.node_errors)
            raise GeneratorError(f"{self.address.host} refuses a part of the workflow: {told}")
        return queued

    def _post_prompt(self, body: Json) -> Reply | None:
        """The answer, or None when it got lost: whether the server took the job is not known then."""
        self.sleep(0)
        try:
            return self._wire.ask("POST", "/prompt", left=self.left(), json=body)
        except TRANSIENT:
            return None

    def _find(self, job: Job) -> Job | None:
        """The job as the server has it, whatever id it goes by there; None when it has none."""
        queue = self._get("/queue", Queue)
        if self.history(job.prompt_id) is not None:
            return job
        recent = self._get("/history", dict[str, Entry], params={"max_items": RECENT_JOBS})
        done = [entry.prompt for entry in recent.values() if entry.prompt is not None]
        listed = [*queue.queue_running, *queue.queue_pending, *done]
        return next((replace(job, prompt_id=item.prompt_id) for item in listed if job.is_listed(item)), None)

    def place(self, prompt_id: str) -> Place | None:
        """Where the job stands in the queue; None when it is not in it (any more)."""
        queue = self._get("/queue", Queue)
        if any(item.prompt_id == prompt_id for item in queue.queue_running):
            return Place("running", False)
        if any(item.prompt_id == prompt_id for item in queue.queue_pending):
            return Place("pending", bool(queue.queue_running))
        return None

    def history(self, prompt_id: str) -> Entry | None:
        """The history's entry of a finished job, None when there is none."""
        return self._get(f"/history/{prompt_id}", dict[str, Entry]).get(prompt_id)

    def view(self, image: Image, most_bytes: int) -> bytes | None:
        """The bytes of an output file; None when the server has it no more (404).

        Args:
            most_bytes: a longer file is none that was asked for.
        """
        query = {"filename": image.filename, "subfolder": image.subfolder, "type": image.type}
        reply = self.request("GET", "/view", params=query, most_bytes=most_bytes)
        if reply.status == 404:
            return None
        if reply.status != 200:
            raise refused(self.address.host, f"GET /view of {printable(image.filename, 80)}", reply)
        return reply.body

    def free(self, drop_cache: bool = False) -> None:
        """Ask the server to unload its models, which it does between jobs.

        Args:
            drop_cache: what its nodes computed too: a text encoding, say, which is kept otherwise.
        """
        reply = self.request("POST", "/free", json={"unload_models": True, "free_memory": drop_cache})
        if reply.status != 200:
            raise refused(self.address.host, "POST /free", reply)

    def cancel(self, job: Job) -> str | None:
        """Take the job out of the queue, or interrupt it. One try each, also after `stop` was set.

        A server without targeted interrupt stops whatever runs when its request comes: it is asked only where that is
        ours, and where nobody's job waits that could have begun meanwhile.

        Returns:
            why it was not done, None where the server was told.
        """
        try:
            if self._version >= TARGETED_INTERRUPT:
                self._tell("POST", "/queue", {"delete": [job.prompt_id]})
                self._tell("POST", "/interrupt", {"prompt_id": job.prompt_id})
                return None
            queue = self._queue_now()
            own = [item.prompt_id for item in (*queue.queue_running, *queue.queue_pending) if job.is_listed(item)]
            if not own:
                return None
            self._tell("POST", "/queue", {"delete": own})
            queue = self._queue_now()
            if not any(job.is_listed(item) for item in queue.queue_running):
                return None
            if queue.queue_pending:
                return "it cannot stop one job alone and others' wait: stop it in ComfyUI's own page, or update ComfyUI"
            self._tell("POST", "/interrupt", {"prompt_id": own[0]})
        except (*TRANSIENT, GeneratorError) as error:
            return connection_words(error)
        return None

    def _tell(self, method: str, path: str, body: Json = None) -> Reply:
        """One request that is not repeated and not held up by `stop`."""
        return self._wire.ask(method, path, wait=self._hasty(), json=body)

    def _hasty(self) -> tuple[float, float]:
        """Seconds for a connection, and for an answer, of what nobody waits for."""
        return min(2.0, self.timeouts.connect), min(5.0, self.timeouts.request)

    def _queue_now(self) -> Queue:
        return self._parsed(self._tell("GET", "/queue"), Queue, "GET /queue")


def _form(name: str, data: bytes, subfolder: str) -> dict[str, Json]:
    """What an upload sends, as `requests` takes it; what has that name is overwritten."""
    fields = {"overwrite": "true", "type": "input", "subfolder": subfolder}
    return {"data": fields, "files": {"image": (name, data)}}
