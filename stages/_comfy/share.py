"""One GPU for a server's models and ours, by turns: having the server leave it."""

import logging
import time

from stages._comfy.client import ComfyClient, Json
from storage.errors import GeneratorError

logger = logging.getLogger("skate.comfyui")

LITTLE_BYTES = 256 * 2**20  # what a server whose models are gone may still hold for itself
UNLOAD_SECONDS = 10.0  # longest wait for it; a server that works on somebody's job unloads after that
LOOK_SECONDS = 0.1


def make_room(client: ComfyClient) -> None:
    """Have a server unload its models, and wait until its memory is free.

    What its nodes computed stays, above all the encoded prompt: reading the text encoder (6.7 GB) and running it anew
    in every window would cost more than the sampler on a small card. A server that does not answer, or does not know
    how, is passed over with a warning: it may hold nothing, and where it does, the memory that lacks says so.
    """
    try:
        client.free()
        deadline = time.monotonic() + UNLOAD_SECONDS
        while held_bytes(client.system_stats()) > LITTLE_BYTES:
            if time.monotonic() > deadline:
                logger.warning("ComfyUI at %s holds on to its models: does it work for others?", client.address.host)
                return
            client.sleep(LOOK_SECONDS)
    except GeneratorError as error:
        logger.warning("ComfyUI at %s was not made to unload its models: %s", client.address.host, error)


def held_bytes(stats: dict[str, Json]) -> int:
    """What the server's torch holds of its devices' memory, as /system_stats tells it."""
    found = stats.get("devices")
    devices = [item for item in found if isinstance(item, dict)] if isinstance(found, list) else []
    return sum(int(value) for item in devices if isinstance(value := item.get("torch_vram_total"), int | float))
