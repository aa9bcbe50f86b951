"""One window on one server: upload, submit, watch, judge, fetch, and try again where that can help."""

import logging
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import msgspec
import numpy as np

from stages.base import Array, Json
from stages.server.answers import Entry, Image, Stats
from stages.server.client import ComfyClient
from stages.server.errors import JobLost, OutOfMemory, StaleOutput, UploadTooLarge
from stages.server.follow import Ran, execute
from stages.server.frames import Enlarged, Frames
from stages.server.graph import Graph
from stages.server.history import images, latent_files
from stages.server.inject import Files, Values, inject
from stages.server.latent import Latents, places, with_latents
from stages.server.pictures import Arriving, most_bytes
from stages.server.transport import Groups, encode_png, encode_video
from stages.server.workflow import Workflow
from stages.video.limits import DEFAULT_MAX_PIXELS
from storage.boundary import printable
from storage.errors import GeneratorError

logger = logging.getLogger("skate.comfyui")

SUBFOLDER = "skate"  # of the server's input and output folders
RESUBMISSIONS = 3  # after a server lost the job; a server that restarts more often has a fault of its own
SENDINGS = 3  # of the same job, whose socket was lost before all pictures had come; then they are saved

Steps = Callable[[int, int], None]


@dataclass(frozen=True)
class WindowJob:
    """What is generated: the same on whichever server it runs.

    Attributes:
        workflow: the graph and its injection points.
        values: what is injected; its prefix is completed by each try.
        videos: by channel, `[n, height, width, 3]` uint8 RGB or, for a mask, `[n, height, width]` uint8.
        pictures: by channel, `[height, width, 3]` uint8 RGB.
        encoded: by channel, what of its video is encoded already.
        enlarged: what the server enlarges; None: nothing.
        latents: what is handed on beside the pictures; None: nothing.
    """

    workflow: Workflow
    values: Values
    videos: Mapping[str, Array]
    pictures: Mapping[str, Array] = field(default_factory=dict)
    encoded: Mapping[str, Groups] = field(default_factory=dict)
    enlarged: Enlarged | None = None
    latents: Latents | None = None


@dataclass(frozen=True)
class JobResult:
    """`frames` `[length, height, width, 3]` uint8 RGB, what goes into the record, and the pictures that were saved."""

    frames: Array
    info: dict[str, Json] = field(default_factory=dict)
    saved: tuple[Image, ...] = ()


def run_job(client: ComfyClient, job: WindowJob, steps: Steps) -> JobResult:
    """Generate one window on this server.

    A job the server lost is submitted again; after an out-of-memory error the server frees its models and the job is
    tried once more; so it is when a cached run names files that are gone; an upload over the limit is sent in parts.
    Each of these but the last begins the time for a window anew.

    Raises:
        ServerUnreachable: the server is gone (another one may take the job).
        GeneratorError: the server refused or failed, with its own words.
        Interrupted: when the client's stop is set; the server's job is interrupted then, as on any other exception.
    """
    with client.in_time():
        return _run_job(client, job, steps)


def _run_job(client: ComfyClient, job: WindowJob, steps: Steps) -> JobResult:
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
            client.renew()
        except (OutOfMemory, StaleOutput) as error:
            if freed:
                raise
            logger.warning("%s; freeing the server's memory and trying once more", error)
            freed = True
            client.renew()
            client.free(drop_cache=True)


