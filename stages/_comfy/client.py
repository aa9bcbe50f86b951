"""HTTP side of the ComfyUI protocol: one method a route, retried where a retry is safe.

Redirects and proxies are off: only the host given by `--server` is ever contacted. Names that come back in answers
are only ever sent back to the same server, never used as local paths.
"""

import re
import threading
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import requests

from stages._comfy.address import Address
from stages._comfy.errors import ServerUnreachable, UploadTooLarge
from stages._comfy.history import ImageRef
from stages._comfy.words import connection_words, node_errors, refused, words
from storage.errors import GeneratorError, Interrupted

Json = Any
TRANSIENT = (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError)
PERSISTENT_500_TRIES = 3  # 500 is also what ComfyUI answers when its own code fails on a request: waiting cures nothing
# /interrupt looks at the body's prompt_id since pull request 9607 (September 2025, 0.3.57): surely from this one on.
TARGETED_INTERRUPT = (0, 3, 58)
RECENT_JOBS = 16  # of the history, looked through for a job whose submission got no answer
DEFAULT_UPLOAD_LIMIT_BYTES = 100 * 2**20  # ComfyUI --max-upload-size, default 100 MB


@dataclass(frozen=True)
class Timeouts:
    """How long the client waits, in seconds.

    Attributes:
        job: for one window to finish once the server works on it.
        connect: for a connection.
        request: for an answer to one request.
        patience: for a server that refuses connections or answers 5xx to come back.
        failover: the same, where another server is alive.
        poll: between looks at queue and history.
    """

    job: float = 3600.0
    connect: float = 10.0
    request: float = 120.0
    patience: float = 120.0
    failover: float = 10.0
    poll: float = 1.0


@dataclass(frozen=True)
class Place:
    """Where a job stands in the server's queue.

    Attributes:
        state: running or pending.
        others_running: whether the server works on somebody's job right now that is not this one.
    """

    state: Literal["running", "pending"]
    others_running: bool


@dataclass(frozen=True)
class Job:
    """A job's names.

    Attributes:
        prompt_id: a UUID in its canonical form, which newer servers demand. Before 0.3.45 a server passes it over and
            chooses one itself: the one in its answer is the job's.
        client_id: of the websocket that listens for this job alone; whatever the server calls the job, this stays.
    """

    prompt_id: str
    client_id: str

    def is_listed(self, item: Json) -> bool:
        """Whether an item of /queue, `[number, prompt_id, graph, extra_data, ...]`, is this job."""
        extra = item[3] if len(item) > 3 and isinstance(item[3], dict) else {}
        return item[1] == self.prompt_id or extra.get("client_id") == self.client_id


def new_job() -> Job:
    """Names that nobody used yet."""
    return Job(str(uuid.uuid4()), uuid.uuid4().hex)


def version_of(stats: Mapping[str, Json]) -> tuple[int, ...]:
    """ComfyUI's version as /system_stats tells it, e.g. (0, 3, 64); () where it does not."""
    system = stats.get("system")
    text = str(system.get("comfyui_version", "")) if isinstance(system, dict) else ""
    found = re.match(r"v?(\d{1,6})\.(\d{1,6})(?:\.(\d{1,6}))?", text)
    return tuple(int(part or 0) for part in found.groups()) if found else ()


