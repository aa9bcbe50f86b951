"""One window on one server: upload, submit, watch, judge, fetch, and try again where that can help."""

import logging
import time
import uuid
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace

import msgspec
import numpy as np

from stages.base import Array, Json
from stages.resize import Size, resize_frames
from stages.server.answers import Entry, Image, Stats
from stages.server.client import ComfyClient, Job, new_job
from stages.server.errors import JobLost, OutOfMemory, StaleOutput, UploadTooLarge
from stages.server.graph import Graph
from stages.server.history import Verdict, images, judge, latent_files
from stages.server.inject import Files, Values, inject
from stages.server.latent import Latents, places, with_latents
from stages.server.progress import ProgressSocket
from stages.server.transport import decode_png, encode_png, encode_video
from stages.server.workflow import Workflow
from stages.video.limits import DEFAULT_MAX_PIXELS
from storage.boundary import MB, printable
from storage.errors import GeneratorError

logger = logging.getLogger("skate.comfyui")

SUBFOLDER = "skate"  # of the server's input and output folders
RESUBMISSIONS = 3  # after a server lost the job; a server that restarts more often has a fault of its own
LISTEN_SECONDS = 0.25  # longest wait for a message before the clock and `stop` are looked at
BYTES_PER_PIXEL = 8  # of the largest PNG: four channels of 16 bits, which nothing could compress
BESIDE_PICTURE_BYTES = 16 * MB  # the workflow that ComfyUI writes into it
DECODERS = 2  # pictures decoded side by side, while others are on their way
HASTE_SECONDS = 0.05  # between looks once the websocket has said that the job ended

Steps = Callable[[int, int], None]


@dataclass(frozen=True)
class WindowJob:
    """What is generated: the same on whichever server it runs.

    Attributes:
        workflow: the graph and its injection points.
        values: what is injected; its prefix is completed by each try.
        videos: by channel, `[n, height, width, 3]` uint8 RGB or, for a mask, `[n, height, width]` uint8.
        pictures: by channel, `[height, width, 3]` uint8 RGB.
        enlarged: (width, height) that pictures are brought to which the server has enlarged; None: it does not.
        latents: what is handed on beside the pictures; None: nothing.
    """

    workflow: Workflow
    values: Values
    videos: Mapping[str, Array]
    pictures: Mapping[str, Array] = field(default_factory=dict)
    enlarged: Size | None = None
    latents: Latents | None = None


@dataclass(frozen=True)
class JobResult:
    """`frames` `[length, height, width, 3]` uint8 RGB, and what goes into the record."""

    frames: Array
    info: dict[str, Json] = field(default_factory=dict)


def run_job(client: ComfyClient, job: WindowJob, steps: Steps) -> JobResult:
    """Generate one window on this server.

    A job the server lost is submitted again; after an out-of-memory error the server frees its models and the job is
    tried once more; so it is when a cached run names files that are gone; an upload over the limit is sent in parts.

    Raises:
        ServerUnreachable: the server is gone (another one may take the job).
        GeneratorError: the server refused or failed, with its own words.
        Interrupted: when the client's stop is set; the server's job is interrupted then, as on any other exception.
    """
    parts, lost, freed = 1, 0, False
    while True:
        try:
            return _attempt(client, job, parts, steps)
        except UploadTooLarge:
            if parts >= job.values.length:
                raise
            parts *= 2
        except JobLost:
            lost += 1
            if lost > RESUBMISSIONS:
                raise
            logger.warning("ComfyUI at %s lost the job (it was restarted): submitting again", client.address.host)
        except (OutOfMemory, StaleOutput) as error:
            if freed:
                raise
            logger.warning("%s; freeing the server's memory and trying once more", error)
            freed = True
            client.free(drop_cache=True)


