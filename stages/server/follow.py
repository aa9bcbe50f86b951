"""A graph on one server: submitted, followed until it is done, judged."""

import logging
import time
from dataclasses import dataclass

from stages.server.answers import Entry
from stages.server.client import ComfyClient
from stages.server.errors import JobLost, OutOfMemory
from stages.server.graph import Graph
from stages.server.history import Verdict, judge
from stages.server.pictures import Arriving, most_bytes, sent
from stages.server.progress import Listener, ProgressSocket, Step
from stages.server.queued import Job, new_job
from storage.boundary import printable
from storage.errors import GeneratorError

logger = logging.getLogger("skate.comfyui")

LISTEN_SECONDS = 0.25  # longest wait for a message before the clock and `stop` are looked at
HASTE_SECONDS = 0.05  # between looks once the websocket has said that the job ended


@dataclass(frozen=True)
class Ran:
    """A job that succeeded, under the id that the server gave it.

    Attributes:
        sent: whether its pictures were sent, not saved. heard: whether its messages came to their end.
    """

    prompt_id: str
    entry: Entry
    sent: bool
    heard: bool


def execute(
    client: ComfyClient, graph: Graph, samplers: frozenset[str], steps: Step, arriving: Arriving | None = None
) -> Ran:
    """Submit a graph and follow it until it succeeded. Whatever else happens, the job is cancelled.

    Args:
        samplers: nodes whose steps `steps` is told.
        arriving: takes the pictures that are sent; None: they are to be saved, as where no socket can be had.

    Raises:
        JobLost, OutOfMemory, GeneratorError: it did not succeed, or not `in_time`.
    """
    job = new_job()
    most = 0 if arriving is None else most_bytes(arriving.awaited)
    socket = ProgressSocket(client.address, job.client_id, client.timeouts.connect, most)
    socket.connect()
    arriving = arriving if socket.connected else None
    ended = False
    try:
        job = client.submit(graph if arriving is None else sent(graph, arriving.nodes), job)
        shown = _passed_over if arriving is None else arriving.take
        listener = Listener(socket, job.prompt_id, samplers, steps, shown)
        entry = _watch(client, listener, job)
        ended = True
        verdict = judge(entry)
        if arriving is not None and verdict.kind == "success":
            _hear_out(client, listener, arriving)
    finally:
        socket.close()
        if socket.unread:
            logger.warning("ComfyUI at %s: %d messages could not be read", client.address.host, socket.unread)
        refusal = None if ended else client.cancel(job)
        if refusal is not None:
            logger.warning("ComfyUI at %s may go on with job %s: %s", client.address.host, job.prompt_id, refusal)
    _raise_for(client, verdict)
    return Ran(job.prompt_id, entry, arriving is not None, listener.ended)


def _passed_over(node: str, data: bytes) -> None:
    """Of a job whose pictures are saved: a preview of some node."""


def _hear_out(client: ComfyClient, listener: Listener, arriving: Arriving) -> None:
    """The job is done: hear what was said before that, as long as anything comes."""
    until, came = time.monotonic() + client.timeouts.request, -1
    while listener.socket.connected and not listener.ended and not arriving.complete:
        if arriving.came.total() > came:
            until, came = time.monotonic() + client.timeouts.request, arriving.came.total()
        if time.monotonic() > until:
            return
        client.left()
        listener.hear(LISTEN_SECONDS)
        client.sleep(0)


def _watch(client: ComfyClient, listener: Listener, job: Job) -> Entry:
    """Follow the job until the history has it. The queue is asked first: a job in neither is lost."""
    next_look, pause = time.monotonic(), LISTEN_SECONDS
    while True:
        ended = listener.hear(pause)
        client.sleep(0 if listener.socket.connected else min(pause, client.timeouts.poll))
        now = time.monotonic()
        if ended:
            pause = HASTE_SECONDS  # the history may lag behind the message
            next_look = now
        if now < next_look:
            continue
        place = client.place(job.prompt_id)
        if place is None:
            entry = client.history(job.prompt_id)
            if entry is not None:
                return entry
            raise JobLost(
                f"ComfyUI at {client.address.host} knows job {job.prompt_id} no more: it was restarted; see its log"
            )
        if place.state == "pending" and place.others_running:
            client.renew()  # somebody else's job: our time has not begun
        client.left()
        next_look = now + (client.timeouts.poll if pause == LISTEN_SECONDS else HASTE_SECONDS)


def _raise_for(client: ComfyClient, verdict: Verdict) -> None:
    host = client.address.host
    if verdict.kind == "memory":
        room = "; ".join(
            f"{printable(item.name, 80)}: {item.vram_free} of {item.vram_total} bytes free"
            for item in client.system_stats().devices
        )
        raise OutOfMemory(
            f"ComfyUI at {host} ran out of memory: {verdict.message} ({room}): "
            "lower --size or --window, use the GGUF workflow, or start ComfyUI with --lowvram"
        )
    if verdict.kind == "interrupted":
        raise GeneratorError(f"ComfyUI at {host}: {verdict.message} by somebody else: the same command again continues")
    if verdict.kind == "failed":
        full = "no space left" in verdict.message.lower()
        remedy = "free space in the server's output folder" if full else "see the server's log"
        raise GeneratorError(f"ComfyUI at {host} failed: {verdict.message}: {remedy}, then give the same command again")