def _attempt(client: ComfyClient, job: WindowJob, parts: int, steps: Steps) -> JobResult:
    started = time.monotonic()
    before = client.system_stats()
    files = _upload(client, job, parts, client.slot)
    token = uuid.uuid4().hex[:12]  # of the files' names alone: no pixel depends on it
    values = replace(job.values, prefix=f"{SUBFOLDER}/{token}_{job.values.prefix}")
    graph = inject(job.workflow, values, files)
    saver = None if job.latents is None else _hand_on(client, job, graph, values)
    size, length = (values.width, values.height), values.length
    frames = Frames(job.workflow.points.output, length, size, job.enlarged, client.address.host)
    with Arriving(frames.puts, length, frames.largest, max(frames.largest, DEFAULT_MAX_PIXELS)) as arriving:
        ran, saved = _pictures(client, graph, job, arriving, steps)
    info = {
        "server": client.address.host,
        "prompt_id": ran.prompt_id,
        "seconds": round(time.monotonic() - started, 3),
        "pictures": "sent" if ran.sent else "saved",
        "system_stats": {"before": devices(before), "after": devices(client.system_stats())},
    }
    if saver is not None:
        info["latent"] = _latent_file(client, ran.entry, saver)
    return JobResult(frames.result(), info, saved)


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
        encoded = job.encoded.get(name, {}) if len(pieces) == 1 else {}
        return tuple(
            client.upload(f"{slot}_{name}{index}.mkv", encode_video(piece, encoded), SUBFOLDER)
            for index, piece in enumerate(pieces)
        )

    taken = job.workflow.points.loaders
    names = {channel: send(channel, video) for channel, video in job.videos.items() if channel in taken}
    for channel, picture in job.pictures.items():
        if channel in taken:
            name = f"{slot}_{channel.replace(' ', '_')}.png"
            names[channel] = (client.upload(name, encode_png(picture), SUBFOLDER),)
    return names


def _pictures(
    client: ComfyClient, graph: Graph, job: WindowJob, arriving: Arriving, steps: Steps
) -> tuple[Ran, tuple[Image, ...]]:
    """Have the graph run until all its pictures are here, and those of them that were saved.

    They are sent where the server can. When the connection is lost meanwhile the same is submitted again: all but what
    sends them comes from the server's cache; one that keeps none saves from then on. Where they cannot be had so, they
    are saved and fetched.
    """
    samplers = frozenset(job.workflow.points.samplers)

    def sampled_again(step: int, total: int) -> None:
        client.sends_pictures = False
        steps(step, total)

    for told in [steps, *[sampled_again] * (SENDINGS - 1)] if client.sends_pictures else []:
        ran = execute(client, graph, samplers, told, arriving)
        if not ran.sent:
            return ran, _fetch(client, arriving, ran.entry)
        arriving.finish()
        if arriving.complete:
            return ran, ()
        if ran.heard and any(arriving.came.values()):
            _check_counts(client, arriving)
        if ran.heard:
            client.sends_pictures = False  # it has the node, and tells us nothing of it
            break
        host = client.address.host
        logger.warning("ComfyUI at %s: the connection was lost: asking it for the pictures again", host)
        arriving.again()
        if not client.sends_pictures:
            break
    ran = execute(client, graph, samplers, steps)
    return ran, _fetch(client, arriving, ran.entry)


def _fetch(client: ComfyClient, arriving: Arriving, entry: Entry) -> tuple[Image, ...]:
    """Fetch the pictures that were saved; which they are."""
    saved = {node: images(entry, node) for node in arriving.nodes}
    arriving.again()
    _check_counts(client, arriving, {node: len(found) for node, found in saved.items()})
    for node, found in saved.items():
        for image in found:
            data = client.view(image, most_bytes(arriving.awaited))
            if data is None:
                raise StaleOutput(
                    f"ComfyUI at {client.address.host} names {printable(image.filename, 80)} but has it no more: "
                    "leave its output folder alone while a run goes on"
                )
            arriving.take(node, data, printable(image.filename, 80))
    arriving.finish()
    return tuple(image for found in saved.values() for image in found)


def _check_counts(client: ComfyClient, arriving: Arriving, counts: Mapping[str, int] | None = None) -> None:
    """Refuse another number of pictures than a node was to give."""
    for node, count in (counts or arriving.came).items():
        if count != arriving.count:
            raise GeneratorError(
                f"ComfyUI at {client.address.host}: node {node} gave {count} pictures, {arriving.count} are needed: "
                "a reference needs TrimVideoLatent by WanVaceToVideo's trim_latent, other lengths a SaveImage node"
            )


def devices(stats: Stats) -> list[dict[str, Json]]:
    """The part of /system_stats that goes into the record: per device its name and its memory in bytes."""
    return [msgspec.to_builtins(device) for device in stats.devices]
