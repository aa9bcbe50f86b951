"""The end of a window handed to the next as latents: they stay on the server, and never pass its VAE again.

    window before   sampler -> TrimVideoLatent -> VAEDecode -> pictures
                                       `-> SaveLatent                        output/skate/...latent
    this window     LoadLatent -> the slots of the overlap --,
                    WanVaceToVideo's empty latent -----------+-> with a noise mask -> sampler

Slot 0 stands for one frame alone and is made anew from the kept picture; slots 1 to n are the window's before, where
its frames begin a whole number of slots later. The sampler holds what its noise mask leaves out. All nodes are of
ComfyUI's core.
"""

from dataclasses import dataclass, replace

import numpy as np

from stages.base import Array
from stages.server.graph import Graph, above, by_class, free_id
from stages.server.workflow import Workflow
from storage.errors import InputError

CONTEXT = "WanVaceToVideo"
LATENT_OUTPUT = 2  # of WanVaceToVideo
DECODERS = ("VAEDecode", "VAEDecodeTiled")
MASK_SIDE = 16  # pixels; it is the same all over a slot


@dataclass(frozen=True)
class Carried:
    """What is taken over of the window before.

    Attributes:
        file: as LoadLatent takes it.
        first: the window's before, its slot that becomes slot 1 here. count: of slots.
    """

    file: str
    first: int
    count: int


@dataclass(frozen=True)
class Latents:
    """Of a window: its slots, without a reference's, and what it takes over."""

    slots: int
    carried: Carried | None = None

    def noise_mask(self, extra: int) -> Array:
        """`[extra + slots, 16, 16]` uint8: 0 in the slots that are taken over."""
        mask = np.full((extra + self.slots, MASK_SIDE, MASK_SIDE), 255, np.uint8)
        if self.carried is not None:
            mask[extra + 1 : extra + 1 + self.carried.count] = 0
        return mask


@dataclass(frozen=True)
class Places:
    """Where a graph's latents come from and go to.

    Attributes:
        sampler: the node that begins with the context's latent. context: that context.
        decoder: the node that makes pictures of them.
        extra: slots of a reference, which lie in front.
    """

    sampler: str
    context: str
    decoder: str
    extra: int


def places(workflow: Workflow) -> Places:
    """Of a workflow.

    Raises:
        InputError: it has no latents that could be handed on.
    """
    graph, points = workflow.graph, workflow.points
    empty = {context: [context, LATENT_OUTPUT] for context in points.contexts}
    begins = [graph[node]["inputs"].get("latent_image") for node in points.samplers]
    contexts = [context for context, link in empty.items() if link in begins]
    decoders = [node for node in above(graph, points.output) if node in by_class(graph, *DECODERS)]
    # The second of two samplers would take the noise that the first left in the held slots for what is to be held.
    if points.wiring.node != CONTEXT or len(points.samplers) != 1 or not contexts or not decoders:
        raise InputError(
            f"--continuity latent: {workflow.name} has no single sampler that begins with the latent of {CONTEXT} and "
            "is decoded by VAEDecode: give --continuity tail"
        )
    return Places(points.samplers[0], contexts[0], decoders[0], int("reference_image" in graph[contexts[0]]["inputs"]))


def with_latents(workflow: Workflow, graph: Graph, latents: Latents, mask: str, prefix: str) -> str:
    """Have a filled-in graph save its latents, and begin with those of the window before; the node that saves.

    Args:
        mask: name of the uploaded `Latents.noise_mask`, where something is taken over.
        prefix: of the saved file.
    """
    at, carried = places(workflow), latents.carried

    def add(kind: str, **inputs: object) -> str:
        node = free_id(graph, f"latent_{kind}")
        graph[node] = {"class_type": kind, "_meta": {"title": f"skate {kind}"}, "inputs": inputs}
        return node

    saver = add("SaveLatent", samples=graph[at.decoder]["inputs"]["samples"], filename_prefix=prefix)
    if carried is None:
        return saver
    empty = [at.context, LATENT_OUTPUT]
    ahead, rest = at.extra + 1, latents.slots - 1 - carried.count
    before = add("LoadLatent", latent=carried.file)
    taken = add("LatentCut", samples=[before, 0], dim="t", index=carried.first, amount=carried.count)
    start = add("LatentCut", samples=empty, dim="t", index=0, amount=ahead)
    joined = add("LatentConcat", samples1=[start, 0], samples2=[taken, 0], dim="t")
    if rest:
        end = add("LatentCut", samples=empty, dim="t", index=ahead + carried.count, amount=rest)
        joined = add("LatentConcat", samples1=[joined, 0], samples2=[end, 0], dim="t")
    video = add("LoadVideo", file=mask)
    frames = add("GetVideoComponents", video=[video, 0])
    noise = add("ImageToMask", image=[frames, 0], channel="red")
    held = add("SetLatentNoiseMask", samples=[joined, 0], mask=[noise, 0])
    graph[at.sampler]["inputs"]["latent_image"] = [held, 0]
    return saver


def with_all_nodes(workflow: Workflow) -> Workflow:
    """The workflow as it is sent where something is taken over, to be compared with what a server has."""
    graph = workflow.copy_graph()
    with_latents(workflow, graph, Latents(3, Carried("before.latent", 1, 1)), "held.mkv", "skate/latent")
    return replace(workflow, graph=graph)