class ComfyClient:
    """Speaks to one server. `stop` set by anybody makes every wait end with `Interrupted`."""

    def __init__(self, address: Address, timeouts: Timeouts, stop: threading.Event) -> None:
        self.address = address
        self.timeouts = timeouts
        self.patience = timeouts.patience
        self.stop = stop
        self.slot = f"skate_{uuid.uuid4().hex[:12]}"  # of this client's upload names, used again window by window
        self._session = requests.Session()
        self._session.trust_env = False
        self._upload_limit: int | None = None
        self._version: tuple[int, ...] = ()  # as /system_stats told it; empty: not known

    def close(self) -> None:
        """Close kept connections."""
        self._session.close()

    def sleep(self, seconds: float) -> None:
        """Wait, or raise `Interrupted` as soon as `stop` is set."""
        if self.stop.wait(seconds):
            raise Interrupted(f"interrupted while waiting for ComfyUI at {self.address.host}: `skate resume` continues")

    def _once(self, method: str, path: str, **options: Any) -> requests.Response:
        wait = (self.timeouts.connect, self.timeouts.request)
        options.setdefault("timeout", wait)
        return self._session.request(method, self.address.http + path, allow_redirects=False, **options)

    def request(self, method: str, path: str, **options: Any) -> requests.Response:
        """One request, repeated with growing pauses while the server refuses, times out or answers 5xx.

        Raises:
            ServerUnreachable: after `patience` seconds of that.
            Interrupted: when `stop` is set meanwhile.
        """
        deadline = time.monotonic() + self.patience
        pause, server_errors = 0.1, 0
        while True:
            self.sleep(0)
            try:
                answer = self._once(method, path, **options)
                if answer.status_code < 500:
                    return answer
                server_errors += answer.status_code == 500
                said = f"HTTP {answer.status_code}: {words(answer)}"
                cause: Exception | None = None
            except TRANSIENT as error:
                said, cause = connection_words(error), error
            if time.monotonic() + pause > deadline or server_errors >= PERSISTENT_500_TRIES:
                raise ServerUnreachable(
                    f"ComfyUI at {self.address.host} does not answer {method} {path} ({said}): "
                    "see that the server runs and that --server names it, then `skate resume`"
                ) from cause
            self.sleep(pause)
            pause = min(2 * pause, 5.0)

    def _json(self, method: str, path: str, **options: Any) -> Json:
        answer = self.request(method, path, **options)
        if answer.status_code != 200:
            raise refused(self.address.host, f"{method} {path}", answer)
        return self._parsed(answer, f"{method} {path}")

    def _parsed(self, answer: requests.Response, what: str) -> Json:
        try:
            return answer.json()
        except (requests.exceptions.JSONDecodeError, RecursionError) as error:  # the latter: nested too deeply
            raise GeneratorError(
                f"{self.address.host} answers {what} with something that is not JSON: {words(answer)}: "
                "is this a ComfyUI server?"
            ) from error

    def object_info(self) -> dict[str, Json]:
        """The server's schema of every node it has."""
        info = self._json("GET", "/object_info")
        if not isinstance(info, dict):
            raise GeneratorError(f"{self.address.host}: /object_info is no object: is this a ComfyUI server?")
        return info

    def system_stats(self) -> dict[str, Json]:
        """`system` and `devices[]` with name, vram_total, vram_free, torch_vram_total, torch_vram_free (bytes)."""
        stats = self._json("GET", "/system_stats")
        if not isinstance(stats, dict):
            return {}
        self._version = version_of(stats)
        return stats

    def upload_limit(self) -> int:
        """Largest upload in bytes: `max_upload_size` of /features, or ComfyUI's default where the server has none."""
        if self._upload_limit is None:
            answer = self.request("GET", "/features")
            features = self._parsed(answer, "GET /features") if answer.status_code == 200 else {}
            value = features.get("max_upload_size") if isinstance(features, dict) else None
            self._upload_limit = int(value) if value else DEFAULT_UPLOAD_LIMIT_BYTES
        return self._upload_limit

    def upload(self, name: str, data: bytes, subfolder: str) -> str:
        """Store bytes in the server's input folder and return what a loader node takes: `subfolder/name`.

        Raises:
            UploadTooLarge: before sending where the server tells its limit, else on HTTP 413.
        """
        limit = self.upload_limit()
        if len(data) > limit:
            raise UploadTooLarge(self._too_large(name, len(data), limit))
        form = {"overwrite": "true", "type": "input", "subfolder": subfolder}
        answer = self.request("POST", "/upload/image", data=form, files={"image": (name, data)})
        if answer.status_code == 413:
            raise UploadTooLarge(self._too_large(name, len(data), limit))
        if answer.status_code != 200:
            raise refused(self.address.host, f"the upload of {name}", answer)
        stored = self._parsed(answer, "POST /upload/image")
        return f"{stored['subfolder']}/{stored['name']}" if stored.get("subfolder") else str(stored["name"])

    def _too_large(self, name: str, size: int, limit: int) -> str:
        return (
            f"{self.address.host} takes no upload of {size / 2**20:.1f} MiB ({name}; limit {limit / 2**20:.0f} MiB): "
            "start ComfyUI with --max-upload-size 500, or give a smaller --size"
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
        answer = self._post_prompt(body)
        while answer is None or answer.status_code >= 500:
            found = self._find(job)
            if found is not None:
                return found
            if time.monotonic() > deadline or (answer is not None and answer.status_code == 500):
                said = "no answer" if answer is None else f"HTTP {answer.status_code}: {words(answer)}"
                raise ServerUnreachable(f"ComfyUI at {self.address.host} fails on POST /prompt ({said}): see its log")
            self.sleep(0.2)
            answer = self._post_prompt(body)
        if answer.status_code != 200:
            raise refused(self.address.host, "the workflow", answer)
        taken = self._parsed(answer, "POST /prompt")
        queued = replace(job, prompt_id=str(taken["prompt_id"])) if taken.get("prompt_id") else job
        errors = taken.get("node_errors")
        if errors:  # one good and one bad output is answered 200
            self.cancel(queued)
            raise GeneratorError(f"{self.address.host} refuses a part of the workflow: {node_errors(errors)}")
        return queued

    def _post_prompt(self, body: Json) -> requests.Response | None:
        """The answer, or None when it got lost: whether the server took the job is not known then."""
        self.sleep(0)
        try:
            return self._once("POST", "/prompt", json=body)
        except TRANSIENT:
            return None

    def _find(self, job: Job) -> Job | None:
        """The job as the server has it, whatever id it goes by there; None when it has none."""
        queue = self._json("GET", "/queue")
        if self.history(job.prompt_id) is not None:
            return job
        recent = self._json("GET", "/history", params={"max_items": RECENT_JOBS})
        listed = [*queue.get("queue_running", []), *queue.get("queue_pending", [])]
        listed += [entry["prompt"] for entry in recent.values()]
        return next((replace(job, prompt_id=item[1]) for item in listed if job.is_listed(item)), None)

    def place(self, prompt_id: str) -> Place | None:
        """Where the job stands in the queue; None when it is not in it (any more)."""
        queue = self._json("GET", "/queue")
        running = [item[1] for item in queue.get("queue_running", [])]
        if prompt_id in running:
            return Place("running", False)
        if prompt_id in [item[1] for item in queue.get("queue_pending", [])]:
            return Place("pending", bool(running))
        return None

    def history(self, prompt_id: str) -> dict[str, Json] | None:
        """The history's entry of a finished job, None when there is none."""
        entry = self._json("GET", f"/history/{prompt_id}").get(prompt_id)
        return entry if isinstance(entry, dict) else None

    def view(self, image: ImageRef) -> bytes | None:
        """The bytes of an output file; None when the server has it no more (404)."""
        query = {"filename": image.filename, "subfolder": image.subfolder, "type": image.kind}
        answer = self.request("GET", "/view", params=query)
        if answer.status_code == 404:
            return None
        if answer.status_code != 200:
            raise refused(self.address.host, f"GET /view of {image.filename}", answer)
        return answer.content

    def free(self, drop_cache: bool = False) -> None:
        """Ask the server to unload its models, which it does between jobs.

        Args:
            drop_cache: what its nodes computed too: a text encoding, say, which is kept otherwise.
        """
        answer = self.request("POST", "/free", json={"unload_models": True, "free_memory": drop_cache})
        if answer.status_code != 200:
            raise refused(self.address.host, "POST /free", answer)

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
            running, pending = self._own_queue()
            own = [str(item[1]) for item in (*running, *pending) if job.is_listed(item)]
            if not own:
                return None
            self._tell("POST", "/queue", {"delete": own})
            running, pending = self._own_queue()
            if not any(job.is_listed(item) for item in running):
                return None
            if pending:
                return "it cannot stop one job alone and others' wait: stop it in ComfyUI's own page, or update ComfyUI"
            self._tell("POST", "/interrupt", {"prompt_id": own[0]})
        except (*TRANSIENT, ValueError) as error:
            return connection_words(error)
        return None

    def _tell(self, method: str, path: str, body: Json = None) -> requests.Response:
        """One request that is not repeated and not held up by `stop`."""
        wait = (min(2.0, self.timeouts.connect), min(5.0, self.timeouts.request))
        return self._once(method, path, json=body, timeout=wait)

    def _own_queue(self) -> tuple[list[Json], list[Json]]:
        queue = self._tell("GET", "/queue").json()
        return queue.get("queue_running", []), queue.get("queue_pending", [])