def _attempt(client: ComfyClient, job: WindowJob, parts: int, steps: Steps) -> JobResult:
    started = time.monotonic()
    before = client.system_stats()
    files = _upload(client, job, parts, client.slot)
    token = uuid.uuid4().hex[:12]  # of the files' names alone: no pixel depends on it
    values = replace(job.values, prefix=f"{SUBFOLDER}/{token}_{job.values.prefix}")
    graph = inject(job.workflow, values, files)
    saver = None if job.latents is None else _hand_on(client, job, graph, values)
    prompt_id, entry = _execute(client, graph, job, steps)
    frames = _fetch(client, job, entry)
    info = {
        "server": client.address.host,
        "prompt_id": prompt_id,
        "seconds": round(time.monotonic() - started, 3),
        "system_stats": {"before": devices(before), "after": devices(client.system_stats())},
    }
    if saver is not None:
        info["latent"] = _latent_file(client, entry, saver)
    return JobResult(frames, info)


def _hand_on(client: ComfyClient, job: WindowJob, graph: Graph, values: Values) -> str:
    """Have the graph save its latents and begin with those of the window before; the node that saves."""
    assert job.latents is not None
    latents, mask = job.latents, ""
    if latents.carried is not None:
        held = latents.noise_mask(places(job.workflow).extra)
        mask = client.upload(f"{client.slot}_held.mkv", encode_video(held), SUBFOLDER)
    return with_latents(job.workflow, graph, latents, mask, f"{values.prefix}_latent")


def _latent_file(client: ComfyClient, entry: Entry, saver: str) -> str:
    """The saved latents, as LoadLatent takes them."""
    found = latent_files(entry, saver)
    if len(found) != 1:
        raise GeneratorError(f"ComfyUI at {client.address.host}: SaveLatent saved {len(found)} files, 1 is needed")
    folder = f"{found[0].subfolder}/" if found[0].subfolder else ""
    return f"{folder}{found[0].filename} [{found[0].type}]"


def _upload(client: ComfyClient, job: WindowJob, parts: int, slot: str) -> Files:
    """Send the videos, each try anew: a restarted server may have lost its input folder.

    Names are the client's own and overwritten window by window, so the server's disk does not fill.
    """

    def send(name: str, video: Array) -> tuple[str, ...]:
        pieces = np.array_split(video, min(parts, len(video))) if video.ndim == 4 else [video]
        return tuple(
            client.upload(f"{slot}_{name}{index}.mkv", encode_video(piece), SUBFOLDER)
            for index, piece in enumerate(pieces)
        )

    taken = job.workflow.points.loaders
    names = {channel: send(channel, video) for channel, video in job.videos.items() if channel in taken}
    for channel, picture in job.pictures.items():
        if channel in taken:
            name = f"{slot}_{channel.replace(' ', '_')}.png"
            names[channel] = (client.upload(name, encode_png(picture), SUBFOLDER),)
    return names


def _execute(client: ComfyClient, graph: Graph, window: WindowJob, steps: Steps) -> tuple[str, Entry]:
    """Submit the graph; once it succeeded, the id that the server gave it and its history entry.

    Whatever else happens, the job is cancelled.
    """
    job = new_job()
    progress = ProgressSocket(client.address, job.client_id, client.timeouts.connect)
    progress.connect()
    ended = False
    try:
        job = client.submit(graph, job)
        entry = _watch(client, progress, job, frozenset(window.workflow.points.samplers), steps)
        ended = True
    finally:
        progress.close()
        if progress.unread:
            logger.warning("ComfyUI at %s: %d messages could not be read", client.address.host, progress.unread)
        refusal = None if ended else client.cancel(job)
        if refusal is not None:
            logger.warning("ComfyUI at %s goes on with job %s: %s", client.address.host, job.prompt_id, refusal)
    _raise_for(client, judge(entry))
    return job.prompt_id, entry


def _watch(client: ComfyClient, progress: ProgressSocket, job: Job, samplers: frozenset[str], steps: Steps) -> Entry:
    """Follow the job until the history has it. The queue is asked first: a job in neither is lost."""
    began = time.monotonic()
    next_look, pause = began, LISTEN_SECONDS
    while True:
        message = progress.receive(pause)
        client.sleep(0 if progress.connected else min(pause, client.timeouts.poll))
        now = time.monotonic()
        if message is not None and progress.step(message, job.prompt_id, samplers, steps):
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
            began = now  # somebody else's job: our time has not begun
        if now - began > client.timeouts.job:
            raise GeneratorError(
                f"ComfyUI at {client.address.host} did not finish the window within {client.timeouts.job:g} s: "
                "raise --timeout, or lower --size or --steps"
            )
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
        raise GeneratorError(f"ComfyUI at {host}: {verdict.message} by somebody else: `skate resume` continues")
    if verdict.kind == "failed":
        full = "no space left" in verdict.message.lower()
        remedy = "free space in the server's output folder" if full else "see the server's log"
        raise GeneratorError(f"ComfyUI at {host} failed: {verdict.message}: {remedy}, then `skate resume`")


def _fetch(client: ComfyClient, job: WindowJob, entry: Entry) -> Array:
    """The output pictures in order, `[length, height, width, 3]` uint8 RGB."""
    host, values = client.address.host, job.values
    found = images(entry, job.workflow.points.output)
    if len(found) != values.length:
        raise GeneratorError(
            f"ComfyUI at {host}: node {job.workflow.points.output} gave {len(found)} pictures, {values.length} are "
            "needed: a reference needs TrimVideoLatent by WanVaceToVideo's trim_latent, other lengths a SaveImage node"
        )
    width, height = job.enlarged or (values.width, values.height)
    frames = np.empty((values.length, height, width, 3), dtype=np.uint8)
    begun: deque[Future[None]] = deque()
    with ThreadPoolExecutor(DECODERS, thread_name_prefix="png") as threads:  # while the next one is on its way
        for target, image in zip(frames, found, strict=True):
            data = _data(client, image, _most_pixels(values))
            if len(begun) > DECODERS:
                begun.popleft().result()
            begun.append(threads.submit(_put, target, data, image, job, host))
        while begun:
            begun.popleft().result()
    return frames


def _put(target: Array, data: bytes, image: Image, job: WindowJob, host: str) -> None:
    """Decode a picture into its place `[height, width, 3]`."""
    values = job.values
    picture = decode_png(data, printable(image.filename, 80), _most_pixels(values))
    if job.enlarged is not None and _is_multiple(picture, values):
        picture = resize_frames(picture[None], job.enlarged)[0]
    if picture.shape != target.shape:
        size = f"{picture.shape[1]}x{picture.shape[0]}"
        raise GeneratorError(
            f"ComfyUI at {host}: {printable(image.filename, 80)} is {size}, {values.width}x{values.height} is "
            "needed: remove what scales the output in the workflow"
        )
    target[:] = picture


def _most_pixels(values: Values) -> int:
    return max(values.width * values.height, DEFAULT_MAX_PIXELS)


def _is_multiple(picture: Array, values: Values) -> bool:
    """Whether a picture is as large as was asked for, or so many times as large on either side."""
    times, rest = divmod(int(picture.shape[0]), values.height)
    return times >= 1 and rest == 0 and int(picture.shape[1]) == times * values.width


def _data(client: ComfyClient, image: Image, max_pixels: int) -> bytes:
    data = client.view(image, BYTES_PER_PIXEL * max_pixels + BESIDE_PICTURE_BYTES)
    if data is None:
        raise StaleOutput(
            f"ComfyUI at {client.address.host} names {printable(image.filename, 80)} but has it no more: "
            "leave its output folder alone while a run goes on"
        )
    return data


def devices(stats: Stats) -> list[dict[str, Json]]:
    """The part of /system_stats that goes into the record: per device its name and its memory in bytes."""
    return [msgspec.to_builtins(device) for device in stats.devices]
